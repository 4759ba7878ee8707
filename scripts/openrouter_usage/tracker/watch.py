"""Follows the pieces of one stream or HTTP body, and records each call in it once, however the reading ends."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from openrouter_usage.openrouter.answers.generation import CallUsage
from openrouter_usage.tracker.observe import (
    READERS,
    Body,
    Seen,
    adds_nothing,
    answers_in,
    content_of,
    generation_of,
    is_from_openrouter,
    is_question,
    is_refusal,
    is_response,
    look,
    may_have_cost,
    response_of,
)
from openrouter_usage.tracker.record import TrackedCall, guarded, kind_of

# -- Follows the pieces of one stream, and records each call in it once, however the stream ends.


class Watch:
    """What is known of a stream so far; a stream may be of several calls, one after the other or mixed."""

    def __init__(
        self,
        call: TrackedCall,
        *,
        generation: str = "",
        is_proven: bool = False,
        what: str = "",
        may_be_silent: bool = False,
    ) -> None:
        """Begin with what is known before the stream: the generation's id, and whether OpenRouter itself answers.

        `what` names the stream for those who look for its cost in vain; one that `may_be_silent` tells of no call.
        """
        self._call = call
        self._generation = generation
        self._is_proven = is_proven or bool(generation)
        self._what, self._may_be_silent = what, may_be_silent
        self._current: CallUsage | None = None
        self._others: dict[str, CallUsage] = {}
        self._bare: CallUsage | None = None
        self._has_recorded = False
        self._since_s, self._until_s = call.began_s, 0.0
        self._ending, self._process = threading.Lock(), os.getpid()
        if may_be_silent:
            call.is_accounted_for()

    def take(self, value: object, *, is_whole: bool = False, is_sum: bool = False) -> None:
        """Read a piece of the stream, or its sum; what is neither an answer nor part of one is skipped."""
        self._until_s = time.monotonic()
        nothing: list[Seen] = []
        if not self._what:
            self._what = f"a stream of {kind_of(value).removeprefix('a ')}"
        for seen in guarded(lambda: [] if adds_nothing(value, self._current) else answers_in(value), nothing):
            self._take(seen, is_whole=(is_whole or seen.is_whole) and not is_sum)

    def _take(self, seen: Seen, *, is_whole: bool) -> None:
        call, current = seen.call, self._current
        if seen.is_bare:
            self._bare = call
        elif is_whole:
            self._record(call, streamed=None)
        elif current is None or call.id in ("", current.id) or not current.id:
            self._current = current.merged(call) if current else call
        else:
            if current.has_usage:
                self._record(current)
            else:
                self._others[current.id] = current
            before = self._others.pop(call.id, None)
            self._current = before.merged(call) if before else call

    def finish(self, *, has_failed: bool = False) -> None:
        """Record what has not been, once; a call whose usage did not arrive has an unknown cost."""
        # A process that was forked off meanwhile ends its copy of the stream, not the call.
        if self._process == os.getpid() and self._ending.acquire(blocking=False):
            self._finish(has_failed)

    def _finish(self, has_failed: bool) -> None:
        for call in [*self._others.values(), *([self._current] if self._current else [])]:
            self._record(call)
        if not self._has_recorded and self._bare is not None:
            self._record(self._bare, is_bare=True)
        elif not self._has_recorded and self._generation:
            self._record(CallUsage())
        elif not self._has_recorded and not has_failed and not self._may_be_silent:
            self._call.is_untracked(self._what or "a stream that ended at once")

    def _record(self, call: CallUsage, *, streamed: bool | None = True, is_bare: bool = False) -> None:
        self._has_recorded = True
        call = call if call.id else replace(call, id=self._generation)
        until_s = self._until_s or None
        times = {"since_s": self._since_s, "until_s": until_s}
        guarded(
            lambda: self._call.record(call, is_bare=is_bare, is_proven=self._is_proven, streamed=streamed, **times),
            None,
        )
        self._since_s = self._until_s or self._since_s


# -- Follows what is read of a response of `aiohttp`, whose body is read through one object of its own.

_READING = ("read", "readany", "readline", "readuntil", "readexactly", "readchunk", "read_nowait")
_AIOHTTP_CLOSERS = ("close", "release")


class Listening(Protocol):
    """What is shown the body."""

    def feed(self, piece: bytes | str) -> None:
        """Read the next piece of the body."""

    def end(self, *, has_failed: bool = False) -> None:
        """Mark the end of the body."""


def is_aiohttp(value: object) -> bool:
    """Check whether a value is a response of `aiohttp`."""
    kind = type(value)
    return kind.__name__ == "ClientResponse" and kind.__module__.startswith("aiohttp.")


def watch_aiohttp(response: Any, body: Listening) -> None:
    """Show what is read of a response to `body`, or what has been read already."""
    read = getattr(response, "_body", None)
    if isinstance(read, bytes):
        body.feed(read)
        body.end()
        return
    response.content = _Reader(response.content, body)
    for name in _AIOHTTP_CLOSERS:
        setattr(response, name, _ending(getattr(response, name), body))


def _ending(method: Callable[..., Any], body: Listening) -> Callable[..., Any]:
    def close(*args: Any, **kwargs: Any) -> Any:
        guarded(body.end, None)
        return method(*args, **kwargs)

    return close


class _Reader:
    """Stands for the response's `content`: shows what is read, and ends with it."""

    def __init__(self, content: Any, body: Listening) -> None:
        self._content = content
        self._body = body

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._content, name)
        if name not in _READING:
            return value
        return self._shown_now(value) if name == "read_nowait" else self._shown(value)

    def _shown(self, method: Callable[..., Any]) -> Callable[..., Any]:
        async def reading(*args: Any, **kwargs: Any) -> Any:
            try:
                piece = await method(*args, **kwargs)
            except BaseException:
                guarded(lambda: self._body.end(has_failed=True), None)
                raise
            return self._show(piece)

        return reading

    def _shown_now(self, method: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: self._show(method(*args, **kwargs))

    def _show(self, piece: Any) -> Any:
        data = piece[0] if isinstance(piece, tuple) else piece
        guarded(lambda: self._body.feed(data), None)
        if self._content.at_eof():
            guarded(self._body.end, None)
        return piece

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces(self._shown(self._content.readline))

    def iter_chunked(self, n: int) -> AsyncIterator[bytes]:
        """Pass on pieces of at most `n` bytes."""
        return self._pieces(lambda: self._shown(self._content.read)(n))

    def iter_any(self) -> AsyncIterator[bytes]:
        """Pass on pieces as they come."""
        return self._pieces(self._shown(self._content.readany))

    def iter_chunks(self) -> AsyncIterator[tuple[bytes, bool]]:
        """Pass on chunks as the server has sent them, each with whether it is whole."""
        return self._pieces(self._shown(self._content.readchunk))

    async def _pieces(self, read: Callable[[], Any]) -> AsyncIterator[Any]:
        while True:
            piece = await read()
            if not piece or piece == (b"", False):
                return
            yield piece


# -- Records what HTTP responses say: at once, or as an unread one is being read.
#
# An unread response is neither read nor replaced: its own reading methods are made to show what passes through them.
# That
# way also a stream of the `openai`, `anthropic` or `openrouter` package is seen however it is read: it has several
# ways,
# and all of them take the bytes of the same response.

_CLOSERS = ("close", "aclose")


def is_read_by_others(value: Any) -> bool:
    """Check whether a value is an HTTP response, or reads from one that is still to be read."""
    return response_of(value) is not None or is_aiohttp(value) or _unread_source(value) is not None


def watch_response(call: TrackedCall, value: Any) -> bool:
    """Record what the response that a value is or reads from says was used."""
    if is_aiohttp(value):
        watch_aiohttp(value, _Recorded(call, value))
    else:
        read_response(call, response_of(value) or _unread_source(value))
    return True


def read_response(call: TrackedCall, response: Any) -> None:
    """Record what a response says was used, now or as soon as it is read; the id alone when it does not say."""
    recorded = _Recorded(call, response)
    content = content_of(response)
    if content is not None:
        recorded.feed(content)
    elif not _is_over(response):
        call.is_accounted_for()
        _Tap(response, recorded)
        return
    recorded.end()


def _unread_source(stream: Any) -> Any:
    """Return the response that a client's stream reads from, if nothing of it has been read."""
    if not any(hasattr(type(stream), name) for name in ("__next__", "__anext__")):
        return None
    response = next(filter(is_response, (look(stream, name) for name in ("response", "_response"))), None)
    return None if response is None or content_of(response) is not None or _is_over(response) else response


def _is_over(response: Any) -> bool:
    return any(getattr(response, name, False) is True for name in ("_content_consumed", "is_stream_consumed"))


class _Recorded(Body):
    """A body whose answers are recorded; it does not hold the response."""

    def __init__(self, call: TrackedCall, response: Any) -> None:
        watch = Watch(
            call,
            generation=generation_of(response) if may_have_cost(response) else "",
            is_proven=is_from_openrouter(response),
            what=f"{kind_of(response)} without usage",
            may_be_silent=is_question(response) or is_refusal(response),
        )
        super().__init__(response, lambda value, is_whole: watch.take(value, is_whole=is_whole))
        self._watch = watch

    def end(self, *, has_failed: bool = False) -> None:
        super().end()
        self._watch.finish(has_failed=has_failed)


class _Tap:
    """Sits on an unread response and feeds what is read of it to its body, until that has its end."""

    def __init__(self, response: Any, body: _Recorded) -> None:
        """Replace the response's reading methods by this object's own."""
        self._body = body
        self._is_advancing = False
        self._response = weakref.ref(response)
        # The last resort, for a response that is forgotten; it must not hold the response itself.
        weakref.finalize(response, body.end)
        for name in (*READERS, *_CLOSERS):
            method = getattr(response, name, None)
            if method is not None:
                show = self._closing if name in _CLOSERS else self._async if name.startswith("a") else self._sync
                setattr(response, name, partial(show, method))

    def _sync(self, method: Callable[..., Iterator[bytes]], *args: Any, **kwargs: Any) -> Iterator[bytes]:
        return self._shown(iter(method(*args, **kwargs)))

    def _async(self, method: Callable[..., AsyncIterator[bytes]], *args: Any, **kwargs: Any) -> AsyncIterator[bytes]:
        return self._shown_async(method(*args, **kwargs))

    def _shown(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        while True:
            with self._advancing():
                piece = next(pieces, None)
            if piece is None:
                return self._end()
            self._feed(piece)
            yield piece

    async def _shown_async(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        while True:
            with self._advancing():
                piece = await anext(pieces, None)
            if piece is None:
                self._end()
                return
            self._feed(piece)
            yield piece

    @contextmanager
    def _advancing(self) -> Iterator[None]:
        self._is_advancing = True
        try:
            yield
        except BaseException:
            self._end(has_failed=True)
            raise
        finally:
            self._is_advancing = False

    def _feed(self, piece: bytes) -> None:
        guarded(lambda: self._body.feed(piece), None)

    def _closing(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        # `httpx` closes a response from within, before the last of its decoded bytes have come out.
        if not self._is_advancing:
            self._end()
        return method(*args, **kwargs)

    def _end(self, *, has_failed: bool = False) -> None:
        guarded(lambda: self._body.end(has_failed=has_failed), None)
        response = self._response()
        for name in (*READERS, *_CLOSERS) if response is not None else ():
            # Its own methods again; these here would keep it in memory until the garbage collector comes.
            vars(response).pop(name, None)
