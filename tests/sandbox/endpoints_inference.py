"""`POST /responses`, `/messages`, `/embeddings` and `/audio/speech`, each with its own usage object."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from . import exact, usage_shapes
from . import order as orders
from .answer import Answer, ApiError
from .call import Call
from .order import Order

JOBS: dict[str, Order] = {}
VECTOR = (0.25, -0.5, 0.125, 0.75)


def _finished(call: Call, api_type: str) -> Order:
    if call.body().get("stream"):
        raise ApiError(400, "This sandbox does not stream this endpoint")
    order = orders.take(call, api_type)
    call.wire.sleep(order.reply.delay_s)
    order.finish()
    return order


def post_responses(call: Call) -> Answer:
    """An answer in the shape of OpenAI's Responses API."""
    if call.body().get("stream"):
        order = orders.take(call, "completions")
        return Answer(pieces=_response_events(order), headers=order.headers(), content_type="text/event-stream")
    order = _finished(call, "completions")
    return _answer(order, _response(order, "completed"), usage_shapes.of_responses(order))


def _response_events(order: Order) -> Iterator[bytes]:
    """The events of a streamed response: only the last one has the usage, and it is within the response."""
    try:
        identity = f"msg_{order.generation.id}"
        item = {"id": identity, "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        begun = {**_response(order, "in_progress"), "output": [], "usage": None}
        yield _event("response.created", {"response": begun, "sequence_number": 0})
        yield b": OPENROUTER PROCESSING\n\n"
        if order.reply.tool_call:
            yield from _tool_call_events(order)
            return
        yield _event("response.output_item.added", {"output_index": 0, "item": item, "sequence_number": 1})
        part = {"type": "output_text", "text": "", "annotations": []}
        place = {"item_id": identity, "output_index": 0, "content_index": 0}
        yield _event("response.content_part.added", {**place, "part": part, "sequence_number": 2})
        for number, word in enumerate(order.text().split(" ")):
            order.call.wire.wait(order.reply.stream.token_delay_s)
            if order.reply.stream.cut_after == number:
                order.call.wire.reset()
            delta = {**place, "delta": f"{word} ", "logprobs": [], "sequence_number": 3 + number}
            yield _event("response.output_text.delta", delta)
        (item,) = _response(order, "completed")["output"]
        (part,) = item["content"]
        yield _event("response.output_text.done", {**place, "text": part["text"], "logprobs": [], "sequence_number": 96})
        yield _event("response.content_part.done", {**place, "part": part, "sequence_number": 97})
        yield _event("response.output_item.done", {"output_index": 0, "item": item, "sequence_number": 98})
        order.finish()
        whole = order.reply.with_usage(_response(order, "completed"), usage_shapes.of_responses(order))
        yield _event("response.completed", {"response": whole, "sequence_number": 99})
    finally:
        if not order.generation.finished:
            order.abandon(Decimal(0))


def _tool_call_events(order: Order) -> Iterator[bytes]:
    whole = _response(order, "completed")
    (item,) = whole["output"]
    place = {"item_id": item["id"], "output_index": 0}
    begun = {**item, "arguments": "", "status": "in_progress"}
    yield _event("response.output_item.added", {"output_index": 0, "item": begun, "sequence_number": 1})
    delta = {**place, "delta": item["arguments"], "sequence_number": 2}
    yield _event("response.function_call_arguments.delta", delta)
    done = {**place, "name": item["name"], "arguments": item["arguments"], "sequence_number": 3}
    yield _event("response.function_call_arguments.done", done)
    yield _event("response.output_item.done", {"output_index": 0, "item": item, "sequence_number": 4})
    order.finish()
    whole = order.reply.with_usage(whole, usage_shapes.of_responses(order))
    yield _event("response.completed", {"response": whole, "sequence_number": 99})


def _response(order: Order, status: str) -> dict[str, Any]:
    generation = order.generation
    text = {"type": "output_text", "text": order.text(), "annotations": [], "logprobs": []}
    message = {"type": "message", "id": f"msg_{generation.id}", "role": "assistant", "status": "completed",
               "content": [text]}  # fmt: skip
    if order.reply.tool_call:
        name, arguments = order.reply.tool_call
        message = {"type": "function_call", "id": f"fc_{generation.id}", "call_id": "call_1", "name": name,
                   "arguments": arguments, "status": "completed"}  # fmt: skip
    at = int(generation.created_at.timestamp())
    nulls = ("error", "incomplete_details", "instructions", "metadata", "max_output_tokens", "temperature", "top_p",
             "frequency_penalty", "presence_penalty", "previous_response_id", "reasoning", "user")  # fmt: skip
    return {
        **dict.fromkeys(nulls),
        # Nobody promises that this is the id of the generation, which stands in the header.
        "id": f"resp_{generation.id[4:]}" if order.body.get("stream") else generation.id,
        "object": "response",
        "created_at": at,
        "completed_at": at,
        "model": generation.model,
        "status": status,
        "output": [message],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "service_tier": generation.service_tier,
    }


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
        "content": [_tool_use(order) or {"type": "text", "text": order.text(), "citations": None}],
        "stop_reason": _stop_reason(order),
        "stop_sequence": None,
        "stop_details": None,
        "provider": generation.provider,
    }
    return _answer(order, payload, usage_shapes.of_messages(order))


