"""The block after a call: what it used, and how the key stands."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from openrouter_usage.entry import Entry
from openrouter_usage.exactjson import Json
from openrouter_usage.money import format_usd
from openrouter_usage.render.amounts import limit_left, remaining
from openrouter_usage.summary.model import Summary
from openrouter_usage.text import ago, safe


def render_usage(entry: Entry | None) -> str:
    """Write the tokens and the cost of a call in USD, and where the cost comes from when it is not the answer."""
    lines = ["", "📊 API Usage:"]
    if entry is None:
        return "\n".join(
            [*lines, "Tokens: unknown", "Cost: unknown (the call is held; run: cost_tracker.py settle)", ""]
        )
    total = entry.prompt_tokens + entry.completion_tokens
    lines.append(f"Tokens: {total:,} (Prompt: {entry.prompt_tokens:,}, Completion: {entry.completion_tokens:,})")
    cost = "unknown" if entry.cost is None else format_usd(entry.cost)
    remark = {"late": " (looked up)", "estimated": " (at most; OpenRouter did not say)"}.get(entry.cost_source, "")
    lines.append(f"Cost: {cost}{remark}")
    if entry.byok_cost:
        lines.append(f"BYOK: {format_usd(entry.byok_cost)} paid to the provider, not in the cost")
    return "\n".join([*lines, ""])


def render_held(most: Decimal, prices_from: datetime | None, now: datetime) -> str:
    """Write the most that was held for a call in USD, and how old the prices are that say so."""
    age = f"prices of {ago((now - prices_from).total_seconds())} ago" if prices_from else "as asked for"
    return f"Held before it: {format_usd(most)} at most ({age})\n"


def render_balance(balance: Mapping[str, Json], summary: Summary | None) -> str:
    """Write what is left for calls, and how the key stands, as GET /key and GET /credits tell it."""
    lines = ["💰 API Key Balance:"]
    if "error" in balance:
        return "\n".join([*lines, f"unknown: {safe(balance['error'], 300)}", ""])
    limit = summary.key_limit if summary else None
    lines.append(f"Credits Used: {_amount(balance.get('usage'))}")
    lines.append(f"Credits Remaining: {remaining(summary) if summary else 'unknown'}")
    lines.append(f"Credit Limit: {'unknown' if limit is None else limit_left(limit)}")
    lines.append(f"Free Tier: {'Yes' if balance.get('is_free_tier') else 'No'}")
    return "\n".join([*lines, ""])


def _amount(value: Json) -> str:
    return format_usd(value) if isinstance(value, Decimal) else "unknown"


def usage_data(entry: Entry | None) -> Json:
    """Give what a call used, for JSON; null when it is not known yet."""
    if entry is None:
        return None
    return {
        "generation_id": entry.id or None,
        "model": entry.model,
        "provider": entry.provider or None,
        "prompt_tokens": entry.prompt_tokens,
        "completion_tokens": entry.completion_tokens,
        "total_tokens": entry.prompt_tokens + entry.completion_tokens,
        "cost_usd": entry.cost,
        "cost_source": entry.cost_source or "unknown",
        "byok_cost_usd": entry.byok_cost,
    }
