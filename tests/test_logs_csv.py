"""cost_tracker.py import: OpenRouter's logs as CSV in all its forms, saved answers, and sums that are no calls."""

from __future__ import annotations

import csv
import io
import json
import random
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.booking import NOON, Tracker, TrackerAt, call
from tests.sandbox import Account, Reply, Sandbox
from tests.sandbox_client import events, get, post

COLUMNS = (
    "generation_id", "created_at", "cost_total", "cost_web_search", "cost_cache", "cost_file_processing",
    "byok_usage_inference", "tokens_prompt", "tokens_completion", "tokens_reasoning", "tokens_cached", "model_permaslug",
    "provider_name", "variant", "cancelled", "streamed", "user", "finish_reason_raw", "finish_reason_normalized",
    "generation_time_ms", "time_to_first_token_ms", "app_name", "api_key_name", "api_key_disabled",
)  # fmt: skip
NEWER = ("tokens_cached", "variant", "app_name", "api_key_name", "api_key_disabled", "cost_file_processing")


@pytest.fixture
def tracker(home: Path) -> Tracker:
    return Tracker(home)


@pytest.fixture
def at(tracker: Tracker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> TrackerAt:
    return TrackerAt(tracker, monkeypatch, capsys)


def row(number: int, **cells: str) -> dict[str, str]:
    """One generation as the export writes it."""
    made = NOON - timedelta(hours=number, milliseconds=811)
    known = {
        "generation_id": f"gen-{int(made.timestamp())}-{number:020d}",
        "created_at": made.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3],
        "cost_total": "0.012345", "cost_cache": "-0.000200", "byok_usage_inference": "0", "tokens_prompt": "1200",
        "tokens_completion": "34", "tokens_reasoning": "7", "tokens_cached": "1000",
        "model_permaslug": "openai/gpt-5.6-luna-20260709", "provider_name": "Azure", "variant": "standard",
        "cancelled": "false", "streamed": "true", "finish_reason_raw": "stop", "finish_reason_normalized": "stop",
        "generation_time_ms": "900", "time_to_first_token_ms": "312", "app_name": "Hermes Agent",
        "api_key_name": "laptop", "api_key_disabled": "false",
    }  # fmt: skip
    return {name: {**known, **cells}.get(name, "") for name in COLUMNS}


def as_csv(rows: list[dict[str, str]], *, without: tuple[str, ...] = (), delimiter: str = ",") -> str:
    names = [name for name in COLUMNS if name not in without]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, extrasaction="ignore", delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def given(tracker: Tracker, text: str) -> str:
    path = tracker.home / "given"
    path.write_text(text, encoding="utf-8", newline="")
    return str(path)


def lines(tracker: Tracker) -> dict[str, dict[str, Any]]:
    found = (json.loads(line, parse_float=Decimal) for line in tracker.bytes.splitlines())
    return {line["id"]: line for line in found}


def test_the_export_and_its_older_forms_come_in_once_and_the_sums_are_the_files(tracker: Tracker, at: TrackerAt) -> None:
    chance = random.Random(7)
    rows = [row(n, cost_total=f"0.{chance.randint(0, 999_999):06d}") for n in range(300)]
    rows[5] |= {"byok_usage_inference": "0.004000", "cost_total": "0.000200"}
    rows[6] |= {"created_at": "2026-11-20T10:30:00.500Z", "variant": "free", "streamed": "", "cost_cache": "", "cost_total": ""}
    total = sum(Decimal(each["cost_total"] or 0) for each in rows)
    forms = [as_csv(rows), as_csv(rows, without=NEWER), as_csv(rows, delimiter=";"), "\ufeff" + as_csv(rows[::-1])]
    for first, text in enumerate(forms):
        tracker.ledger.unlink(missing_ok=True)
        for added in (300, 0):
            ran = at(None, "import", given(tracker, text), "--json")
            assert (ran.code, ran.err, ran.data["added"]) == (0, "", added), first
        done = at(NOON, "stats", "--json").data["total"]
        assert (done["requests"], done["cost_usd"], done["byok_usd"], done["unknown_cost_calls"]) == (300, total, Decimal("0.004"), 1)
    found = lines(tracker)
    assert found[rows[0]["generation_id"]] == {
        "ts": "2026-11-22T11:59:59.189000Z", "model": "openai/gpt-5.6-luna", "prompt_tokens": 1200, "completion_tokens": 34,
        "cost": Decimal(rows[0]["cost_total"]), "id": rows[0]["generation_id"], "cached_tokens": 1000,
        "reasoning_tokens": 7, "cost_source": "billed", "cache_discount": Decimal("0.0002"), "provider": "Azure",
        "tags": {"app": "Hermes Agent", "key": "laptop"}, "streamed": True, "latency_ms": 312, "finish_reason": "stop",
    }  # fmt: skip
    other = found[rows[6]["generation_id"]]
    assert (other["model"], other["ts"]) == ("openai/gpt-5.6-luna:free", "2026-11-20T10:30:00.500000Z")
    assert not {"cost", "cost_source", "cache_discount", "streamed"} & other.keys()


