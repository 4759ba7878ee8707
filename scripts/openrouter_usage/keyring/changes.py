"""Changes keys: each change is planned first, sent once, looked at again when its answer got lost, and noted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from openrouter_usage.answers.keys import CreatedKey, KeyRecord
from openrouter_usage.audit import Audit
from openrouter_usage.client.management import Management, key_path
from openrouter_usage.errors import NotFound, OpenRouterUsageError, SettingsError, UnknownId, Unreachable
from openrouter_usage.exactjson import Json
from openrouter_usage.keyring.listing import Listing, find_key, hash_shown, list_keys
from openrouter_usage.keyring.secret import SecretFile
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
        return {"method": method, "path": key_path(self.key.hash), "body": self.fields or None}


class Keyring:
    """The account's keys, for changing; `folder` is where audit.jsonl lies."""

    def __init__(self, client: Management, folder: Path, clock: Callable[[], datetime]) -> None:
        """Change keys through `client`."""
        self._client = client
        self._audit = Audit(folder)
        self._clock = clock

    def plan(self, action: str, wanted: str, fields: dict[str, Json]) -> Change:
        """Find the key that a change is for; SettingsError when it is not exactly one, or a new name is taken."""
        listing = list_keys(self._client)
        key = find_key(listing, wanted)
        key_path(key.hash)
        if "name" in fields and fields["name"] != key.name:
            _refuse_taken(listing, str(fields["name"]))
            if listing.has_holes:
                name = named(str(fields["name"]))
                raise Unreachable(f"whether there is a key named {name} already is not known: {listing.gaps[-1]}")
        return Change(action, key, fields)

    def plan_by_label(self, label: str, fields: dict[str, Json]) -> Change:
        """Find the key with a masked label, as GET /key tells it; SettingsError when it is not exactly one."""
        listing = list_keys(self._client)
        matches = [key for key in listing.keys if key.label == label and label]
        if len(matches) != 1 or listing.gaps:
            whose = f" ({named(label)})" if label else ", of which OpenRouter tells no label"
            part = f"; not all keys could be read: {listing.gaps[0]}" if listing.gaps else ""
            raise SettingsError(
                f"{len(matches)} keys of the account look like the one of OPENROUTER_API_KEY{whose}{part}",
                hint="name it with --key",
                code="ambiguous",
            )
        key_path(matches[0].hash)
        return Change("update", matches[0], fields)

    def make(self, change: Change) -> KeyRecord | None:
        """Make a change and give the key as it is then, None when it is deleted.

        When the answer is lost, the key is looked at again, and what is true is reported.
        """
        self._note(change, "asked")
        try:
            after = self._send(change)
        except NotFound as error:
            self._note(change, "not done")
            gone = f"the key {named(change.key.name)} is not there any more: {error.message}"
            kind = UnknownId if error.is_told else NotFound
            raise kind(gone, hint="cost_tracker.py keys list shows what is") from None
        except OpenRouterUsageError as error:
            if not error.may_have_arrived:
                self._note(change, "not done")
                raise
            after = self._looked_at_again(change, error)
        self._note(change, "done")
        return after

    def _send(self, change: Change) -> KeyRecord | None:
        if change.action == "delete":
            self._client.delete(change.key.hash)
            return None
        return self._client.update(change.key.hash, change.fields)

    def _looked_at_again(self, change: Change, error: OpenRouterUsageError) -> KeyRecord | None:
        try:
            now = self._client.get(change.key.hash)
        except NotFound as gone:
            if change.action == "delete":
                return None
            self._note(change, "not done")
            raise gone
        except OpenRouterUsageError:
            self._note(change, "not known")
            raise Unreachable(
                f"it is not known whether the key {named(change.key.name)} was changed: {error.message}",
                hint="cost_tracker.py keys list shows how it is",
            ) from None
        if change.action == "delete" or not _has(now, change.fields):
            self._note(change, "not done")
            raise Unreachable(
                f"the key {named(change.key.name)} is as it was: {error.message}",
                hint="look with cost_tracker.py keys list, and try again",
            ) from None
        return now

    def create(self, fields: dict[str, Json], secret_file: Path) -> KeyRecord:
        """Create a key whose secret goes into a new file, 0600, and nowhere else.

        SettingsError when a key of that name exists or the file does; when the answer is lost, says what was found.
        """
        name = str(fields["name"])
        listing = list_keys(self._client)
        _refuse_taken(listing, name)
        if listing.has_holes:
            raise Unreachable(f"whether there is a key named {named(name)} already is not known: {listing.gaps[-1]}")
        with SecretFile(secret_file) as file:
            self._note_new(fields, "asked")
            try:
                created = self._client.create(fields)
            except OpenRouterUsageError as error:
                if error.may_have_arrived:
                    raise self._lost(fields, error) from None
                self._note_new(fields, "not done")
                raise
            try:
                file.keep(created.secret)
            except SettingsError as error:
                raise self._ended(created, fields, error) from None
        self._note_new(fields, "done", created.record.hash)
        return created.record

    def _lost(self, fields: dict[str, Json], error: OpenRouterUsageError) -> OpenRouterUsageError:
        """Say whether a key whose answer was lost exists: its secret is gone then, and it should be ended."""
        name = str(fields["name"])
        try:
            listing = list_keys(self._client)
        except OpenRouterUsageError as unseen:
            listing = Listing((), (unseen.message,), True)
        found = [key for key in listing.keys if key.name == name]
        if found:
            self._note_new(fields, "done, its secret lost", found[0].hash)
            return Unreachable(
                f"the key {named(name)} was created, but its secret was lost with the answer",
                hint=f"run: cost_tracker.py keys disable {safe(found[0].hash, 64)} --yes, "
                "and create one of another name",
            )
        if listing.has_holes:
            self._note_new(fields, "not known")
            return Unreachable(
                f"it is not known whether the key {named(name)} was created: {error.message}",
                hint="run: cost_tracker.py keys list; a key of that name has a secret that nobody knows: disable it",
            )
        self._note_new(fields, "not done")
        return Unreachable(f"no key {named(name)} is there: {error.message}", hint="try again")

    def _ended(self, created: CreatedKey, fields: dict[str, Json], error: SettingsError) -> OpenRouterUsageError:
        """Disable a new key whose secret could not be kept, and say so."""
        self._note_new(fields, "done, its secret lost", created.record.hash)
        key = f"the key {named(created.record.name)} was created, but {error.message}"
        try:
            self.make(Change("disable", created.record, {"disabled": True}))
        except OpenRouterUsageError as failed:
            return type(error)(
                f"{key}; nor could it be disabled: {failed.message}",
                hint=f"run: cost_tracker.py keys disable {safe(created.record.hash, 64)} --yes",
            )
        return type(error)(f"{key}; so it was disabled", hint=error.hint)

    def _note(self, change: Change, outcome: str) -> None:
        self._audit.note(
            self._clock(),
            change.action,
            outcome,
            key_hash=change.key.hash,
            name=change.key.name,
            fields=change.fields,
        )

    def _note_new(self, fields: dict[str, Json], outcome: str, key_hash: str | None = None) -> None:
        self._audit.note(self._clock(), "create", outcome, key_hash=key_hash, name=str(fields["name"]), fields=fields)


def _refuse_taken(listing: Listing, name: str) -> None:
    """Raise SettingsError for a name, or a hash, that a key has."""
    taken = [key for key in listing.keys if name in (key.name, key.hash)]
    if taken:
        raise SettingsError(
            f"there is a key named {named(name)} already ({hash_shown(taken[0])})",
            hint="take another name; to end the old one: cost_tracker.py keys disable NAME --yes",
            code="exists",
        )


def _has(key: KeyRecord, fields: dict[str, Json]) -> bool:
    """Tell whether a key is as a change wanted it."""
    now: dict[str, object] = {
        "name": key.name,
        "disabled": key.is_disabled,
        "limit": key.limit.amount,
        "limit_reset": key.limit.reset,
    }
    return all(now.get(name, value) == value for name, value in fields.items())
