"""How amounts, windows, limits and the rows of a breakdown are written on every face."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import tzinfo
from decimal import Decimal

from openrouter_usage.entry import NOTHING, Usage
from openrouter_usage.figures.breakdown import LOCAL, SHARED, Breakdown, Change, Comparison, Coverage, Joined
from openrouter_usage.figures.summary import Summary, Window
from openrouter_usage.money import Json, format_usd, multiply, ratio, rounded
from openrouter_usage.openrouter.answers.key import Limit
from openrouter_usage.period import DAY, UTC, Period, Stretch, iso, midnight, spoken
from openrouter_usage.text import named, plural, safe
from openrouter_usage.vocabulary import names_of, spoken_name

Told = Callable[[Usage], str]
_MICRO = Decimal("0.000001")


def credits_and_byok(credits: Decimal, byok: Decimal | None) -> str:
    """Write credits spent, and BYOK money beside it as its own figure."""
    return f"{format_usd(credits)} + {format_usd(byok)} BYOK" if byok else format_usd(credits)


def spent(usage: Usage) -> str:
    """Write what some calls cost."""
    return credits_and_byok(usage.cost, usage.byok_cost)


def window_amount(window: Window, mark: str = "") -> str:
    """Write a window's spend with a mark behind the credits; an unknown one says so."""
    if window.usage is None:
        return "unknown"
    amount = format_usd(window.usage) + mark
    return f"{amount} + {format_usd(window.byok)} BYOK" if window.byok else amount


def window_source(window: Window) -> str:
    """Write where a window's figure comes from, and how many calls are not in it because nobody knows their cost."""
    if not window.unknown_calls:
        return window.source
    return f"{window.source}; {plural(window.unknown_calls, 'call')} of unknown cost not in it"


def limit_left(limit: Limit) -> str:
    """Write what is left of a limit, when it resets, and whether it is exhausted."""
    if limit.amount is None:
        return "none"
    cap, window = format_usd(limit.amount), reset_words(limit)
    if limit.remaining is None:
        return f"{cap} (what is left is unknown; {window})"
    if limit.remaining <= 0:
        over = f", {format_usd(limit.remaining.copy_abs())} over" if limit.remaining else ""
        return f"exhausted{over}: $0.00 left of {cap} ({window})"
    return f"{format_usd(limit.remaining)} left of {cap} ({window})"


_LEFT = {"balance": "the account's balance", "key_limit": "this key's limit", "budget": "this key's budget"}


def remaining(summary: Summary) -> str:
    """Write the smallest of what is known to be left, what that is, and what is not known beside it."""
    unknown = [] if summary.balance else ["the account's balance is not known"]
    limit = summary.key_limit
    is_unlimited = limit is not None and limit.amount is None
    if summary.scope == "key" and (limit is None or (not is_unlimited and limit.remaining is None)):
        unknown.append("what this key's limit leaves is not known")
    if not summary.left:
        amount, whose = "unlimited by the key" if is_unlimited else "unknown", []
    else:
        name, left = summary.left[0]
        amount, whose = format_usd(left), [_LEFT[name]]
    said = "; ".join([*whose, *unknown])
    return f"{amount} ({said})" if said else amount


def reset_words(limit: Limit) -> str:
    """Write how often a limit resets, and when next."""
    if not limit.reset:
        return "never resets"
    name = safe(limit.reset, 20)
    return f"{name}, resets {spoken(limit.resets_at)}" if limit.resets_at else name


def averages(usage: Usage) -> tuple[Decimal | None, Decimal | None]:
    """Return what a call and a thousand tokens cost on average, in USD; None where not every cost is known."""
    known = usage.requests - usage.unknown
    if not known or not usage.cost:
        return None, None
    a_call = rounded(ratio(usage.cost, known), _MICRO)
    if usage.unknown or not usage.total_tokens:
        return a_call, None
    return a_call, rounded(ratio(multiply(usage.cost, 1_000), usage.total_tokens), _MICRO)