def _tool_use(order: Order) -> dict[str, Any] | None:
    if order.reply.tool_call is None:
        return None
    name, arguments = order.reply.tool_call
    return {"type": "tool_use", "id": "toolu_1", "name": name, "input": json.loads(arguments)}


def _stop_reason(order: Order) -> str:
    if order.reply.tool_call:
        return "tool_use"
    return "max_tokens" if order.generation.finish_reason == "length" else "end_turn"


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
        use = _tool_use(order)
        begin = {**use, "input": {}} if use else {"type": "text", "text": ""}
        yield _event("content_block_start", {"index": 0, "content_block": begin})
        if order.reply.tool_call:
            arguments = {"type": "input_json_delta", "partial_json": order.reply.tool_call[1]}
            yield _event("content_block_delta", {"index": 0, "delta": arguments})
        for number, word in enumerate([] if use else order.text().split(" ")):
            order.call.wire.wait(order.reply.stream.token_delay_s)
            if order.reply.stream.cut_after == number:
                order.call.wire.reset()
            yield _event("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": f"{word} "}})
        yield _event("content_block_stop", {"index": 0})
        order.finish()
        delta = {"delta": {"stop_reason": _stop_reason(order), "stop_sequence": None}}
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


def post_count_tokens(call: Call) -> Answer:
    """What a prompt comes to, for nothing."""
    call.key()
    return Answer({"input_tokens": orders.tokens_of(call.body())})


def post_rerank(call: Call) -> Answer:
    """The documents in the order of their relevance."""
    order = _finished(call, "rerank")
    count = len(order.body.get("documents") or [])
    results = [{"index": index, "relevance_score": 1 / (1 + index)} for index in range(count)]
    payload = {"id": order.generation.id, "model": order.generation.model, "results": results}
    return _answer(order, payload, usage_shapes.of_rerank(order))


def post_images(call: Call) -> Answer:
    """A picture; as a stream, parts of it first."""
    if not call.body().get("stream"):
        order = _finished(call, "images")
        data = [{"b64_json": base64.b64encode(b"picture").decode()}]
        payload = {"created": 1, "id": order.generation.id, "data": data}
        return _answer(order, payload, usage_shapes.of_images(order))
    order = orders.take(call, "images")
    return Answer(pieces=_image_events(order), headers=order.headers(), content_type="text/event-stream")


def _image_events(order: Order) -> Iterator[bytes]:
    try:
        picture = base64.b64encode(b"picture" * 20_000).decode()
        yield _event("image_generation.partial_image", {"partial_image_index": 0, "b64_json": picture})
        order.finish()
        done = order.reply.with_usage({"b64_json": picture}, usage_shapes.of_images(order))
        yield _event("image_generation.completed", done)
    finally:
        if not order.generation.finished:
            order.abandon(Decimal(0))


def post_transcription(call: Call) -> Answer:
    """What was said; the answer has no id."""
    order = _finished(call, "audio")
    return _answer(order, {"text": order.text()}, usage_shapes.of_transcription(order))


def post_video(call: Call) -> Answer:
    """A job, whose id is none of a generation, and whose cost only the poll tells."""
    order = orders.take(call, "videos")
    job = f"job-{order.generation.id[4:]}"
    JOBS[job] = order
    return Answer({"id": job, "polling_url": f"/api/v1/videos/{job}", "status": "pending"}, 202)


def get_video(call: Call) -> Answer:
    """The job, which is done when it is asked for."""
    call.key()
    order = JOBS.get(call.parts["job"])
    if order is None:
        raise ApiError(404, "Not Found")
    order.finish()
    usage = {"cost": order.charged.cost, "is_byok": False}
    return Answer({"id": call.parts["job"], "status": "completed", "unsigned_urls": [], "usage": usage})


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
