"""Transparent proxies: a stream, or what opens one, passes through them and shows its pieces to a Watch."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from typing import Any

from openrouter_usage.tracker.watch import Watch

_MANAGERS = ("StreamManager", "ResponseContextManager", "GeneratorContextManager", "RequestContextManager")


class Proxy:
    """Stands for another object: what is not said here, that object says itself."""

    def __init__(self, stream: Any, watch: Watch) -> None:
        """Watch a stream until it ends, is closed, raises, or is forgotten."""
        self._tracked_stream = stream
        self._tracked_watch = watch
        # Also at the exit of the interpreter, and without holding the proxy.
        weakref.finalize(self, watch.finish)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_tracked_"):  # asked before __init__, as copying does
            raise AttributeError(name)
        value = getattr(self._tracked_stream, name)
        if name in ("close", "aclose"):
            return _before(value, self._tracked_watch.finish)
        # The openai package adds its streams up, and then reads them itself: get_final_completion and its like.
        return _after(value, self._tracked_watch) if name.startswith("get_final_") else value

    def __repr__(self) -> str:
        return repr(self._tracked_stream)

    def _tracked_entered(self, entered: Any) -> Any:
        return self if entered is self._tracked_stream else entered


class SyncStream(Proxy):
    """A stream for `for`, `next` and `with`."""

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            piece = next(self._tracked_stream)
        except BaseException as error:  # the end of the stream among them
            self._tracked_watch.finish(has_failed=not isinstance(error, StopIteration))
            raise
        self._tracked_watch.take(piece)
        return piece

    def __enter__(self) -> Any:
        return self._tracked_entered(self._tracked_stream.__enter__())

    def __exit__(self, *error: Any) -> Any:
        self._tracked_watch.finish(has_failed=error[0] is not None)
        return self._tracked_stream.__exit__(*error)


class AsyncStream(Proxy):
    """A stream for `async for`, `anext` and `async with`."""

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            piece = await self._tracked_stream.__anext__()
        except BaseException as error:
            self._tracked_watch.finish(has_failed=not isinstance(error, StopAsyncIteration))
            raise
        self._tracked_watch.take(piece)
        return piece

    async def __aenter__(self) -> Any:
        return self._tracked_entered(await self._tracked_stream.__aenter__())

    async def __aexit__(self, *error: Any) -> Any:
        self._tracked_watch.finish(has_failed=error[0] is not None)
        return await self._tracked_stream.__aexit__(*error)


class EitherStream(SyncStream, AsyncStream):
    """A stream that can be read both ways."""


class Manager:
    """Stands for a context manager that makes its request when it is entered."""

    def __init__(self, manager: Any, entered: Callable[[Any], Any], left: Callable[[Any, bool], None]) -> None:
        """Hand what the manager gives through `entered`, and to `left` afterwards, with whether the block failed."""
        self._tracked_manager = manager
        self._tracked_entered = entered
        self._tracked_left = left
        self._tracked_given: Any = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_tracked_"):
            raise AttributeError(name)
        return getattr(self._tracked_manager, name)

    def __enter__(self) -> Any:
        self._tracked_given = self._tracked_entered(self._tracked_manager.__enter__())
        return self._tracked_given

    def __exit__(self, *error: Any) -> Any:
        self._tracked_finish(error)
        return self._tracked_manager.__exit__(*error)

    async def __aenter__(self) -> Any:
        self._tracked_given = self._tracked_entered(await self._tracked_manager.__aenter__())
        return self._tracked_given

    async def __aexit__(self, *error: Any) -> Any:
        self._tracked_finish(error)
        return await self._tracked_manager.__aexit__(*error)

    def _tracked_finish(self, error: tuple[Any, ...]) -> None:
        given, has_failed = self._tracked_given, error[0] is not None
        # The manager closes its stream itself, and not by way of the proxy.
        if isinstance(given, Proxy):
            given._tracked_watch.finish(has_failed=has_failed)
        else:
            self._tracked_left(given, has_failed)


class AwaitedManager(Manager):
    """A context manager that can be awaited in place of being entered, as a request of `aiohttp`."""

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._tracked_awaited().__await__()

    async def _tracked_awaited(self) -> Any:
        return self._tracked_entered(await self._tracked_manager)


def proxy_of(stream: Any, watch: Callable[[], Watch]) -> Proxy | None:
    """Give a proxy for an iterator, None for anything else; files and database cursors are none here."""
    kind = type(stream)
    if any(hasattr(kind, name) for name in ("readline", "fetchone")):
        return None
    ways = hasattr(kind, "__next__"), hasattr(kind, "__anext__")
    proxies = {(True, False): SyncStream, (False, True): AsyncStream, (True, True): EitherStream}
    return proxies[ways](stream, watch()) if ways in proxies else None


def manager_of(value: Any, entered: Callable[[Any], Any], left: Callable[[Any, bool], None]) -> Manager | None:
    """Return a stand-in for a context manager around a request, None for anything else.

    Those are the ones of the packages `openai`, `anthropic` and `aiohttp`, and those made of a generator, as
    `httpx.stream` and pydantic-ai's `run_stream` are.
    """
    kind = type(value)
    if not kind.__name__.endswith(_MANAGERS):
        return None
    return (AwaitedManager if hasattr(kind, "__await__") else Manager)(value, entered, left)


def _before(method: Callable[..., Any], finish: Callable[[], None]) -> Callable[..., Any]:
    def close(*args: Any, **kwargs: Any) -> Any:
        finish()
        return method(*args, **kwargs)

    return close


def _after(method: Callable[..., Any], watch: Watch) -> Callable[..., Any]:
    def final(*args: Any, **kwargs: Any) -> Any:
        result = method(*args, **kwargs)
        return _later(result) if inspect.isawaitable(result) else _seen(result)

    async def _later(result: Awaitable[Any]) -> Any:
        return _seen(await result)

    def _seen(result: Any) -> Any:
        watch.take(result, is_sum=True)
        watch.finish()
        return result

    return final
