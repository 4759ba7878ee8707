"""Compare the ledger with OpenRouter's account, per UTC day and model: what is explained, what is not, and why."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from openrouter_usage.called import as_called
from openrouter_usage.cli.management import load_managing
from openrouter_usage.cli.opening import open_ledger
from openrouter_usage.cli.program import Parser, checked, complain, read_day, whole_number, write
from openrouter_usage.entry import Usage
from openrouter_usage.errors import SettingsError
from openrouter_usage.figures.reconcile import Cause, Comparison, Line
from openrouter_usage.figures.reconcile_calls import Beside, Tolerance, judged, read_tolerance
from openrouter_usage.figures.seen_in_logs import Seen, as_data, words_of
from openrouter_usage.home.settings import ledger_file
from openrouter_usage.jobs.seen_in_logs import seen_in_logs
from openrouter_usage.jobs.snapshot import error_of
from openrouter_usage.money import ZERO, Json, add, format_usd, plain, share, subtract
from openrouter_usage.openrouter.answers.account import Gap
from openrouter_usage.openrouter.answers.analytics import MOST_DAYS
from openrouter_usage.openrouter.answers.key import KeyInfo
from openrouter_usage.openrouter.endpoints import OpenRouter
from openrouter_usage.period import (
    DAY,
    NOTABLE_SKEW_S,
    Period,
    clock_off,
    days,
    iso,
    month,
    spoken,
    stretches,
    today,
    week,
)
from openrouter_usage.render.amounts import credits_and_byok
from openrouter_usage.render.envelope import envelope
from openrouter_usage.text import named, plural

if TYPE_CHECKING:
    from openrouter_usage.jobs.reconcile import Reconciliation

# -- The comparison as text and as JSON.

_TITLE = "🧾 OpenRouter Reconciliation"


class Result(NamedTuple):
    """A comparison with its notes; `is_partial` where days could not be read, and `is_within` None where
    that leaves the verdict open."""

    comparison: Comparison
    period: Period
    sources: tuple[str, ...]
    causes: list[Cause]
    tolerance: Tolerance
    is_within: bool | None
    is_partial: bool
    gaps: tuple[Gap, ...]
    notes: tuple[str, ...]
    seen: tuple[Seen, ...] = ()


class Counters(NamedTuple):
    """The ledger beside a key's own counters, and the one window of them that is judged."""

    windows: tuple[Beside, ...]
    judged: Beside
    tolerance: Tolerance
    is_within: bool
    notes: tuple[str, ...]
    seen: tuple[Seen, ...] = ()


def as_text(result: Result, top: int) -> str:
    """Return the result as text, with the `top` largest differences."""
    found = result.comparison
    account, ledger = found.account, found.ledger
    lines = [
        f"{_TITLE}: ledger against account, {_days(result.period)} (UTC days)",
        _headline(found.attributed, account.cost, found.unexplained, found.surplus, partly=result.is_partial),
        f"Account: {credits_and_byok(account.cost, account.byok_cost)} ({', '.join(result.sources)})",
        f"Ledger: {credits_and_byok(ledger.cost, ledger.byok_cost)} ({plural(ledger.requests, 'call')})",
    ]
    differing = found.differing
    if differing:
        lines.append("By day and model:")
        lines += [f"• {_line(line)}" for line in differing[:top]]
        rest = differing[top:]
        if rest:
            lines.append(f"... and {len(rest)} more ({_both(Comparison(tuple(rest)))})")
    if result.causes:
        lines.append("Why:")
        lines += [f"• {cause.message} → {cause.command}" for cause in result.causes]
    lines += [f"⚠ {gap.message}" for gap in result.gaps]
    lines += [f"ℹ {note}" for note in result.notes]
    lines.append(_verdict(result.is_within, result.tolerance))
    return "\n".join(lines) + "\n"


def _headline(
    attributed: Decimal,
    account: Decimal,
    unexplained: Decimal,
    surplus: Decimal,
    *,
    whose: str = "the account",
    partly: bool = False,
) -> str:
    told = f"Attributed {share(attributed, account, 1)} of {format_usd(account)}; unexplained {format_usd(unexplained)}"
    if not account:
        told = f"Nothing was spent by {whose}"
    told += " in the days that could be read" if partly else ""
    return told + (f"; in the ledger alone {format_usd(surplus)}" if surplus else "")


