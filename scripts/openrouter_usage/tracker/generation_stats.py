"""get_generation_stats: everything that GET /generation says of a call, or None while OpenRouter does not know it."""

from __future__ import annotations

import math
import time
from typing import Any

from openrouter_usage.answers.generation import Generation
from openrouter_usage.entry import LONGEST_NAME
from openrouter_usage.errors import InvalidValue, NotFound
from openrouter_usage.exactjson import Json
from openrouter_usage.settings import load_settings
from openrouter_usage.tracker.loading import load_client


class GenerationStats(dict[str, Json]):
    """The answer as OpenRouter sent it, with every field under `["data"]`; amounts are exact.

    The figures that were read and checked are attributes as well, such as `total_cost` (USD), `provider` and
    `latency_ms`; those of a field that is missing or null are None.
    """

    def __init__(self, generation: Generation) -> None:
        """Hold what was answered, and what was read of it."""
        super().__init__(data=dict(generation.sent))
        self.generation = generation

    def __getattr__(self, name: str) -> Any:
        """Return a figure of the generation."""
        # By way of __dict__, for a copy that is being made asks before it has one.
        generation = self.__dict__.get("generation")
        if generation is None or name.startswith("_"):
            raise AttributeError(name)
        return getattr(generation, name)


def get_generation_stats(
    generation_id: str, max_retries: int = 3, delay: float = 1.0, *, api_key: str | None = None
) -> GenerationStats | None:
    """Return `{"data": {...}}` as GET /generation answers; None when OpenRouter does not know the id.

    Asks up to `max_retries` times, `delay` seconds apart, for OpenRouter knows a call some seconds after it was
    made. Raises MissingKey, Denied or Unreachable where it does not answer at all.
    """
    load_client()
    from openrouter_usage.tracker.lookup import open_client

    check_id(generation_id)
    if isinstance(max_retries, bool) or not isinstance(max_retries, int) or max_retries < 0:
        raise InvalidValue("max_retries is a whole number, not below 0")
    if isinstance(delay, bool) or not isinstance(delay, (int, float)) or not 0 <= delay < math.inf:
        raise InvalidValue("delay is a number of seconds, not below 0")
    client = open_client(load_settings(), api_key, timeout_s=30.0)
    for attempt in range(max(1, max_retries)):
        if attempt:
            time.sleep(delay)
        try:
            return GenerationStats(client.generation(generation_id))
        except NotFound:
            continue
    return None


def check_id(generation_id: object) -> None:
    """Raise InvalidValue for what cannot be the id of a generation."""
    if not isinstance(generation_id, str) or not generation_id.strip() or len(generation_id) > LONGEST_NAME:
        raise InvalidValue("a generation's id is a text such as gen-1700000000-abc")
