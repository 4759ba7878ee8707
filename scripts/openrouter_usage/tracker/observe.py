"""Finds OpenRouter's answers in whatever a function returns, by their shape alone; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from openrouter_usage.answers.call import CallUsage, read_call
from openrouter_usage.exactjson import Json
from openrouter_usage.tracker.responses import GENERATION_PREFIX, Body, content_of, generation_of, look, response_of

MOST_ITEMS = 20
_APART = ("openrouter_usage.", "unittest.mock")
_MARKS = ("choices", "usage", "output", "object")
_WHOLE = ("chat.completion", "response", "list", "message")
_NAMES = ("id", "model", "provider", "object", "type", "stop_reason")
_WRAPPED = ("response", "message", "chunk")
_TOKENS = ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "total_tokens")
_FIGURES = (*_TOKENS, "cost", "is_byok", "cache_read_input_tokens", "cache_creation_input_tokens")
_DETAILS = {
    "prompt_tokens_details": ("cached_tokens", "cache_write_tokens"),
    "input_tokens_details": ("cached_tokens", "cache_write_tokens"),
    "completion_tokens_details": ("reasoning_tokens",),
    "output_tokens_details": ("reasoning_tokens",),
    "cost_details": ("upstream_inference_cost",),
}
PLAIN = (str, bytes, bytearray, int, float, type(None))


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer, or a piece of one: `is_whole` when it cannot be a piece, `is_bare` for a usage without its answer."""

    call: CallUsage
    is_whole: bool = False
    is_bare: bool = False


def observe(answer: object) -> CallUsage:
    """Give what an answer says was used; nothing at all when it is none, or a stream that is still to be read."""
    response = response_of(answer)
    if response is None:
        return next((seen.call for seen in answers_in(answer)), CallUsage())
    usage = CallUsage()

    def take(value: object, is_whole: bool) -> None:
        nonlocal usage
        seen = read_answer(value)
        usage = usage.merged(seen.call) if seen else usage

    body = Body(response, take)
    body.feed(content_of(response) or b"")
    body.end()
    return replace(usage, id=usage.id or generation_of(response))


def answers_in(value: object) -> list[Seen]:
    """Give the answers that a value is or, being a tuple or list of at most 20 items, has among its items."""
    found = read_answer(value)
    if found is not None or not isinstance(value, (tuple, list)) or len(value) > MOST_ITEMS:
        return [found] if found else []
    among = [seen for seen in map(read_answer, value) if seen]
    # `return answer, answer.usage` tells of the same money twice.
    return [seen for seen in among if not seen.is_bare] or among


def adds_nothing(value: object, known: CallUsage | None) -> bool:
    """Tell whether a chunk is just one more of a call that is known, as all but the first and last of them are."""
    if known is None or not known.id or not known.model:
        return False
    identity, choices = look(value, "id"), look(value, "choices")
    if not isinstance(identity, str) or identity != known.id or look(value, "usage") is not None:
        return False
    return isinstance(choices, (list, tuple)) and all(look(choice, "finish_reason") is None for choice in choices)


def read_answer(value: object) -> Seen | None:
    """Read a dict or an object that looks like an answer, None for anything else."""
    if isinstance(value, PLAIN) or stands_apart(value):
        return None
    data = _shape(value)
    call = read_call(data)
    figures = [name for name in _TOKENS if isinstance(data.get(name), int) and not isinstance(data[name], bool)]
    if not call.has_usage and len(figures) > 1:
        flat = read_call({"id": data.get("id"), "model": data.get("model"), "usage": data})
        if flat.has_usage:
            return Seen(flat, is_bare=not flat.id)
    return Seen(call, is_whole=_is_whole(data, value)) if _is_answer(call, value) else None


def _shape(value: object) -> dict[str, Json]:
    """Give what is read of an answer as the JSON it came from; what is absent or null is left out."""
    data = _picked(value, (*_NAMES, *_FIGURES))
    usage = look(value, "usage")
    if usage is not None:
        data["usage"] = _usage(usage)
    data |= _reasons(value)
    if "usage" not in data and "id" not in data:
        for name in _WRAPPED:
            inner = look(value, name)
            if inner is not None and not isinstance(inner, PLAIN):
                data[name] = {**_picked(inner, _NAMES), **_reasons(inner), "usage": _usage(look(inner, "usage"))}
    return {**data, **_details(value)}


def _usage(usage: object) -> Json:
    return None if usage is None or isinstance(usage, PLAIN) else {**_picked(usage, _FIGURES), **_details(usage)}


def _details(usage: object) -> dict[str, Json]:
    found = ((name, look(usage, name), names) for name, names in _DETAILS.items())
    return {name: _picked(part, names) for name, part, names in found if part is not None}


def _reasons(value: object) -> dict[str, Json]:
    choices, delta = look(value, "choices"), look(value, "delta")
    data: dict[str, Json] = {}
    if isinstance(choices, (list, tuple)) and choices:
        data["choices"] = [_picked(choices[0], ("finish_reason",))]
    if delta is not None:
        data["delta"] = _picked(delta, ("stop_reason",))
    return data


def _picked(value: object, names: tuple[str, ...]) -> dict[str, Json]:
    found = ((name, look(value, name)) for name in names)
    return {name: item for name, item in found if item is not None}


def _is_answer(call: CallUsage, value: object) -> bool:
    """Tell an answer of unknown cost from any other thing that has an id or a model."""
    if call.has_usage or call.id.startswith(GENERATION_PREFIX):
        return True
    if not call.model:
        return False
    marks = _MARKS if call.id else ("choices",)
    parts = [value, *(look(value, name) for name in _WRAPPED)]
    return any(_has(part, mark) for part in parts if part is not None for mark in marks)


def _has(value: object, name: str) -> bool:
    if isinstance(value, Mapping):
        return name in value
    try:
        return hasattr(value, name)
    except Exception:
        return False


def _is_whole(data: Mapping[str, Json], value: object) -> bool:
    if "usage" not in data and any(name in data for name in _WRAPPED):
        return False
    choices = look(value, "choices")
    first = choices[0] if isinstance(choices, (list, tuple)) and choices else None
    return data.get("object") in _WHOLE or data.get("type") in _WHOLE or look(first, "message") is not None


def stands_apart(value: object) -> bool:
    """Tell whether a value is never looked into: this library records its own calls, and a mock is just anything."""
    return type(value).__module__.startswith(_APART)
