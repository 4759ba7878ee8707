"""Lists and changes keys: a change is planned, sent once, checked again when its answer was lost, and recorded."""

from __future__ import annotations

import contextlib
import os
import re
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from openrouter_usage.called import as_called
from openrouter_usage.errors import LedgerError, NotFound, OpenRouterUsageError, SettingsError, UnknownId, Unreachable
from openrouter_usage.files import Distrusted, distrust, is_in_skill, make_private_folder
from openrouter_usage.home.credentials import ApiKey
from openrouter_usage.money import Json, dumps
from openrouter_usage.openrouter.answers.key import CreatedKey, KeyRecord
from openrouter_usage.openrouter.management import Management, key_path
from openrouter_usage.period import iso
from openrouter_usage.text import named, safe

# -- Notes every change of the account beside the ledger: when, what, which key; never a secret.


class Audit:
    """The file audit.jsonl in a folder; a change is noted before it is sent, and again when it is known how it ended.

    What cannot be noted is not sent, and a change that is broken off leaves its first line behind.
    """

    def __init__(self, folder: Path) -> None:
        """Name the folder; nothing is written before the first note."""
        self._path = folder / "audit.jsonl"

    def note(
        self, now: datetime, action: str, outcome: str, *, key_hash: str | None, name: str, fields: dict[str, Json]
    ) -> None:
        """Append one line; LedgerError when that cannot be done."""
        values = {"ts": iso(now), "action": action, "hash": key_hash, "name": name, "fields": fields}
        line = dumps({**values, "outcome": outcome})
        try:
            make_private_folder(self._path.parent)
            self._append(line.encode("ascii") + b"\n")
        except OSError as error:
            what = "nothing was changed" if outcome == "asked" else f"the change is {outcome}"
            raise LedgerError(
                f"{what}, but this cannot be recorded in {safe(str(self._path), 300)}: {error.strerror}", hint=line
            ) from None

    def _append(self, line: bytes) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        handle = os.open(self._path, flags, 0o600)
        try:
            status = os.fstat(handle)
            why = distrust(status)
            if why:
                raise Distrusted(why)
            size = status.st_size
            # A line that was torn by a full disk must not take this one with it.
            torn = b"\n" if size and os.lseek(handle, -1, os.SEEK_END) >= 0 and os.read(handle, 1) != b"\n" else b""
            whole = torn + line
            if os.write(handle, whole) < len(whole):
                raise OSError(0, "there is no room for a whole line")
            os.fsync(handle)
        finally:
            os.close(handle)


# -- Finds all keys of all workspaces, each once; a page that fails leaves a list that says so.

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
    """Add the keys of a workspace and return what of them is not understood; what is found before a failure stays."""
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
    """Return the workspaces' ids; only the default one where they cannot be listed."""
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
    """Return the one key of that exact name or full hash; SettingsError unless it is surely the only one."""
    matches = [key for key in listing.keys if wanted in (key.name, key.hash)]
    if len(matches) == 1:
        if listing.gaps and matches[0].hash != wanted:
            raise SettingsError(
                f"another key may be named {named(wanted)} too: {listing.gaps[0]}",
                hint=f"name it by its full hash: {hash_shown(matches[0])}",
                code="ambiguous",
            )
        return matches[0]
    if matches:
        hashes = ", ".join(hash_shown(key) for key in matches[:5])
        raise SettingsError(
            f"{len(matches)} keys are named {named(wanted)}",
            hint=f"name one by its full hash: {hashes}",
            code="ambiguous",
        )
    part = " (some keys could not be read)" if listing.gaps else ""
    raise SettingsError(
        f"no key has exactly the name or the full hash {named(wanted)}{part}",
        hint=as_called("cost_tracker.py keys list shows them"),
        code="no_such_key",
    )


# -- The file that a new key's secret goes into: made before the key is, so that no secret is lost.

# More than any secret needs.
_ROOM = 1024


class SecretFile:
    """A new file, readable by its owner alone, with room for a secret; unless one is kept it is removed again."""

    def __init__(self, path: Path) -> None:
        """Make the file; SettingsError when there is one, when there is no room, or when its folder is a link."""
        self.shown = safe(str(path), 300)
        self._path = path
        self._is_kept = False
        try:
            self._handle = _opened(path)
        except FileExistsError:
            raise SettingsError(f"{self.shown} already exists", hint="name another file with --secret-file") from None
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            # A disk that is full shows it now, while there is no secret yet that could be lost.
            self._write(b"\n" * _ROOM)
        except OSError as error:
            self._remove()
            raise self._unwritable(error) from None

    def __enter__(self) -> SecretFile:
        """Keep the file open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file, and remove it unless a secret is in it."""
        if self._is_kept:
            os.close(self._handle)
        else:
            self._remove()

    def keep(self, secret: str) -> None:
        """Write the secret, to stay; SettingsError for one that no key can be, or that cannot be written."""
        self.keep_line(f"OPENROUTER_API_KEY={ApiKey.checked(secret, 'the new key', 'OpenRouter').secret}")

    def keep_line(self, text: str) -> None:
        """Write one line with a secret, to stay; SettingsError when it cannot be written."""
        line = f"{text}\n".encode()
        try:
            self._write(line)
            os.ftruncate(self._handle, len(line))
            os.fsync(self._handle)
        except OSError as error:
            raise self._unwritable(error) from None
        self._is_kept = True

    def _write(self, content: bytes) -> None:
        os.lseek(self._handle, 0, os.SEEK_SET)
        if os.write(self._handle, content) < len(content):
            raise OSError(0, "there is no room for it")
        os.fsync(self._handle)

    def _remove(self) -> None:
        os.close(self._handle)
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _unwritable(self, error: OSError) -> SettingsError:
        return SettingsError(
            f"{self.shown} cannot be written: {error.strerror}", hint="name another with --secret-file"
        )


