"""Looks at modes and owners of the program's files, and at the disk they are on."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from openrouter_usage.checkup.books import nearest_folder
from openrouter_usage.diagnosis.files import Disk, Seen
from openrouter_usage.files import own_files
from openrouter_usage.ledger.mounts import find_mount

_MOST = 5_000


def look(home: Path | None, ledger: Path | None, skill_folder: Path) -> list[Seen]:
    """Look at everything in ~/.openrouter, at the ledger wherever it is, and at keys in the skill folder."""
    if os.name != "posix":
        return []
    paths = list(_below(home / ".openrouter")) if home else []
    if ledger:
        file, index, archive = own_files(ledger)
        paths += [file, file.with_name(file.name + ".1"), file.with_name("audit.jsonl"), index, archive]
        paths += [index.with_name(index.name + end) for end in ("-wal", "-shm")]
    paths.append(skill_folder / "credentials.env")
    seen = (_seen(path) for path in dict.fromkeys(paths[:_MOST]))
    return [one for one in seen if one]


def _below(folder: Path) -> Iterator[Path]:
    """Give a folder and all that is in it; links are not followed."""
    yield folder
    with suppress(OSError):
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False):
                yield from _below(Path(entry.path))
            else:
                yield Path(entry.path)


def _seen(path: Path) -> Seen | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    is_secret = path.name == "credentials.env" or (path.parent.name == "keys" and path.suffix == ".env")
    is_ours = status.st_uid in (os.geteuid(), 0)
    return Seen(str(path), stat.S_IMODE(status.st_mode), is_ours, stat.S_ISLNK(status.st_mode), is_secret)


def disk(path: Path) -> Disk:
    """Look at the disk that a file is on, or would be."""
    folder = nearest_folder(path)
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        free = None
    mount = find_mount(path if os.path.lexists(path) else folder)
    return Disk(free, f"{mount.kind}, {mount.point}" if mount and mount.is_shared else "")
