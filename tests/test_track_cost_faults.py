"""track_cost never breaks a call: not its function, not its exceptions, not when the ledger cannot be written."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import openai
import pytest
import requests

from openrouter_usage.errors import InvalidValue
from openrouter_usage.ledger import spool
from openrouter_usage.tracker.decorator import track_cost
from openrouter_usage.tracker.record import shared_ledger
from openrouter_usage.tracker.session import CostSession
from tests.running import HANG_GUARD_S, ROOT
from tests.sandbox import Fault, Sandbox, Unreachable
from tests.tracking import HELLO, Books, Clients, open_books

ANSWER = {"id": "gen-1", "model": "a/model", "usage": {"prompt_tokens": 3, "completion_tokens": 2, "cost": 0.25}}


def answer(identity: str = "gen-1") -> dict[str, Any]:
    return {**ANSWER, "id": identity}


# -- the function --


def plain(prompt: str, *, model: str = "a/model") -> str:
    """Ask something."""
    return prompt + model


async def coroutine(prompt: str) -> str:
    """Ask something."""
    return prompt


def generator(prompt: str) -> Iterator[str]:
    """Ask something."""
    yield prompt


async def async_generator(prompt: str) -> AsyncIterator[str]:
    """Ask something."""
    yield prompt


KINDS = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)


@pytest.mark.parametrize("function", [plain, coroutine, generator, async_generator])
@pytest.mark.parametrize("decorate", [track_cost, track_cost(), track_cost(tags={"a": "b"})])
def test_a_function_keeps_its_kind_signature_name_and_docstring(
    function: Callable[..., Any], decorate: Callable[..., Any]
) -> None:
    tracked = decorate(function)
    assert [kind(tracked) for kind in KINDS] == [kind(function) for kind in KINDS]
    assert inspect.signature(tracked) == inspect.signature(function)
    assert (tracked.__name__, tracked.__doc__) == (function.__name__, "Ask something.")
    assert (tracked.__wrapped__, tracked.__module__) == (function, __name__)


def test_methods_partials_and_callable_objects_are_functions_too(books: Books) -> None:
    class Bot:
        def __init__(self, name: str) -> None:
            self.name = name

        @track_cost
        def ask(self) -> Any:
            return answer(self.name)

        @staticmethod
        @track_cost
        def ask_anyone() -> Any:
            return answer("gen-static")

        @classmethod
        @track_cost
        def ask_class(cls) -> Any:
            return answer(f"gen-{cls.__name__}")

        def __call__(self) -> Any:
            return answer("gen-called")

    Bot("gen-method").ask()
    Bot.ask_anyone()
    Bot.ask_class()
    track_cost(Bot("gen-bound").ask)()
    track_cost(functools.partial(answer, "gen-partial"))()
    track_cost(Bot("x"))()
    track_cost(dict)(answer("gen-type"))
    assert [entry.id for entry in books.entries] == [
        f"gen-{name}" for name in ("method", "static", "Bot", "bound", "partial", "called", "type")
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: track_cost("a session"),  # type: ignore[call-overload]
        lambda: track_cost()(classmethod(plain)),  # type: ignore[type-var]
        lambda: track_cost(session=7),  # type: ignore[call-overload]
        lambda: track_cost(tags=["a"]),  # type: ignore[call-overload]
        lambda: track_cost(tags={"a": 1}),  # type: ignore[dict-item]
        lambda: track_cost(tags={"a": "x" * 300}),
        lambda: track_cost(tags={str(number): "" for number in range(40)}),
    ],
)
def test_what_cannot_be_a_decorator_is_said_where_it_is_written(wrong: Callable[[], Any]) -> None:
    with pytest.raises(InvalidValue):
        wrong()


# -- exceptions --


def test_an_exception_passes_through_as_it_is_and_leaves_no_call(books: Books) -> None:
    problem = ZeroDivisionError("its own")

    @track_cost
    def ask() -> Any:
        raise problem

    @track_cost
    async def ask_async() -> Any:
        raise problem

    for call in (ask, lambda: asyncio.run(ask_async())):
        with pytest.raises(ZeroDivisionError) as raised:
            call()
        assert raised.value is problem
    assert books.lines == 0


def spoiled(sandbox: Sandbox, status: int) -> None:
    """Let the next call be billed and answered in full, but with an error status, as a proxy may do."""

    def edit(wire: Any, sent: Any) -> Any:
        sent.status = status
        return sent

    sandbox.misbehave("POST /chat/completions", Fault(f"status {status}", edit=edit))


def from_a_pool(clients: Clients) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return track_cost(lambda: pool.submit(raising, clients))().result()


def raising(clients: Clients) -> Any:
    response = clients.post("/chat/completions", HELLO)
    response.raise_for_status()
    return response


def hiding(clients: Clients) -> Any:
    try:
        return raising(clients)
    except requests.HTTPError as error:
        raise RuntimeError(f"Failed: {error}") from None


async def raising_async(clients: Clients) -> Any:
    async with clients.async_openai() as client:
        return await track_cost(client.chat.completions.create)(**HELLO)


FAILURES: dict[str, tuple[type[Exception], Callable[[Clients], Any]]] = {
    "openai": (openai.APIStatusError, track_cost(lambda clients: clients.chat())),
    "openai, async": (openai.APIStatusError, lambda clients: asyncio.run(raising_async(clients))),
    "openrouter": (Exception, track_cost(lambda clients: clients.openrouter.chat.send(**HELLO))),
    "requests": (requests.HTTPError, track_cost(raising)),
    "requests, behind another": (RuntimeError, track_cost(hiding)),
    "requests, from a pool": (requests.HTTPError, from_a_pool),
    "requests, through two": (requests.HTTPError, track_cost(track_cost(raising))),
}


@pytest.mark.parametrize("name", FAILURES)
def test_the_cost_of_an_answer_that_an_exception_carries_is_not_forgotten(
    name: str, books: Books, clients: Clients
) -> None:
    kind, call = FAILURES[name]
    spoiled(clients.sandbox, 500)
    with pytest.raises(kind), CostSession("failed") as session:
        call(clients)
    assert books.agree_with(clients.sandbox)
    assert (session.calls, session.total_cost) == (1, clients.sandbox.account.bill)


@pytest.mark.parametrize("name", FAILURES)
def test_a_refusal_is_no_call(name: str, books: Books, clients: Clients) -> None:
    kind, call = FAILURES[name]
    clients.sandbox.misbehave("POST /chat/completions", Fault.status(402))
    with pytest.raises(kind):
        call(clients)
    assert books.lines == 0


@pytest.mark.parametrize(("status", "calls"), [(402, 0), (429, 0), (408, 1), (502, 1)])
def test_an_error_with_a_generation_may_have_been_billed_unless_it_is_a_refusal(
    status: int, calls: int, books: Books, clients: Clients
) -> None:
    fault = Fault.status(status, headers={"X-Generation-Id": "gen-failed"})
    clients.sandbox.misbehave("POST /chat/completions", fault)
    with pytest.raises(openai.APIStatusError):
        track_cost(clients.chat)()
    assert track_cost(clients.post)("/chat/completions", HELLO).status_code == status
    assert [(entry.id, entry.cost) for entry in books.entries] == [("gen-failed", None)] * calls


def test_an_exception_that_was_being_handled_before_is_no_part_of_the_call(books: Books, clients: Clients) -> None:
    @track_cost
    def ask() -> Any:
        raise ValueError("the second try")

    spoiled(clients.sandbox, 500)
    try:
        raising(clients)
    except requests.HTTPError:
        with pytest.raises(ValueError, match="the second try"):
            ask()
    assert books.lines == 0


def test_a_server_that_cannot_be_reached_is_no_call(books: Books) -> None:
    with Unreachable() as nobody:
        client = openai.OpenAI(api_key="test-key", base_url=nobody.url, max_retries=0)
        with client, pytest.raises(openai.APIConnectionError):
            track_cost(client.chat.completions.create)(**HELLO)
    assert books.lines == 0


def test_two_exceptions_with_one_response_are_one_call(
    books: Books, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENROUTER_BASE_URL", clients.sandbox.url)
    clients.sandbox.misbehave("POST /chat/completions", Fault.status(502, {"usage": {"cost": 0.25}}))
    response = clients.post("/chat/completions", HELLO)

    @track_cost
    def ask() -> Any:
        raise requests.HTTPError(response=response) from requests.ConnectionError(response=response)

    with pytest.raises(requests.HTTPError):
        ask()
    assert books.lines == 1


class Odd:
    """A response that gives something else than bytes."""

    headers: ClassVar = {"content-type": "application/json"}
    status_code = 200

    def raise_for_status(self) -> None: ...

    def iter_content(self) -> Iterator[Any]:
        return iter([7])


def test_a_response_may_give_whatever_it_likes(books: Books) -> None:
    assert list(track_cost(Odd)().iter_content()) == [7]
    assert books.lines == 0


class Pretender:
    """Looks like a response until it is looked at."""

    headers = None

    def raise_for_status(self) -> None: ...

    def iter_content(self) -> None: ...


@pytest.mark.parametrize("value", [Pretender(), [Pretender()], (Pretender(), "name")])
def test_something_that_cannot_be_read_is_passed_on_and_said_once(
    value: Any, books: Books, caplog: pytest.LogCaptureFixture
) -> None:
    give, generate = track_cost(lambda: value), track_cost(lambda: (item for item in [value]))
    for _ in range(2):
        assert give() is value
        assert list(generate()) == [value]
    assert caplog.text.count("could not be read") == 1
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 3
    assert books.lines == 0


# -- the ledger --


def block(books: Books) -> None:
    """Put a file where the ledger's folder would have to be."""
    shared_ledger().close()
    books.path.parent.rename(books.path.parent.with_name("away"))
    books.path.parent.write_text("in the way")


