"""Which files are the program's own, so that no page and no export replaces them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from openrouter_usage.files import SKILL_FOLDER, came_with_skill, own_files
from openrouter_usage.home.settings import find_home
from openrouter_usage.ledger.spool import spool_folder

_IN_HOME = ("credentials.env", "settings.json", "settings.lock", "alerts.json", "alerts.lock")
_BESIDE = ("activity.lock", "audit.jsonl")
_OF_LEDGER = (
    ".1",
    ".new",
    ".1.new",
    ".index-wal",
    ".index-shm",
    ".index-journal",
    ".refused",
    ".refused.lock",
    ".learned",
    ".logs",
    ".logs-wal",
    ".logs-shm",
    ".logs.lock",
)
_FOLDERS = ("keys", "cache")


def is_own(path: Path, ledger: Path) -> bool:
    """Check whether a file, there or not, is the program's: of the skill, its home, its ledger or its spool."""
    if came_with_skill(path) or any(_is_same(path, own) for own in _files(ledger)):
        return True
    is_of_team = path.name.startswith("team-") and ".allowance" in path.name
    return (is_of_team and _is_within(path, ledger.parent)) or any(_is_within(path, own) for own in _folders())


def _files(ledger: Path) -> Iterator[Path]:
    yield from own_files(ledger)
    yield from (ledger.with_name(ledger.name + end) for end in _OF_LEDGER)
    yield from (ledger.with_name(name) for name in _BESIDE)
    yield SKILL_FOLDER / "credentials.env"
    home = find_home()
    if home:
        # The usual ledger stays one, even where another is named for this run.
        usual = home / ".openrouter" / "usage.jsonl"
        yield from own_files(usual)
        yield from (usual.with_name(name) for name in (*_IN_HOME, *_BESIDE, *(usual.name + end for end in _OF_LEDGER)))


def _folders() -> Iterator[Path]:
    yield Path(spool_folder())
    home = find_home()
    if home:
        yield from (home / ".openrouter" / name for name in _FOLDERS)


def _is_within(path: Path, folder: Path) -> bool:
    return any(_is_same(above, folder) for above in Path(os.path.realpath(path)).parents)


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        # One of them is not there: then it is the name that counts, which some disks know in any case of letters.
        return os.path.realpath(path).casefold() == os.path.realpath(other).casefold()
