"""The short block of CostTracker.print_summary."""

from __future__ import annotations

from openrouter_usage.money import format_usd
from openrouter_usage.report import cut, ranked
from openrouter_usage.text import named, plural
from openrouter_usage.usage import Usage

_RULE = "=" * 50


def render_cost_summary(total: Usage, by_model: dict[str, Usage]) -> str:
    """Write the number of calls, their cost in USD, and each model's part of it, the dearest first."""
    lines = [_RULE, "COST SUMMARY", _RULE, f"Total Calls: {total.requests:,}", f"Total Cost: {format_usd(total.cost)}"]
    if total.byok_cost:
        lines.append(f"BYOK Cost: {format_usd(total.byok_cost)} (paid to providers, not in the total)")
    if total.estimated:
        lines.append(f"Estimated Cost: {plural(total.estimated, 'call')} (in the total, not billed figures)")
    if total.unknown:
        lines.append(f"Unknown Cost: {plural(total.unknown, 'call')} (not in the total)")
    rows, more_count, more = cut(ranked(by_model, "model"), "model")
    lines += ["", "By Model:", *(f"  {named(row.name)}: {format_usd(row.usage.cost)}" for row in rows)]
    if more_count:
        lines.append(f"  ... and {more_count:,} more ({format_usd(more.cost)})")
    return "\n".join([*lines, _RULE])
