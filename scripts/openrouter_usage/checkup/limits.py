"""Looks at the user's settings, and at the limits that the environment sets."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

from openrouter_usage.alerting import read_rules
from openrouter_usage.budget import Caps
from openrouter_usage.diagnosis.limits import Limits
from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.preferences import load_caps, load_preference, load_preferences
from openrouter_usage.settings import parse_webhook

T = TypeVar("T")


def look(environ: Mapping[str, str], home: Path | None) -> Limits:
    """Read everything that a run would read, and collect what it would end with."""
    path = home / ".openrouter" / "settings.json" if home else None
    errors: list[OpenRouterUsageError] = []
    if _tried(load_preferences, errors) is None:
        return Limits(str(path or ""), True, None, 0, tuple(errors))
    caps: Caps | None = _tried(lambda: load_caps(environ), errors)
    alerts = _tried(lambda: load_preference("alerts"), errors) or {}
    rules = _tried(lambda: read_rules(alerts), errors)
    _tried(lambda: load_preference("routing"), errors)
    for url in (environ.get("OPENROUTER_ALERT_WEBHOOK", "").strip(), alerts.get("webhook"), alerts.get("pagerduty")):
        if url:
            _tried(partial(parse_webhook, str(url)), errors)
    exists = path is not None and os.path.lexists(path)
    return Limits(str(path or ""), exists, caps, rules.number if rules else 0, tuple(errors))


def _tried(read: Callable[[], T], errors: list[OpenRouterUsageError]) -> T | None:
    try:
        return read()
    except OpenRouterUsageError as error:
        errors.append(error)
        return None
