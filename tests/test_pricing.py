"""The worst case of a call is never below what OpenRouter charges for it, and the request is held to it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal, getcontext, localcontext
from itertools import permutations
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from openrouter_usage.errors import InvalidValue, OpenRouterUsageError, Unreachable
from openrouter_usage.figures import pricing as asked
from openrouter_usage.figures.pricing import (
    PriceList,
    Unbounded,
    estimate,
    fitted,
    limited,
    price_capped,
    price_list,
    worst_case,
)
from openrouter_usage.jobs import price_list as kept_prices
from openrouter_usage.money import EXACT, dumps, loads
from openrouter_usage.openrouter.answers.models import compact, read_models
from tests.sandbox import INFERENCE_KEY, Account, Model, Reply, Sandbox
from tests.sandbox.price_list import default_models

NOON = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
HELLO = [{"role": "user", "content": "Hello?"}]
LONG = [{"min_prompt_tokens": 400, "prompt": "0.00001", "completion": "0.00009", "input_cache_write": "0.00002"}]
NIGHT = [{"utc_start": 2200, "utc_end": 600, "prompt": "0.000008", "completion": "0.00004"}]
# Models that the sandbox does not have by itself: what is dearer at times, and where one provider is dearer.
ODD = [
    Model("odd/long", "Long", "0.000002", "0.00001", more={"overrides": LONG, "input_cache_write": "0.0000025"}),
    Model("odd/night", "Night", "0.000004", "0.00002", more={"overrides": NIGHT}),
    Model("odd/both", "Both", "0.000002", "0.00001", more={"overrides": [*LONG, *NIGHT], "request": "0.01"}),
    Model("odd/cache", "Cache", "0.000001", "0.000002", more={"input_cache_write_1h": "0.000002"}),
    Model("odd/dear", "Dear", "0.000001", "0.000002", providers=("Cheap", "Dear"),
          offers={"Dear": {"prompt": "0.000009", "completion": "0.00005", "request": "0.1"}}),
]  # fmt: skip
MODELS = [model for model in [*default_models(), *ODD] if "text" in model.output]
PRICED = [model.id for model in MODELS if not model.prompt.startswith("-")]


def prices_of(models: list[Model]) -> PriceList:
    """The models as the program reads them."""
    answer = loads(dumps({"data": [model.as_json() for model in models]}))
    return price_list(read_models(answer), NOON)


PRICES = prices_of(MODELS)


def body(model: str = "openai/gpt-5.2", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": HELLO, **more}


# -- beside the sandbox's own bill ---------------------------------------------------------------------------------

TEXT = st.text(max_size=300)
NAMES = st.builds(str.__add__, st.sampled_from(PRICED), st.sampled_from(["", "", ":floor", ":nitro", ":exacto"]))
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
PARAMS = st.fixed_dictionaries(
    {},
    optional={
        "max_tokens": st.integers(1, 4_000),
        "max_completion_tokens": st.integers(1, 4_000),
        "n": st.integers(1, 3),
        "models": st.lists(NAMES, max_size=3),
        "tools": st.just(TOOLS),
        "response_format": st.just({"type": "json_object"}),
        "service_tier": st.sampled_from(["flex", "default"]),
        "provider": st.fixed_dictionaries(
            {},
            optional={
                "sort": st.sampled_from(["price", "throughput"]),
                "max_price": st.dictionaries(
                    st.sampled_from(["prompt", "completion", "request"]),
                    st.sampled_from(["0", "0.5", "3", "20", 0.15, 60]),
                ),
            },
        ),
    },
)


@pytest.fixture(scope="module")
def served() -> Any:
    with Sandbox(Account.simple(total_credits=Decimal(10) ** 8)) as running:
        running.account.models = MODELS
        yield running


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(model=NAMES, said=TEXT, params=PARAMS, data=st.data())
def test_the_sandbox_never_bills_more_than_the_worst_case(served, model, said, params, data):
    account = served.account
    request = body(model, **params, messages=[{"role": "user", "content": said}])
    worst = worst_case(request, PRICES)
    answers = params.get("n", 1)
    prompt = data.draw(st.one_of(st.just(worst.prompt_tokens), st.integers(0, worst.prompt_tokens)))
    now = NOON.replace(hour=data.draw(st.sampled_from([3, 12, 23])))
    account.now = lambda: now
    account.reply = Reply(
        prompt_tokens=prompt,
        completion_tokens=10**9,
        cache_write_tokens=data.draw(st.sampled_from([0, prompt])),
        service_tier=params.get("service_tier"),
    )
    before = account.bill
    answer = requests.post(
        f"{served.url}/chat/completions",
        data=dumps(limited(request, worst)),
        headers={"Authorization": f"Bearer {INFERENCE_KEY}"},
        timeout=30,
    )
    assert answer.status_code in (200, 404, 429), answer.text  # nobody may be cheap enough, or :free is used up
    # The sandbox writes one answer; so many of them cost so many times as much.
    assert (account.bill - before) * answers <= worst.cost


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(model=NAMES, said=TEXT, most=st.sampled_from(["0.0001", "0.002", "0.05", "1"]), tokens=st.booleans())
def test_a_call_is_fitted_into_what_it_may_cost_or_refused(served, model, said, most, tokens):
    request = body(model, messages=[{"role": "user", "content": said}], **({"max_tokens": 900} if tokens else {}))
    try:
        worst = fitted(request, PRICES, Decimal(most))
    except Unbounded:
        assert worst_case({**request, "max_tokens": 900 if tokens else 1}, PRICES).cost > Decimal(most)
        return
    assert worst.cost <= Decimal(most)
    assert worst_case({**request, "max_tokens": worst.max_tokens}, PRICES).cost == worst.cost
    assert not tokens or worst.max_tokens == 900


@pytest.mark.parametrize("answers", [1, 2, 7])
def test_several_answers_are_fitted_together(answers):
    worst = fitted(body(n=answers), PRICES, Decimal("0.01"))
    assert worst.cost <= Decimal("0.01") < worst_case(body(n=answers, max_tokens=worst.max_tokens + 1), PRICES).cost


# -- what the request carries ----------------------------------------------------------------------------------------


def test_every_bounded_request_carries_its_limits():
    worst = worst_case(body("anthropic/claude-sonnet-4.5"), PRICES)
    sent = limited(body("anthropic/claude-sonnet-4.5", provider={"sort": "price"}), worst)
    assert sent["max_tokens"] == asked.DEFAULT_MAX_TOKENS
    assert sent["provider"] == {"sort": "price", "max_price": {"prompt": 3, "completion": 15, "request": 0}}


def test_both_names_of_the_length_count_with_the_longer_one():
    request = body(max_tokens=100, max_completion_tokens=5_000)
    worst = worst_case(request, PRICES)
    assert worst.max_tokens == 5_000
    assert limited(request, worst)["max_completion_tokens"] == 5_000


def test_the_dearest_of_the_fallbacks_is_what_counts():
    cheap, dear = "openai/gpt-5-mini", "anthropic/claude-opus-4.5"
    assert worst_case(body(cheap, models=[dear]), PRICES).cost >= worst_case(body(dear), PRICES).cost
    assert worst_case(body(cheap, models=[dear]), PRICES).max_price["completion"] == 25


@pytest.mark.parametrize("order", list(permutations(["openai/gpt-5-mini", "anthropic/claude-opus-4.5", "odd/both"])))
def test_the_order_of_the_fallbacks_changes_nothing(order):
    """Each price counts at its dearest, whichever model it is of: odd/both alone has a price of a request."""
    request = body(order[0], models=list(order[1:]), max_tokens=1_000)
    worst = worst_case(request, PRICES)
    opus, both = (worst_case(body(name, max_tokens=1_000), PRICES) for name in ("anthropic/claude-opus-4.5", "odd/both"))
    highest = {part: max(opus.max_price[part], both.max_price[part]) for part in ("prompt", "completion", "request")}
    assert worst.max_price == highest and highest["request"] == Decimal("0.01")
    assert worst.cost == worst_case(body(*order[:1], models=sorted(order), max_tokens=1_000), PRICES).cost
    assert worst.cost >= opus.cost + both.max_price["request"]


def test_the_callers_own_price_counts_where_it_is_above_the_list():
    own = {"provider": {"max_price": {"prompt": 100, "completion": 200}}}
    worst = worst_case(body(**own), PRICES)
    assert worst.max_price == {"prompt": 100, "completion": 200, "request": 0}
    assert worst.cost >= Decimal("0.0001") * worst.prompt_tokens + Decimal("0.0002") * worst.max_tokens


def test_the_callers_own_price_below_the_list_makes_a_call_cheaper():
    own = {"provider": {"max_price": {"prompt": 0.1, "completion": 0.2}}}
    assert worst_case(body(**own), PRICES).cost < worst_case(body(), PRICES).cost


@pytest.mark.parametrize(("part", "own", "dearest"), [("completion", 20, 9), ("prompt", 4, 10)])
def test_the_callers_own_price_grows_with_what_is_dearer_than_the_plain_one(part, own, dearest):
    """Of odd/long a long prompt's answer costs nine times the plain price, and its cached prompt ten times."""
    said = [{"role": "user", "content": "x" * 400}]
    worst = worst_case(body("odd/long", max_tokens=1_000, messages=said, provider={"max_price": {part: own}}), PRICES)
    tokens = {"completion": worst.max_tokens, "prompt": worst.prompt_tokens}[part]
    assert worst.cost >= Decimal(own) / 1_000_000 * dearest * tokens
    assert worst.max_price[part] == own


