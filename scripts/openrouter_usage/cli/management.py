"""Opens the keys API for a verb: with the management key, or a clear word about how to get one."""

from __future__ import annotations

from datetime import datetime

from openrouter_usage.cli.output import complain
from openrouter_usage.client.management import Management
from openrouter_usage.client.tls import SharedContext
from openrouter_usage.client.transport import Transport
from openrouter_usage.errors import MissingKey
from openrouter_usage.keyring.changes import Keyring
from openrouter_usage.period import UTC
from openrouter_usage.settings import Settings, ledger_file, load_settings


def open_management(settings: Settings, timeout_s: float) -> Management:
    """Give the keys API; MissingKey without a management key that may be sent."""
    key = settings.mgmt_key
    if key is None:
        raise MissingKey(
            "no management key found: set OPENROUTER_MGMT_KEY in the environment or in ~/.openrouter/credentials.env",
            hint="create one at https://openrouter.ai/settings/management-keys",
        )
    return Management(Transport(settings.base_url, timeout_s=timeout_s, tls=SharedContext()), key)


def open_keyring(program: str, timeout_s: float) -> Keyring:
    """Give the account's keys for changing; changes are noted beside the ledger."""
    settings = load_settings()
    for warning in settings.warnings:
        complain(program, warning)
    return Keyring(open_management(settings, timeout_s), ledger_file().parent, lambda: datetime.now(UTC))
