"""Why the figures of a summary differ, in plain sentences with the figures themselves; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal

from openrouter_usage.entry import Usage
from openrouter_usage.figures.forecast import said_of_month_end, said_of_outlook, said_of_spike
from openrouter_usage.figures.seen_in_logs import Seen, words_of
from openrouter_usage.figures.summary import Fact, Forecast, Summary
from openrouter_usage.money import ZERO, add, format_usd, subtract, total
from openrouter_usage.openrouter.answers.account import ActivityRow, Gap, Parts, TodaySpend
from openrouter_usage.period import DAY, Period, completed_days
from openrouter_usage.text import named, plural


def explain(
    summary: Summary, parts: Parts, ahead: Forecast, ledger_week: Usage | None, seen: Sequence[Seen] = ()
) -> list[Fact]:
    """Return what each figure covers and how the figures are related; what is not known is left out.

    `ledger_week` is what the local ledger has of the running UTC week, None when there is no ledger; `seen` is what
    other programs logged in it without an id.
    """
    rows = parts.activity if parts.activity is not None and not isinstance(parts.activity, Gap) else None
    return [
        _verdict(summary, parts, rows),
        *_whose(summary),
        *_windows(summary),
        *(_table(summary, parts, rows) if rows is not None else _no_table(parts)),
        *_byok(summary, rows, completed_days(parts.taken_at, 30)),
        *_seen(summary, ledger_week),
        *_logged(summary, ledger_week, seen),
        *_funds(summary),
        *_age(),
        *_ahead(summary, ahead),
    ]


# What a short explanation leaves room for, in this order; a token is four letters.
_SHORT = (
    "verdict",
    "table",
    "budget_end",
    "days_before_week",
    "same_days",
    "byok",
    "spendable",
    "outlook",
    "no_activity",
    "ledger",
)
# Of these only the first, which is the one that ends first, or the machine's.
_ONCE = ("outlook", "budget_end")
_MOST_LETTERS = 760


def short(facts: list[Fact]) -> list[Fact]:
    """Return the verdict and as many of the other facts as 200 tokens hold, those that explain most first."""
    chosen: list[Fact] = []
    for code in _SHORT:
        for fact in facts:
            is_new = fact.code == code and (code not in _ONCE or all(each.code != code for each in chosen))
            if is_new and sum(len(each.text) + 4 for each in (*chosen, fact)) <= _MOST_LETTERS:
                chosen.append(fact)
    return chosen


def _verdict(summary: Summary, parts: Parts, rows: tuple[ActivityRow, ...] | None) -> Fact:
    """Return in one sentence why the live totals and the breakdown are not the same."""
    whose = "all keys" if summary.scope == "account" else "one key"
    if all(window.usage is None for window in summary.windows):
        return Fact("verdict", "The totals are not known, because OpenRouter did not answer for this key")
    if rows is None:
        return Fact("verdict", f"The totals are what {whose} spent in running UTC windows; there is no account table")
    is_asked = summary.breakdown is not None and summary.breakdown.coverage is not None
    span = completed_days(parts.taken_at, 7)
    table = "the days you asked for" if is_asked else f"the completed UTC days {span.first_day} to {span.last_day}"
    today = summary.today.usage
    amounts = () if today is None or is_asked else (today,)
    running = f", so {format_usd(amounts[0])} of today is not in it" if amounts else ""
    return Fact(
        "verdict",
        f"The totals are what {whose} spent in running UTC windows, and the table is the whole account's spend on"
        f" {table}{running}",
        amounts,
    )


def _whose(summary: Summary) -> Iterator[Fact]:
    if summary.scope == "account":
        yield Fact("scope", "Today, Week and Month are what all keys of the account spent together")
    elif any(window.usage is not None for window in summary.windows):
        key = f"this one key ({named(summary.label)})" if summary.label else "this one key"
        yield Fact("scope", f"Today, Week and Month are what {key} spent; what other keys spent is not in them")


def _windows(summary: Summary) -> Iterator[Fact]:
    day, week, month = (window.period for window in summary.windows)
    yield Fact(
        "windows",
        f"They are running UTC windows: Today began at {day.first_day} 00:00 UTC, Week on Monday {week.first_day}, "
        f"Month on {month.first_day}",
    )
    amounts = summary.week.usage, summary.month.usage
    if week.first_day < month.first_day and amounts[0] is not None and amounts[1] is not None:
        yield Fact(
            "week_before_month",
            f"Week ({format_usd(amounts[0])}) began before Month ({format_usd(amounts[1])}), and can be the larger one",
            (amounts[0], amounts[1]),
        )


def _table(summary: Summary, parts: Parts, rows: tuple[ActivityRow, ...]) -> Iterator[Fact]:
    """Lead from Week to the breakdown: other days, and other keys."""
    now = parts.taken_at
    is_shown = summary.breakdown is not None and summary.breakdown.is_completed
    days = summary.breakdown.days if summary.breakdown and is_shown else 7
    span = completed_days(now, days)
    in_span = _spent(rows, span.first_day, span.last_day)
    count = plural(days, "completed UTC day")
    # A breakdown of another period has nothing to do with Week.
    those = "the breakdown" if is_shown else f"/activity's last {count}"
    covers = f"The breakdown covers the {count}" if is_shown else f"/activity's last {count} are"
    yield Fact(
        "table",
        f"{covers} {span.first_day} to {span.last_day} of the whole account, {format_usd(in_span)}; the running day "
        "is not in it",
        (in_span,),
    )
    monday, running = summary.week.period.first_day, now.date()
    if monday >= running:
        yield Fact("monday", f"Today is the first day of Week, so Week and {those} have no day in common")
        return
    if span.first_day < monday:
        before = _spent(rows, span.first_day, monday - DAY)
        yield Fact(
            "days_before_week",
            f"{format_usd(before)} of {those} is of days before Monday {monday}, which Week has not",
            (before,),
        )
    yield from _same_days(summary, parts, _spent(rows, monday, running - DAY), monday)


def _same_days(summary: Summary, parts: Parts, account: Decimal, monday: date) -> Iterator[Fact]:
    """Compare what key and account spent on the completed days of the running week."""
    week, day = summary.week.usage, summary.today.usage
    if week is None or day is None:
        return
    completed = subtract(week, day)
    span = f"On the completed days of this week, from {monday} on,"
    if summary.scope == "account":
        yield Fact("same_days", f"{span} the account spent {format_usd(account)}", (account,))
        return
    others = subtract(account, completed)
    if others < 0:
        yield Fact(
            "same_days",
            f"{span} this key spent {format_usd(completed)} by its own counters and the account "
            f"{format_usd(account)} by its activity: one of the two is not up to date",
            (completed, account),
        )
        return
    yield Fact(
        "same_days",
        f"{span} this key spent {format_usd(completed)} and the whole account {format_usd(account)}: "
        f"{format_usd(others)} by other keys",
        (completed, account, others),
    )
    running = parts.today
    if isinstance(running, TodaySpend) and not running.truncated and running.usage.cost >= day:
        spent = running.usage.cost
        yield Fact(
            "account_today",
            f"Today the whole account has spent {format_usd(spent)}, this key {format_usd(day)} of it",
            (spent, day),
        )


def _no_table(parts: Parts) -> Iterator[Fact]:
    if parts.activity is None:
        yield Fact("no_activity", "OpenRouter's own breakdown by model needs a management key, and none is set")
    else:
        yield Fact("no_activity", "OpenRouter's own breakdown by model could not be read this time")


def _byok(summary: Summary, rows: tuple[ActivityRow, ...] | None, completed: Period) -> Iterator[Fact]:
    month = summary.month.byok
    if month:
        yield Fact(
            "byok",
            f"{format_usd(month)} of this month went to providers directly (BYOK); it is in no credits figure",
            (month,),
        )
        return
    days = completed.first_day, completed.last_day
    paid = total(row.usage.byok_cost for row in rows or () if days[0] <= row.day <= days[1])
    if paid:
        yield Fact(
            "byok",
            f"{format_usd(paid)} of the last 30 completed UTC days went to providers directly (BYOK); it is in no "
            "credits figure",
            (paid,),
        )


def _seen(summary: Summary, ledger: Usage | None) -> Iterator[Fact]:
    week = summary.week.usage
    if ledger is None or week is None:
        return
    whose = "this key" if summary.scope == "key" else "the account"
    unknown = f", and {plural(ledger.unknown, 'call')} of unknown cost" if ledger.unknown else ""
    said = f"The ledger has {format_usd(ledger.cost)} of this week{unknown}; {whose} spent {format_usd(week)}"
    gap = subtract(week, ledger.cost)
    if gap > 0:
        yield Fact("ledger", f"{said}: {format_usd(gap)} is not in it", (ledger.cost, week, gap))
    elif gap < 0:
        more = subtract(ledger.cost, week)
        yield Fact("ledger", f"{said}: {format_usd(more)} more is in it", (ledger.cost, week, more))
    else:
        yield Fact("ledger", f"{said}: the same", (ledger.cost, week))


def _logged(summary: Summary, ledger: Usage | None, seen: Sequence[Seen]) -> Iterator[Fact]:
    """Split what neither the ledger nor a bill explains by the programs that may have spent it."""
    week = summary.week.usage
    if seen and week is not None and subtract(week, ledger.cost if ledger else ZERO) > 0:
        yield Fact("seen_in_logs", f"Of what is not in the ledger, {words_of(seen)}", tuple(each.cost for each in seen))


def _funds(summary: Summary) -> Iterator[Fact]:
    if summary.balance:
        left, bought, used = summary.balance.balance, summary.balance.purchased, summary.balance.used
        yield Fact(
            "balance",
            f"The balance of {format_usd(left)} is the account's: {format_usd(bought)} bought less "
            f"{format_usd(used)} used, ever",
            (left, bought, used),
        )
    if summary.spendable is not None and summary.bound_by:
        yield Fact(
            "spendable",
            f"{format_usd(summary.spendable)} can still be spent, which is what the "
            f"{summary.bound_by.replace('_', ' ')} leaves",
            (summary.spendable,),
        )


def _age() -> Iterable[Fact]:
    yield Fact("age", "OpenRouter's counters and balance may be up to a minute old")


def _ahead(summary: Summary, ahead: Forecast) -> Iterator[Fact]:
    if ahead.month_end:
        end = ahead.month_end
        yield Fact("month_end", said_of_month_end(end), (end.pace.shown, end.amount, end.so_far))
    for outlook in ahead.outlooks:
        if outlook.pace is not None:
            yield Fact("outlook", said_of_outlook(outlook, summary.taken_at), (outlook.pace.shown,))
    for spike in ahead.spikes:
        if ahead.usual is not None:
            yield Fact("spike", said_of_spike(spike, ahead.usual), (spike.amount, ahead.usual))


def _spent(rows: Iterable[ActivityRow], first: date, last: date) -> Decimal:
    amount = Decimal(0)
    for row in rows:
        if first <= row.day <= last:
            amount = add(amount, row.usage.cost)
    return amount
