"""Look-ups of a generation, which OpenRouter knows some seconds after the call, and of how a key stands."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from openrouter_usage.entry import LONGEST_NAME
from openrouter_usage.errors import InvalidValue, NotFound, OpenRouterUsageError, UnknownId
from openrouter_usage.home.settings import Settings, load_settings, parse_base_url
from openrouter_usage.jobs.loading import load_client
from openrouter_usage.jobs.summary import connect
from openrouter_usage.money import Json
from openrouter_usage.openrouter.answers.fields import Fields
from openrouter_usage.openrouter.answers.generation import Generation
from openrouter_usage.openrouter.answers.key import KeyInfo, read_key, write_key
from openrouter_usage.redaction import scrubbed
from openrouter_usage.text import named, safe

if TYPE_CHECKING:
    from openrouter_usage.openrouter.endpoints import OpenRouter

# -- Looks a generation up, patiently: OpenRouter knows it some seconds after the call.

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 8.0


def look_up(generation: str, *, api_key: str | None = None, retries: int = 4, timeout_s: float = 30.0) -> Generation:
    """Ask for a generation up to `retries` times more while the answer is 404; NotFound when it stays that.

    It is an UnknownId where OpenRouter itself says so.
    """
    client = open_client(load_settings(), api_key, timeout_s=timeout_s)
    try:
        return patiently(lambda: client.generation(generation), retries=retries)
    except NotFound as error:
        if not error.is_told:
            raise
        tries = "once" if not retries else f"{retries + 1} times"
        raise UnknownId(
            f"OpenRouter does not know the call {named(generation)}, asked {tries}: {error.message}",
            hint="check the id, and that the key belongs to the account that made the call; "
            "a new call becomes known after some seconds",
        ) from None


def patiently(
    ask: Callable[[], Generation], *, retries: int, sleep: Callable[[float], None] = time.sleep
) -> Generation:
    """Ask again while the answer is 404, after 0.5, 1, 2, ... seconds, at most 8 each time."""
    wait_s = FIRST_WAIT_S
    for _ in range(retries):
        try:
            return ask()
        except NotFound:
            sleep(min(wait_s, LONGEST_WAIT_S))
            wait_s *= 2
    return ask()


def open_client(settings: Settings, api_key: str | None, *, timeout_s: float) -> OpenRouter:
    """Return a client with the key of the caller, or the one that the settings found."""
    load_client()
    return connect(settings, timeout_s=timeout_s)(settings.require_key(api_key))


# -- get_generation_stats: everything that GET /generation says of a call, or None while OpenRouter does not know it.


class GenerationStats(dict[str, Json]):
    """The answer as OpenRouter sent it, with every field under `["data"]`; amounts are exact.

    The figures that were read and checked are attributes as well, such as `total_cost` (USD), `provider` and
    `latency_ms`; those of a field that is missing or null are None.
    """

    def __init__(self, generation: Generation) -> None:
        """Keep the answer, and what was read from it."""
        super().__init__(data=dict(generation.sent))
        self.generation = generation

    def __getattr__(self, name: str) -> Any:
        """Return a figure of the generation."""
        # Through __dict__, because a copy that is being made asks before it has one.
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

    check_id(generation_id)
    if isinstance(max_retries, bool) or not isinstance(max_retries, int) or max_retries < 0:
        raise InvalidValue("max_retries must be a whole number, not below 0")
    if isinstance(delay, bool) or not isinstance(delay, (int, float)) or not 0 <= delay < math.inf:
        raise InvalidValue("delay must be a number of seconds, not below 0")
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
        raise InvalidValue("a generation's id must be a text such as gen-1700000000-abc")


# -- How one key stands, in one call.

TIMEOUT_S = 15.0


def check_credits(api_key: str | None = None) -> dict[str, Json]:
    """Return what GET /key answers: under `data` the label, usage, limit and all else of a key, amounts exact, in USD.

    Raises MissingKey without a key, and Denied or Unreachable when there is no answer.
    """
    answer = open_client(load_settings(), api_key, timeout_s=TIMEOUT_S).key_answer()
    sent = Fields(answer, "/key").within("data")
    data: dict[str, Json] = {name: sent.get(name) for name in sent}
    read = Fields(write_key(read_key(answer)), "/key").within("data")
    for name in read:
        # What was read and checked goes first: an impossible figure is None there.
        told, checked = data.get(name), read.get(name)
        data[name] = {**told, **checked} if isinstance(told, dict) and isinstance(checked, dict) else checked
    return {"data": data}


def get_key_balance(api_key: str | None = None, base_url: str | None = None) -> dict[str, Json]:
    """Return label, limit, usage, limit_remaining (USD, exact; a limit of None is no limit) and is_free_tier of a key.

    Asks GET /key; never raises: when there is no answer, the dictionary has `error` and `message` instead.
    """
    try:
        settings = load_settings()
        if base_url:
            settings = settings._replace(base_url=parse_base_url(base_url))
        return key_balance(open_client(settings, api_key, timeout_s=TIMEOUT_S).key())
    except OpenRouterUsageError as error:
        return balance_error(error)
    except Exception as error:  # the promise holds for an argument of another type and a missing package as well
        return {"error": "the balance could not be asked for", "message": safe(scrubbed(repr(error)), 300)}


def balance_error(error: OpenRouterUsageError) -> dict[str, Json]:
    """Return what stands in the place of a balance that could not be had."""
    return {"error": error.message, "message": error.hint or error.message}


def key_balance(info: KeyInfo) -> dict[str, Json]:
    """Return how a key stands, as `get_key_balance` tells it."""
    limit = info.limit
    return {
        "label": info.label,
        "limit": limit.amount if limit else None,
        "usage": info.all_time.usage,
        "limit_remaining": limit.remaining if limit else None,
        "is_free_tier": info.is_free_tier,
    }
