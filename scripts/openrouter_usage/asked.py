"""What a chat request asks for: models, tokens, prices, and what of it nobody can bound; pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal

from openrouter_usage.errors import InvalidValue, Refused
from openrouter_usage.exactjson import Json
from openrouter_usage.money import EXACT, usd
from openrouter_usage.text import named

DEFAULT_MAX_TOKENS = 1024
# Providers put instructions of their own around tools and schemas; what was measured stays below this.
_TOKENS_FOR_TOOLS = 2_048
_TOKENS_FOR_A_TEMPLATE = 64
# These steer the call and are not put before the model.
_NOT_SAID = frozenset(("model", "models", "max_tokens", "max_completion_tokens", "provider", "stream", "usage", "n"))
_EXTRAS = ("plugins", "web_search_options", "audio", "image_config", "prediction", "preset")
_PLAIN_TIERS = ("auto", "default", "standard", "flex")


class Unbounded(Refused):
    """Nobody can say beforehand what a call will cost at most."""

    code = "unbounded"


class NoSuchModel(Unbounded):
    """OpenRouter does not list the model that was asked for: most likely its name is misspelt."""

    exit_code = 2
    code = "no_such_model"


def unbounded(why: str) -> Unbounded:
    """Give the error that says why a call cannot be bounded."""
    return Unbounded(
        f"under a budget this call is refused: {why}", hint="say what it may cost at most with --max-cost (max_cost=)"
    )


def models(body: Mapping[str, Json]) -> list[str]:
    """Name every model that may answer."""
    fallbacks = body.get("models")
    named_in = [body.get("model"), *(fallbacks if isinstance(fallbacks, list) else [])]
    names = [name for name in named_in if isinstance(name, str) and name]
    if not names:
        raise InvalidValue("a request names a model")
    return names


def prompt_tokens(body: Mapping[str, Json]) -> int:
    """Count the bytes of what is said: no tokenizer makes more tokens than bytes, and a template's fit in the rest."""
    said = {name: value for name, value in body.items() if name not in _NOT_SAID}
    text = json.dumps(said, ensure_ascii=False, default=str)
    around = any(body.get(name) for name in ("tools", "functions", "response_format"))
    return len(text.encode("utf-8", "surrogatepass")) + _TOKENS_FOR_A_TEMPLATE + _TOKENS_FOR_TOOLS * around


def asks_for_length(body: Mapping[str, Json]) -> bool:
    """Tell whether the caller says how long the answer may be."""
    return body.get("max_tokens") is not None or body.get("max_completion_tokens") is not None


def max_tokens(body: Mapping[str, Json]) -> int:
    """Give the longest answer that is asked for, or a length that will be."""
    given = [_whole(body.get(name), name) for name in ("max_tokens", "max_completion_tokens")]
    return max([count for count in given if count is not None], default=DEFAULT_MAX_TOKENS)


def answers(body: Mapping[str, Json]) -> int:
    """Count the answers that are asked for at once."""
    return max(_whole(body.get(name), name) or 1 for name in ("n", "best_of"))


def _whole(value: Json, name: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= 100_000_000:
        raise InvalidValue(f"{name} is a whole number above 0")
    return value


def own_max_price(body: Mapping[str, Json]) -> dict[str, Decimal]:
    """Give the prices that the caller admits at most, in USD per token, and per request."""
    provider = body.get("provider")
    cap = provider.get("max_price") if isinstance(provider, dict) else None
    if not isinstance(cap, dict):
        return {}
    per_unit = {"prompt": Decimal("0.000001"), "completion": Decimal("0.000001"), "request": Decimal(1)}
    found = {part: usd(cap[part]) for part in per_unit if cap.get(part) is not None}
    if any(price < 0 for price in found.values()):
        raise InvalidValue("max_price is not negative")
    return {part: EXACT.multiply(price, per_unit[part]) for part, price in found.items()}


def refuse_unbounded(body: Mapping[str, Json], *, but_models: bool = False) -> None:
    """Raise Unbounded for what costs money beside tokens, or more for a token than the price list says."""
    _refuse_fields(body)
    for name in () if but_models else models(body):
        if name.endswith(":online") or name.startswith("@preset/"):
            raise unbounded(f"{named(name)} may search the web or choose models by itself")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidValue("a request has messages")
    for message in messages:
        if isinstance(message, dict) and not _is_text(message):
            raise unbounded("images, sound and files cost what only their provider knows")


def _refuse_fields(body: Mapping[str, Json]) -> None:
    for name in _EXTRAS:
        if body.get(name):
            raise unbounded(f"{name} costs extra that no price list tells")
    if body.get("modalities") not in (None, [], ["text"]):
        raise unbounded("modalities other than text cost what only their provider knows")
    if body.get("service_tier") not in (None, *_PLAIN_TIERS):
        raise unbounded(f"the service tier {named(str(body.get('service_tier')))} costs more than the list price")
    provider, tools = body.get("provider"), body.get("tools")
    if isinstance(provider, dict) and provider.get("options"):
        raise unbounded("provider.options goes to the provider as it is")
    for tool in tools if isinstance(tools, list) else []:
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind != "function":
            raise unbounded(f"the tool {named(str(kind))} runs on the server and costs extra")


def _is_text(message: Mapping[str, Json]) -> bool:
    parts = message.get("content")
    listed = parts if isinstance(parts, list) else []
    is_text = all(isinstance(part, dict) and part.get("type") == "text" for part in listed)
    return is_text and not any(message.get(name) for name in ("audio", "images", "files"))
