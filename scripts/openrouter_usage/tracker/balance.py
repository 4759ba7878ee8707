"""How one key stands, in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openrouter_usage.answers.fields import Fields
from openrouter_usage.answers.key import KeyInfo, read_key, write_key
from openrouter_usage.credentials import ApiKey
from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.exactjson import Json
from openrouter_usage.redaction import scrubbed
from openrouter_usage.settings import Settings, load_settings, parse_base_url
from openrouter_usage.text import safe
from openrouter_usage.tracker.loading import load_client

if TYPE_CHECKING:
    from openrouter_usage.client.openrouter import OpenRouter

TIMEOUT_S = 15.0


def check_credits(api_key: str | None = None) -> dict[str, Json]:
    """Return what GET /key answers: under `data` the label, usage, limit and all else of a key, amounts exact, in USD.

    Raises MissingKey without a key, and Denied or Unreachable when there is no answer.
    """
    answer = _open(load_settings(), api_key).key_answer()
    sent = Fields(answer, "/key").within("data")
    data: dict[str, Json] = {name: sent.get(name) for name in sent}
    read = Fields(write_key(read_key(answer)), "/key").within("data")
    for name in read:
        # What was read and checked goes first, for a figure that cannot be is None there.
        told, checked = data.get(name), read.get(name)
        data[name] = {**told, **checked} if isinstance(told, dict) and isinstance(checked, dict) else checked
    return {"data": data}


def get_key_balance(api_key: str | None = None, base_url: str | None = None) -> dict[str, Json]:
    """Give label, limit, usage, limit_remaining (USD, exact; a limit of None is no limit) and is_free_tier of a key.

    Asks GET /key; never raises: when there is no answer, the dictionary has `error` and `message` instead.
    """
    try:
        settings = load_settings()
        if base_url:
            settings = settings._replace(base_url=parse_base_url(base_url))
        return key_balance(_open(settings, api_key).key())
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


def _open(settings: Settings, api_key: str | None) -> OpenRouter:
    load_client()
    from openrouter_usage.collect import connect

    key = ApiKey.checked(api_key, "api_key", "the caller") if api_key else settings.require_key()
    return connect(settings, timeout_s=TIMEOUT_S)(key)
