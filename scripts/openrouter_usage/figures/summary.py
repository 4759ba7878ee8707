"""The summary as plain values, and how it is built from OpenRouter's answers; None is unknown and never zero."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from openrouter_usage.entry import NOTHING
from openrouter_usage.figures.breakdown import GROUPS, Breakdown, activity_groups, break_down
from openrouter_usage.figures.options import DEFAULT_TOP
from openrouter_usage.money import ZERO, format_usd, multiply, rounded, subtract
from openrouter_usage.openrouter.answers.account import ActivityRow, Credits, Gap, Parts, TodaySpend
from openrouter_usage.openrouter.answers.fields import LeftOut, left_out_days, left_out_of
from openrouter_usage.openrouter.answers.key import FreeQuota, KeyInfo, Limit, Spend
from openrouter_usage.period import NOTABLE_SKEW_S, Period, clock_off, completed_days, month, resets_at, today, week

if TYPE_CHECKING:
    from openrouter_usage.openrouter.answers.analytics import AccountFees

# -- The summary as plain values; None is unknown and never zero.

_MICRO = Decimal("0.000001")


class Pace(NamedTuple):
    """USD spent a day, to 60 digits, and the sentence that says how that was found."""

    usd_per_day: Decimal
    how: str

    @property
    def shown(self) -> Decimal:
        """The pace as it is written: to a millionth, and a smaller one to three digits, so never a false zero."""
        return shown(self.usd_per_day)


def shown(number: Decimal) -> Decimal:
    """Round to a millionth, and what is smaller to three digits, so that nothing becomes a false zero."""
    size = number.copy_abs()
    is_tiny = ZERO < size < _MICRO
    return rounded(number, Decimal((0, (1,), size.adjusted() - 2)) if is_tiny else _MICRO)


class Outlook(NamedTuple):
    """What is left somewhere, at which pace it is used, and for how many days it lasts, to 60 digits; None is unknown.

    A limit that resets at some moment is not used up later than that. `is_bound`: it lasts at least so long, for
    others spend at the pace too.
    """

    name: str
    left: Decimal
    pace: Pace | None
    days: Decimal | None
    resets_at: datetime | None = None
    is_bound: bool = False

    def outlasts_its_window(self, now: datetime) -> bool:
        """Check whether the limit resets before it can be used up."""
        resets_at = self.resets_at
        if resets_at is None or self.days is None:
            return False
        return Decimal(int((resets_at - now).total_seconds())) <= multiply(self.days, 86_400)


class MonthEnd(NamedTuple):
    """What the running UTC month will have cost in USD, rounded to a millionth, if the pace stays.

    `whose` is "account" or "key"; `so_far` ends with the last completed day where today's spend is not known.
    """

    amount: Decimal
    so_far: Decimal
    pace: Pace
    whose: str
    has_today: bool = True


class Spike(NamedTuple):
    """A UTC day on which the account spent at least `SPIKE` times as much as on a usual one."""

    day: date
    amount: Decimal
    times: Decimal


class Forecast(NamedTuple):
    """What can be said of the time to come; `usual` is the account's median day, None where it is not known."""

    month_end: MonthEnd | None
    outlooks: tuple[Outlook, ...]
    usual: Decimal | None
    spikes: tuple[Spike, ...]


class Window(NamedTuple):
    """Money spent in a running window; `source` names the endpoint the figure comes from, or the local ledger.

    `unknown_calls` are calls of the window whose cost nobody knows, and which are in no figure.
    """

    period: Period
    usage: Decimal | None
    byok: Decimal | None
    source: str
    unknown_calls: int = 0


class Fact(NamedTuple):
    """One true sentence, in a word what it is about, and the amounts in USD that it names, in their order."""

    code: str
    text: str
    amounts: tuple[Decimal, ...] = ()


