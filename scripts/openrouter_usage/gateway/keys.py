"""The tokens that clients get in place of a key: only their hashes are kept, in ~/.openrouter/gateway-keys.json."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from openrouter_usage.budgets import STRICT, Budget, Burst, Owner
from openrouter_usage.entry import Caps, safe_tag
from openrouter_usage.errors import InvalidValue, SettingsError
from openrouter_usage.files import Distrusted, how_to_own, locked, make_private_folder, read_own, replace_file, state_of
from openrouter_usage.home.settings import CAPS, cap, find_home, load_budgets, read_budget
from openrouter_usage.money import Json, dumps, loads, plain
from openrouter_usage.text import safe

PREFIX = "gw-"
_LARGEST_FILE = 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
_NO_CAPS = Caps()


@dataclass(frozen=True, slots=True)
class GatewayKey:
    """One client: its name, its tags, what it may spend in USD, and what a call that nobody can bound may cost."""

    name: str
    hash: str = field(repr=False)
    tags: tuple[tuple[str, str], ...] = ()
    caps: Caps = _NO_CAPS
    max_cost: Decimal | None = None
    created: str = ""
    policy: str = STRICT
    burst: Burst | None = None
    repeats: int | None = None

    @property
    def budget(self) -> Budget:
        """What this client may spend."""
        return Budget(Owner("client", self.name), self.caps, self.policy, self.burst, self.repeats)


def folder() -> Path:
    """Name the folder of the file; SettingsError without a home folder."""
    home = find_home()
    if home is None:
        raise SettingsError("there is no home folder to keep gateway keys in", hint="set HOME")
    return home / ".openrouter"


def keys_file() -> Path:
    """Name the file."""
    return folder() / "gateway-keys.json"


def load_keys() -> tuple[GatewayKey, ...]:
    """Read all keys; SettingsError for a file that cannot be used."""
    path = keys_file()
    shown = safe(str(path), 300)
    try:
        values = loads(read_own(path, _LARGEST_FILE))
    except FileNotFoundError:
        return ()
    except Distrusted as error:
        raise SettingsError(
            f"the gateway keys {shown} are not used: {error.strerror}", hint=f"run: {how_to_own(shown, error.why)}"
        ) from None
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"the gateway keys {shown} cannot be read: {error}", hint="mend or delete the file"
        ) from None
    rows = values.get("keys") if isinstance(values, dict) else None
    if not isinstance(rows, list):
        raise SettingsError(f"the gateway keys {shown} are no list", hint="mend or delete the file")
    return tuple(_read(row, shown) for row in rows)


def every_budget() -> tuple[Budget, ...]:
    """Return the budgets of this machine and those of all keys; SettingsError for a file that cannot be used."""
    return (*load_budgets(), *(key.budget for key in load_keys()))


def _read(row: Json, shown: str) -> GatewayKey:
    if not isinstance(row, dict) or not isinstance(row.get("name"), str) or not isinstance(row.get("hash"), str):
        raise SettingsError(f"the gateway keys {shown} have one that is not understood", hint="mend or delete the file")
    name, tags = str(row["name"]), row.get("tags")
    most = None if row.get("max_cost") is None else cap(row["max_cost"], f"max_cost of {name}")
    own = read_budget(Owner("client", name), row, f"the gateway key {safe(name)}")
    pairs = sorted((str(key), str(value)) for key, value in tags.items()) if isinstance(tags, dict) else ()
    created = str(row.get("created") or "")
    return GatewayKey(name, str(row["hash"]), tuple(pairs), own.caps, most, created, own.policy, own.burst, own.repeats)


def add_key(
    name: str, tags: Mapping[str, str], budget: Mapping[str, Json], max_cost: Decimal | None, created: str
) -> str:
    """Make a token for a new client and return it: it is shown once, and cannot be had again.

    `budget` has what the client may spend, as `read_budget` reads it.
    """
    if not _NAME.fullmatch(name):
        raise InvalidValue("a name has up to 60 letters, digits, dots, dashes and underlines")
    checked = tuple(sorted((safe_tag(key), safe_tag(value)) for key, value in tags.items()))
    if any(" " in value for _, value in checked):
        raise InvalidValue("a tag's value has no blanks")
    token = PREFIX + secrets.token_urlsafe(32)
    own = read_budget(Owner("client", name), budget, f"the gateway key {name}")
    added = GatewayKey(name, hash_of(token), checked, own.caps, max_cost, created, own.policy, own.burst, own.repeats)

    def change(keys: tuple[GatewayKey, ...]) -> tuple[GatewayKey, ...]:
        if any(key.name == name for key in keys):
            raise SettingsError(
                f"there is a gateway key named {name} already", hint="remove it first, or choose another"
            )
        return (*keys, added)

    _change(change)
    return token


def remove_key(name: str) -> None:
    """Forget a client; its token is refused from then on."""

    def change(keys: tuple[GatewayKey, ...]) -> tuple[GatewayKey, ...]:
        require_key(name, keys)
        return tuple(key for key in keys if key.name != name)

    _change(change)


def require_key(name: str, keys: Iterable[GatewayKey]) -> None:
    """Raise SettingsError when no client has this name."""
    if all(key.name != name for key in keys):
        raise SettingsError(f"no gateway key is named {safe(name, 60)}", hint="gateway key list names them")


def _change(change: Callable[[tuple[GatewayKey, ...]], tuple[GatewayKey, ...]]) -> None:
    path = keys_file()
    try:
        make_private_folder(path.parent)
        with locked(path.with_name("gateway-keys.lock")):
            rows: list[Json] = [_row(key) for key in change(load_keys())]
            replace_file(path, [dumps({"keys": rows}, indent=2) + "\n"], durable=True)
    except OSError as error:
        raise SettingsError(
            f"the gateway keys {safe(str(path), 300)} cannot be written: {error.strerror}", hint="check the disk"
        ) from None


def _row(key: GatewayKey) -> dict[str, Json]:
    amounts = {**{name: getattr(key.caps, name) for name in CAPS}, "max_cost": key.max_cost}
    row: dict[str, Json] = {"name": key.name, "hash": key.hash, "created": key.created, "tags": dict(key.tags)}
    row |= {"policy": key.policy} if key.policy != STRICT else {}
    row |= {"burst": str(key.burst)} if key.burst else {}
    row |= {"repeats": key.repeats} if key.repeats else {}
    return row | {name: plain(amount) for name, amount in amounts.items() if amount is not None}


def hash_of(token: str) -> str:
    """Return what is kept of a token; it is random and long, so a plain hash tells nothing of it."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


class KeyRing:
    """The keys as they are now: the file is read again when it has changed."""

    def __init__(self) -> None:
        """Begin with nothing read."""
        self._seen: object = None
        self._path: Path | None = None
        self._keys: tuple[GatewayKey, ...] = ()

    def find(self, token: str) -> GatewayKey | None:
        """Return the client of a token; how long that takes says nothing of how much of a token is right."""
        self._refresh()
        presented, found = hash_of(token), None
        for key in self._keys:
            if hmac.compare_digest(key.hash, presented):
                found = key
        return found

    def _refresh(self) -> None:
        try:
            self._path = self._path or keys_file()
            seen: object = state_of(self._path)
        except FileNotFoundError:
            seen = ()
        if seen != self._seen:
            self._keys, self._seen = load_keys(), seen


class OneKey(KeyRing):
    """The one token of a gateway within a program, which is in no file."""

    def __init__(self, token: str) -> None:
        """Know a token whose client has no name and no budget of its own."""
        super().__init__()
        self._keys = (GatewayKey("", hash_of(token)),)

    def _refresh(self) -> None:
        pass
