"""The ledger beside the account, for people and as JSON."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.answers.parts import Gap
from openrouter_usage.exactjson import Json
from openrouter_usage.money import ZERO, format_usd, plain, share, subtract
from openrouter_usage.period import Period, iso
from openrouter_usage.reconcile.causes import Cause
from openrouter_usage.reconcile.compare import Comparison, Line
from openrouter_usage.reconcile.tolerance import Tolerance
from openrouter_usage.reconcile.windows import Beside
from openrouter_usage.render.amounts import credits_and_byok
from openrouter_usage.render.as_json import envelope
from openrouter_usage.text import named, plural
from openrouter_usage.usage import Usage

_TITLE = "🧾 OpenRouter Reconciliation"


class Result(NamedTuple):
    """A comparison with what is to be said about it; `is_partial` where days could not be read, and
    `is_within` None where that leaves the verdict open."""

    comparison: Comparison
    period: Period
    sources: tuple[str, ...]
    causes: list[Cause]
    tolerance: Tolerance
    is_within: bool | None
    is_partial: bool
    gaps: tuple[Gap, ...]
    notes: tuple[str, ...]


class Counters(NamedTuple):
    """The ledger beside a key's own counters, and the one window of them that is judged."""

    windows: tuple[Beside, ...]
    judged: Beside
    tolerance: Tolerance
    is_within: bool
    notes: tuple[str, ...]


def as_text(result: Result, top: int) -> str:
    """Write the result, with the `top` largest differences."""
    found = result.comparison
    account, ledger = found.account, found.ledger
    lines = [
        f"{_TITLE}: ledger against account, {_span(result.period)} (UTC days)",
        _headline(found.attributed, account.cost, found.unexplained, found.surplus, partly=result.is_partial),
        f"Account: {credits_and_byok(account.cost, account.byok_cost)} ({', '.join(result.sources)})",
        f"Ledger: {credits_and_byok(ledger.cost, ledger.byok_cost)} ({plural(ledger.requests, 'call')})",
    ]
    differing = found.differing
    if differing:
        lines.append("By day and model:")
        lines += [f"• {_line(line)}" for line in differing[:top]]
        rest = differing[top:]
        if rest:
            lines.append(f"... and {len(rest)} more ({_both(Comparison(tuple(rest)))})")
    if result.causes:
        lines.append("Why:")
        lines += [f"• {cause.message} → {cause.command}" for cause in result.causes]
    lines += [f"⚠ {gap.message}" for gap in result.gaps]
    lines += [f"ℹ {note}" for note in result.notes]
    lines.append(_verdict(result.is_within, result.tolerance))
    return "\n".join(lines) + "\n"


def _headline(
    attributed: Decimal,
    account: Decimal,
    unexplained: Decimal,
    surplus: Decimal,
    *,
    whose: str = "the account",
    partly: bool = False,
) -> str:
    told = f"Attributed {share(attributed, account, 1)} of {format_usd(account)}; unexplained {format_usd(unexplained)}"
    if not account:
        told = f"Nothing was spent by {whose}"
    told += " in the days that could be read" if partly else ""
    return told + (f"; in the ledger alone {format_usd(surplus)}" if surplus else "")


def _verdict(is_within: bool | None, tolerance: Tolerance) -> str:
    if is_within is None:
        return f"❓ whether it is within the tolerance of {tolerance} cannot be told"
    return f"{'✅ within' if is_within else '❌ outside'} the tolerance of {tolerance}"


def _span(period: Period) -> str:
    first, last = period.first_day, period.last_day
    return f"{first}" if first == last else f"{first} to {last}"


def _both(found: Comparison) -> str:
    parts = [(found.unexplained, "unexplained"), (found.surplus, "in the ledger alone")]
    return ", ".join(f"{format_usd(amount)} {what}" for amount, what in parts if amount)


