"""One call in the books: money held, exactly one end, and what is learned of it afterwards, each on a ledger of its own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from openrouter_usage.budgets import Budget
from openrouter_usage.entry import Caps, Entry, Hold
from openrouter_usage.errors import (
    BadAnswer,
    BudgetExceeded,
    InvalidValue,
    LedgerError,
    NotFound,
    OpenRouterUsageError,
    Unbelievable,
    UnbelievableBill,
    Unreachable,
)
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.openrouter.answers.generation import CallUsage, Generation, read_generation
from openrouter_usage.tracker.booking import Booking, Recorded, Settled, looked_up, record, settle_all, settle_one
from openrouter_usage.tracker.decorator import track_cost
from openrouter_usage.tracker.session import CostSession
from tests.booking import NOON, UTC, call, hold
from tests.sandbox import INFERENCE_KEY, Account, Fault, Raw, Sandbox
from tests.test_query import GEN, made

MODEL = "a/model"
HALF = Decimal("0.5")
USAGE = CallUsage(id="gen-1", model=MODEL, prompt_tokens=3, completion_tokens=2, has_usage=True)
SECOND = timedelta(seconds=1)
MIDNIGHT = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with contextlib.closing(Ledger(tmp_path / "usage.jsonl")) as found:
        yield found


def booked(ledger: Ledger | None, held: Decimal | None = HALF, *, opened: bool = True, daily: str = "5") -> Booking:
    """A call for which `held` USD are held, under a budget unless `daily` is empty."""
    caps = Caps(daily=Decimal(daily)) if daily else Caps()
    booking = Booking(ledger, model=MODEL, budgets=(Budget(caps=caps),), clock=lambda: NOON, session="work", tags={"b": "2", "a": "1"})
    if opened:
        booking.open(held)
    return booking


def open_holds(ledger: Ledger) -> list[tuple[Decimal | None, str]]:
    """What is held, and for which generation."""
    return [(found.max_cost, found.generation) for found in ledger.health().holds]


# -- beforehand ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [None, Decimal(0), HALF, Decimal(5)])
def test_a_call_that_fits_is_held_with_what_it_can_cost(held: Decimal | None, ledger: Ledger) -> None:
    booking = booked(ledger, held)
    assert open_holds(ledger) == [(held, "")]
    assert booking.hold == ledger.health().holds[0]
    assert (booking.hold.model, booking.hold.session, booking.hold.ts) == (MODEL, "work", NOON)
    assert booking.is_kept and booking.remark.startswith("the call may have been billed")


def test_a_call_that_does_not_fit_leaves_nothing_behind(ledger: Ledger) -> None:
    booking = booked(ledger, opened=False)
    with pytest.raises(BudgetExceeded):
        booking.open(Decimal("5.000001"))
    assert (booking.hold, booking.is_kept, booking.remark, open_holds(ledger)) == (None, False, "", [])
    ledger.append(Entry(NOON, MODEL, id="gen-0", told="-1"))
    with pytest.raises(UnbelievableBill):
        booking.open(None)


@pytest.mark.parametrize("daily", ["5", ""])
def test_a_ledger_that_cannot_be_written_refuses_a_call_under_a_budget_alone(
    daily: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    booking = booked(Ledger(tmp_path), opened=False, daily=daily)
    if daily:
        with pytest.raises(LedgerError):
            booking.open(HALF)
    else:
        booking.open(HALF)
        assert "the call is made without an entry beforehand" in caplog.text
    assert (booking.hold, booking.is_kept, booking.remark) == (None, False, "")


@pytest.mark.parametrize("held", [Decimal(1_000_001), Decimal(-1)])
def test_a_hold_that_nobody_could_read_again_is_none(held: Decimal, ledger: Ledger) -> None:
    with pytest.raises(InvalidValue):
        booked(ledger, held)
    assert open_holds(ledger) == []


class Interrupted(Ledger):
    """Somebody presses ^C when the hold is written."""

    def hold(self, hold: Hold, check: Any, budgets: Any = ()) -> None:
        super().hold(hold, check)
        raise KeyboardInterrupt


def test_an_interrupt_behind_the_hold_releases_it_and_goes_on_its_way(tmp_path: Path) -> None:
    with contextlib.closing(Interrupted(tmp_path / "usage.jsonl")) as ledger:
        booking = booked(ledger, opened=False)
        with pytest.raises(KeyboardInterrupt):
            booking.open(HALF)
        assert open_holds(ledger) == [] and booking.remark == ""
        assert ledger.path.read_bytes().count(b"\n") == 2


def test_without_a_ledger_nothing_is_held_written_or_kept() -> None:
    booking = booked(None)
    booking.name_generation("gen-1")
    booking.release()
    assert (booking.hold, booking.is_kept, booking.remark) == (None, False, "")
    entry = booking.settle(replace(USAGE, cost=HALF), streamed=False, latency_ms=7)
    assert (entry.cost, entry.latency_ms, entry.tags) == (HALF, 7, (("a", "1"), ("b", "2")))
    assert not booking.is_kept and booking.remark == "the call cost $0.50"


def test_a_call_that_is_booked_inside_a_tracked_function_is_accounted_for(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    """What the function returns need not tell what it cost."""
    with CostSession("work") as session:
        track_cost(lambda: booked(ledger).settle(replace(USAGE, cost=HALF), streamed=False, latency_ms=None) and None)()
    assert (session.calls, session.untracked, session.total_cost) == (1, 0, HALF)
    assert caplog.text == ""


# -- the end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("estimated", [True, False])
def test_that_a_call_was_streamed_is_noted_and_that_it_was_not_is_no_field(
    streamed: bool, estimated: bool, ledger: Ledger
) -> None:
    booking = booked(ledger)
    end = booking.settle_estimated if estimated else booking.settle
    entry = end(USAGE, streamed=streamed, latency_ms=9)
    assert (entry.streamed, entry.latency_ms, entry.hold) == (streamed or None, 9, booking.hold and booking.hold.id)
    assert list(ledger.entries()) == [entry]
    assert (b'"streamed"' in ledger.path.read_bytes()) is streamed
    assert open_holds(ledger) == []


ESTIMATES: list[tuple[Decimal | None, Decimal | None, Decimal | None, str]] = [
    # what was held, what the answer says, what counts, and how that is known
    (HALF, None, HALF, "estimated"), (HALF, Decimal("0.7"), Decimal("0.7"), "estimated"),
    (HALF, Decimal("0.3"), HALF, "estimated"), (HALF, HALF, HALF, "estimated"),
    (Decimal(0), None, Decimal(0), "estimated"), (None, None, None, ""), (None, HALF, None, ""),
]  # fmt: skip


@pytest.mark.parametrize(("held", "told", "counts", "source"), ESTIMATES)
def test_of_a_call_nobody_tells_the_cost_of_all_that_was_held_counts(
    held: Decimal | None, told: Decimal | None, counts: Decimal | None, source: str, ledger: Ledger
) -> None:
    entry = booked(ledger, held).settle_estimated(replace(USAGE, cost=told), streamed=False, latency_ms=None)
    assert (entry.cost, entry.cost_source, entry.told, entry.id) == (counts, source, "", "gen-1")


@pytest.mark.parametrize(("identity", "opened"), [("gen-1", True), ("", True), ("gen-1", False), ("", False)])
def test_an_unbelievable_bill_has_a_name_for_the_person_who_looks_at_it(
    identity: str, opened: bool, ledger: Ledger
) -> None:
    booking = booked(ledger, opened=opened)
    entry = booking.settle_estimated(replace(USAGE, id=identity, told="-1"), streamed=False, latency_ms=None)
    assert entry.id == (identity or (booking.hold.id if booking.hold else "")) and entry.told == "-1"
    assert booking.remark == f"its bill is implausible; look at it, then run: settle --id {entry.id}"
    assert [found.told for found in ledger.health().doubtful] == ["-1"]


@pytest.mark.parametrize(("cost", "opened"), [(HALF, True), (HALF, False), (None, False)])
def test_a_stream_that_is_left_is_booked_where_its_cost_is_told_or_nothing_is_held(
    cost: Decimal | None, opened: bool, ledger: Ledger
) -> None:
    with CostSession("work") as session:
        booking = booked(ledger, opened=opened)
        booking.leave(replace(USAGE, cost=cost), latency_ms=5)
    (entry,) = ledger.entries()
    assert open_holds(ledger) == []
    assert (entry.cost, entry.streamed, entry.latency_ms, entry.session) == (cost, True, 5, "work")
    assert booking.entry == entry
    assert (session.calls, session.unknown) == (1, int(cost is None))
    assert booking.remark == f"the call cost {'an unknown amount' if cost is None else '$0.50'}"


def test_a_stream_that_is_left_without_a_cost_stays_held_under_its_generation(ledger: Ledger) -> None:
    with CostSession("work") as session:
        booking = booked(ledger)
        booking.leave(USAGE, latency_ms=5)
    assert list(ledger.entries()) == [] and open_holds(ledger) == [(HALF, "gen-1")]
    assert (session.calls, session.unknown) == (1, 1)
    assert booking.entry is None and booking.is_kept


def test_a_stream_that_is_left_with_an_unbelievable_bill_was_streamed(ledger: Ledger) -> None:
    booked(ledger).leave(replace(USAGE, told="-1"), latency_ms=5)
    (entry,) = ledger.entries()
    assert (entry.streamed, entry.latency_ms, entry.cost, entry.told) == (True, 5, HALF, "-1")


def generation(**fields: Any) -> Generation:
    """A call as OpenRouter tells it."""
    usual = {"id": "gen-1", "model": MODEL, "total_cost": 0.25, "tokens_prompt": 1, "created_at": "2026-11-22T12:00:09Z"}
    data = {name: value for name, value in {**usual, **fields}.items() if value is not None}
    return read_generation({"data": data}, "gen-1")


def test_a_call_that_is_asked_for_is_booked_as_openrouter_tells_it(ledger: Ledger) -> None:
    asked: list[str] = []
    booking = booked(ledger)
    known = booking.settle_by_asking(lambda name: asked.append(name) or generation(), USAGE, streamed=True, latency_ms=1)
    (entry,) = ledger.entries()
    assert known is True and asked == ["gen-1"] and open_holds(ledger) == []
    assert (entry.cost, entry.cost_source, entry.ts) == (Decimal("0.25"), "late", NOON + 9 * SECOND)


@pytest.mark.parametrize("error", [NotFound("no"), Unreachable("no"), BadAnswer("no")])
def test_a_call_that_openrouter_does_not_tell_yet_stays_held(error: OpenRouterUsageError, ledger: Ledger) -> None:
    def look_up(name: str) -> Generation:
        raise error

    booking = booked(ledger)
    assert booking.settle_by_asking(look_up, USAGE, streamed=True, latency_ms=1) is False
    assert list(ledger.entries()) == [] and len(open_holds(ledger)) == 1
    assert booking.settle_by_asking(look_up, replace(USAGE, id=""), streamed=True, latency_ms=1) is False


def test_a_look_up_that_nobody_can_believe_is_told_as_that_and_counts_with_the_hold(ledger: Ledger) -> None:
    def look_up(name: str) -> Generation:
        raise Unbelievable("no call can cost -1", told="-1")

    with pytest.raises(Unbelievable):
        looked_up(look_up, "gen-1")
    assert looked_up(look_up, "") is None
    assert booked(ledger).settle_by_asking(look_up, USAGE, streamed=True, latency_ms=1) is True
    (entry,) = ledger.entries()
    assert (entry.cost, entry.cost_source, entry.told, entry.streamed) == (HALF, "estimated", "-1", True)


def test_a_hold_is_named_once(ledger: Ledger) -> None:
    booking = booked(ledger)
    for name in ("", "gen-1", "gen-2"):
        booking.name_generation(name)
    assert open_holds(ledger) == [(HALF, "gen-1")]
    unheld = booked(ledger, opened=False)
    unheld.name_generation("gen-3")
    assert unheld.hold is None and len(open_holds(ledger)) == 1


@pytest.mark.parametrize("may_have_arrived", [True, False])
def test_a_failed_call_is_released_only_where_it_cannot_have_been_billed(may_have_arrived: bool, ledger: Ledger) -> None:
    booking = booked(ledger)
    error = Unreachable("no")
    error.may_have_arrived, error.generation = may_have_arrived, "gen-1"
    booking.end_after(error)
    assert open_holds(ledger) == ([(HALF, "gen-1")] if may_have_arrived else [])
    assert bool(booking.remark) is may_have_arrived


def test_a_hold_that_could_not_be_released_is_said_to_be_open(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    booking = booked(ledger)
    ledger.close()
    ledger.path.rename(ledger.path.with_name("elsewhere"))
    ledger.path.mkdir()
    booking.release()
    assert "stays open" in caplog.text and booking.remark.startswith("the call may have been billed")
    booked(ledger, opened=False).release()  # nothing is held: nothing is written


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The files that were written down to the disk, by their numbers."""
    found: list[int] = []
    really = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: found.append(os.fstat(file).st_ino) or really(file))
    return found


