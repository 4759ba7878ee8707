"""stats.py: the summary of what OpenRouter says is spent and left."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING

from openrouter_usage.called import as_called
from openrouter_usage.cli.asking import (
    account_by,
    add_compare,
    add_filters,
    add_grouping,
    add_period,
    add_source,
    has_period,
    is_searched,
    refuse_two_periods,
)
from openrouter_usage.cli.program import (
    EXIT_CODES,
    Parser,
    complain,
    terminal_width,
    whole_number,
    with_version,
    write,
)
from openrouter_usage.errors import OpenRouterUsageError, SettingsError
from openrouter_usage.figures.options import ACCOUNT_GROUPINGS, DEFAULT_DAYS, DEFAULT_TOP, MOST_DAYS
from openrouter_usage.home.settings import Settings, load_settings
from openrouter_usage.period import UTC, Period, week

if TYPE_CHECKING:
    from openrouter_usage.cli.spending import Spending
    from openrouter_usage.cli.watching import View
    from openrouter_usage.figures.breakdown import Breakdown
    from openrouter_usage.figures.seen_in_logs import Seen
    from openrouter_usage.figures.summary import Fact, Summary
    from openrouter_usage.openrouter.answers.account import Parts

PROGRAM = as_called("stats.py")
LINE_EXAMPLE = "{today} · {left} · {session}"
# The module of each face is loaded alone.
_FACES = {
    "text": "render.summary",
    "table": "render.summary",
    "line": "render.line",
    "json": "render.envelope",
    "csv": "render.table",
    "markdown": "render.table",
}
EXAMPLES = """examples:
  python3 scripts/stats.py                  today, week, month, balance, spend by model
  python3 scripts/stats.py --month          this month by model, today included
  python3 scripts/stats.py --by provider --days 30
  python3 scripts/stats.py --since 2026-10-01 --until 2026-10-31 --by day
  python3 scripts/stats.py --today --by key
  python3 scripts/stats.py --explain        why these figures differ
  python3 scripts/stats.py --line           one line for a status bar
  python3 scripts/stats.py --json | jq .data.today.usage_usd

keys: OPENROUTER_API_KEY, and OPENROUTER_MGMT_KEY for the spend by model, from the
environment or ~/.openrouter/credentials.env

