"""Hermes' sessions: sums of a whole session in its state database, which only grow; pure."""

from __future__ import annotations

from collections.abc import Mapping

from openrouter_usage.figures.logs.logged import (
    ANOTHER_PROVIDER,
    NEWER,
    OPENROUTER,
    Logged,
    Skipped,
    amount,
    count,
    moment_s,
    tag,
    text,
    total,
)

NEEDED = {"id", "billing_provider", "input_tokens", "output_tokens", "started_at"}


def read(row: Mapping[str, object]) -> Logged | None:
    """Return what a session has used so far, None when it has used nothing; Skipped for one not understood."""
    provider, address = text(row.get("billing_provider")).lower(), text(row.get("billing_base_url")).lower()
    if provider != OPENROUTER and "openrouter.ai" not in address:
        raise Skipped(ANOTHER_PROVIDER)
    read_, written = count(row.get("cache_read_tokens")), count(row.get("cache_write_tokens"))
    prompt, completion = total(count(row.get("input_tokens")), read_, written), count(row.get("output_tokens"))
    if not prompt and not completion:
        return None
    identity, began = text(row.get("id"), 200), row.get("ended_at") or row.get("started_at")
    if not identity:
        raise Skipped(NEWER)
    cost = amount(row.get("actual_cost_usd")) or amount(row.get("estimated_cost_usd"))
    return Logged(
        identity,
        moment_s(began),
        text(row.get("model")),
        session=identity,
        agent=tag(row.get("source")),
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=read_,
        cache_write_tokens=written,
        cost=cost,
    )
