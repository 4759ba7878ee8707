"""A streamed call: its text arrives as it comes, and however it ends, its cost is in the books or held."""

from __future__ import annotations

import json
import signal
import subprocess
from decimal import Decimal
from typing import Any

import pytest

from tests.booking import Tracker
from tests.calling import BUDGET, CHAT, HELLO, Caller, open_caller
from tests.sandbox import Fault, Reply, Stream, StreamError
from tests.storm.audit import audit

TEXT = "Grüße, 世界 💰 und alle anderen."
# It says one word, and is alive by comments until somebody ends it.
ENDLESS = Reply("one two three", stream=Stream(idle_after=1, idle_interval_s=0.02))
SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["^C", "SIGTERM"])


@pytest.fixture
def caller(home, sandbox, monkeypatch, capsys) -> Any:
    kept = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    yield open_caller(home, sandbox, monkeypatch, capsys)
    signal.signal(signal.SIGINT, kept[0])
    signal.signal(signal.SIGTERM, kept[1])


@pytest.fixture
def tracker(caller: Caller) -> Tracker:
    caller.tracker.env = {**BUDGET, "TMPDIR": str(caller.tracker.home)}
    return caller.tracker


# -- how it comes over the wire --------------------------------------------------------------------------------------

WIRES = {
    "split at every byte": Stream(piece_bytes=1),
    "split within characters": Stream(piece_bytes=7, newline="\r\n"),
    "Windows lines": Stream(newline="\r\n"),
    "old Mac lines": Stream(newline="\r", piece_bytes=3),
    "no blank after the name": Stream(prefix="data:"),
    "many comments": Stream(comments=200),
    "no comment": Stream(comments=0),
    "usage beside no choices": Stream(usage_chunk="empty_choices"),
    "usage beside a repeated end": Stream(usage_chunk="repeated_finish"),
    "usage beside the end": Stream(usage_chunk="with_finish"),
    "a chunk for debugging": Stream(debug_chunk=True),
}


@pytest.mark.parametrize("name", WIRES)
def test_a_stream_is_shown_and_booked_however_it_comes_over_the_wire(name, caller, account):
    account.reply = Reply(TEXT, cost=Decimal("0.0012345"), stream=WIRES[name])
    ran = caller("--stream")
    assert (ran.code, ran.out) == (0, TEXT + "\n")
    assert "Cost: $0.001235" in ran.err
    assert caller.ending == "billed" and caller.agree()


def test_the_last_usage_of_a_stream_is_the_one_that_counts(caller, sandbox):
    first, last = ({"id": "gen-1", "choices": [], "usage": {"prompt_tokens": n, "cost": n}} for n in (1, 2))
    lines = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in (first, last)) + "data: [DONE]\n\n"
    sandbox.misbehave("/chat/completions", Fault.raw(lines.encode(), "text/event-stream"))
    data = caller("--stream", "--json").data
    assert (data["usage"]["cost_usd"], data["usage"]["prompt_tokens"]) == (2, 2)


# -- how it breaks off -----------------------------------------------------------------------------------------------

BREAKS: dict[str, tuple[Stream, str]] = {
    # name: the stream, and how its hold ends when OpenRouter knows the call at once
    "an error in the middle": (Stream(error=StreamError(after_tokens=2)), "late"),
    "an error with a code in words": (Stream(error=StreamError("server_error", after_tokens=2)), "late"),
    "an error with its usage": (Stream(error=StreamError(after_tokens=2, usage=True)), "billed"),
    "an end without [DONE]": (Stream(done=False), "billed"),
    "an end without usage": (Stream(cut_after=2), "late"),
    "an end within the chunks": (Stream(cut_after=2, cut="close"), "late"),
    "a reset": (Stream(cut_after=2, cut="reset"), "late"),
}


@pytest.mark.parametrize("json_", [(), ("--json",)], ids=["text", "JSON"])
@pytest.mark.parametrize("name", BREAKS)
def test_a_stream_that_breaks_off_keeps_its_words_and_is_booked_as_it_was_billed(name, json_, caller, account):
    stream, ending = BREAKS[name]
    account.reply = Reply("one two three", stream=stream)
    ran = caller("--stream", *json_)
    assert ran.code == 5 and "the call cost $" in ran.err
    text = ran.data["text"] if json_ else ran.out
    assert text.startswith("one two ")
    assert caller.ending == ending and caller.agree()
    assert len(caller.sent) == 1


@pytest.mark.parametrize("name", [name for name, (_, ending) in BREAKS.items() if ending == "late"])
def test_a_stream_that_breaks_off_is_held_until_openrouter_knows_what_it_cost(name, caller, account):
    account.reply, account.generation_lag_requests = Reply("one two three", stream=BREAKS[name][0]), "never"
    ran = caller("--stream")
    assert ran.code == 5 and "held until `settle` finds out" in ran.err
    assert caller.ending == "open" and caller.held > account.bill
    assert "1 call running or unsettled" in caller.run_at(None, "budget", env=BUDGET).out
    account.generation_lag_requests = 0
    assert "1 call settled, 0 left" in caller.tracker("settle").out
    assert caller.agree()