def test_what_the_ledger_knows_exactly_beats_six_decimals_and_all_else_is_completed(tracker: Tracker, at: TrackerAt) -> None:
    rows = [row(n) for n in range(5)]
    ids = [each["generation_id"] for each in rows]
    tracker.write(
        call(cost="0.0123451234", id=ids[0], cost_source="billed"),
        call(cost=None, id=ids[1]),
        call(cost="0.5", id=ids[2], cost_source="estimated"),
        call(cost="0.0123448", id=ids[3], tags={"project": "mine"}, provider="Mine"),
    )
    for counts in ({"added": 1, "completed": 4}, {"added": 0, "completed": 0}):
        assert counts.items() <= at(None, "import", given(tracker, as_csv(rows)), "--json").data.items()
    out = at(None, "export", "--format", "json").out
    calls = {each["generation_id"]: each for each in json.loads(out, parse_float=Decimal)}
    costs = ["0.0123451234", "0.012345", "0.012345", "0.0123448", "0.012345"]
    assert [calls[name]["cost_usd"] for name in ids] == list(map(Decimal, costs))
    assert {calls[name]["cost_source"] for name in ids} == {"billed"}
    assert (calls[ids[0]]["tags"], calls[ids[0]]["provider"]) == ({"app": "Hermes Agent", "key": "laptop"}, "Azure")
    assert (calls[ids[3]]["tags"], calls[ids[3]]["provider"]) == ({"project": "mine"}, "Mine")
    assert calls[ids[3]]["cache_discount"] == Decimal("0.0002")


BAD = [
    ({"generation_id": ""}, "record 1 is not a call: generation_id is missing"),
    ({"created_at": "yesterday"}, "a moment must be written like"),
    ({"cost_total": "1,5"}, "cost: an amount in USD"),
    ({"cost_cache": "cheap"}, "an amount in USD"),
    ({"tokens_prompt": "1.5.1"}, "prompt_tokens must be a whole number"),
    ({"model_permaslug": ""}, "model_permaslug is missing"),
]
SUMS = [
    "Date,Model,Spend,Requests,Tokens\n2026-11-01,openai/gpt-5.2,1.5,3,100\n",
    "hour;api_key_name;usage;byok_usage_inference\n2026-11-01 10:00;ci;1.5;0\n",
    "Creator,Total tokens\nme,100\n",
    json.dumps({"data": [{"date": "2026-11-01", "model": "openai/gpt-5.2", "usage": 1.5, "requests": 3}]}),
]


def test_a_row_that_cannot_be_and_sums_in_the_place_of_calls_are_refused(tracker: Tracker, at: TrackerAt) -> None:
    tracker.write(call())
    before = tracker.bytes
    for cells, message in BAD:
        ran = at(None, "import", given(tracker, as_csv([row(1, **cells), row(2)])))
        assert (ran.code, ran.out) == (2, "") and message in ran.error_line
    for text in SUMS:
        ran = at(None, "import", given(tracker, text))
        assert (ran.code, ran.out) == (2, "")
        assert "sums of OpenRouter's activity, not calls" in ran.error_line and "openrouter.ai/logs" in ran.error_line
    ran = at(None, "import", given(tracker, as_csv([row(1)]).replace("variant", "strange")))
    assert (ran.code, ran.error_line.rpartition(": ")[2]) == (0, "strange\n")
    key = "sk-or-v1-" + "0123456789abcdef" * 2
    assert at(None, "import", given(tracker, as_csv([row(3, api_key_name=key)]))).code == 0
    assert tracker.bytes.startswith(before) and key.encode() not in tracker.bytes and b'"key":"[key]"' in tracker.bytes