def _verdict(is_within: bool | None, tolerance: Tolerance) -> str:
    if is_within is None:
        return f"❓ unknown whether the difference is within the tolerance of {tolerance}"
    return f"{'✅ within' if is_within else '❌ outside'} the tolerance of {tolerance}"


def _days(period: Period) -> str:
    first, last = period.first_day, period.last_day
    return f"{first}" if first == last else f"{first} to {last}"


def _both(found: Comparison) -> str:
    parts = [(found.unexplained, "unexplained"), (found.surplus, "in the ledger alone")]
    return ", ".join(f"{format_usd(amount)} {what}" for amount, what in parts if amount)


def _line(line: Line) -> str:
    told = f"{line.day} {named(line.model)}: {_both(Comparison((line,)))}"
    others = line.by_others
    if others:
        told += f", {'all' if others == line.unexplained else format_usd(others)} by other keys"
    return f"{told} (account {format_usd(line.account.cost)}, ledger {format_usd(line.known)})"


def as_json(result: Result, now: datetime) -> str:
    """Return everything as JSON, including every differing line, with exact amounts."""
    found = result.comparison
    data: dict[str, Json] = {
        "scope": "account",
        "start": iso(result.period.start),
        "end": iso(result.period.end),
        "sources": list(result.sources),
        "account": _usage(found.account),
        "ledger": _usage(found.ledger),
        **_sums(found.attributed, found.unexplained, found.surplus, result.tolerance, result.is_within),
        "by_other_keys_usd": found.by_others,
        "lines": [_line_data(line) for line in sorted(found.differing, key=lambda line: (line.day, line.model))],
        "causes": [
            {"code": cause.code, "usd": cause.amount, "message": cause.message, "command": cause.command}
            for cause in result.causes
        ],
        "seen_in_logs": as_data(result.seen),
        "partial": bool(result.gaps),
        "missing": [{"part": gap.part, "code": gap.code, "message": gap.message} for gap in result.gaps],
    }
    return envelope("reconciliation", now, data, notes=result.notes)


def _sums(
    attributed: Decimal, unexplained: Decimal, surplus: Decimal, tolerance: Tolerance, is_within: bool | None
) -> dict[str, Json]:
    return {
        "attributed_usd": attributed,
        "unexplained_usd": unexplained,
        "ledger_alone_usd": surplus,
        "tolerance": f"{plain(tolerance.amount)}{'%' if tolerance.is_share else ''}",
        "within_tolerance": is_within,
    }


def _usage(usage: Usage) -> dict[str, Json]:
    return {
        "usage_usd": usage.cost,
        "byok_usd": usage.byok_cost,
        "requests": usage.requests,
        "unknown_cost_calls": usage.unknown,
        "estimated_cost_calls": usage.estimated,
    }


def _line_data(line: Line) -> dict[str, Json]:
    return {
        "date": line.day.isoformat(),
        "model": line.model,
        "ledger_names": list(line.ledger_names),
        "account_usd": line.account.cost,
        "ledger_usd": line.ledger.cost,
        "moved_usd": line.moved,
        "unexplained_usd": line.unexplained,
        "ledger_alone_usd": line.surplus,
        "by_other_keys_usd": line.by_others,
    }


def counters_text(found: Counters) -> str:
    """Return the comparison with a key's own counters as text."""
    judged = found.judged
    lines = [
        f"{_TITLE}: ledger against this key's own counters (/key), UTC {judged.period.label}",
        _headline(judged.attributed, judged.key or ZERO, judged.unexplained, judged.surplus, whose="this key"),
    ]
    for window in found.windows:
        key = "unknown" if window.key is None else format_usd(window.key)
        lines.append(f"• {window.period.label}: key {key}, ledger {format_usd(window.ledger.cost)}")
    lines += [f"ℹ {note}" for note in found.notes]
    return "\n".join([*lines, _verdict(found.is_within, found.tolerance)]) + "\n"


