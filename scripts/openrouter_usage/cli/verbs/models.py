"""Find, sort and compare models by what OpenRouter lists as their price, in USD per million tokens."""

from __future__ import annotations

from argparse import Namespace
from datetime import datetime
from decimal import Decimal

from openrouter_usage.cli.program import Parser, whole_number, write
from openrouter_usage.errors import SettingsError
from openrouter_usage.figures.model_names import canonical
from openrouter_usage.figures.pricing import PriceList, list_cost, per_million
from openrouter_usage.jobs.price_list import load_price_list
from openrouter_usage.money import Json, format_usd, ratio, rounded
from openrouter_usage.openrouter.answers.models import Model
from openrouter_usage.period import iso
from openrouter_usage.render.envelope import envelope
from openrouter_usage.text import ago, named, plural

EXAMPLES = """examples:
  cost_tracker.py models claude
  cost_tracker.py models --cheapest 5 --context 128000 --supports tools
  cost_tracker.py models --free
  cost_tracker.py models compare openai/gpt-5.2 anthropic/claude-sonnet-4.5 --prompt-tokens 2000 --completion-tokens 500

variants: :free costs nothing and has a daily quota; :floor uses the cheapest provider, :nitro the fastest,
which can cost more; both have the listed prices of their model. A listed price is an estimate, a bill is not.
"""
_TOP = 20


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument("words", nargs="*", metavar="WORD", help="parts of a name; or: compare MODEL MODEL ...")
    parser.add_argument("--sort", choices=("price", "name", "context"), default="name", help="sort order (name)")
    parser.add_argument("--free", action="store_true", help="only free models")
    parser.add_argument("--cheapest", type=whole_number(1, 1_000), metavar="N", help="the N with the lowest prices")
    parser.add_argument(
        "--context", type=whole_number(1, 999_999_999), metavar="N", help="context of at least N tokens"
    )
    parser.add_argument("--supports", default="", metavar="A,B", help="required parameters, such as tools")
    parser.add_argument(
        "--prompt-tokens",
        type=whole_number(0, 999_999_999),
        default=1_000,
        metavar="N",
        help="compare: prompt tokens (1000)",
    )
    parser.add_argument(
        "--completion-tokens",
        type=whole_number(0, 999_999_999),
        default=1_000,
        metavar="M",
        help="compare: completion tokens (1000)",
    )
    parser.add_argument("--top", type=whole_number(1, 10_000), default=_TOP, metavar="N", help=f"lines shown ({_TOP})")


def run(options: Namespace, *, now: datetime) -> int:
    """Print the models that match."""
    prices = load_price_list(now)
    if options.words[:1] == ["compare"]:
        return _compare(options, prices, now)
    found = _found(options, prices)
    shown = found[: options.cheapest or options.top]
    if options.json:
        data: dict[str, Json] = {"models": [_data(model) for model in shown], "more": len(found) - len(shown)}
        data |= {"partial": bool(prices.left_out), "left_out": prices.left_out}
        write(envelope("models", now, {**data, "prices_of": iso(prices.fetched_at)}))
        return 0
    lines = [_line(model) for model in shown] or ["No model matches."]
    if not options.cheapest and len(found) > len(shown):
        lines.append(f"... and {len(found) - len(shown):,} more")
    if prices.left_out:
        lines.append(
            f"⚠ {plural(prices.left_out, 'model')} left out, because OpenRouter's answer about them is not understood"
        )
    write("\n".join([*lines, _age(prices, now)]) + "\n")
    return 0


