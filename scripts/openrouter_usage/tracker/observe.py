"""Finds OpenRouter's answers in whatever a function returns, by their shape alone; pure.

An answer may be anywhere in lists, tuples, sets, mappings and objects that only hold data, and where the packages of
`frameworks` put it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from openrouter_usage.answers.call import CallUsage, read_call
from openrouter_usage.exactjson import Json
from openrouter_usage.tracker.frameworks import held_in, is_generation, is_placeholder, is_run, kept_json, parts_of
from openrouter_usage.tracker.responses import Body, content_of, generation_of, is_from_openrouter, look, response_of

# An answer is not looked for at any depth: what is that far down is the program's own data.
_DEEPEST = 5
_LISTS = (list, tuple, set, frozenset, deque)
_APART = ("openrouter_usage.", "unittest.mock")
_MARKS = ("choices", "usage", "output", "object")
_CHUNKS = ("chat.completion.chunk", "text_completion.chunk")
_EVENTS = ("message_", "response.")
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
# A list may be a vector of a million numbers, and asking each whether it is an instance takes a second.
_PLAIN_KINDS = frozenset((*PLAIN, bool))


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer, or a piece of one.

    `is_whole` when it cannot be a piece, `is_piece` when it can be nothing else, `is_bare` for a usage without answer.
    """

    call: CallUsage
    is_whole: bool = False
    is_bare: bool = False
    is_piece: bool = False


def observe(answer: object) -> CallUsage:
    """Return what an answer says was used; nothing at all when it is none, or a stream that is still to be read."""
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


def is_billed(answer: object, usage: CallUsage) -> bool:
    """Check whether the cost that was observed in an answer is OpenRouter's word, by id, address or headers."""
    return is_generation(usage.id) or is_from_openrouter(response_of(answer))


def answers_in(value: object) -> list[Seen]:
    """Return the answers that a value is or holds; the chunks of a stream are one answer together."""
    found = read_answer(value)
    if found is not None:
        return [found]
    among = list(_held(value, 1, set()))
    # `return answer, answer.usage` tells of the same money twice.
    answers = [seen for seen in among if not seen.is_bare] or among
    return _put_together(answers) if any(seen.is_piece for seen in answers) else answers


def _held(value: object, depth: int, above: set[int]) -> Iterator[Seen]:
    """Find the answers below a value; a usage without its answer counts right below it only, elsewhere it is a sum."""
    if depth > _DEEPEST or isinstance(value, PLAIN) or stands_apart(value) or id(value) in above:
        return
    for part in _parts(value):
        if isinstance(part, PLAIN):
            continue
        found = read_answer(part)
        if found is None:
            yield from _held(part, depth + 1, above | {id(value)})
        elif not found.is_bare or depth == 1:
            yield found


def _parts(value: object) -> Any:
    if isinstance(value, _LISTS):
        return [part for _, part in named_parts(value)]
    if isinstance(value, Mapping):
        return list(value.values())
    return held_in(value) or parts_of(value)


def named_parts(value: Any) -> list[tuple[Any, Any]]:
    """Return the items of a list or dict that can be more than text or a number, each with its place or name."""
    named = value.items() if isinstance(value, dict) else enumerate(value)
    if not isinstance(value, dict) and _PLAIN_KINDS.issuperset(set(map(type, value))):
        return []
    return [(name, item) for name, item in named if type(item) not in _PLAIN_KINDS]


def _put_together(pieces: list[Seen]) -> list[Seen]:
    """Merge the chunks of streams by their ids; one without an id belongs to the chunk before it."""
    whole = [seen for seen in pieces if seen.is_whole]
    streams: dict[str, CallUsage] = {}
    current = ""
    for seen in pieces:
        if not seen.is_whole:
            current = seen.call.id or current
            before = streams.get(current)
            streams[current] = before.merged(seen.call) if before else seen.call
    return [*whole, *map(Seen, streams.values())]


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
    if isinstance(value, (*PLAIN, *_LISTS)) or stands_apart(value) or is_run(value):
        return None
    kept = kept_json(value)
    if kept is not None:
        call = read_call(kept)
        is_chunk = kept["object"] == "chat.completion.chunk"
        return Seen(call, is_whole=not is_chunk, is_piece=is_chunk) if call.has_usage or call.id or call.model else None
    data = _shape(value)
    call = read_call(data)
    if not call.has_usage and sum(_is_count(data.get(name)) for name in _TOKENS) > 1:
        flat = read_call({"id": data.get("id"), "model": data.get("model"), "usage": data})
        if flat.has_usage:
            return Seen(flat, is_bare=not flat.id)
    if not _is_answer(call, value):
        return None
    return Seen(call, is_whole=_is_whole(data, value), is_piece=_is_piece(data))


def _is_count(value: object) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


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
    return {name: item for name, item in found if item is not None and not (name == "id" and is_placeholder(item))}


def _is_answer(call: CallUsage, value: object) -> bool:
    """Tell an answer of unknown cost from any other thing that has an id or a model."""
    if call.has_usage or is_generation(call.id):
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


def _is_piece(data: Mapping[str, Json]) -> bool:
    return data.get("object") in _CHUNKS or str(data.get("type")).startswith(_EVENTS)


def stands_apart(value: object) -> bool:
    """Tell whether a value is never looked into: this library records its own calls, and a mock is just anything."""
    return type(value).__module__.startswith(_APART)