class Summary(NamedTuple):
    """What `stats.py` shows; `scope` tells whether Today, Week and Month are of one key or the account.

    `zone_day` is the running day of the user's own time zone, when that was asked for.
    """

    scope: str
    label: str
    taken_at: datetime
    today: Window
    week: Window
    month: Window
    balance: Credits | None = None
    key_limit: Limit | None = None
    budget: Limit | None = None
    spendable: Decimal | None = None
    bound_by: str = ""
    free_models: FreeQuota | None = None
    expires_at: datetime | None = None
    breakdown: Breakdown | None = None
    zone_day: Window | None = None
    fees: AccountFees | None = None
    ahead: Forecast | None = None
    explanation: tuple[Fact, ...] = ()
    gaps: tuple[Gap, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_partial(self) -> bool:
        """Check whether a part that should be there is missing."""
        return bool(self.gaps)

    @property
    def left(self) -> tuple[tuple[str, Decimal], ...]:
        """What is known to be left in USD, by what binds: `balance`, `key_limit` or `budget`; the smallest first.

        Of equals the first in this order comes first. A key without a limit is bound by none.
        """
        found = [("balance", self.balance.balance)] if self.balance else []
        for name, limit in (("key_limit", self.key_limit), ("budget", self.budget)):
            if limit and limit.remaining is not None:
                found.append((name, limit.remaining))
        return tuple(sorted(found, key=lambda pair: pair[1]))

    @property
    def windows(self) -> tuple[Window, Window, Window]:
        """Today, week and month."""
        return self.today, self.week, self.month


# -- Builds the Summary from OpenRouter's answers: which figure is whose, and which cannot be known.

MGMT_HINT = "set OPENROUTER_MGMT_KEY to a management key (openrouter.ai/settings/management-keys)"


def build_summary(
    parts: Parts,
    *,
    days: int = 7,
    top: int | None = None,
    by: str = "model",
    local_day: date | None = None,
    local: Breakdown | None = None,
    asked: Breakdown | None = None,
    zone_day: Window | None = None,
    more_gaps: tuple[Gap, ...] = (),
    is_usual: bool = True,
) -> Summary:
    """Build the summary as of `parts.taken_at`; `local_day` is the user's own date at that moment.

    `local` is what the ledger knows of a running period; it stands in where OpenRouter may not be asked. `asked` is a
    breakdown that takes the place of the usual one, and `more_gaps` are parts of it that are missing; without
    `is_usual` nothing else takes its place.
    """
    now = parts.taken_at
    key = None if isinstance(parts.key, Gap) else parts.key
    balance, balance_notes = _balance(parts, key)
    whole_account = key is not None and key.is_management_key
    limit = _timed(key.limit, now) if key and not whole_account else None
    budget = _tighter_budget(key, limit, now) if key and not whole_account else None
    spendable, bound_by = _spendable(balance, limit, budget)
    windows = _account_windows(parts, now) if whole_account else _key_windows(key, now)
    rows = None if isinstance(parts.activity, Gap) else parts.activity
    return Summary(
        "account" if whole_account else "key",
        key.label if key else "",
        now,
        *windows,
        balance=balance,
        key_limit=limit,
        budget=budget,
        spendable=spendable,
        bound_by=bound_by,
        free_models=key.free_models if key and key.free_models and key.free_models.used else None,
        expires_at=key.expires_at if key else None,
        breakdown=asked or _breakdown(local, windows, rows if is_usual else None, now, days=days, top=top, by=by),
        zone_day=zone_day,
        gaps=(*_needed(_gaps(parts), asked), *(_impossible(parts, windows) if whole_account else ()), *more_gaps),
        notes=(*balance_notes, *_notes(parts, local_day, has_ledger=local is not None)),
    )


def _key_windows(key: KeyInfo | None, now: datetime) -> tuple[Window, Window, Window]:
    unknown = Spend(None, None)
    daily, weekly, monthly = (key.daily, key.weekly, key.monthly) if key else (unknown, unknown, unknown)
    return (
        Window(today(now), daily.usage, daily.byok, "/key usage_daily"),
        Window(week(now), weekly.usage, weekly.byok, "/key usage_weekly"),
        Window(month(now), monthly.usage, monthly.byok, "/key usage_monthly"),
    )


def _account_windows(parts: Parts, now: datetime) -> tuple[Window, Window, Window]:
    """Add the completed days to the running one: a management key's own counters stay at zero."""
    return (_account_window(today(now), parts), _account_window(week(now), parts), _account_window(month(now), parts))


def _account_window(period: Period, parts: Parts) -> Window:
    running, this_day = parts.today, parts.taken_at.date()
    source = "/analytics/query" if period.first_day == this_day else "/activity + /analytics/query"
    rows = () if period.first_day == this_day else parts.activity
    if not isinstance(running, TodaySpend) or running.truncated or rows is None or isinstance(rows, Gap):
        return Window(period, None, None, source)
    # A sum without one of its rows is unknown; a missing row belongs to its day, where that could be read.
    days = left_out_days(left_out_of(rows))
    if running.left_out or any(day is None or period.first_day <= day < this_day for day in days):
        return Window(period, None, None, source)
    completed = (row.usage for row in rows if period.first_day <= row.day < this_day)
    usage = sum(completed, NOTHING) + running.usage
    if usage.cost < 0 or usage.byok_cost < 0:
        return Window(period, None, None, source)  # `_impossible` says so
    return Window(period, usage.cost, usage.byok_cost, source)


def _impossible(parts: Parts, windows: tuple[Window, ...]) -> list[Gap]:
    """Name the windows of a whole account whose sum is below zero: single rows may be, all of them cannot."""
    if not isinstance(parts.today, TodaySpend) or parts.today.truncated or left_out_of(parts.today):
        return []
    rows = parts.activity
    if rows is None or isinstance(rows, Gap) or left_out_of(rows):
        rows = ()
    found = []
    for window in windows:
        if window.usage is None:
            sums = [row.usage for row in rows if window.period.first_day <= row.day < parts.taken_at.date()]
            usage = sum(sums, NOTHING) + parts.today.usage
            if usage.cost < 0 or usage.byok_cost < 0:
                why = f"{window.source} adds up to less than nothing for {window.period.label}, which cannot be"
                found.append(LeftOut(why))
    return [Gap.of_left_out("today", found, "figure")] if found else []


def _balance(parts: Parts, key: KeyInfo | None) -> tuple[Credits | None, list[str]]:
    """Believe /credits only where it can be true; else say why the balance is unknown."""
    credits = parts.credits
    if isinstance(credits, Gap):
        expected = not parts.managed and credits.code == "forbidden"
        return None, [f"balance unknown: OpenRouter tells it to management keys only; {MGMT_HINT}"] if expected else []
    spent_before = bool(key and key.all_time.usage)
    if credits.is_blank and (spent_before or not parts.managed):
        remedy = "" if parts.managed else f"; {MGMT_HINT}"
        return None, [f"balance unknown: OpenRouter answers 0 of 0 to this key, which need not be true{remedy}"]
    if not credits.purchased and credits.used:
        used = format_usd(credits.used)
        return None, [f"no prepaid balance: the account has used {used} and bought no credits (it may be invoiced)"]
    return credits, []


def _timed(limit: Limit | None, now: datetime) -> Limit | None:
    """Return a limit with the moment when it resets: as OpenRouter says, or else by its UTC windows."""
    if limit is None or limit.resets_at is not None:
        return limit
    return Limit(limit.amount, limit.remaining, limit.reset, resets_at(limit.reset, now), limit.scope)


def _tighter_budget(key: KeyInfo, limit: Limit | None, now: datetime) -> Limit | None:
    """Return the budget that blocks first, when that is not the key's own limit."""
    budget = _timed(key.effective_budget, now)
    if budget is None or budget.scope == "key_limit" or budget.remaining is None:
        return None
    own = limit.remaining if limit else None
    return budget if own is None or budget.remaining < own else None


def _spendable(balance: Credits | None, limit: Limit | None, budget: Limit | None) -> tuple[Decimal | None, str]:
    """Return the smallest of what is left anywhere, and where; None when one of them is not known."""
    if balance is None or limit is None or (limit.amount is not None and limit.remaining is None):
        return None, ""
    left = [(balance.balance, "balance")]
    if limit.remaining is not None:
        left.append((limit.remaining, "key_limit"))
    if budget and budget.remaining is not None:
        left.append((budget.remaining, "budget"))
    amount, bound_by = min(left, key=lambda pair: pair[0])
    return max(amount, ZERO), bound_by


def _gaps(parts: Parts) -> tuple[Gap, ...]:
    """Return what is missing unexpectedly; an inference key is not expected to see the credits."""
    gaps = [gap for gap in parts.gaps if parts.managed or gap.part != "credits" or gap.code != "forbidden"]
    if isinstance(parts.today, TodaySpend) and parts.today.truncated:
        gaps.append(Gap("today", "truncated", "OpenRouter cut its answer short", "", 5))
    # A management key's own counters are not shown.
    is_shown = isinstance(parts.key, KeyInfo) and not parts.key.is_management_key
    for part, answer, noun in (
        ("key", parts.key if is_shown else None, "figure"),
        ("activity", parts.activity, "row"),
        ("today", parts.today, "row"),
    ):
        if left_out_of(answer):
            gaps.append(Gap.of_left_out(part, left_out_of(answer), noun))
    return tuple(gaps)


def _needed(gaps: tuple[Gap, ...], asked: Breakdown | None) -> tuple[Gap, ...]:
    """Return the gaps without that of /activity, where other sources had all days of a chosen period."""
    is_whole = asked is not None and asked.coverage is not None and not asked.coverage.missing
    return tuple(gap for gap in gaps if gap.part != "activity" or not is_whole)


def _breakdown(
    local: Breakdown | None,
    windows: tuple[Window, ...],
    rows: tuple[ActivityRow, ...] | None,
    now: datetime,
    *,
    days: int,
    top: int | None,
    by: str,
) -> Breakdown | None:
    """Break the completed days down; or let the ledger stand in, and say how much of the key's spend it has not seen.

    That is less than nothing when the ledger has calls of other keys.
    """
    if local is not None:
        spent = next((w.usage for w in windows if local.period and w.period[:2] == local.period[:2]), None)
        return local if spent is None else local._replace(unattributed=subtract(spent, local.total.cost))
    if rows is None or by not in GROUPS:
        return None
    period = completed_days(now, days)
    groups = activity_groups(rows, period, by)
    return break_down(groups, by, most=DEFAULT_TOP, top=top, period=period, source="/activity")


def _notes(parts: Parts, local_day: date | None, *, has_ledger: bool) -> list[str]:
    notes = []
    if parts.activity is None:
        told = "spend by model is what the ledger saw; for OpenRouter's own" if has_ledger else "no spend by model:"
        notes.append(f"{told} {MGMT_HINT}")
    utc_day = parts.taken_at.date()
    if local_day and local_day != utc_day:
        notes.append(f"Today is OpenRouter's UTC day {utc_day}; where you are it is {local_day}")
    skew_s = parts.clock_ahead_s
    if skew_s is not None and abs(skew_s) >= NOTABLE_SKEW_S:
        notes.append(f"{clock_off(skew_s)}; days may be counted wrongly")
    return notes
