"""Where other packages put OpenRouter's answer, or what they have kept of it; by shape and module name alone.

Each reader returns the JSON that the answer would have been. A cost is taken only where a package hands on what
OpenRouter told it: several of them compute prices of their own, which are no bill.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from openrouter_usage.exactjson import Json
from openrouter_usage.tracker.responses import GENERATION_PREFIX, look

# instructor, smolagents and LlamaIndex, openai-agents, semantic-kernel.
_HOLDERS = ("_raw_response", "raw", "raw_responses", "inner_content")
_MONEY = ("cost", "is_byok", "cost_details")


def held_in(value: object) -> list[object]:
    """Return the answers that an object keeps beside its own data; under several names the first one counts."""
    for name in _HOLDERS:
        # Of the object's own alone: a client or a mock would make something up.
        found = look(value, name) if name in _own(value) else None
        if found is not None:
            return [found]
    if _module(value) == "pydantic_ai":
        messages = look(value, "new_messages")
        try:
            return list(messages()) if callable(messages) else []
        except Exception:
            return []  # a stream that has not been read to its end has none yet
    return []


def is_run(value: object) -> bool:
    """Check whether a value is the result of a framework's run, whose own usage is a sum and whose cost an estimate."""
    return bool(held_in(value)) or (_module(value) == "pydantic_ai" and hasattr(type(value), "new_messages"))


def kept_json(value: object) -> dict[str, Json] | None:
    """Return what a framework's own message keeps of OpenRouter's answer, as its JSON; None for anything else."""
    if isinstance(look(value, "response_metadata"), Mapping) and _has_attribute(value, "usage_metadata"):
        return _langchain(value)
    module = _module(value)
    if module == "pydantic_ai" and _has_attribute(value, "provider_response_id"):
        return _pydantic_ai(value)
    if module == "agents" and _has_attribute(value, "response_id") and _has_attribute(value, "output"):
        return _openai_agents(value)
    return None


def _langchain(message: Any) -> dict[str, Json] | None:
    """An AIMessage: langchain-openai keeps the whole usage in the metadata, langchain-openrouter the cost beside it."""
    metadata, counts = message.response_metadata, look(message, "usage_metadata")
    usage = _mapping(metadata.get("token_usage")) or _mapping(metadata.get("usage")) or _langchain_usage(counts)
    usage = {**usage, **{name: metadata[name] for name in _MONEY if metadata.get(name) is not None}}
    model = metadata.get("model_name") or metadata.get("model")
    if not usage and not model and not metadata.get("id"):
        return None  # nobody's answer: a prompt, or the words of an example
    is_chunk = type(message).__name__.endswith("Chunk")
    return {
        # Without OpenRouter's id a message's own tells at least that it is the same one once more. All chunks of a
        # stream have it, and only the first of them OpenRouter's.
        "id": metadata.get("id") or (None if is_chunk else look(message, "id")),
        "model": model,
        "provider": metadata.get("provider"),
        "usage": usage or None,
        "choices": [{"finish_reason": metadata.get("finish_reason")}],
        "object": "chat.completion.chunk" if is_chunk else "chat.completion",
    }


def _langchain_usage(counts: Any) -> dict[str, Json]:
    if not isinstance(counts, Mapping):
        return {}
    sent, received = _mapping(counts.get("input_token_details")), _mapping(counts.get("output_token_details"))
    return {
        "prompt_tokens": counts.get("input_tokens"),
        "completion_tokens": counts.get("output_tokens"),
        "prompt_tokens_details": {
            "cached_tokens": sent.get("cache_read"),
            "cache_write_tokens": sent.get("cache_creation"),
        },
        "completion_tokens_details": {"reasoning_tokens": received.get("reasoning")},
    }


def _pydantic_ai(response: Any) -> dict[str, Json]:
    """A ModelResponse: `usage.cost` is the package's own estimate, `provider_details` are OpenRouter's words."""
    usage, details = look(response, "usage"), _mapping(look(response, "provider_details"))
    told = _mapping(look(usage, "details"))
    return {
        "id": look(response, "provider_response_id"),
        "model": look(response, "model_name"),
        "provider": details.get("downstream_provider"),
        "object": "chat.completion",
        "choices": [{"finish_reason": details.get("finish_reason")}],
        "usage": {
            "prompt_tokens": look(usage, "input_tokens"),
            "completion_tokens": look(usage, "output_tokens"),
            "prompt_tokens_details": {
                "cached_tokens": look(usage, "cache_read_tokens"),
                "cache_write_tokens": look(usage, "cache_write_tokens"),
            },
            "completion_tokens_details": {"reasoning_tokens": told.get("reasoning_tokens")},
            "cost": details.get("cost"),
            "is_byok": told.get("is_byok") in (True, 1),
            "cost_details": {"upstream_inference_cost": details.get("upstream_inference_cost")},
        },
    }


def _openai_agents(response: Any) -> dict[str, Json]:
    """A ModelResponse: with /chat/completions the id is in the data of its items only, and the cost nowhere."""
    items = look(response, "output")
    data = [_mapping(look(item, "provider_data")) for item in items] if isinstance(items, (list, tuple)) else []
    known = next((one for one in data if one.get("response_id")), {})
    usage = look(response, "usage")
    names = ("input_tokens", "output_tokens")
    counts: dict[str, Json] = {name: look(usage, name) for name in names}
    sent, received = look(usage, "input_tokens_details"), look(usage, "output_tokens_details")
    counts["input_tokens_details"] = {name: look(sent, name) for name in ("cached_tokens", "cache_write_tokens")}
    counts["output_tokens_details"] = {"reasoning_tokens": look(received, "reasoning_tokens")}
    return {
        "id": known.get("response_id") or look(response, "response_id"),
        "model": known.get("model"),
        "object": "response",
        # With `preserve_raw_usage` it keeps what OpenRouter said.
        "usage": {**counts, **_mapping(look(response, "raw_usage"))},
    }


def is_placeholder(identity: object) -> bool:
    """Check whether an id is what openai-agents writes where it has none: every call has the same."""
    return identity == "__fake_id__"


def is_generation(identity: object) -> bool:
    """Check whether an id is one that OpenRouter gives."""
    return isinstance(identity, str) and identity.startswith(GENERATION_PREFIX)


def parts_of(value: object) -> Iterable[object]:
    """Return the values of an object that only holds data: a dataclass, a model of pydantic, a namespace."""
    kind = type(value)
    holds_data = any(hasattr(kind, name) for name in ("__dataclass_fields__", "model_fields"))
    return list(_own(value).values()) if holds_data or kind.__name__ == "SimpleNamespace" else ()


def _own(value: object) -> dict[str, Any]:
    if isinstance(value, type):
        return {}
    private = look(value, "__pydantic_private__")
    try:
        return {**vars(value), **(private if isinstance(private, dict) else {})}
    except Exception:
        return {}  # it has none, or does not show them


def _has_attribute(value: object, name: str) -> bool:
    return hasattr(type(value), name) or name in _own(value)


def _module(value: object) -> str:
    return str(getattr(type(value), "__module__", "")).partition(".")[0]


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}
