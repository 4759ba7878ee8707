"""One row, figure or page that cannot be used hides no other: it is left out, counted and named, and the rest is shown.

And a figure that cannot be true is called unknown, in text and in JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from tests.booking import Tracker, TrackerAt
from tests.controls import managing
from tests.running import Ran, Stats
from tests.sandbox import INFERENCE_KEY, MANAGEMENT_KEY, MISSING, Account, Fault, Raw, Sandbox
from tests.test_hostile_text import harmless

Here = Callable[..., Ran]
MODEL, OTHER = "openai/gpt-5.2", "openai/gpt-5-mini"
INCOMPLETE = "⚠ Spend by model incomplete: 1 row left out: "


def spoilt(**values: Any) -> Fault:
    """An answer of /activity whose first row, OTHER's, has other values."""
    return Fault.mutate(lambda answer: answer["data"][0].update(values))


def replaced(value: Any) -> Fault:
    def change(answer: Any) -> None:
        answer["data"][0] = value

    return Fault.mutate(change)


BAD_ROWS = {
    "a date that is a word": spoilt(date="yesterday"),
    "a date of another order": spoilt(date="21.11.2026"),
    "a month that is none": spoilt(date="2026-13-01"),
    "a date that is a number": spoilt(date=20261121),
    "no date": spoilt(date=None),
    "an amount that is a word": spoilt(usage="free"),
    "an amount that is true": spoilt(usage=True),
    "an amount beyond belief": spoilt(usage=Raw("1e300")),
    "no amount": spoilt(usage=None),
    "a BYOK amount that is a list": spoilt(byok_usage_inference=[]),
    "a count with a fraction": spoilt(requests=1.5),
    "a count that is a word": spoilt(prompt_tokens="many"),
    "a row that is null": replaced(None),
    "a row that is a text": replaced("\x1b[2J"),
    "a row that is a list": replaced([1, 2]),
}


@pytest.fixture
def account(sandbox: Sandbox) -> Account:
    sandbox.account.add_activity(MODEL, usage=Decimal("1.5"))
    sandbox.account.add_activity(OTHER, usage=Decimal("2.5"))
    return sandbox.account


# -- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BAD_ROWS)
def test_one_bad_row_is_left_out_and_named_and_the_others_are_shown(
    name: str, account: Account, sandbox: Sandbox, stats_here: Here
) -> None:
    """In text and in JSON, with how many there are; and from kept answers as well."""
    sandbox.misbehave("/activity", BAD_ROWS[name])
    text = stats_here(mgmt=MANAGEMENT_KEY)
    assert text.code == 0 and f"• {MODEL}: $1.50 (1)" in text.out and OTHER not in text.out
    assert INCOMPLETE in text.out
    harmless(text.out)
    for argv in ((), ("--max-age", "600")):
        data = stats_here("--json", *argv, mgmt=MANAGEMENT_KEY).data
        assert data["partial"] is True
        (gap,) = data["missing"]
        assert (gap["part"], gap["code"], gap["left_out"]) == ("activity", "left_out", 1)
        assert "not understood" in gap["message"]
        assert [row["name"] for row in data["breakdown"]["rows"]] == [MODEL]
        assert data["today"]["usage_usd"] is not None
    assert "incomplete" in stats_here("--max-age", "600", mgmt=MANAGEMENT_KEY).out
    assert "partial" in stats_here("--line", mgmt=MANAGEMENT_KEY).out
    for face in ("csv", "markdown"):
        assert "1 row left out" in stats_here("--format", face, mgmt=MANAGEMENT_KEY).out


def test_several_bad_rows_are_counted(account: Account, sandbox: Sandbox, stats_here: Here) -> None:
    """Each is one, and of different reasons it is said that there are more."""

    def spoil(answer: Any) -> None:
        answer["data"][0]["usage"] = "free"
        answer["data"] += [None, 7, {**answer["data"][1], "date": "soon"}]

    sandbox.misbehave("/activity", Fault.mutate(spoil))
    (gap,) = stats_here("--json", mgmt=MANAGEMENT_KEY).data["missing"]
    assert gap["left_out"] == 4 and gap["message"].startswith("4 rows left out: ")
    assert "(and 2 other reasons)" in gap["message"]


