"""Read what other programs logged, and record the bill of each call whose generation id is in a log; calls without an
id are estimates beside the ledger, in no sum and no budget."""

from __future__ import annotations

import os
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from openrouter_usage.called import as_called
from openrouter_usage.cli.program import Parser, complain, progress, whole_number, without_keys, write
from openrouter_usage.errors import SettingsError
from openrouter_usage.files import locked, make_private_folder
from openrouter_usage.home.settings import find_home, ledger_file, shared_ledger
from openrouter_usage.jobs.collect import Asked, Asking, ReadFiles, is_compared, read_logs, settle_known, total_booked
from openrouter_usage.jobs.log_book import BOOKED, REFUSED, UNKNOWN, WAITING, LogBook, book_beside
from openrouter_usage.jobs.log_stores import CLIENTS, Store, find_stores, given_stores
from openrouter_usage.money import Json, format_usd
from openrouter_usage.period import UTC
from openrouter_usage.text import plural, safe

if TYPE_CHECKING:
    from openrouter_usage.figures.seen_in_logs import Seen

EXAMPLES = """examples:
  cost_tracker.py collect --dry-run             read all logs; say what would be asked
  cost_tracker.py collect                       and record the bills, at most two a second
  cost_tracker.py collect openclaw claude-code
  cost_tracker.py collect --quiet               from cron; nothing new costs milliseconds
  cost_tracker.py collect litellm --from spend.csv

clients: claude-code openclaw pi (with ids); codex opencode cline roo aider goose hermes litellm (estimates)
"""
PROGRAM = as_called("cost_tracker.py collect")
_WORTH_SHOWING = 16 * 1024 * 1024


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument("clients", nargs="*", type=_client, metavar="CLIENT", help="whose logs to read (all)")
    parser.add_argument(
        "--from", dest="path", metavar="PATH", help="a file or folder of one client, in place of the usual ones"
    )
    parser.add_argument(
        "--database", action="store_true", help="litellm: read the PostgreSQL database that DATABASE_URL names"
    )
    parser.add_argument("--dry-run", action="store_true", help="read the logs, and ask and record nothing")
    parser.add_argument("--retry", action="store_true", help="ask again about calls that OpenRouter did not know")
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing when nothing is new")
    parser.add_argument(
        "--timeout", type=whole_number(1, 600), default=30, metavar="S", help="seconds for each question (30)"
    )


def _client(text: str) -> str:
    if text not in CLIENTS:
        raise ArgumentTypeError(f"{safe(without_keys(text), 40)!r} is not one of {', '.join(CLIENTS)}")
    return text


def run(options: Namespace, *, now: datetime | None = None) -> int:
    """Read what is new, ask about what waits, and print what was found."""
    now = now or datetime.now(UTC)
    path = ledger_file()
    with _alone(path), _opened(path) as book:
        done = read_logs(book, _stores(options), _show_reading)
        if options.database:
            _read_database(book, options)
        if options.retry and not options.dry_run:
            book.ask_again()
        asked = Asked()
        # To count what waits takes longer than all else, and a quiet dry run without news does not tell it.
        is_silent = options.quiet and options.dry_run and not options.json and not done.new
        if not is_silent and book.has_waiting():
            asked = _settle(book, options, now)
        is_news = bool(done.new or asked.booked or asked.unknown or asked.refused or asked.error)
        if options.json or is_news or not options.quiet:
            _show(book, done, asked, options, now)
    if asked.error:
        complain(PROGRAM, f"not every call could be asked about: {asked.error.message}", asked.error.hint)
        return asked.error.exit_code
    return 0


@contextmanager
def _alone(ledger: Path) -> Iterator[None]:
    """Hold the lock under which one program at a time collects; SettingsError while another does."""
    lock = book_beside(ledger)
    lock = lock.with_name(lock.name + ".lock")
    try:
        make_private_folder(lock.parent)
        with locked(lock, wait_s=0):
            yield
    except TimeoutError:
        raise SettingsError(
            "another `collect` is running", hint="wait until it has ended; both would ask the same", code="busy"
        ) from None
    except OSError as error:
        raise SettingsError(
            f"{safe(str(lock), 300)} cannot be locked: {error.strerror}", hint="check the folder of the ledger"
        ) from None


@contextmanager
def _opened(ledger: Path) -> Iterator[LogBook]:
    book = LogBook(book_beside(ledger))
    try:
        yield book
    finally:
        book.close()


def _stores(options: Namespace) -> Iterator[Store]:
    clients = tuple(dict.fromkeys(options.clients)) or CLIENTS
    if options.path is not None:
        if len(options.clients) != 1:
            raise SettingsError("--from needs one client", hint="collect litellm --from spend.csv", code="usage")
        try:
            return given_stores(clients[0], Path(options.path))
        except OSError as error:
            shown = safe(without_keys(options.path), 300)
            raise SettingsError(
                f"{shown} cannot be read: {error.strerror}", hint="name a log of that client, or a folder of logs"
            ) from None
    home = find_home()
    if home is None:
        raise SettingsError("there is no home folder to look for logs in", hint="set HOME, or use --from")
    return find_stores(clients, home, os.environ)


def _read_database(book: LogBook, options: Namespace) -> None:
    if options.clients != ["litellm"]:
        raise SettingsError("--database is litellm's", hint="collect litellm --database", code="usage")
    from openrouter_usage.jobs.litellm_database import read_database

    read_database(book, os.environ, timeout_s=options.timeout)


