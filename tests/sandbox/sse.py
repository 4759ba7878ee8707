"""A chat answer as a stream of server-sent events, healthy or not."""

from __future__ import annotations

import base64
import re
from collections.abc import Generator, Iterator
from decimal import Decimal
from typing import Any

from . import exact, usage_shapes
from .order import Order

COMMENT = ": OPENROUTER PROCESSING"


class ChatStream:
    """The bytes of one stream; the call is charged after its last token and before its usage."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.stream = order.reply.stream
        self.wire = order.call.wire
        self.tokens = [] if order.reply.tool_call else re.findall(r"\S+\s*|\s+", order.text())
        self.sent = 0

    def pieces(self) -> Iterator[bytes]:
        """What is written to the wire, one write at a time."""
        size = self.stream.piece_bytes
        try:
            for event in self._events():
                data = event.encode()
                for start in range(0, len(data), size or len(data)):
                    yield data[start : start + (size or len(data))]
                    self.wire.sleep(self.stream.piece_delay_s)
        finally:
            # Whoever ended the stream early, the client or a fault, the call has still been made.
            if not self.order.generation.finished:
                self.order.abandon(self._share())

    def _share(self) -> Decimal:
        return Decimal(self.sent) / max(1, len(self.tokens))

    def _events(self) -> Iterator[str]:
        for _ in range(self.stream.comments):
            yield self._event(COMMENT)
        if self.stream.debug_chunk:
            yield self._data({"choices": [], "debug": {"echo_upstream_body": {}}})
        self.wire.wait(self.order.reply.delay_s)
        for token in [*self.tokens, None]:
            if (yield from self._spoiled()):
                return
            if token is None:
                break
            self.wire.wait(self.stream.token_delay_s)
            self.sent += 1
            yield self._choice({"role": "assistant", "content": token}, None)
        if beside := beside_text(self.order):
            yield self._choice({"role": "assistant", **beside}, None)
        yield from self._end()

    def _spoiled(self) -> Generator[str, None, bool]:
        """What a fault does at this place; returns True when the stream is over."""
        stream, error = self.stream, self.stream.error
        if stream.idle_after == self.sent:
            while True:
                yield self._event(COMMENT)
                self.wire.wait(stream.idle_interval_s)
        if error is not None and error.after_tokens == self.sent:
            self.order.abandon(self._share(), "error")
            yield self._error()
            return True
        if stream.cut_after == self.sent:
            if stream.cut == "reset":
                self.wire.reset()
            if stream.cut == "close":
                self.wire.close()
            return True
        return False

    def _end(self) -> Iterator[str]:
        order, how = self.order, self.stream.usage_chunk
        order.finish()
        reason = order.generation.finish_reason
        last = {"role": "assistant", "content": ""}
        if how == "with_finish":
            yield self._choice(last, reason, usage=True)
        else:
            yield self._choice(last, reason)
        if how == "repeated_finish":
            yield self._choice(last, reason, usage=True)
        elif how == "empty_choices":
            yield self._data(self._with_usage({"choices": []}))
        if self.stream.done:
            yield self._event(f"{self.stream.prefix}[DONE]")

    def _with_usage(self, chunk: dict[str, Any]) -> dict[str, Any]:
        return self.order.reply.with_usage(chunk, usage_shapes.of_chat(self.order))

    def _choice(self, delta: dict[str, Any], reason: str | None, *, usage: bool = False) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "native_finish_reason": reason, "logprobs": None}
        chunk: dict[str, Any] = {"choices": [choice]}
        return self._data(self._with_usage(chunk) if usage else chunk)

    def _error(self) -> str:
        error = self.stream.error
        assert error is not None
        body: dict[str, Any] = {"code": error.code, "message": error.message}
        if error.metadata is not None:
            body["metadata"] = error.metadata
        choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error", "native_finish_reason": "error"}
        chunk = {"error": body, "choices": [choice]}
        return self._data(self._with_usage(chunk) if error.usage else chunk)

    def _data(self, chunk: dict[str, Any]) -> str:
        generation = self.order.generation
        whole = {
            "id": generation.id,
            "provider": generation.provider,
            "model": generation.model,
            "object": "chat.completion.chunk",
            "created": int(generation.created_at.timestamp()),
            **chunk,
            "service_tier": generation.service_tier,
            **self.order.reply.fields,
        }
        return self._event(self.stream.prefix + exact.text(whole))

    def _event(self, line: str) -> str:
        return line + self.stream.newline * 2


def beside_text(order: Order) -> dict[str, Any]:
    """A call of the client's tool in place of the text, or a picture beside it."""
    found: dict[str, Any] = {}
    if order.reply.tool_call:
        name, arguments = order.reply.tool_call
        function = {"name": name, "arguments": arguments}
        found |= {"content": None, "tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]}
    if order.reply.image is not None:
        url = f"data:image/png;base64,{base64.b64encode(order.reply.image).decode()}"
        found["images"] = [{"index": 0, "type": "image_url", "image_url": {"url": url}}]
    return found