def test_a_prompt_too_short_for_a_dearer_price_is_not_counted_with_it():
    short = worst_case(body("odd/long", max_tokens=1_000), PRICES)
    long = worst_case(body("odd/long", max_tokens=1_000, messages=[{"role": "user", "content": "x" * 400}]), PRICES)
    assert short.max_price["completion"] == 10
    assert long.max_price["completion"] == 90


def test_a_model_without_a_price_needs_prices_of_the_callers_own():
    with pytest.raises(Unbounded, match="the prompt price of openrouter/auto varies"):
        worst_case(body("openrouter/auto"), PRICES)
    with pytest.raises(Unbounded, match="OpenRouter lists no such model: no/such"):
        worst_case(body("no/such"), PRICES)
    own = {"provider": {"max_price": {"prompt": 1, "completion": 2}}}
    assert worst_case(body("openrouter/auto", **own), PRICES).max_price == {"prompt": 1, "completion": 2, "request": 0}


@given(st.sampled_from(["0", "0.0001", "0.003", "2"]), st.integers(1, 3), TEXT)
def test_prices_are_capped_so_low_that_any_model_stays_below_what_was_allowed(most, answers, said):
    request = body("openrouter/auto", n=answers, messages=[{"role": "user", "content": said}])
    worst = price_capped(request, Decimal(most))
    dearest_prompt = Decimal(worst.max_price["prompt"]) * 2  # written to a cache
    units = worst.prompt_tokens * dearest_prompt + worst.max_tokens * Decimal(worst.max_price["completion"])
    assert answers * units / 1_000_000 <= Decimal(most) == worst.cost