def _settle(book: LogBook, options: Namespace, now: datetime) -> Asked:
    """Let go of what the ledger knows, and ask about the rest."""
    path = ledger_file()
    if shared_ledger() is not None or not is_compared(book, path):
        from openrouter_usage.cli.opening import open_ledger

        settle_known(book, open_ledger(PROGRAM))
    left = book.waiting_count()
    if not left or options.dry_run:
        return Asked(left=left)
    from openrouter_usage.cli.opening import open_ledger

    ledger = open_ledger(PROGRAM)
    from openrouter_usage.home.settings import load_settings
    from openrouter_usage.jobs.summary import connect

    settings = load_settings()
    client = connect(settings, timeout_s=options.timeout)(settings.require_key())
    return Asking(book, ledger, client.generation, now, progress=_show_asking).run()


def _show_reading(done: int, size: int) -> None:
    if size >= _WORTH_SHOWING:
        progress(f"reading logs: {100 * done // size}%", is_over=done >= size)


def _show_asking(done: int, size: int) -> None:
    progress(f"asking OpenRouter: {done:,} of {plural(size, 'call')}", is_over=done >= size)


# -- What was found, as text and as JSON.


class _Client(NamedTuple):
    """What is known of one client's logs."""

    name: str
    files: int
    states: dict[int, int]
    seen: Seen | None
    skipped: dict[str, int]


def _show(book: LogBook, done: ReadFiles, asked: Asked, options: Namespace, now: datetime) -> None:
    from openrouter_usage.jobs.seen_in_logs import seen_in

    seen = {each.client: each for each in seen_in(book)}
    states, skipped, files = book.states(), book.skipped(), book.stores()
    names = [name for name in CLIENTS if name in {*states, *skipped, *files, *seen}]
    found = [
        _Client(each, files.get(each, 0), states.get(each, {}), seen.get(each), skipped.get(each, {})) for each in names
    ]
    if options.json:
        from openrouter_usage.render.envelope import envelope

        write(envelope("collect", now, _data(found, done, asked, dry_run=options.dry_run)))
    else:
        write(_as_text(found, done, asked, dry_run=options.dry_run))


def _as_text(found: list[_Client], done: ReadFiles, asked: Asked, *, dry_run: bool) -> str:
    lines = [f"Logs of other programs: {plural(done.files, 'file')}, {done.new:,} of them new or changed"]
    for client in found:
        lines.append(f"• {client.name}: {', '.join(_parts(client)) or 'no calls'} ({plural(client.files, 'file')})")
        lines += [f"  skipped: {number:,} {why}" for why, number in sorted(client.skipped.items())]
    if any(client.seen for client in found):
        lines.append("ℹ Seen in logs, not billed: calls without an id are estimates, in no sum and no budget")
    if dry_run:
        seconds = asked.left // 2
        lines.append(f"Would ask OpenRouter about {plural(asked.left, 'call')}, some {plural(seconds, 'second')}")
        return "\n".join(lines) + "\n"
    if asked.booked:
        lines.append(
            f"✔ {plural(len(asked.booked), 'call')} recorded, {format_usd(total_booked(asked.booked))} in credits"
        )
    if asked.unknown:
        lines.append(
            f"⚠ OpenRouter has no bill of {plural(len(asked.unknown), 'call')}: recorded as estimated or unknown"
        )
    if asked.refused:
        lines.append(f"⚠ {plural(asked.refused, 'call')} of another account: not recorded")
    if asked.left:
        lines.append(f"⚠ {plural(asked.left, 'call')} left for the next time")
    return "\n".join(lines) + "\n"


def _parts(client: _Client) -> Iterator[str]:
    with_id = sum(client.states.values())
    if with_id:
        yield f"{plural(with_id, 'call')} with an id"
    words = {
        BOOKED: "in the ledger",
        WAITING: "not asked about yet",
        UNKNOWN: "not known to OpenRouter",
        REFUSED: "of another account",
    }
    yield from (f"{client.states[state]:,} {word}" for state, word in words.items() if client.states.get(state))
    if client.seen:
        seen = client.seen
        unknown = f", {seen.unknown:,} of unknown cost" if seen.unknown else ""
        yield f"{plural(seen.calls, 'call')} without an id, estimated at {format_usd(seen.cost)}{unknown}"


def _data(found: list[_Client], done: ReadFiles, asked: Asked, *, dry_run: bool) -> dict[str, Json]:
    clients: list[Json] = []
    for client in found:
        skipped: list[Json] = [{"why": why, "records": number} for why, number in sorted(client.skipped.items())]
        clients.append(
            {
                "client": client.name,
                "files": client.files,
                "with_id": sum(client.states.values()),
                "in_ledger": client.states.get(BOOKED, 0),
                "waiting": client.states.get(WAITING, 0),
                "not_known": client.states.get(UNKNOWN, 0),
                "of_another_account": client.states.get(REFUSED, 0),
                "without_id": client.seen.calls if client.seen else 0,
                "estimated_usd": client.seen.cost if client.seen else None,
                "unknown_cost_calls": client.seen.unknown if client.seen else 0,
                "skipped": skipped,
            }
        )
    return {
        "dry_run": dry_run,
        "files": done.files,
        "new_files": done.new,
        "clients": clients,
        "recorded": len(asked.booked),
        "recorded_usd": total_booked(asked.booked),
        "not_known": len(asked.unknown),
        "of_another_account": asked.refused,
        "left": asked.left,
    }
