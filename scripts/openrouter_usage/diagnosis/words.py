"""How a check-up writes what is somebody's own: as it is, or made fit to be shown in public."""

from __future__ import annotations

import re
from collections.abc import Iterable

from openrouter_usage.text import named, safe

_LONGEST = 600
HIDDEN = "[hidden]"
_TAIL = re.compile(r"…[\w.~+/=-]{4}")
_GENERATION = re.compile(r"\bgen-[\w-]+")
_PART = r"""[^\s/\\'",;:()]+"""
# The paths of the API are no secret, and an address has no blank before its path.
_ELSEWHERE = re.compile(
    rf"(?<![\w~./\\\]:-])(?:[A-Za-z]:)?(?!/(?:analytics/(?:meta|query)|auth/key)\b)(?:[/\\]{_PART})+[/\\](?={_PART})"
)
_BELOW_HIDDEN = re.compile(rf"(?<![/\\])\[hidden\](?:[/\\]{_PART})+[/\\](?={_PART})")
_ABSOLUTE = re.compile(r"(?:[A-Za-z]:)?[/\\]")
_QUOTED = re.compile(r'"[^"]*"')


class Words:
    """Writes paths, keys, hosts and labels; when shared, so that they tell nothing about whose they are."""

    def __init__(
        self,
        *,
        is_shared: bool = False,
        homes: Iterable[str] = (),
        names: Iterable[str] = (),
        hosts: Iterable[str] = (),
        folders: Iterable[str] = (),
    ) -> None:
        """Name what has to be hidden: home folders, the user's names in other paths, hosts, and folders elsewhere."""
        self.is_shared = is_shared
        # The longest first: one home may lie below another.
        self._homes = sorted({home.rstrip("/\\") for home in homes} - {""}, key=len, reverse=True)
        self._names = sorted({name for name in names if name})
        self._folders = sorted({folder for folder in folders if folder.strip("/\\")}, key=len, reverse=True)
        self._hosts = sorted({host for host in hosts if host}, key=len, reverse=True)

    def path(self, path: object) -> str:
        """Write a path; when shared only the last part of one that is not below the home."""
        if not self.is_shared:
            return safe(str(path), 300)
        shown = self._without_homes(str(path))
        parts = [part for part in re.split(r"[/\\]", shown) if part]
        return safe(f"{HIDDEN}/{parts[-1]}" if _ABSOLUTE.match(shown) and len(parts) > 1 else shown, 300)

    def host(self, host: str) -> str:
        """Write the name of a host that somebody chose."""
        return HIDDEN if self.is_shared else safe(host)

    def tail(self, tail: str) -> str:
        """Write the last characters of a key."""
        return "" if self.is_shared else f" …{tail}"

    def label(self, label: str) -> str:
        """Write what somebody, or OpenRouter, called something."""
        return HIDDEN if self.is_shared else named(label)

    def text(self, text: str) -> str:
        """Write the words of an error, which may quote anything."""
        if not self.is_shared:
            return text
        # Before they are taken apart, for a name in them may hold any of the others.
        text = self._without_homes(_QUOTED.sub(f'"{HIDDEN}"', text))
        for folder in self._folders:  # these may have blanks in them
            text = re.sub(rf"(?<![\w~]){re.escape(folder)}(?![\w.-])", HIDDEN, text)
        text = _BELOW_HIDDEN.sub(f"{HIDDEN}/", _ELSEWHERE.sub(f"{HIDDEN}/", text))
        text = _GENERATION.sub(f"gen-{HIDDEN}", _TAIL.sub(f"…{HIDDEN}", text))
        for host in self._hosts:
            text = re.sub(rf"(?<![\w.-]){re.escape(host)}(?![\w-])", HIDDEN, text)
        return safe(text, _LONGEST)

    def _without_homes(self, text: str) -> str:
        for home in self._homes:
            text = re.sub(rf"{re.escape(home)}(?!\w)", "~", text)
        for name in self._names:
            text = re.sub(rf"(?<=[/\\]){re.escape(name)}(?![\w.-])", HIDDEN, text)
        return text
