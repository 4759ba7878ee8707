"""Asks OpenRouter for new figures in a process of its own, so that whoever shows the old ones never waits."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openrouter_usage.files import lock_at_once, make_private_folder

PAUSE_S = 60


class Claim:
    """The right to ask, which one process has at a time, and at most once a minute.

    It is a lock on a file beside the snapshot. The process that asks inherits the open file, so the lock lasts as long
    as the asking, however either process ends; the time of the file says when somebody asked last.
    """

    def __init__(self, handle: int) -> None:
        """Keep the open and locked file."""
        self.handle = handle

    def close(self) -> None:
        """Give the right back; a process that inherited it still has it."""
        os.close(self.handle)


def claim(snapshot: Path) -> Claim | None:
    """Return the right to ask for these figures; None while somebody asks, or within a minute of the last time."""
    try:
        make_private_folder(snapshot.parent)
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        handle = os.open(snapshot.with_suffix(".lock"), flags, 0o600)
    except OSError:
        return None
    try:
        # An empty file is a new one: nobody has asked yet.
        if lock_at_once(handle) and (
            not (status := os.fstat(handle)).st_size or not 0 <= time.time() - status.st_mtime < PAUSE_S
        ):
            os.write(handle, b".")
            os.utime(snapshot.with_suffix(".lock"))
            return Claim(handle)
    except OSError:
        pass
    os.close(handle)
    return None


def start_refresh(snapshot: Path, command: Sequence[str]) -> bool:
    """Start a detached process that asks, unless one does already or did within the last minute; return whether."""
    held = claim(snapshot)
    if held is None:
        return False
    import subprocess  # late: once a minute at most

    options: dict[str, Any] = {"start_new_session": True, "pass_fds": (held.handle,)}
    if sys.platform == "win32":
        options = {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}
    none = subprocess.DEVNULL
    try:
        # In a folder that nobody else can write to: Python may look for modules in the current one.
        started = subprocess.Popen(  # noqa: S603  # a program of ours, without a shell
            command, cwd=snapshot.parent, stdin=none, stdout=none, stderr=none, **options
        )
        started.returncode = 0  # nobody waits for it, and Python would complain
        return True
    except OSError:
        return False
    finally:
        held.close()