def _found(options: Namespace, prices: PriceList) -> list[Model]:
    wanted = [name.strip() for name in options.supports.split(",") if name.strip()]
    words = [(canonical(word, prices.short_names) if "/" in word else word).casefold() for word in options.words]
    by_id = {model.id: model for model in prices.models.values()}
    found = [
        model
        for model in by_id.values()
        if all(word in f"{model.id} {model.name}".casefold() for word in words)
        and (not options.free or _is_free(model))
        and (not options.context or (model.context_length or 0) >= options.context)
        and set(wanted) <= set(model.supports)
        and model.writes_text
    ]
    if options.cheapest:
        # Free models have a daily quota, and --free finds them.
        return sorted((m for m in found if _price(m)), key=lambda m: (_price(m) or 0, m.id))
    if options.sort == "price":
        return sorted(found, key=lambda m: (_price(m) is None, _price(m) or 0, m.id))
    if options.sort == "context":
        return sorted(found, key=lambda m: (-(m.context_length or 0), m.id))
    return sorted(found, key=lambda m: m.id)


def _price(model: Model) -> Decimal | None:
    """Return the price of 3,000 prompt and 1,000 completion tokens, a usual ratio of agents; None is unknown."""
    return list_cost(model, 3_000, 1_000)


def _is_free(model: Model) -> bool:
    """Check whether a model costs nothing under any condition."""
    highest = [price for _, prices in model.prices.conditions for price in prices]
    return model.prices.request == 0 and all(price == 0 for price in highest)


def _line(model: Model) -> str:
    prices = model.prices
    if prices.prompt is None or prices.completion is None:
        cost = "price varies"
    elif _is_free(model):
        cost = "free"
    else:
        cost = (
            f"{format_usd(per_million(prices.prompt))} in, {format_usd(per_million(prices.completion))} out per million"
        )
        if prices.cache_read is not None:
            cost += f", cached {format_usd(per_million(prices.cache_read))}"
    if prices.request:
        cost += f", {format_usd(prices.request)} a request"
    context = f"{model.context_length:,} tokens" if model.context_length else "unknown context"
    return f"• {named(model.id)}: {cost} ({context})"


def _data(model: Model) -> Json:
    prices = model.prices

    def million(price: Decimal | None) -> Decimal | None:
        return None if price is None else per_million(price)

    return {
        "id": model.id,
        "name": model.name,
        "prompt_usd_per_million": million(prices.prompt),
        "completion_usd_per_million": million(prices.completion),
        "cache_read_usd_per_million": million(prices.cache_read),
        "cache_write_usd_per_million": million(prices.cache_write),
        "request_usd": prices.request,
        "context_length": model.context_length,
        "longest_answer": model.longest_answer,
        "supports": list(model.supports),
    }


def _compare(options: Namespace, prices: PriceList, now: datetime) -> int:
    names = options.words[1:]
    if len(names) < 2:
        raise SettingsError("compare needs two models or more", hint="run: models compare A B", code="usage")
    tokens = options.prompt_tokens, options.completion_tokens
    costs = [(name, list_cost(prices.find(name), *tokens)) for name in names]
    if options.json:
        rows: list[Json] = [{"model": name, "cost_usd": cost} for name, cost in costs]
        counts: dict[str, Json] = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
        write(envelope("comparison", now, {**counts, "models": rows, "prices_of": iso(prices.fetched_at)}))
        return 0
    known = [cost for _, cost in costs if cost is not None]
    cheapest = min(known) if known else None
    lines = [f"A call of {tokens[0]:,} tokens in and {tokens[1]:,} out, at listed prices:"]
    for name, cost in costs:
        if cost is None:
            meant = "" if prices.find(name) else prices.suggestion(name)
            why = f"the price varies, or OpenRouter does not list it{f'; {meant}' if meant else ''}"
            lines.append(f"• {named(name)}: unknown ({why})")
        else:
            times = f" ({rounded(ratio(cost, cheapest), Decimal('0.1')):f} x)" if cheapest and cost > cheapest else ""
            lines.append(f"• {named(name)}: {format_usd(cost)}{times}")
    write("\n".join([*lines, _age(prices, now)]) + "\n")
    return 0


def _age(prices: PriceList, now: datetime) -> str:
    return f"Prices as OpenRouter listed them {ago((now - prices.fetched_at).total_seconds())} ago."
