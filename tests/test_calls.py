"""A tracked call: what is sent, what is shown, and how its hold ends, whatever OpenRouter answers."""

from __future__ import annotations

import json
import resource
import signal
import socket
import subprocess
import sys
import threading
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import cost_tracker
import pytest

from openrouter_usage.budgets import Budget
from openrouter_usage.entry import Caps
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.openrouter.answers.generation import CallUsage
from openrouter_usage.tracker.booking import Booking
from tests.booking import NOON, Tracker, call, hold
from tests.calling import AT_ONCE, BUDGET, CHAT, HELLO, MODEL, Caller, open_caller
from tests.running import ROOT, contents
from tests.sandbox import INFERENCE_KEY, Fault, Reply, ReplyError, Stream
from tests.storm.audit import audit

HELLO_THERE = [{"role": "user", "content": "Hello?"}]
BOTH = pytest.mark.parametrize("stream", [(), ("--stream",)], ids=["whole", "stream"])


@pytest.fixture
def caller(home, sandbox, monkeypatch, capsys, engine) -> Any:
    kept = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    yield open_caller(home, sandbox, monkeypatch, capsys, engine.tracker(home, sandbox.url))
    signal.signal(signal.SIGINT, kept[0])
    signal.signal(signal.SIGTERM, kept[1])


@pytest.fixture
def tracker(caller: Caller) -> Tracker:
    return caller.tracker


# -- what is sent and shown ------------------------------------------------------------------------------------------


@BOTH
def test_the_answer_goes_to_standard_output_and_the_figures_to_standard_error(stream, caller, account):
    account.reply = Reply("Grüße, 世界 💰.", prompt_tokens=1_200, completion_tokens=34, cost=Decimal("0.0123456"))
    ran = caller(*stream, env={})
    assert (ran.code, ran.out) == (0, "Grüße, 世界 💰.\n")
    assert ran.err == (
        "\n📊 API Usage:\nTokens: 1,234 (Prompt: 1,200, Completion: 34)\nCost: $0.012346\n"
        "💰 API Key Balance:\nCredits Used: $0.012346\nCredits Remaining: unlimited by the key (the account's balance is not known)\n"
        "Credit Limit: none\n"
        "Free Tier: No\n"
    )
    assert caller.agree()


def test_the_key_s_limit_is_shown_with_what_is_left_of_it(caller, account):
    key = account.key(INFERENCE_KEY)
    key.limit = key.limit_remaining = Decimal(5)
    key.is_free_tier = True
    account.reply = Reply(cost=Decimal("0.0123"))
    assert caller().err.endswith(
        "Credits Used: $0.0123\nCredits Remaining: $4.99 (this key's limit; the account's balance is not known)\n"
        "Credit Limit: $4.99 left of $5.00 (never resets)\nFree Tier: Yes\n"
    )


def test_a_balance_that_cannot_be_had_takes_nothing_from_the_call(caller, sandbox):
    sandbox.misbehave("/key", Fault.status(403))
    ran = caller("--json")
    assert ran.code == 0 and ran.data["text"] == "Hello from the sandbox."
    assert set(ran.data["balance"]) == {"error", "message"}
    assert "unknown: /key answered 403" in caller().err


@BOTH
def test_json_tells_the_text_the_usage_the_limits_and_the_balance(stream, caller, account):
    account.reply = Reply("Well.", prompt_tokens=3, completion_tokens=2, cost=Decimal("3E-7"), provider="Azure")
    data = caller("--json", *stream).data
    (generation,) = account.generations
    assert data["usage"] == {
        "generation_id": generation, "model": MODEL, "provider": "Azure", "prompt_tokens": 3, "completion_tokens": 2,
        "total_tokens": 5, "cost_usd": Decimal("3E-7"), "cost_source": "billed", "byok_cost_usd": None,
    }  # fmt: skip
    assert (data["text"], data["finish_reason"], data["saved"]) == ("Well.", "stop", True)
    assert data["limits"]["max_tokens"] == 1024 and data["limits"]["held_usd"] > Decimal("0.014")
    assert set(data["balance"]) == {"label", "limit", "usage", "limit_remaining", "is_free_tier"}


def test_without_a_budget_a_request_is_sent_as_it_was_asked_for(caller):
    assert caller("--system", "Be brief.", env={}).code == 0
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}]
    assert caller.sent == [{"model": MODEL, "messages": messages}]


def test_under_a_budget_the_request_carries_its_limits_and_the_length_is_shown(caller):
    ran = caller()
    assert "the answer was limited to 1,024 tokens, to fit the budget; --max-tokens sets another" in ran.err
    assert "Held before it: $0.014541 at most (prices of " in ran.err
    assert caller.sent[0]["max_tokens"] == 1024
    max_price = {"prompt": Decimal("1.75"), "completion": 14, "request": 0}
    assert caller.sent[0]["provider"] == {"max_price": max_price}