def test_an_answer_of_bad_rows_alone_is_no_answer(account: Account, sandbox: Sandbox, stats_here: Here) -> None:
    """Where nothing is understood there is no breakdown without spend."""
    sandbox.misbehave("/activity", Fault.mutate(lambda answer: answer.update(data=[None, "x"])))
    data = stats_here("--json", mgmt=MANAGEMENT_KEY).data
    assert data["breakdown"] is None
    assert [(gap["part"], gap["code"], gap["left_out"]) for gap in data["missing"]] == [("activity", "bad_answer", 0)]


def test_a_sum_without_one_of_its_rows_is_unknown(account: Account, sandbox: Sandbox, stats_here: Here) -> None:
    """The account's week is no week without a row of it; days that are whole stay known."""
    account.add_activity(MODEL, days_ago=0, usage=Decimal("0.25"))
    sandbox.misbehave("/activity", BAD_ROWS["a date that is a word"])
    data = stats_here("--json", key=None, mgmt=MANAGEMENT_KEY).data
    assert data["today"]["usage_usd"] == Decimal("0.25")
    assert data["week"]["usage_usd"] is data["month"]["usage_usd"] is None or data["today"] == data["week"]
    assert data["month"]["usage_usd"] is None
    assert data["partial"] is True


@pytest.mark.parametrize("argv", [("--today",), ("--by", "key"), ("--by", "workspace"), ("--today", "--by", "key")])
def test_a_bad_row_of_the_analytics_is_left_out_and_named(
    argv: tuple[str, ...], account: Account, sandbox: Sandbox, stats_here: Here
) -> None:
    """Today by model, keys and workspaces: the good rows are shown, and that one is missing is said."""
    account.add_activity(MODEL, days_ago=0, usage=Decimal("0.25"))
    account.add_activity(OTHER, days_ago=0, usage=Decimal("0.75"))

    def spoil(answer: Any) -> None:
        rows = answer["data"]["data"]
        rows.append({**rows[0], "credits_usage": "free"})

    sandbox.misbehave("/analytics/query", Fault.mutate(spoil))
    ran = stats_here("--json", *argv, mgmt=MANAGEMENT_KEY)
    assert ran.code == 0 and ran.data["partial"] is True
    assert ran.data["breakdown"] is None or ran.data["breakdown"]["rows"] or ran.data["breakdown"]["coverage"]
    assert any("left out" in gap["message"] for gap in ran.data["missing"]), ran.data["missing"]
    assert "left out" in stats_here(*argv, mgmt=MANAGEMENT_KEY).out


def test_the_rest_of_a_check_up_says_it_too(account: Account, sandbox: Sandbox, home: Any) -> None:
    """`doctor` names the endpoint, and `sync` keeps nothing of days that are not whole."""
    sandbox.misbehave("/activity", BAD_ROWS["an amount that is a word"])
    tracker = managing(home, sandbox.url)
    assert "1 row or figure left out" in tracker("doctor").out
    ran = tracker("sync")
    assert ran.code == 5 and "1 row left out" in ran.error_line and "nothing was archived" in ran.err


# -- figures of a key ------------------------------------------------------------------------------------------------

IMPOSSIBLE: dict[str, tuple[dict[str, Any], set[str]]] = {
    "today below zero": ({"usage_daily": -5}, {"today"}),
    "week below zero": ({"usage_weekly": Raw("-0.01")}, {"week"}),
    "month below zero": ({"usage_monthly": "-1"}, {"month"}),
    "today missing": ({"usage_daily": MISSING}, {"today"}),
    "today null": ({"usage_daily": None}, {"today"}),
    "week missing": ({"usage_weekly": MISSING}, {"week"}),
    "today a word": ({"usage_daily": "much"}, {"today"}),
    "month a list": ({"usage_monthly": []}, {"month"}),
    "today more than all": ({"usage_daily": 50}, {"today"}),
    "today more than the week": ({"usage_daily": 9, "usage_weekly": 5}, {"today", "week"}),
    "today more than the month": ({"usage_daily": 6, "usage_monthly": 5}, {"today", "month"}),
    "all of them missing": (dict.fromkeys(("usage_daily", "usage_weekly", "usage_monthly"), MISSING),
                            {"today", "week", "month"}),
}  # fmt: skip


