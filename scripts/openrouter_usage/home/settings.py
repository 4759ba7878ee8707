"""What the environment and ~/.openrouter/settings.json say about how to run; flags are stronger, defaults weaker."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from openrouter_usage.called import as_called
from openrouter_usage.errors import InvalidValue, MissingKey, SettingsError
from openrouter_usage.files import (
    SKILL_FOLDER,
    Distrusted,
    how_to_own,
    is_in_skill,
    locked,
    make_private_folder,
    read_own,
    replace_file,
)
from openrouter_usage.home.credentials import NAMES, ApiKey, Credentials, find_credentials
from openrouter_usage.money import Json, dumps, loads, usd
from openrouter_usage.redaction import PASSWORD, WEBHOOK, protect
from openrouter_usage.text import safe

if TYPE_CHECKING:
    from openrouter_usage.budgets import Budget, Owner
    from openrouter_usage.entry import Caps

# -- The skill's version; SKILL.md, CHANGELOG.md and the marketplace file carry the same one.

VERSION = "0.1.0"


# -- Settings from the environment and the disk; a flag is stronger, a default weaker.

DEFAULT_BASE_URL = "https://openrouter.ai/api/v1"
OFFICIAL_HOST = "openrouter.ai"
_OWN_NAMES = ("OPENROUTER_BASE_URL", "OPENROUTER_KEYRING", "OPENROUTER_USAGE_FILE", "OPENROUTER_ALERT_WEBHOOK")
_SURELY_SECRET = 16
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]{1,8}|0[0-7]{0,12}|[1-9][0-9]{0,9}", re.ASCII)
_METADATA_NAMES = (
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "instance-data",
    "instance-data.ec2.internal",
)
_METADATA_NETS = (
    "169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", "fe80::/10", "fd00:ec2::/32",
    "fd20:ce::/32",
)  # fmt: skip


class BaseUrl(NamedTuple):
    """The checked address of OpenRouter: https, or http on this machine alone."""

    url: str
    host: str

    @property
    def is_loopback(self) -> bool:
        """Check whether the address never leaves this machine."""
        return _is_loopback(self.host)

    @property
    def is_official(self) -> bool:
        """Check whether this is OpenRouter itself, or one of its regions."""
        return self.host == OFFICIAL_HOST or self.host.endswith("." + OFFICIAL_HOST)

    @property
    def may_see_mgmt_key(self) -> bool:
        """Check whether this is OpenRouter itself, one of its regions, or this machine."""
        return self.is_official or self.is_loopback


class Settings(NamedTuple):
    """Everything a command needs to know about its surroundings; the repr shows no key."""

    credentials: Credentials
    base_url: BaseUrl
    home: Path | None

    @property
    def cache_folder(self) -> Path | None:
        """The folder for snapshots and price lists, None without a home."""
        return self.home / ".openrouter" / "cache" if self.home else None

    @property
    def mgmt_key(self) -> ApiKey | None:
        """The management key, if the host that is asked may see it."""
        return self.credentials.mgmt_key if self.base_url.may_see_mgmt_key else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know about the set-up."""
        if self.credentials.mgmt_key and not self.mgmt_key:
            withheld = f"the management key is not sent to {safe(self.base_url.host)}, only to {OFFICIAL_HOST}"
            return (*self.credentials.warnings, withheld)
        return self.credentials.warnings

    def require_key(self, given: str | None = None) -> ApiKey:
        """Return the caller's own key, or else the one that may ask about spending.

        MissingKey says what to set and where; SettingsError is about a caller's key that cannot be one.
        """
        if given:
            return ApiKey.checked(given, "api_key", "the caller")
        key = self.credentials.api_key or self.mgmt_key
        if key is None:
            of_keyring, hint = self.credentials.keyring
            raise MissingKey(
                "no OpenRouter key found: set OPENROUTER_API_KEY in the environment or in "
                f"{safe(str(self.home or '~'), 300)}/.openrouter/credentials.env"
                + (f"; {of_keyring}" if of_keyring else ""),
                hint=hint
                or "create a key at https://openrouter.ai/settings/keys, then: export OPENROUTER_API_KEY=your-key",
            )
        return key


def declared() -> dict[str, str]:
    """Return what the environment says under the names that are documented; the rest of it is not looked at."""
    found = {name: os.environ.get(name) for name in (*NAMES, *_OWN_NAMES, *VARIABLES.values())}
    return {name: value for name, value in found.items() if value is not None}