def test_a_length_of_the_caller_s_own_is_kept(caller):
    ran = caller("--max-tokens", "50")
    assert "was limited" not in ran.err
    assert caller.sent[0]["max_tokens"] == 50


def test_an_answer_that_the_budget_has_cut_off_is_said_to_be(caller, account):
    account.reply = Reply("word " * 2_000, completion_tokens=2_000)
    assert "the answer was cut off at 1,024 tokens, to fit the budget" in caller().err


def test_the_age_of_the_prices_is_that_of_the_kept_list(caller, sandbox):
    now = datetime.now(timezone.utc).replace(microsecond=0)
    caller(now=now - timedelta(hours=5))
    assert "(prices of 5 h ago)" in caller(now=now).err
    assert sandbox.calls("/models") == 1
    caller(now=now + timedelta(hours=20))
    assert sandbox.calls("/models") == 2


@pytest.mark.parametrize("model", [f"{MODEL}:floor", f"{MODEL}:nitro", "meta-llama/llama-3.3-70b-instruct:free"])
def test_variants_of_a_model_pass_through(model, caller):
    assert caller(hello=("--model", model, "--prompt", "Hello?")).code == 0
    assert caller.sent[0]["model"] == model
    assert caller.agree()


def test_fallbacks_pass_through_and_the_dearest_is_held(caller):
    cheap = caller("--json", "--max-tokens", "10").data["limits"]["held_usd"]
    ran = caller("--json", "--max-tokens", "10", "--fallback", "anthropic/claude-opus-4.5", "--fallback", "no/such:free")
    assert ran.code == 2 and "OpenRouter lists no such model: no/such:free" in ran.err
    data = caller("--json", "--max-tokens", "10", "--fallback", "anthropic/claude-opus-4.5").data
    assert caller.sent[-1]["models"] == [MODEL, "anthropic/claude-opus-4.5"]
    assert data["limits"]["held_usd"] > 2 * cheap


def test_sessions_and_tags_are_in_the_books(caller):
    caller("--session", "nightly", "--tag", "project=website", "--tag", "step=2")
    (entry,) = caller.tracker.opened().entries()
    assert (entry.session, dict(entry.tags)) == ("nightly", {"project": "website", "step": "2"})


def test_a_call_that_is_not_tracked_leaves_the_ledger_alone_and_not_under_a_budget(caller):
    ran = caller("--no-track", "--json", env={})
    assert (ran.code, ran.data["saved"]) == (0, False)
    assert ran.data["usage"]["cost_usd"] == caller.sandbox.account.bill
    assert not caller.tracker.ledger.exists()
    assert caller("--no-track").code == 2
    assert len(caller.sent) == 1


# -- the prompt ------------------------------------------------------------------------------------------------------

PROMPTS = {
    "words": (b"Hello?", "Hello?"),
    "many scripts": ("Grüße\n世界 💰 \u202e ".encode(), "Grüße\n世界 💰 \u202e "),
    "a byte order mark": ("\ufeffHello?".encode(), "Hello?"),
    "a null byte": (b"a\0b", "a\0b"),
    "Windows lines": (b"a\r\nb\r\n", "a\r\nb\r\n"),
}


@pytest.mark.parametrize("name", PROMPTS)
def test_a_prompt_from_standard_input_is_sent_as_it_is(name, tracker, sandbox):
    raw, wanted = PROMPTS[name]
    assert tracker("call", "--model", MODEL, "--prompt", "-", input=raw).code == 0
    assert sandbox.received(CHAT)[0].json()["messages"] == [{"role": "user", "content": wanted}]


@pytest.mark.parametrize(
    ("raw", "said"),
    [(b"", "empty"), (b" \n\t ", "empty"), (b"\xff\xfe\x00H", "not UTF-8"), (b"x" * (8 * 1024 * 1024 + 1), "larger than 8 MiB")],
    ids=["nothing", "blanks", "bytes", "too much"],
)  # fmt: skip
def test_a_prompt_that_is_none_or_too_much_is_refused_before_anything_is_sent(raw, said, tracker, sandbox):
    ran = tracker("call", "--model", MODEL, "--prompt", "-", input=raw)
    assert ran.code == 2 and said in ran.error_line
    assert sandbox.connections == 0 and not tracker.ledger.exists()


def test_standard_input_that_is_closed_is_an_empty_prompt(tracker):
    assert tracker("call", "--model", MODEL, "--prompt", "-", shell="<&-").code == 2


def test_an_argument_that_is_no_utf_8_is_refused(tracker, sandbox):
    ran = tracker("call", "--model", MODEL, "--prompt", "caf\udce9")
    assert ran.code == 2 and "not UTF-8" in ran.error_line
    assert sandbox.connections == 0


