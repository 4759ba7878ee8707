"""Tasks that run at the same time: each ends on its own, and none keeps the others waiting."""

from __future__ import annotations

import threading

import pytest

from openrouter_usage.jobs.together import run_together


def test_every_task_ends_on_its_own_in_the_order_they_were_given() -> None:
    def fail() -> int:
        raise ValueError("x")

    ended = run_together({"good": lambda: 1, "bad": fail, "void": lambda: 0}, wait_s=9)
    assert [(name, end.value, repr(end.error)) for name, end in ended.items()] == [
        ("good", 1, "None"),
        ("bad", None, "ValueError('x')"),
        ("void", 0, "None"),
    ]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_what_would_end_a_program_is_handed_over_as_well(error: BaseException) -> None:
    def leave() -> None:
        raise error

    assert run_together({"leaves": leave}, wait_s=9)["leaves"].error is error


def test_a_task_that_hangs_is_left_behind_without_a_value_or_an_error() -> None:
    released = threading.Event()
    ended = run_together({"hangs": lambda: released.wait(60), "good": lambda: 2}, wait_s=0.1)
    released.set()
    assert [(end.value, end.error) for end in ended.values()] == [(None, None), (2, None)]


def test_what_is_to_be_done_meanwhile_is_done_while_the_tasks_run() -> None:
    met = threading.Barrier(3, timeout=30)
    tasks = {"one": lambda: met.wait() >= 0, "two": lambda: met.wait() >= 0}
    ended = run_together(tasks, wait_s=30, meanwhile=lambda: met.wait() and None)
    assert [end.value for end in ended.values()] == [True, True]


def test_where_no_thread_can_begin_the_tasks_are_run_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    told: list[str] = []
    ended = run_together({"one": lambda: 1, "two": lambda: 1 / 0}, wait_s=9, meanwhile=lambda: told.append("meanwhile"))
    assert (ended["one"].value, type(ended["two"].error), told) == (1, ZeroDivisionError, ["meanwhile"])


def test_without_tasks_nothing_is_waited_for() -> None:
    assert run_together({}, wait_s=60) == {}
