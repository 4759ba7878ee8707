"""What the tests of the archive share: an account whose days go by, and what was true of each of them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests import oracle
from tests.booking import Booked, Tracker, TrackerAt
from tests.running import exact_json
from tests.sandbox import MANAGEMENT_KEY, Account, ActivityRow, Sandbox

DAY = timedelta(days=1)
SUMS = {"cost_usd": "usage", **{shown: kept for shown, kept in oracle.SUMS.items() if kept != "usage"}}
Day = tuple[tuple[Any, ...], ...]


def noon(day: date) -> datetime:
    """A moment within a day."""
    return datetime.combine(day, time(12), timezone.utc)


def figures(rows: Iterable[ActivityRow]) -> Day:
    """What the rows of one day say, in an order of its own: the same figures are the same value."""
    sums: dict[tuple[str, str, str], list[Any]] = {}
    for row in rows:
        found = sums.setdefault((row.model, row.model_permaslug, row.provider_name), [0] * len(SUMS))
        found[:] = [have + getattr(row, name) for have, name in zip(found, SUMS.values(), strict=True)]
    return tuple(sorted((*key, *values) for key, values in sums.items()))


def summed(days: Mapping[date, Day], by: str) -> dict[str, dict[str, Any]]:
    """The sums of each group over days, worked out from the figures alone."""
    groups: dict[str, dict[str, Any]] = {}
    for day, rows in days.items():
        if by == "day":
            groups.setdefault(day.isoformat(), dict.fromkeys(SUMS, 0))
        for model, _, provider, *values in rows:
            name = {"model": model, "provider": provider, "day": day.isoformat()}[by]
            group = groups.setdefault(name, dict.fromkeys(SUMS, 0))
            for column, value in zip(SUMS, values, strict=True):
                group[column] += value
    return groups


@dataclass
class Life:
    """An account whose clock the test sets, with rows that come, and are corrected, as its days go by."""

    sandbox: Sandbox
    home: Path
    at: TrackerAt
    now: datetime
    chance: random.Random = field(default_factory=lambda: random.Random(6))

    def __post_init__(self) -> None:
        self.sandbox.account.now = lambda: self.now

    @property
    def account(self) -> Account:
        """The account that the sandbox plays."""
        return self.sandbox.account

    @property
    def tracker(self) -> Tracker:
        """The program's surroundings."""
        return self.at.tracker

    @property
    def path(self) -> Path:
        """The archive."""
        return self.tracker.folder / "activity.jsonl"

    @property
    def today(self) -> date:
        """The running day of the account."""
        return self.now.date()

    def spend(self, day: date, *, least_rows: int = 0) -> None:
        """Put some rows, or none, into a day."""
        for _ in range(self.chance.randint(least_rows, 3)):
            model = self.chance.choice(("openai/gpt-5.2", "anthropic/claude-sonnet-4.5", "openai/gpt-5-mini"))
            self.account.activity.append(
                ActivityRow(
                    day,
                    model,
                    self.chance.choice(("OpenAI", "Azure", "Anthropic")),
                    usage=Decimal(self.chance.randint(0, 10**9)).scaleb(-self.chance.randint(6, 18)),
                    byok_usage_inference=Decimal(self.chance.choice((0, 0, 7))).scaleb(-3),
                    requests=self.chance.randint(1, 90),
                    prompt_tokens=self.chance.randint(0, 9_000),
                    completion_tokens=self.chance.randint(0, 900),
                    reasoning_tokens=self.chance.randint(0, 90),
                    cached_tokens=self.chance.randint(0, 900),
                    model_permaslug=f"{model}-20250929",
                )
            )

    def correct(self, day: date) -> None:
        """Have OpenRouter say something else of a day than it did."""
        rows = [row for row in self.account.activity if row.date == day]
        if rows:
            rows[-1].usage += Decimal("0.000000000001")
            rows[-1].requests += 1
        else:
            self.spend(day, least_rows=1)

    def truth(self) -> dict[date, Day]:
        """What OpenRouter says of each completed day that it still tells."""
        days: dict[date, list[ActivityRow]] = {self.today - number * DAY: [] for number in range(1, 31)}
        for row in self.account.activity:
            if row.date in days:
                days[row.date].append(row)
        return {day: figures(rows) for day, rows in days.items()}

    def sync(self, *words: str, now: datetime | None = None, **env: str | None) -> Booked:
        """Run sync by the account's clock, or by one that is wrong."""
        ran = self.at(now or self.now, "sync", *words, env=env or None)
        assert MANAGEMENT_KEY not in ran.out + ran.err
        return ran

    def stats(self, *words: str) -> Booked:
        """Run stats on the archive by the account's clock."""
        return self.at(self.now, "stats", "--source", "account", *words)

    def lines(self) -> list[Any]:
        """Every line of the archive that is JSON."""
        found = []
        for line in self.path.read_bytes().splitlines() if self.path.exists() else []:
            try:
                found.append(exact_json(line.decode()))
            except ValueError:
                continue
        return found

    def archived(self) -> dict[date, Day]:
        """What the last line of each day says, read without the program."""
        return {date.fromisoformat(line["date"]): kept_figures(line) for line in self.lines()}


def kept_figures(line: Any) -> Day:
    """The figures of one line of the archive."""
    names = ("model", "slug", "provider", "usage", "byok", *list(SUMS)[2:])
    return tuple(sorted(tuple(row[name] for name in names) for row in line["rows"]))


def groups_of(ran: Booked) -> dict[str, dict[str, Any]]:
    """The groups of a report, by name."""
    assert ran.code == 0, ran.err
    return {row["name"]: {column: row[column] for column in SUMS} for row in ran.data["groups"]}