@pytest.fixture
def key(sandbox: Sandbox) -> Any:
    found = sandbox.account.key(INFERENCE_KEY)
    assert found
    found.usage, found.usage_daily, found.usage_weekly, found.usage_monthly = map(Decimal, ("100", "4", "7", "20"))
    return found


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_figure_that_cannot_be_is_unknown_and_the_others_are_shown(name: str, key: Any, stats_here: Here) -> None:
    """Never as a figure, never as nothing, and never with "partial": false."""
    key.overrides, unknown = IMPOSSIBLE[name]
    data = stats_here("--json").data
    assert {window for window in ("today", "week", "month") if data[window]["usage_usd"] is None} == unknown
    assert data["partial"] is True
    (gap,) = [gap for gap in data["missing"] if gap["part"] == "key"]
    assert gap["code"] == "left_out" and gap["left_out"] == len(unknown)
    for ran in (stats_here(), stats_here("--max-age", "600")):
        (line,) = [line for line in ran.out.splitlines() if line.startswith("Today: ")]
        assert line.count("unknown") == len(unknown) and "-$" not in ran.out
        assert f"⚠ Totals and key limit incomplete: {len(unknown)} figure" in ran.out
    kept = stats_here("--json", "--max-age", "600").data
    assert (kept["partial"], kept["missing"]) == (True, data["missing"])


@pytest.mark.parametrize(
    "values",
    [
        {"usage_daily": 5, "usage_weekly": Raw("4.95"), "usage_monthly": 20},
        {"usage_daily": Raw("0.05"), "usage_weekly": 0, "usage_monthly": 0},
        {"usage_daily": 100, "usage_weekly": Raw("98.5"), "usage_monthly": 2000},
        {"usage_daily": 4, "usage_weekly": 30, "usage_monthly": 20},
    ],
    ids=["a call ago", "the first of a week", "a busy minute", "a week that began in the month before"],
)
def test_figures_that_lag_are_shown(values: dict[str, Any], key: Any, stats_here: Here) -> None:
    """OpenRouter keeps each figure for up to a minute; and a week may be older than the month."""
    key.overrides = values
    data = stats_here("--json").data
    assert data["partial"] is False and data["missing"] == []
    assert all(data[window]["usage_usd"] is not None for window in ("today", "week", "month"))


@pytest.mark.parametrize(
    ("values", "limit", "remaining"),
    [
        ({"limit": -5}, None, None),
        ({"limit": "x"}, None, None),
        ({"limit": 10, "limit_remaining": 50}, Decimal(10), None),
        ({"limit": 10, "limit_remaining": "x"}, Decimal(10), None),
    ],
    ids=["below zero", "a word", "more left than allowed", "a word left"],
)
def test_a_limit_that_cannot_be_bounds_nothing(
    values: dict[str, Any], limit: Any, remaining: Any, key: Any, stats_here: Here
) -> None:
    """What is left is unknown then, and nothing is called spendable."""
    key.overrides = values
    data = stats_here("--json", mgmt=MANAGEMENT_KEY).data
    assert data["partial"] is True and data["spendable_usd"] is None
    found = data["key_limit"]
    assert (found and found["limit_usd"], found and found["remaining_usd"]) == (limit, remaining)


@pytest.mark.parametrize(
    ("credits", "usage"), [(-600, -1), (-600, 5), (100, -1), (Raw("-0.01"), 0), ("x", 5), (100, None)], ids=repr
)
def test_a_balance_that_cannot_be_is_unknown(
    credits: Any, usage: Any, key: Any, sandbox: Sandbox, stats_here: Here
) -> None:
    """Nobody buys or uses less than nothing; that more is used than bought can be."""
    sandbox.misbehave(
        "/credits", Fault.mutate(lambda answer: answer["data"].update(total_credits=credits, total_usage=usage))
    )
    ran = stats_here(mgmt=MANAGEMENT_KEY)
    assert "-$" not in ran.out and "⚠ Balance unavailable: " in ran.out
    data = stats_here("--json", mgmt=MANAGEMENT_KEY).data
    assert data["balance"] is None and data["partial"] is True
    assert data["today"]["usage_usd"] == 4


def test_a_balance_below_zero_is_shown(key: Any, sandbox: Sandbox, stats_here: Here) -> None:
    """Postpaid and running calls do that."""
    sandbox.misbehave("/credits", Fault.mutate(lambda answer: answer["data"].update(total_credits=5, total_usage=6)))
    assert "Balance: -$1.00 / $5.00" in stats_here(mgmt=MANAGEMENT_KEY).out


def test_an_account_s_day_below_zero_is_unknown(account: Account, stats_here: Here) -> None:
    """One row may give money back; a whole day cannot."""
    account.add_activity(MODEL, days_ago=0, usage=Decimal("-5"))
    data = stats_here("--json", key=None, mgmt=MANAGEMENT_KEY).data
    assert data["today"]["usage_usd"] is None and data["partial"] is True
    assert any("less than nothing for today" in gap["message"] for gap in data["missing"])
    assert "Today: -$" not in stats_here(key=None, mgmt=MANAGEMENT_KEY).out


