"""Keeps tests away from the real home, real keys and the real network, by raising where they are touched.

An audit hook sees every file and socket that Python opens, whoever asks for it, and cannot be got around by
importing something else.
"""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from pathlib import Path
from typing import Any

REAL_HOME = Path.home()
_REAL_LEDGER = os.environ.get("OPENROUTER_USAGE_FILE")
FORBIDDEN_PLACES = [os.path.realpath(place) for place in (REAL_HOME / ".openrouter", _REAL_LEDGER) if place]
_NAMES = [os.path.basename(place) for place in FORBIDDEN_PLACES]
LEGACY_FILE = Path(__file__).resolve().parent.parent / "credentials.env"
REAL_KEY = re.compile(r"sk-or-[\w-]{20}")
_PATHS = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.listdir", "os.scandir", "sqlite3.connect"}
_SOCKETS = {"socket.connect", "socket.sendto", "socket.sendmsg"}


class ReachedOut(BaseException):
    """A test touched something that belongs to the person who runs it; not an Exception, so nothing swallows it."""


def _guard(event: str, args: tuple[Any, ...]) -> None:
    if event in _PATHS:
        for argument in args[: 2 if event == "os.rename" else 1]:
            check_path(argument)
    elif event in _SOCKETS:
        check_address(args[1])
    elif event == "socket.getaddrinfo":
        check_host(args[0])


def check_path(path: object) -> None:
    """Raise for a file in the real ~/.openrouter."""
    if isinstance(path, (str, bytes, os.PathLike)):
        text = os.fsdecode(os.fspath(path))
        if any(name in text for name in _NAMES):  # resolving every path that is opened would be slow
            real = os.path.realpath(text.removeprefix("file:").partition("?")[0])
            if any(real == place or real.startswith(place + os.sep) for place in FORBIDDEN_PLACES):
                raise ReachedOut(f"a test reached for {real}")


def check_address(address: object) -> None:
    """Raise for a socket address that is not on this machine."""
    if isinstance(address, tuple) and address:
        check_host(address[0])


def check_host(host: object) -> None:
    """Raise for a host that is not this machine; a name other than localhost is one."""
    name = os.fsdecode(host) if isinstance(host, (str, bytes)) else ""
    if name in ("", "localhost"):
        return
    try:
        if ipaddress.ip_address(name.partition("%")[0]).is_loopback:
            return
    except ValueError:
        pass
    raise ReachedOut(f"a test wanted to talk to {name}")


def check_environment() -> None:
    """Raise for a key that was not made for tests."""
    for name in ("OPENROUTER_API_KEY", "OPENROUTER_MGMT_KEY"):
        if REAL_KEY.search(os.environ.get(name, "")):
            raise ReachedOut(f"{name} holds what may be a real key")
    if LEGACY_FILE.exists():
        raise ReachedOut(f"{LEGACY_FILE} would be read by every test")


def install() -> None:
    """Begin to watch; there is no end to it."""
    sys.addaudithook(_guard)
