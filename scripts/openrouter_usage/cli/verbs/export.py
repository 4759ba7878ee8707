"""Write the calls of the ledger as CSV, JSON or Markdown, with exact amounts in USD and times in UTC."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from openrouter_usage.called import as_called
from openrouter_usage.cli.asking import SOURCES, add_filters, add_period, period_of, refuse_account_words, where_of
from openrouter_usage.cli.opening import open_ledger
from openrouter_usage.cli.program import Parser, write
from openrouter_usage.entry import Entry
from openrouter_usage.errors import SettingsError
from openrouter_usage.figures.exchange import COLUMNS, as_text, csv_pieces, exported, is_picked, json_pieces
from openrouter_usage.files import save_output
from openrouter_usage.jobs.own_files import is_own
from openrouter_usage.render import table
from openrouter_usage.render.envelope import envelope
from openrouter_usage.text import plural, safe

EXAMPLES = """examples:
  cost_tracker.py export --format csv --output report.csv
  cost_tracker.py export --format json --since 2026-11-01
  cost_tracker.py export --format markdown --output november.md --since 2026-11-01 --until 2026-11-30
"""


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument("--format", choices=("csv", "json", "markdown"), required=True, help="output format")
    parser.add_argument("--output", metavar="FILE", type=Path, help="output file; default and - are standard output")
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    parser.add_argument(
        "--source", choices=SOURCES, default="ledger", help="ledger: only tracked calls can be listed one by one"
    )
    add_period(parser)
    add_filters(parser)


def run(options: Namespace, *, now: datetime) -> int:
    """Write the calls; after writing to a file, print how many there are."""
    if options.source != "ledger":
        raise SettingsError(
            "OpenRouter lists sums of days and no calls, so an account cannot be exported call by call",
            hint=as_called("its days: cost_tracker.py stats --source account --by day,model --format csv; ")
            + "its calls: https://openrouter.ai/logs exports them, and `import` reads them",
            code="usage",
        )
    to_stdout = options.output is None or str(options.output) == "-"
    if to_stdout and options.json:
        raise SettingsError(
            "--json describes a written file, but none is named", hint="name a file with --output", code="usage"
        )
    ledger = open_ledger(as_called("cost_tracker.py export"))
    where = where_of(options)
    refuse_account_words("model", where)
    found = ledger.entries(period_of(options, now))
    counted = _Counted(entry for entry in found if not where or is_picked(entry, where))
    pieces = _FORMATS[options.format](counted)
    if to_stdout:
        for piece in pieces:
            write(piece)
        return 0
    save_output(options.output, pieces, force=options.force, is_own=lambda path: is_own(path, ledger.path))
    shown = safe(str(options.output), 300)
    if options.json:
        data = {"calls": counted.count, "format": options.format, "file": str(options.output)}
        write(envelope("export", now, data))
    else:
        write(f"{plural(counted.count, 'call')} written to {shown}\n")
    return 0


class _Counted:
    """Passes calls on and counts them."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = entries
        self.count = 0

    def __iter__(self) -> Iterator[Entry]:
        for entry in self._entries:
            self.count += 1
            yield entry


def _markdown(entries: Iterable[Entry]) -> Iterator[str]:
    rows = ([as_text(value) for value in exported(entry).values()] for entry in entries)
    yield from (line + "\n" for line in table.markdown_table(tuple(COLUMNS), rows))


_FORMATS = {"csv": csv_pieces, "json": json_pieces, "markdown": _markdown}
