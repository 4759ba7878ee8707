"""What a tracked function returns, passed on unchanged, streams included, while the answers in it are recorded."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator, Mapping
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from openrouter_usage.tracker.observe import (
    PLAIN,
    Seen,
    answers_in,
    generation_of,
    is_from_openrouter,
    is_response,
    look,
    named_parts,
    read_answer,
    response_of,
    stands_apart,
)
from openrouter_usage.tracker.record import TrackedCall, guarded, kind_of
from openrouter_usage.tracker.watch import Watch, is_read_by_others, read_response, watch_response

# -- Transparent proxies: a stream, or what opens one, passes through them and shows its pieces to a Watch.

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
    """Return a proxy for an iterator, None for anything else; files and database cursors are none here."""
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


# -- What a tracked function returns is passed on, and the answers in it are recorded.

_RESPONSES = ("response", "raw_response")
# The answers that the packages `openai` and `instructor` put into the exceptions about them.
_ANSWERS = ("completion", "last_completion")
_DEEPEST = 5
_LONGEST_CHAIN = 5


def passed(call: TrackedCall, value: Any) -> Any:
    """Return the value, a stream in it watched, its answers recorded; nothing of that ever raises."""
    call.handled = None  # it would keep the frames of an exception for as long as a stream lasts
    done: list[Any] = []
    guarded(lambda: done.append(_record(call, value)), None)
    if not done:
        call.is_untracked(kind_of(value))
    return done[0] if done else value


def failed(call: TrackedCall, error: BaseException) -> None:
    """Record the answers of the responses that an exception, or what it came from, carries."""
    guarded(lambda: _record_responses(call, error), None)


def _record(call: TrackedCall, value: Any) -> Any:
    """Record a value, or watch it, or say that it tells nothing; return what is to be passed on."""
    stood_in = _stand_in(call, value)
    if stood_in is not None:
        return stood_in
    found = read_answer(value)
    if found is not None:
        _record_seen(call, [found])
        return value
    value, is_watched = _with_parts(call, value, _DEEPEST)
    if not _record_answers(call, value) and not is_watched and not _is_excused(value):
        call.is_untracked(kind_of(value))
    return value


def _record_answers(call: TrackedCall, value: Any) -> bool:
    return _record_seen(call, answers_in(value))


def _record_seen(call: TrackedCall, seen: list[Seen]) -> bool:
    for answer in seen:
        # The time of several calls together is the time of none of them.
        call.record(answer.call, is_bare=answer.is_bare, since_s=call.began_s if len(seen) == 1 else None)
    return bool(seen)


def _is_excused(value: Any) -> bool:
    """Check whether a value without an answer is no sign of a call: an error that came back, or something of ours."""
    return stands_apart(value) or (isinstance(value, Mapping) and bool(value.get("error")))


def _stand_in(call: TrackedCall, value: Any) -> Any:
    """Return what is to be passed on for a value that has its answers later, or inside; None for any other."""
    if isinstance(value, PLAIN) or stands_apart(value):
        return None
    if isinstance(value, GeneratorType) and not value.gi_code.co_flags & inspect.CO_ITERABLE_COROUTINE:
        return relay(call, value)
    if isinstance(value, AsyncGeneratorType):
        return relay_async(lambda: call, lambda: value)()
    if inspect.iscoroutine(value):
        return _awaited(call, value)
    manager = manager_of(value, lambda given: _entered(call, given), lambda given, failed: _left(call, given, failed))
    if manager is not None:
        return manager
    if is_read_by_others(value):
        return value if watch_response(call, value) else None
    if hasattr(type(value), "add_done_callback"):
        value.add_done_callback(lambda future: _done(call, future))
        return value
    if hasattr(type(value), "stream_events"):
        return _with_events(call, value)
    return proxy_of(value, lambda: _watch_of(call, value))


def _watch_of(call: TrackedCall, stream: Any) -> Watch:
    response = look(stream, "response")
    is_proven = is_response(response) and is_from_openrouter(response)
    return Watch(call, generation=generation_of(stream), is_proven=is_proven)


def _entered(call: TrackedCall, given: Any) -> Any:
    """Watch what a context manager gives; what cannot be watched is read when the block is left."""
    stood_in = guarded(lambda: _stand_in(call, given), None)
    if stood_in is not None:
        call.is_accounted_for()
    return given if stood_in is None else stood_in


def _left(call: TrackedCall, given: Any, has_failed: bool) -> None:
    if not guarded(lambda: _record_answers(call, given), False) and not has_failed and not _is_excused(given):
        call.is_untracked(kind_of(given))


def _with_events(call: TrackedCall, run: Any) -> Any:
    """Read a run of openai-agents when its events have been read: it gathers the answers itself."""
    events = run.stream_events

    async def shown(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        has_failed = True
        try:
            async for event in events(*args, **kwargs):
                yield event
            has_failed = False
        finally:
            _left(call, run, has_failed)

    run.stream_events = shown
    return run


def _with_parts(call: TrackedCall, value: Any, depth: int) -> tuple[Any, bool]:
    """Return a tuple, list or mapping with its streams watched, and whether there is one in it."""
    if not isinstance(value, (tuple, list, dict)) or not depth:
        return value, False
    changed: dict[Any, Any] = {}
    is_watched = False
    for name, item in named_parts(value):
        stood_in = _stand_in(call, item)
        is_watched |= stood_in is not None
        if stood_in is None:
            stood_in, is_within = (item, False) if read_answer(item) else _with_parts(call, item, depth - 1)
            is_watched |= is_within
        if stood_in is not item:
            changed[name] = stood_in
    if not isinstance(value, tuple):
        for name, item in changed.items():
            value[name] = item
    elif changed:
        whole = [changed.get(at, item) for at, item in enumerate(value)]
        value = value._make(whole) if hasattr(value, "_make") else tuple(whole)
    return value, is_watched


def _done(call: TrackedCall, future: Any) -> None:
    if not future.cancelled():
        # Asked for its exception, an asyncio future would think that somebody has seen it, and not complain.
        error = look(future, "_exception")
        if error is None:
            passed(call, future.result())
        else:
            failed(call, error)


async def _awaited(call: TrackedCall, coroutine: Coroutine[Any, Any, Any]) -> Any:
    with call.under_way():
        try:
            value = await coroutine
        except BaseException as error:
            failed(call, error)
            raise
    return passed(call, value)


def _record_responses(call: TrackedCall, error: BaseException) -> None:
    known: list[Any] = []
    link: BaseException | None = error
    for _ in range(_LONGEST_CHAIN):
        if link is None or link is call.handled:
            break
        for response in (response_of(look(link, name)) for name in _RESPONSES):
            if response is not None and all(response is not other for other in known):
                known.append(response)
                read_response(call, response)
        for answer in (look(link, name) for name in _ANSWERS):
            if answer is not None:
                _record_answers(call, answer)
        link = link.__context__ if link.__cause__ is None else link.__cause__


class _Steps:
    """A generator whose every step belongs to a tracked call; `yield from` hands sent and thrown things on to it."""

    def __init__(self, call: TrackedCall, generator: Generator[Any, Any, Any], watch: Watch) -> None:
        self._call = call
        self._generator = generator
        self._watch = watch

    def __iter__(self) -> _Steps:
        return self

    def __next__(self) -> Any:
        return self._step(self._generator.__next__)

    def send(self, value: Any) -> Any:
        return self._step(self._generator.send, value)

    def throw(self, *error: Any) -> Any:
        return self._step(self._generator.throw, *error)

    def close(self) -> None:
        with self._call.under_way():
            self._generator.close()

    def _step(self, method: Callable[..., Any], *args: Any) -> Any:
        with self._call.under_way():
            value = method(*args)
        return yielded(self._call, self._watch, value)


def yielded(call: TrackedCall, watch: Watch, value: Any) -> Any:
    """Return what a generator yields: a piece of a stream, or something that has its answers later."""
    stood_in = None if isinstance(value, PLAIN) else guarded(lambda: _stand_in(call, value), None)
    if stood_in is None:
        watch.take(value)
    else:
        call.is_accounted_for()
    return value if stood_in is None else stood_in


def relay(call: TrackedCall, generator: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Pass on everything that a generator yields and is sent, and what it returns."""
    watch = Watch(call)
    try:
        returned = yield from _Steps(call, generator, watch)
        return returned if returned is None else yielded(call, watch, returned)
    except GeneratorExit:
        raise
    except BaseException as error:
        failed(call, error)
        watch.finish(has_failed=True)
        raise
    finally:
        watch.finish()


def relay_async(
    begin: Callable[..., TrackedCall], function: Callable[..., AsyncGenerator[Any, Any]]
) -> Callable[..., AsyncGenerator[Any, Any]]:
    """Return an async generator function that passes on everything `function` yields and is sent."""

    async def relayed(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        call = begin(*args, **kwargs)
        watch, generator = Watch(call), function(*args, **kwargs)
        step = generator.asend(None)
        try:
            while True:
                with call.under_way():
                    value = await step
                try:
                    sent = yield yielded(call, watch, value)
                except GeneratorExit:
                    await generator.aclose()
                    raise
                except BaseException as error:
                    step = generator.athrow(error)
                else:
                    step = generator.asend(sent)
        except StopAsyncIteration:
            return
        except GeneratorExit:
            raise
        except BaseException as error:
            failed(call, error)
            watch.finish(has_failed=True)
            raise
        finally:
            watch.finish()

    return relayed
