"""The summary as plain values; None is unknown and never zero."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from openrouter_usage.answers.account import Credits
from openrouter_usage.answers.key import FreeQuota, Limit
from openrouter_usage.answers.parts import Gap
from openrouter_usage.period import Period
from openrouter_usage.usage import Usage

if TYPE_CHECKING:
    from openrouter_usage.summary.forecast import Forecast


class Window(NamedTuple):
    """Money spent in a running window; `source` names the endpoint the figure comes from, or the local ledger.

    `unknown_calls` are calls of the window whose cost nobody knows, and which are in no figure.
    """

    period: Period
    usage: Decimal | None
    byok: Decimal | None
    source: str
    unknown_calls: int = 0


class Share(NamedTuple):
    """One line of the breakdown."""

    name: str
    usage: Usage


def dearest_first(share: Share) -> tuple[object, ...]:
    """Return what shares are ordered by: credits; of equals BYOK money, then calls, then the name.

    Credits and BYOK are never added, so a model that cost nothing but BYOK stands among those that cost no credits.
    """
    usage = share.usage
    # A minus sign would round to the caller's decimal context.
    return (usage.cost.copy_negate(), usage.byok_cost.copy_negate(), -usage.requests, share.name)


LOCAL = "local ledger"


class Coverage(NamedTuple):
    """Which source told of which days of a chosen period; each day is in one place only.

    `title` is how people call the period, `zone` the one that its days are of. The `missing` days are in no sum.
    Where the running day is among the days, `live` is its part of the sum, as known at `live_until`.
    """

    title: str
    zone: str
    sources: tuple[tuple[str, tuple[Period, ...]], ...]
    missing: tuple[Period, ...] = ()
    live: Usage | None = None
    live_until: datetime | None = None

    def source_of(self, day: date) -> str:
        """Return the source that told of a day; "" for one that is not known."""
        found = (name for name, spans in self.sources for span in spans if span.first_day <= day <= span.last_day)
        return next(found, "")


class Breakdown(NamedTuple):
    """Who or what spent the money of a period; `rows` and `more` add up to `total`.

    `unattributed` is what the key spent in the period beyond that, where the rows come from the local ledger.
    `coverage` tells which source had which day, where the period was chosen by its days.
    """

    by: str
    days: int
    period: Period
    rows: tuple[Share, ...]
    more_count: int
    more: Usage
    total: Usage
    source: str = "/activity"
    unattributed: Decimal | None = None
    truncated: bool = False
    coverage: Coverage | None = None

    @property
    def is_local(self) -> bool:
        """Tell whether the local ledger stands in for OpenRouter's own breakdown."""
        return self.source == LOCAL

    @property
    def is_completed(self) -> bool:
        """Tell whether it covers the last completed UTC days, and so has nothing of today."""
        if self.coverage is not None:
            return False
        return self.source == "/activity" or self.period.label == f"{self.days}d"


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
    ahead: Forecast | None = None
    explanation: tuple[Fact, ...] = ()
    gaps: tuple[Gap, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_partial(self) -> bool:
        """Tell whether a part that should be there is missing."""
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