"""


def _now() -> datetime:
    return datetime.now(UTC)


def parser() -> Parser:
    """Describe the arguments of stats.py."""
    parser = with_version(
        Parser(
            prog=PROGRAM,
            description="Show what OpenRouter says is spent today, this week and this month (UTC), and what is left.",
            epilog=EXAMPLES + EXIT_CODES,
        )
    )
    face = parser.add_mutually_exclusive_group()
    face.add_argument(
        "--json", action="store_const", const="json", dest="face", help="one JSON envelope, exact amounts"
    )
    face.add_argument(
        "--line",
        action="store_const",
        const="line",
        dest="face",
        help="one line at once, from the last answers; old ones are renewed in the background",
    )
    face.add_argument(
        "--format", choices=("text", "table", "json", "csv", "markdown", "line"), dest="face", help="output format"
    )
    parser.add_argument("--line-format", metavar="TEXT", help=f"a line of your own: '{LINE_EXAMPLE}'")
    parser.add_argument(
        "--top", type=whole_number(0, 10_000), metavar="N", help=f"lines of the breakdown ({DEFAULT_TOP})"
    )
    add_grouping(parser)
    add_period(parser, most_days=MOST_DAYS, zone_help="also show today in a time zone: Europe/Amsterdam")
    add_filters(parser)
    add_source(parser, "account")
    add_compare(parser)
    parser.add_argument("--fees", action="store_true", help="web search, file and BYOK fees as parts of the cost")
    parser.add_argument(
        "--explain",
        nargs="?",
        const="short",
        choices=("short", "full"),
        help="explain why the figures differ, in short or in full",
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="refresh in place on a terminal, once a minute, until ^C, which ends with 0",
    )
    seconds = whole_number(0, 86_400)
    parser.add_argument(
        "--max-age", type=seconds, metavar="S", help="answer from figures up to S seconds old, without network"
    )
    parser.add_argument(
        "--timeout", type=whole_number(1, 600), default=30, metavar="S", help="seconds to wait for OpenRouter (30)"
    )
    from openrouter_usage.cli.terminal import add_color

    add_color(parser)
    parser.set_defaults(face="text")
    return parser


def main(argv: Sequence[str], *, clock: Callable[[], datetime] = _now) -> int:
    """Print the summary; 5 when OpenRouter could not be reached and older figures were shown."""
    options = parser().parse_args(argv)
    if options.source == "ledger":
        return _of_ledger(options, clock())
    if options.until and not options.since:
        raise SettingsError("--until needs --since", hint="add --since YYYY-MM-DD", code="usage")
    if options.line_format is not None:
        if options.face not in ("text", "line") or options.max_age is not None:
            raise SettingsError(
                "--line-format makes a line, and takes neither another format nor --max-age", code="usage"
            )
        options.face = "line"
    if options.watch:
        _refuse_to_watch(options)
    refuse_two_periods(options)
    account_by(options)
    settings = load_settings()
    settings.require_key()
    for warning in settings.warnings:
        complain(PROGRAM, warning)
    if options.face == "line" and options.max_age is None:
        from openrouter_usage.cli.line import show_line

        return show_line(settings, clock, template=options.line_format, timeout_s=options.timeout)
    if options.watch:
        from openrouter_usage.cli.watching import watch

        return watch(lambda now: _view(options, settings, now), clock)
    from openrouter_usage.jobs.snapshot import latest  # late: help and a wrong argument need no answers

    now = clock()
    spending = _spending(options, settings, now)

    def meanwhile() -> None:
        _load(options.face)
        if spending:
            spending.ask(settings.mgmt_key)

    found = latest(settings, now, max_age_s=options.max_age or 0, timeout_s=options.timeout, meanwhile=meanwhile)
    summary = _summary(options, found.parts, spending)
    write(_rendered(options, summary, clock() if found.is_kept else found.parts.taken_at, found.error))
    if found.error:
        complain(PROGRAM, f"these figures are old: {found.error.message}", found.error.hint)
        return found.error.exit_code
    return 0


def _of_ledger(options: Namespace, now: datetime) -> int:
    """Answer from the local ledger, as `cost_tracker.py stats` does."""
    is_of_account = options.line_format or options.explain or options.watch or options.max_age is not None
    if options.face == "line" or is_of_account:
        raise SettingsError(
            "--line, --explain, --watch and --max-age are about the account", hint="leave --source out", code="usage"
        )
    from openrouter_usage.cli.opening import close_ledgers
    from openrouter_usage.cli.statistics import run

    options.json, options.format = options.face == "json", options.face
    options.account, options.trend, options.caching = None, False, False
    try:
        return run(options, now=now)
    finally:
        close_ledgers()


def _refuse_to_watch(options: Namespace) -> None:
    """Raise SettingsError where a live view makes no sense, or cannot be drawn."""
    if options.face != "text" or options.max_age is not None:
        raise SettingsError(
            "--watch shows the text, once a minute", hint="leave out the format and --max-age", code="usage"
        )
    from openrouter_usage.cli.terminal import can_draw
    from openrouter_usage.cli.watching import refuse_without_terminal

    refuse_without_terminal(can_draw=can_draw())


def _view(options: Namespace, settings: Settings, now: datetime) -> View:
    """Ask, unless another program has asked within the minute, and return the text."""
    from openrouter_usage.cli.watching import EVERY_S, View
    from openrouter_usage.jobs.snapshot import latest

    spending = _spending(options, settings, now)
    ask = (lambda: spending.ask(settings.mgmt_key)) if spending else (lambda: None)
    # A little less than a minute, so that what this view has asked for itself is never taken for new.
    found = latest(settings, now, max_age_s=EVERY_S - 1, timeout_s=options.timeout, meanwhile=ask)
    text = _rendered(options, _summary(options, found.parts, spending), now, found.error)
    return View(text, found.parts.taken_at, found.error.message if found.error else "")


def _spending(options: Namespace, settings: Settings, now: datetime) -> Spending | None:
    """Prepare the questions beyond the usual endpoints; without such options, and for the line, load nothing."""
    asks_more = has_period(options) or options.explain or options.tz or options.by in ACCOUNT_GROUPINGS
    if options.face == "line" or not asks_more:
        return None
    from openrouter_usage.cli.spending import Spending

    return Spending(options, settings, now)


def _summary(options: Namespace, parts: Parts, spending: Spending | None) -> Summary:
    """Build the summary from all answers."""
    from openrouter_usage.figures.summary import build_summary

    asked = None
    notes: tuple[str, ...] = ()
    if spending:
        spending.ask_late(parts)
        spending.fit(parts)
        spending.find(parts)
        notes = spending.notes(parts)
        parts = spending.with_today(parts)
        asked = spending.breakdown(parts)
    is_usual = not has_period(options) and options.by not in ACCOUNT_GROUPINGS
    local = _from_ledger(options, week(parts.taken_at)) if parts.activity is None and is_usual else None
    summary = build_summary(
        parts,
        days=DEFAULT_DAYS,
        top=options.top,
        by=options.by,
        local_day=parts.taken_at.astimezone().date(),
        local=asked if asked and asked.is_local else local,
        asked=None if asked and asked.is_local else asked,
        zone_day=spending.zone_day() if spending else None,
        more_gaps=spending.gaps if spending else (),
        is_usual=not is_searched(options),
    )
    fees = spending.fees if spending else None
    return _looking_ahead(options, parts, summary._replace(notes=(*summary.notes, *notes), fees=fees))


def _looking_ahead(options: Namespace, parts: Parts, summary: Summary) -> Summary:
    """Add the forecast, and the explanation, to the faces that show them."""
    if options.face != "json" and not options.explain:
        return summary
    from openrouter_usage.figures.forecast import forecast

    ahead = forecast(parts, summary)
    if not options.explain:
        return summary._replace(ahead=ahead)
    from openrouter_usage.figures.explain import explain, short
    from openrouter_usage.jobs.breakdown import local_breakdown

    ledger, _ = local_breakdown(week(parts.taken_at), top=0, by="model")
    week_spent = ledger.total if ledger else None
    facts = explain(summary, parts, ahead, week_spent, _seen(week(parts.taken_at)))
    facts += _budget_ends(parts.taken_at)
    if options.explain == "short" and options.face != "json":
        facts = short(facts)
    return summary._replace(ahead=ahead, explanation=tuple(facts))


def _seen(period: Period) -> tuple[Seen, ...]:
    """Return what other programs logged without an id, where `collect` was run."""
    from openrouter_usage.errors import SettingsError
    from openrouter_usage.home.settings import ledger_file

    try:
        path = ledger_file()
    except SettingsError:
        return ()
    from openrouter_usage.jobs.seen_in_logs import seen_in_logs

    return seen_in_logs(path, period)


def _budget_ends(now: datetime) -> tuple[Fact, ...]:
    """Return when each budget on tracked calls ends, where one is set."""
    from openrouter_usage.jobs.budget_ends import budget_ends

    found, problem = budget_ends(now)
    if problem:
        complain(PROGRAM, problem)
    return found


def _load(face: str) -> None:
    """Import what is needed later, while the answers are on their way."""
    for module in ("openrouter.answers.account", "figures.summary", "jobs.snapshot", _FACES[face]):
        import_module(f"openrouter_usage.{module}")


def _from_ledger(options: Namespace, period: Period) -> Breakdown | None:
    """Ask the local ledger where OpenRouter's own breakdown needs a key that is not there."""
    from openrouter_usage.jobs.breakdown import local_breakdown

    found, problem = local_breakdown(period, top=options.top, by=options.by)
    if problem:
        complain(PROGRAM, problem)
    return found


def _rendered(options: Namespace, summary: Summary, now: datetime, error: OpenRouterUsageError | None) -> str:
    """Write the summary in one face; only that face's module is loaded."""
    face: str = options.face
    breakdown = summary.breakdown
    # The usual summary keeps its shape; what was asked for is a table where somebody looks at it.
    if face in ("text", "table") and breakdown and (breakdown.coverage or face == "table"):
        from openrouter_usage.cli.terminal import is_terminal, paint_of

        if face == "table" or is_terminal():
            from openrouter_usage.render.paint import Drawing
            from openrouter_usage.render.summary import as_text

            return as_text(summary, now, Drawing(True, terminal_width() if is_terminal() else None, paint_of(options)))
    if face == "json":
        from openrouter_usage.render.envelope import summary_as_json

        return summary_as_json(summary, now, error=error)
    name = "text" if face == "table" else face
    text: str = getattr(import_module(f"openrouter_usage.{_FACES[face]}"), f"as_{name}")(summary, now)
    return text
