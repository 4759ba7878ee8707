"""Compare the ledger with OpenRouter's account, per UTC day and model: what is explained, what not, and why."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from openrouter_usage.answers.analytics import MOST_DAYS
from openrouter_usage.answers.key import KeyInfo
from openrouter_usage.answers.parts import Gap
from openrouter_usage.cli.books import open_ledger
from openrouter_usage.cli.management import load_managing
from openrouter_usage.cli.output import complain, write
from openrouter_usage.cli.parser import Parser, checked, read_day, whole_number
from openrouter_usage.client.openrouter import OpenRouter
from openrouter_usage.errors import SettingsError
from openrouter_usage.latest import error_of
from openrouter_usage.money import add
from openrouter_usage.period import DAY, NOTABLE_SKEW_S, UTC, Period, clock_off, days, month, spoken, today, week
from openrouter_usage.reconcile.tolerance import Tolerance, read_tolerance
from openrouter_usage.reconcile.windows import Beside, judged
from openrouter_usage.render import reconciliation as render
from openrouter_usage.stretch import stretches
from openrouter_usage.text import named, plural
from openrouter_usage.usage import Usage

if TYPE_CHECKING:
    from openrouter_usage.reconciling import Reconciliation

if TYPE_CHECKING:
    from openrouter_usage.reconciling import Reconciliation

EXAMPLES = """examples:
  cost_tracker.py reconcile
  cost_tracker.py reconcile --days 30 --tolerance 0.05
  cost_tracker.py reconcile --since 2026-11-01 --until 2026-11-15 --json

without a management key the ledger is compared with this key's own counters; exit code 3 outside the tolerance
"""
PROGRAM = "cost_tracker.py reconcile"
OUTSIDE, INCOMPLETE = 3, 5
_MOST_NAMES = 5
_OLD_S = 60


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument(
        "--days",
        type=whole_number(1, MOST_DAYS),
        metavar="N",
        help="the last N UTC days, the running one among them (7)",
    )
    parser.add_argument("--since", metavar="DAY", type=checked(read_day), help="from this UTC day on: YYYY-MM-DD")
    parser.add_argument("--until", metavar="DAY", type=checked(read_day), help="up to and with this UTC day")
    parser.add_argument(
        "--tolerance",
        type=checked(read_tolerance),
        default=Tolerance(Decimal(1), True),
        metavar="T",
        help="what may differ: a share such as 1%%, or an amount such as 0.05 (1%%)",
    )
    parser.add_argument("--top", type=whole_number(0, 10_000), default=10, metavar="N", help="differences shown (10)")
    parser.add_argument("--timeout", type=whole_number(1, 600), default=30, metavar="S", help="seconds to wait (30)")


def run(options: Namespace, *, now: datetime | None = None) -> int:
    """Print how much of the bill the ledger explains; 3 outside the tolerance."""
    from openrouter_usage.client.tls import SharedContext
    from openrouter_usage.client.transport import Transport
    from openrouter_usage.reconciling import Account, reconcile

    now = now or datetime.now(UTC)
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
    # What could not be read may hold any difference; one that is too large already is too large all the same.
    verdict = None if is_within and found.missing else is_within
    told = render.Result(
        found.comparison,
        span,
        found.bill.sources,
        found.causes,
        tolerance,
        verdict,
        bool(found.missing),
        found.gaps,
        _notes(found, span, now),
    )
    write(render.as_json(told, now) if options.json else render.as_text(told, options.top))
    if verdict is None:
        complain(PROGRAM, "not all of the account could be read", "try again, or leave the days out: --since, --until")
        return INCOMPLETE
    return 0 if verdict else OUTSIDE


def _span(options: Namespace, now: datetime) -> tuple[date, date]:
    """Give the first and the last day that the options pick."""
    running = today(now).first_day
    if options.days and (options.since or options.until):
        raise SettingsError("--days and --since/--until name two spans", hint="give one of them", code="usage")
    last = options.until or running
    first = options.since or last - (options.days or 7) * DAY + DAY
    if not first <= last <= running:
        raise SettingsError("--since is after --until, or the span lies ahead", hint="swap them", code="usage")
    if first < running - MOST_DAYS * DAY:
        raise SettingsError(
            f"OpenRouter tells no more than {MOST_DAYS} days back", hint=f"begin later than {first}", code="usage"
        )
    return first, last


def _notes(found: Reconciliation, span: Period, now: datetime) -> tuple[str, ...]:
    notes = []
    bill = found.bill
    if found.missing:
        notes.append(
            f"not compared, as the account's figures are missing: {', '.join(map(str, stretches(found.missing)))}"
        )
    if found.renamed:
        shown = [f"{named(name)} → {named(model)}" for name, model in found.renamed[:_MOST_NAMES]]
        more = ", ..." if len(found.renamed) > _MOST_NAMES else ""
        notes.append(f"billed under another name: {', '.join(shown)}{more}")
    if not found.booked.requests:
        notes.append("the ledger has no calls in these days: track them with `call`, track_cost or CostTracker")
    if bill.same_names > 1:
        notes.append(f"{bill.same_names} keys are named {named(bill.own_name)}: by name they cannot be told apart")
    if bill.cached_at and (now - bill.cached_at).total_seconds() > _OLD_S:
        notes.append(f"OpenRouter's figures of the running day are those of {spoken(bill.cached_at)}")
    skew_s = bill.clock_ahead_s
    if skew_s is not None and abs(skew_s) >= NOTABLE_SKEW_S:
        notes.append(f"{clock_off(skew_s)}: near midnight UTC a day may be taken for another")
    return tuple(notes)


def _with_counters(options: Namespace, key: KeyInfo, now: datetime) -> int:
    """Compare with what the key itself tells: the running day, week and month."""
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
        raise error_of(Gap("key", "bad_answer", f"OpenRouter does not tell this key's {chosen.period.label}", "", 5))
    tolerance: Tolerance = options.tolerance
    is_within = tolerance.allows(add(chosen.unexplained, chosen.surplus), chosen.key)
    notes = (
        *_not_in_the_sums(chosen.ledger, len(ledger.health().holds)),
        "by model, by day and for other keys: set OPENROUTER_MGMT_KEY to a management key",
        "OpenRouter's counters may be up to a minute old; the ledger may have calls of other keys",
    )
    counters = render.Counters(windows, chosen, tolerance, is_within, notes)
    write(render.counters_json(counters, now) if options.json else render.counters_text(counters))
    return 0 if is_within else OUTSIDE


def _not_in_the_sums(ledger: Usage, holds: int) -> Iterator[str]:
    """Name the calls whose cost the ledger does not know, or not for sure."""
    if ledger.unknown:
        yield f"{plural(ledger.unknown, 'call')} of unknown cost in the ledger: not in its sum"
    if ledger.estimated:
        yield f"{plural(ledger.estimated, 'call')} in the ledger whose cost is an estimate"
    if holds:
        yield f"{plural(holds, 'call')} running or unsettled, not in these; see: settle"