def token_lines(usage: Usage) -> list[str]:
    """Write the tokens of some calls, and what a call and a thousand tokens cost."""
    if not usage.total_tokens:
        return []
    cached = f" ({usage.cached_tokens:,} cached)" if usage.cached_tokens else ""
    told = f"Tokens: {usage.prompt_tokens:,} in{cached}, {usage.completion_tokens:,} out"
    words = ("a call", "per 1,000 tokens")
    costs = (f"{format_usd(each)} {of}" for each, of in zip(averages(usage), words, strict=True) if each is not None)
    return ["; ".join(filter(None, (told, ", ".join(costs))))]


def span_words(breakdown: Breakdown) -> str:
    """Write what a breakdown covers: 7d, this week, today."""
    label = breakdown.period.label if breakdown.period else "all time"
    return "this week" if label == "week" else label


# -- The rows of a breakdown, as a summary and a report both show them: lines, JSON, and cells of a table.


def as_lines(breakdown: Breakdown, told: Told, *, mark: str, unknown: Iterable[Period] = ()) -> list[str]:
    """Write a line for each row in its order; of days also one for each span that is `unknown`, where it belongs."""
    rows = [(row.name, told(row.usage)) for row in breakdown.rows]
    if breakdown.is_in_order:
        rows += [(day_names(span), "unknown") for span in unknown]
        rows.sort(key=lambda row: row[0], reverse=True)
    return [f"{mark}{' · '.join(map(named, names_of(name)))}: {words}" for name, words in rows]


def more_line(breakdown: Breakdown, told: Told) -> list[str]:
    """Write what the rows that are left out come to, if there are any."""
    return [f"... and {breakdown.more_count:,} more ({told(breakdown.more)})"] if breakdown.more_count else []


def earlier_line(breakdown: Breakdown, told: Told, which: str = "") -> list[str]:
    """Write what the days that are left out come to, if there are any."""
    days = plural(breakdown.more_count, f"earlier {breakdown.by}")
    return [f"... {days}{which} ({told(breakdown.more)})"] if breakdown.more_count else []


def day_names(span: Period) -> str:
    """Write the days of a span: one, or the first and the last."""
    return str(Stretch(span.first_day, span.last_day))


def as_data(breakdown: Breakdown, fields: Callable[[Usage], dict[str, Json]]) -> tuple[list[Json], dict[str, Json]]:
    """Return the rows in their order, and how many more there are with their sums; `fields` writes the sums."""
    rows: list[Json] = [
        {"name": spoken_name(row.name), "names": list(names_of(row.name)), **fields(row.usage)}
        for row in breakdown.rows
    ]
    return rows, {"count": breakdown.more_count, **fields(breakdown.more)}


def as_cells(
    breakdown: Breakdown, *, more: str = "more", zone: tzinfo = UTC
) -> Iterator[tuple[str, str, Period | None, Usage]]:
    """Return kind, name, period and sums of each row and of what is left out; a day has a period of its own."""
    for name, usage in breakdown.rows:
        yield breakdown.by, spoken_name(name), breakdown.period_of(name, zone), usage
    if breakdown.more_count:
        yield "more", f"{breakdown.more_count} {more}", breakdown.period, breakdown.more


# -- What the account and the ledger have each given to a sum.

_MOST_NAMED = 3


def source_spans(breakdown: Breakdown, coverage: Coverage) -> Iterator[str]:
    """Write which days each source had, and up to when the running one is known."""
    last = coverage.source_of(breakdown.period.last_day) if breakdown.period else ""
    # Where the sources follow one another without a gap, the last day of each one says it all.
    in_a_row = not coverage.missing and all(len(spans) == 1 for _, spans in coverage.sources)
    for source, spans in coverage.sources:
        if source == last and coverage.live_until is not None:
            yield f"{source} today, up to {coverage.live_until:%H:%M} UTC"
            continue
        days = [f"to {spans[0].last_day}"] if in_a_row else [day_names(span) for span in spans[:_MOST_NAMED]]
        more = f" and {plural(len(spans) - _MOST_NAMED, 'more span')}" if len(spans) > _MOST_NAMED else ""
        yield f"{source} {', '.join(days)}{more}"


