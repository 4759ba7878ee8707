"""What holds now: the budgets that the user has set, and the price list that bounds are made of."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from openrouter_usage.budgets import MACHINE, Budget, bounding
from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.figures.limits import standings
from openrouter_usage.figures.pricing import PriceList
from openrouter_usage.files import state_of
from openrouter_usage.home.settings import Settings, load_budgets, settings_file
from openrouter_usage.jobs.price_list import MAX_AGE, current_prices, price_file
from openrouter_usage.ledger.ledger import Committed, Ledger
from openrouter_usage.openrouter.endpoints import OpenRouter
from openrouter_usage.openrouter.network import SharedContext
from openrouter_usage.openrouter.transport import Transport
from openrouter_usage.tracker.record import utc_now


class BudgetsNow:
    """The budgets in force; the settings are read again when their file has changed."""

    def __init__(self) -> None:
        """Begin with nothing read."""
        self._seen: object = None
        self._path: Path | None = None
        self.last: tuple[Budget, ...] = ()

    def read(self) -> tuple[Budget, ...]:
        """Return the budgets; SettingsError where they cannot be read, so that no call slips past them."""
        try:
            self._path = self._path or settings_file()
            seen: object = state_of(self._path)
        except (OSError, OpenRouterUsageError):
            seen = ()
        if seen != self._seen:
            self.last, self._seen = load_budgets(), seen
        return self.last


def left(budgets: tuple[Budget, ...], ledger: Ledger) -> Decimal | None:
    """Return what the tightest of the machine's own caps over time leaves, in USD; None without one."""
    found: list[Decimal] = []
    own = [each._replace(caps=each.caps._replace(per_request=None)) for each in budgets if each.owner == MACHINE]

    def look(books: Committed) -> None:
        found.extend(scope.left for scope in standings(own, books, utc_now()))

    if bounding(own):
        ledger.committed(look)
    return min(found, default=None)


class PricesNow:
    """The price list, at most a day old; asked for once, however many calls wait for it."""

    def __init__(self, settings: Settings) -> None:
        """Begin with the list on disk, if it is young enough."""
        self._settings = settings
        transport = Transport(settings.base_url, tls=SharedContext())
        self._client = OpenRouter(transport, None)
        self._lock = asyncio.Lock()
        self._known: PriceList | None = None

    async def get(self) -> PriceList:
        """Return the list; Unreachable when it cannot be had."""
        async with self._lock:
            known = self._known
            if known is None or not timedelta() <= utc_now() - known.fetched_at < MAX_AGE:
                self._known = known = await asyncio.to_thread(self._load)
            return known

    def _load(self) -> PriceList:
        source = self._settings.base_url.url
        return current_prices(price_file(self._settings), self._client.models, utc_now(), source=source)
