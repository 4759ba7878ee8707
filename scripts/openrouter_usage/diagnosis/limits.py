"""What is made of the user's settings: the budget, the alerts and the models for tasks; pure."""

from __future__ import annotations

from typing import NamedTuple

from openrouter_usage.budget import Caps
from openrouter_usage.diagnosis.finding import Finding, of_error, ok
from openrouter_usage.diagnosis.words import Words
from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.money import format_usd
from openrouter_usage.text import plural

AREA = "settings"
_SPANS = {"per_request": "a call", "daily": "a UTC day", "monthly": "a UTC month"}


class Limits(NamedTuple):
    """The settings: where they are, the budget in force, how many alerts, and every error in them."""

    path: str
    exists: bool
    caps: Caps | None
    alerts: int
    errors: tuple[OpenRouterUsageError, ...]


def findings(found: Limits, words: Words) -> list[Finding]:
    """Judge them; an error that shows in several places is told once."""
    once = {error.message: error for error in found.errors}
    told = [of_error(AREA, error, words) for error in once.values()]
    if not found.exists:
        told.append(ok(AREA, f"there are no settings at {words.path(found.path)}" if found.path else "no settings"))
    elif not told:
        told.append(ok(AREA, f"the settings {words.path(found.path)} are readable"))
    if found.caps and found.caps.any:
        told.append(ok(AREA, f"the budget in force: {_written(found.caps)}"))
    elif found.caps:
        told.append(ok(AREA, "no budget is set: no call is refused"))
    if found.alerts:
        told.append(ok(AREA, f"{plural(found.alerts, 'alert')} set"))
    return told


def _written(caps: Caps) -> str:
    amounts = caps._asdict()
    return ", ".join(
        f"{format_usd(amounts[name])} {span}" for name, span in _SPANS.items() if amounts[name] is not None
    )
