"""CostSession adds up what is counted in it, whatever way it is opened, shared and closed."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest

from openrouter_usage.entry import Entry
from openrouter_usage.money import usd
from openrouter_usage.tracker.session import CostSession, count_in_sessions, current_session, open_sessions

NOW = datetime(2026, 11, 22, 10, 30, tzinfo=timezone.utc)
CENT = Decimal("0.01")


def call(cost: Decimal | None = CENT, identity: str = "", **more: Any) -> Entry:
    return Entry(NOW, "a/model", 3, 2, cost, identity, **more)


@pytest.fixture(autouse=True)
def _no_session_is_left_open() -> Iterator[None]:
    assert open_sessions() == ()
    yield
    assert open_sessions() == ()


def test_a_session_adds_up_tokens_and_both_kinds_of_money() -> None:
    with CostSession("work") as session:
        count_in_sessions(call(byok_cost=Decimal(2)))
        count_in_sessions(call(None))
    assert (session.calls, session.total_cost, session.unknown) == (2, CENT, 1)
    assert (session.usage.byok_cost, session.usage.total_tokens) == (Decimal(2), 10)


def test_nothing_is_counted_before_and_after() -> None:
    session = CostSession("work")
    count_in_sessions(call())
    with session:
        pass
    count_in_sessions(call())
    assert session.calls == 0


def test_nested_sessions_all_count_and_the_innermost_gives_the_name() -> None:
    with CostSession("outer") as outer:
        assert current_session() == "outer"
        with CostSession("inner") as inner:
            assert current_session() == "inner"
            count_in_sessions(call())
        assert current_session() == "outer"
        count_in_sessions(call())
    assert current_session() == ""
    assert (outer.calls, inner.calls) == (2, 1)


def test_an_exception_closes_a_session_and_goes_on_its_way() -> None:
    problem = RuntimeError("inside")
    with pytest.raises(RuntimeError) as raised, CostSession("work") as session:
        count_in_sessions(call())
        raise problem
    assert raised.value is problem
    assert (session.calls, current_session()) == (1, "")


def test_a_session_within_itself_counts_once_and_stays_open_until_its_last_end() -> None:
    session = CostSession("work")
    with session:
        with session:
            count_in_sessions(call())
        assert open_sessions() == (session,)
        count_in_sessions(call())
    assert session.calls == 2


def test_a_session_may_be_opened_again_and_goes_on_counting() -> None:
    session = CostSession("work")
    for _ in range(3):
        with session:
            count_in_sessions(call())
    assert session.calls == 3


def test_sessions_may_close_in_any_order() -> None:
    first, second = CostSession("first"), CostSession("second")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert open_sessions() == (second,)
    count_in_sessions(call())
    second.__exit__(None, None, None)
    assert (first.calls, second.calls) == (0, 1)


def test_a_session_may_be_closed_in_another_context_than_it_was_opened_in() -> None:
    session = CostSession("work")
    with CostSession("around"):
        contextvars.copy_context().run(session.__enter__)
        session.__exit__(None, None, None)
        assert current_session() == "around"


def test_a_thread_counts_only_when_it_inherits_the_context() -> None:
    with CostSession("work") as session:
        strange = threading.Thread(target=count_in_sessions, args=(call(),))
        familiar = threading.Thread(target=contextvars.copy_context().run, args=(count_in_sessions, call()))
        for thread in (strange, familiar):
            thread.start()
            thread.join()
    assert session.calls == 1


def test_many_threads_count_exactly() -> None:
    with CostSession("work") as session:
        contexts = [contextvars.copy_context() for _ in range(8)]

        def count(context: contextvars.Context) -> None:
            for number in range(500):
                context.run(count_in_sessions, call(identity=str(number) if number % 2 else ""))

        threads = [threading.Thread(target=count, args=(context,)) for context in contexts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (session.calls, session.total_cost) == (8 * 250 + 250, (8 * 250 + 250) * CENT)


def test_tasks_have_their_own_sessions_and_share_the_one_around_them() -> None:
    async def work(shared: CostSession, number: int) -> tuple[CostSession, str]:
        async with CostSession(str(number)) as own, shared:
            await asyncio.sleep(0)
            count_in_sessions(call())
            name = open_sessions()[-2].name
            await asyncio.sleep(0)
        return own, name

    async def go() -> list[tuple[CostSession, str]]:
        return await asyncio.gather(*(work(shared, number) for number in range(20)))

    shared = CostSession("shared")
    with CostSession("around") as around:
        results = asyncio.run(go())
    assert [name for _, name in results] == [str(number) for number in range(20)]
    assert {own.calls for own, _ in results} == {1}
    assert (around.calls, shared.calls) == (20, 20)


def test_a_call_is_known_by_its_id_and_gets_the_cost_that_was_unknown() -> None:
    session = CostSession("work")
    estimated = call(5 * CENT, "gen-1", cost_source="estimated")
    for entry, cost, unknown in [
        (call(None, "gen-1"), 0, 1),
        (call(None, "gen-1"), 0, 1),
        (estimated, 5 * CENT, 0),
        (call(None, "gen-1"), 5 * CENT, 0),
        (call(CENT, "gen-1"), CENT, 0),
        (estimated, CENT, 0),
        (call(2 * CENT, "gen-1"), CENT, 0),
    ]:
        session.count(entry)
        assert (session.total_cost, session.unknown, session.calls) == (cost, unknown, 1)


def test_a_session_of_very_many_calls_remembers_only_the_last_of_them() -> None:
    session = CostSession("long")
    for number in range(10_050):
        session.count(call(identity=f"gen-{number}"))
    session.count(call(identity="gen-10049"))
    assert session.calls == 10_050
    assert len(session._recent) == 10_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_that_was_forked_off_while_another_thread_was_counting_goes_on() -> None:
    session = CostSession("work")
    with session._mutex:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(20)  # a child that waits for ever would outlive the test
            session.count(call())
            os._exit(session.calls)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


# -- what is not known --


def test_an_unknown_cost_is_never_written_as_zero() -> None:
    session = CostSession("work")
    session.count(call(None))
    total = session.total_cost
    assert (str(total), f"{total:.4f}", f"{total}", repr(total)) == ("unknown", "unknown", "unknown", "<unknown>")
    assert str(session) == "work: 1 call, cost unknown"
    session.count(call(CENT))
    assert (str(session.total_cost), f"${session.total_cost:.4f}") == ("0.01 + unknown", "$0.0100 + unknown")
    assert str(session) == "work: 2 calls, $0.01, 1 call of unknown cost not in it"


def test_a_sum_with_an_unknown_part_is_still_a_number() -> None:
    session = CostSession("work")
    session.count(call(None))
    session.count(call(CENT))
    total = session.total_cost
    assert total == CENT and total + CENT == 2 * CENT and total > 0
    assert usd(total) == CENT
    for copied in (copy.copy(total), copy.deepcopy(total), pickle.loads(pickle.dumps(total))):
        assert (copied, str(copied)) == (CENT, "0.01 + unknown")


def test_a_sum_of_known_costs_is_a_plain_number() -> None:
    session = CostSession("work")
    assert (str(session), str(session.total_cost)) == ("work: no tracked calls", "0")
    session.count(call(CENT, byok_cost=CENT))
    assert type(session.total_cost) is Decimal
    assert str(session) == "work: 1 call, $0.01, $0.01 BYOK"
    session.count(call(CENT, cost_source="estimated"))
    assert str(session) == "work: 2 calls, $0.02, $0.01 BYOK, 1 call estimated, not billed figures"


def test_a_cost_that_is_learned_later_makes_the_sum_known() -> None:
    session = CostSession("work")
    session.count(call(None, "gen-1"))
    session.count(call(CENT, "gen-1"))
    assert str(session) == "work: 1 call, $0.01"


def test_an_untracked_call_is_a_call_of_unknown_cost() -> None:
    session = CostSession("work")
    session.count_untracked()
    session.count(call(CENT))
    assert (session.calls, session.unknown, session.untracked) == (2, 1, 1)
    assert str(session) == "work: 2 calls, $0.01, 1 call of unknown cost not in it, 1 call not tracked"


# -- threads of a pool --


def in_copies(pool: ThreadPoolExecutor, work: Callable[[int], None]) -> None:
    for job in [pool.submit(contextvars.copy_context().run, work, number) for number in range(20)]:
        job.result()


def in_copies_by_map(pool: ThreadPoolExecutor, work: Callable[[int], None]) -> None:
    contexts = [contextvars.copy_context() for _ in range(20)]
    list(pool.map(lambda context, number: context.run(work, number), contexts, range(20)))


def in_async_threads(pool: ThreadPoolExecutor, work: Callable[[int], None]) -> None:
    async def go() -> None:
        await asyncio.gather(*(asyncio.to_thread(work, number) for number in range(20)))

    asyncio.run(go())


@pytest.mark.parametrize("way", [in_copies, in_copies_by_map, in_async_threads])
def test_a_session_reaches_a_pool_whose_jobs_are_given_the_context(
    way: Callable[[ThreadPoolExecutor, Callable[[int], None]], None],
) -> None:
    with CostSession("work") as session, ThreadPoolExecutor(4) as pool:
        way(pool, lambda number: count_in_sessions(call(identity=f"gen-{number}")))
    assert (session.calls, session.total_cost) == (20, 20 * CENT)


def test_a_session_reaches_a_pool_whose_threads_begin_in_it() -> None:
    with CostSession("work") as session, ThreadPoolExecutor(4, initializer=session.__enter__) as pool:
        list(pool.map(lambda number: count_in_sessions(call(identity=f"gen-{number}")), range(20)))
    assert session.calls == 20
