"""Estimate what the ledger's calls would have cost on another model, or find the cheapest ones, at listed prices."""

from __future__ import annotations

from argparse import Namespace
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.called import as_called
from openrouter_usage.cli.opening import open_ledger
from openrouter_usage.cli.program import Parser, whole_number, write
from openrouter_usage.entry import NOTHING, Usage
from openrouter_usage.errors import SettingsError
from openrouter_usage.figures.pricing import PriceList, cheapest_for, no_such_model, repriced
from openrouter_usage.jobs.breakdown import named_totals, source_of
from openrouter_usage.jobs.price_list import load_price_list
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.money import ZERO, Json, format_usd, subtract
from openrouter_usage.openrouter.answers.models import Model
from openrouter_usage.period import DAY, Period, iso, midnight
from openrouter_usage.render.envelope import envelope
from openrouter_usage.text import ago, named, plural

EXAMPLES = """examples:
  cost_tracker.py what-if                       the five cheapest models for your own calls
  cost_tracker.py what-if --model openai/gpt-5-mini
  cost_tracker.py what-if --model google/gemini-3.1-flash-lite --days 7 --json

the same tokens count, cached ones too, though another model may need more or fewer of them;
calls of unknown cost, and BYOK calls, are on neither side
"""


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument("--model", help="the other model (the five cheapest with the same abilities)")
    parser.add_argument(
        "--days", type=whole_number(1, 3_660), default=30, metavar="N", help="the last N UTC days, today included (30)"
    )


def run(options: Namespace, *, now: datetime) -> int:
    """Print what the calls cost and what they would have cost."""
    end = midnight(now.date()) + DAY
    period = Period(end - options.days * DAY, end, "what-if")
    prices = load_price_list(now)
    if options.model is None:
        return _cheapest(options, prices, period, now)
    model = prices.find(options.model)
    if model is None:
        raise no_such_model(options.model, prices)
    ledger = open_ledger(as_called("cost_tracker.py what-if"))
    compared = _compared(ledger, period)
    usage = compared.usage
    cost = repriced(model, usage)
    if cost is None:
        raise SettingsError(
            f"the price of {named(options.model)} varies",
            hint=as_called("find a model with a fixed price: cost_tracker.py models WORD"),
        )
    saved = subtract(usage.cost, cost)
    notes = _notes(compared, model)
    if options.json:
        span: dict[str, Json] = {"start": iso(period.start), "end": iso(period.end), "model": options.model}
        figures: dict[str, Json] = {
            "priced_as": model.id,
            "calls": usage.requests,
            "cost_usd": usage.cost,
            "would_cost_usd": cost,
            "saved_usd": saved,
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            "estimated_cost_calls": usage.estimated,
            "unknown_cost_calls": compared.unknown,
            "byok_calls": compared.byok_calls,
            "byok_usd": compared.byok_cost,
            "prices_of": iso(prices.fetched_at),
        }
        write(envelope("what-if", now, span | figures, notes=notes))
        return 0
    of_days = f"{period.first_day} to {period.last_day} UTC"
    lines = [
        f"{plural(usage.requests, 'call')} of {of_days}, from the {source_of(ledger)}:",
        f"billed {format_usd(usage.cost)}; on {named(options.model)} {format_usd(cost)}, {_less(saved)}",
        *(f"⚠ {note}" for note in notes),
        f"Prices as OpenRouter listed them {ago((now - prices.fetched_at).total_seconds())} ago.",
    ]
    write("\n".join(lines) + "\n")
    return 0


