"""What is made of file modes and owners, of the disk, and of the kind of file system; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from openrouter_usage.diagnosis.books import size
from openrouter_usage.diagnosis.finding import Finding, note, ok, problem, warning
from openrouter_usage.diagnosis.words import Words
from openrouter_usage.errors import LedgerError

AREA = "files"
LITTLE_ROOM, NO_ROOM = 100 * 1000 * 1000, 1000 * 1000
_SHOWN = 3


class Seen(NamedTuple):
    """A file or folder: its mode, whether it is this user's (or root's), and whether keys are in it."""

    path: str
    mode: int
    is_ours: bool = True
    is_link: bool = False
    is_secret: bool = False


class Disk(NamedTuple):
    """The disk of the ledger: bytes that are free, None where nobody says, and the file system that others share."""

    free: int | None
    shared: str


def modes(seen: Sequence[Seen], words: Words) -> list[Finding]:
    """Judge who may read and change what; POSIX only, elsewhere there is nothing to see."""
    told = []
    real = [one for one in seen if not one.is_link]
    for wanted, judged, text, remedy in (
        (_is_foreign_secret, problem, "belongs to another user, and keys are in it", "chown it to you, or delete it"),
        (_is_changeable_secret, problem, "can be changed by others, and keys are in it", "chmod go-rwx"),
        (_is_foreign, warning, "belongs to another user", "chown it to you, or delete it"),
        (_is_changeable, warning, "can be changed by others", "chmod go-rwx"),
        (_is_readable_secret, warning, "can be read by others, and keys are in it", "chmod go-rwx"),
        (_is_readable, warning, "can be read by others", "chmod go-rwx"),
    ):
        found = [one for one in real if wanted(one)]
        real = [one for one in real if not wanted(one)]
        if found:
            names = ", ".join(words.path(one.path) for one in found[:_SHOWN])
            more = f" and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
            quoted = " ".join(f"'{words.path(one.path)}'" for one in found[:_SHOWN])
            todo = f"run: {remedy} {quoted}" if remedy.startswith("chmod") else remedy
            told.append(judged(AREA, f"{names}{more} {text}", todo))
    links = [one for one in seen if one.is_link]
    if links:
        names = ", ".join(words.path(one.path) for one in links[:_SHOWN])
        told.append(note(AREA, f"{names} {'is a link' if len(links) == 1 else 'and others are links'}, not followed"))
    if seen and not told:
        told.append(ok(AREA, f"nobody else can read or change any of {len(seen):,} files and folders"))
    return told


def _is_foreign_secret(one: Seen) -> bool:
    return one.is_secret and not one.is_ours


def _is_changeable_secret(one: Seen) -> bool:
    return one.is_secret and bool(one.mode & 0o022)


def _is_foreign(one: Seen) -> bool:
    return not one.is_ours


def _is_changeable(one: Seen) -> bool:
    return bool(one.mode & 0o022)


def _is_readable_secret(one: Seen) -> bool:
    return one.is_secret and bool(one.mode & 0o044)


def _is_readable(one: Seen) -> bool:
    return bool(one.mode & 0o055)


def disk(found: Disk, words: Words) -> list[Finding]:
    """Judge the disk that the ledger is on."""
    told = []
    if found.shared:
        text = f"the ledger is on a network or user-space file system ({words.text(found.shared)})"
        remedy = "locks may not hold there, and budgets rest on them: name a local file with OPENROUTER_USAGE_FILE"
        told.append(warning(AREA, text, remedy))
    if found.free is None:
        return told
    text = f"{size(found.free)} are free where the ledger is"
    if found.free < NO_ROOM:
        told.append(problem(AREA, text, "make room: no call can be written down", kind=LedgerError))
    elif found.free < LITTLE_ROOM:
        told.append(warning(AREA, text, "make room before the disk is full"))
    else:
        told.append(ok(AREA, text))
    return told
