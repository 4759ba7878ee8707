"""track_cost: a decorator that writes what a function's calls cost to the ledger.

It understands what the functions around OpenRouter return: the JSON of an answer as a dict; a response of `requests`,
`httpx` or `aiohttp`, also one that is still to be read; the objects and streams of the `openai`, `anthropic` and
`openrouter` packages; what the packages of `frameworks` keep of an answer; iterators and generators of chunks; and
all of these in lists, mappings and objects that only hold data. Text is not guessed at, and an answer that the
function keeps to itself cannot be seen: a warning says so once for each function, and the sessions call it unknown.

A stream that reads from an unread HTTP response comes back as itself, another one as a proxy that reads, closes and
enters as it does; the call is recorded once, when it ends, is closed, raises or is forgotten. Cut before its usage
came, it has an unknown cost and the id to look it up by. A call belongs to the sessions that were open when the
function began to run; the same answer, passed on by several tracked functions, is one call.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, overload

from openrouter_usage.entry import MOST_TAGS, safe_tag
from openrouter_usage.errors import InvalidValue
from openrouter_usage.tracker.proxies import failed, passed, relay, relay_async
from openrouter_usage.tracker.record import Options, Remarks, TrackedCall, name_of
from openrouter_usage.tracker.session import CostSession

if TYPE_CHECKING:
    from openrouter_usage.tracker.cost_tracker import CostTracker

Function = TypeVar("Function", bound=Callable[..., Any])
Begin = Callable[..., TrackedCall]


@overload
def track_cost(
    function: Function,
    *,
    session: CostSession | str = "",
    tags: Mapping[str, str] | None = None,
    tracker: CostTracker | None = None,
) -> Function: ...


@overload
def track_cost(
    function: None = None,
    *,
    session: CostSession | str = "",
    tags: Mapping[str, str] | None = None,
    tracker: CostTracker | None = None,
) -> Callable[[Function], Function]: ...


def track_cost(
    function: Callable[..., Any] | None = None,
    *,
    session: CostSession | str = "",
    tags: Mapping[str, str] | None = None,
    tracker: CostTracker | None = None,
) -> Any:
    """Write what each call of a function costs, in USD, to the ledger, and count it in the sessions open around it.

    What the function returns, yields or raises passes through; a ledger that cannot be written is only logged.
    `session` names the calls' session, or is one to count in as well; without a `tracker` they go to the default
    ledger. Raises InvalidValue for anything that is no function, session or tags.
    """
    if not isinstance(session, (CostSession, str)):
        raise InvalidValue("session must be a CostSession or a name")
    options = Options(session, _checked_tags(tags or {}), tracker.ledger if tracker is not None else None)
    return functools.partial(_tracked, options) if function is None else _tracked(options, function)


def _checked_tags(tags: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    if not isinstance(tags, Mapping) or len(tags) > MOST_TAGS:
        raise InvalidValue(f"tags must be at most {MOST_TAGS} names, each with a text")
    return tuple(sorted((safe_tag(name), safe_tag(text)) for name, text in tags.items()))


def _tracked(options: Options, function: Callable[..., Any]) -> Callable[..., Any]:
    if not callable(function):
        raise InvalidValue(
            "track_cost decorates a function", hint="write @track_cost(session=...), and under @classmethod"
        )
    options = replace(options, remarks=Remarks(name_of(function)))
    model = _model_argument(function)

    def begin(*args: Any, **kwargs: Any) -> TrackedCall:
        return TrackedCall(options, model(args, kwargs))

    kinds = {
        inspect.isgeneratorfunction: _generator,
        inspect.isasyncgenfunction: relay_async,
        inspect.iscoroutinefunction: _coroutine,
    }
    wrap = next((wrap for is_kind, wrap in kinds.items() if is_kind(function)), _plain)
    return functools.wraps(function)(wrap(begin, function))


def _model_argument(function: Callable[..., Any]) -> Callable[[tuple[Any, ...], dict[str, Any]], str]:
    """Return a function that reads the argument called `model`, for answers that do not name theirs."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []  # some functions in C have none
    at, default = next(
        ((at, known.default) for at, known in enumerate(parameters) if known.name == "model"), (-1, None)
    )

    def model(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        value = kwargs.get("model", args[at] if 0 <= at < len(args) else default)
        return value if isinstance(value, str) else ""

    return model


def _plain(begin: Begin, function: Callable[..., Any]) -> Callable[..., Any]:
    def tracked(*args: Any, **kwargs: Any) -> Any:
        call = begin(*args, **kwargs)
        with call.under_way():
            try:
                value = function(*args, **kwargs)
            except BaseException as error:
                failed(call, error)
                raise
        return passed(call, value)

    return tracked


def _coroutine(begin: Begin, function: Callable[..., Any]) -> Callable[..., Any]:
    async def tracked(*args: Any, **kwargs: Any) -> Any:
        call = begin(*args, **kwargs)
        with call.under_way():
            try:
                value = await function(*args, **kwargs)
            except BaseException as error:
                failed(call, error)
                raise
        return passed(call, value)

    return tracked


def _generator(begin: Begin, function: Callable[..., Any]) -> Callable[..., Any]:
    def tracked(*args: Any, **kwargs: Any) -> Any:
        return (yield from relay(begin(*args, **kwargs), function(*args, **kwargs)))

    return tracked
