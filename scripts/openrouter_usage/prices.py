"""The price list on disk: OpenRouter's, kept for a day, with its age."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from openrouter_usage.answers.fields import Fields
from openrouter_usage.answers.models import compact, read_models
from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.exactjson import Json, dumps, loads
from openrouter_usage.files import make_private_folder, replace_file
from openrouter_usage.pricing import PriceList, price_list

MAX_AGE = timedelta(days=1)
_LARGEST_FILE = 64 * 1024 * 1024


def load_prices(path: Path | None) -> PriceList | None:
    """Read the kept list; None when there is none that can be read."""
    try:
        if path is None or not path.is_file():
            return None
        with path.open("rb") as file:
            kept = Fields(loads(file.read(_LARGEST_FILE)), "the price list")
        fetched_at = kept.moment("fetched_at")
        return price_list(read_models(kept.get("answer")), fetched_at) if fetched_at else None
    except (OSError, ValueError, OpenRouterUsageError):
        return None


def save_prices(path: Path | None, answer: Json, now: datetime) -> None:
    """Keep an answer of GET /models; when that fails it is asked for again next time."""
    if path is not None:
        with contextlib.suppress(OSError):
            make_private_folder(path.parent)
            replace_file(path, [dumps({"fetched_at": now.isoformat(), "answer": compact(answer)})])


def current_prices(path: Path | None, ask: Callable[[], Json], now: datetime) -> PriceList:
    """Give a list of at most a day's age, asking for it if need be; Unreachable when it cannot be had.

    An older list is not used instead: what a price was the day before yesterday bounds nothing.
    """
    kept = load_prices(path)
    if kept is not None and timedelta() <= now - kept.fetched_at < MAX_AGE:
        return kept
    answer = ask()
    save_prices(path, answer, now)
    return price_list(read_models(answer), now)
