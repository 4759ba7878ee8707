"""What the user has set: ~/.openrouter/settings.json; the environment is stronger."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path

from openrouter_usage.budget import Caps
from openrouter_usage.errors import InvalidValue, SettingsError
from openrouter_usage.exactjson import Json, dumps, loads
from openrouter_usage.files import Distrusted, how_to_own, locked, make_private_folder, read_own, replace_file
from openrouter_usage.money import plain, usd
from openrouter_usage.settings import find_home
from openrouter_usage.text import safe

_LARGEST_FILE = 1024 * 1024
VARIABLES = {
    "per_request": "OPENROUTER_REQUEST_LIMIT",
    "daily": "OPENROUTER_DAILY_LIMIT",
    "monthly": "OPENROUTER_MONTHLY_LIMIT",
}


def settings_file() -> Path:
    """Name the file; SettingsError without a home folder."""
    home = find_home()
    if home is None:
        raise SettingsError("there is no home folder to keep settings in", hint="set HOME, or use the environment")
    return home / ".openrouter" / "settings.json"


def load_preferences() -> dict[str, Json]:
    """Read the settings; SettingsError when the file is there and cannot be used, for a budget may be in it."""
    if find_home() is None:
        return {}
    path = settings_file()
    shown = safe(str(path), 300)
    try:
        # Anything but a file, such as a pipe, could keep the reader waiting for ever.
        if path.exists() and not path.is_file():
            raise SettingsError(f"the settings {shown} are no regular file", hint="move it away")
        values = loads(read_own(path, _LARGEST_FILE))
    except FileNotFoundError:
        return {}
    except Distrusted as error:
        raise SettingsError(
            f"the settings {shown} are not used, and no budget is known without them: {error.strerror}",
            hint=f"look at them, then run: {how_to_own(shown, error.why)}",
        ) from None
    except OSError as error:
        raise SettingsError(f"the settings {shown} cannot be read: {error.strerror}", hint="check the file") from None
    except ValueError as error:
        raise SettingsError(f"the settings {shown} are not JSON: {error}", hint="mend or delete the file") from None
    if not isinstance(values, dict):
        raise SettingsError(f"the settings {shown} are no JSON object", hint="mend or delete the file")
    return values


def load_preference(name: str) -> dict[str, Json]:
    """Read one of the settings, empty when it is not there; SettingsError for one of another shape."""
    return _object(load_preferences().get(name), name)


def _object(value: Json, name: str) -> dict[str, Json]:
    if value is not None and not isinstance(value, dict):
        shown = safe(str(settings_file()), 300)
        raise SettingsError(f'"{name}" in the settings {shown} is no JSON object', hint="mend or delete it")
    return value or {}


def save_preference(name: str, value: Json) -> None:
    """Set one of the settings and leave the others; None takes it out."""
    _change(name, lambda kept: value)


def change_preference(name: str, change: Callable[[dict[str, Json]], dict[str, Json]]) -> dict[str, Json]:
    """Change one of the settings while nobody else does, and give what it is then; an empty one is taken out."""
    changed: dict[str, Json] = {}

    def run(kept: Json) -> Json:
        changed.update(change(_object(kept, name)))
        return changed or None

    _change(name, run)
    return changed


def _change(name: str, change: Callable[[Json], Json]) -> None:
    path = settings_file()
    try:
        make_private_folder(path.parent)
        # What another process sets between the reading and the writing would be lost.
        with locked(path.with_name("settings.lock")):
            kept = load_preferences()
            values = {**kept, name: change(kept.get(name))}
            text = dumps({k: v for k, v in values.items() if v is not None}, indent=2) + "\n"
            replace_file(path, [text], durable=True)
    except OSError as error:
        raise SettingsError(
            f"the settings {safe(str(path), 300)} cannot be written: {error.strerror}", hint="check the disk"
        ) from None


def load_caps(environ: Mapping[str, str] | None = None) -> Caps:
    """Give the budget in force; SettingsError for a cap that is no amount, so that no call slips past it."""
    environ = os.environ if environ is None else environ
    kept = load_preferences().get("budget")
    if kept is not None and not isinstance(kept, dict):
        raise SettingsError("the budget in the settings is no JSON object", hint="run: cost_tracker.py budget set")
    odd = sorted((kept or {}).keys() - VARIABLES.keys())
    if odd:
        # A misspelt cap would be none at all.
        raise SettingsError(
            f"the budget in the settings has {safe(odd[0])}, which is no cap: {', '.join(VARIABLES)} are",
            hint="mend the file, or run: cost_tracker.py budget clear",
        )
    found: dict[str, Decimal | None] = {}
    for name, variable in VARIABLES.items():
        raw = environ.get(variable, "").strip()
        value: Json = raw or (kept or {}).get(name)
        found[name] = None if value is None else cap(value, variable if raw else f"the {name} budget in the settings")
    return Caps(**found)


def save_caps(caps: Mapping[str, Decimal]) -> None:
    """Keep some caps by name, and leave the others as they are; SettingsError when one of those cannot be used."""
    load_caps({})
    given: dict[str, Json] = {name: plain(amount) for name, amount in caps.items()}
    change_preference("budget", lambda kept: {**kept, **given})


def cap(value: object, where: str) -> Decimal:
    """Read an amount for a cap: zero or more USD."""
    try:
        amount = usd(value)
    except InvalidValue as error:
        raise SettingsError(f"{where}: {error}", hint="write it like 10 or 0.50") from None
    if amount < 0:
        raise SettingsError(f"{where} is below zero", hint="write it like 10 or 0.50; 0 means nothing may be spent")
    return amount
