"""Read calls into the ledger: from an export, another ledger, OpenRouter's logs as CSV, or saved answers; known calls
are skipped."""

from __future__ import annotations

import functools
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from openrouter_usage.called import as_called
from openrouter_usage.cli.opening import open_ledger
from openrouter_usage.cli.program import Parser, complain, without_keys, write
from openrouter_usage.entry import Entry
from openrouter_usage.errors import SettingsError
from openrouter_usage.figures.logs.import_calls import imported
from openrouter_usage.figures.model_names import Canonical, canonical, is_dated
from openrouter_usage.jobs.price_list import known_names
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.money import Json
from openrouter_usage.render.envelope import envelope
from openrouter_usage.text import named, plural, safe

EXAMPLES = """examples:
  cost_tracker.py import report.csv
  cost_tracker.py import old-usage.jsonl
  cost_tracker.py import openrouter_activity.csv      the CSV that https://openrouter.ai/logs exports
  cost_tracker.py import answers.jsonl                answers of OpenRouter that were saved
  cat report.json | cost_tracker.py import -
"""
PROGRAM = as_called("cost_tracker.py import")
_MOST_NAMES = 10
_LARGEST_FILE = 1024 * 1024 * 1024


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument("file", metavar="FILE", help="the file to read, - for standard input")


def run(options: Namespace, *, now: datetime) -> int:
    """Read the whole file, then write all new calls at once, so that an error leaves the ledger unchanged."""
    unread: dict[str, None] = {}
    entries, are_billed = imported(_text(options.file), unread, name_of=_short_name)
    ledger = open_ledger(PROGRAM)
    wanted = map(_harmless, _without_known(ledger, entries))
    # An estimate may be too high, and OpenRouter's own word on the call corrects it; a bill that is known stays.
    done = ledger.append_all(wanted, durable=True, may_lower=are_billed)
    left_out = len(entries) - done.new - done.completed
    notes = [_unread(list(unread))] if unread else []
    if options.json:
        figures: dict[str, Json] = {"added": done.new, "completed": done.completed, "known": left_out}
        write(envelope("import", now, figures, notes=notes))
    else:
        completed = f"{done.completed:,} completed, " if done.completed else ""
        write(f"{plural(done.new, 'call')} added, {completed}{left_out:,} already known\n")
        for note in notes:
            complain(PROGRAM, note)
    return 0


def _harmless(entry: Entry) -> Entry:
    """Return a call without what only this machine may decide: a file cannot end a hold or settle a doubtful bill."""
    return replace(entry, hold="", seen=False)


@functools.cache
def _names() -> Canonical:
    return known_names()


def _short_name(name: str) -> str:
    """Return the short name of a model; the price list is read at the first name that needs it."""
    return _names()(name) if is_dated(name) else canonical(name)


def _unread(names: list[str]) -> str:
    shown = ", ".join(named(without_keys(name)) for name in names[:_MOST_NAMES])
    more = ", ..." if len(names) > _MOST_NAMES else ""
    return f"ignored unknown columns: {shown}{more}"


def _text(name: str) -> str:
    shown = safe(without_keys(name), 300)
    try:
        if name == "-":
            raw = sys.stdin.buffer.read(_LARGEST_FILE + 1) if sys.stdin else b""
        else:
            with Path(name).open("rb") as file:
                raw = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise SettingsError(f"{shown} cannot be read: {error.strerror}", hint="name an export or a ledger") from None
    if len(raw) > _LARGEST_FILE:
        raise SettingsError(f"{shown} is larger than 1 GiB", hint="split the file")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SettingsError(f"{shown} is not UTF-8 text", hint="name an export or a ledger") from None


def _without_known(ledger: Ledger, entries: Iterable[Entry]) -> Iterator[Entry]:
    """Skip calls without an id that the ledger already has, compared by content."""
    wanted = list(entries)
    known: Counter[Entry] = Counter()
    if any(not entry.id for entry in wanted):
        known.update(_content(entry) for entry in ledger.entries() if not entry.id)
    for entry in wanted:
        content = _content(entry)
        if not entry.id and known[content]:
            known[content] -= 1
        else:
            yield entry


def _content(entry: Entry) -> Entry:
    """Return the content of a call that an export contains."""
    return replace(entry, hold="")
