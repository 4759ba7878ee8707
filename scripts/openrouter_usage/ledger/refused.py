"""Remembers which calls were refused, and why, in a small file beside the ledger; never what they said."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from openrouter_usage.entry import Unread, read_object
from openrouter_usage.errors import LedgerError
from openrouter_usage.files import locked, make_private_folder, read_own, replace_file
from openrouter_usage.ledger.file import open_with_care
from openrouter_usage.money import Json, dumps

# The older half is forgotten when the file is larger than this: some two thousand refusals.
LARGEST_FILE = 512 * 1024
_LONGEST_LINE = 16 * 1024
_WAIT_S = 2.0


def refused_beside(ledger: Path) -> Path:
    """Return the path of the file, which lies beside the ledger."""
    return ledger.with_name(ledger.name + ".refused")


def remember(ledger: Path, refusal: Mapping[str, Json]) -> bool:
    """Write down a refusal as one line; return False when that is not possible, because no call depends on it."""
    path = refused_beside(ledger)
    line = dumps(dict(refusal)) + "\n"
    if len(line) > _LONGEST_LINE:
        return False
    with contextlib.suppress(OSError, LedgerError):
        make_private_folder(path.parent)
        with locked(path.with_name(path.name + ".lock"), _WAIT_S):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_size + len(line) > LARGEST_FILE:
                    lines = read_own(path, 2 * LARGEST_FILE).decode("utf-8", "replace").splitlines(keepends=True)
                    replace_file(path, [*lines[len(lines) // 2 :], line])
                    return True
            _append(path, line.encode("ascii"))
            return True
    return False


def _append(path: Path, line: bytes) -> None:
    handle = open_with_care(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, noun="list of refusals")
    try:
        os.write(handle, line)
    finally:
        os.close(handle)


def remembered(ledger: Path) -> list[dict[str, Json]]:
    """Return the refusals that are remembered, oldest first; lines that are not understood are left out.

    Raises OSError when the file cannot be read.
    """
    try:
        text = read_own(refused_beside(ledger), 2 * LARGEST_FILE)
    except FileNotFoundError:
        return []
    found = [read_object(line, _LONGEST_LINE) for line in text.split(b"\n")]
    return [each for each in found if each is not None and not isinstance(each, Unread)]
