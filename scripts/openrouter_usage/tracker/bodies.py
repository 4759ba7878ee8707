"""Reads usage from HTTP responses of `requests` and `httpx`: at once, or as an unread one is being read.

An unread response is neither read nor replaced: its own reading methods are made to show what passes through them.
"""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from openrouter_usage.exactjson import loads
from openrouter_usage.tracker.observe import GENERATION_PREFIX
from openrouter_usage.tracker.tracked import TrackedCall
from openrouter_usage.tracker.watch import Watch

LONGEST_BODY = 64 * 1024 * 1024
_READERS = ("iter_content", "iter_bytes", "aiter_bytes")
_CLOSERS = ("close", "aclose")


def response_of(value: object) -> Any:
    """Give the HTTP response that a value is, or that the openai package has put into it; None without one."""
    for candidate in (value, getattr(value, "http_response", None)):
        if any(hasattr(type(candidate), name) for name in _READERS) and hasattr(type(candidate), "raise_for_status"):
            return candidate
    return None


def generation_of(value: object) -> str:
    """Read the generation id that OpenRouter's answer to a value's request has in its headers."""
    for response in (value, *(getattr(value, name, None) for name in ("response", "_response", "http_response"))):
        headers = getattr(response, "headers", None)
        found = headers.get("x-generation-id") if hasattr(headers, "get") else None
        if isinstance(found, str) and found.startswith(GENERATION_PREFIX):
            return found
    return ""


def read_response(call: TrackedCall, response: Any) -> None:
    """Record what a response says was used, now or as soon as it is read; the id alone when it does not say."""
    watch = Watch(call, generation=generation_of(response) if may_be_billed(response) else "")
    body = Body(watch, str(response.headers.get("content-type") or ""))
    content = content_of(response)
    if content is not None:
        body.feed(content)
    elif not _is_over(response):
        _tap(response, body)
        return
    body.end()


def content_of(response: Any) -> bytes | None:
    """Give the body of a response that has been read; None for one that has not, which stays so."""
    if getattr(response, "_content", None) is False:
        return None  # `requests` would read it now
    try:
        content = response.content
    except Exception:
        return None  # `httpx` says so
    return content if isinstance(content, bytes) else None


def may_be_billed(response: Any) -> bool:
    """Tell whether a response without usage can have cost something; a refusal cannot."""
    status = getattr(response, "status_code", 0)
    return isinstance(status, int) and (status < 400 or status == 408 or status >= 500)


def _is_over(response: Any) -> bool:
    return any(getattr(response, name, False) is True for name in ("_content_consumed", "is_stream_consumed"))


class Body:
    """The bytes of a response as they pass: one JSON answer, or server-sent events."""

    def __init__(self, watch: Watch, content_type: str) -> None:
        """Tell the two apart by the content type; a body of another type is passed over."""
        self._watch = watch
        self._is_events = "event-stream" in content_type.lower()
        self._is_json = "json" in content_type.lower()
        self._rest = b""

    def feed(self, piece: bytes | str) -> None:
        """Take some more of the body."""
        if not (self._is_events or self._is_json) or len(self._rest) > LONGEST_BODY:
            return
        self._rest += piece.encode("utf-8", "replace") if isinstance(piece, str) else piece
        if self._is_events:
            *lines, self._rest = self._rest.replace(b"\r", b"\n").split(b"\n")
            for line in lines:
                self._event(line)

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
            self._watch.take(value, is_whole=is_whole)

    def end(self) -> None:
        """Record what the body said; there is no more of it."""
        rest, self._rest = self._rest, b""
        if self._is_events:
            self._event(rest)
        elif self._is_json and len(rest) <= LONGEST_BODY:
            self._take(rest, is_whole=True)
        self._watch.finish()


def _tap(response: Any, body: Body) -> None:
    """Let a response show what is read from it, until it has been read or closed, or nobody has it any more."""
    # The last resort must not hold the response; until then the response holds its own methods.
    weakref.finalize(response, body.end)
    for name in _READERS:
        method = getattr(response, name, None)
        if method is not None:
            setattr(response, name, (_shown_async if name.startswith("a") else _shown)(method, body))
    for name in _CLOSERS:
        method = getattr(response, name, None)
        if method is not None:
            setattr(response, name, _ending(method, body))


def _shown(method: Callable[..., Iterator[bytes]], body: Body) -> Callable[..., Iterator[bytes]]:
    def read(*args: Any, **kwargs: Any) -> Iterator[bytes]:
        try:
            for piece in method(*args, **kwargs):
                body.feed(piece)
                yield piece
        except GeneratorExit:
            raise  # whoever stops here may go on reading, or close
        except BaseException:
            body.end()
            raise
        body.end()

    return read


def _shown_async(method: Callable[..., AsyncIterator[bytes]], body: Body) -> Callable[..., AsyncIterator[bytes]]:
    async def read(*args: Any, **kwargs: Any) -> AsyncIterator[bytes]:
        try:
            async for piece in method(*args, **kwargs):
                body.feed(piece)
                yield piece
        except GeneratorExit:
            raise
        except BaseException:
            body.end()
            raise
        body.end()

    return read


def _ending(method: Callable[..., Any], body: Body) -> Callable[..., Any]:
    def close(*args: Any, **kwargs: Any) -> Any:
        body.end()
        return method(*args, **kwargs)

    return close