def unblock(books: Books) -> None:
    books.path.parent.unlink()
    books.path.parent.with_name("away").rename(books.path.parent)


@pytest.fixture
def deep_books(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Books]:
    for _ in open_books(tmp_path, monkeypatch):
        (tmp_path / "folder").mkdir()
        monkeypatch.setenv("OPENROUTER_USAGE_FILE", str(tmp_path / "folder" / "usage.jsonl"))
        yield Books(tmp_path / "folder" / "usage.jsonl")


def test_a_ledger_that_cannot_be_written_is_said_once_and_nothing_is_lost(
    deep_books: Books, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    block(deep_books)
    with CostSession("work") as session:
        assert track_cost(answer)("gen-1") == answer("gen-1")
        assert list(track_cost(lambda: iter([answer("gen-2")]))()) == [answer("gen-2")]
    assert (session.calls, session.total_cost) == (2, Decimal("0.5"))
    assert [(record.name, record.levelno) for record in caplog.records] == [("openrouter_usage", logging.WARNING)]
    assert spool.spool_file(deep_books.path).name in caplog.text
    unblock(deep_books)
    track_cost(answer)("gen-3")
    assert [entry.id for entry in deep_books.entries] == ["gen-1", "gen-2", "gen-3"]
    block(deep_books)
    track_cost(answer)("gen-4")
    assert len(caplog.records) == 2
    unblock(deep_books)
    assert capfd.readouterr() == ("", "")


def test_a_call_that_can_be_kept_nowhere_is_said_and_counted_in_its_session(
    deep_books: Books, caplog: pytest.LogCaptureFixture
) -> None:
    block(deep_books)
    spool.spool_file(deep_books.path).parent.write_text("in the way as well")
    with CostSession("work") as session:
        assert track_cost(answer)() == ANSWER
    assert session.calls == 1
    assert "calls are not recorded" in caplog.text
    unblock(deep_books)


def test_without_a_home_calls_are_made_and_it_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, books: Books
) -> None:
    monkeypatch.delenv("OPENROUTER_USAGE_FILE")
    monkeypatch.setenv("HOME", "")
    assert track_cost(answer)() == track_cost(answer)() == ANSWER
    assert caplog.text.count("calls are not recorded") == 1