def _line(line: Line) -> str:
    told = f"{line.day} {named(line.model)}: {_both(Comparison((line,)))}"
    others = line.by_others
    if others:
        told += f", {'all' if others == line.unexplained else format_usd(others)} by other keys"
    return f"{told} (account {format_usd(line.account.cost)}, ledger {format_usd(line.known)})"


def as_json(result: Result, now: datetime) -> str:
    """Write everything, every differing line included, with exact amounts."""
    found = result.comparison
    data: dict[str, Json] = {
        "scope": "account",
        "start": iso(result.period.start),
        "end": iso(result.period.end),
        "sources": list(result.sources),
        "account": _usage(found.account),
        "ledger": _usage(found.ledger),
        **_sums(found.attributed, found.unexplained, found.surplus, result.tolerance, result.is_within),
        "by_other_keys_usd": found.by_others,
        "lines": [_line_data(line) for line in sorted(found.differing, key=lambda line: (line.day, line.model))],
        "causes": [
            {"code": cause.code, "usd": cause.amount, "message": cause.message, "command": cause.command}
            for cause in result.causes
        ],
        "partial": bool(result.gaps),
        "missing": [{"part": gap.part, "code": gap.code, "message": gap.message} for gap in result.gaps],
    }
    return envelope("reconciliation", now, data, notes=result.notes)


def _sums(
    attributed: Decimal, unexplained: Decimal, surplus: Decimal, tolerance: Tolerance, is_within: bool | None
) -> dict[str, Json]:
    return {
        "attributed_usd": attributed,
        "unexplained_usd": unexplained,
        "ledger_alone_usd": surplus,
        "tolerance": f"{plain(tolerance.amount)}{'%' if tolerance.is_share else ''}",
        "within_tolerance": is_within,
    }


def _usage(usage: Usage) -> dict[str, Json]:
    return {
        "usage_usd": usage.cost,
        "byok_usd": usage.byok_cost,
        "requests": usage.requests,
        "unknown_cost_calls": usage.unknown,
        "estimated_cost_calls": usage.estimated,
    }


def _line_data(line: Line) -> dict[str, Json]:
    return {
        "date": line.day.isoformat(),
        "model": line.model,
        "ledger_names": list(line.ledger_names),
        "account_usd": line.account.cost,
        "ledger_usd": line.ledger.cost,
        "moved_usd": line.moved,
        "unexplained_usd": line.unexplained,
        "ledger_alone_usd": line.surplus,
        "by_other_keys_usd": line.by_others,
    }


def counters_text(found: Counters) -> str:
    """Write the ledger beside a key's own counters."""
    judged = found.judged
    lines = [
        f"{_TITLE}: ledger against this key's own counters (/key), UTC {judged.period.label}",
        _headline(judged.attributed, judged.key or ZERO, judged.unexplained, judged.surplus, whose="this key"),
    ]
    for window in found.windows:
        key = "unknown" if window.key is None else format_usd(window.key)
        lines.append(f"• {window.period.label}: key {key}, ledger {format_usd(window.ledger.cost)}")
    lines += [f"ℹ {note}" for note in found.notes]
    return "\n".join([*lines, _verdict(found.is_within, found.tolerance)]) + "\n"


def counters_json(found: Counters, now: datetime) -> str:
    """Write the same with exact amounts."""
    judged = found.judged
    sums = _sums(judged.attributed, judged.unexplained, judged.surplus, found.tolerance, found.is_within)
    windows: list[Json] = [
        {
            "window": window.period.label,
            "start": iso(window.period.start),
            "end": iso(window.period.end),
            "key_usd": window.key,
            "ledger_usd": window.ledger.cost,
            "difference_usd": None if window.key is None else subtract(window.key, window.ledger.cost),
        }
        for window in found.windows
    ]
    start, end = iso(judged.period.start), iso(judged.period.end)
    data: dict[str, Json] = {"scope": "key", "start": start, "end": end, "sources": ["/key"], **sums}
    return envelope("reconciliation", now, data | {"windows": windows}, notes=found.notes)
