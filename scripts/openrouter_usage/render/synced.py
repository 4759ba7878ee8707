"""What `sync` has archived, as text and as JSON."""

from __future__ import annotations

from datetime import datetime

from openrouter_usage.answers.analytics import MOST_DAYS
from openrouter_usage.archive.known import Change, spoken_stretches, whole_span
from openrouter_usage.archive.synced import Synced
from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.exactjson import Json
from openrouter_usage.period import DAY, iso
from openrouter_usage.render.amounts import spent
from openrouter_usage.render.as_json import envelope
from openrouter_usage.stretch import Stretch
from openrouter_usage.text import named, plural, safe
from openrouter_usage.usage import NOTHING, Usage

_MOST_CHANGED = 5


def as_text(synced: Synced) -> str:
    """Write what is new, what has changed, all that is known, and what is not; amounts in USD."""
    lines = [f"OpenRouter's figures of completed UTC days, archived for {named(synced.account)}", *_written(synced)]
    span = whole_span(synced.known)
    if span:
        lines.append(f"Archived: {plural(len(synced.known), 'day')}, {span}, {synced.empty:,} of them without spend")
    lines.append(f"File: {safe(synced.file, 300)}")
    return "\n".join([*lines, *(f"⚠ {note}" for note in notes(synced))]) + "\n"


def _written(synced: Synced) -> list[str]:
    if not synced.written:
        return [f"Nothing new: {synced.asked} is as it was"]
    lines = []
    if synced.new:
        usage = sum((change.day.total for change in synced.new), NOTHING)
        days = [change.day.day for change in synced.new]
        span = Stretch(min(days), max(days))
        lines.append(
            f"New: {plural(len(days), 'day')}, {span}: {spent(usage)} ({plural(usage.requests, 'call')})",
        )
    # What changed last is what somebody may act on.
    changed = sorted(synced.changed, key=lambda change: change.day.day)
    rest = len(changed) - _MOST_CHANGED
    lines += [f"Changed: {plural(rest, 'earlier day')}"] if rest > 0 else []
    return [*lines, *map(_changed, changed[-_MOST_CHANGED:])]


def _changed(change: Change) -> str:
    before = change.before.total if change.before else NOTHING
    now = change.day.total
    by = f", now by {change.day.source}" if change.before and change.before.source != change.day.source else ""
    calls = f" ({before.requests:,} to {plural(now.requests, 'call')})" if now.requests != before.requests else ""
    return f"Changed: {change.day.day}: {spent(before)} to {spent(now)}{calls}{by}"


def notes(synced: Synced) -> list[str]:
    """Say what is not known, and what of the archive is not read."""
    found = []
    if synced.gaps:
        found.append(f"{spoken_stretches(synced.gaps)} not known; {_way_out(synced)}")
    if synced.untold:
        why = "OpenRouter cut its answers short, or a row cannot be used"
        found.append(f"{spoken_stretches(list(synced.untold))} not archived: {why}")
    if synced.damaged:
        first = f"{'' if synced.damaged == 1 else 'the first '}at byte {synced.first_damaged:,}"
        found.append(f"{plural(synced.damaged, 'damaged line')} of the archive not counted, {first}")
    if synced.foreign:
        found.append(f"{plural(synced.foreign, 'line')} of a kind from elsewhere kept and not counted")
    return found


def _way_out(synced: Synced) -> str:
    """Say how a gap can still be filled, and from when on it cannot."""
    today = synced.asked.last + DAY
    back = min((today - synced.gaps[0].first).days, MOST_DAYS)
    is_lost = synced.gaps[-1].last < today - MOST_DAYS * DAY
    return "OpenRouter does not tell them any more" if is_lost else f"sync --backfill {back} asks for them"


def as_json(synced: Synced, now: datetime, error: OpenRouterUsageError | None) -> str:
    """Write the same as the data of an envelope of kind `sync`; with an error it is what was archived all the same."""
    span = whole_span(synced.known)
    data: dict[str, Json] = {
        "account": synced.account,
        "file": synced.file,
        "asked": _ends(synced.asked),
        "days": [_day(change) for change in synced.written],
        "archived": {"days": len(synced.known), "empty_days": synced.empty, **(_ends(span) if span else {})},
        "missing": [{**_ends(gap), "days": gap.length} for gap in synced.gaps],
        "untold_days": sum(stretch.length for stretch in synced.untold),
        "damaged_lines": synced.damaged,
        "foreign_lines": synced.foreign,
    }
    return envelope("sync", now, data, notes=notes(synced), error=error)


def _ends(stretch: Stretch) -> dict[str, Json]:
    return {"start": iso(stretch.period.start), "end": iso(stretch.period.end)}


def _day(change: Change) -> Json:
    before: Json = {**_usage(change.before.total), "source": change.before.source} if change.before else None
    day = change.day
    return {"date": day.day.isoformat(), "source": day.source, **_usage(day.total), "before": before}


def _usage(usage: Usage) -> dict[str, Json]:
    return {"cost_usd": usage.cost, "byok_usd": usage.byok_cost, "requests": usage.requests}