def test_neither_what_was_said_nor_a_key_is_ever_kept(caller, account, home, sandbox, engine):
    asked, said, system = "canary-of-the-prompt", "canary-of-the-answer", "canary-of-the-system"
    account.reply = Reply(said, stream=Stream(cut_after=1))
    words = ("--model", MODEL, "--prompt", asked, "--system", system)
    sandbox.misbehave("/chat/completions", Fault.none(), Fault.none(), Fault.status(400), Fault.status(500), Fault.html())
    for more in ((), ("--stream",), (), (), ("--stream", "--json")):
        ran = caller(*more, hello=words)
        assert asked not in ran.out + ran.err and said not in ran.err
    caller.tracker("settle")
    files = {**contents(home), "the ledger": caller.tracker.bytes}
    of_ledger = {"usage.jsonl", "usage.jsonl.index"} if engine.name == "file" else set()
    assert {Path(path).name for path in files} >= {"models.json", *of_ledger} and len(caller.tracker.bytes) > 200
    for path, data in files.items():
        for canary in (asked, said, system, INFERENCE_KEY):
            assert canary.encode() not in data, path


# -- how a hold ends -------------------------------------------------------------------------------------------------

ENDINGS: dict[str, tuple[list[Fault], int, str, int, int]] = {
    # name: faults, exit code, how the hold ends, requests, calls on the bill
    "answered": ([], 0, "billed", 1, 1),
    **{f"{code}": ([Fault.status(code)], end, "released", 1, 0)
       for code, end in ((400, 2), (401, 4), (402, 4), (403, 4), (404, 5), (405, 5), (409, 2), (413, 2), (422, 2))},
    **{f"{code}, billed or not": ([Fault.status(code)], 5, "open", 1, 0) for code in (408, 500, 501, 502, 504, 520, 524, 529)},
    "500, billed": ([Fault.status(500).after_billing()], 5, "open", 1, 1),
    "503 of somebody else": ([Fault.status(503, "html")], 5, "open", 1, 0),
    "503 of somebody else, billed": ([Fault.status(503, "html").after_billing()], 5, "open", 1, 1),
    "204": ([Fault.status(204, b"")], 5, "open", 1, 0),
    "302": ([Fault.redirect(302, "https://example.com/")], 5, "released", 1, 0),
    "429 once": ([Fault.status(429, headers=AT_ONCE)], 0, "billed", 2, 1),
    "429 twice, then 503": ([Fault.status(429, headers=AT_ONCE)] * 2 + [Fault.status(503)], 5, "released", 3, 0),
    "429 for ever": ([Fault.status(429, headers=AT_ONCE)] * 9, 5, "released", 3, 0),
    "429, wait an hour": ([Fault.status(429, headers={"Retry-After": "3600"})], 5, "released", 1, 0),
    "503 of no provider": ([Fault.status(503, headers=AT_ONCE)], 0, "billed", 2, 1),
    "402 in flight": ([Fault.payment_required("openrouter_in_flight_budget", retry_after=0)], 0, "billed", 2, 1),
    "402 of the credits": ([Fault.payment_required()], 4, "released", 1, 0),
    "429, then 500": ([Fault.status(429, headers=AT_ONCE), Fault.status(500)], 5, "open", 2, 0),
    "429, then reset": ([Fault.status(429, headers=AT_ONCE), Fault.reset("billing")], 5, "open", 2, 1),
    "400 that is cut off": ([Fault.status(400) & Fault.truncate(3)], 2, "released", 1, 0),
    "reset before the bill": ([Fault.reset("request")], 5, "open", 1, 0),
    "reset after the bill": ([Fault.reset("billing")], 5, "open", 1, 1),
    "reset within the head": ([Fault.reset(20).after_billing()], 5, "open", 1, 1),
    "no HTTP": ([Fault.wire(b"SSH-2.0-OpenSSH\r\n")], 5, "open", 1, 0),
}  # fmt: skip


@BOTH
@pytest.mark.parametrize("name", ENDINGS)
def test_every_status_and_every_break_ends_a_hold_in_its_own_way(name, stream, caller, sandbox, account):
    faults, code, ending, requests, billed = ENDINGS[name]
    sandbox.misbehave("/chat/completions", *faults, Fault.none())
    ran = caller(*stream)
    assert ran.code == code
    assert caller.ending == ending
    assert (sandbox.calls(CHAT), len(account.generations)) == (requests, billed)
    assert len(caller.tracker.audit().ends) == 1  # one hold, however often it was sent
    assert ("held until `settle` finds out" in ran.err) is (ending == "open")


@pytest.mark.parametrize("mode", ["content-length", "chunked"])
def test_an_answer_that_breaks_off_is_looked_up_by_its_head(mode, caller, sandbox):
    named = Fault.truncate(20, mode)
    sandbox.misbehave("/chat/completions", named, Fault.none())
    sandbox.account.generation_lag_requests = "never"
    ran = caller()
    assert ran.code == 5 and caller.ending == "open"


