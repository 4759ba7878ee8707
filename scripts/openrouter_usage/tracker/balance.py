"""How one key stands, in one call."""

from __future__ import annotations

from openrouter_usage.answers.key import KeyInfo
from openrouter_usage.credentials import ApiKey
from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.exactjson import Json
from openrouter_usage.settings import BaseUrl, Settings, load_settings, parse_base_url

TIMEOUT_S = 15.0


def check_credits(api_key: str | None = None) -> KeyInfo:
    """Give everything GET /key says of a key; Denied or Unreachable when it says nothing."""
    return _ask(load_settings(), api_key)


def get_key_balance(api_key: str | None = None, base_url: str | None = None) -> dict[str, Json]:
    """Give label, limit, usage, limit_remaining (USD, exact; a limit of None is no limit) and is_free_tier of a key.

    Asks GET /key; never raises: when there is no answer, the dictionary has `error` and `message` instead.
    """
    try:
        settings = load_settings()
        if base_url:
            checked: BaseUrl = parse_base_url(base_url)
            settings = settings._replace(base_url=checked)
        info = _ask(settings, api_key)
    except OpenRouterUsageError as error:
        return {"error": error.message, "message": error.hint}
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
