"""What a page shows of the spend of a period: bars, groups, hours, the period before, what is left, what runs; pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.entry import Usage
from openrouter_usage.figures.breakdown import Breakdown, Comparison
from openrouter_usage.figures.forecast import BudgetEnd
from openrouter_usage.figures.limits import Scope
from openrouter_usage.figures.report import Compared, Report, Slot, Timeline, stack
from openrouter_usage.figures.summary import Summary

# How a page of ours is known from any other file.
GENERATOR = '<meta name="generator" content="openrouter-usage">'
MOST_ROWS = 5  # of who spent the money, and of what changed most


class Cap(NamedTuple):
    """How a cap of a budget stands, and when it is reached; None where it has no window."""

    scope: Scope
    end: BudgetEnd | None


class Flight(NamedTuple):
    """A call that runs: whose it is and of which model, as far as that is known yet, and for how many seconds."""

    client: str
    model: str
    kind: str
    seconds: int


class Live(NamedTuple):
    """What a gateway tells of itself: since its start, and at this moment; `flights` are the longest of the running."""

    since: datetime
    calls: int
    spent: Decimal
    looking_up: int
    flights: tuple[Flight, ...]
    running: int


class Content(NamedTuple):
    """All that is on a page. What is not known is None or left out, and then `unknown` has a sentence that says why.

    Without `has_days` nothing is known of the period itself. `hours` has sums by weekday and hour, named as
    `--by weekday,hour` names them. `summary` is what OpenRouter said of its key and account, `why_no_summary` why there
    is none.
    """

    report: Report
    timeline: Timeline
    now: datetime
    caps: tuple[Cap, ...] = ()
    has_caps: bool = True
    compared: tuple[Compared, ...] = ()
    why_not_compared: str = ""
    before: Comparison | None = None
    groups: tuple[Breakdown, ...] = ()
    hours: Mapping[str, Usage] | None = None
    summary: Summary | None = None
    why_no_summary: str = ""
    unknown: tuple[str, ...] = ()
    has_days: bool = True
    is_filtered: bool = False
    live: Live | None = None


def known_timeline(unit: str, slots: tuple[Slot, ...], days: Mapping[date, Mapping[str, Usage]]) -> Timeline:
    """Stack the models of each UTC day that is known; a bar counts its days that are not."""
    groups: list[dict[str, Usage]] = []
    unknown = []
    for slot in slots:
        found: dict[str, Usage] = {}
        known = [day for day in slot.period.utc_days if day in days]
        for day in known:
            for name, usage in days[day].items():
                found[name] = found[name] + usage if name in found else usage
        groups.append(found)
        unknown.append(len(slot.period.utc_days) - len(known))
    timeline = stack(unit, slots, groups)
    bars = (bar._replace(unknown_days=count) for bar, count in zip(timeline.bars, unknown, strict=True))
    return timeline._replace(bars=tuple(bars))


def budget_lines(content: Content) -> tuple[Scope, ...]:
    """Return the machine's caps as long as a bar; only where the bars are OpenRouter's days, and of all calls.

    A budget holds tracked calls, so it is no line among bars of the account.
    """
    unit = {"day": "daily", "week": "weekly", "month": "monthly"}.get(content.timeline.unit)
    if str(content.report.zone) != "UTC" or content.is_filtered or not content.report.breakdown.is_local:
        return ()
    return tuple(cap.scope for cap in content.caps if cap.scope.name == unit and not cap.scope.owner.name)
