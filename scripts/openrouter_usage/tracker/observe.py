"""Finds OpenRouter's answers in whatever a function returns, by shape alone: objects, HTTP responses, frameworks."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from openrouter_usage.money import Json, loads
from openrouter_usage.openrouter.answers.generation import CallUsage, read_call
from openrouter_usage.openrouter.retry import may_be_billed

# -- Recognises HTTP responses of `requests` and `httpx` by their shape, and reads their bodies.

LONGEST_BODY = 64 * 1024 * 1024
READERS = ("iter_content", "iter_bytes", "aiter_bytes")
GENERATION_PREFIX = "gen-"
OFFICIAL_HOST = "openrouter.ai"


def look(value: object, name: str) -> Any:
    """Read a key of a mapping, or an attribute; one that cannot be read is not there."""
    try:
        return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
    except Exception:
        return None


def response_of(value: object) -> Any:
    """Return the HTTP response that a value is, or that the openai package has put into it; None without one."""
    if is_response(value):
        return value
    inner = look(value, "http_response")
    # The openai package's speech and files: bytes that are read by way of their response.
    if inner is None and any(hasattr(type(value), name) for name in READERS):
        inner = look(value, "response")
    return inner if is_response(inner) else None


def is_response(value: object) -> bool:
    """Check whether a value is a response of `requests` or `httpx`."""
    kind = type(value)
    return any(hasattr(kind, name) for name in READERS) and hasattr(kind, "raise_for_status")


def is_from_openrouter(response: Any) -> bool:
    """Check whether a response is OpenRouter's, by its address or its headers; False without a response.

    The address of the settings counts as OpenRouter's: whoever has set it means what answers there.
    """
    if response is None:
        return False
    if generation_of(response):
        return True
    try:
        parts = urlsplit(str(look(response, "url")))
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    if host == OFFICIAL_HOST or host.endswith("." + OFFICIAL_HOST):
        return parts.scheme == "https"
    own = urlsplit(os.environ.get("OPENROUTER_BASE_URL", "").strip())
    try:
        return bool(host) and (parts.scheme, host, port) == (own.scheme, own.hostname, own.port)
    except ValueError:
        return False


def is_question(response: Any) -> bool:
    """Check whether a response answers a GET or the like, which makes no call to a model."""
    method = look(look(response, "request"), "method") or look(response, "method")
    return isinstance(method, str) and method.upper() not in ("POST", "PUT")


def generation_of(value: object) -> str:
    """Read the generation id that OpenRouter's answer to a value's request has in its headers."""
    for response in (value, *(look(value, name) for name in ("response", "_response", "http_response"))):
        headers = look(response, "headers")
        found = headers.get("x-generation-id") if hasattr(headers, "get") else None
        if isinstance(found, str) and found.startswith(GENERATION_PREFIX):
            return found
    return ""


def content_of(response: Any) -> bytes | None:
    """Return the body of a response that has been read; None for one that has not, which stays so."""
    if getattr(response, "_content", None) is False:
        return None  # `requests` would read it now
    try:
        content = response.content
    except Exception:
        return None  # `httpx` says so
    return content if isinstance(content, bytes) else None


def may_have_cost(response: Any) -> bool:
    """Check whether a response without usage can have cost something; a refusal cannot."""
    status = status_of(response)
    return status is not None and (status < 400 or may_be_billed(status, is_from_openrouter=False))


def is_refusal(response: Any) -> bool:
    """Check whether a response tells of an error, which has come to the program as that already."""
    status = status_of(response)
    return status is not None and status >= 400


def status_of(response: Any) -> int | None:
    """Return the HTTP status of a response, as any of the packages names it."""
    found = (look(response, name) for name in ("status_code", "status"))
    return next((status for status in found if isinstance(status, int)), None)


class Body:
    """The bytes of a response as they pass: one JSON answer, or server-sent events."""

    def __init__(self, response: Any, take: Callable[[object, bool], None]) -> None:
        """Hand each JSON object to `take`, with whether it is the whole answer; bodies of other types have none."""
        content_type = str(response.headers.get("content-type") or "")
        self._hand = take
        self._is_events = "event-stream" in content_type.lower()
        self._is_read = self._is_events or "json" in content_type.lower()
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes | str) -> None:
        """Read the next piece of the body."""
        if not self._is_read or self._size > LONGEST_BODY:
            return
        data = piece.encode("utf-8", "replace") if isinstance(piece, str) else piece
        self._pieces.append(data)
        self._size += len(data)
        if self._is_events and (b"\n" in data or b"\r" in data):
            *lines, rest = self._text().replace(b"\r", b"\n").split(b"\n")
            for line in lines:
                self._event(line)
            self._pieces, self._size = [rest], len(rest)

    def _text(self) -> bytes:
        text, self._pieces = b"".join(self._pieces), []
        return text

    def _event(self, line: bytes) -> None:
        # OpenRouter's events are one line each, and a JSON object each but for the last, "[DONE]".
        if line.startswith(b"data:"):
            self._take(line[5:], is_whole=False)

    def _take(self, text: bytes, *, is_whole: bool) -> None:
        try:
            value = loads(text)
        except ValueError:
            return
        if isinstance(value, dict):
            self._hand(value, is_whole)

    def end(self) -> None:
        """Read what is left; there is no more of it."""
        rest = self._text()
        if self._is_events:
            self._event(rest)
        elif self._is_read and self._size <= LONGEST_BODY:
            self._take(rest, is_whole=True)


# -- Where other packages put OpenRouter's answer, or what they have kept of it; by shape and module name alone.
#
# Each reader returns the JSON that the answer would have been. A cost is taken only where a package hands on what
# OpenRouter told it: several of them compute prices of their own, which are no bill.

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


# -- Finds OpenRouter's answers in whatever a function returns, by their shape alone; pure.
#
# An answer may be anywhere in lists, tuples, sets, mappings and objects that only hold data, and where the packages of
# `frameworks` put it.

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
    """Check whether a chunk is just one more of a call that is known, as all but the first and last of them are."""
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
    """Return what is read of an answer as the JSON it came from; what is absent or null is left out."""
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
    """Check whether something that has an id or a model is an answer, even if its cost is unknown."""
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
    """Check whether a value is never looked into: this library records its own calls, and a mock is just anything."""
    return type(value).__module__.startswith(_APART)
