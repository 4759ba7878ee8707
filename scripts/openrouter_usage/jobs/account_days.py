"""Finds what an account spent on each UTC day of a period: /activity, the archive, or the analytics API has it.

Every day is taken from one source only. A day without rows counts as one without spend only where that is confirmed:
the analytics API is asked for the sums of all days beside everything else. What nobody tells stays unknown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from openrouter_usage.called import as_called
from openrouter_usage.entry import NOTHING, Usage
from openrouter_usage.errors import BadAnswer, OpenRouterUsageError, Unreachable
from openrouter_usage.figures.account_days import DaysFound, KnownDay, Part, Told, asks_for_providers
from openrouter_usage.figures.archive import ACTIVITY, ANALYTICS, UNKNOWN_PROVIDER, Days
from openrouter_usage.files import archive_beside
from openrouter_usage.home.credentials import ApiKey
from openrouter_usage.home.settings import Settings, ledger_file
from openrouter_usage.jobs.archive import Archive
from openrouter_usage.jobs.summary import at_once, connect
from openrouter_usage.jobs.sync import ACTIVITY_DAYS, MOST_A_MINUTE, day_of, pieces
from openrouter_usage.openrouter.answers.account import ActivityRow, Gap, Parts
from openrouter_usage.openrouter.answers.analytics import MOST_DAYS, Analytics
from openrouter_usage.openrouter.answers.fields import left_out_days, left_out_of, left_out_words
from openrouter_usage.openrouter.endpoints import OpenRouter
from openrouter_usage.period import DAY, NOTABLE_SKEW_S, UTC, Stretch, stretches, today
from openrouter_usage.vocabulary import ChosenPeriod, Where, account_dimensions

# What the rows of /activity and of the archive tell apart; keys and workspaces only the analytics API knows.
_ROW_DIMENSIONS = {"model", "provider"}
_DIMENSIONS = {"model": "model", "provider": "provider", "key": "api_key_id", "workspace": "workspace"}
_PROVIDER_DAYS = 31
_AT_ONCE = 6
_CODE = Unreachable.exit_code
_LATER = "try again later"
_TOO_OLD = Gap(
    "days",
    "too_old",
    f"OpenRouter tells no more than {MOST_DAYS} days back, and they are not archived",
    as_called("run cost_tracker.py sync every day, and no later day will be lost"),
    _CODE,
)
_NO_PROVIDER = Gap(
    "days",
    "no_provider",
    f"OpenRouter does not tell the providers of days older than {_PROVIDER_DAYS}, and they are not archived with them",
    as_called("leave out --provider; run cost_tracker.py sync every day, and no later day will lose its providers"),
    _CODE,
)
_TOO_MANY = Gap(
    "days", "too_many", "OpenRouter answers no more questions in this minute", "try again in a minute", _CODE
)
_LATE = Gap("days", "timeout", "no answer in time", "give it more seconds: --timeout", _CODE)
_DIFFER = Gap(
    "days", "bad_answer", "OpenRouter's answers differ: spend in one of them and none in another", _LATER, _CODE
)


class _Clock(NamedTuple):
    """The moment that says which days are meant, the bounds within which /activity was answered, and the present."""

    now: datetime
    earliest: datetime
    latest: datetime
    present: datetime

    @property
    def running(self) -> date:
        """The running UTC day."""
        return self.now.astimezone(UTC).date()


class AccountDays:
    """One search for the days of a chosen period, with a management key, in two rounds of parallel questions."""

    def __init__(
        self,
        settings: Settings,
        chosen: ChosenPeriod,
        *,
        by: str,
        timeout_s: float,
        where: Where = (),
        part_of: date | None = None,
    ) -> None:
        """Prepare a search of at most `timeout_s` seconds; nothing is asked yet.

        Of the day `part_of`, the part up to the present hour is asked for as well, to be set beside the running day.
        """
        self._settings = settings
        self._part_of = part_of
        self._part: Part | None = None
        self._chosen = chosen
        self._needs_providers = asks_for_providers(where)
        self._dimensions = account_dimensions(by, where)
        self._is_of_rows = set(self._dimensions) <= _ROW_DIMENSIONS
        self._timeout_s = timeout_s
        self._opened_s = self._begun_s = time.monotonic()
        self._archive = _Archive()
        self._again: tuple[ActivityRow, ...] | None = None
        self._forget()

    def _forget(self) -> None:
        self._rows: dict[date, tuple[ActivityRow, ...]] = {}
        self._failed: dict[date, Gap] = {}
        self._spent: frozenset[date] | Gap | None = None
        self._summed: Stretch | None = None
        self._live_until: datetime | None = None
        self._questions = 0

    def begin(self, key: ApiKey, now: datetime) -> None:
        """Ask, beside the summary's own questions, for what /activity certainly does not have."""
        self._begun_s = time.monotonic()
        running = now.astimezone(UTC).date()
        span, oldest = self._reach(now)
        wanted = set(span.days())
        if self._is_of_rows:
            wanted -= set(Stretch(running - ACTIVITY_DAYS * DAY, running - DAY).days())
        # Whose the archive is shows at the same time; were it another account's, its days are asked for afterwards.
        kept = self._archive.guess() if self._is_of_rows and min(wanted, default=running) < running else {}
        asked = [day for day in wanted - kept.keys() if day >= oldest]
        self._round(key, asked, now, needs_account=bool(kept), is_first=True)

    def finish(self, key: ApiKey, parts: Parts, now: datetime) -> DaysFound:
        """Combine the answers, after asking once more about the days that are still unknown."""
        clock = self._clock(parts, now)
        if clock.running != now.astimezone(UTC).date():
            self._forget()  # the own clock has another date than OpenRouter's: those were other days
        span, oldest = self._reach(clock.now)
        told = self._told(parts, clock)
        unknown = [day for day in span.days() if told.known(day, clock.running) is None]
        if unknown:
            wanted = [day for day in unknown if day >= oldest and day not in self._failed]
            is_archived = self._is_of_rows and min(unknown) < clock.running
            again = told.is_blank and not isinstance(self._spent, frozenset)
            self._round(key, wanted, clock.now, needs_account=is_archived, needs_activity=again)
            told = self._told(parts, clock)
        found = {day: told.known(day, clock.running) for day in span.days()}
        unnamed = {day for day, known in found.items() if known is not None and self._hides_provider(known)}
        is_live = span.last == clock.running and found[span.last] is not None
        return DaysFound(
            span,
            {day: known for day, known in found.items() if known is not None and day not in unnamed},
            {day: self._reason(day, oldest) for day, known in found.items() if known is None}
            | dict.fromkeys(unnamed, _NO_PROVIDER),
            min(self._live_until, clock.present) if is_live and self._live_until else None,
            (*(row for rows in told.activity.values() for row in rows), *self._archive.rows()),
            tuple(self._archive.notes),
            self._dimensions,
            part=self._part,
        )

    def _hides_provider(self, known: KnownDay) -> bool:
        """Check whether a provider is asked for, and spend of the day has none: it may be in the sum, or may not."""
        is_first = self._dimensions[0] == "provider" and len(self._dimensions) > 1
        providers = (row.model if is_first else row.provider for row in known.rows if row.usage != NOTHING)
        return self._needs_providers and UNKNOWN_PROVIDER in providers

    def _reach(self, now: datetime) -> tuple[Stretch, date]:
        """Return the days that are meant, and the oldest day that the analytics API tells of."""
        return self._chosen.span(now), now.astimezone(UTC).date() - MOST_DAYS * DAY

    def _clock(self, parts: Parts, now: datetime) -> _Clock:
        """Return the time by OpenRouter's clock where it is known; stored answers keep their own time."""
        elapsed = timedelta(seconds=time.monotonic() - self._opened_s)
        if parts.taken_at < now:
            return _Clock(now, parts.taken_at, parts.taken_at, now + elapsed)
        if parts.clock_ahead_s is None:
            return _Clock(now, now, now + elapsed, now + elapsed)
        theirs = datetime.now(UTC) + timedelta(seconds=parts.clock_ahead_s)
        # Within two minutes the own clock is good enough to say which days are meant, but not which of them /activity
        # has. The date of an answer leaves out the part of a second.
        is_off = abs((theirs - elapsed - now).total_seconds()) >= NOTABLE_SKEW_S
        latest = theirs + elapsed + timedelta(seconds=1)
        return _Clock(theirs if is_off else now, theirs - elapsed, latest, latest)

    def _told(self, parts: Parts, clock: _Clock) -> Told:
        """Combine what each source has said so far."""
        rows = self._again if self._again is not None else parts.activity
        activity: dict[date, list[ActivityRow]] = {}
        is_row_grouping = self._is_of_rows
        if is_row_grouping and rows is not None and not isinstance(rows, Gap):
            covered = Stretch(clock.latest.date() - ACTIVITY_DAYS * DAY, clock.earliest.date() - DAY)
            activity = {day: [] for day in covered.days()}
            for row in rows:
                if row.day in activity:
                    activity[row.day].append(row)
            # A day of which a row was left out is another source's to tell; or any day, where its day is not known.
            for bad in left_out_days(left_out_of(rows)):
                if bad is None:
                    activity = {}
                else:
                    activity.pop(bad, None)
        archived = self._archive.days() if is_row_grouping else {}
        return Told(
            {day: tuple(found) for day, found in activity.items()},
            rows == () and self._again is None,
            {day: kept for day, kept in archived.items() if day < clock.running},
            self._rows,
            self._summed if isinstance(self._spent, frozenset) else None,
            self._spent if isinstance(self._spent, frozenset) else frozenset(),
        )

    def _reason(self, day: date, oldest: date) -> Gap:
        """Return why a day is not known."""
        if day in self._failed:
            return self._failed[day]
        if day < oldest:
            return _TOO_OLD
        if isinstance(self._spent, Gap):
            return self._spent._replace(message=f"no answer confirms that nothing was spent: {self._spent.message}")
        return _DIFFER

    # -- asking --

    def _round(
        self,
        key: ApiKey,
        wanted: Collection[date],
        now: datetime,
        *,
        needs_account: bool = False,
        needs_activity: bool = False,
        is_first: bool = False,
    ) -> None:
        """Ask for days, and for what else is needed, a few questions at a time, until all is told or time is over."""
        client = connect(self._settings, timeout_s=self._left_s)(key)
        tasks: dict[str, Callable[[], Any]] = {}
        span, oldest = self._reach(now)
        if self._spent is None and span.last >= oldest:
            self._summed = Stretch(max(span.first, oldest), span.last)
            tasks["sums"] = partial(self._ask_sums, client, self._summed, now)
        if needs_account and self._archive.is_undecided:
            tasks["account"] = client.account
        if needs_activity:
            tasks["activity"] = client.activity
        if is_first and self._part_of is not None and self._part_of >= oldest:
            tasks["part"] = partial(self._ask_part, client, self._part_of, now)
        queue = list(self._pieces(wanted, now))
        while queue or tasks:
            room = max(0, MOST_A_MINUTE - self._questions - len(tasks))
            batch = [queue.pop() for _ in range(min(len(queue), _AT_ONCE, room))]
            if not batch and not tasks:
                return self._give_up(queue, _TOO_MANY)
            self._questions += len(batch) + len(tasks)
            asked = {str(piece): partial(self._ask_piece, client, piece, now) for piece in batch}
            answers = at_once({**tasks, **asked}, timeout_s=self._left_s)
            self._take(answers, tasks.keys())
            failed = [answers[str(piece)] for piece in batch if isinstance(answers[str(piece)], Gap)]
            queue += [half for piece in batch for half in self._take_piece(piece, answers[str(piece)], now)]
            tasks = {}
            if batch and len(failed) == len(batch):
                return self._give_up(queue, failed[0])
            if time.monotonic() >= self._begun_s + self._timeout_s:
                return self._give_up(queue, _LATE)
        return None

    @property
    def _left_s(self) -> float:
        return max(0.1, self._begun_s + self._timeout_s - time.monotonic())

    def _give_up(self, queue: Iterable[Stretch], gap: Gap) -> None:
        self._failed.update((day, gap) for piece in queue for day in piece.days())

    def _pieces(self, wanted: Collection[date], now: datetime) -> Iterator[Stretch]:
        """Cut days into pieces of one question each, the newest last; the running day stands alone."""
        running = now.astimezone(UTC).date()
        old = [day for day in sorted(wanted) if day < running - _PROVIDER_DAYS * DAY]
        recent = [day for day in sorted(wanted) if day not in old and day != running]
        for stretch in (*stretches(old), *stretches(recent), *stretches(day for day in wanted if day == running)):
            yield from pieces(stretch)

    def _asked(self, piece: Stretch, now: datetime) -> tuple[str, ...]:
        is_old = piece.first < now.astimezone(UTC).date() - _PROVIDER_DAYS * DAY
        # Older days are not told apart by provider any more.
        return tuple(_DIMENSIONS[each] for each in self._dimensions if not (is_old and each == "provider"))

    def _ask_piece(self, client: OpenRouter, piece: Stretch, now: datetime) -> Analytics:
        found = _until(client, piece, now, *self._asked(piece, now))
        for row in found.rows:
            day_of(row, piece)
        return found

    def _ask_sums(self, client: OpenRouter, span: Stretch, now: datetime) -> frozenset[date]:
        """Ask on which days there was any spend or call."""
        found = _until(client, span, now)
        if found.truncated:
            raise BadAnswer(f"OpenRouter cut its answer to {ANALYTICS} short", hint=_LATER)
        if found.left_out:
            raise BadAnswer(left_out_words(found.left_out, "row"), hint=_LATER)
        return frozenset(day_of(row, span) for row in found.rows if row.usage != NOTHING)

    def _ask_part(self, client: OpenRouter, day: date, now: datetime) -> Part | None:
        """Ask what a day had come to at the present hour; None where not all of that can be told."""
        piece = Stretch(day, day)
        until = piece.period.start + (now - today(now).start)
        found = _until(client, piece, until, *self._asked(piece, now))
        if found.truncated or found.left_out:
            return None
        return Part(day, until, KnownDay(ANALYTICS, tuple(self._rows_of(found, piece, now))))

    def _take(self, answers: dict[str, Any], asked: Collection[str]) -> None:
        """Keep what was answered beside the days."""
        if "sums" in asked:
            self._spent = answers["sums"]
        if "account" in asked:
            self._archive.decide(answers["account"])
        if "activity" in asked and not isinstance(answers["activity"], Gap):
            self._again = answers["activity"]
        if "part" in asked and not isinstance(answers["part"], Gap):
            self._part = answers["part"]

    def _take_piece(self, piece: Stretch, answer: Analytics | Gap, now: datetime) -> list[Stretch]:
        """Keep the rows of each day of a piece; return its halves where the answer was cut short."""
        if isinstance(answer, Gap):
            self._give_up([piece], answer)
            return []
        if (answer.truncated or answer.left_out) and piece.length > 1:
            middle = piece.first + piece.length // 2 * DAY
            return [Stretch(piece.first, middle - DAY), Stretch(middle, piece.last)]
        if answer.truncated:
            self._give_up([piece], _cut_short(len(answer.rows)))
            return []
        if answer.left_out:
            self._give_up([piece], Gap.of_left_out("days", answer.left_out, "row"))
            return []
        rows: dict[date, list[ActivityRow]] = {day: [] for day in piece.days()}
        for row in self._rows_of(answer, piece, now):
            rows[row.day].append(row)
        self._rows.update((day, tuple(found)) for day, found in rows.items())
        if piece.last == now.astimezone(UTC).date():
            self._live_until = min(now, answer.cached_at or now)
        return []

    def _rows_of(self, answer: Analytics, piece: Stretch, now: datetime) -> Iterator[ActivityRow]:
        asked = self._asked(piece, now)
        for spend in answer.rows:
            told = dict(zip(asked, spend.names, strict=False))
            yield self._row(day_of(spend, piece), told, spend.usage)

    def _row(self, day: date, told: Mapping[str, str], usage: Usage) -> ActivityRow:
        """Return a row; `told` has a name for each dimension that was asked, which for old days is not the provider."""
        wanted = [_DIMENSIONS[each] for each in self._dimensions]
        name, other = (*(told.get(each, UNKNOWN_PROVIDER) for each in wanted), UNKNOWN_PROVIDER)[:2]
        if self._dimensions == ("provider",):
            return ActivityRow(day, "", name, usage)
        return ActivityRow(day, name, other, usage, name if self._is_of_rows else "")


