"""The latest answers there are: kept ones while they are fresh, OpenRouter's, or failing that the old ones."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from openrouter_usage.collect import collect
from openrouter_usage.errors import Denied, OpenRouterUsageError, SettingsError, Unreachable
from openrouter_usage.settings import Settings
from openrouter_usage.together import nothing

if TYPE_CHECKING:
    from openrouter_usage.answers.parts import Gap, Parts


class Latest(NamedTuple):
    """Answers, whether they are kept ones, and the error that made those take the place of new ones."""

    parts: Parts
    is_kept: bool = False
    error: OpenRouterUsageError | None = None


def latest(
    settings: Settings,
    now: datetime,
    *,
    max_age_s: float = 0,
    timeout_s: float = 30.0,
    meanwhile: Callable[[], None] = nothing,
) -> Latest:
    """Give answers at most `max_age_s` seconds old without asking, else ask and do `meanwhile` while waiting.

    Raises Denied when OpenRouter says no, and Unreachable when it cannot be reached and nothing is kept.
    """
    if max_age_s:
        kept = _kept(settings, now, max_age_s)
        if kept:
            return Latest(kept, True)
    parts = collect(settings, now, timeout_s=timeout_s, meanwhile=meanwhile)
    from openrouter_usage.snapshot import load_snapshot, save_snapshot, snapshot_file

    path = snapshot_file(settings)
    if not parts.is_empty:
        save_snapshot(path, parts, settings.base_url.url)
        return Latest(parts)
    error = error_of(parts.gaps[0])
    kept = load_snapshot(path, settings.base_url.url) if isinstance(error, Unreachable) else None
    if kept is None:
        raise error
    return Latest(kept, True, error)


def _kept(settings: Settings, now: datetime, max_age_s: float) -> Parts | None:
    from openrouter_usage.snapshot import is_fresh, load_snapshot, snapshot_file

    kept = load_snapshot(snapshot_file(settings), settings.base_url.url)
    return kept if is_fresh(kept, now, max_age_s) else None


def error_of(gap: Gap) -> OpenRouterUsageError:
    """Make the error again that left a gap."""
    kinds: dict[int, type[OpenRouterUsageError]] = {2: SettingsError, 4: Denied, 5: Unreachable}
    return kinds.get(gap.exit_code, Unreachable)(gap.message, hint=gap.hint, code=gap.code)
