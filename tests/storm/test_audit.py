"""What the storms are judged by has to be right itself: a ledger's lines added up by hand, and as the program does."""

from __future__ import annotations

import contextlib
from decimal import Decimal
from itertools import permutations
from pathlib import Path

import pytest

from openrouter_usage.ledger.ledger import Ledger
from tests.booking import call, hold, release
from tests.storm.audit import audit

ESTIMATE = {"cost_source": "estimated"}
CALLS: dict[str, tuple[list[bytes], str]] = {
    "the same twice": ([call(cost="0.5", id="gen-1")] * 2, "0.5"),
    "unknown, then told": ([call(cost=None, id="gen-1"), call(cost="0.5", id="gen-1")], "0.5"),
    "unknown, then free": ([call(cost=None, id="gen-1"), call(cost="0", id="gen-1")], "0"),
    "unknown, then an estimate": ([call(cost=None, id="gen-1"), call(cost="0.5", id="gen-1", **ESTIMATE)], "0.5"),
    "a dear estimate, then the bill": ([call(cost="0.9", id="gen-1", **ESTIMATE), call(cost="0.5", id="gen-1")], "0.5"),
    "an estimate, then a bill of 0": ([call(cost="0.9", id="gen-1", **ESTIMATE), call(cost="0", id="gen-1")], "0"),
    "two estimates": ([call(cost=cost, id="gen-1", **ESTIMATE) for cost in ("0.25", "0.5")], "0.5"),
    "a bill of 0, then a larger one": ([call(cost="0", id="gen-1"), call(cost="0.5", id="gen-1", cost_source="late")], "0.5"),
    "all of it": (
        [call(cost=None, id="gen-1"), call(cost="0.9", id="gen-1", **ESTIMATE), call(cost="0.25", id="gen-1"),
         call(cost="0.5", id="gen-1", cost_source="late")],
        "0.5",
    ),
    "nothing known": ([call(cost=None, id="gen-1")] * 2, "0"),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_the_lines_of_one_call_are_one_cost_in_whatever_order(name: str, tmp_path: Path) -> None:
    lines, cost = CALLS[name]
    for number, order in enumerate(permutations([*lines, call(cost="7", id="gen-2")])):
        path = tmp_path / f"{number}.jsonl"
        path.write_bytes(b"".join(order))
        found = audit(path)
        assert found.settled == {"gen-1": Decimal(cost), "gen-2": 7}
        with contextlib.closing(Ledger(path)) as ledger:
            assert found.spent == ledger.totals().total.cost


def test_calls_without_an_id_are_each_their_own(tmp_path: Path) -> None:
    path = tmp_path / "usage.jsonl"
    path.write_bytes(call(cost="0.5") * 2 + call(cost="0.5", id="") + call(cost=None) + b"torn\n")
    found = audit(path)
    assert (found.spent, len(found.settled), found.damaged) == (Decimal("1.5"), 4, 1)


def test_the_most_is_what_was_committed_at_the_worst_moment(tmp_path: Path) -> None:
    """A hold counts until its end, and what is known better counts from then on."""
    path = tmp_path / "usage.jsonl"
    path.write_bytes(
        hold("a", most="3") + hold("b", most="2") + release("b") + call(cost="1", id="gen-1", hold="a", **ESTIMATE)
        + call(cost="4.5", id="gen-1") + hold("c", most="0.25") + call(cost="0.125", id="gen-3", hold="c")
    )  # fmt: skip
    found = audit(path)
    assert (found.most, found.spent, found.held, found.committed) == (5, Decimal("4.625"), {}, Decimal("4.625"))
    assert found.ends == {"a": 1, "b": 1, "c": 1}