def test_a_stream_that_is_kept_alive_by_comments_does_not_outlast_the_deadline(caller, account):
    account.reply = ENDLESS
    ran = caller("--stream", "--timeout", "1")
    assert ran.code == 5 and ran.out.startswith("one ") and "within 1 s" in ran.err
    assert caller.ending in ("late", "open")
    caller.tracker("settle")
    assert caller.agree()


def test_chunks_that_are_none_end_the_call_and_are_looked_up(caller, sandbox):
    for number, chunk in enumerate((b"[]", b"null", b"{", b"<html>", b"\xff\xfe")):
        sandbox.misbehave("/chat/completions", Fault.raw(b"data: " + chunk + b"\n\n", "text/event-stream"))
        ran = caller("--stream")
        assert ran.code == 5 and len(audit(caller.tracker.ledger).held) == number + 1


# -- how it is ended from here ---------------------------------------------------------------------------------------


def ended(running: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    """How a program that was started came to its end."""
    out, err = running.communicate(timeout=60)
    return running.returncode, out.decode(), err.decode()


@SIGNALS
@pytest.mark.parametrize("json_", [(), ("--json",)], ids=["text", "JSON"])
def test_a_signal_during_a_stream_closes_the_connection_keeps_the_text_and_books_the_cost(
    number, json_, tracker, sandbox, account
):
    account.reply, account.charge_on_disconnect = ENDLESS, "partial"
    running = tracker.start("call", *HELLO, "--stream", *json_)
    if json_:  # nothing is shown before the end; but the call's name is written down as soon as it is known
        sandbox.wait_until(lambda: tracker.ledger.exists() and b'"generation"' in tracker.bytes)
    else:
        assert running.stdout.read(4) == b"one "
    running.send_signal(number)
    code, out, err = ended(running)
    assert code == 130 and "Traceback" not in err and "interrupted" in err
    sandbox.wait_until(lambda: not account.in_flight)
    (generation,) = account.generations.values()
    assert generation.cancelled and "the call cost $" in err
    if json_ and out:
        envelope = json.loads(out)
        assert envelope["error"]["code"] == "interrupted"
    found = audit(tracker.ledger)
    assert (found.settled, found.held) == ({generation.id: account.bill}, {})


@SIGNALS
def test_a_signal_before_the_first_word_leaves_the_hold_to_be_settled(number, tracker, sandbox, account):
    account.reply = Reply(delay_s=30)
    running = tracker.start("call", *HELLO)
    sandbox.wait_for(CHAT)
    running.send_signal(number)
    code, out, err = ended(running)
    assert (code, out) == (130, "") and "Traceback" not in err
    assert "held until `settle` finds out" in err
    found = audit(tracker.ledger)
    assert len(found.held) == 1 and found.settled == {}


def test_a_second_signal_at_once_ends_it_cleanly_too(tracker, account):
    account.reply, account.generation_lag_requests = ENDLESS, "never"
    running = tracker.start("call", *HELLO, "--stream")
    assert running.stdout.read(4) == b"one "
    running.send_signal(signal.SIGINT)
    running.send_signal(signal.SIGINT)
    code, _, err = ended(running)
    assert code == 130 and "Traceback" not in err
    (hold,) = audit(tracker.ledger).ends
    assert audit(tracker.ledger).generations[hold] in account.generations


def test_a_call_that_was_killed_is_shown_as_unsettled_by_the_next_run_and_can_be_settled(tracker, sandbox, account):
    account.reply = ENDLESS
    running = tracker.start("call", *HELLO, "--stream")
    assert running.stdout.read(4) == b"one " and account.in_flight  # words are shown while more are to come
    running.kill()
    assert ended(running)[0] == -signal.SIGKILL
    sandbox.wait_until(lambda: not account.in_flight)
    shown = tracker("budget").out
    assert "1 call running or unsettled" in shown, shown
    assert "1 call" in tracker("stats").out
    assert "1 call settled, 0 left" in tracker("settle").out
    assert audit(tracker.ledger).spent == account.bill > 0


def test_a_reader_that_goes_away_ends_the_call_and_its_cost_is_booked(tracker, sandbox, account):
    account.reply, account.charge_on_disconnect = Reply("one " * 900, stream=Stream(token_delay_s=0.02)), "partial"
    running = tracker.start("call", *HELLO, "--stream")
    assert running.stdout.read(4) == b"one "
    running.stdout.close()
    assert running.wait(timeout=60) != 0
    said = running.stderr.read()
    assert b"the reader of the output is gone, but the call was made and is recorded -- the call cost $" in said
    assert said.count(b"\n") == 1
    running.stderr.close()
    sandbox.wait_until(lambda: not account.in_flight)
    (generation,) = account.generations.values()
    assert generation.cancelled
    found = audit(tracker.ledger)
    assert (found.settled, found.held) == ({generation.id: account.bill}, {})
