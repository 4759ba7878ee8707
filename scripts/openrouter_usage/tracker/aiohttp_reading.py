"""Follows what is read of a response of `aiohttp`, whose body is read through one object of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from openrouter_usage.tracker.written import guarded

_READING = ("read", "readany", "readline", "readuntil", "readexactly", "readchunk", "read_nowait")
_CLOSERS = ("close", "release")


class Listening(Protocol):
    """What is shown the body."""

    def feed(self, piece: bytes | str) -> None:
        """Take some more of the body."""

    def end(self, *, has_failed: bool = False) -> None:
        """Take note that there is no more of it."""


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
    for name in _CLOSERS:
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
