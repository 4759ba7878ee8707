"""Whatever JSON says, a figure is exact or it is missing; it is never made up and nothing falls over."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from tests import oracle
from tests.running import Ran, Stats
from tests.sandbox import MANAGEMENT_KEY, MISSING, Fault, Raw, Sandbox

Here = Callable[..., Ran]
NO_JSON = {
    "a web page": b"<!DOCTYPE html><html><body>Please log in</body></html>",
    "nothing": b"",
    "blanks": b" \r\n\t ",
    "half an object": b'{"data":{"usage":1',
    "two objects": b'{"data":{}}{"data":{}}',
    "NaN": b'{"data":{"usage":NaN,"total_credits":NaN,"total_usage":1}}',
    "Infinity": b'{"data":{"usage":-Infinity,"total_credits":Infinity,"total_usage":1}}',
    "an endless exponent": b'{"data":{"usage":1e99999999999999999999,"total_credits":1,"total_usage":1}}',
    "an endless number": b'{"data":{"usage":1,"total_credits":' + b"9" * 10_000 + b',"total_usage":1}}',
    "too many brackets": b"[" * 200_000,
    "no UTF-8": b'{"data":{"label":"\xff\xfe"}}',
    "single quotes": b"{'data': {}}",
}
NO_ANSWER = {
    "null": b"null",
    "a list": b"[]",
    "a text": b'"data"',
    "a number": b"0",
    "true": b"true",
    "an empty object": b"{}",
    "data is null": b'{"data":null}',
    "data is a text": b'{"data":"x"}',
    "data is a number": b'{"data":1}',
    "data is empty": b'{"data":{}}',
    "data is a list of numbers": b'{"data":[1,2]}',
    "data is in data": b'{"data":{"data":{"data":{}}}}',
    "an error without words": b'{"error":{"code":500}}',
    "an error that is a text": b'{"error":"no"}',
}


@pytest.mark.parametrize("body", [pytest.param(body, id=name) for name, body in (NO_JSON | NO_ANSWER).items()])
def test_no_answer_at_all_is_a_clean_error(body: bytes, stats_here: Here, sandbox: Sandbox) -> None:
    sandbox.misbehave("*", Fault.raw(body))
    ran = stats_here("--json")
    assert ran.code == 5
    assert "/key" in ran.error_line
    assert ran.json["error"]["code"] == "bad_answer"
    assert ran.json["data"] is None
    assert "not JSON" in ran.err or "not understood" in ran.err
    assert len(ran.err) < 400
    assert sandbox.calls("/key") == 1


@pytest.mark.parametrize("body", [pytest.param(body, id=name) for name, body in (NO_JSON | NO_ANSWER).items()])
def test_parts_that_are_no_answer_are_missing_and_the_key_is_shown(
    body: bytes, stats_here: Here, sandbox: Sandbox
) -> None:
    sandbox.account.keys[0].usage_daily = Decimal("0.1")
    sandbox.misbehave("*", Fault.raw(body))
    sandbox.misbehave("/key", Fault.none())
    ran = stats_here("--json", mgmt=MANAGEMENT_KEY)
    assert (ran.code, ran.err) == (0, "")
    assert ran.data["today"]["usage_usd"] == Decimal("0.1")
    assert {gap["part"]: gap["code"] for gap in ran.data["missing"]} == dict.fromkeys(
        ("credits", "activity"), "bad_answer"
    )
    assert ran.data["balance"] is ran.data["breakdown"] is ran.data["spendable_usd"] is None


def test_a_web_page_is_called_one(stats: Stats, sandbox: Sandbox) -> None:
    sandbox.misbehave("*", Fault.html(200))
    ran = stats()
    assert ran.out == ""
    assert ran.error_line == (
        "stats.py: the answer to /key is not JSON: a web page -- "
        "a proxy or a login page may stand in between; check OPENROUTER_BASE_URL\n"
    )


def test_json_with_a_byte_order_mark_is_json(stats: Stats, sandbox: Sandbox) -> None:
    sandbox.misbehave("/key", Fault.raw(b'\xef\xbb\xbf{"data":{"usage":1,"usage_daily":0.25}}'))
    assert stats("--json").data["today"]["usage_usd"] == Decimal("0.25")


# -- single fields -------------------------------------------------------------------------------------------------

WRONG_AMOUNTS: list[Any] = [True, False, "", "free", "$1", "1,5", "NaN", [], {}, Raw("1e12"), "1e12", -(10**12)]


@pytest.mark.parametrize("value", WRONG_AMOUNTS, ids=repr)
def test_a_row_with_no_amount_is_left_out_and_named_and_the_others_are_shown(value: Any, stats_here: Here, sandbox: Sandbox) -> None:
    def spoil(answer: Any) -> None:
        answer["data"]["total_usage"] = value

    def spoil_row(answer: Any) -> None:
        answer["data"][0]["usage"] = value

    sandbox.account.add_activity("openai/gpt-5.2", usage=Decimal("1.5"))
    sandbox.account.add_activity("openai/gpt-5-mini", usage=Decimal("2.5"))
    sandbox.misbehave("/credits", Fault.mutate(spoil))
    sandbox.misbehave("/activity", Fault.mutate(spoil_row))
    ran = stats_here("--json", mgmt=MANAGEMENT_KEY)
    assert ran.code == 0
    messages = {gap["part"]: gap["message"] for gap in ran.data["missing"]}
    assert "field total_usage: " in messages["credits"]
    assert "field usage: " in messages["activity"]
    assert ran.data["partial"] is True
    assert [gap["left_out"] for gap in ran.data["missing"] if gap["part"] == "activity"] == [1]
    assert ran.data["breakdown"]["total"]["usage_usd"] == Decimal("1.5")


@pytest.mark.parametrize("name", ["usage", "usage_daily", "byok_usage_weekly", "limit", "limit_remaining"])
@pytest.mark.parametrize("value", [True, "much", Raw("1e12")], ids=repr)
def test_an_amount_of_a_key_that_is_none_is_unknown_and_named(
    name: str, value: Any, stats_here: Here, sandbox: Sandbox
) -> None:
    sandbox.account.keys[0].overrides = {"limit": 5, name: value}
    ran = stats_here("--json")
    assert (ran.code, ran.data["partial"]) == (0, True)
    (gap,) = ran.data["missing"]
    assert (gap["part"], gap["code"], gap["left_out"]) == ("key", "left_out", 1)
    assert f"field {name}: " in gap["message"]
    assert (ran.data["today"]["usage_usd"] is None) == (name == "usage_daily")
    assert "⚠ Totals and key limit incomplete: 1 figure left out: " in stats_here().out


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        ('"0.123"', "0.123"), ("1e-12", "0.000000000001"), ("0.1", "0.1"), ("1E9", "1000000000"),
        ("0.30000000000000004", "0.30000000000000004"),
        ('"1e-12"', "0.000000000001"), ("123456789.123456789012345678", "123456789.123456789012345678"),
        ("-0.0", "0"),
    ],
)  # fmt: skip
def test_an_amount_is_taken_to_its_last_digit(written: str, amount: str, stats_here: Here, sandbox: Sandbox) -> None:
    key = sandbox.account.keys[0]
    key.overrides = dict.fromkeys(("limit", "limit_remaining"), Raw(written))
    for kind in ("usage", "byok_usage"):
        key.overrides |= dict.fromkeys((f"{kind}_daily", f"{kind}_weekly", f"{kind}_monthly"), Raw(written))
    ran = stats_here("--json")
    assert ran.code == 0
    assert f'"usage_usd": {amount},' in ran.out
    assert f'"byok_usd": {amount},' in ran.out
    assert ran.data["key_limit"]["remaining_usd"] == Decimal(amount)
    assert oracle.read_csv(stats_here("--format", "csv", "--max-age", "60").out)[0]["usage_usd"] == amount


@pytest.mark.parametrize(
    "value", [True, -1, "-1", "many", 1.5, [], {}, Raw("1e999999999"), Raw("1e-999999999"), 10**15], ids=repr
)
def test_what_is_no_count_makes_the_part_missing(value: Any, stats_here: Here, sandbox: Sandbox) -> None:
    def spoil(answer: Any) -> None:
        answer["data"][0]["requests"] = value

    sandbox.account.add_activity("openai/gpt-5.2", usage=Decimal("1.5"))
    sandbox.misbehave("/activity", Fault.mutate(spoil))
    ran = stats_here("--json", mgmt=MANAGEMENT_KEY)
    if value == -1:  # nothing says that a correction cannot be negative
        assert ran.data["breakdown"]["total"]["requests"] == -1
        return
    assert [(gap["part"], gap["code"]) for gap in ran.data["missing"]] == [("activity", "bad_answer")]
    assert "field requests: a whole number was expected" in ran.data["missing"][0]["message"]


@pytest.mark.parametrize("value", ["", "yesterday", None, 20261121, "2026-13-01", "21.11.2026", []], ids=repr)
def test_a_row_without_a_day_makes_the_part_missing(value: Any, stats_here: Here, sandbox: Sandbox) -> None:
    def spoil(answer: Any) -> None:
        answer["data"][0]["date"] = value

    sandbox.account.add_activity("openai/gpt-5.2", usage=Decimal("1.5"))
    sandbox.misbehave("/activity", Fault.mutate(spoil))
    ran = stats_here("--json", mgmt=MANAGEMENT_KEY)
    assert "field date: a day must be written like 2026-11-22" in ran.data["missing"][0]["message"]


def test_a_row_without_names_and_counts_is_still_money(stats: Stats, sandbox: Sandbox) -> None:
    def strip(answer: Any) -> None:
        answer["data"] = [
            {name: row[name] for name in ("date", "usage", "byok_usage_inference")} for row in answer["data"]
        ]

    sandbox.account.add_activity("openai/gpt-5.2", usage=Decimal("1.5"), byok_usage_inference=Decimal("0.5"))
    sandbox.misbehave("/activity", Fault.mutate(strip))
    ran = stats("--json", mgmt=MANAGEMENT_KEY)
    row = ran.data["breakdown"]["rows"][0]
    assert (row["name"], row["usage_usd"], row["byok_usd"]) == ("unknown model", Decimal("1.5"), Decimal("0.5"))
    assert row["requests"] == row["prompt_tokens"] == 0


@pytest.mark.parametrize(
    "overrides",
    [{"limit": None, "limit_remaining": None, "limit_reset": None}, {"limit": None, "limit_remaining": MISSING}],
)
def test_a_limit_of_null_is_no_limit(overrides: dict[str, Any], stats_here: Here, sandbox: Sandbox) -> None:
    sandbox.account.keys[0].overrides = overrides
    ran = stats_here("--json", mgmt=MANAGEMENT_KEY)
    assert ran.data["key_limit"]["unlimited"] is True
    assert ran.data["key_limit"]["limit_usd"] is ran.data["key_limit"]["remaining_usd"] is None
    assert ran.data["spendable_usd"] == ran.data["balance"]["left_usd"]
    assert "Key limit: none\n" in stats_here("--max-age", "60", mgmt=MANAGEMENT_KEY).out


# -- errors within good answers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        {"code": 500, "message": "Internal Server Error"},
        {"message": "Internal Server Error"},
        {"code": "server_error", "message": "Internal Server Error", "metadata": None},
        {"code": 500, "message": "Internal Server Error", "metadata": {"limit_source": "x"}},
    ],
    ids=repr,
)
def test_an_error_in_a_200_is_an_error(error: dict[str, Any], stats_here: Here, sandbox: Sandbox) -> None:
    body = {"data": {"usage": 1, "usage_daily": 1}, "error": error}
    sandbox.misbehave("*", Fault.raw(json.dumps(body).encode()))
    ran = stats_here("--json")
    assert ran.code == 5
    assert '/key: OpenRouter said "Internal Server Error"' in ran.error_line


@pytest.mark.parametrize("error", [None, {}, "", [], {"message": ""}, {"message": None}], ids=repr)
def test_an_error_that_says_nothing_hides_no_figure(error: Any, stats_here: Here, sandbox: Sandbox) -> None:
    body = {"data": {"usage": 1, "usage_daily": 0.5}, "error": error}
    sandbox.misbehave("/key", Fault.raw(json.dumps(body).encode()))
    assert stats_here("--json").data["today"]["usage_usd"] == Decimal("0.5")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no",
        b"<html>",
        b"null",
        b"[]",
        b'{"error":null}',
        b'{"error":{"message":5}}',
        b'{"error":{"error_type":"x"}}',
    ],
)
def test_a_refusal_without_words_is_told_by_its_status(body: bytes, stats_here: Here, sandbox: Sandbox) -> None:
    sandbox.misbehave("*", Fault.status(403, body))
    ran = stats_here()
    assert ran.code == 4
    assert ran.error_line.startswith("stats.py: /key answered 403 -- ")


def test_a_message_of_a_megabyte_is_cut(stats: Stats, sandbox: Sandbox) -> None:
    sandbox.misbehave("*", Fault.status(402, message="no " * 350_000))
    ran = stats("--json")
    assert ran.code == 4
    assert len(ran.error_line) < 600
    assert "(+1,049,700 characters)" in ran.err


def test_a_key_that_is_repeated_by_the_server_is_not_passed_on(stats: Stats, sandbox: Sandbox) -> None:
    key = sandbox.account.keys[0]
    sandbox.misbehave("*", Fault.status(401, message=f"Invalid key {key.secret} given"))
    assert 'OpenRouter said "Invalid key [key] given"' in stats("--json").error_line
    sandbox.behave()
    key.label = f"label of {key.secret}"
    ran = stats("--json")  # the runner looks for the key in the output and in the snapshot
    assert ran.data["key_label"] == "label of [key]"


# -- the running day -----------------------------------------------------------------------------------------------


def change_metadata(value: Any) -> Callable[[Any], None]:
    def change(answer: Any) -> None:
        if value is MISSING:
            del answer["data"]["metadata"]
        else:
            answer["data"]["metadata"] = value

    return change


@pytest.mark.parametrize("metadata", [MISSING, None, [], {}, {"truncated": False}, {"truncated": "true"}], ids=repr)
def test_todays_spend_is_whole_unless_it_is_said_to_be_cut(metadata: Any, stats_here: Here, sandbox: Sandbox) -> None:
    sandbox.account.add_activity("openai/gpt-5.2", days_ago=0, usage=Decimal("1.5"))
    sandbox.misbehave("/analytics/query", Fault.mutate(change_metadata(metadata)))
    ran = stats_here("--json", key=None, mgmt=MANAGEMENT_KEY)
    assert (ran.code, ran.data["partial"], ran.data["today"]["usage_usd"]) == (0, False, Decimal("1.5"))


def test_a_day_without_any_spend_is_zero(stats: Stats, sandbox: Sandbox) -> None:
    ran = stats("--json", key=None, mgmt=MANAGEMENT_KEY)
    assert ran.data["today"]["usage_usd"] == ran.data["month"]["usage_usd"] == 0
