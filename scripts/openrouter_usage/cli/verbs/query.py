"""Look up the bill of one call, waiting a little while OpenRouter does not know the call yet."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from openrouter_usage.called import as_called
from openrouter_usage.cli.opening import open_ledger
from openrouter_usage.cli.program import Parser, checked, whole_number, without_keys, write
from openrouter_usage.errors import InvalidValue
from openrouter_usage.money import Json, format_usd
from openrouter_usage.openrouter.answers.fields import left_out_words
from openrouter_usage.openrouter.answers.generation import Generation
from openrouter_usage.period import iso, spoken
from openrouter_usage.redaction import scrubbed
from openrouter_usage.render.envelope import envelope
from openrouter_usage.text import named, safe

if TYPE_CHECKING:
    from openrouter_usage.tracker.booking import Recorded

EXAMPLES = """examples:
  cost_tracker.py query --id gen-...
  cost_tracker.py query --id gen-... --record     also records it in the ledger, once

exit code 3 when OpenRouter does not know the id after all tries
"""
# Names that mean the same here and at OpenRouter.
_SAME = ("id", "model", "created_at", "is_byok", "streamed", "cancelled", "finish_reason", "service_tier")
_DEEPEST = 20


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument("--id", required=True, type=checked(_identity), help="the generation's id, from the answer")
    parser.add_argument("--record", action="store_true", help="record the call in the ledger, if it is new")
    parser.add_argument(
        "--retries", type=whole_number(0, 20), default=4, metavar="N", help="further tries while the id is unknown (4)"
    )
    parser.add_argument(
        "--timeout", type=whole_number(1, 600), default=30, metavar="S", help="seconds to wait for an answer (30)"
    )


def _identity(text: str) -> str:
    # A key given by mistake must not become part of an address, because servers log addresses.
    if not text.strip() or len(text) > 200 or not text.isprintable() or without_keys(text) != text:
        raise InvalidValue("a generation's id must look like gen-1700000000-abc")
    return text.strip()


def run(options: Namespace, *, now: datetime) -> int:
    """Print the call's figures, and record it if asked to."""
    from openrouter_usage.tracker.lookup import look_up

    generation = look_up(options.id, retries=options.retries, timeout_s=options.timeout)
    done: Recorded | None = None
    if options.record:
        from openrouter_usage.tracker.booking import record

        done = record(open_ledger(as_called("cost_tracker.py query")), generation, now)
    if options.json:
        write(envelope("generation", now, _data(generation, done), notes=_notes(generation)))
    else:
        notes = [f"⚠ {note}" for note in _notes(generation)]
        write("\n".join([*_lines(generation), *_recorded(done), *notes]) + "\n")
    return 0


def _notes(generation: Generation) -> list[str]:
    return [left_out_words(generation.left_out, "field")] if generation.left_out else []


def _data(generation: Generation, done: Recorded | None) -> dict[str, Json]:
    """Return the figures under this program's names, and every field as OpenRouter sent it under its own."""
    data: dict[str, Json] = {}
    for field in fields(generation):
        name, value = field.name, getattr(generation, field.name)
        if name not in ("sent", "left_out"):
            is_money = isinstance(value, Decimal) or name in ("usage", "upstream_cost", "cache_discount")
            data[f"{name}_usd" if is_money else name] = iso(value) if isinstance(value, datetime) else value
    data |= {"recorded": done and done.is_new, "completed": done and done.is_completed}
    for name, value in generation.sent.items():
        # A future field may have a name that means something else here.
        shown = f"sent_{name}" if name in data and name not in _SAME else name
        data.setdefault(_harmless(shown), _as_sent(value))
    return data


def _as_sent(value: Json, depth: int = 0) -> Json:
    """Return a value from OpenRouter that can be written: without keys, and not nested too deeply."""
    if isinstance(value, str):
        return _harmless(value)
    if depth >= _DEEPEST and isinstance(value, (dict, list)):
        return "nested too deeply to be shown"
    if isinstance(value, dict):
        return {_harmless(name): _as_sent(member, depth + 1) for name, member in value.items()}
    if isinstance(value, list):
        return [_as_sent(member, depth + 1) for member in value]
    return value


def _harmless(text: str) -> str:
    # JSON escapes control characters itself; half a surrogate pair is not text for other programs.
    return scrubbed(text).encode("utf-8", "replace").decode("utf-8")


def _lines(generation: Generation) -> list[str]:
    lines = [
        f"🔎 {named(generation.id)}",
        f"Model: {named(generation.model)} via {named(generation.provider or 'unknown')}",
    ]
    if generation.created_at:
        lines.append(f"Made: {spoken(generation.created_at)}")
    lines += _money(generation)
    lines.append(
        f"Tokens (native, billed): {_count(generation.prompt_tokens)} in, {_count(generation.completion_tokens)} out"
    )
    lines.append(f"  cached {_count(generation.cached_tokens)}, reasoning {_count(generation.reasoning_tokens)}")
    normalized = (
        f"{_count(generation.normalized_prompt_tokens)} in, {_count(generation.normalized_completion_tokens)} out"
    )
    lines.append(f"Tokens (normalized): {normalized}")
    lines.append(f"Latency: {_count(generation.latency_ms)} ms, generation: {_count(generation.generation_time_ms)} ms")
    if generation.cancelled:
        lines.append("Cancelled: yes")
    return lines + ([f"Finish: {safe(generation.finish_reason)}"] if generation.finish_reason else [])


def _money(generation: Generation) -> list[str]:
    upstream = generation.upstream_cost
    lines = [f"Cost: {format_usd(generation.total_cost)} (billed by OpenRouter)"]
    if generation.usage is not None and generation.usage != generation.total_cost:
        lines.append(f"Usage: {format_usd(generation.usage)}")
    if generation.is_byok:
        shown = "an unknown amount" if upstream is None else format_usd(upstream)
        lines.append(f"BYOK: {shown} paid to the provider, not in the cost")
    elif upstream:
        lines.append(f"Upstream: {format_usd(upstream)} (what OpenRouter pays, within the cost)")
    if generation.cache_discount:
        lines.append(f"Cache discount: {format_usd(generation.cache_discount)}")
    return lines


def _count(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _recorded(done: Recorded | None) -> list[str]:
    if done is None:
        return []
    if done.is_new:
        return ["Recorded in the ledger."]
    if done.is_completed:
        return ["The ledger has this call already; its missing figures were added, and it counts once."]
    return ["The ledger has this call already."]