def test_the_callers_own_lower_price_is_not_raised_by_what_the_call_may_cost():
    request = body("openrouter/auto", provider={"max_price": {"completion": 0.01}})
    assert price_capped(request, Decimal(1)).max_price["completion"] == Decimal("0.01")


def test_what_a_hold_says_can_be_written_to_a_ledger_whatever_the_callers_price_is():
    own = {"provider": {"max_price": {"prompt": "0.333333333333333333333333333", "completion": "1e-27"}}}
    cost = worst_case(body("anthropic/claude-sonnet-4.5", **own), PRICES).cost
    assert cost > 0 and int(cost.as_tuple().exponent) >= -27


def test_a_call_that_could_cost_a_fortune_is_refused():
    with pytest.raises(Unbounded, match=r"more than \$1,000,000"):
        worst_case(body("anthropic/claude-opus-4.5", max_tokens=100_000_000, n=1_000), PRICES)


def test_a_decimal_context_of_the_caller_changes_nothing():
    usual = fitted(body(), PRICES, Decimal("0.01")), price_capped(body("a/b"), Decimal("0.01"))
    with localcontext() as context:
        context.prec = 2
        assert (fitted(body(), PRICES, Decimal("0.01")), price_capped(body("a/b"), Decimal("0.01"))) == usual
    assert getcontext().prec == 28 and EXACT.prec == 60


# -- what nobody can bound -------------------------------------------------------------------------------------------

IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}]}]
UNBOUNDED: dict[str, dict[str, Any]] = {
    "plugins": {"plugins": [{"id": "web"}]},
    "a preset": {"preset": "mine"},
    "a preset's model": {"model": "@preset/mine"},
    "a web search": {"web_search_options": {"search_context_size": "low"}},
    "an online model": {"model": "openai/gpt-5.2:online"},
    "an online fallback": {"models": ["openai/gpt-5.2:online"]},
    "a model of unknown price among the fallbacks": {"models": ["openrouter/auto"]},
    "a server tool": {"tools": [{"type": "openrouter:web_search"}]},
    "an image": {"messages": IMAGE},
    "an image that the model made": {"messages": [*HELLO, {"role": "assistant", "content": "", "images": [{}]}]},
    "sound": {"audio": {"voice": "alloy"}},
    "modalities": {"modalities": ["text", "image"]},
    "a predicted answer": {"prediction": {"type": "content", "content": "x"}},
    "a dearer tier": {"service_tier": "priority"},
    "an unheard-of tier": {"service_tier": "hyper"},
    "options of a provider": {"provider": {"options": {"openai": {"x": 1}}}},
}


@pytest.mark.parametrize("name", UNBOUNDED)
def test_what_costs_more_than_tokens_do_is_refused(name):
    with pytest.raises(Unbounded) as refused:
        worst_case(body() | UNBOUNDED[name], PRICES)
    assert refused.value.exit_code == 3
    assert "--max-cost" in refused.value.hint


@pytest.mark.parametrize(
    "fields",
    [{"modalities": ["text"]}, {"tools": []}, {"plugins": []}, {"service_tier": None}, {"provider": {"options": {}}}],
    ids=json.dumps,
)
def test_what_costs_nothing_extra_is_not_refused(fields):
    assert worst_case(body(**fields), PRICES).cost > 0


@pytest.mark.parametrize(
    "fields",
    [{"max_tokens": 0}, {"max_tokens": -1}, {"max_tokens": 1.5}, {"max_tokens": "5"}, {"max_tokens": True}, {"n": 0},
     {"max_tokens": 10**9}, {"messages": []}, {"messages": None}, {"model": ""}, {"model": None, "models": []},
     {"provider": {"max_price": {"prompt": -1}}}, {"provider": {"max_price": {"prompt": "cheap"}}}],
    ids=json.dumps,
)  # fmt: skip
def test_what_is_no_request_is_refused(fields):
    with pytest.raises(InvalidValue):
        worst_case({**body(), **fields}, PRICES)


# -- prices and where they come from ---------------------------------------------------------------------------------


@given(st.sampled_from(PRICED), st.integers(0, 2_000), st.integers(0, 2_000))
def test_an_estimate_is_not_below_what_the_sandbox_would_charge(name, prompt_tokens, max_tokens):
    model = next(model for model in MODELS if model.id == name)
    most = estimate(PRICES.find(name), name, prompt_tokens, max_tokens)
    for now in (NOON.replace(hour=hour) for hour in (3, 12, 23)):
        parts = ("prompt", "input_cache_write", "completion", "request")
        prompt, written, completion, request = (model.price(part, prompt_tokens, now) for part in parts)
        assert max(prompt, written) * prompt_tokens + completion * max_tokens + request <= most


@pytest.mark.parametrize(
    ("pricing", "known"),
    [
        ({"prompt": "0.000001", "completion": "0.000002"}, True),
        ({"prompt": "0", "completion": "0"}, True),
        ({"prompt": "-1", "completion": "0.000002"}, False),
        ({"prompt": "0.000001", "completion": "-1"}, False),
        ({"prompt": "0.000001"}, False),
        ({"completion": "0.000001"}, False),
        ({"prompt": None, "completion": "0.000002"}, False),
        ({"prompt": "free", "completion": "0.000002"}, False),
        ({"prompt": True, "completion": "0.000002"}, False),
        ({"prompt": "0.000001", "completion": "0.000002", "request": "-1"}, False),
        ({"prompt": "0.000001", "completion": "0.000002", "input_cache_write": "-1"}, False),
        ({"prompt": "0.000001", "completion": "0.000002", "internal_reasoning": "x"}, False),
        ({"prompt": "0.000001", "completion": "0.000002", "overrides": [{"prompt": "-1"}]}, False),
        ({"prompt": "0.000001", "completion": "0.000002", "overrides": [{"prompt": "-1", "min_prompt_tokens": 9_999}]},
         True),
        ({"prompt": "0.000001", "completion": "0.000002", "overrides": ["odd", None]}, True),
    ],
    ids=json.dumps,
)  # fmt: skip
def test_a_price_that_is_missing_varies_or_is_none_is_unknown_and_never_free(pricing, known):
    data = {"id": "a/model", "canonical_slug": "a/model-1", "pricing": pricing}
    for answer in ({"data": [data]}, compact(loads(dumps({"data": [data]})))):
        prices = price_list(read_models(answer), NOON)
        try:
            worst_case(body("a/model"), prices)
        except Unbounded:
            assert not known
        else:
            assert known