def base_url_of(environ: Mapping[str, str]) -> BaseUrl:
    """Return the address that is asked; SettingsError for one that cannot be used."""
    return parse_base_url(environ.get("OPENROUTER_BASE_URL") or DEFAULT_BASE_URL)


def load_settings(environ: Mapping[str, str] | None = None, *, skill_folder: Path = SKILL_FOLDER) -> Settings:
    """Read the settings; SettingsError for a base URL, a file or a key that cannot be used."""
    environ = declared() if environ is None else environ
    home = find_home()
    return Settings(find_credentials(environ, home, skill_folder), base_url_of(environ), home)


def ledger_file(environ: Mapping[str, str] | None = None) -> Path:
    """Return the ledger's path: OPENROUTER_USAGE_FILE, or ~/.openrouter/usage.jsonl; SettingsError without a home."""
    name = "OPENROUTER_USAGE_FILE"
    named = (os.environ.get(name, "") if environ is None else environ.get(name, "")).strip()
    home = find_home()
    if named:
        path = Path(os.path.expanduser(named))
        try:
            path = path.absolute()
        except OSError:
            raise SettingsError(
                f"OPENROUTER_USAGE_FILE names {safe(named, 300)} in the current folder, which does not exist any more",
                hint="name the file by its whole path, or change to another folder (cd)",
            ) from None
        if not path.name:  # the root of a disk: nothing can lie beside it
            raise SettingsError("OPENROUTER_USAGE_FILE names a disk, not a file", hint="name a file in a folder")
        if is_in_skill(path):
            raise SettingsError(
                f"OPENROUTER_USAGE_FILE names {safe(str(path), 300)}, which is in the skill's own folder: an update of "
                "the skill replaces it",
                hint="name a file elsewhere, such as ~/.openrouter/usage.jsonl",
            )
        return path
    if home is None:
        raise SettingsError("there is no home folder to keep the ledger in", hint="set OPENROUTER_USAGE_FILE")
    return home / ".openrouter" / "usage.jsonl"


class SharedAddress(NamedTuple):
    """Where a shared ledger is: `url` is a secret; `shown` names the ledger in messages."""

    url: str
    shown: str
    options: str
    security: dict[str, str]

    def __repr__(self) -> str:
        """Return nothing secret."""
        return f"SharedAddress({self.shown!r})"


def shared_ledger(environ: Mapping[str, str] | None = None) -> SharedAddress | None:
    """Return the address of the team's ledger, OPENROUTER_LEDGER; None where the ledger is a file.

    SettingsError, which does not show the value, for anything but the URL of a PostgreSQL database.
    """
    text = (os.environ if environ is None else environ).get("OPENROUTER_LEDGER", "").strip()
    if not text:
        return None
    protect(text, "[OPENROUTER_LEDGER]")
    try:
        parts = urlsplit(text)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        hosts = [host for host in (query.get("host") or unquote(parts.netloc.rpartition("@")[2])).split(",") if host]
        # What is quoted in a URL is told apart from what it stands for: both are the secret.
        for secret in (parts.password or "", unquote(parts.password or ""), query.get("password", "")):
            protect(secret, PASSWORD)
    except ValueError:
        parts, query, hosts = urlsplit(""), {}, []
    # Where a password has a sign that a URL uses for itself, parts of it would be taken for a host or a database.
    if parts.fragment or "@" in parts.path + parts.query or "@" in parts.netloc.rpartition("@")[0]:
        raise SettingsError(
            "OPENROUTER_LEDGER is not used: its password has a sign that a URL uses for itself",
            hint="write @ as %40, / as %2F, # as %23, ? as %3F and : as %3A",
        )
    if parts.scheme not in ("postgresql", "postgres"):
        raise SettingsError(
            "OPENROUTER_LEDGER is not used: it is not the URL of a PostgreSQL database",
            hint="write it like postgresql://user@host/database or postgresql:///?service=NAME, or unset it",
        )
    names = [_shared_host(host) for host in hosts]
    is_near = all(_is_loopback(name) or not name or name.startswith("/") for name in names)
    security = {}
    if not is_near and "sslmode" not in query and "service" not in query:
        # libpq would else talk to whoever answers, and without encryption if that one wants none.
        security = {"sslmode": "verify-full"} | ({} if "sslrootcert" in query else {"sslrootcert": "system"})
    database = parts.path.strip("/") or query.get("dbname", "")
    where = f" on {safe(names[0])}" if names and not names[0].startswith("/") else ""
    service = f" (service {safe(query['service'])})" if "service" in query else ""
    shown = f"the shared ledger{f' {safe(database)}' if database else ''}{where}{service}"
    return SharedAddress(text, shown, query.get("options", ""), security)


