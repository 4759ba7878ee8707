"""The questions that stats.py asks beyond its usual endpoints, such as for a period, and their answers."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterable
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from openrouter_usage.called import as_called
from openrouter_usage.cli.asking import account_by, before_of, is_searched, moments_before, where_of
from openrouter_usage.cli.program import complain
from openrouter_usage.errors import MissingKey, Unreachable
from openrouter_usage.figures.breakdown import Breakdown
from openrouter_usage.figures.options import ACCOUNT_GROUPINGS, DEFAULT_DAYS
from openrouter_usage.figures.summary import Window
from openrouter_usage.home.settings import Settings
from openrouter_usage.jobs.breakdown import (
    SOURCE,
    Question,
    account_breakdown,
    ask,
    ask_fees,
    ledger_name,
    local_breakdown,
    local_tracked_days,
    questions,
)
from openrouter_usage.jobs.summary import at_once, managing_key
from openrouter_usage.jobs.together import nothing
from openrouter_usage.openrouter.answers.account import Gap, Parts, TodaySpend
from openrouter_usage.openrouter.answers.analytics import AccountFees, Analytics
from openrouter_usage.period import Period, SideBySide, side_by_side, spoken
from openrouter_usage.text import ago
from openrouter_usage.vocabulary import ChosenPeriod, account_dimensions, said_of

if TYPE_CHECKING:
    from openrouter_usage.figures.account_days import DaysFound
    from openrouter_usage.home.credentials import ApiKey
    from openrouter_usage.jobs.account_days import AccountDays

PROGRAM = as_called("stats.py")
_NOTABLE_AGE_S = 60
_NO_KEY = Gap(
    "days",
    "no_key",
    "only a management key can see what the account spent, and the ledger has no call",
    "set OPENROUTER_MGMT_KEY; create one at https://openrouter.ai/settings/management-keys",
    MissingKey.exit_code,
)


class Spending:
    """The answers to the options' own questions: OpenRouter's with a management key, else the local ledger's."""

    def __init__(self, options: Namespace, settings: Settings, now: datetime) -> None:
        """Prepare the questions that the options need; nothing is asked yet."""
        self._options = options
        self._settings = settings
        self._now = now
        self._chosen = _chosen(options, now)
        self._where = where_of(options)
        # Here --tz shows one more day; the days that are compared are OpenRouter's.
        self._of_utc = Namespace(**{**vars(options), "tz": None})
        self._before = before_of(self._of_utc, now) if options.compare and self._chosen else None
        self._search = self._new_search()
        self._found: DaysFound | None = None
        self._managing: ApiKey | None = None
        self._questions = self._questions_at(now)
        self._answers: dict[str, Analytics | Gap] = {}
        self._fees: AccountFees | Gap | None = None
        self._left_out: frozenset[str] = frozenset()

    def _questions_at(self, now: datetime) -> dict[str, Question]:
        asked = self._options
        # The days of a chosen period need a search; a breakdown without such a period needs one question.
        by = "model" if self._chosen else asked.by
        return questions(
            now, by=by, days=DEFAULT_DAYS, only_today=asked.period == "today", zone=asked.tz, explain=asked.explain
        )

    def _new_search(self) -> AccountDays | None:
        """Prepare the search for the days of a chosen period, if there is one."""
        if self._chosen is None:
            return None
        from openrouter_usage.jobs.account_days import AccountDays

        by, where, timeout_s = account_by(self._options), self._where, self._options.timeout
        chosen, days = self._chosen, self._days(self._chosen)
        if self._before:
            chosen = ChosenPeriod("", str(days.whole.first), str(days.whole.last))
        return AccountDays(self._settings, chosen, by=by, timeout_s=timeout_s, where=where, part_of=days.part_of)

    def _days(self, chosen: ChosenPeriod) -> SideBySide:
        """Return the days of the period, and of the one beside it."""
        return side_by_side(chosen.span(self._now), self._before, self._now)

    def ask(self, key: ApiKey | None) -> None:
        """Ask OpenRouter, once, if there is a management key."""
        if key is None or self._managing is not None:
            return
        self._managing = key
        begin = partial(self._search.begin, key, self._now) if self._search else nothing
        timeout_s, span = self._options.timeout, self._chosen.span(self._now) if self._chosen else None
        own: dict[str, Callable[[], Any]] = {}
        if self._questions:
            own["own"] = lambda: ask(self._settings, key, self._questions, self._now, timeout_s=timeout_s)
        if span and self._options.fees:
            own["fees"] = lambda: ask_fees(self._settings, key, span, self._now, timeout_s=timeout_s)
        if not own:
            begin()
            return
        answers = at_once(own, timeout_s=timeout_s + 1, meanwhile=begin)
        self._fees, found = answers.get("fees"), answers.get("own", {})
        self._answers = dict.fromkeys(self._questions, found) if isinstance(found, Gap) else found

    @property
    def fees(self) -> AccountFees | None:
        """Return what the account's credits were taken for beside tokens, if that was asked for and is known."""
        return None if isinstance(self._fees, Gap) else self._fees

    def fit(self, parts: Parts) -> None:
        """Leave out answers of another day than the stored ones, because the figures would not fit together."""
        of_kept = self._questions_at(parts.taken_at)
        others = {name: question for name, question in self._questions.items() if question != of_kept[name]}
        self._left_out = frozenset(others)
        for name, question in others.items():
            answer = self._answers.get(name)
            is_the_ledgers = name != "today" and question.by not in ACCOUNT_GROUPINGS
            if isinstance(answer, Analytics) or (answer is None and is_the_ledgers):
                told = f"left out, because the other figures are older, from {spoken(parts.taken_at)}"
                self._answers[name] = Gap(name, "other_day", told, "", Unreachable.exit_code)

    def ask_late(self, parts: Parts) -> None:
        """Ask with the ordinary key if it turned out to be a management key, which only OpenRouter can tell."""
        self.ask(managing_key(self._settings, parts))

    def find(self, parts: Parts) -> None:
        """End the search for the days of a chosen period, where a management key began it."""
        if self._search and self._managing:
            self._found = self._search.finish(self._managing, parts, self._now)
        if self._options.source == "all" and self._chosen:
            self._found = self._with_ledger(self._found or self._search_of_nobody(self._chosen))

    def _search_of_nobody(self, chosen: ChosenPeriod) -> DaysFound:
        """Return what is known of the account without a management key: no day."""
        from openrouter_usage.figures.account_days import DaysFound

        span = self._days(chosen).whole
        return DaysFound(span, {}, dict.fromkeys(span.days(), _NO_KEY), None)

    def _with_ledger(self, found: DaysFound) -> DaysFound:
        """Let the ledger tell of the days that the account does not."""
        from openrouter_usage.figures.account_days import with_ledger

        tracked, problem = local_tracked_days(found.span, self._options.by, self._where)
        return with_ledger(found, tracked)._replace(notes=(*found.notes, *((problem,) if problem else ())))

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """Return the gaps: the questions that OpenRouter did not answer."""
        names = {"breakdown": "breakdown", "zone": "zone_today", "today": "account_today"}
        found = [(names[name], answer) for name, answer in self._answers.items() if isinstance(answer, Gap)]
        found += [("fees", self._fees)] if isinstance(self._fees, Gap) else []
        if self._options.fees and self._managing is None:
            found.append(("fees", _NO_KEY._replace(message="only a management key can see the account's fees")))
        short = [
            Gap.of_left_out(names[name], answer.left_out, "row")
            for name, answer in self._answers.items()
            # The sum of today names what was left out of it.
            if isinstance(answer, Analytics) and answer.left_out and name != "today"
        ]
        return (*(gap._replace(part=part) for part, gap in found), *short, *(self._found.gaps if self._found else ()))

    def notes(self, parts: Parts) -> tuple[str, ...]:
        """Return notes on the age of answers that OpenRouter had stored, if the summary uses them."""
        names = {"breakdown": "the breakdown", "zone": "the zone's day"}
        if parts.today is None:
            names["today"] = "the account's spend of today"
        found = []
        for name, words in names.items():
            answer = self._answers.get(name)
            kept_at = answer.cached_at if isinstance(answer, Analytics) else None
            age_s = (self._now - kept_at).total_seconds() if kept_at else 0
            if kept_at and age_s > _NOTABLE_AGE_S:
                found.append(f"{words} is from {spoken(kept_at)}, {ago(age_s)} before OpenRouter was asked")
        return (*found, *(self._found.notes if self._found else ()))

    def with_today(self, parts: Parts) -> Parts:
        """Add what the account has spent today, where nobody had asked for it yet."""
        answer = self._answers.get("today")
        if parts.today is None and isinstance(answer, Analytics):
            return parts._replace(today=TodaySpend(answer.total, answer.truncated, answer.left_out))
        return parts

    def breakdown(self, parts: Parts) -> Breakdown | None:
        """Return the requested breakdown; None for the usual one. MissingKey where the ledger cannot help."""
        question, answer = self._questions.get("breakdown"), self._answers.get("breakdown")
        if self._chosen:
            return self._of_period(self._chosen)
        if question is None:
            return None
        top = self._options.top
        if isinstance(answer, Analytics):
            rows = () if parts.activity is None or isinstance(parts.activity, Gap) else parts.activity
            return account_breakdown(answer, question, rows, top=top)
        if question.by not in ACCOUNT_GROUPINGS:
            return None if "breakdown" in self._left_out else self._of_ledger(question.period, question.by)
        if answer is None:
            raise _needs_mgmt_key(question.by)
        return None

    def _of_period(self, chosen: ChosenPeriod) -> Breakdown | None:
        """Return the breakdown of a chosen period: the account's, or without a management key the ledger's."""
        by, top = self._options.by, self._options.top
        if self._found:
            from openrouter_usage.figures.account_days import compared_periods
            from openrouter_usage.jobs.price_list import canonical_names

            return compared_periods(
                self._found,
                # Without another period these are the days by OpenRouter's clock.
                chosen.span(self._now) if self._before else self._found.span,
                self._before,
                title=", ".join(filter(None, (chosen.words, said_of(self._where)))),
                by=by,
                top=top,
                name_of=canonical_names(self._found.slugs),
                where=self._where,
                is_running=self._days(chosen).is_running,
            )
        asked = set(account_dimensions(by, self._where)) & set(ACCOUNT_GROUPINGS)
        if asked:
            raise _needs_mgmt_key(min(asked))
        return self._of_ledger(chosen.local_period(self._now), by, chosen.span(self._now).days())

    def _of_ledger(self, period: Period, by: str, days: Iterable[date] = ()) -> Breakdown | None:
        """Return what the local ledger knows of a period."""
        before = moments_before(self._of_utc, self._now, period) if self._before else None
        found, problem = local_breakdown(
            period, top=self._options.top, by=by, days=days, where=self._where, before=before
        )
        if problem:
            complain(PROGRAM, problem)
        return found

    def zone_day(self) -> Window | None:
        """Return the running day of the zone: the account's, else the ledger's, else unknown."""
        question, answer = self._questions.get("zone"), self._answers.get("zone")
        if question is None or "zone" in self._left_out:
            return None
        if isinstance(answer, Analytics) and not answer.truncated:
            return Window(question.period, answer.total.cost, answer.total.byok_cost, f"the account, {SOURCE}")
        found, _ = local_breakdown(question.period, top=0, by="model")
        if found is None:
            return Window(question.period, None, None, ledger_name())
        whole = found.total
        if whole.unknown == whole.requests:
            return Window(question.period, None, None, found.source, whole.unknown)
        return Window(question.period, whole.cost, whole.byok_cost, found.source, whole.unknown)


def _chosen(options: Namespace, now: datetime) -> ChosenPeriod | None:
    """Return the period whose days have to be found; SettingsError for an invalid one."""
    if not is_searched(options):
        return None
    is_named = options.period or not options.since
    word = options.period or f"{DEFAULT_DAYS}d" if is_named else ""
    chosen = ChosenPeriod(word, options.since or "", options.until or "")
    chosen.span(now)
    return chosen


def _needs_mgmt_key(by: str) -> MissingKey:
    return MissingKey(
        f"only a management key can see what each {by} spent: set OPENROUTER_MGMT_KEY",
        hint="create one at https://openrouter.ai/settings/management-keys",
    )
