"""The latest answers there are: kept ones while they are fresh, OpenRouter's, or failing that the old ones."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from openrouter_usage.answers.parts import Gap, Parts
from openrouter_usage.collect import collect
from openrouter_usage.errors import Denied, OpenRouterUsageError, SettingsError, Unreachable
from openrouter_usage.settings import Settings
from openrouter_usage.snapshot import is_fresh, load_snapshot, save_snapshot, snapshot_file


@dataclass(frozen=True, slots=True)
class Latest:
    """Answers, and the error that made older ones take the place of new ones."""

    parts: Parts
    error: OpenRouterUsageError | None = None


def latest(settings: Settings, now: datetime, *, max_age_s: float = 0, timeout_s: float = 30.0) -> Latest:
    """Give answers at most `max_age_s` seconds old without asking, else ask.

    Raises Denied when OpenRouter says no, and Unreachable when it cannot be reached and nothing is kept.
    """
    path = snapshot_file(settings)
    kept = load_snapshot(path) if max_age_s else None
    if kept and is_fresh(kept, now, max_age_s):
        return Latest(kept)
    parts = collect(settings, now, timeout_s=timeout_s)
    if not parts.is_empty:
        save_snapshot(path, parts)
        return Latest(parts)
    error = _error(parts.gaps[0])
    if isinstance(error, Unreachable):
        kept = kept or load_snapshot(path)
        if kept:
            return Latest(kept, error)
    raise error


def _error(gap: Gap) -> OpenRouterUsageError:
    """Make the error again that left a gap."""
    kinds: dict[int, type[OpenRouterUsageError]] = {2: SettingsError, 4: Denied, 5: Unreachable}
    return kinds.get(gap.exit_code, Unreachable)(gap.message, hint=gap.hint, code=gap.code)