def _shared_host(text: str) -> str:
    if text.startswith(("/", "[")):
        return text.partition("]")[0].removeprefix("[")
    return text.partition(":")[0] if text.count(":") < 2 else text


def find_home() -> Path | None:
    """Return the user's home folder, None when the system knows of none."""
    # An empty HOME would mean the root folder.
    home = os.path.expanduser("~") if os.environ.get("HOME", "~") else ""
    return Path(home) if os.path.isabs(home) else None


def parse_base_url(text: str) -> BaseUrl:
    """Return a checked address of the API; SettingsError for anything a key should not be sent to."""
    try:
        parts = urlsplit(text.strip())
        host, _port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        raise _bad_url("it is not a URL") from None
    if not host or not text.isascii() or any(c <= " " or c == "\\" for c in text.strip()):
        raise _bad_url("it is not a URL")
    if parts.username is not None or parts.password is not None or "?" in text or "#" in text:
        raise _bad_url("it carries a user name, a query or a fragment")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise _bad_url("only https is safe for a key (http works on this machine alone)")
    if _is_address(host) and not _is_loopback(host):
        raise _bad_url("a bare IP address can belong to anybody")
    return BaseUrl(text.strip().rstrip("/"), host)


def parse_webhook(text: str) -> BaseUrl:
    """Return a checked address for alerts: https, or http on this machine; its path and query are kept secret."""
    try:
        parts = urlsplit(text.strip())
        host, _port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        host, parts = "", urlsplit("")
    if is_metadata(host):
        raise SettingsError(
            f"the webhook is not used: {safe(host)} is a link-local or metadata address, where machines of a cloud "
            "keep their secrets",
            hint="name the address of a service, such as https://hooks.slack.com/services/...",
        )
    safe_scheme = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))
    odd = not text.isascii() or any(c <= " " or c == "\\" for c in text.strip()) or "@" in parts.netloc
    odd = odd or ("%" in host and ":" not in host)
    if not host or not safe_scheme or odd:
        raise SettingsError(
            "the webhook is not used: an https address is needed (http works on this machine alone)",
            hint="name one such as --webhook https://hooks.slack.com/services/...",
        )
    whole = f"{parts.path}?{parts.query}" if parts.query else parts.path
    for secret in (whole, parts.path.rstrip("/").rpartition("/")[2]):
        if len(secret) >= _SURELY_SECRET:  # a short text may be a word that stands in other texts too
            protect(secret, WEBHOOK)
    return BaseUrl(text.strip(), host)


def is_metadata(host: str) -> bool:
    """Check whether a host is, in any notation, an address where clouds keep the secrets of their machines.

    Those are the link-local addresses, and a few more that clouds use for the same.
    """
    name = host.strip("[]").rstrip(".").lower()
    if name in _METADATA_NAMES or name.endswith(tuple("." + known for known in _METADATA_NAMES)):
        return True
    from ipaddress import IPv6Address, ip_address, ip_network  # late: only alerts need it

    four = numeric_address(name)
    try:
        found = ip_address(name.partition("%")[0] if four is None else four)
    except ValueError:
        return False
    addresses = [found]
    if isinstance(found, IPv6Address):
        addresses += [inner for inner in (found.ipv4_mapped, found.sixtofour) if inner]
        # NAT64 and the old compatible form have the other address at their end.
        addresses += [ip_address(int(found) & 0xFFFFFFFF)] if int(found) >> 32 in (0, 0x64FF9B << 64) else []
    return any(each in ip_network(net) for each in addresses for net in _METADATA_NETS)


def numeric_address(host: str) -> int | None:
    """Return an IPv4 address read as systems do: one to four parts, decimal, octal or hex; None if it is not one."""
    parts = host.split(".")
    if not all(_NUMBER.fullmatch(part) for part in parts) or len(parts) > 4:
        return None
    numbers = [int(part, 16 if part[1:2] in ("x", "X") else 8 if part[0] == "0" else 10) for part in parts]
    whole = numbers[-1]
    for place, number in enumerate(numbers[:-1]):
        whole += number << (24 - 8 * place)
    return whole if whole < 2**32 and all(number < 256 for number in numbers[:-1]) else None


def _is_address(host: str) -> bool:
    last = host.rpartition(".")[2]  # a name never ends in a number, and 1.0x7f is an address too
    return ":" in host or last.isdigit() or last.startswith("0x")


