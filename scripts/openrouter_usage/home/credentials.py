"""Finds OpenRouter keys: environment, then ~/.openrouter/credentials.env, then the skill's own folder.

Whoever wants it (OPENROUTER_KEYRING, there or in the file of the home) has the system's keyring asked for what is
missing then. Nothing else is read: no `.env` of the current folder or of a parent, which may be a stranger's.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from openrouter_usage.errors import SettingsError
from openrouter_usage.files import OTHERS_CAN_CHANGE, SKILL_FOLDER, distrust
from openrouter_usage.redaction import protect
from openrouter_usage.text import safe

NAMES = ("OPENROUTER_API_KEY", "OPENROUTER_MGMT_KEY")
KEYRING = "OPENROUTER_KEYRING"
_LARGEST_FILE = 64 * 1024
_WELL_FORMED = re.compile(r"[A-Za-z0-9._~+/=-]{8,512}", re.ASCII)
_PREFIX = "sk-or-"
_QUOTES = ("'", '"', "`", "\u2018", "\u2019", "\u201c", "\u201d", "\u00ab", "\u00bb")
_TO_URL_SAFE = str.maketrans("+/", "-_")
_PLACEHOLDER = re.compile(r"your[-_].*|sk-or-v1-(x+|\.\.\.|…)", re.IGNORECASE)


class ApiKey:
    """A key, the variable it was given as, and where it was found; only its last four characters show."""

    __slots__ = ("name", "secret", "source")

    def __init__(self, secret: str, name: str, source: str) -> None:
        """Keep the key where no repr, traceback or dump shows it."""
        self.secret = secret
        self.name = name
        self.source = source

    @classmethod
    def checked(cls, raw: str, name: str, source: str) -> ApiKey:
        """Return a key made of a text from outside; SettingsError when no key can look like the text."""
        secret = _cleaned(raw)
        protect(secret)
        why = _disguise(secret)
        if why or not _WELL_FORMED.fullmatch(secret):
            why = f"{len(secret)} characters, {why or 'with blanks, quotes or other characters that no key has'}"
            raise SettingsError(
                f"{name} from {safe(source, 300)} does not look like a key: {why}",
                hint=f"copy the key again from https://openrouter.ai/settings/keys and set {name} to it alone",
            )
        return cls(secret, name, safe(source, 300))

    def __repr__(self) -> str:
        """Return the variable, the source and the last characters of the key."""
        return f"{self.name} (…{self.secret[-4:]}, from {self.source})"

    __str__ = __repr__


class Credentials(NamedTuple):
    """The keys that were found, warnings about where they lie, and what the keyring said, with what helps."""

    api_key: ApiKey | None
    mgmt_key: ApiKey | None
    warnings: tuple[str, ...] = ()
    keyring: tuple[str, str] = ("", "")

    @property
    def any(self) -> ApiKey | None:
        """The inference key, or else the management key."""
        return self.api_key or self.mgmt_key


def find_credentials(environ: Mapping[str, str], home: Path | None, skill_folder: Path = SKILL_FOLDER) -> Credentials:
    """Return both keys; SettingsError for a file or a key that cannot be used."""
    found: dict[str, ApiKey] = {}
    for name in NAMES:
        _take(found, name, environ.get(name), "the environment")
    warnings: list[str] = []
    wants_keyring = environ.get(KEYRING)
    for path in _files(home, skill_folder):
        if len(found) == len(NAMES):
            break
        values = _parse(_read(path, warnings))
        if wants_keyring is None and path.parent != skill_folder:
            wants_keyring = values.get(KEYRING)
        taken = [_take(found, name, value, str(path)) for name, value in values.items() if name in NAMES]
        if any(taken) and path.parent == skill_folder:
            warnings.append(f"{safe(str(path), 300)} is deleted when the skill is updated; {how_to_move(path, home)}")
    of_keyring, hint = "", ""
    if len(found) < len(NAMES) and wants_keyring:
        of_keyring, hint = _take_from_keyring(found, wants_keyring)
    if of_keyring and found:
        warnings.append(f"{of_keyring}; {hint}")
    return Credentials(found.get(NAMES[0]), found.get(NAMES[1]), tuple(warnings), (of_keyring, hint))


def _take_from_keyring(found: dict[str, ApiKey], wanted: str) -> tuple[str, str]:
    """Add what the keyring has; return what else there is to say of it, and what helps."""
    from openrouter_usage.home import system_keyring  # late: few want it

    if not system_keyring.is_wanted(wanted):
        return "", ""
    missing = [name for name in NAMES if name not in found]
    told = system_keyring.ask_keyring(missing)
    where = f"the system's keyring ({safe(told.keyring, 200)})" if told.keyring else "the system's keyring"
    for name in missing:
        _take(found, name, told.keys.get(name), where)
    if told.problem:
        still = [name for name in missing if name not in found]
        return f"{where} did not tell {' and '.join(still)}: {safe(told.problem, 200)}", told.hint
    store = f"keyring set {system_keyring.SERVICE} {NAMES[0]}"
    return (f"{where} has none either", f"store one: {store}") if not found else ("", "")


def how_to_move(source: Path, home: Path | None, *, is_windows: bool = os.name == "nt") -> str:
    """Return how to move a credentials file from the skill folder to the home, without replacing a file there.

    Where no command is safe to paste, because keys are at the new place already or a path cannot be shown as it is,
    the text asks to move the keys by hand.
    """
    if home is None:
        return "set HOME, and move it to ~/.openrouter/credentials.env"
    target = home / ".openrouter" / "credentials.env"
    where = safe(str(target), 300)
    if os.path.lexists(target):
        return f"{where} already exists: copy the missing keys into it by hand, then delete this file"
    paths = [str(target.parent), str(source), str(target)]
    # Moving a link moves only the link, which may lead nowhere from its new place.
    if source.is_symlink() or not source.is_file() or any(safe(path, 300) != path for path in paths):
        return f"put its keys into {where} by hand, then delete this file"
    if is_windows:
        folder, old, new = ("'" + path.replace("'", "''") + "'" for path in paths)
        make = f"New-Item -ItemType Directory -Force {folder} | Out-Null"
        return f"run in PowerShell: {make}; Move-Item -LiteralPath {old} {new}"
    import shlex  # late: it is needed only where a file has to be moved

    folder, old, new = map(shlex.quote, paths)
    # -n: when this is pasted some days later, a file may be there.
    return f"run: mkdir -p -m 700 {folder} && mv -n {old} {new} && chmod 600 {new}"


def _is_no_key(value: str) -> bool:
    """Check whether a value is empty, or a placeholder that an example puts in a key's place."""
    secret = _cleaned(value)
    return not secret or _PLACEHOLDER.fullmatch(secret) is not None


