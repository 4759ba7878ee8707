"""Findings of a check-up as lines to read, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from openrouter_usage.diagnosis.finding import Finding, Level, gravest
from openrouter_usage.diagnosis.network import Asked
from openrouter_usage.exactjson import Json
from openrouter_usage.text import plural

_SIGNS = {Level.OK: "✔", Level.NOTE: "ℹ", Level.WARNING: "⚠", Level.PROBLEM: "✘"}
_NAMES = {Level.OK: "ok", Level.NOTE: "note", Level.WARNING: "warning", Level.PROBLEM: "problem"}


def findings_text(findings: Sequence[Finding]) -> str:
    """Write one line for each finding, below one that counts them."""
    return "\n".join([f"🩺 OpenRouter check-up: {_counted(findings)}", *map(_line, findings)]) + "\n"


def _counted(findings: Sequence[Finding]) -> str:
    counts = [(sum(finding.level is level for finding in findings), _NAMES[level]) for level in reversed(Level)]
    told = [plural(count, name) for count, name in counts if count and name != "ok"]
    return ", ".join(told) or "all is well"


def _line(finding: Finding) -> str:
    remedy = f" -- {finding.remedy}" if finding.remedy else ""
    return f"{_SIGNS[finding.level]} {finding.area}: {finding.text}{remedy}"


def findings_data(
    findings: Sequence[Finding], asked: Sequence[Asked], *, is_shared: bool, is_offline: bool
) -> dict[str, Json]:
    """Give the data member."""
    worst = gravest(findings)
    highest = max((finding.level for finding in findings), default=Level.OK)
    listed: list[Json] = [_finding(finding) for finding in findings]
    endpoints: list[Json] = [_endpoint(one) for one in asked]
    return {
        "worst": _NAMES[highest],
        "exit_code": worst.exit_code if worst else 0,
        "counts": {_NAMES[level]: sum(finding.level is level for finding in findings) for level in Level},
        "findings": listed,
        "endpoints": endpoints,
        "shared": is_shared,
        "offline": is_offline,
    }


def _finding(finding: Finding) -> Json:
    return {
        "area": finding.area,
        "level": _NAMES[finding.level],
        "text": finding.text,
        "remedy": finding.remedy or None,
        "code": finding.code or None,
    }


def _endpoint(one: Asked) -> Json:
    return {
        "endpoint": one.endpoint,
        "key": one.key.name if one.key else None,
        "asked": not one.unasked,
        "status": one.status,
        "ms": one.ms,
        "clock_ahead_s": None if one.ahead_s is None else int(one.ahead_s),
        "code": one.error.code if one.error else None,
    }
