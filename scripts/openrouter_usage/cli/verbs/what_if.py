"""Reprice the ledger's calls on another model, at its listed prices: an estimate beside what was billed."""

from __future__ import annotations

from argparse import Namespace
from datetime import datetime

from openrouter_usage.cli.books import open_ledger
from openrouter_usage.cli.output import write
from openrouter_usage.cli.parser import Parser, whole_number
from openrouter_usage.errors import SettingsError
from openrouter_usage.exactjson import Json
from openrouter_usage.money import format_usd, subtract
from openrouter_usage.period import DAY, UTC, Period, iso, midnight
from openrouter_usage.pricing import list_cost
from openrouter_usage.render.as_json import envelope
from openrouter_usage.text import ago, named, plural
from openrouter_usage.tracker.estimate import load_price_list

EXAMPLES = """examples:
  cost_tracker.py what-if --model openai/gpt-5-mini
  cost_tracker.py what-if --model google/gemini-3.1-flash-lite --days 7 --json

the same tokens are counted, though another model may need more or fewer of them; prices of caches are left out
"""


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument("--model", required=True, help="the model to reprice on")
    parser.add_argument(
        "--days", type=whole_number(1, 3_660), default=30, metavar="N", help="the last N UTC days, with today (30)"
    )


def run(options: Namespace) -> int:
    """Print what the calls cost and what they would have cost."""
    now = datetime.now(UTC)
    end = midnight(now.date()) + DAY
    period = Period(end - options.days * DAY, end, "what-if")
    usage = open_ledger("cost_tracker.py what-if").totals(period).total
    prices = load_price_list()
    model = prices.find(options.model)
    cost = list_cost(model, usage.prompt_tokens, usage.completion_tokens, requests=usage.requests)
    if cost is None:
        raise SettingsError(
            f"the price of {named(options.model)} is not known, or varies", hint="cost_tracker.py models WORD finds one"
        )
    saved = subtract(usage.cost, cost)
    if options.json:
        figures: dict[str, Json] = {"calls": usage.requests, "cost_usd": usage.cost, "would_cost_usd": cost}
        figures["saved_usd"] = saved
        span: dict[str, Json] = {"start": iso(period.start), "end": iso(period.end), "model": options.model}
        more: dict[str, Json] = {"unknown_cost_calls": usage.unknown, "prices_of": iso(prices.fetched_at)}
        write(envelope("what-if", now, span | figures | more))
        return 0
    less = f"{format_usd(saved)} less" if saved >= 0 else f"{format_usd(saved.copy_abs())} more"
    lines = [
        f"{plural(usage.requests, 'call')} of {period.first_day} to {period.last_day} UTC, from the local ledger:",
        f"billed {format_usd(usage.cost)}; on {named(options.model)} {format_usd(cost)}, {less}",
    ]
    if usage.unknown:
        lines.append(f"⚠ {plural(usage.unknown, 'call')} of unknown cost: in the second figure, not in the first")
    lines.append(f"Prices as OpenRouter listed them {ago((now - prices.fetched_at).total_seconds())} ago.")
    write("\n".join(lines) + "\n")
    return 0
