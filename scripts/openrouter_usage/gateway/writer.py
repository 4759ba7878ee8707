"""One thread that writes the ledger for all calls: what has queued up is one transaction, and one sync to the disk.

A shared ledger makes one statement of what several threads ask at the same time: there a group is worked on by threads.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, NamedTuple, TypeVar

from openrouter_usage.errors import LedgerError
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.ledger.schema import Damaged

T = TypeVar("T")
_MOST_AT_ONCE = 256
_MOST_THREADS = 32


class _Job(NamedTuple):
    run: Callable[[], object]
    failed: Callable[[LedgerError], object]
    future: asyncio.Future[object] | None
    of: object


class Writer(Generic[T]):
    """Runs work on a ledger in the order in which it comes; `after` is run once for each group, within it."""

    def __init__(self, ledger: Ledger, loop: asyncio.AbstractEventLoop, after: Callable[[], None]) -> None:
        """Start the thread."""
        self._ledger = ledger
        self._loop = loop
        self._after = after
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(_MOST_THREADS, "gateway-ledger") if ledger.is_shared else None
        self._thread = threading.Thread(target=self._work, name="gateway-writer", daemon=True)
        self._thread.start()

    def submit(
        self, run: Callable[[], T], failed: Callable[[LedgerError], T], *, of: object = None
    ) -> asyncio.Future[T]:
        """Run work with others; `failed` is run instead when none of the group can be written.

        Work `of` the same call is done in its order.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(_Job(run, failed, future, of))  # type: ignore[arg-type]  # a future of whatever `run` returns
        return future

    async def close(self) -> None:
        """Do what is left, and end the thread."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
        if self._threads is not None:
            self._threads.shutdown()

    def _work(self) -> None:
        is_open = True
        while is_open:
            jobs: list[_Job] = []
            job = self._jobs.get()
            while job is not None:
                jobs.append(job)
                if len(jobs) >= _MOST_AT_ONCE:
                    break
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
            is_open = job is not None
            if jobs:
                self._answer(jobs, self._done(jobs))

    def _done(self, jobs: list[_Job]) -> list[object]:
        def work() -> list[object]:
            # What ends a call first: it may make the room that the next one needs.
            found = [_tried(job.run) for job in jobs] if self._threads is None else self._side_by_side(jobs)
            self._after()
            return found

        try:
            return self._ledger.together(work)
        except LedgerError as error:
            failure = error
            return [_tried(lambda job=job: job.failed(failure)) for job in jobs]  # type: ignore[misc]
        except Exception as error:  # a bug, or no memory: every call of the group is told
            return [error for _ in jobs]

    def _side_by_side(self, jobs: list[_Job]) -> list[object]:
        assert self._threads is not None  # noqa: S101  # of a shared ledger
        calls: dict[object, list[int]] = {}
        for place, job in enumerate(jobs):
            calls.setdefault(place if job.of is None else job.of, []).append(place)
        found: list[object] = [None] * len(jobs)

        def work(places: list[int]) -> None:
            for place in places:
                found[place] = _tried(jobs[place].run)

        for done in [self._threads.submit(work, places) for places in calls.values()]:
            done.result()
        return found

    def _answer(self, jobs: list[_Job], found: list[object]) -> None:
        def tell() -> None:
            for job, value in zip(jobs, found, strict=True):
                if job.future is None or job.future.done():
                    continue
                if isinstance(value, BaseException):
                    job.future.set_exception(value)
                else:
                    job.future.set_result(value)

        self._loop.call_soon_threadsafe(tell)


def _tried(run: Callable[[], object]) -> object:
    try:
        return run()
    except Damaged:
        raise  # the whole group is done again, with an index that is made anew
    except Exception as error:
        return error
