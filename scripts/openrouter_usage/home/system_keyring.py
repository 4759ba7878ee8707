"""Asks the system's keyring for keys, by the package keyring, in a process that nobody can be asked through.

A keyring that is locked would ask for a password: on the terminal, or in a window. The process has neither terminal nor
input, looks first whether a keyring is locked, and is ended after some seconds. Keys come back through a pipe.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, NamedTuple

SERVICE = "openrouter-usage"
VARIABLE = "OPENROUTER_KEYRING"
_ON, _OFF = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")
_UNLOCK = "unlock it, then try again"
_WAIT_S = 5.0
_LARGEST_ANSWER = 64 * 1024


class Found(NamedTuple):
    """What the keyring has: keys by name, and the name of the keyring; or why it could not be asked, and what helps."""

    keys: dict[str, str]
    keyring: str = ""
    problem: str = ""
    hint: str = ""


def is_wanted(value: str | None) -> bool:
    """Check whether the value of the variable asks for the keyring; SettingsError when it is neither yes nor no."""
    word = (value or "").strip().lower()
    if word in (*_ON, *_OFF):
        return word in _ON
    from openrouter_usage.errors import InvalidValue

    raise InvalidValue(
        f"{VARIABLE} is neither yes nor no",
        hint=f"set it to 1 to look for keys in the system's keyring, or unset {VARIABLE}",
    )


def ask_keyring(names: list[str]) -> Found:
    """Return what the keyring has of these names, without ever asking the user for anything."""
    import subprocess  # late: only who uses a keyring needs it

    options: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        options = {"creationflags": subprocess.CREATE_NO_WINDOW}
    try:
        ended = subprocess.run(  # noqa: S603  # this file, without a shell
            [sys.executable, os.path.abspath(__file__), *names],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a backend's own words may hold anything
            timeout=_WAIT_S,
            check=False,
            **options,
        )
        told = json.loads(ended.stdout[:_LARGEST_ANSWER])
        return Found(told["keys"], told["keyring"], told["problem"], told["hint"])
    except subprocess.TimeoutExpired:
        return Found({}, "", f"it did not answer within {_WAIT_S:.0f} seconds", _UNLOCK)
    except (OSError, ValueError, KeyError, TypeError):
        return Found({}, "", "it could not be asked", "try: keyring get openrouter-usage OPENROUTER_API_KEY")


# -- In the process of its own, where nothing of ours is loaded.


def _answer(names: list[str]) -> Found:
    try:
        import keyring
        from keyring.errors import KeyringError, KeyringLocked
    except ImportError as error:
        why = (
            "the Python package keyring is missing" if error.name == "keyring" else "the package keyring does not load"
        )
        return Found(
            {}, "", why, f'run: {sys.executable} -m pip install keyring   or: pip install "openrouter-usage[keyring]"'
        )
    top = keyring.get_keyring()
    # Several keyrings at once are asked one by one, as each may be locked.
    backends = list(getattr(top, "backends", [top]))
    found: dict[str, str] = {}
    told = Found(found, ", ".join(str(getattr(each, "name", "keyring")) for each in backends))
    try:
        for backend in backends:
            problem, hint = _would_ask(type(backend).__module__)
            if problem:
                return told._replace(problem=problem, hint=hint)
            for name in names:
                secret = None if name in found else backend.get_password(SERVICE, name)
                if secret:
                    found[name] = secret
    except KeyringLocked:
        return told._replace(problem="it is locked", hint=_UNLOCK)
    except KeyringError as error:
        # Of the error only its kind: its words may repeat a secret.
        return told._replace(problem=f"it refused ({type(error).__name__})", hint="see: python3 -m keyring diagnose")
    return told


def _would_ask(backend: str) -> tuple[str, str]:
    """Return why a keyring would ask the user something, and what helps; "" when it would not."""
    if backend == "keyring.backends.kwallet":
        return (
            "KWallet may ask in a window of its own, so it is not used",
            "keep the key in ~/.openrouter/credentials.env",
        )
    if backend == "keyring.backends.SecretService":
        import secretstorage

        bus = secretstorage.dbus_init()
        try:
            # Not get_default_collection(), which would make one, and ask for its password.
            return ("it is locked", _UNLOCK) if secretstorage.Collection(bus).is_locked() else ("", "")
        except secretstorage.ItemNotFoundException:
            return "nothing was ever stored in it", f"store a key: keyring set {SERVICE} OPENROUTER_API_KEY"
        finally:
            bus.close()
    if backend == "keyring.backends.macOS":
        import ctypes

        # Without this, a locked keychain, or a first question of a program, opens a window.
        ctypes.CDLL("/System/Library/Frameworks/Security.framework/Security").SecKeychainSetUserInteractionAllowed(
            False
        )
    return "", ""


def _main() -> None:
    sys.path.pop(0)  # this folder, whose files are not what a package means by their names
    try:
        told = _answer(sys.argv[1:])
    except Exception as error:  # a backend may raise anything: getpass without a terminal, D-Bus
        told = Found({}, "", f"it failed ({type(error).__name__})", "see: python3 -m keyring diagnose")
    sys.stdout.write(json.dumps(told._asdict()))


if __name__ == "__main__":
    _main()