def _opened(path: Path) -> int:
    if is_in_skill(path):
        raise OSError(0, "it is in the skill's own folder, which an update replaces")
    if path.parent.is_symlink():
        raise OSError(0, "its folder is a link; name the folder that it leads to")
    if not path.parent.is_dir():
        make_private_folder(path.parent)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.open(path, flags, 0o600)


def file_name(name: str) -> str:
    """Return a file name for a key's name: letters, digits, dots and dashes, and nothing a path could be made of."""
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:80]
    return f"{cleaned or 'key'}.env"


# -- Changes keys: each change is planned first, sent once, looked at again when its answer got lost, and noted.


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

    def __init__(self, client: Management, folder: Path, now: datetime) -> None:
        """Change keys through `client`; `now` is the moment that is noted with each change."""
        self._client = client
        self._audit = Audit(folder)
        self._now = now

    def plan(self, action: str, wanted: str, fields: dict[str, Json]) -> Change:
        """Find the key that a change is for; SettingsError when it is not exactly one, or a new name is taken."""
        listing = list_keys(self._client)
        key = find_key(listing, wanted)
        key_path(key.hash)
        if "name" in fields and fields["name"] != key.name:
            _refuse_taken(listing, str(fields["name"]))
            if listing.has_holes:
                name = named(str(fields["name"]))
                raise Unreachable(f"it is not known whether a key named {name} already exists: {listing.gaps[-1]}")
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
        """Make a change and return the key as it is then, None when it is deleted.

        When the answer is lost, the key is looked at again, and what is true is reported.
        """
        self._note(change, "asked")
        try:
            after = self._send(change)
        except NotFound as error:
            self._note(change, "not done")
            gone = f"the key {named(change.key.name)} is not there any more: {error.message}"
            kind = UnknownId if error.is_told else NotFound
            raise kind(gone, hint=as_called("cost_tracker.py keys list shows what is")) from None
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
                hint=as_called("cost_tracker.py keys list shows its state"),
            ) from None
        if change.action == "delete" or not _has(now, change.fields):
            self._note(change, "not done")
            raise Unreachable(
                f"the key {named(change.key.name)} was not changed: {error.message}",
                hint=as_called("check with: cost_tracker.py keys list; then try again"),
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
            raise Unreachable(f"it is not known whether a key named {named(name)} already exists: {listing.gaps[-1]}")
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
        """Check whether a key whose answer was lost exists: its secret is gone then, and it should be disabled."""
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
                hint=f"run: {as_called('cost_tracker.py keys')} disable {safe(found[0].hash, 64)} --yes, "
                "and create one of another name",
            )
        if listing.has_holes:
            self._note_new(fields, "not known")
            return Unreachable(
                f"it is not known whether the key {named(name)} was created: {error.message}",
                hint=as_called(
                    "run: cost_tracker.py keys list; a key of that name has a secret that nobody knows: disable it"
                ),
            )
        self._note_new(fields, "not done")
        return Unreachable(f"the key {named(name)} was not created: {error.message}", hint="try again")

    def _ended(self, created: CreatedKey, fields: dict[str, Json], error: SettingsError) -> OpenRouterUsageError:
        """Disable a new key whose secret could not be kept, and say so."""
        self._note_new(fields, "done, its secret lost", created.record.hash)
        key = f"the key {named(created.record.name)} was created, but {error.message}"
        try:
            self.make(Change("disable", created.record, {"disabled": True}))
        except OpenRouterUsageError as failed:
            return type(error)(
                f"{key}; nor could it be disabled: {failed.message}",
                hint=f"run: {as_called('cost_tracker.py keys')} disable {safe(created.record.hash, 64)} --yes",
            )
        return type(error)(f"{key}; so it was disabled", hint=error.hint)

    def _note(self, change: Change, outcome: str) -> None:
        self._audit.note(
            self._now,
            change.action,
            outcome,
            key_hash=change.key.hash,
            name=change.key.name,
            fields=change.fields,
        )

    def _note_new(self, fields: dict[str, Json], outcome: str, key_hash: str | None = None) -> None:
        self._audit.note(self._now, "create", outcome, key_hash=key_hash, name=str(fields["name"]), fields=fields)


def _refuse_taken(listing: Listing, name: str) -> None:
    """Raise SettingsError for a name, or a hash, that a key has."""
    taken = [key for key in listing.keys if name in (key.name, key.hash)]
    if taken:
        raise SettingsError(
            f"a key named {named(name)} already exists ({hash_shown(taken[0])})",
            hint=as_called("choose another name; to disable the old one: cost_tracker.py keys disable NAME --yes"),
            code="exists",
        )


def _has(key: KeyRecord, fields: dict[str, Json]) -> bool:
    """Check whether a key is as a change wanted it."""
    now: dict[str, object] = {
        "name": key.name,
        "disabled": key.is_disabled,
        "limit": key.limit.amount,
        "limit_reset": key.limit.reset,
    }
    return all(now.get(name, value) == value for name, value in fields.items())