def test_a_limit_is_not_alerted_by_what_is_not_known(key: Any, sandbox: Sandbox, home: Any) -> None:
    """An alert says that it was not judged."""
    key.overrides = {"usage_daily": -5}
    ran = Tracker(home, sandbox.url)("alert", "--daily-limit", "10")
    assert ran.code == 5 and "not judged: " in ran.err and "✔" not in ran.out


# -- keys and prices and calls ---------------------------------------------------------------------------------------


def test_a_key_of_which_a_figure_is_wrong_is_listed_without_it(home: Any, sandbox: Sandbox) -> None:
    """The key is there, its figure is unknown, and the list is partial."""
    sandbox.account.add_key("another-key-0001", name="good", usage=Decimal(2))
    bad = sandbox.account.add_key("another-key-0002", name="bad", usage=Decimal(3))
    tracker = managing(home, sandbox.url)

    def spoil(answer: Any) -> None:
        for record in answer["data"]:
            if record["hash"] == bad.hash:
                record.update(usage=-3, usage_daily="x", created_at="someday")
        answer["data"].append(7)

    sandbox.misbehave("GET /keys", Fault.mutate(spoil))
    ran = tracker("keys", "list", "--json")
    found = {record["name"]: record for record in ran.data["keys"]}
    assert found["good"]["usage_usd"] == 2 and found["bad"]["usage_usd"] is None
    assert found["bad"]["usage_daily_usd"] is None
    assert ran.data["partial"] is True and ran.data["left_out"] == len(ran.json["notes"]) >= 2
    assert "⚠ not read: " in tracker("keys").out


def test_a_model_that_is_not_understood_is_counted(home: Any, sandbox: Sandbox) -> None:
    """The others are listed; from the kept list as well."""

    def spoil(answer: Any) -> None:
        answer["data"][0]["pricing"] = "dear"
        answer["data"].append(None)

    sandbox.misbehave("/models", Fault.mutate(spoil))
    tracker = Tracker(home, sandbox.url)
    for _ in range(2):
        data = tracker("models", "--json", "--top", "99").data
        assert (data["partial"], data["left_out"]) == (True, 2)
        assert len(data["models"]) > 3
        assert "⚠ 2 models left out" in tracker("models").out
    assert sandbox.calls("/models") == 1


@pytest.mark.parametrize(
    "values",
    [
        {"native_tokens_prompt": "many"}, {"native_tokens_completion": -3}, {"latency": "soon"},
        {"generation_time": []}, {"cache_discount": "x"}, {"tokens_prompt": 1.5}, {"usage": "free"},
    ],
    ids=repr,
)  # fmt: skip
def test_a_field_of_a_call_that_is_wrong_hides_no_other(
    values: dict[str, Any], home: Any, sandbox: Sandbox, monkeypatch: Any, capsys: Any
) -> None:
    """What it cost is known, and what is not is named."""
    tracker = Tracker(home, sandbox.url)
    assert tracker("call", "--model", MODEL, "--prompt", "Hello?").code == 0
    (generation,) = sandbox.account.generations
    sandbox.misbehave("/generation", Fault.mutate(lambda answer: answer["data"].update(values)))
    ran = TrackerAt(tracker, monkeypatch, capsys)(None, "query", "--id", generation, "--json")
    assert ran.code == 0, ran.err
    assert ran.data["total_cost_usd"] == sandbox.account.bill
    (name,) = values
    assert any("left out" in note and name in note for note in ran.json["notes"])


def test_what_a_call_cost_cannot_be_left_out(home: Any, sandbox: Sandbox) -> None:
    """Without its cost a call is not known."""
    tracker = Tracker(home, sandbox.url)
    tracker("call", "--model", MODEL, "--prompt", "Hello?")
    (generation,) = sandbox.account.generations
    sandbox.misbehave("/generation", Fault.mutate(lambda answer: answer["data"].update(total_cost=-1)))
    assert tracker("query", "--id", generation).code == 5


def test_stats_of_a_process_tell_the_same(stats: Stats, sandbox: Sandbox, account: Account) -> None:
    """As the programs are run."""
    sandbox.misbehave("/activity", BAD_ROWS["a date that is a word"])
    assert INCOMPLETE in stats(mgmt=MANAGEMENT_KEY).out
