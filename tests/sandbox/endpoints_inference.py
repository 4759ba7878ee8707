"""`POST /responses`, `/messages`, `/embeddings` and `/audio/speech`, each with its own usage object."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from . import exact, usage_shapes
from . import order as orders
from .answer import Answer, ApiError
from .call import Call
from .order import Order

VECTOR = (0.25, -0.5, 0.125, 0.75)


def _finished(call: Call, api_type: str) -> Order:
    if call.body().get("stream"):
        raise ApiError(400, "This sandbox streams chat completions and messages only")
    order = orders.take(call, api_type)
    call.wire.sleep(order.reply.delay_s)
    order.finish()
    return order


def post_responses(call: Call) -> Answer:
    """An answer in the shape of OpenAI's Responses API."""
    order = _finished(call, "completions")
    generation = order.generation
    text = {"type": "output_text", "text": order.text(), "annotations": [], "logprobs": []}
    message = {"type": "message", "id": f"msg_{generation.id}", "role": "assistant", "status": "completed",
               "content": [text]}  # fmt: skip
    at = int(generation.created_at.timestamp())
    nulls = ("error", "incomplete_details", "instructions", "metadata", "max_output_tokens", "temperature", "top_p",
             "frequency_penalty", "presence_penalty", "previous_response_id", "reasoning", "user")  # fmt: skip
    payload = {
        **dict.fromkeys(nulls),
        "id": generation.id,
        "object": "response",
        "created_at": at,
        "completed_at": at,
        "model": generation.model,
        "status": "completed",
        "output": [message],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "service_tier": generation.service_tier,
    }
    return _answer(order, payload, usage_shapes.of_responses(order))


def post_messages(call: Call) -> Answer:
    """An answer in the shape of Anthropic's Messages API."""
    if call.body().get("stream"):
        order = orders.take(call, "completions")
        return Answer(pieces=_message_events(order), headers=order.headers(), content_type="text/event-stream")
    order = _finished(call, "completions")
    generation = order.generation
    payload = {
        "id": generation.id,
        "type": "message",
        "role": "assistant",
        "model": generation.model,
        "container": None,
        "content": [{"type": "text", "text": order.text(), "citations": None}],
        "stop_reason": "max_tokens" if generation.finish_reason == "length" else "end_turn",
        "stop_sequence": None,
        "stop_details": None,
        "provider": generation.provider,
    }
    return _answer(order, payload, usage_shapes.of_messages(order))


def _message_events(order: Order) -> Iterator[bytes]:
    """The events of a streamed message: the first names the prompt, the last but one the whole usage and the cost."""
    try:
        usage = usage_shapes.of_messages(order)
        begun = {name: usage[name] for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")}
        message = {
            "id": order.generation.id, "type": "message", "role": "assistant", "model": order.generation.model,
            "content": [], "stop_reason": None, "stop_sequence": None, "usage": {**begun, "output_tokens": 0},
        }  # fmt: skip
        yield _event("message_start", {"message": message})
        yield _event("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}})
        for word in order.text().split(" "):
            yield _event("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": f"{word} "}})
        yield _event("content_block_stop", {"index": 0})
        order.finish()
        delta = {"delta": {"stop_reason": "end_turn", "stop_sequence": None}}
        yield _event("message_delta", order.reply.with_usage(delta, usage_shapes.of_messages(order)))
        yield _event("message_stop", {})
    finally:
        if not order.generation.finished:
            order.abandon(Decimal(0))


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {exact.text({'type': name, **data})}\n\n".encode()


def post_speech(call: Call) -> Answer:
    """Sound, which says nothing of its cost: only the header names the generation."""
    order = _finished(call, "audio")
    return Answer(body=b"ID3" + bytes(range(256)), headers=order.headers(), content_type="audio/mpeg")


def post_embeddings(call: Call) -> Answer:
    """A short vector for each input."""
    order = _finished(call, "embeddings")
    given = order.body.get("input")
    count = len(given) if isinstance(given, list) else 1
    vector: Any = list(VECTOR)
    if order.body.get("encoding_format") == "base64":
        vector = base64.b64encode(struct.pack(f"<{len(VECTOR)}f", *VECTOR)).decode()
    data = [{"object": "embedding", "index": index, "embedding": vector} for index in range(count)]
    payload = {"object": "list", "id": order.generation.id, "model": order.generation.model, "data": data}
    return _answer(order, payload, usage_shapes.of_embeddings(order))


def _answer(order: Order, payload: dict[str, Any], usage: dict[str, Any]) -> Answer:
    payload = order.reply.with_usage({**payload, **order.reply.fields}, usage)
    return Answer(payload, headers=order.headers())
