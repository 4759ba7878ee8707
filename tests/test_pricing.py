"""The worst case of a call is never below what OpenRouter charges for it, and the request is held to it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal, getcontext, localcontext
from fractions import Fraction
from itertools import count, permutations
from math import ceil, gcd
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from openrouter_usage.entry import Usage
from openrouter_usage.errors import InvalidValue, OpenRouterUsageError, Unreachable
from openrouter_usage.figures import pricing as asked
from openrouter_usage.figures.pricing import (
    NoSuchModel,
    PriceList,
    Unbounded,
    estimate,
    fitted,
    likely_cost,
    limited,
    list_cost,
    no_such_model,
    per_million,
    price_capped,
    price_list,
    repriced,
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


# -- to the last digit -----------------------------------------------------------------------------------------------

CHEAP = {"prompt": "0.000002", "completion": "0.00001"}
# What a model costs, what the caller admits per million tokens, and the prices in USD per million that then count.
COUNTED: dict[str, tuple[dict[str, Any] | None, dict[str, Any], tuple[Any, Any, Any]]] = {
    "listed": (CHEAP, {}, (2, 10, 0)),
    "with a price of a request": (CHEAP | {"request": "0.01"}, {}, (2, 10, "0.01")),
    "written to a cache": (CHEAP | {"input_cache_write": "0.000003"}, {}, (3, 10, 0)),
    "written to a cache for an hour": (CHEAP | {"input_cache_write_1h": "0.000004"}, {}, (4, 10, 0)),
    "thought about": (CHEAP | {"internal_reasoning": "0.00002"}, {}, (2, 20, 0)),
    "admitted above the list": (CHEAP, {"prompt": 4, "completion": "12.5", "request": "0.5"}, (4, "12.5", "0.5")),
    "admitted below the list": (CHEAP, {"prompt": "0.5", "completion": 0}, ("0.5", 0, 0)),
    "admitted as free": (CHEAP, {"prompt": 0, "completion": 0, "request": 0}, (0, 0, 0)),
    "admitted, written to a cache": (CHEAP | {"input_cache_write": "0.000003"}, {"prompt": 4}, (6, 10, 0)),
    "admitted, thought about": (CHEAP | {"internal_reasoning": "0.00002"}, {"completion": 3}, (2, 6, 0)),
    "admitted, a cache of unknown price": (CHEAP | {"input_cache_write": "-1"}, {"prompt": 4}, (8, 10, 0)),
    "admitted for a free model": ({"prompt": "0", "completion": "0"}, {"prompt": 4, "completion": 5}, (8, 5, 0)),
    "admitted, and only the cache costs": (
        {"prompt": "0", "completion": "0", "input_cache_write": "0.000003"}, {"prompt": 1}, (3, 0, 0)
    ),
    "admitted, and the cache costs less": (
        {"prompt": "0", "completion": "0", "input_cache_write": "0.000003"}, {"prompt": 2}, (4, 0, 0)
    ),
    "admitted where the list varies": ({"prompt": "-1", "completion": "-1"}, {"prompt": 4, "completion": 5}, (8, 5, 0)),
    "admitted for any model": (None, {"prompt": 4, "completion": 5, "request": "0.1"}, (8, 5, "0.1")),
}  # fmt: skip


def only(pricing: dict[str, Any] | None) -> PriceList:
    """A price list of one model, or of none."""
    data = [] if pricing is None else [{"id": "a/model", "canonical_slug": "a/model-1", "pricing": pricing}]
    return price_list(read_models({"data": data}), NOON)


@pytest.mark.parametrize("answers", [1, 3])
@pytest.mark.parametrize("name", COUNTED)
def test_a_worst_case_is_its_tokens_at_their_prices_exactly(name, answers):
    pricing, own, (prompt, completion, per_request) = COUNTED[name]
    request = body("a/model", n=answers, max_tokens=1_000, provider={"max_price": own})
    worst = worst_case(request, only(pricing))
    tokens = worst.prompt_tokens * Decimal(prompt) + 1_000 * Decimal(completion)
    assert worst.cost == answers * (tokens / 1_000_000 + Decimal(per_request))
    assert worst.max_price == {
        part: Decimal(str(own[part])) if part in own else listed
        for part, listed in (
            ("prompt", per_million(Decimal((pricing or {}).get("prompt", 0)))),
            ("completion", per_million(Decimal((pricing or {}).get("completion", 0)))),
            ("request", Decimal((pricing or {}).get("request", 0))),
        )
    }


@pytest.mark.parametrize("missing", ["prompt", "completion", "request"])
def test_of_a_model_that_is_not_listed_every_price_has_to_be_admitted(missing):
    own = {"prompt": 1, "completion": 2, "request": 3}
    own.pop(missing)
    with pytest.raises(Unbounded) as refused:
        worst_case(body("no/such", provider={"max_price": own}), only(CHEAP))
    if missing == "request":
        assert "the request price of no/such is not known" in refused.value.message
        assert refused.value.exit_code == 3
    else:
        assert isinstance(refused.value, NoSuchModel) and refused.value.exit_code == 2


def test_a_bound_that_is_a_little_above_a_step_of_a_ledger_is_the_next_step():
    """The price admitted, times what a cache costs, is above the step by less than 60 digits can say."""
    tokens = asked.most_prompt_tokens(body("a/model"))
    assert gcd(tokens, 10) == 1  # there is no such price for other numbers of tokens
    base = next(number for number in count(10**23) if gcd(number, 10 * tokens) == 1)
    steps = base * 10**15
    cached, own = next(
        (cached, own)
        for cached in count(base + 1)
        if gcd(cached * tokens, steps) == 1 and 10**34 < (own := pow(cached * tokens, -1, steps)) < 10**36
    )
    amounts = [format(Decimal(number).scaleb(-27, EXACT), "f") for number in (base, cached, own)]
    prices = only({"prompt": amounts[0], "completion": "0", "input_cache_write": amounts[1]})
    worst = worst_case(body("a/model", provider={"max_price": {"prompt": amounts[2]}}), prices)
    exactly = Fraction(own, 10**33) * Fraction(cached, base) * tokens
    assert 0 < exactly * 10**18 - int(exactly * 10**18) < Fraction(1, 10**38)
    assert worst.prompt_tokens == tokens
    assert Fraction(worst.cost) * 10**18 == ceil(exactly * 10**18)


@pytest.mark.parametrize(("dollars", "fits"), [("10000", True), ("10000.01", False)])
def test_a_call_may_cost_a_million_and_not_more(dollars, fits):
    own = {"prompt": 0, "completion": dollars, "request": 0}
    request = body("a/model", max_tokens=100_000_000, provider={"max_price": own})
    if fits:
        assert worst_case(request, only(CHEAP)).cost == 1_000_000
    else:
        with pytest.raises(Unbounded, match="can cost more than"):
            worst_case(request, only(CHEAP))


@pytest.mark.parametrize("answers", [1, 3])
@pytest.mark.parametrize("tokens", [1, 2, 1_000])
def test_an_answer_is_as_long_as_its_money_lasts_to_the_last_token(answers, tokens):
    exact = worst_case(body("a/model", n=answers, max_tokens=tokens), only(CHEAP)).cost
    assert fitted(body("a/model", n=answers), only(CHEAP), exact).max_tokens == tokens
    below = exact - Decimal("1E-18")
    if tokens > 1:
        assert fitted(body("a/model", n=answers), only(CHEAP), below).max_tokens == tokens - 1
    else:
        with pytest.raises(Unbounded, match="allowed for it"):
            fitted(body("a/model", n=answers), only(CHEAP), below)


def test_a_length_that_was_asked_for_fits_exactly_or_is_refused():
    for name in ("max_tokens", "max_completion_tokens"):
        request = body("a/model", **{name: 900})
        worst = worst_case(request, only(CHEAP))
        assert fitted(request, only(CHEAP), worst.cost) == worst
        with pytest.raises(Unbounded):
            fitted(request, only(CHEAP), worst.cost - Decimal("1E-18"))


def test_an_answer_that_costs_nothing_does_not_pay_for_its_prompt():
    request = body("a/model", provider={"max_price": {"completion": 0}})
    worst = worst_case(request, only(CHEAP))
    assert fitted(request, only(CHEAP), worst.cost) == worst
    for less in (worst.cost - Decimal("1E-18"), Decimal(0)):
        with pytest.raises(Unbounded):
            fitted(request, only(CHEAP), less)


def test_an_answer_is_fitted_beside_a_price_that_no_decimal_can_write():
    """A cache that costs ten thirds of the plain price: neither the bound nor what it leaves can be written exactly."""
    prices = only({"prompt": "0.000003", "completion": "0.00001", "input_cache_write": "0.00001"})
    request = body("a/model", provider={"max_price": {"prompt": 1}})
    for most in ("0.0050007", "0.0111", "0.00040109"):
        worst = fitted(request, prices, Decimal(most))
        prompt = Fraction(10, 3) * worst.prompt_tokens / 10**6
        assert worst.max_tokens == min(1024, int((Fraction(most) - prompt) * 10**5))
        assert 0 <= Fraction(worst.cost) - prompt - Fraction(worst.max_tokens, 10**5) <= Fraction(1, 10**18)


@pytest.mark.parametrize("answers", [1, 3])
@pytest.mark.parametrize("most", ["0.01", "0.0123456789", "7"])
def test_capped_prices_use_up_what_is_allowed_and_an_answer_costs_five_times_a_prompt(most, answers):
    request = body("any/model:online", n=answers, max_tokens=700)
    worst = price_capped(request, Decimal(most))
    tokens = asked.most_prompt_tokens(request)
    price = Fraction(most) * 10**6 / (answers * (2 * tokens + 5 * 700))
    prompt = Decimal(int(price * 10**6)).scaleb(-6)
    assert worst == (Decimal(most), tokens, 700, {"prompt": prompt, "completion": 5 * prompt, "request": 0})


@pytest.mark.parametrize(("own", "admitted"), [(0, 0), ("0.000001", "0.000001"), (10**6, None)])
def test_of_the_callers_price_and_the_capped_one_the_lower_counts(own, admitted):
    capped = price_capped(body("any/model"), Decimal(1)).max_price
    for part in ("prompt", "completion"):
        lower = price_capped(body("any/model", provider={"max_price": {part: own}}), Decimal(1)).max_price
        assert lower == {**capped, part: capped[part] if admitted is None else Decimal(admitted)}


def test_a_cap_that_is_used_up_exactly_is_not_a_millionth_lower():
    tokens = asked.most_prompt_tokens(body("any/model"))
    most = Decimal(3 * (2 * tokens + 5 * 1_000)).scaleb(-12)
    assert price_capped(body("any/model", max_tokens=1_000), most).max_price["prompt"] == Decimal("0.000003")


VARYING = [CHEAP | {name: "-1"} for name in ("prompt", "completion", "request")]


def test_an_estimate_and_a_listed_cost_are_exact():
    pricing = CHEAP | {"request": "0.01", "input_cache_write": "0.000003", "input_cache_read": "0.000001"}
    model = only(pricing).find("a/model")
    assert model
    assert estimate(model, "a/model", 100, 10) == Decimal("0.0104")
    assert list_cost(model, 100, 10) == Decimal("0.0103")
    assert list_cost(model, 100, 10, requests=3) == Decimal("0.0303")
    usage = Usage(3, 100, 10, cached_tokens=50, cache_write_tokens=20)
    assert repriced(model, usage) == Decimal("0.03027")
    assert repriced(model, usage._replace(cached_tokens=300)) == Decimal("0.0302")
    assert repriced(model, usage._replace(cache_write_tokens=300)) == Decimal("0.0303")
    uncached = only(CHEAP).find("a/model")
    assert uncached and repriced(uncached, usage) == Decimal("0.0003")
    free_cache = only(CHEAP | {"input_cache_write": "0", "input_cache_read": "0"}).find("a/model")
    assert free_cache and repriced(free_cache, usage) == Decimal("0.00016")


@pytest.mark.parametrize("pricing", VARYING, ids=json.dumps)
def test_a_price_that_varies_is_estimated_by_nobody(pricing):
    model = only(pricing).find("a/model")
    assert model
    with pytest.raises(Unbounded, match="the price of a/model varies"):
        estimate(model, "a/model", 100, 10)
    assert list_cost(model, 100, 10) is None
    assert repriced(model, Usage(1, 100, 10)) is None


def test_a_model_that_is_not_listed_has_no_price():
    with pytest.raises(Unbounded, match="the price of no/such is not known"):
        estimate(None, "no/such", 100, 10)
    assert list_cost(None, 100, 10) is None


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
     {"messages": "Hello?"}, {"messages": {"role": "user", "content": "Hello?"}}, {"model": 5, "models": [None, 7, ""]},
     {"model": None, "models": "a/model"}, {"n": True}, {"best_of": 0}, {"n": 100_000_001}, {"max_completion_tokens": 0},
     {"max_tokens": 100_000_001}, {"max_completion_tokens": 100_000_001},
     {"provider": {"max_price": {"completion": -1, "prompt": 1}}}, {"provider": {"max_price": {"request": "-0.000001"}}},
     {"provider": {"max_price": {"prompt": -1}}}, {"provider": {"max_price": {"prompt": "cheap"}}}],
    ids=json.dumps,
)  # fmt: skip
def test_what_is_no_request_is_refused(fields):
    with pytest.raises(InvalidValue):
        worst_case({**body(), **fields}, PRICES)


def test_what_a_request_asks_for_is_read_exactly():
    names = {"model": "a/b", "models": ["c/d", 5, None, "", ["e/f"], "g/h"]}
    assert asked.models_asked(names) == ["a/b", "c/d", "g/h"]
    assert asked.models_asked({"models": ["c/d"]}) == ["c/d"]
    assert asked.models_asked({"model": "a/b", "models": "c/d"}) == ["a/b"]
    assert asked.most_answer_tokens({}) == asked.most_answer_tokens({"max_tokens": None}) == 1_024
    assert asked.most_answer_tokens({"max_tokens": 1}) == 1
    assert asked.most_answer_tokens({"max_completion_tokens": 100_000_000}) == 100_000_000
    assert asked.most_answer_tokens({"max_tokens": 7, "max_completion_tokens": 5}) == 7
    counts: list[tuple[dict[str, Any], int]] = [
        ({}, 1), ({"n": None}, 1), ({"n": 1}, 1), ({"n": 3}, 3), ({"best_of": 4}, 4), ({"n": 2, "best_of": 3}, 3),
        ({"n": 3, "best_of": 2}, 3),
    ]  # fmt: skip
    assert [asked.number_of_answers(request) for request, _ in counts] == [wanted for _, wanted in counts]
    for request, asks in (({}, False), ({"max_tokens": 1}, True), ({"max_completion_tokens": 1}, True)):
        assert asked.asks_for_length(request) is asks
    admitted = {"prompt": 1, "completion": "2.5", "request": "0.5", "image": 7}
    per_token = {"prompt": Decimal("0.000001"), "completion": Decimal("0.0000025"), "request": Decimal("0.5")}
    assert asked.own_max_price({"provider": {"max_price": admitted}}) == per_token
    assert asked.own_max_price({"provider": {"max_price": {"prompt": 0, "completion": None}}}) == {"prompt": 0}
    for provider in (None, "OpenAI", {}, {"max_price": None}, {"max_price": [1]}):
        assert asked.own_max_price({"provider": provider}) == {}


def test_a_prompt_counts_as_its_bytes_a_template_and_what_providers_write_around_tools():
    said = {"messages": []}
    assert asked.most_prompt_tokens(said) == len('{"messages": []}') + 64
    steering = {"model": "a/b", "models": [], "max_tokens": 1, "max_completion_tokens": 1, "provider": {}, "n": 2,
                "stream": True, "usage": {}}  # fmt: skip
    assert asked.most_prompt_tokens({**said, **steering}) == asked.most_prompt_tokens(said)
    assert asked.most_prompt_tokens({**said, "temperature": 1}) == asked.most_prompt_tokens(said) + len(', "temperature": 1')
    for name in ("tools", "functions", "response_format"):
        for value, around in (([], 0), ([1], 2_048)):
            written = len(f', "{name}": {json.dumps(value)}')
            assert asked.most_prompt_tokens({**said, name: value}) == asked.most_prompt_tokens(said) + written + around
    both = {"tools": [1], "response_format": {"a": 1}}
    assert asked.most_prompt_tokens({**said, **both}) == len(json.dumps({**said, **both})) + 64 + 2_048


TEXTS = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]


@pytest.mark.parametrize(
    "fields",
    [{"messages": TEXTS}, {"messages": [*HELLO, "odd"]}, {"messages": [{"role": "assistant", "content": None}]},
     {"modalities": []}, {"provider": "OpenAI"}, {"provider": None}, {"tools": "odd"}, {"service_tier": "flex"},
     {"service_tier": "auto"}, {"service_tier": "standard"}, {"tools": TOOLS}],
    ids=json.dumps,
)  # fmt: skip
def test_what_is_text_alone_can_be_bounded(fields):
    assert worst_case(body("a/model", **fields), only(CHEAP)).cost > 0


IMAGE_PART = {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}


@pytest.mark.parametrize(
    "fields",
    [{"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, IMAGE_PART]}]},
     {"messages": [{"role": "user", "content": ["odd"]}]}, {"tools": ["web_search"]}, {"tools": [*TOOLS, {"type": "x"}]},
     {"messages": [{"role": "user", "content": "a", "audio": {"id": "x"}}]},
     {"messages": [{"role": "user", "content": "a", "files": ["x"]}]}, {"image_config": {"size": 1}}],
    ids=json.dumps,
)  # fmt: skip
def test_one_part_that_is_no_text_makes_a_request_unbounded(fields):
    with pytest.raises(Unbounded):
        worst_case(body("a/model", **fields), only(CHEAP))


def test_prices_are_capped_whatever_chooses_the_model_but_only_for_text():
    assert price_capped(body("@preset/mine", models=["a/b:online"]), Decimal(1)).cost == 1
    for fields in ({"messages": IMAGE}, {"preset": "mine"}, {"tools": [{"type": "openrouter:web_search"}]}):
        with pytest.raises(Unbounded):
            price_capped(body("a/b", **fields), Decimal(1))


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


@pytest.mark.parametrize(
    ("first", "second", "dearer"),
    [("0.000001", "0.000002", "second"), ("0.000002", "0.000001", "first"), ("0.000001", "-1", "first"),
     ("-1", "0.000001", "second"), ("0.000001", "0.000001", "first"), ("-1", "-1", "first")],
)  # fmt: skip
def test_a_dated_slug_leads_to_the_dearer_of_its_models(first, second, dearer):
    """One whose price varies is asked for by its own name; of equally dear ones the first is taken."""
    models = [Model(f"a/{name}", name, price, "0.00001", permaslug="a/m-1") for name, price in
              (("first", first), ("second", second))]  # fmt: skip
    found = prices_of(models).models
    assert found["a/m-1"].id == f"a/{dearer}"
    assert set(found) == {"a/m-1", "a/first", "a/second"}


def test_a_model_without_a_dated_slug_has_its_id_alone():
    prices = price_list(read_models({"data": [{"id": "a/model", "pricing": CHEAP}, 7]}), NOON)
    assert set(prices.models) == {"a/model"}
    assert prices.left_out == 1 and PriceList({}, NOON).left_out == 0


def named(*names: str) -> PriceList:
    return prices_of([Model(name, name, "0.000001", "0.00001") for name in names])


SIMILAR = [f"vendor/a-model-{number}" for number in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("listed", "name", "meant"),
    [
        (["a/model"], "b", ""),
        (["a/model"], "x/quite-another", ""),
        (["vendor/model"], "vendor/modle", "did you mean vendor/model?"),
        (["vendor/model"], "openrouter/vendor/modle", "did you mean vendor/model?"),
        (["vendor-b/nice", "vendor-a/nice", "a/other"], "nice", "did you mean vendor-a/nice or vendor-b/nice?"),
        (["d/q", "c/q", "b/q", "a/q"], "q", "did you mean a/q or b/q or c/q?"),
        # similar as it stands: then no vendor is looked for
        (["vendor/model"], "vendor.model", "did you mean vendor/model?"),
        (["openrouter/vendor/q"], "vendor/q", ""),
    ],
)
def test_a_name_is_met_with_what_looks_like_it_or_ends_like_it(listed, name, meant):
    assert named(*listed).suggestion(name) == meant
    assert no_such_model(name, named(*listed)).hint == (meant or "cost_tracker.py models WORD finds one")


def test_three_names_are_suggested_at_most():
    assert named(*SIMILAR).suggestion("vendor/a-model-5").count("vendor/a-model-") == 3


def test_a_model_is_found_by_its_id_its_slug_and_its_variants():
    prices = prices_of([Model("a/m", "M", "0.000001", "0.00001", permaslug="a/m-20260101")])
    names = ["a/m", "a/m-20260101", "a/m:floor", "a/m:nitro", "a/m:exacto", "openrouter/a/m", "openrouter/a/m-20260101"]
    assert {(found := prices.find(name)) and found.id for name in names} == {"a/m"}
    assert prices.find("a/m:free") is prices.find("a/n") is prices.find("") is None


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


def test_what_a_call_likely_costs_is_its_new_tokens_in_full_and_a_share_of_the_known_ones():
    """The dearest model of a fallback list, for each answer, rounded up."""
    prices = prices_of([
        Model("a/b", "B", "0.000002", "0.00001", more={"input_cache_read": "0.0000002", "request": "0.001"}),
        Model("c/d", "D", "0.000001", "0.00002", more={"input_cache_read": "0.000005"}),
    ])  # fmt: skip
    count = {"fresh_tokens": 100, "known_tokens": 1_000, "missed": Decimal("0.1"), "answer_tokens": 50}
    plain = 200 * Decimal("0.000002") + 900 * Decimal("0.0000002") + 50 * Decimal("0.00001") + Decimal("0.001")
    assert likely_cost({"model": "a/b"}, prices, **count) == plain
    assert likely_cost({"model": "a/b", "n": 3}, prices, **count) == 3 * plain
    # A cached token that is listed for more than a new one is not billed as one.
    assert likely_cost({"model": "c/d"}, prices, **count) == 1_100 * Decimal("0.000001") + 50 * Decimal("0.00002")
    both = 200 * Decimal("0.000002") + 900 * Decimal("0.000001") + 50 * Decimal("0.00002") + Decimal("0.001")
    assert likely_cost({"model": "a/b", "models": ["c/d"]}, prices, **count) == both
    with pytest.raises(NoSuchModel):
        likely_cost({"model": "e/f"}, prices, **count)