def test_nobody_who_listens_gives_the_money_back(caller):
    caller()
    with socket.create_server(("127.0.0.1", 0)) as server:
        nowhere = f"http://127.0.0.1:{server.getsockname()[1]}"
    ran = caller("--timeout", "2", env={**BUDGET, "OPENROUTER_BASE_URL": nowhere})
    assert ran.code == 5 and "refused" in ran.err
    assert caller.agree()


def test_a_name_that_does_not_resolve_gives_the_money_back(tracker):
    tracker.env = {**BUDGET, "RES_OPTIONS": "attempts:1 timeout:1"}
    tracker("call", *HELLO)
    ran = tracker("call", *HELLO, "--timeout", "4", env={"OPENROUTER_BASE_URL": "https://nowhere.invalid/api/v1"})
    assert ran.code == 5 and "nowhere.invalid" in ran.err
    assert tracker.audit().held == {}


@BOTH
@pytest.mark.parametrize("fault", [Fault.hang("billing"), Fault.drip(0.2, head=True)], ids=["silence", "dripping"])
def test_a_server_that_never_ends_does_not_outlast_the_deadline(fault, stream, caller, sandbox, account):
    sandbox.misbehave("/chat/completions", fault)
    ran = caller("--timeout", "1", *stream)
    assert ran.code == 5 and "within 1 s" in ran.err
    assert caller.ending == "open"
    assert (sandbox.calls(CHAT), len(account.generations)) == (1, 1)


