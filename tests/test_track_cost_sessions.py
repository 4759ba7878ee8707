"""track_cost counts in sessions: exactly once, where the call began, in threads, tasks and nested functions."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from openrouter_usage.tracker.cost_tracker import CostTracker
from openrouter_usage.tracker.decorator import track_cost
from openrouter_usage.tracker.enforcer import BudgetEnforcer
from openrouter_usage.tracker.record import _under_way
from openrouter_usage.tracker.session import CostSession
from tests.sandbox import INFERENCE_KEY
from tests.tracking import HELLO, Books, Clients

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "cost": 0.25}
QUARTER = Decimal("0.25")


def answer(identity: str | None = "gen-1", **more: Any) -> dict[str, Any]:
    return {"id": identity, "model": "a/model", "usage": USAGE, **more}


def test_a_call_belongs_to_the_innermost_session_and_counts_in_all(books: Books) -> None:
    ask = track_cost(answer)
    with CostSession("outer") as outer:
        ask("gen-1")
        with CostSession("inner") as inner:
            ask("gen-2")
        ask("gen-3")
    ask("gen-4")
    assert [entry.session for entry in books.entries] == ["outer", "inner", "outer", ""]
    assert (outer.calls, outer.total_cost) == (3, 3 * QUARTER)
    assert (inner.calls, inner.total_cost) == (1, QUARTER)


def test_a_stream_counts_where_its_call_began(books: Books) -> None:
    with CostSession("first") as first:
        stream = track_cost(lambda: iter([answer()]))()
    with CostSession("second") as second:
        list(stream)
    assert books.only.session == "first"
    assert (first.calls, second.calls) == (1, 0)


def test_a_generator_function_begins_when_it_begins_to_run(books: Books) -> None:
    @track_cost
    def generate() -> Iterator[Any]:
        yield answer()

    generator = generate()
    with CostSession("running") as session:
        list(generator)
    assert (books.only.session, session.calls) == ("running", 1)


def test_the_decorators_own_session_is_the_innermost_one(books: Books) -> None:
    own = CostSession("own")
    with CostSession("around") as around:
        track_cost(answer, session=own)("gen-1")
        track_cost(session="named")(answer)("gen-2")
    assert [entry.session for entry in books.entries] == ["own", "named"]
    assert (own.calls, around.calls) == (1, 2)


def test_a_session_counts_once_when_it_is_both_open_and_the_decorators_own(books: Books) -> None:
    with CostSession("same") as session:
        track_cost(answer, session=session)(None)
    assert (session.calls, books.lines) == (1, 1)


def test_tags_and_another_tracker_are_the_decorators(books: Books, tmp_path: Path) -> None:
    tracker = CostTracker(usage_file=tmp_path / "other.jsonl")
    track_cost(tags={"team": "blue", "app": "demo"}, tracker=tracker)(answer)()
    (entry,) = tracker.ledger.entries()
    assert entry.tags == (("app", "demo"), ("team", "blue"))
    assert books.lines == 0
    tracker.ledger.close()


@pytest.mark.parametrize("identity", ["gen-1", None, ""], ids=["with an id", "without an id", "with an empty id"])
def test_an_answer_that_passes_through_several_tracked_functions_counts_once(
    identity: str | None, books: Books
) -> None:
    @track_cost
    def ask() -> Any:
        return answer(identity)

    @track_cost
    def judge() -> Any:
        return ("good", ask())

    @track_cost
    def report() -> Any:
        return {**judge()[1]}

    with CostSession("once") as session:
        report()
    assert (session.calls, session.total_cost) == (1, QUARTER)
    assert books.lines == 1


def test_an_async_answer_without_an_id_that_passes_through_several_tracked_functions_counts_once(
    books: Books,
) -> None:
    @track_cost
    async def ask() -> Any:
        return answer(None)

    @track_cost
    async def both() -> Any:
        return list(await asyncio.gather(ask(), ask()))

    with CostSession("once") as session:
        asyncio.run(both())
    assert (session.calls, session.total_cost, books.lines) == (2, 2 * QUARTER, 2)


def test_a_stream_without_ids_that_passes_through_several_tracked_generators_counts_once(books: Books) -> None:
    @track_cost
    def inner() -> Iterator[Any]:
        yield {"model": "a/model", "choices": []}
        yield {"model": "a/model", "choices": [], "usage": USAGE}

    @track_cost
    def outer() -> Iterator[Any]:
        yield from inner()

    @track_cost
    async def outermost() -> AsyncIterator[Any]:
        for piece in outer():
            yield piece

    async def read() -> list[Any]:
        return [piece async for piece in outermost()]

    with CostSession("once") as session:
        assert len(asyncio.run(read())) == 2
    assert (session.calls, session.total_cost, books.lines) == (1, QUARTER, 1)


def test_no_call_is_under_way_when_it_has_ended_or_waits(books: Books) -> None:
    def broken() -> Any:
        raise ZeroDivisionError

    def generate() -> Iterator[Any]:
        yield answer("gen-2")
        yield answer("gen-3")

    track_cost(answer)()
    with pytest.raises(ZeroDivisionError):
        track_cost(broken)()
    generator = track_cost(generate)()
    next(generator)
    # Were it still under way, it would take these for its own, and keep all that follow in memory.
    assert _under_way.get() == ()
    generator.close()
    assert _under_way.get() == ()


def test_the_sum_that_an_outer_function_returns_is_not_one_more_call(books: Books) -> None:
    ask = track_cost(answer)

    @track_cost
    def work() -> Any:
        calls = [ask("gen-1"), ask("gen-2")]
        return "done", {name: sum(call["usage"][name] for call in calls) for name in USAGE}

    with CostSession("work") as session:
        work()
    assert (session.calls, session.total_cost, books.lines) == (2, 2 * QUARTER, 2)


def test_calls_without_ids_that_are_alike_are_as_many_as_they_are(books: Books) -> None:
    ask = track_cost(lambda: answer(None))
    with CostSession("alike") as session:
        for _ in range(3):
            ask()
        track_cost(lambda: (answer(None), answer(None)))()
    assert (session.calls, books.lines) == (5, 5)


def test_an_answer_that_two_trackers_record_counts_once_in_a_session(books: Books, tmp_path: Path) -> None:
    tracker = CostTracker(usage_file=tmp_path / "other.jsonl")
    with CostSession("two books") as session:
        track_cost(track_cost(tracker=tracker)(answer))()
    assert (session.calls, books.lines, len(list(tracker.ledger.entries()))) == (1, 1, 1)
    tracker.ledger.close()


def test_an_answer_that_is_kept_and_returned_again_was_paid_once(books: Books) -> None:
    kept = answer()
    ask = track_cost(lambda: kept)
    with CostSession("morning") as morning:
        ask()
    with CostSession("evening") as evening:
        ask()
    assert (morning.calls, evening.calls, books.lines) == (1, 0, 1)


def test_a_cost_that_is_learned_later_takes_the_place_of_the_unknown_one(books: Books) -> None:
    begun = {"id": "gen-1", "model": "a/model", "object": "response", "usage": None}
    with CostSession("polling") as session:
        track_cost(lambda: begun)()
        assert (session.calls, session.unknown) == (1, 1)
        track_cost(answer)()
    assert (session.calls, session.unknown, session.total_cost) == (1, 0, QUARTER)
    assert books.only.cost == QUARTER


def test_what_the_library_itself_returns_is_not_recorded_again(books: Books) -> None:
    tracker = CostTracker()
    with CostSession("logged") as session:
        track_cost(lambda: tracker.log_usage("a/model", 3, 2, 0.25))()
        track_cost(lambda: session)()
        track_cost(lambda: session.usage)()
    assert books.lines == 1
    tracker.ledger.close()


def test_twenty_threads_count_exactly(books: Books, clients: Clients) -> None:
    ask = track_cost(clients.post)
    with CostSession("threads") as session, ThreadPoolExecutor(20) as pool:
        contexts = [contextvars.copy_context() for _ in range(40)]
        body = {**HELLO, "stream": True}
        jobs = [
            pool.submit(context.run, ask, "/chat/completions", body if number % 2 else HELLO, stream=bool(number % 4))
            for number, context in enumerate(contexts)
        ]
        assert all(job.result().content for job in jobs)
    assert books.agree_with(clients.sandbox)
    assert (session.calls, session.total_cost) == (40, clients.sandbox.account.bill)
    assert {entry.session for entry in books.entries} == {"threads"}


def test_fifty_tasks_count_exactly_and_each_in_its_own_session(books: Books, clients: Clients) -> None:
    async def work(ask: Any, number: int) -> CostSession:
        async with CostSession(f"task {number}") as session:
            if number % 2:
                await ask(**HELLO)
            else:
                assert [chunk async for chunk in await ask(**HELLO, stream=True)]
        return session

    async def go() -> list[CostSession]:
        async with clients.async_openai() as client:
            ask = track_cost(client.chat.completions.create)
            return await asyncio.gather(*(work(ask, number) for number in range(50)))

    with CostSession("all") as everything:
        sessions = asyncio.run(go())
    assert books.agree_with(clients.sandbox)
    assert (everything.calls, everything.total_cost) == (50, clients.sandbox.account.bill)
    assert [session.calls for session in sessions] == [1] * 50
    assert {entry.session for entry in books.entries} == {f"task {number}" for number in range(50)}


def test_a_job_given_to_a_pool_is_recorded_when_it_is_done(books: Books) -> None:
    with ThreadPoolExecutor(1) as pool:
        submit = track_cost(lambda: pool.submit(answer))
        future = submit()
        assert future.result() == answer()
    assert books.only.cost == QUARTER


def test_a_task_is_recorded_when_it_is_done_and_its_failure_stays_its_own(books: Books) -> None:
    async def fail() -> None:
        raise ZeroDivisionError("unseen")

    async def succeed() -> Any:
        return answer()

    async def go() -> None:
        told: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))
        start = track_cost(lambda work: asyncio.ensure_future(work()))
        assert await start(succeed) == answer()
        failing, cancelled = start(fail), start(succeed)
        cancelled.cancel()
        await asyncio.wait([failing, cancelled])
        del failing
        gc.collect()
        assert [type(error) for error in told] == [ZeroDivisionError]

    asyncio.run(go())
    assert books.lines == 1


def test_what_is_logged_by_hand_inside_a_session_is_in_it(books: Books) -> None:
    tracker = CostTracker()
    with CostSession("outer") as outer, CostSession("inner") as inner:
        tracker.log_usage("a/model", 3, 2, 0.25, "gen-1")
        tracker.log_usage("a/model", 3, 2, 0.25, "gen-1")
        tracker.log_usage("a/model", 3, 2, 0.25, session="named")
        tracker.log_usage("a/model", 3, 2)
    tracker.log_usage("a/model", 3, 2, 0.25)
    assert [entry.session for entry in books.entries] == ["inner", "named", "inner", ""]
    assert [(session.calls, session.unknown, session.usage.cost) for session in (outer, inner)] == [(3, 1, 2 * QUARTER)] * 2
    tracker.ledger.close()


def test_what_is_looked_up_inside_a_session_is_in_it(
    books: Books, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", INFERENCE_KEY)
    monkeypatch.setenv("OPENROUTER_BASE_URL", clients.sandbox.url)
    tracker, enforcer = CostTracker(), BudgetEnforcer()
    first, second = clients.chat().id, clients.chat().id
    with CostSession("work") as session:
        tracker.record_from_generation(first)
        tracker.record_from_generation(first)
        enforcer.record_cost(second)
    assert (session.calls, session.total_cost) == (2, clients.sandbox.account.bill)
    tracker.ledger.close()
    enforcer.ledger.close()


def test_a_function_whose_calls_are_seen_otherwise_may_return_what_it_likes(
    books: Books, clients: Clients, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", INFERENCE_KEY)
    monkeypatch.setenv("OPENROUTER_BASE_URL", clients.sandbox.url)
    tracker = CostTracker()
    ask = track_cost(answer)

    def poem() -> Any:
        return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in tracker.stream("Hello?"))

    with CostSession("work") as session:
        assert track_cost(lambda: ask("gen-1") and "text")() == "text"
        assert track_cost(lambda: tracker.chat("Hello?")["choices"][0]["message"]["content"])()
        assert track_cost(poem)()
        track_cost(lambda: tracker.log_usage("a/model", 3, 2, 0.25) and None)()
    assert (session.calls, session.unknown, caplog.records) == (4, 0, [])
    tracker.ledger.close()


def test_what_nobody_has_seen_is_said_and_counted_once_on_its_way_out(
    books: Books, caplog: pytest.LogCaptureFixture
) -> None:
    with CostSession("outer") as outer, CostSession("inner") as inner:
        assert track_cost(track_cost(lambda: "text"))() == "text"
        assert list(track_cost(lambda: track_cost(lambda: iter(["te", "xt"]))())()) == ["te", "xt"]
    assert (outer.untracked, inner.untracked, len(caplog.records)) == (2, 2, 2)


def test_a_function_that_raises_is_not_called_untracked(books: Books, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Iterator[str]:
        yield "text"
        raise ZeroDivisionError

    def fail() -> Any:
        raise ZeroDivisionError

    with CostSession("work") as session:
        for function in (lambda: list(track_cost(broken)()), lambda: list(track_cost(lambda: broken())()), track_cost(fail)):
            with pytest.raises(ZeroDivisionError):
                function()
    assert (session.calls, caplog.records) == (0, [])


@pytest.mark.parametrize("threads", [8])
def test_threads_that_see_nothing_say_it_once_together(
    threads: int, books: Books, caplog: pytest.LogCaptureFixture
) -> None:
    ask = track_cost(lambda: "text")
    with CostSession("work") as session, ThreadPoolExecutor(threads) as pool:
        for job in [pool.submit(contextvars.copy_context().run, ask) for _ in range(200)]:
            job.result()
    assert (session.untracked, session.unknown, len(caplog.records)) == (200, 200, 1)
