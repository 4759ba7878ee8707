"""Lets what a tracked function gives back pass through, and records the answers in it."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from openrouter_usage.tracker.bodies import read_response
from openrouter_usage.tracker.observe import MOST_ITEMS, PLAIN, answers_in, stands_apart
from openrouter_usage.tracker.responses import generation_of, look, response_of
from openrouter_usage.tracker.streams import Manager, is_manager, proxy_of
from openrouter_usage.tracker.tracked import TrackedCall
from openrouter_usage.tracker.watch import Watch
from openrouter_usage.tracker.written import guarded

_RESPONSES = ("response", "raw_response")
_LONGEST_CHAIN = 5


def passed(call: TrackedCall, value: Any) -> Any:
    """Give the value back, a stream in it watched, its answers recorded; nothing of that ever raises."""
    call.handled = None  # it would keep the frames of an exception for as long as a stream lasts
    return value if isinstance(value, PLAIN) else guarded(lambda: _record(call, value), value)


def failed(call: TrackedCall, error: BaseException) -> None:
    """Record the answers of the responses that an exception, or what it came from, carries."""
    guarded(lambda: _record_responses(call, error), None)


def _record(call: TrackedCall, value: Any) -> Any:
    stood_in = _stand_in(call, value)
    if stood_in is not None:
        return stood_in
    seen = answers_in(value)
    for answer in seen:
        # The time of several calls together is the time of none of them.
        call.record(answer.call, is_bare=answer.is_bare, since_s=call.began_s if len(seen) == 1 else None)
    return _with_items(call, value) if isinstance(value, (tuple, list)) and len(value) <= MOST_ITEMS else value


def _stand_in(call: TrackedCall, value: Any) -> Any:
    """Give what is to be passed on for a value that has its answers later, or inside; None for any other."""
    if stands_apart(value):
        return None
    if isinstance(value, GeneratorType) and not value.gi_code.co_flags & inspect.CO_ITERABLE_COROUTINE:
        return relay(call, value)
    if isinstance(value, AsyncGeneratorType):
        return relay_async(lambda: call, lambda: value)()
    if inspect.iscoroutine(value):
        return _awaited(call, value)
    if is_manager(value):
        return Manager(value, lambda given: passed(call, given))
    response = response_of(value)
    if response is not None:
        read_response(call, response)
        return value
    if hasattr(type(value), "add_done_callback"):
        value.add_done_callback(lambda future: _done(call, future))
        return value
    return proxy_of(value, lambda: Watch(call, generation=generation_of(value)))


def _with_items(call: TrackedCall, items: Any) -> Any:
    """Give a tuple or list back with its streams watched."""
    stood_in = {at: _stand_in(call, item) for at, item in enumerate(items)}
    changed = {at: item for at, item in stood_in.items() if item is not None and item is not items[at]}
    if not changed:
        return items
    if isinstance(items, list):
        for at, item in changed.items():
            items[at] = item
        return items
    whole = [changed.get(at, item) for at, item in enumerate(items)]
    return items._make(whole) if hasattr(items, "_make") else tuple(whole)


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
    """Give back what a generator yields: a piece of a stream, or something that has its answers later."""
    if isinstance(value, PLAIN):
        return value
    stood_in = guarded(lambda: _stand_in(call, value), None)
    if stood_in is None:
        watch.take(value)
    return value if stood_in is None else stood_in


def relay(call: TrackedCall, generator: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Pass on everything that a generator yields and is sent, and what it returns."""
    watch = Watch(call)
    try:
        returned = yield from _Steps(call, generator, watch)
        return yielded(call, watch, returned)
    except GeneratorExit:
        raise
    except BaseException as error:
        failed(call, error)
        raise
    finally:
        watch.finish()


def relay_async(
    begin: Callable[..., TrackedCall], function: Callable[..., AsyncGenerator[Any, Any]]
) -> Callable[..., AsyncGenerator[Any, Any]]:
    """Give an async generator function that passes on everything `function` yields and is sent."""

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
            raise
        finally:
            watch.finish()

    return relayed