def _is_loopback(host: str) -> bool:
    parts = host.split(".")
    dotted = len(parts) == 4 and all(p.isdigit() and len(p) < 4 and int(p) < 256 for p in parts)
    return host in ("localhost", "::1") or (dotted and parts[0] == "127")


def _bad_url(why: str) -> SettingsError:
    return SettingsError(
        f"OPENROUTER_BASE_URL is not used: {why}",
        hint=f"unset it, or set it to {DEFAULT_BASE_URL}",
    )


# -- The user's settings file, ~/.openrouter/settings.json; the environment is stronger.

_LARGEST_FILE = 1024 * 1024
VARIABLES = {
    "per_request": "OPENROUTER_REQUEST_LIMIT",
    "daily": "OPENROUTER_DAILY_LIMIT",
    "weekly": "OPENROUTER_WEEKLY_LIMIT",
    "monthly": "OPENROUTER_MONTHLY_LIMIT",
}
# The caps of a budget in the settings, beside which it may have a policy and brakes.
CAPS = (*VARIABLES, "total")
_BEHAVIOUR = ("policy", "burst", "repeats")


def settings_file() -> Path:
    """Return the path of the settings file; SettingsError without a home folder."""
    home = find_home()
    if home is None:
        raise SettingsError("no home folder is known to keep settings in", hint="set HOME, or use the environment")
    return home / ".openrouter" / "settings.json"


def load_preferences() -> dict[str, Json]:
    """Return the settings; SettingsError for an unusable file, because a budget may be in it."""
    if find_home() is None:
        return {}
    path = settings_file()
    shown = safe(str(path), 300)
    try:
        # Anything but a file, such as a pipe, could keep the reader waiting for ever.
        if path.exists() and not path.is_file():
            raise SettingsError(f"the settings {shown} are not a regular file", hint="move the file away")
        values = loads(read_own(path, _LARGEST_FILE))
    except FileNotFoundError:
        return {}
    except Distrusted as error:
        raise SettingsError(
            f"the settings {shown} are not used, and no budget is known without them: {error.strerror}",
            hint=f"look at the file, then run: {how_to_own(shown, error.why)}",
        ) from None
    except OSError as error:
        raise SettingsError(f"the settings {shown} cannot be read: {error.strerror}", hint="check the file") from None
    except ValueError as error:
        raise SettingsError(f"the settings {shown} are not JSON: {error}", hint="repair or delete the file") from None
    if not isinstance(values, dict):
        raise SettingsError(f"the settings {shown} are not a JSON object", hint="repair or delete the file")
    return values


def load_preference(name: str) -> dict[str, Json]:
    """Return one of the settings, empty when it is missing; SettingsError for one of another shape."""
    return _object(load_preferences().get(name), name)


def _object(value: Json, name: str) -> dict[str, Json]:
    if value is not None and not isinstance(value, dict):
        shown = safe(str(settings_file()), 300)
        raise SettingsError(f'"{name}" in the settings {shown} is not a JSON object', hint="repair or delete it")
    return value or {}


def save_preference(name: str, value: Json) -> None:
    """Write one of the settings and leave the others; None removes it."""
    _change(name, lambda kept: value)


def change_preference(name: str, change: Callable[[dict[str, Json]], dict[str, Json]]) -> dict[str, Json]:
    """Change one of the settings under a lock and return its new value; an empty one is removed."""
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


def _machine_caps(kept: Mapping[str, Json], environ: Mapping[str, str]) -> Caps:
    from openrouter_usage.entry import Caps  # late: neither help nor a wrong argument needs the entries

    found: dict[str, Decimal | None] = {}
    for name in CAPS:
        variable = VARIABLES.get(name, "")
        raw = environ.get(variable, "").strip() if variable else ""
        value: Json = raw or kept.get(name)
        found[name] = None if value is None else cap(value, variable if raw else f"the {name} budget in the settings")
    return Caps(**found)


def _budget_object(kept: Json, where: str) -> dict[str, Json]:
    """Return a budget as it is kept; SettingsError for another shape, and for a name in it that is not known."""
    if kept is not None and not isinstance(kept, dict):
        raise SettingsError(f"{where} is not a JSON object", hint=as_called("run: cost_tracker.py budget set"))
    odd = sorted((kept or {}).keys() - {*CAPS, *_BEHAVIOUR})
    if odd:
        # A misspelt cap would not be enforced.
        raise SettingsError(
            f"{where} has an unknown cap {safe(odd[0])}; the caps are {', '.join(CAPS)}",
            hint=as_called("repair the file, or run: cost_tracker.py budget clear"),
        )
    return kept or {}


