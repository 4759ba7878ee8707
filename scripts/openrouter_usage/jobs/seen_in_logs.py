"""Finds what other programs logged without an id, in the file beside the ledger, and prices what has no cost."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from openrouter_usage.entry import Usage
from openrouter_usage.errors import LedgerError, OpenRouterUsageError
from openrouter_usage.figures.pricing import repriced
from openrouter_usage.figures.seen_in_logs import PriceOf, Seen, seen_by_client
from openrouter_usage.home.settings import load_settings
from openrouter_usage.jobs.log_book import LogBook, book_beside
from openrouter_usage.jobs.price_list import load_prices, price_file
from openrouter_usage.period import Period


def seen_in_logs(ledger: Path, period: Period | None = None) -> tuple[Seen, ...]:
    """Return what programs logged in a period, or ever; nothing where `collect` has not been run."""
    path = book_beside(ledger)
    if not path.is_file():
        return ()
    try:
        book = LogBook(path)
    except LedgerError:
        return ()
    try:
        return seen_in(book, period)
    finally:
        book.close()


def seen_in(book: LogBook, period: Period | None = None) -> tuple[Seen, ...]:
    """Return the same from an open file."""
    span = (int(period.start.timestamp()), int(period.end.timestamp())) if period else ()
    return seen_by_client(book.estimates(*span), _kept_prices())


def _kept_prices() -> PriceOf:
    """Return prices by the kept list, whatever its age: nobody is asked for an estimate's sake."""
    try:
        settings = load_settings()
        prices = load_prices(price_file(settings), settings.base_url.url)
    except OpenRouterUsageError:
        prices = None

    def price_of(model: str, usage: Usage) -> Decimal | None:
        found = prices.find(model) if prices else None
        return repriced(found, usage) if found else None

    return price_of
