"""Finds all keys of all workspaces, each once; a page that fails leaves a list that says so."""

from __future__ import annotations

from typing import NamedTuple

from openrouter_usage.answers.keys import KeyRecord
from openrouter_usage.client.management import Management
from openrouter_usage.errors import NotFound, OpenRouterUsageError, SettingsError
from openrouter_usage.text import named, safe

MOST_PAGES = 1_000


class Listing(NamedTuple):
    """The keys that were found, what could not be read, and whether keys are among that.

    Of the keys that are there `figures` could not be used, and are unknown.
    """

    keys: tuple[KeyRecord, ...]
    gaps: tuple[str, ...]
    has_holes: bool = False
    figures: tuple[str, ...] = ()


def list_keys(client: Management) -> Listing:
    """Read every page of every workspace; raises when nothing at all can be read, later failures become gaps."""
    found: dict[str, KeyRecord] = {}
    gaps: list[str] = []
    holes: list[str] = []
    figures: dict[str, None] = {}
    workspaces = _workspaces(client, gaps)
    unread = list(workspaces)
    for workspace in workspaces:
        try:
            holes += _read_workspace(client, workspace, found, figures)
            unread.remove(workspace)
        except OpenRouterUsageError as error:
            if unread == workspaces and workspace == workspaces[-1] and not found:
                raise
            holes.append(f"keys of workspace {named(workspace or 'default')}: {error.message}")
    keys = sorted(found.values(), key=lambda key: (key.name.casefold(), key.hash))
    return Listing(tuple(keys), (*gaps, *holes), bool(holes), tuple(figures))


def _read_workspace(
    client: Management, workspace: str, found: dict[str, KeyRecord], figures: dict[str, None]
) -> list[str]:
    """Add the keys of a workspace, and give what of them is not understood; what is found before a failure stays."""
    problems: dict[str, None] = {}
    offset = 0
    for _ in range(MOST_PAGES):
        page = client.keys(workspace, offset)
        known = len(found)
        found.update((key.hash or key.label, key) for key in page.keys)
        problems |= dict.fromkeys(page.problems)
        figures |= dict.fromkeys(page.figures)
        # Only a page with nothing new is surely the last: how many keys a page holds is OpenRouter's to change.
        if len(found) == known:
            return list(problems)
        offset += page.size
    where = f" of workspace {named(workspace)}" if workspace else ""
    return [*problems, f"more than {MOST_PAGES:,} pages of keys{where}: what is on later ones was not read"]


def _workspaces(client: Management, gaps: list[str]) -> list[str]:
    """Give the workspaces' ids; only the default one where they cannot be listed."""
    try:
        found, is_whole = client.workspaces()
        if not is_whole:
            gaps.append(f"more than {len(found):,} workspaces: the keys of later ones were not read")
        return found or [""]
    except NotFound:
        return [""]
    except OpenRouterUsageError as error:
        gaps.append(f"other workspaces than the default one: {error.message}")
        return [""]


def hash_shown(key: KeyRecord) -> str:
    """Write a key's hash to be typed, or say that OpenRouter tells none."""
    return safe(key.hash, 64) or "(OpenRouter tells no hash)"


def find_key(listing: Listing, wanted: str) -> KeyRecord:
    """Give the one key of that exact name or full hash; SettingsError unless it is surely the only one."""
    matches = [key for key in listing.keys if wanted in (key.name, key.hash)]
    if len(matches) == 1:
        if listing.gaps and matches[0].hash != wanted:
            raise SettingsError(
                f"another key may be named {named(wanted)} too: {listing.gaps[0]}",
                hint=f"say by its full hash that it is this one: {hash_shown(matches[0])}",
                code="ambiguous",
            )
        return matches[0]
    if matches:
        hashes = ", ".join(hash_shown(key) for key in matches[:5])
        raise SettingsError(
            f"{len(matches)} keys are named {named(wanted)}",
            hint=f"say which by its full hash: {hashes}",
            code="ambiguous",
        )
    part = " (some keys could not be read)" if listing.gaps else ""
    raise SettingsError(
        f"no key has exactly the name or the full hash {named(wanted)}{part}",
        hint="cost_tracker.py keys list shows them",
        code="no_such_key",
    )