def load_budgets(environ: Mapping[str, str] | None = None) -> tuple[Budget, ...]:
    """Return every budget in force, the machine's first; SettingsError for one that cannot be understood."""
    from openrouter_usage.budgets import KINDS, MACHINE, Owner

    environ = declared() if environ is None else environ
    kept = load_preferences()
    own = _budget_object(kept.get("budget"), "the budget in the settings")
    behaviour = {name: own[name] for name in _BEHAVIOUR if name in own}
    machine = read_budget(MACHINE, behaviour, "the budget in the settings")
    found = [machine._replace(caps=_machine_caps(own, environ))]
    scoped = kept.get("budgets")
    if scoped is not None and not isinstance(scoped, dict):
        raise SettingsError('"budgets" in the settings is not a JSON object', hint="repair the file")
    for kind, by_name in (scoped or {}).items():
        if kind not in KINDS or kind == "machine" or not isinstance(by_name, dict):
            raise SettingsError(
                f"the budgets in the settings have an unknown kind {safe(kind)}; the kinds are {', '.join(KINDS[1:])}",
                hint="repair the file",
            )
        for name, values in by_name.items():
            where = f"the budget of {kind} {safe(name)} in the settings"
            found.append(read_budget(Owner(kind, name), _budget_object(values, where), where))
    return tuple(found)


def read_budget(owner: Owner, kept: Mapping[str, Json], where: str) -> Budget:
    """Read a budget as it is kept in the settings, or with a gateway key; SettingsError names `where` it is."""
    from openrouter_usage.budgets import MOST_REPEATS, POLICIES, STRICT, Budget, read_burst
    from openrouter_usage.entry import Caps

    policy, burst, repeats = (kept.get(name) for name in _BEHAVIOUR)
    if policy is not None and policy not in POLICIES:
        raise SettingsError(f"{where} has an unknown policy: it is {' or '.join(POLICIES)}", hint="repair the file")
    if repeats is not None and (
        isinstance(repeats, bool) or not isinstance(repeats, int) or not 0 < repeats <= MOST_REPEATS
    ):
        raise SettingsError(f"{where}: repeats is a whole number from 1 to {MOST_REPEATS:,}", hint="repair the file")
    try:
        brake = None if burst is None else read_burst(str(burst))
    except InvalidValue as error:
        raise SettingsError(f"{where}: {error}", hint="write it like 2.00/10min") from None
    amounts = {name: cap(kept[name], f"{name} in {where}") for name in CAPS if kept.get(name) is not None}
    return Budget(owner, Caps(**amounts), str(policy or STRICT), brake, repeats)


def save_budget(owner: Owner | None, given: Mapping[str, Json]) -> None:
    """Write parts of a budget by name, and leave its others; SettingsError when what is kept cannot be used.

    None is the machine; None as a value takes that part away.
    """
    load_budgets({})

    def merged(kept: Mapping[str, Json]) -> dict[str, Json]:
        return {name: value for name, value in {**kept, **given}.items() if value is not None}

    if owner is None or owner.kind == "machine":
        change_preference("budget", merged)
        return
    kind, name = owner

    def change(kept: dict[str, Json]) -> dict[str, Json]:
        of_kind = _object(kept.get(kind), kind)
        return {**kept, kind: {**of_kind, name: merged(_object(of_kind.get(name), name))}}

    change_preference("budgets", change)


def clear_budget(owner: Owner | None) -> bool:
    """Take one budget away, of the machine where the owner is None; return False when there is none."""
    if owner is None or owner.kind == "machine":
        known = load_preferences().get("budget") is not None
        save_preference("budget", None)
        return known
    found: list[bool] = []

    def change(kept: dict[str, Json]) -> dict[str, Json]:
        of_kind = _object(kept.get(owner.kind), owner.kind)
        found.append(owner.name in of_kind)
        rest = {name: value for name, value in of_kind.items() if name != owner.name}
        others: dict[str, Json] = {kind: value for kind, value in kept.items() if kind != owner.kind}
        return {**others, **({owner.kind: rest} if rest else {})}

    change_preference("budgets", change)
    return found[0]


def cap(value: object, where: str) -> Decimal:
    """Return the amount of a cap: zero or more USD."""
    try:
        amount = usd(value)
    except InvalidValue as error:
        raise SettingsError(f"{where}: {error}", hint="write it like 10 or 0.50") from None
    if amount < 0:
        raise SettingsError(f"{where} is below zero", hint="write it like 10 or 0.50; 0 means nothing may be spent")
    return amount
