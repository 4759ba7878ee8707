"""cost_tracker.py models: prices are OpenRouter's own, with their age; what varies is unknown, what costs not free."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from openrouter_usage.openrouter.answers.models import compact, read_models
from tests.booking import Tracker, TrackerAt
from tests.running import exact_json
from tests.sandbox import Account, Fault, Model, Sandbox, Unreachable
from tests.test_hostile_text import TERMINAL, harmless

MILLION = 1_000_000


def ids(at: TrackerAt, *argv: str) -> list[str]:
    """The models that a search gives, in its order."""
    return [model["id"] for model in at(None, "models", *argv, "--json", "--top", "1000").data["models"]]


# -- prices ----------------------------------------------------------------------------------------------------------


def test_every_price_is_the_lists_to_the_last_digit(tracker: Tracker, account: Account) -> None:
    ran = tracker("models", "--json", "--top", "1000", env={"OPENROUTER_API_KEY": None})
    shown = {model["id"]: model for model in ran.data["models"]}
    writing = [model for model in account.models if "text" in model.output]
    assert set(shown) == {model.id for model in writing}
    for model in writing:
        pairs = (("prompt", "prompt"), ("completion", "completion"), ("cache_read", "input_cache_read"))
        for name, listed in pairs:
            price = shown[model.id][f"{name}_usd_per_million"]
            varies = model.pricing().get(listed, "-1").startswith("-")
            assert price == (None if varies else model.price(listed) * MILLION), (model.id, name)
        assert shown[model.id]["request_usd"] == Decimal(model.more.get("request", "0"))
        assert shown[model.id]["context_length"] == model.context_length


LINES: list[tuple[dict[str, Any], str]] = [
    ({"prompt": "0.0000025", "completion": "0.00001"}, "$2.50 in, $10.00 out per million (128,000 tokens)"),
    ({"prompt": "-1", "completion": "-1"}, "price varies (128,000 tokens)"),
    ({"prompt": "0.000001", "completion": "-1"}, "price varies (128,000 tokens)"),
    ({"prompt": "0", "completion": "0"}, "free (128,000 tokens)"),
    (
        {"prompt": "0", "completion": "0", "more": {"request": "0.005"}},
        "$0.00 in, $0.00 out per million, $0.005 a request (128,000 tokens)",
    ),
    (
        {"prompt": "0.000003", "completion": "0.000015", "more": {"input_cache_read": "0.0000003"}},
        "$3.00 in, $15.00 out per million, cached $0.30 (128,000 tokens)",
    ),
    (
        {"prompt": "0.000004", "completion": "0", "more": {"discount": 0.25}},
        "$3.00 in, $0.00 out per million (128,000 tokens)",
    ),
    (
        {"prompt": "0.000004", "completion": "0", "more": {"discount": "half"}},
        "$4.00 in, $0.00 out per million (128,000 tokens)",
    ),
    (
        {"prompt": "0.000001", "completion": "0.000001", "context_length": None},
        "$1.00 in, $1.00 out per million (unknown context)",
    ),
    ({"prompt": "nonsense", "completion": "0.000001"}, "price varies (128,000 tokens)"),
    (
        {"prompt": "0", "completion": "0", "more": {"overrides": [{"min_prompt_tokens": 9, "prompt": "0.000001"}]}},
        "$0.00 in, $0.00 out per million (128,000 tokens)",
    ),
]


@pytest.mark.parametrize(("fields", "line"), LINES)
def test_an_odd_price_is_told_as_what_it_is(fields: dict[str, Any], line: str, at: TrackerAt, account: Account) -> None:
    account.models = [Model("odd/one", "Odd", **fields)]
    assert at(None, "models").out.splitlines()[0] == f"• odd/one: {line}"


def test_a_model_that_is_not_understood_is_left_out_and_hides_no_other(at: TrackerAt, account: Account) -> None:
    account.models[0].fields["pricing"] = "dear"
    account.models[1].context_length = "long"  # type: ignore[assignment]
    assert len(ids(at)) == len([model for model in account.models if "text" in model.output]) - 2


@pytest.mark.parametrize("name", TERMINAL)
def test_a_hostile_name_is_shown_as_text(name: str, at: TrackerAt, account: Account) -> None:
    account.models = [Model(TERMINAL[name], TERMINAL[name], "0.000001", "0.000001")]
    ran = at(None, "models")
    harmless(ran.out)
    assert len(ran.out.splitlines()) == 2


# -- searching -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["gpt-5"], ["openai/gpt-5-mini", "openai/gpt-5.2"]),
        (["GPT", "mini"], ["openai/gpt-4o-mini", "openai/gpt-5-mini"]),
        (["Sonnet 4.5"], ["anthropic/claude-sonnet-4.5"]),
        (["embedding"], []),
        (["nothing-like-it"], []),
        (["--free"], ["meta-llama/llama-3.3-70b-instruct:free", "openrouter/free"]),
        (["--context", "1000000", "claude"], ["anthropic/claude-sonnet-4.5", "~anthropic/claude-sonnet-latest"]),
        (["--context", "1000001", "claude"], []),
        (["--supports", "tools,seed", "haiku"], ["anthropic/claude-haiku-4.5"]),
        (["--supports", "tools,telepathy", "haiku"], []),
        (["--free", "--context", "150000"], ["openrouter/free"]),
    ],
    ids=" ".join,
)
def test_a_search_finds_what_it_names_and_nothing_else(words: list[str], found: list[str], at: TrackerAt) -> None:
    assert ids(at, *words) == found


def test_what_costs_by_the_request_is_not_free(at: TrackerAt, account: Account) -> None:
    account.models = [Model("a/b", "B", "0", "0", more={"request": "0.01"}), Model("a/c", "C", "0", "0")]
    assert ids(at, "--free") == ["a/c"]


def test_the_cheapest_are_those_whose_typical_call_costs_least(at: TrackerAt, account: Account) -> None:
    account.models = [
        Model("a/dear", "D", "0.00001", "0.00001"),
        Model("a/free", "F", "0", "0"),
        Model("a/varies", "V", "-1", "-1"),
        Model("a/cheap", "C", "0.000001", "0.000002"),
        Model("a/by-request", "R", "0.0000001", "0.0000001", more={"request": "0.02"}),
        Model("a/cheaper-in", "I", "0.0000005", "0.0000035"),
    ]
    assert ids(at, "--cheapest", "9") == ["a/cheap", "a/cheaper-in", "a/by-request", "a/dear"]
    assert ids(at, "--cheapest", "1") == ["a/cheap"]
    assert ids(at, "--sort", "price") == ["a/free", "a/cheap", "a/cheaper-in", "a/by-request", "a/dear", "a/varies"]


def test_models_are_sorted_by_name_or_by_room(at: TrackerAt, account: Account) -> None:
    assert ids(at) == sorted(ids(at)) == ids(at, "--sort", "name")
    context = {model.id: model.context_length or 0 for model in account.models}
    found = [context[name] for name in ids(at, "--sort", "context")]
    assert found == sorted(found, reverse=True) and found[0] == 2_000_000


def test_what_is_not_shown_is_counted(at: TrackerAt, account: Account) -> None:
    count = len(ids(at))
    ran = at(None, "models", "--top", "3")
    assert f"... and {count - 3} more" in ran.out and len(ran.out.splitlines()) == 5
    assert at(None, "models", "--top", "3", "--json").data["more"] == count - 3


@pytest.mark.parametrize(
    "words", ["--cheapest 0", "--top 0", "--context -1", "--sort prize", "--fre", "--prompt-tokens x"]
)
def test_what_is_wrong_is_told_before_anything_is_asked(words: str, at: TrackerAt, sandbox: Sandbox) -> None:
    ran = at(None, "models", *words.split(), "--json")
    assert (ran.code, ran.json["error"]["code"], sandbox.connections) == (2, "usage", 0)


# -- comparing -------------------------------------------------------------------------------------------------------


def test_a_comparison_prices_the_same_call_on_each_model(tracker: Tracker, account: Account) -> None:
    names = ["openai/gpt-5.2:floor", "perplexity/sonar", "deepseek/deepseek-v3.2", "openrouter/auto", "no/such-model"]
    ran = tracker("models", "compare", *names, "--prompt-tokens", "2001", "--completion-tokens", "503", "--json")
    for row in ran.data["models"]:
        model = account.model(row["model"])
        if model is None or model.prompt.startswith("-"):
            assert row["cost_usd"] is None
        else:
            tokens = 2001 * model.price("prompt", 2001) + 503 * model.price("completion", 2001)
            assert row["cost_usd"] == tokens + model.price("request")
    assert [row["model"] for row in ran.data["models"]] == names


def test_a_comparison_says_how_many_times_dearer(at: TrackerAt, account: Account) -> None:
    account.models = [Model("a/one", "1", "0.000001", "0.000001"), Model("a/three", "3", "0.000003", "0.000003")]
    ran = at(None, "models", "compare", "a/one", "a/three")
    assert ran.out.splitlines()[1:3] == ["• a/one: $0.002", "• a/three: $0.006 (3.0 x)"]
    assert at(None, "models", "compare", "a/one").code == 2


# -- the kept list ---------------------------------------------------------------------------------------------------


def age(tracker: Tracker, days: float) -> None:
    """Make the kept list older."""
    path = tracker.folder / "cache" / "models.json"
    kept = exact_json(path.read_text())
    when = kept["fetched_at"]
    moved = datetime.fromisoformat(when) - timedelta(days=days)
    path.write_text(path.read_text().replace(when, moved.isoformat()))


@pytest.mark.parametrize(
    ("days", "asked", "told"), [(0, 1, "0 s ago"), (0.5, 1, "12 h ago"), (1, 2, "ago"), (-1, 2, "ago")]
)
def test_the_price_list_is_kept_for_a_day_and_tells_its_age(
    days: float, asked: int, told: str, at: TrackerAt, sandbox: Sandbox
) -> None:
    at(None, "models")
    age(at.tracker, days)
    ran = at(None, "models")
    assert sandbox.calls("/models") == asked
    assert ran.out.splitlines()[-1].startswith("Prices as OpenRouter listed them ")
    assert told in ran.out.splitlines()[-1]


def test_a_kept_list_says_the_same_as_a_new_one(at: TrackerAt, sandbox: Sandbox) -> None:
    new, kept = at(None, "models", "--json", "--top", "99").data, at(None, "models", "--json", "--top", "99").data
    assert new == kept
    assert sandbox.calls("/models") == 1


def test_what_is_kept_is_read_back_the_same(account: Account) -> None:
    sees = Model("a/sees", "Sees", "0.000001", "0.000002", input=("text", "image", "file"))
    answer: Any = {"data": [model.as_json() for model in [*account.models, sees]]}
    answer = exact_json(json.dumps(answer, default=str))
    assert read_models(compact(answer)) == read_models(answer)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"fetched_at": 7}', '{"fetched_at":"2026-11-22T10:00:00Z","answer":{}}']
)
def test_a_kept_list_that_is_damaged_is_asked_for_again(content: str, at: TrackerAt, sandbox: Sandbox) -> None:
    at(None, "models")
    (at.tracker.folder / "cache" / "models.json").write_text(content)
    assert at(None, "models").code == 0
    assert sandbox.calls("/models") == 2


def test_an_old_list_is_not_used_for_a_new_one(at: TrackerAt) -> None:
    at(None, "models")
    age(at.tracker, 2)
    with Unreachable() as nowhere:
        ran = at(None, "models", "--json", env={"OPENROUTER_BASE_URL": nowhere.url})
    assert (ran.code, ran.json["data"]) == (5, None)


@pytest.mark.parametrize("fault", [Fault.html(), Fault.raw(b"[]"), Fault.raw(b'{"data":{}}'), Fault.status(403)])
def test_a_list_that_is_none_is_not_kept(fault: Fault, at: TrackerAt, sandbox: Sandbox) -> None:
    sandbox.misbehave("/models", fault, times=1)
    assert at(None, "models").code in (4, 5)
    assert at(None, "models").code == 0


def test_no_key_is_sent_for_prices(tracker: Tracker, sandbox: Sandbox) -> None:
    assert tracker("models", "gpt").code == 0
    assert [request.headers.get("Authorization") for request in sandbox.received()] == [None]
