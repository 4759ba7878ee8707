"""The period of whole UTC days that the options of `stats.py` choose, the running day included."""

from __future__ import annotations

from datetime import date, datetime
from typing import NamedTuple

from openrouter_usage.errors import SettingsError
from openrouter_usage.period import DAY, Period, days, month, today, week
from openrouter_usage.stretch import Stretch
from openrouter_usage.text import plural


class ChosenPeriod(NamedTuple):
    """What was asked for: `week`, `month` or `yesterday`, the last so many `days`, or the days `since` one of them."""

    name: str
    number: int = 0
    since: date | None = None
    until: date | None = None

    @property
    def words(self) -> str:
        """Return how people call the period; "" where its dates are its only name."""
        running = {"week": "this week", "month": "this month", "yesterday": "yesterday"}
        if self.name == "days":
            return f"last {plural(self.number, 'day')}"
        return running.get(self.name, "")

    def span(self, now: datetime) -> Stretch:
        """Return its days up to and with the running one; SettingsError when it lies ahead or ends before it begins."""
        running = today(now).first_day
        if self.name == "yesterday":
            return Stretch(running - DAY, running - DAY)
        if self.name == "days":
            return Stretch(running - (self.number - 1) * DAY, running)
        if self.name != "since":
            whole = week(now) if self.name == "week" else month(now)
            return Stretch(whole.first_day, running)
        return self._since(running)

    def local_period(self, now: datetime) -> Period:
        """Return the same for the local ledger; a running week or month is whole, as the key's own counter has it."""
        span = self.span(now)
        label = f"{self.words}, {span} UTC" if self.words else f"{span} UTC"
        if self.name in ("week", "month"):
            return (week(now) if self.name == "week" else month(now))._replace(label=label)
        return days(span.first, span.last, label)

    def _since(self, running: date) -> Stretch:
        if self.since is None:
            raise SettingsError("--until needs a beginning", hint="add --since YYYY-MM-DD", code="usage")
        if self.until is not None and self.until < self.since:
            raise SettingsError("--since is after --until", hint="swap them", code="usage")
        if self.since > running:
            raise SettingsError(
                f"--since lies ahead: today is {running} (UTC)", hint="give an earlier day", code="usage"
            )
        return Stretch(self.since, min(self.until or running, running))
