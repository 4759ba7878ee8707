"""Finds all keys of all workspaces, each once; a page that fails leaves a list that says so."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from openrouter_usage.answers.keys import KeyRecord
from openrouter_usage.client.management import PAGE, Management
from openrouter_usage.errors import NotFound, OpenRouterUsageError, SettingsError
from openrouter_usage.text import named, safe

MOST_PAGES = 1_000
DORMANT = timedelta(days=30)
SOON = timedelta(days=7)


class Listing(NamedTuple):
    """The keys that were found, and what could not be read."""

    keys: tuple[KeyRecord, ...]
    gaps: tuple[str, ...]


def list_keys(client: Management) -> Listing:
    """Read every page of every workspace; the first failure of all is raised, later ones become gaps."""
    found: dict[str, KeyRecord] = {}
    gaps: list[str] = []
    for workspace in _workspaces(client, gaps):
        for page in range(MOST_PAGES):
            try:
                keys = client.keys(workspace, page * PAGE)
            except OpenRouterUsageError as error:
                if not found and not page:
                    raise
                gaps.append(f"page {page + 1} of workspace {named(workspace or 'default')}: {error.message}")
                break
            found.update((key.hash, key) for key in keys)
            if len(keys) < PAGE:
                break
    return Listing(tuple(sorted(found.values(), key=lambda key: (key.name.casefold(), key.hash))), tuple(gaps))


def _workspaces(client: Management, gaps: list[str]) -> list[str]:
    """Give the workspaces' ids; only the default one where they cannot be listed."""
    try:
        return client.workspaces() or [""]
    except NotFound:
        return [""]
    except OpenRouterUsageError as error:
        gaps.append(f"other workspaces than the default one: {error.message}")
        return [""]


def find_key(listing: Listing, wanted: str) -> KeyRecord:
    """Give the one key of that exact name or full hash; SettingsError when there is none, or more than one."""
    matches = [key for key in listing.keys if wanted in (key.name, key.hash)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        hashes = ", ".join(safe(key.hash, 64) for key in matches[:5])
        raise SettingsError(
            f"{len(matches)} keys are named {named(wanted)}",
            hint=f"say which by its full hash: {hashes}",
            code="ambiguous",
        )
    part = " (some pages could not be read)" if listing.gaps else ""
    raise SettingsError(
        f"no key has exactly the name or the full hash {named(wanted)}{part}",
        hint="cost_tracker.py keys list shows them",
        code="no_such_key",
    )


def remarks(key: KeyRecord, now: datetime) -> list[str]:
    """Say what is worth a look about a key."""
    found = []
    if key.is_disabled:
        found.append("disabled")
    if key.limit.amount is None:
        found.append("no limit")
    if key.expires_at and key.expires_at <= now + SOON:
        found.append("expired" if key.expires_at <= now else f"expires {key.expires_at:%Y-%m-%d}")
    # A key that spent something was used, though OpenRouter may not say when.
    last = key.last_used_at or (None if key.usage else key.created_at)
    if last and now - last > DORMANT and not key.is_disabled:
        found.append(f"unused since {last:%Y-%m-%d}")
    return found