def counters_json(found: Counters, now: datetime) -> str:
    """Return the same as JSON with exact amounts."""
    judged = found.judged
    sums = _sums(judged.attributed, judged.unexplained, judged.surplus, found.tolerance, found.is_within)
    windows: list[Json] = [
        {
            "window": window.period.label,
            "start": iso(window.period.start),
            "end": iso(window.period.end),
            "key_usd": window.key,
            "ledger_usd": window.ledger.cost,
            "difference_usd": None if window.key is None else subtract(window.key, window.ledger.cost),
        }
        for window in found.windows
    ]
    start, end = iso(judged.period.start), iso(judged.period.end)
    data: dict[str, Json] = {"scope": "key", "start": start, "end": end, "sources": ["/key"], **sums}
    data |= {"windows": windows, "seen_in_logs": as_data(found.seen)}
    return envelope("reconciliation", now, data, notes=found.notes)


EXAMPLES = """examples:
  cost_tracker.py reconcile
  cost_tracker.py reconcile --days 30 --tolerance 0.05
  cost_tracker.py reconcile --since 2026-11-01 --until 2026-11-15 --json

without a management key the ledger is compared with this key's own counters; exit code 3 outside the tolerance
"""
PROGRAM = as_called("cost_tracker.py reconcile")
OUTSIDE, INCOMPLETE = 3, 5
_MOST_NAMES = 5
_OLD_S = 60


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument(
        "--days",
        type=whole_number(1, MOST_DAYS),
        metavar="N",
        help="the last N UTC days, today included (7)",
    )
    parser.add_argument("--since", metavar="DAY", type=checked(read_day), help="first UTC day: YYYY-MM-DD")
    parser.add_argument("--until", metavar="DAY", type=checked(read_day), help="last UTC day")
    parser.add_argument(
        "--tolerance",
        type=checked(read_tolerance),
        default=Tolerance(Decimal(1), True),
        metavar="T",
        help="allowed difference: a share such as 1%%, or USD such as 0.05 (1%%)",
    )
    parser.add_argument("--top", type=whole_number(0, 10_000), default=10, metavar="N", help="differences shown (10)")
    parser.add_argument("--timeout", type=whole_number(1, 600), default=30, metavar="S", help="seconds to wait (30)")


def run(options: Namespace, *, now: datetime) -> int:
    """Print how much of the bill the ledger explains; return 3 outside the tolerance."""
    from openrouter_usage.jobs.reconcile import Account, reconcile
    from openrouter_usage.openrouter.network import SharedContext
    from openrouter_usage.openrouter.transport import Transport

    first, last = _span(options, now)
    settings = load_managing(PROGRAM)
    transport = Transport(settings.base_url, timeout_s=options.timeout, tls=SharedContext())
    key, managing = settings.credentials.api_key, settings.mgmt_key
    if managing is None:
        answer = OpenRouter(transport, settings.require_key()).key()
        if not answer.is_management_key or not settings.base_url.may_see_mgmt_key:
            return _with_counters(options, answer, now)
        key, managing = None, settings.require_key()
    ledger, span = open_ledger(PROGRAM), days(first, last, "span")
    account = Account(transport, managing, key if key is not managing else None)
    found = reconcile(ledger, account, span, now=now, timeout_s=options.timeout)
    tolerance: Tolerance = options.tolerance
    is_within = tolerance.allows(found.comparison.difference, found.comparison.account.cost)
    # Unread days may hide any difference; one that is too large already stays too large.
    verdict = None if is_within and found.missing else is_within
    told = Result(
        found.comparison,
        span,
        found.bill.sources,
        found.causes,
        tolerance,
        verdict,
        bool(found.missing),
        found.gaps,
        _notes(found, span, now),
        found.seen,
    )
    write(as_json(told, now) if options.json else as_text(told, options.top))
    if verdict is None:
        complain(PROGRAM, "not all of the account could be read", "try again, or leave the days out: --since, --until")
        return INCOMPLETE
    return 0 if verdict else OUTSIDE


