"""How one key stands, in one call."""

from __future__ import annotations

from openrouter_usage.answers.key import KeyInfo, write_key
from openrouter_usage.credentials import ApiKey, scrubbed
from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.exactjson import Json
from openrouter_usage.settings import Settings, load_settings, parse_base_url
from openrouter_usage.text import safe

TIMEOUT_S = 15.0


def check_credits(api_key: str | None = None) -> dict[str, Json]:
    """Give what GET /key answers: under `data` the label, usage, limit and more of a key, amounts exact and in USD.

    Raises Denied or Unreachable when there is no answer.
    """
    return write_key(_ask(load_settings(), api_key))


def get_key_balance(api_key: str | None = None, base_url: str | None = None) -> dict[str, Json]:
    """Give label, limit, usage, limit_remaining (USD, exact; a limit of None is no limit) and is_free_tier of a key.

    Asks GET /key; never raises: when there is no answer, the dictionary has `error` and `message` instead.
    """
    try:
        settings = load_settings()
        if base_url:
            settings = settings._replace(base_url=parse_base_url(base_url))
        info = _ask(settings, api_key)
    except OpenRouterUsageError as error:
        return {"error": error.message, "message": error.hint or error.message}
    except Exception as error:  # the promise holds for an argument of another type and a missing package as well
        return {"error": "the balance could not be asked for", "message": safe(scrubbed(repr(error)), 300)}
    limit = info.limit
    return {
        "label": info.label,
        "limit": limit.amount if limit else None,
        "usage": info.all_time.usage,
        "limit_remaining": limit.remaining if limit else None,
        "is_free_tier": info.is_free_tier,
    }


def _ask(settings: Settings, api_key: str | None) -> KeyInfo:
    from openrouter_usage.collect import connect

    key = ApiKey.checked(api_key, "api_key", "the caller") if api_key else settings.require_key()
    return connect(settings, timeout_s=TIMEOUT_S)(key).key()