def test_two_models_of_one_dated_slug_count_with_the_dearer_one():
    models = [Model("a/m", "M", "0.000001", "0.000002", permaslug="a/m-1"),
              Model("a/m:free", "M", "0", "0", permaslug="a/m-1")]  # fmt: skip
    for listed in (models, models[::-1]):
        assert worst_case(body("a/m-1"), prices_of(listed)).cost > 0
        assert worst_case(body("a/m:free"), prices_of(listed)).cost == 0


class Asked:
    """A price list that counts how often it was asked for."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.times = 0

    def __call__(self) -> Any:
        self.times += 1
        answer = self.answers[min(self.times, len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer


SOURCE = "https://openrouter.ai/api/v1"


def current_prices(path, ask, now, source=SOURCE):
    """The list of OpenRouter's own address, unless another is named."""
    return kept_prices.current_prices(path, ask, now, source=source)


def load_prices(path):
    return kept_prices.load_prices(path, SOURCE)


LISTED = loads(dumps({"data": [model.as_json() for model in MODELS]}))


def test_the_price_list_is_kept_for_a_day_and_then_asked_for_again(tmp_path):
    path, ask = tmp_path / "cache" / "models.json", Asked(LISTED)
    for age in (timedelta(), timedelta(hours=23), timedelta(hours=24), timedelta(hours=25)):
        found = current_prices(path, ask, NOON + age)
        assert NOON + age - found.fetched_at < timedelta(days=1)
        assert worst_case(body(), found) == worst_case(body(), PRICES)
    assert ask.times == 2
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_kept_list_of_the_future_is_asked_for_again(tmp_path):
    path, ask = tmp_path / "cache" / "models.json", Asked(LISTED)
    current_prices(path, ask, NOON)
    assert current_prices(path, ask, NOON - timedelta(hours=1)).fetched_at == NOON - timedelta(hours=1)


def test_an_old_list_is_not_used_when_no_new_one_can_be_had(tmp_path):
    path = tmp_path / "cache" / "models.json"
    current_prices(path, Asked(LISTED), NOON)
    with pytest.raises(Unreachable):
        current_prices(path, Asked(Unreachable("no")), NOON + timedelta(days=1))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"fetched_at":"x","answer":{}}', b"\xff", b'{"answer":3}'])
def test_a_kept_list_that_cannot_be_read_is_asked_for_again(content, tmp_path):
    path, ask = tmp_path / "models.json", Asked(LISTED)
    path.write_bytes(content)
    assert load_prices(path) is None
    assert current_prices(path, ask, NOON).models and ask.times == 1
    assert load_prices(path) is not None


def test_a_list_that_is_none_is_an_error_and_is_not_kept(tmp_path):
    path = tmp_path / "models.json"
    with pytest.raises(OpenRouterUsageError):
        current_prices(path, Asked({"data": "soon"}), NOON)
    assert not path.exists()


def test_a_list_that_cannot_be_kept_is_used_all_the_same(tmp_path):
    (tmp_path / "cache").write_text("no folder")
    assert current_prices(tmp_path / "cache" / "models.json", Asked(LISTED), NOON).models
    assert current_prices(None, Asked(LISTED), NOON).models


@pytest.mark.parametrize(("letter", "size"), [("x", 1), ("é", 2), ("世", 3), ("💰", 4)])
def test_each_byte_of_a_prompt_is_a_token_at_most(letter, size):
    """A tokenizer may make four tokens of one emoji: a bound in letters would be a quarter of what can be billed."""
    counts = [
        asked.most_prompt_tokens(body(messages=[{"role": "user", "content": letter * number}])) for number in (0, 1_000)
    ]
    assert counts[1] - counts[0] == 1_000 * size
    request = body("odd/cache", messages=[{"role": "user", "content": letter * 1_000}])
    assert worst_case(request, PRICES).prompt_tokens == counts[1]


@given(st.integers(0, 20), TEXT)
def test_the_bound_of_a_prompt_is_not_below_its_bytes(count, said):
    messages = [{"role": "user", "content": said}] * (count + 1)
    assert asked.most_prompt_tokens(body(messages=messages)) >= len(said.encode()) * (count + 1)
    assume(said)
    assert asked.most_prompt_tokens(body(messages=messages, tools=TOOLS)) > asked.most_prompt_tokens(body(messages=messages))
