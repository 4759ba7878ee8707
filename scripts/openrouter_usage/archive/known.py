"""Which of all archived answers about a day holds, what is news, and which days nobody knows."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from datetime import date
from typing import NamedTuple

from openrouter_usage.archive.day import ArchivedDay
from openrouter_usage.errors import SettingsError
from openrouter_usage.stretch import Stretch, stretches
from openrouter_usage.text import named, plural

Days = dict[date, ArchivedDay]
_MOST_NAMED = 5


class Change(NamedTuple):
    """A day that was written, and what the archive had said of it until then."""

    day: ArchivedDay
    before: ArchivedDay | None


def known_days(found: Iterable[ArchivedDay]) -> dict[str, Days]:
    """Give for each account the answer that holds about each day, whatever the order of the lines."""
    accounts: dict[str, Days] = {}
    for day in found:
        days = accounts.setdefault(day.account, {})
        # Of two answers of the same moment the later line counts.
        if day.day not in days or day.rank >= days[day.day].rank:
            days[day.day] = day
    return accounts


def changes(found: Iterable[ArchivedDay], known: Mapping[date, ArchivedDay]) -> list[Change]:
    """Give the answers that tell more than the archive: a new day, other figures, or a better source."""
    return [Change(day, known.get(day.day)) for day in found if _is_news(day, known.get(day.day))]


def _is_news(day: ArchivedDay, known: ArchivedDay | None) -> bool:
    if known is None:
        return True
    # Whoever asked earlier and comes later does not take back what is known since.
    return day.rank >= known.rank and (day.source, day.rows) != (known.source, known.rows)


def is_doubtful(found: Iterable[ArchivedDay], known: Mapping[date, ArchivedDay]) -> bool:
    """Tell whether an answer takes all spend from a day that had some, or has none at all and tells of new days."""
    days = list(found)
    lost = any(not day.rows and day.day in known and known[day.day].rows for day in days)
    return lost or (not any(day.rows for day in days) and any(day.day not in known for day in days))


def missing(wanted: Stretch | None, known: Container[date]) -> list[Stretch]:
    """Give the stretches of wanted days that nobody ever asked about: neither spend nor no spend is known there."""
    return stretches(day for day in (wanted.days() if wanted else ()) if day not in known)


def whole_span(known: Mapping[date, ArchivedDay]) -> Stretch | None:
    """Give the span from the first known day to the last; None when there is none."""
    return Stretch(min(known), max(known)) if known else None


def spoken_stretches(stretches: list[Stretch]) -> str:
    """Write stretches of days for people: how many days, and which."""
    count = sum(stretch.length for stretch in stretches)
    listed = ", ".join(map(str, stretches[:_MOST_NAMED]))
    rest = len(stretches) - _MOST_NAMED
    return f"{plural(count, 'day')} ({listed}{f' and {rest:,} more' if rest > 0 else ''})"


def refuse_others(accounts: Iterable[str], account: str) -> None:
    """Raise SettingsError when an archive has the days of other accounts and none of this one yet."""
    names = sorted(accounts)
    if names and account not in names:
        raise SettingsError(
            f"the management key is of another account ({named(account)}) than what is archived ({_listed(names)})",
            hint=f"if that is meant, keep it apart with: sync --account {account}",
            code="other_account",
        )


def chosen(accounts: Mapping[str, Days], wanted: str) -> str:
    """Give the account that is meant, the only one unless one is named; SettingsError when that is not clear."""
    names = sorted(accounts)
    if not names:
        raise SettingsError(
            "nothing is archived yet", hint="run: cost_tracker.py sync (from cron, every day)", code="not_archived"
        )
    if wanted and wanted not in names:
        raise SettingsError(
            f"no account {named(wanted)} is archived", hint=f"there is: {_listed(names)}", code="not_archived"
        )
    if not wanted and len(names) > 1:
        raise SettingsError(
            f"{len(names)} accounts are archived, which are never added up",
            hint=f"say which with --account: {_listed(names)}",
            code="ambiguous",
        )
    return wanted or names[0]


def _listed(names: list[str]) -> str:
    rest = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(map(named, names[:_MOST_NAMED])) + rest
