"""Changes keys: each change is planned first, made once, checked when its answer got lost, and noted."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from openrouter_usage import audit
from openrouter_usage.answers.keys import KeyRecord
from openrouter_usage.client.management import Management
from openrouter_usage.errors import OpenRouterUsageError, SettingsError, Unreachable
from openrouter_usage.exactjson import Json
from openrouter_usage.files import make_private_folder
from openrouter_usage.keyring.listing import find_key, list_keys
from openrouter_usage.text import named, safe


class Change(NamedTuple):
    """One request that changes a key: before it is made, it can be shown."""

    action: str
    key: KeyRecord
    fields: dict[str, Json]

    @property
    def request(self) -> dict[str, Json]:
        """The request as it will be sent."""
        method = "DELETE" if self.action == "delete" else "PATCH"
        return {"method": method, "path": f"/keys/{self.key.hash}", "body": self.fields or None}


class Keyring:
    """The account's keys, for changing; `folder` is where audit.jsonl lies."""

    def __init__(self, client: Management, folder: Path, clock: Callable[[], datetime]) -> None:
        """Change keys through `client`."""
        self._client = client
        self._folder = folder
        self._clock = clock

    def plan(self, action: str, wanted: str, fields: dict[str, Json]) -> Change:
        """Find the key that a change is for; SettingsError when it is not exactly one."""
        return Change(action, find_key(list_keys(self._client), wanted), fields)

    def plan_by_label(self, label: str, fields: dict[str, Json]) -> Change:
        """Find the key with a masked label, as GET /key tells it; SettingsError when it is not exactly one."""
        matches = [key for key in list_keys(self._client).keys if key.label == label and label]
        if len(matches) != 1:
            raise SettingsError(
                f"{len(matches)} keys of the account look like the one of OPENROUTER_API_KEY ({named(label)})",
                hint="name it with --key",
                code="ambiguous",
            )
        return Change("update", matches[0], fields)

    def make(self, change: Change) -> KeyRecord | None:
        """Make a change and give the key as it is then, None when it is deleted.

        When the answer is lost, the key is looked at again, and what is true is reported.
        """
        try:
            after = self._send(change)
        except OpenRouterUsageError as error:
            if not error.may_have_arrived:
                raise
            after = self._looked_at_again(change, error)
        self._note(change.action, change.key.hash, change.key.name, change.fields)
        return after

    def _send(self, change: Change) -> KeyRecord | None:
        if change.action == "delete":
            self._client.delete(change.key.hash)
            return None
        return self._client.update(change.key.hash, change.fields)

    def _looked_at_again(self, change: Change, error: OpenRouterUsageError) -> KeyRecord | None:
        try:
            now = self._client.get(change.key.hash)
        except OpenRouterUsageError as unseen:
            if change.action == "delete" and unseen.code == "not_found":
                return None
            raise Unreachable(
                f"it is not known whether the key {named(change.key.name)} was changed: {error.message}",
                hint="cost_tracker.py keys list shows how it is",
            ) from None
        if change.action == "delete" or not _has(now, change.fields):
            raise Unreachable(
                f"the key {named(change.key.name)} was not changed: {error.message}", hint="try again"
            ) from None
        return now

    def create(self, fields: dict[str, Json], secret_file: Path) -> KeyRecord:
        """Create a key whose secret goes into a new file, 0600, and nowhere else.

        SettingsError when a key of that name exists or the file does; when the answer is lost, says what was found.
        """
        name = str(fields["name"])
        existing = [key for key in list_keys(self._client).keys if key.name == name]
        if existing:
            raise SettingsError(
                f"there is a key named {named(name)} already ({safe(existing[0].hash, 64)})",
                hint="take another name; to end the old one: cost_tracker.py keys disable NAME --yes",
                code="exists",
            )
        # The file comes first: a secret that is shown once must not meet a full disk.
        handle = _new_file(secret_file)
        try:
            created = self._client.create(fields)
            os.write(handle, f"OPENROUTER_API_KEY={created.secret}\n".encode())
            os.fsync(handle)
        except BaseException as error:
            secret_file.unlink()
            if isinstance(error, OpenRouterUsageError) and error.may_have_arrived:
                raise self._lost(name, error) from None
            raise
        finally:
            os.close(handle)
        self._note("create", created.record.hash, name, fields)
        return created.record

    def _lost(self, name: str, error: OpenRouterUsageError) -> OpenRouterUsageError:
        """Say whether a key whose answer was lost exists: its secret is gone then, and it should be ended."""
        try:
            found = [key for key in list_keys(self._client).keys if key.name == name]
        except OpenRouterUsageError:
            return Unreachable(
                f"it is not known whether the key {named(name)} was created: {error.message}",
                hint="run: cost_tracker.py keys list; a key of that name has a secret that nobody knows: disable it",
            )
        if not found:
            return Unreachable(f"the key {named(name)} was not created: {error.message}", hint="try again")
        self._note("create", found[0].hash, name, {"answer": "lost"})
        return Unreachable(
            f"the key {named(name)} was created, but its secret was lost with the answer",
            hint=f"run: cost_tracker.py keys disable {safe(found[0].hash, 64)} --yes, and create one of another name",
        )

    def _note(self, action: str, key_hash: str, name: str, fields: dict[str, Json]) -> None:
        audit.note(self._folder, self._clock(), action, key_hash=key_hash, name=name, fields=fields)


def _has(key: KeyRecord, fields: dict[str, Json]) -> bool:
    """Tell whether a key is as a change wanted it."""
    now: dict[str, object] = {
        "name": key.name,
        "disabled": key.is_disabled,
        "limit": key.limit.amount,
        "limit_reset": key.limit.reset,
    }
    return all(now.get(name, value) == value for name, value in fields.items())


def _new_file(path: Path) -> int:
    shown = safe(str(path), 300)
    try:
        if not path.parent.is_dir():
            make_private_folder(path.parent)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    except FileExistsError:
        raise SettingsError(f"{shown} is there already", hint="name another with --secret-file") from None
    except OSError as error:
        raise SettingsError(
            f"{shown} cannot be written: {error.strerror}", hint="name another with --secret-file"
        ) from None


def file_name(name: str) -> str:
    """Give a file name for a key's name: letters, digits, dots and dashes, and nothing a path could be made of."""
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:80]
    return f"{cleaned or 'key'}.env"
