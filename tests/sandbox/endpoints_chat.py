"""`POST /chat/completions`."""

from __future__ import annotations

from typing import Any

from . import order as orders
from . import usage_shapes
from .answer import Answer
from .call import Call
from .order import Order
from .sse import ChatStream, beside_text


def post_chat(call: Call) -> Answer:
    """A completion, whole or as a stream."""
    order = orders.take(call, "completions")
    if order.body.get("stream"):
        headers = {**order.headers(), "Cache-Control": "no-cache"}
        return Answer(pieces=ChatStream(order).pieces(), headers=headers, content_type="text/event-stream")
    call.wire.sleep(order.reply.delay_s)
    order.finish()
    return Answer(completion(order), headers=order.headers())


def post_completions(call: Call) -> Answer:
    """A completion of the older kind, whole or as a stream, whose only id may be that of its header."""
    order = orders.take(call, "completions")
    if order.body.get("stream"):
        return Answer(pieces=ChatStream(order).pieces(), headers=order.headers(), content_type="text/event-stream")
    order.finish()
    generation = order.generation
    choice = {"text": order.text(), "index": 0, "finish_reason": generation.finish_reason, "logprobs": None}
    payload = {"id": generation.id, "object": "text_completion", "model": generation.model, "choices": [choice]}
    return Answer(order.reply.with_usage(payload, usage_shapes.of_chat(order)), headers=order.headers())


def completion(order: Order) -> dict[str, Any]:
    """The whole answer; an error may stand in the place of it although the status is 200."""
    error = order.reply.error
    if error is not None and error.place == "body":
        return {"error": _error(order), "user_id": order.generation.owner}
    generation = order.generation
    choice: dict[str, Any] = {
        "logprobs": None,
        "finish_reason": generation.finish_reason,
        "native_finish_reason": generation.finish_reason,
        "index": 0,
        "message": {"role": "assistant", "content": order.text(), "refusal": None, "reasoning": None, **beside_text(order)},
    }
    if error is not None:
        choice["error"] = _error(order)
    payload = {
        "id": generation.id,
        "provider": generation.provider,
        "model": generation.model,
        "object": "chat.completion",
        "created": int(generation.created_at.timestamp()),
        "choices": [choice],
        "system_fingerprint": None,
        "service_tier": generation.service_tier,
        **order.reply.fields,
    }
    return order.reply.with_usage(payload, usage_shapes.of_chat(order))


def _error(order: Order) -> dict[str, Any]:
    error = order.reply.error
    assert error is not None
    metadata = {} if error.metadata is None else {"metadata": error.metadata}
    return {"code": error.code, "message": error.message, **metadata}
