"""Reads from the bytes of an answer what it cost, while they are on their way to the client; pure.

The bytes are forwarded before they come here, and nothing here can hold them up: what is not understood, or too large,
leaves the cost unknown, and it is looked up by the call's id.
"""

from __future__ import annotations

import json

from openrouter_usage.errors import BadAnswer
from openrouter_usage.money import Json, loads_oddly
from openrouter_usage.openrouter.answers.generation import CallUsage, read_call
from openrouter_usage.openrouter.inference import DONE, EventReader
from openrouter_usage.openrouter.refusals import complaint_in

LARGEST_BODY = 32 * 1024 * 1024
# Above this a body is read outside of the event loop: a list of a million numbers takes half a second.
LARGE_BODY = 256 * 1024
_ENDS = ("message_stop", "response.completed", "response.incomplete", "response.failed", "image_generation.completed")
_MARKS = ('"usage"', '"error"', *(f'"{name}"' for name in _ENDS))


class Meter:
    """What one answer says it used; `is_complete` once it has said all that it will say."""

    def __init__(self, generation: str, *, content_type: str, is_encoded: bool) -> None:
        """Begin with the id that the head of the answer names, which is stronger than any in its body."""
        self.usage = CallUsage(id=generation)
        self.is_complete = False
        self.complains = False
        self.is_stream = content_type.startswith("text/event-stream")
        is_json = "json" in content_type
        self._events = EventReader() if self.is_stream and not is_encoded else None
        self._body: list[bytes] | None = [] if is_json and not is_encoded else None
        self._size = 0
        self._is_named = False

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the answer."""
        if self._events is not None:
            try:
                for event in self._events.feed(piece):
                    self._read(event)
            except BadAnswer:
                self._events = None
        elif self._body is not None:
            self._size += len(piece)
            self._body.append(piece)
            if self._size > LARGEST_BODY:
                self._body = None

    def _read(self, event: str) -> None:
        if self._is_named and not any(mark in event for mark in _MARKS):
            self.is_complete |= event.strip() == DONE
            return
        try:
            chunk = loads_oddly(event)
        except ValueError:
            self.is_complete |= event.strip() == DONE
            return
        if not isinstance(chunk, dict):
            return
        self._is_named = self._is_named or "id" in chunk or "type" in chunk
        self.usage = self.usage.merged(read_call(chunk))
        self.complains |= bool(complaint_in(chunk).message)
        self.is_complete |= chunk.get("type") in _ENDS

    @property
    def waits_for_reading(self) -> bool:
        """Check whether `finish` has so much to read that it should not be done in the event loop."""
        return self._size > LARGE_BODY

    def finish(self) -> None:
        """Read a whole body, once it is there."""
        if self._body is None:
            return
        body, self._body = b"".join(self._body), None
        try:
            answer = loads_oddly(body) if len(body) <= LARGE_BODY else _named_and_usage(body)
        except ValueError:
            return
        self.usage = self.usage.merged(read_call(answer))
        self.complains = bool(complaint_in(answer).message)
        self.is_complete = True


def _named_and_usage(body: bytes) -> Json:
    """Read what is needed of a large body: vectors and pictures need not become numbers and texts of ours."""
    text = body.decode("utf-8")
    whole = json.loads(text, parse_float=str, parse_int=str)
    if not isinstance(whole, dict):
        raise ValueError("no object")
    names = ("id", "model", "provider", "usage", "stop_reason", "type")
    kept: Json = {name: whole[name] for name in names if name in whole}
    # Numbers were kept as texts, which are exact: the readers of usages take both.
    return kept