ERRORS = {
    "in a choice": Reply(error=ReplyError(), usage="missing"),
    "in a choice, with its cost": Reply(error=ReplyError()),
    "as the body": Reply(error=ReplyError(place="body")),
    "with a code in words": Reply(error=ReplyError(code="server_error", place="body")),
    "without words": Reply(error=ReplyError(message="", place="body")),
    "that says only how it finished": Reply(finish_reason="error"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_inside_an_answer_of_status_200_is_an_error_and_booked_as_billed(name, caller, account):
    account.reply = ERRORS[name]
    ran = caller("--json")
    assert ran.code == 5 and ran.json["data"] is None
    assert "the call failed: OpenRouter" in ran.err and "the call cost $0.00" in ran.err
    assert caller.agree()


@BOTH
@pytest.mark.parametrize("face", [(), ("--json",)], ids=["text", "json"])
def test_with_no_output_to_write_to_nothing_is_sent(face, stream, tracker, sandbox):
    ran = tracker("call", *HELLO, *face, *stream, shell=">&-")
    assert ran.code == 2 and "nothing was sent, because standard output is closed" in ran.error_line
    assert sandbox.calls(CHAT) == 0 and not tracker.ledger.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@BOTH
@pytest.mark.parametrize("face", [(), ("--json",)], ids=["text", "json"])
def test_an_answer_that_cannot_be_shown_is_said_to_be_made_and_booked(face, stream, tracker, account):
    ran = tracker("call", *HELLO, *face, *stream, shell=">/dev/full")
    assert ran.code == 2
    assert "could not be written" in ran.error_line and "the call was made and is recorded -- the call cost $" in ran.err
    assert tracker.audit().spent == account.bill > 0
    ran = tracker("call", *HELLO, *face, *stream, "--no-track", shell=">/dev/full")
    assert ran.code == 2 and "the call was made and is not in the ledger" in ran.error_line


def test_a_closed_standard_error_leaves_the_answer_alone_on_the_output(tracker):
    ran = tracker("call", *HELLO, shell="2>&-")
    assert (ran.code, ran.out) == (0, "Hello from the sandbox.\n")


NO_ANSWERS = [b"", b"[]", b"null", b'"x"', b"5", b"{", b"<html>", b'{"id":', b"{}", b'{"data":null}', b'{"id":"x"}',
              b'{"choices":[]}', b'{"choices":null,"usage":null}']  # fmt: skip


@pytest.mark.parametrize("raw", NO_ANSWERS, ids=repr)
def test_an_answer_that_is_none_leaves_the_hold_open(raw, caller, sandbox):
    sandbox.misbehave("/chat/completions", Fault.raw(raw))
    ran = caller("--json")
    assert ran.code == 5 and ran.json["error"]["code"] == "bad_answer"
    assert caller.ending == "open"


def test_an_answer_without_choices_and_usage_is_none_and_booked_by_its_generation(caller, account):
    account.reply = Reply(usage="null", fields={"choices": []})
    ran = caller("--json")
    assert ran.code == 5 and ran.json["error"]["code"] == "bad_answer"
    assert "neither choices nor a usage" in ran.err
    assert caller.ending == "late" and caller.agree()


USAGES = ["missing", "null", "no_cost", "null_cost", "cost_true", lambda usage: "free", lambda usage: {"cost": "x"}]


@BOTH
@pytest.mark.parametrize("usage", USAGES, ids=range(len(USAGES)))
def test_a_cost_that_the_answer_does_not_tell_is_looked_up(usage, stream, caller, account):
    account.reply = Reply(usage=usage)
    ran = caller(*stream)
    assert ran.code == 0 and "(looked up)" in ran.err
    assert caller.ending == "late"
    assert caller.agree()


@pytest.mark.parametrize("usage", ["missing", "null", "no_cost", "null_cost", "cost_true"])
def test_a_cost_that_nobody_tells_counts_with_all_that_was_held_until_somebody_does(usage, caller, account):
    account.reply, account.generation_lag_requests = Reply(usage=usage), "never"
    data = caller("--json").data
    assert (data["usage"]["cost_source"], data["usage"]["cost_usd"]) == ("estimated", data["limits"]["held_usd"])
    assert caller.ending == "estimated"
    account.generation_lag_requests = 0
    assert "1 call settled, 0 left" in caller.tracker("settle").out
    (entry,) = caller.tracker.opened().entries()
    assert (entry.cost, entry.cost_source) == (account.bill, "late")
    assert caller.tracker("settle").out == "Nothing is unsettled.\n"


def test_without_a_budget_a_cost_that_nobody_tells_is_unknown_and_not_nothing(caller, account):
    account.reply, account.generation_lag_requests = Reply(usage="null_cost"), "never"
    ran = caller(env={})
    assert ran.code == 0 and "Cost: unknown\n" in ran.err
    total = caller.tracker.opened().totals().total
    assert (total.requests, total.unknown) == (1, 1)


@BOTH
@pytest.mark.parametrize(
    ("reply", "cost", "byok"),
    [
        (Reply(cache_hit=True), "0", None),
        (Reply(cost=Decimal(0)), "0", None),
        (Reply(prompt_tokens=0, completion_tokens=0, cost=Decimal("0.01")), "0.01", None),
        (Reply(usage="cost_string", cost=Decimal("0.0025")), "0.0025", None),
        (Reply(cost=Decimal("1E-12")), "1E-12", None),
        (Reply(cost=Decimal("0.0001"), byok_upstream=Decimal("0.25")), "0.0001", "0.25"),
        (Reply(byok_upstream=Decimal("0.25")), "0", "0.25"),
    ],
    ids=["a hit of the cache", "free", "no tokens", "a text", "tiny", "own key with a fee", "own key"],
)
def test_the_answer_s_own_cost_counts_whatever_it_is(reply, cost, byok, stream, caller, account):
    account.reply = reply
    assert caller(*stream).code == 0
    (entry,) = caller.tracker.opened().entries()
    assert (entry.cost, entry.byok_cost) == (Decimal(cost), None if byok is None else Decimal(byok))
    assert entry.cost_source == "billed" and caller.agree()


# -- refusals: nothing is sent ---------------------------------------------------------------------------------------

REFUSALS: dict[str, tuple[dict[str, str], tuple[str, ...], int, str]] = {
    "one call": ({"OPENROUTER_REQUEST_LIMIT": "0.001"}, (), 3, "the per-request budget of $0.001"),
    "the day": ({"OPENROUTER_DAILY_LIMIT": "0.001"}, (), 3, "the daily budget of $0.001"),
    "the month": ({"OPENROUTER_MONTHLY_LIMIT": "0.001"}, (), 3, "the monthly budget of $0.001"),
    "zero": ({"OPENROUTER_DAILY_LIMIT": "0"}, (), 3, "the daily budget of $0.00"),
    "zero, with a most": ({"OPENROUTER_DAILY_LIMIT": "0"}, ("--max-cost", "0.01"), 3, "the daily budget of $0.00"),
    "a limit that is none": ({"OPENROUTER_DAILY_LIMIT": "ten"}, (), 2, "OPENROUTER_DAILY_LIMIT"),
    "a limit below zero": ({"OPENROUTER_REQUEST_LIMIT": "-1"}, (), 2, "below zero"),
    "a varying price": (BUDGET, ("--model", "openrouter/auto"), 3, "price of openrouter/auto varies"),
    "an unknown model": (BUDGET, ("--model", "no/such"), 2, "lists no such model"),
    "a web search": (BUDGET, ("--model", f"{MODEL}:online"), 3, "search the web"),
    "a most below the prompt": ({}, ("--max-cost", "0.00001"), 3, "more than the $0.00001 allowed"),
    "a most below the length": ({}, ("--max-cost", "0.001", "--max-tokens", "900"), 3, "more than the $0.001 allowed"),
    "a most below zero": ({}, ("--max-cost", "-1"), 2, "max_cost must be an amount from 0"),
    "a most beyond belief": ({}, ("--max-cost", "5000000"), 2, "max_cost must be an amount from 0"),
    "a most that is none": ({}, ("--max-cost", "cheap"), 2, "plain number"),
    "a name too long": ({}, ("--session", "x" * 1_001), 2, "session must be a text"),
    "too many tags": ({}, tuple(f"--tag=t{n}=x" for n in range(33)), 2, "tags must be at most 32"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_names_its_reason_and_nothing_is_sent_or_held(name, caller, sandbox):
    env, argv, code, said = REFUSALS[name]
    words = ("--prompt", "Hello?") if "--model" in argv else HELLO
    ran = caller("--json", *argv, env=env, hello=words)
    assert ran.code == code and said in ran.err
    assert ran.json["data"] is None and ran.json["error"]["message"] in ran.err
    assert sandbox.calls(CHAT) == 0
    assert not caller.tracker.ledger.exists() or caller.tracker.audit().ends == {}


def test_a_malformed_budget_in_the_settings_refuses_every_call(caller, sandbox):
    caller.tracker.folder.mkdir()
    (caller.tracker.folder / "settings.json").write_text('{"budget": {"daily": "ten"}}')
    ran = caller(env={})
    assert ran.code == 2 and "the daily budget in the settings" in ran.err
    assert sandbox.connections == 0


def test_a_month_that_is_used_up_refuses_what_the_day_would_allow_and_leaves_no_hold(caller, sandbox):
    caller.tracker.write(call("2026-11-03T10:00:00Z", cost="19.99"))
    ran = caller(now=NOON)
    assert ran.code == 3 and sandbox.calls(CHAT) == 0
    for words in ("monthly budget of $20.00", "$19.99 spent + $0.00 held + $0.01454075 asked", "it resets on 2026-12-01 at midnight UTC"):
        assert words in ran.err
    assert caller.tracker.audit().ends == {}
    assert caller("--max-tokens", "10", now=NOON).code == 0


def test_what_is_billed_beyond_the_hold_is_settled_exactly_and_shown_as_an_overrun(caller, account):
    account.reply = Reply(cost=Decimal("1.25"))
    assert caller().code == 0
    assert caller.agree()
    ran = caller()
    assert ran.code == 3 and "$1.25 spent + $0.00 held" in ran.err
    assert "overrun by $0.25" in caller.run_at(None, "budget", env=BUDGET).out
    assert len(caller.sent) == 1


def test_a_free_model_holds_nothing_and_still_counts(caller):
    free = ("--model", "meta-llama/llama-3.3-70b-instruct:free", "--prompt", "Hello?")
    assert caller(hello=free, env={"OPENROUTER_DAILY_LIMIT": "0"}).code == 0
    assert caller.sent[0]["provider"]["max_price"] == {"prompt": 0, "completion": 0, "request": 0}
    assert caller.agree()
    assert caller.run_at(None, "stats", "--json").data["total"]["requests"] == 1


def test_a_price_list_that_cannot_be_had_refuses_a_call_unless_it_says_its_most(caller, sandbox):
    sandbox.misbehave("/models", Fault.status(404))
    assert caller().code == 5
    assert sandbox.calls(CHAT) == 0
    ran = caller("--max-cost", "0.4", "--json")
    assert ran.code == 0 and ran.data["limits"] == {"max_tokens": 1024, "held_usd": Decimal("0.4"), "prices_of": None}
    assert caller.sent[0]["provider"]["max_price"]["request"] == 0
    assert caller.agree()


def test_a_most_shortens_the_answer_of_a_known_model_and_caps_the_prices_of_an_unknown_one(caller):
    assert caller("--max-cost", "0.001", env={}).code == 0
    assert caller.sent[0]["max_tokens"] < 100
    auto = ("--model", "openrouter/auto", "--prompt", "Hello?")
    ran = caller("--max-cost", "0.4", env={}, hello=auto)
    assert ran.code == 0
    assert 0 < caller.sent[1]["provider"]["max_price"]["completion"] < 1_000
    assert caller.agree()


def test_a_most_that_no_provider_is_cheap_enough_for_says_what_to_change(caller):
    online = ("--model", f"{MODEL}:online", "--prompt", "Hello?")
    ran = caller("--max-cost", "0.01", env={}, hello=online)
    assert ran.code == 5 and "raise --max-cost, or lower --max-tokens" in ran.err
    assert caller.ending == "released"
    assert caller("--max-cost", "0.01", "--max-tokens", "50", env={}, hello=online).code == 0


# -- the books cannot be had -----------------------------------------------------------------------------------------


def spoil(tracker: Tracker, how: str) -> None:
    tracker.folder.mkdir(exist_ok=True)
    if how == "folder":
        tracker.ledger.mkdir()
    elif how == "link":
        (tracker.folder / "elsewhere").write_text("keep me")
        tracker.ledger.symlink_to(tracker.folder / "elsewhere")
    elif how == "no folder":
        tracker.env = {"OPENROUTER_USAGE_FILE": str(tracker.folder / "file" / "usage.jsonl")}
        (tracker.folder / "file").write_text("no folder")
    else:
        tracker.env = {"OPENROUTER_USAGE_FILE": "/dev/full"}


@pytest.mark.parametrize("how", ["folder", "link", "no folder", "device"])
def test_a_ledger_that_cannot_be_used_refuses_a_call_under_a_budget_and_else_is_told_of(how, tracker, sandbox):
    spoil(tracker, how)
    ran = tracker("call", *HELLO, env=BUDGET)
    assert ran.code == 6 and "the ledger" in ran.error_line
    assert sandbox.calls(CHAT) == 0
    ran = tracker("call", *HELLO)
    assert ran.out == "Hello from the sandbox.\n" and ran.code == 6
    assert "the call is made without an entry beforehand" in ran.err
    assert sandbox.calls(CHAT) == 1
    if how == "link":
        assert (tracker.folder / "elsewhere").read_text() == "keep me"


def full_at(size: int) -> Any:
    """A disk on which no file can grow beyond a size."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.fixture
def long(tracker: Tracker) -> Tracker:
    """A ledger that is longer than any other file, with its index."""
    old = (call("2026-01-05T10:00:00Z", cost="0.001", id=f"gen-old-{number}") for number in range(4_000))
    tracker.write(*old)
    tracker.env = {**BUDGET, "TMPDIR": str(tracker.home)}
    tracker("call", *HELLO, "--max-tokens", "10")
    return tracker


def test_a_disk_that_is_full_at_the_hold_refuses_the_call(long, sandbox):
    before = long.bytes
    ran = long("call", *HELLO, "--max-tokens", "10", preexec_fn=full_at(len(before) + 20))
    assert ran.code == 6 and "cannot be written" in ran.error_line
    assert sandbox.calls(CHAT) == 1
    assert long.bytes == before


def test_a_disk_that_is_full_at_the_settling_loses_nothing(long, sandbox, account):
    before = long.bytes
    hold_line = before.splitlines(keepends=True)[-2]
    assert b'"kind":"hold"' in hold_line
    limit = len(before) + len(hold_line) + 20
    ran = long("call", *HELLO, "--max-tokens", "10", preexec_fn=full_at(limit))
    assert ran.code == 6 and ran.out == "Hello from the sandbox.\n"
    newest = list(account.generations)[-1]
    (line,) = {line[line.index("{") :] for line in ran.err.splitlines() if newest in line}
    assert json.loads(line)["id"] == newest and f"waits in {long.home}" in ran.err
    assert len(long.bytes) == len(before) + len(hold_line)
    assert len(long.audit().held) == 1  # until then it counts with all that was held
    ran = long("budget")
    assert "could not be saved before is in the ledger now" in ran.err
    found = long.audit()
    assert found.held == {} and found.settled[newest] == account.generations[newest].cost
    assert [path for path in long.home.glob("openrouter-usage-*/*") if path.suffix == ".jsonl"] == []


HEAVY = {"argparse", "requests", "urllib3", "certifi", "charset_normalizer", "dotenv", "ssl", "http"}
USED = """
tracker, enforcer = CostTracker(usage_file=FILE), BudgetEnforcer(usage_file=FILE)
answer = {"id": "gen-1", "model": "a/model", "usage": {"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.01}}
with CostSession("x") as session:
    track_cost(tracker=tracker)(lambda: answer)()
    tracker.log_usage("a/model", 1, 1, 0.02, "gen-2")
tracker.summary(), tracker.get_total_cost(), enforcer.ledger.totals(), session.total_cost
"""


def loaded_by(program: str, home: Any) -> set[str]:
    """The packages that a fresh process has loaded at the end of a program."""
    program += "\nprint(*{name.partition('.')[0] for name in __import__('sys').modules})"
    env = {"PYTHONPATH": str(ROOT / "scripts"), "HOME": str(home)}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    found = set(done.stdout.split())
    assert "openrouter_usage" in found
    return found


@pytest.mark.parametrize("name", cost_tracker.__all__)
def test_importing_a_name_loads_no_argument_parser_and_no_http_client(name, home):
    assert loaded_by(f"from cost_tracker import {name}", home) & HEAVY == set()
    assert list(home.iterdir()) == []


def test_the_books_can_be_kept_without_an_argument_parser_and_an_http_client_until_a_call_is_made(home, sandbox):
    program = f"FILE = {str(home / 'usage.jsonl')!r}\nfrom cost_tracker import *{USED}"
    assert loaded_by(program, home) & HEAVY == set()
    call = f"\nCostTracker({INFERENCE_KEY!r}, usage_file=FILE).chat('Hello?')"
    program = f"import os; os.environ['OPENROUTER_BASE_URL'] = {sandbox.url!r}\n{program}{call}"
    assert loaded_by(program, home) & HEAVY >= {"requests", "ssl"}
    assert len(audit(home / "usage.jsonl").settled) == 3


@pytest.fixture
def gate(sandbox) -> Any:
    """Calls are answered when it is set, and not before."""
    gate = threading.Event()
    sandbox.misbehave("/chat/completions", Fault("waits", before=lambda wire: gate.wait(60) and None))
    yield gate
    gate.set()


def test_processes_that_call_at_the_same_time_stay_within_the_budget(gate, tracker, sandbox, account):
    tracker.env = {**tracker.env, **BUDGET, "OPENROUTER_DAILY_LIMIT": "0.03"}
    tracker("budget")
    running = [tracker.start("call", *HELLO) for _ in range(5)]
    sandbox.wait_until(lambda: sum(process.poll() is not None for process in running) == 3, timeout=60)
    gate.set()
    codes = [process.wait() for process in running]
    for process in running:
        process.communicate()
    assert sorted(codes) == [0, 0, 3, 3, 3]
    found = tracker.audit()
    assert found.most <= Decimal("0.03") and len(found.settled) == len(account.generations) == 2
    assert found.spent == account.bill


def test_a_budget_that_is_lowered_lets_running_calls_end_and_refuses_new_ones(gate, tracker, sandbox, account):
    account.reply = Reply("one two three")
    tracker("budget", "set", "--daily", "0.5")
    running = tracker.start("call", *HELLO, "--stream")
    sandbox.wait_for(CHAT)
    tracker("budget", "set", "--daily", "0.001")
    ran = tracker("call", *HELLO)
    gate.set()
    out, _ = running.communicate()
    assert ran.code == 3 and "$0.00 spent" in ran.error_line and "of $0.001 does not allow" in ran.error_line
    assert (running.returncode, out) == (0, b"one two three\n")
    assert tracker.audit().spent == account.bill > 0


def test_two_homes_have_two_budgets(home, tmp_path, sandbox):
    other = Tracker(tmp_path / "other", sandbox.url)
    other.home.mkdir()
    tracker = Tracker(home, sandbox.url)
    tracker("budget", "set", "--daily", "0")
    assert tracker("call", *HELLO).code == 3
    assert other("call", *HELLO).code == 0




def test_a_hold_that_was_released_is_said_to_be(tracker):
    tracker.write(hold("gone"), hold("other"))
    ran = tracker("settle", "--release", "gone", "--yes")
    assert ran.code == 0 and "the hold gone is released: its money counts as free again" in ran.error_line
    assert list(tracker.audit().held) == ["other"]


# -- in a session ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_waits_for_the_ledger_counts_in_its_session(stream, home, sandbox, account, monkeypatch):
    folder = home / "books"
    folder.write_text("in the way")
    monkeypatch.setenv("OPENROUTER_BASE_URL", sandbox.url)
    account.reply = Reply(cost=Decimal("0.25"))
    tracker = cost_tracker.CostTracker(INFERENCE_KEY, usage_file=folder / "usage.jsonl")
    with cost_tracker.CostSession("work") as session:
        if stream:
            list(tracker.stream(HELLO_THERE, MODEL))
        else:
            tracker.chat(HELLO_THERE, MODEL)
    assert (session.calls, session.total_cost, session.unknown) == (1, Decimal("0.25"), 0)
    folder.unlink()
    folder.mkdir()
    assert [entry.cost for entry in tracker.ledger.entries()] == [Decimal("0.25")]
    tracker.ledger.close()


@pytest.mark.parametrize("status", [400, 402, 404])
def test_a_call_that_fails_without_a_ledger_says_why_it_failed(status, home, sandbox, monkeypatch):
    """There is no hold to release: the call was made without an entry beforehand."""
    (home / "books").write_text("in the way")
    monkeypatch.setenv("OPENROUTER_BASE_URL", sandbox.url)
    sandbox.misbehave("/chat/completions", Fault.status(status))
    tracker = cost_tracker.CostTracker(INFERENCE_KEY, usage_file=home / "books" / "usage.jsonl")
    with pytest.raises(cost_tracker.OpenRouterUsageError, match=f"answered {status}"):
        tracker.chat(HELLO_THERE, MODEL)


def test_a_stream_that_is_left_with_a_bill_nobody_believes_counts_with_its_hold(tmp_path):
    ledger = Ledger(tmp_path / "usage.jsonl")
    booking = Booking(ledger, model=MODEL, budgets=(Budget(caps=Caps(daily=Decimal(5))),), clock=lambda: NOON)
    booking.open(Decimal("0.5"))
    booking.leave(CallUsage(id="gen-1", told="-1"), latency_ms=None)
    (entry,) = ledger.entries()
    assert (entry.cost, entry.cost_source, entry.told) == (Decimal("0.5"), "estimated", "-1")
    assert ledger.health().holds == ()
    ledger.close()