# -- afterwards ------------------------------------------------------------------------------------------------------


@pytest.fixture
def asking(home: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """An OpenRouter to be asked by this process."""
    for name, value in {"HOME": str(home), "OPENROUTER_BASE_URL": sandbox.url, "OPENROUTER_API_KEY": INFERENCE_KEY}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("OPENROUTER_MGMT_KEY", raising=False)
    return sandbox


def write(ledger: Ledger, *lines: bytes) -> None:
    """Put lines into a ledger, as any program may."""
    with ledger.path.open("ab") as file:
        file.write(b"".join(lines))


def at(moment: datetime) -> str:
    """A moment as a ledger writes it."""
    return moment.replace(tzinfo=None).isoformat() + "Z"


def test_everything_unsettled_is_settled_or_left_with_its_reason(
    ledger: Ledger, asking: Sandbox, account: Account
) -> None:
    for name in ("gen-held", "gen-booked", "gen-estimated"):
        made(account, id=name)
    made(account, id="gen-absurd", overrides={"total_cost": Raw("-1")})
    made(account, id="gen-absurd-too", overrides={"total_cost": Raw("-2")})
    made(account, id="gen-absurd-held", overrides={"total_cost": Raw("-3")})
    write(
        ledger, hold("h1", generation="gen-held"), hold("h2", "2026-11-22T11:30:00Z"), hold("h6"), hold("h3", generation="gen-gone"),
        hold("h4", most="0.75", generation="gen-absurd-held", session="nightly"), hold("h5", most=None, generation="gen-absurd"),
        call(cost=None, id="gen-booked", session="nightly"), call(cost="0.5", id="gen-estimated", cost_source="estimated"),
        call(cost=None, id="gen-gone-too"), call(cost=None, id="gen-absurd-too"), call(cost=None, id="gen-told", told="-9"),
        call(cost="0.25", id="gen-certain"), call(cost=None, id="chatcmpl-1"),
        call("2036-11-22T12:00:00Z", cost="0.25", id="ahead-1"),
    )  # fmt: skip
    settled = settle_all(ledger, NOON)
    assert [entry.id for entry in settled.entries] == ["gen-held", "gen-booked", "gen-estimated"]
    left = [(one.id, why) for one, why in settled.left]
    look = "its bill is implausible: look at it on OpenRouter, then run: settle --id with its id"
    unknown = "OpenRouter does not know it yet"
    (stuck,) = [left.pop(at)[1] for at, (name, _) in enumerate(left) if name == "h6"]
    assert all(f"`{step}" in stuck for step in ("reconcile`", "import`", "settle --release h6 --yes`"))
    assert sorted(left) == sorted([
        ("h2", "its generation is not known: it is running, or ended before OpenRouter answered"), ("h3", unknown),
        ("h4", look), ("h5", look), ("gen-gone-too", unknown), ("gen-absurd-too", look), ("gen-told", look),
    ])  # fmt: skip
    assert sorted(found.id for found in ledger.health().holds) == ["h2", "h3", "h6"]
    known = {entry.id: entry for entry in ledger.entries()}
    assert [(known[name].cost_source, known[name].session) for name in ("gen-held", "gen-booked", "gen-estimated")] == [
        ("late", ""), ("late", "nightly"), ("late", "")
    ]  # fmt: skip
    told = {name: (known[name].told, known[name].cost, known[name].cost_source, known[name].session) for name in known}
    assert told["gen-absurd-held"] == ("-3", Decimal("0.75"), "estimated", "nightly")
    assert told["gen-absurd"] == ("-1", None, "", "") and told["gen-absurd-too"] == ("-2", None, "", "")
    assert known["ahead-1"].ts.year == 2036
    assert asking.calls("/generation") == 8


def test_what_has_nothing_to_settle_asks_nobody_and_needs_no_key(
    ledger: Ledger, asking: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENROUTER_API_KEY")
    write(ledger, call(), hold("h", generation="gen-1"), b'{"kind":"release","hold":"h","ts":"2026-11-22T10:30:00Z"}\n')
    assert settle_all(ledger, NOON) == Settled((), ())
    for line in (hold("h2", generation="gen-1"), call(cost=None, id="gen-2")):
        ledger.path.write_bytes(line)
        with pytest.raises(OpenRouterUsageError, match="no OpenRouter key found"):
            settle_all(ledger, NOON)


def test_after_one_refusal_nobody_is_asked_and_each_call_has_that_reason(ledger: Ledger, asking: Sandbox) -> None:
    asking.misbehave("/generation", Fault.status(401), times=None)
    write(ledger, hold("h", generation="gen-1"), call(cost=None, id="gen-2"), call(cost=None, id="gen-3"))
    settled = settle_all(ledger, NOON)
    assert settled.entries == () and [one.id for one, _ in settled.left] == ["h", "gen-2", "gen-3"]
    assert len({why for _, why in settled.left}) == 1 and "401" in settled.left[0][1]
    assert asking.calls("/generation") == 1


# The first moment that is in the future, and the last one that is not.
@pytest.mark.parametrize(("began", "is_ahead"), [(MIDNIGHT, True), (MIDNIGHT - timedelta(microseconds=1), False)])
def test_a_hold_that_is_dated_ahead_is_settled_at_the_time_of_openrouter(
    began: datetime, is_ahead: bool, ledger: Ledger, asking: Sandbox, account: Account
) -> None:
    made(account, created_at=NOON - timedelta(hours=3))
    write(ledger, hold("h", at(began), generation=GEN))
    settle_all(ledger, NOON)
    (entry,) = ledger.entries()
    assert entry.ts == (NOON - timedelta(hours=3) if is_ahead else began)


def test_a_held_call_whose_time_openrouter_does_not_tell_has_that_of_its_hold(
    ledger: Ledger, asking: Sandbox, account: Account
) -> None:
    made(account, overrides={"created_at": None})
    write(ledger, hold("h", at(NOON - timedelta(hours=5)), generation=GEN))
    settle_all(ledger, NOON)
    assert [entry.ts for entry in ledger.entries()] == [NOON - timedelta(hours=5)]


@pytest.mark.parametrize(
    ("booked_at", "made_at", "is_redated"),
    [
        (MIDNIGHT, MIDNIGHT - SECOND, True),
        (MIDNIGHT + timedelta(days=9), NOON, True),
        (MIDNIGHT - timedelta(microseconds=1), NOON, False),
        (MIDNIGHT + timedelta(days=9), MIDNIGHT, False),  # that clock is ahead as well
    ],
)
def test_only_a_call_that_is_dated_ahead_gets_another_time(
    booked_at: datetime, made_at: datetime, is_redated: bool, ledger: Ledger, asking: Sandbox, account: Account
) -> None:
    made(account, created_at=made_at, cost=HALF)
    write(ledger, call(at(booked_at), cost=None, id=GEN))
    settle_all(ledger, NOON)
    assert [(entry.ts, entry.cost) for entry in ledger.entries()] == [(made_at if is_redated else booked_at, HALF)]


def test_a_call_that_a_person_has_looked_at_is_returned_as_the_ledger_has_it(
    ledger: Ledger, asking: Sandbox, account: Account
) -> None:
    made(account, cost=HALF)
    write(ledger, call(cost=None, id=GEN, told="-1", tags={"team": "x"}, session="nightly"))
    entry = settle_one(ledger, GEN, NOON)
    assert entry == ledger.known(GEN)
    assert (entry.cost, entry.cost_source, entry.provider, entry.model) == (HALF, "late", "Anthropic", "anthropic/claude-sonnet-4.5")
    assert (entry.tag_label, entry.session, entry.told, entry.seen) == ("team=x", "nightly", "-1", True)
    assert not ledger.health().doubtful
    write(ledger, call(cost=None, id="gen-2", told="-1", provider="P"), call(cost=None, id="gen-3", finish_reason="stop"))
    found = settle_one(ledger, "gen-2", NOON, cost=Decimal(0))
    assert (found.cost, found.cost_source, found.seen, found.provider) == (0, "late", True, "P")
    plain = settle_one(ledger, "gen-3", NOON, cost=HALF)
    assert (plain.cost, plain.seen, plain.finish_reason) == (HALF, False, "stop")
    assert asking.calls("/generation") == 1
    with pytest.raises(InvalidValue, match="the ledger has no call with this id"):
        settle_one(ledger, "gen-nobody", NOON, cost=HALF)


class Emptied(Ledger):
    """Another program empties the ledger at the moment at which a call is settled."""

    def append(self, entry: Entry, **how: Any) -> bool:
        is_new = super().append(entry, **how)
        self.path.write_bytes(b"")
        return is_new


def test_a_call_that_is_taken_out_while_it_is_settled_is_returned_all_the_same(tmp_path: Path) -> None:
    with contextlib.closing(Emptied(tmp_path / "usage.jsonl")) as ledger:
        write(ledger, call(cost=None, id=GEN))
        assert settle_one(ledger, GEN, NOON, cost=HALF).cost == HALF
        assert record(ledger, generation(id=None), NOON).entry.cost == Decimal("0.25")


FULL = generation(total_cost=0.25, provider_name="P", latency=312)
RECORDS: dict[str, tuple[list[bytes], tuple[bool, bool]]] = {
    # what the ledger has before, and whether the call, or what it cost, is new; and whether a booked one is better known
    "nothing": ([], (True, False)),
    "another call": ([call(id="gen-2")], (True, False)),
    "an unknown cost": ([call(cost=None, id="gen-1")], (True, True)),
    "an estimate": ([call(cost="0.5", id="gen-1", cost_source="estimated")], (True, True)),
    "a certain cost": ([call(cost="0.25", id="gen-1")], (False, True)),
    "all of it": ([call(cost="0.25", id="gen-1", provider="P", latency_ms=312, cost_source="late")], (False, False)),
    "a hold": ([hold("h", generation="gen-1")], (True, False)),
    "a hold of another call": ([hold("h", generation="gen-2")], (True, False)),
    "a hold and its call": ([hold("h", generation="gen-1"), call(cost="0.25", id="gen-1")], (False, True)),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_call_that_was_looked_up_is_recorded_once_and_says_what_was_new(name: str, ledger: Ledger) -> None:
    lines, (is_new, is_completed) = RECORDS[name]
    write(ledger, *lines)
    found = record(ledger, FULL, NOON)
    known = ledger.known("gen-1")
    assert known and found == Recorded(known, is_new, is_completed)
    assert (known.cost, known.provider, known.latency_ms) == (Decimal("0.25"), "P", 312)
    assert [one.id for one in ledger.health().holds] == (["h"] if name == "a hold of another call" else [])
    assert sum(entry.id == "gen-1" for entry in ledger.entries()) == 1


def test_what_was_billed_is_written_down_to_the_disk(
    ledger: Ledger, asking: Sandbox, account: Account, synced: list[int]
) -> None:
    """A loss of power right afterwards takes no bill out of the books, whichever way it came in."""
    ledger.path.touch()
    number = ledger.path.stat().st_ino

    def is_synced(*steps: Any) -> bool:
        synced.clear()
        for step in steps:
            step()
        return number in synced

    booking = booked(ledger, opened=False)
    assert is_synced(lambda: booking.settle(replace(USAGE, cost=HALF), streamed=False, latency_ms=None))
    assert is_synced(lambda: record(ledger, replace(FULL, id="gen-new"), NOON))
    write(ledger, call(cost=None, id="gen-4"))
    assert is_synced(lambda: settle_one(ledger, "gen-4", NOON, cost=HALF))
    made(account, id="gen-absurd", overrides={"total_cost": Raw("-1")})
    write(ledger, call(cost=None, id="gen-absurd"))
    assert is_synced(lambda: settle_all(ledger, NOON))
    assert [entry.told for entry in ledger.health().doubtful] == ["-1"]
