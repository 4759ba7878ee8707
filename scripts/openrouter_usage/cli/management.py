"""Opens the keys API for a verb: with the management key, or a clear error about how to get one."""

from __future__ import annotations

import re
from datetime import datetime

from openrouter_usage.cli.program import complain
from openrouter_usage.errors import MissingKey, SettingsError
from openrouter_usage.home.credentials import ApiKey
from openrouter_usage.home.settings import Settings, ledger_file, load_settings
from openrouter_usage.jobs.keys import Keyring
from openrouter_usage.openrouter.management import Management

# Longer than a masked label, which is not secret and may be a key's name.
_SECRET = re.compile(r"sk-or-[\w-]{20}")


def load_managing(program: str) -> Settings:
    """Load the settings, and print warnings about them."""
    settings = load_settings()
    for warning in settings.warnings:
        complain(program, warning)
    return settings


def require_mgmt_key(settings: Settings) -> ApiKey:
    """Return the management key; MissingKey without one that may be sent."""
    key = settings.mgmt_key
    if key is None and settings.credentials.mgmt_key:
        raise MissingKey(
            "the management key is not sent to the host of OPENROUTER_BASE_URL", hint="unset OPENROUTER_BASE_URL"
        )
    if key is None:
        raise MissingKey(
            "no management key found: set OPENROUTER_MGMT_KEY in the environment or in ~/.openrouter/credentials.env",
            hint="create one at https://openrouter.ai/settings/management-keys",
        )
    return key


def open_management(settings: Settings, timeout_s: float) -> Management:
    """Return the keys API; MissingKey without a management key that may be sent."""
    from openrouter_usage.openrouter.network import SharedContext
    from openrouter_usage.openrouter.transport import Transport

    key = require_mgmt_key(settings)
    return Management(Transport(settings.base_url, timeout_s=timeout_s, tls=SharedContext()), key)


def open_keyring(program: str, timeout_s: float, now: datetime) -> Keyring:
    """Return the account's keys for changing; changes are noted beside the ledger, as of `now`."""
    settings = load_managing(program)
    return Keyring(open_management(settings, timeout_s), ledger_file().parent, now)


def key_named(text: str) -> str:
    """Return the name of a key unchanged; SettingsError for a key itself, which must not be shown or sent."""
    if looks_secret(text):
        raise SettingsError("that is a key itself, which must stay secret", hint="name the key, or give its full hash")
    return text


def looks_secret(text: str) -> bool:
    """Check whether a key itself is in a text."""
    return _SECRET.search(text) is not None