def test_saved_answers_are_booked_with_the_bill_of_the_sandbox_and_without_their_words(
    tracker: Tracker, at: TrackerAt
) -> None:
    account = Account.simple()
    said, saved = "a word that nobody may keep", []
    asked = (
        ("/chat/completions", {"messages": [{"role": "user", "content": said}]}),
        ("/responses", {"input": said}),
        ("/messages", {"messages": [{"role": "user", "content": said}], "max_tokens": 50}),
    )
    with Sandbox(account) as sandbox:
        account.script(*[Reply(text=said)] * 6, Reply(text=said, byok_upstream=Decimal("0.25")))
        for path, body in asked * 2:
            saved.append(post(sandbox, path, {"model": "openai/gpt-5.2", **body}).json())
        chunks = [each for each in events(sandbox) if each != "[DONE]"]
        post(sandbox)
        generations = [get(sandbox, f"/generation?id={name}").json() for name in account.generations]
    one_a_line = "".join(json.dumps(each) + "\n" for each in [*saved, *chunks])
    files = [
        (one_a_line, 7), (one_a_line, 0), (json.dumps(saved[0], indent=2), 0), (json.dumps(saved), 0),
        ("".join(json.dumps(each) + "\n" for each in generations), 1), (json.dumps(generations[3], indent=1), 0),
    ]  # fmt: skip
    for text, added in files:
        ran = at(None, "import", given(tracker, text), "--json")
        assert (ran.code, ran.data["added"]) == (0, added), ran.err
        tracker.home.joinpath("given").unlink()
    done = at(None, "stats", "--json").data["total"]
    assert (done["requests"], done["cost_usd"], done["byok_usd"]) == (8, account.bill, account.byok_bill)
    assert account.byok_bill == Decimal("0.25") and done["unknown_cost_calls"] == 0
    assert not any(said.encode() in path.read_bytes() for path in tracker.folder.rglob("*") if path.is_file())
    foreign = {"id": "chatcmpl-1", "created": 1_790_000_000, "model": "gpt-5", "choices": [], "usage": {"prompt_tokens": 1}}
    refused = [
        (json.dumps(foreign), "line 1 is not a call: the answer has no id that begins with gen-"),
        (json.dumps(saved[0]) + "\n{torn", "line 2 is not a call: not JSON"),
        (json.dumps({**foreign, "id": "gen-x", "created": None}), "does not say when the call was made"),
        (json.dumps([generations[0], {"data": {"id": "gen-1", "total_cost": -1}}]), "record 2 is not a call"),
    ]
    before = tracker.bytes
    for text, message in refused:
        ran = at(None, "import", given(tracker, text))
        assert (ran.code, ran.out) == (2, "") and message in ran.error_line
    assert tracker.bytes == before


def test_fees_are_told_as_parts_of_the_cost(tracker: Tracker, at: TrackerAt) -> None:
    """From an answer, from the file and from BYOK calls; the rest is for tokens, and all add up to the total."""
    with Sandbox(Account.simple()) as sandbox:
        sandbox.account.reply = Reply("Yes.", prompt_tokens=20, completion_tokens=10, tool_cost=Decimal("0.02"))
        ran = Tracker(tracker.home, sandbox.url)("call", "--model", "openai/gpt-5.2", "--prompt", "hi", "--max-cost", "1", "--json")
        cost = ran.data["usage"]["cost_usd"]
    kept = (json.loads(line, parse_float=Decimal) for line in tracker.bytes.splitlines())
    assert [line["tool_cost"] for line in kept if "kind" not in line] == [Decimal("0.02")]
    given_file = given(tracker, as_csv([row(1, cost_web_search="0.004", cost_file_processing="0.002"), row(2)]))
    assert at(NOON, "import", given_file).code == 0
    byok = call("2026-11-22T09:00:00Z", cost="0.05", byok_cost=1, tags={"client": "codex"})
    with tracker.ledger.open("ab") as ledger:
        ledger.write(byok)
    data = at(NOON, "stats", "--fees", "--json").data
    total = cost + 2 * Decimal("0.012345") + Decimal("0.05")
    found = data["fees"]
    fees = [found[name] for name in ("tools_usd", "files_usd", "byok_fee_usd", "rest_usd", "calls")]
    assert fees == [Decimal("0.024"), Decimal("0.002"), Decimal("0.05"), total - Decimal("0.076"), 3]
    assert data["total"]["cost_usd"] == found["cost_usd"] == total
    assert next((each["name"], each["byok_fee_usd"]) for each in found["by_client"]) == ("codex", Decimal("0.05"))
    text = at(NOON, "stats", "--fees").out.splitlines()
    assert text[2].startswith("Fees: web search and tools $0.024, files $0.002, BYOK $0.05 in 3 calls; ")
