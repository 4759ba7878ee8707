"""Records what HTTP responses say: at once, or as an unread one is being read.

An unread response is neither read nor replaced: its own reading methods are made to show what passes through them. That
way also a stream of the `openai`, `anthropic` or `openrouter` package is seen however it is read: it has several ways,
and all of them take the bytes of the same response.
"""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from openrouter_usage.tracker.aiohttp_reading import is_aiohttp, watch_aiohttp
from openrouter_usage.tracker.responses import (
    READERS,
    Body,
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
from openrouter_usage.tracker.tracked import TrackedCall, kind_of
from openrouter_usage.tracker.watch import Watch
from openrouter_usage.tracker.written import guarded

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
        """Put this object's methods in front of the response's own."""
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
