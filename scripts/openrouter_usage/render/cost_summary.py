"""The short block of CostTracker.print_summary."""

from __future__ import annotations

from openrouter_usage.money import format_usd
from openrouter_usage.report import ranked
from openrouter_usage.text import named, plural
from openrouter_usage.usage import Usage

_RULE = "=" * 50


def render_cost_summary(total: Usage, by_model: dict[str, Usage]) -> str:
    """Write the number of calls, their cost in USD, and each model's part of it."""
    lines = [_RULE, "COST SUMMARY", _RULE, f"Total Calls: {total.requests:,}", f"Total Cost: {format_usd(total.cost)}"]
    if total.byok_cost:
        lines.append(f"BYOK Cost: {format_usd(total.byok_cost)} (paid to providers, not in the total)")
    if total.unknown:
        lines.append(f"Unknown Cost: {plural(total.unknown, 'call')} (not in the total)")
    lines += ["", "By Model:"]
    lines += [f"  {named(share.name)}: {format_usd(share.usage.cost)}" for share in ranked(by_model, "model")]
    return "\n".join([*lines, _RULE])