def joined_lines(coverage: Coverage | None) -> list[str]:
    """Write what each of the two has given, what is tracked of the account's part, and what cannot be told."""
    found = coverage.joined if coverage else None
    if found is None or coverage is None:
        return []
    source = next((name for name, _ in coverage.sources if name in (LOCAL, SHARED)), LOCAL)
    seen = f", {spent(found.tracked)} ({found.tracked.requests:,}) of it tracked" if found.account != NOTHING else ""
    parts = [f"account {_counted(found.account)}{seen}"]
    if found.ledger != NOTHING:
        others = "what was spent untracked on its days is not known"
        parts.append(f"{source} {_counted(found.ledger)}, and {others}")
    lines = [f"Of this: {'; '.join(parts)}"]
    if found.above:
        days = ", ".join(map(day_names, found.above[:_MOST_NAMED]))
        rest = len(found.above) - _MOST_NAMED
        more = f" and {plural(rest, 'more span')}" if rest > 0 else ""
        why = "calls of another account, or figures not yet in"
        lines.append(f"The {source} has more than the account on {days}{more} ({why}); the account's figure counts")
    if found.unknown:
        lines.append(f"{plural(found.unknown, 'tracked call')} of unknown cost: the account's figure has that cost")
    return lines


def _counted(usage: Usage) -> str:
    return f"{spent(usage)} ({usage.requests:,})"


def joined_parts(found: Joined) -> dict[str, Usage]:
    """Return what the account and the ledger have given, and how much of the account's part is tracked, by name."""
    return {"account": found.account, "ledger": found.ledger, "tracked": found.tracked}


def joined_data(found: Joined | None, fields: Callable[[Usage], dict[str, Json]]) -> Json:
    """Return the same as data, None for one source alone."""
    if found is None:
        return None
    return {
        **{name: fields(usage) for name, usage in joined_parts(found).items()},
        "above": [{"start": iso(span.start), "end": iso(span.end), "days": span.day_count} for span in found.above],
    }


# -- A period beside the one before it.

_MOST_CHANGES = 2


def compared_lines(found: Comparison) -> list[str]:
    """Write what the period before cost, the change in USD and percent, and what rose and fell most."""
    whole = found.whole
    start, end = found.period.start, found.period.end
    is_days = midnight(start.date()) == start and midnight(end.date()) == end
    span = f"{Stretch(start.date(), (end - DAY).date())} UTC" if is_days else f"{spoken(start)} to {spoken(end)}"
    unknown = f"; {plural(found.unknown_days, 'day')} of it unknown" if found.unknown_days else ""
    uneven = "; today so far stands beside a whole day" if found.is_uneven else ""
    before = f"Before ({span}): {spent(whole.before)} ({whole.before.requests:,})"
    lines = [f"{before}, now {changed(whole)}{unknown}{uneven}"]
    rose = [each for each in found.changes if each.difference > 0][:_MOST_CHANGES]
    fell = [each for each in found.changes if each.difference < 0][:_MOST_CHANGES]
    for words, some in (("Rose most", rose), ("Fell most", fell)):
        if some:
            told = (f"{' · '.join(map(named, names_of(each.name)))} {changed(each)}" for each in some)
            lines.append(f"{words}: {', '.join(told)}")
    return lines


def changed(change: Change) -> str:
    """Write by how much a cost has changed: +$1.20 (+12%), or "new" where there was nothing."""
    difference = change.difference
    if not difference:
        return "the same"
    sign = "+" if difference > 0 else "-"
    amount = f"{sign}{format_usd(difference.copy_abs())}"
    if not change.before.cost:
        return f"{amount} (new)"
    if not change.after.cost:
        return f"{amount} (gone)"
    percent = rounded(multiply(ratio(difference.copy_abs(), change.before.cost), 100), Decimal(1))
    return f"{amount} ({sign}{percent:,}%)"


def compared_data(found: Comparison | None, fields: Callable[[Usage], dict[str, Json]]) -> Json:
    """Return the comparison with its changes, None for none."""
    if found is None:
        return None
    return {
        "start": iso(found.period.start),
        "end": iso(found.period.end),
        "unknown_days": found.unknown_days,
        "uneven": found.is_uneven,
        "before": fields(found.whole.before),
        "difference_usd": found.whole.difference,
        "changes": [
            {
                "name": spoken_name(each.name),
                "before_usd": each.before.cost,
                "after_usd": each.after.cost,
                "difference_usd": each.difference,
            }
            for each in found.changes
        ],
    }