def _cheapest(options: Namespace, prices: PriceList, period: Period, now: datetime) -> int:
    """Print on which models with the same abilities the calls would have cost least."""
    ledger = open_ledger(as_called("cost_tracker.py what-if"))
    compared, longest = _compared(ledger, period), 0
    groups = named_totals(ledger, period, "model").groups
    for entry in ledger.entries(period):
        longest = max(longest, entry.total_tokens)
    known = [(usage.cost, name) for name, usage in groups.items() if prices.find(name)]
    if not known:
        raise SettingsError(
            "no tracked call of this period is of a model that OpenRouter lists",
            hint=as_called("name a model: cost_tracker.py what-if --model NAME; or track calls: cost_tracker.py call"),
            code="no_calls",
        )
    name = max(known)[1]
    like = prices.find(name)
    assert like is not None, "it was found a moment ago"  # noqa: S101 - for the type alone
    found = cheapest_for(prices, like, compared.usage, longest=longest)
    cost = compared.usage.cost
    notes = _left_out(compared)
    if options.json:
        data: dict[str, Json] = {
            "start": iso(period.start),
            "end": iso(period.end),
            "like": like.id,
            "longest_call_tokens": longest,
            "calls": compared.usage.requests,
            "cost_usd": cost,
            "models": [
                {"model": each.model.id, "would_cost_usd": each.cost, "saved_usd": subtract(cost, each.cost)}
                for each in found
            ],
            "prices_of": iso(prices.fetched_at),
        }
        write(envelope("what-if-models", now, data, notes=notes))
        return 0
    best = f"{named(found[0].model.id)} {_less(subtract(cost, found[0].cost))}" if found else "no other model"
    of_days = f"{period.first_day} to {period.last_day} UTC"
    lines = [
        f"Cheapest for your {plural(compared.usage.requests, 'call')} of {of_days}, billed {format_usd(cost)}: {best}",
        *(f"• {named(each.model.id)}: {format_usd(each.cost)}, {_less(subtract(cost, each.cost))}" for each in found),
        f"With the abilities of {named(like.id)}, which cost most, and room for your longest call, {longest:,} tokens;"
        " answers differ in quality, and other models may count tokens differently",
        *(f"⚠ {note}" for note in notes),
        f"Prices as OpenRouter listed them {ago((now - prices.fetched_at).total_seconds())} ago.",
    ]
    write("\n".join(lines) + "\n")
    return 0


def _less(saved: Decimal) -> str:
    return f"{format_usd(saved)} less" if saved >= 0 else f"{format_usd(saved.copy_abs())} more"


class _Compared(NamedTuple):
    """The calls that are on both sides, and those that are on neither: of unknown cost, and BYOK with its USD."""

    usage: Usage
    unknown: int = 0
    byok_calls: int = 0
    byok_cost: Decimal = ZERO


def _compared(ledger: Ledger, period: Period) -> _Compared:
    usage = ledger.totals(period).total
    if not usage.unknown and not usage.byok_cost:
        return _Compared(usage)
    unknown, byok = NOTHING, NOTHING
    for entry in ledger.entries(period):
        if entry.cost is None:
            unknown += entry.usage
        elif entry.byok_cost:
            byok += entry.usage
    both = usage - unknown - byok
    return _Compared(both, unknown.requests, byok.requests, byok.byok_cost)


def _left_out(compared: _Compared) -> list[str]:
    notes = []
    if compared.unknown:
        notes.append(f"left out on both sides: {plural(compared.unknown, 'call')} of unknown cost; see: settle")
    if compared.byok_calls:
        calls = plural(compared.byok_calls, "BYOK call")
        notes.append(f"left out on both sides: {calls}, for which {format_usd(compared.byok_cost)} went to providers")
    if compared.usage.estimated:
        notes.append(f"billed is an estimate for {plural(compared.usage.estimated, 'call')}; see: settle")
    return notes


def _notes(compared: _Compared, model: Model) -> list[str]:
    notes = _left_out(compared)
    for count, price, what in (
        (compared.usage.cached_tokens, model.prices.cache_read, "read from a cache"),
        (compared.usage.cache_write_tokens, model.prices.cache_write, "written to a cache"),
    ):
        if count and price is None:
            notes.append(
                f"{named(model.id)} lists no price for tokens {what}, so {count:,} are counted at the usual price"
            )
    return notes
