"""Looks at where keys are: those in force, and those that stand behind them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from openrouter_usage.credentials import ApiKey, Credentials, find_credentials, how_to_move
from openrouter_usage.diagnosis.keys import FoundKey, Keys
from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.settings import DEFAULT_BASE_URL, BaseUrl, parse_base_url

_NOWHERE = Path(os.devnull) / "nowhere"
_NONE = Credentials(None, None)


def look(environ: Mapping[str, str], home: Path | None, skill_folder: Path) -> Keys:
    """Find the keys that a program would use, and then what each place holds by itself."""
    in_force, error = _found(environ, home, skill_folder)
    places = (_found(environ, None, _NOWHERE), _found({}, home, _NOWHERE), _found({}, None, skill_folder))
    used = {(key.name, key.secret) for key in _keys(in_force)}
    hidden = [key for found, _ in places for key in _keys(found) if (key.name, key.secret) not in used]
    base_url = base_url_of(environ)
    withheld = in_force.mgmt_key and base_url and not base_url.may_see_mgmt_key
    legacy = skill_folder / "credentials.env"
    return Keys(
        found=tuple(map(found_key, _keys(in_force))),
        hidden=tuple(map(found_key, hidden)),
        error=error,
        legacy=str(legacy) if os.path.lexists(legacy) else "",
        how_to_move=how_to_move(legacy, home),
        withheld_from=base_url.host if base_url and withheld else "",
        home=str(home or ""),
    )


def base_url_of(environ: Mapping[str, str]) -> BaseUrl | None:
    """Give the address of the API, None when it cannot be used."""
    try:
        return parse_base_url(environ.get("OPENROUTER_BASE_URL") or DEFAULT_BASE_URL)
    except OpenRouterUsageError:
        return None


def found_key(key: ApiKey) -> FoundKey:
    """Give what may be told of a key."""
    return FoundKey(key.name, key.secret[-4:], key.source)


def _keys(found: Credentials) -> list[ApiKey]:
    return [key for key in (found.api_key, found.mgmt_key) if key]


def _found(
    environ: Mapping[str, str], home: Path | None, skill_folder: Path
) -> tuple[Credentials, OpenRouterUsageError | None]:
    try:
        return find_credentials(environ, home, skill_folder), None
    except OpenRouterUsageError as error:
        return _NONE, error