def test_a_ledger_that_is_no_regular_file_is_said_and_left_alone(
    books: Books, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    books.path.symlink_to(target)
    assert track_cost(answer)() == ANSWER
    assert "not a regular file" in caplog.text
    assert target.read_text() == "mine"


def test_the_default_ledger_is_the_one_that_the_environment_names_at_the_time_of_the_call(
    books: Books, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ask = track_cost(answer)
    ask("gen-1")
    monkeypatch.setenv("OPENROUTER_USAGE_FILE", str(tmp_path / "other.jsonl"))
    ask("gen-2")
    assert [entry.id for entry in books.entries] == ["gen-1"]
    assert [entry.id for entry in Books(tmp_path / "other.jsonl").entries] == ["gen-2"]


# -- processes --


def run_python(code: str, books: Books) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts"), "OPENROUTER_USAGE_FILE": str(books.path)}
    # Python 3.12 and newer warn of a fork beside threads.
    command = [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", code]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANG_GUARD_S, check=True)
    assert ran.stderr == ""
    return ran.stdout


def test_importing_it_loads_no_client_and_opens_nothing(books: Books) -> None:
    code = """
import sys
from openrouter_usage.tracker.decorator import track_cost
track_cost(lambda: None)
heavy = {"openai", "openrouter", "pydantic", "requests", "httpx", "argparse", "asyncio", "sqlite3", "logging"}
print(sorted(heavy & sys.modules.keys()))
"""
    assert run_python(code, books) == "[]\n"
    assert not books.path.exists()


def test_a_stream_that_is_open_at_the_end_of_the_program_is_recorded(books: Books) -> None:
    code = f"""
from openrouter_usage.tracker.decorator import track_cost
stream = track_cost(lambda: iter([{ANSWER!r}, 2]))()
next(stream)
piece = track_cost(lambda: iter([{{"id": "gen-2", "model": "a/model", "choices": []}}, 2]))()
next(piece)
"""
    run_python(code, books)
    assert {entry.id: entry.cost for entry in books.entries} == {"gen-1": Decimal("0.25"), "gen-2": None}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_that_was_forked_off_in_the_middle_of_the_ledgers_work_records_its_own_calls(books: Books) -> None:
    code = """
import os, signal, threading
from openrouter_usage.tracker.decorator import track_cost
from openrouter_usage.tracker.record import shared_ledger

@track_cost
def ask(identity):
    return {"id": identity, "model": "a/model", "usage": {"cost": 0.25}}

ask("gen-before")
pieces = [{"id": "gen-stream", "model": "a/model", "choices": []}, {"id": "gen-stream", "usage": {"cost": 1}}]
stream = track_cost(lambda: iter(pieces))()
next(stream)
held, go_on = threading.Event(), threading.Event()

def hold():
    with shared_ledger().engine._mutex:
        held.set()
        go_on.wait()

thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if child == 0:
    signal.alarm(20)
    ask("gen-child")
    raise SystemExit  # as a program ends: with its copy of the stream
assert os.waitpid(child, 0)[1] == 0
go_on.set()
thread.join()
ask("gen-parent")
list(stream)
"""
    run_python(code, books)
    assert [entry.id for entry in books.entries] == ["gen-before", "gen-child", "gen-parent", "gen-stream"]
    assert books.lines == 4