def _span(options: Namespace, now: datetime) -> tuple[date, date]:
    """Return the first and the last day that the options pick."""
    running = today(now).first_day
    if options.days and (options.since or options.until):
        raise SettingsError(
            "--days and --since/--until cannot be combined",
            hint="use either --days or --since/--until, not both",
            code="usage",
        )
    last = options.until or running
    first = options.since or last - (options.days or 7) * DAY + DAY
    if not first <= last <= running:
        raise SettingsError(
            "--since is after --until, or in the future", hint="choose an earlier --since", code="usage"
        )
    if first < running - MOST_DAYS * DAY:
        raise SettingsError(
            f"OpenRouter's figures go back only {MOST_DAYS} days",
            hint=f"choose a --since later than {first}",
            code="usage",
        )
    return first, last


def _notes(found: Reconciliation, span: Period, now: datetime) -> tuple[str, ...]:
    notes = []
    bill = found.bill
    if found.missing:
        notes.append(
            f"not compared, because the account's figures are missing: {', '.join(map(str, stretches(found.missing)))}"
        )
    if found.renamed:
        shown = [f"{named(name)} → {named(model)}" for name, model in found.renamed[:_MOST_NAMES]]
        more = ", ..." if len(found.renamed) > _MOST_NAMES else ""
        notes.append(f"billed under another name: {', '.join(shown)}{more}")
    if not found.booked.requests:
        notes.append("the ledger has no calls in these days: track them with `call`, track_cost or CostTracker")
    if bill.same_names > 1:
        notes.append(f"{bill.same_names} keys are named {named(bill.own_name)}, so they cannot be told apart by name")
    if bill.cached_at and (now - bill.cached_at).total_seconds() > _OLD_S:
        notes.append(f"OpenRouter's figures of today are from {spoken(bill.cached_at)}")
    skew_s = bill.clock_ahead_s
    if skew_s is not None and abs(skew_s) >= NOTABLE_SKEW_S:
        notes.append(f"{clock_off(skew_s)}: near midnight UTC a call may be counted on the wrong day")
    return tuple(notes)


def _with_counters(options: Namespace, key: KeyInfo, now: datetime) -> int:
    """Compare with the key's own counters: the running day, week and month."""
    if options.since or options.until:
        raise SettingsError(
            "without a management key only the running day, week and month can be compared",
            hint="leave --since and --until out, or set OPENROUTER_MGMT_KEY",
            code="usage",
        )
    ledger = open_ledger(PROGRAM)
    spent = ((today(now), key.daily), (week(now), key.weekly), (month(now), key.monthly))
    windows = tuple(Beside(period, spend.usage, ledger.totals(period).total) for period, spend in spent)
    chosen = judged(windows, options.days or 7)
    if chosen.key is None:
        raise error_of(Gap("key", "bad_answer", f"OpenRouter does not report this key's {chosen.period.label}", "", 5))
    tolerance: Tolerance = options.tolerance
    is_within = tolerance.allows(add(chosen.unexplained, chosen.surplus), chosen.key)
    seen = seen_in_logs(ledger_file(), chosen.period)
    notes = (
        *_not_in_the_sums(chosen.ledger, len(ledger.health().holds)),
        "set OPENROUTER_MGMT_KEY to a management key to compare by model, by day and other keys",
        "OpenRouter's counters may be up to a minute old; the ledger may have calls of other keys",
    )
    if seen and chosen.unexplained > 0:
        notes = (f"of what is unexplained, {words_of(seen)}", *notes)
    counters = Counters(windows, chosen, tolerance, is_within, notes, seen)
    write(counters_json(counters, now) if options.json else counters_text(counters))
    return 0 if is_within else OUTSIDE


def _not_in_the_sums(ledger: Usage, holds: int) -> Iterator[str]:
    """Yield notes on the calls whose cost the ledger does not know, or not for certain."""
    if ledger.unknown:
        yield f"{plural(ledger.unknown, 'call')} of unknown cost in the ledger: not in its sum"
    if ledger.estimated:
        yield f"{plural(ledger.estimated, 'call')} in the ledger whose cost is an estimate"
    if holds:
        yield f"{plural(holds, 'call')} running or unsettled, not included; see: settle"