def _files(home: Path | None, skill_folder: Path) -> list[Path]:
    own = [home / ".openrouter" / "credentials.env"] if home else []
    return [*own, skill_folder / "credentials.env"]


def _take(found: dict[str, ApiKey], name: str, raw: str | None, source: str) -> bool:
    """Add a key unless the name is taken; return whether the key was added."""
    if name in found or _is_no_key(raw or ""):
        return False
    found[name] = ApiKey.checked(raw or "", name, source)
    return True


def _cleaned(raw: str) -> str:
    """Drop what copying adds: a BOM, blanks, quotes around the key, a leading `Bearer`."""
    text = raw.strip().strip("\ufeff").strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    return text[7:].strip() if text[:7].lower() == "bearer " else text


def _disguise(secret: str) -> str:
    """Return in which encoding a key is that OpenRouter would not accept, "" for a plain key."""
    if secret[:1] in _QUOTES or secret[-1:] in _QUOTES:
        return "still in quotes after the outer quotes are removed"
    if "%" in secret and unquote(secret) != secret:
        return "quoted for a URL"
    if secret.startswith(_PREFIX):
        return ""
    return "in base64 or in hex, which has to be decoded" if _is_encoded(secret) else ""


def _is_encoded(secret: str, rounds: int = 3) -> bool:
    """Check whether decoding base64 or hex, perhaps more than once, yields a key."""
    if not rounds:
        return False
    forms = [_undone(decode, secret) for decode in (bytes.fromhex, _from_base64)]
    return any(_PREFIX in form or (form and _is_encoded(form, rounds - 1)) for form in forms)


def _from_base64(text: str) -> bytes:
    import base64  # late: not needed for a key that begins like one

    return base64.b64decode(text.translate(_TO_URL_SAFE) + "=" * (-len(text) % 4), b"-_", validate=True)


def _undone(decode: Callable[[str], bytes], text: str) -> str:
    """Return a text decoded; "" where the text is not in this code, or the result is not text."""
    try:
        return decode(text.strip()).decode("ascii")
    except ValueError:
        return ""


def _parse(text: str) -> dict[str, str | None]:
    if not text:
        return {}
    # Loaded late: with both keys in the environment no file is parsed and the import is saved.
    import logging

    from dotenv import dotenv_values

    # dotenv logs a line it cannot parse; without a handler Python would print it to stderr.
    logging.getLogger("dotenv").addHandler(logging.NullHandler())
    return dotenv_values(stream=io.StringIO(text), interpolate=False)


def _read(path: Path, warnings: list[str]) -> str:
    """Return the text of a credentials file that is the user's own, regular and small; "" when there is none."""
    shown = safe(str(path), 300)
    try:
        # O_NONBLOCK keeps a FIFO from stopping the program before it can be looked at.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise _unusable(shown, error.strerror or "it cannot be opened") from None
    try:
        _check(shown, os.fstat(handle), warnings)
        raw = os.read(handle, _LARGEST_FILE + 1)
    except OSError as error:
        raise _unusable(shown, error.strerror or "it cannot be read") from None
    finally:
        os.close(handle)
    return _decoded(shown, raw)


def _check(shown: str, status: os.stat_result, warnings: list[str]) -> None:
    why = distrust(status)
    if why:
        raise _unusable(shown, why, f"run: chmod 600 '{shown}'" if why == OTHERS_CAN_CHANGE else "")
    if os.name == "posix" and status.st_mode & 0o044:
        warnings.append(f"others can read the keys in {shown}; run: chmod 600 '{shown}'")


def _decoded(shown: str, raw: bytes) -> str:
    if len(raw) > _LARGEST_FILE:
        raise _unusable(shown, f"it is larger than {_LARGEST_FILE // 1024} KiB")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _unusable(shown, "it is not UTF-8 text") from None
    if "\0" in text:
        raise _unusable(shown, "it is a binary file")
    return text


def _unusable(shown: str, why: str, remedy: str = "") -> SettingsError:
    return SettingsError(
        f"the credentials file {shown} is not used: {why}",
        hint=remedy or "make it a text file of your own with OPENROUTER_API_KEY=… in it, mode 600",
    )