def _until(client: OpenRouter, span: Stretch, now: datetime, *dimensions: str) -> Analytics:
    """Ask about days, of the running one for what is over."""
    period = span.period
    return client.analytics(period._replace(end=min(period.end, now)), *dimensions, by_day=True)


def _cut_short(rows: int) -> Gap:
    return Gap("days", "truncated", f"OpenRouter cut its answer short after {rows:,} rows", _LATER, _CODE)


class _Archive:
    """The archived days, read when they are needed; those of another account than the key's are never used."""

    def __init__(self) -> None:
        self._accounts: dict[str, Days] | None = None
        self._account: str | None = None
        self.notes: list[str] = []

    @property
    def accounts(self) -> dict[str, Days]:
        """The days of all accounts; none where there is no archive, or where it cannot be read."""
        if self._accounts is None:
            self._accounts = {}
            try:
                path = archive_beside(ledger_file())
                if path.exists() and path != ledger_file():
                    self._accounts = Archive(path).read().accounts
            except (OpenRouterUsageError, OSError) as error:
                self.notes.append(f"the archive was not used: {getattr(error, 'message', error)}")
        return self._accounts

    @property
    def is_undecided(self) -> bool:
        """Check whether there are days of which nobody has said yet whose they are."""
        return self._account is None and bool(self.accounts)

    def guess(self) -> Days:
        """Return the days of the only account, which is most probably the key's."""
        return next(iter(self.accounts.values())) if len(self.accounts) == 1 else {}

    def decide(self, told: str | Gap) -> None:
        """Read the archived days of the key's account."""
        self._account = told if isinstance(told, str) else ""
        if self._account not in self.accounts:
            why = "no day of this account is in it" if self._account else "nobody says whose the management key is"
            self.notes.append(f"the archive was not used: {why}")

    def days(self) -> Days:
        """Return the days of the key's account, as far as that is known."""
        return self.accounts.get(self._account, {}) if self._account else {}

    def rows(self) -> Iterator[ActivityRow]:
        """Yield what /activity said of the archived days: it knows the names of models."""
        yield from (row for day in self.days().values() if day.source == ACTIVITY for row in day.rows)
