"""Runs a program with its standard output on a terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.booking import TRACKER, Tracker
from tests.running import HANG_GUARD_S

pty = pytest.importorskip("pty")


def on_a_terminal(tracker: Tracker, *argv: str, script: Path = TRACKER, until: str = "") -> tuple[int, str, str]:
    """Run a program with standard output on a terminal, and give what came there and on standard error.

    With `until` it gets a ^C once that text was shown.
    """
    master, slave = pty.openpty()
    shown: list[bytes] = []
    is_shown = threading.Event()

    def read() -> None:
        while True:
            try:
                data = os.read(master, 65536)
            except OSError:  # the other end is closed
                return
            if not data:
                return
            shown.append(data)
            if until and until.encode() in b"".join(shown):
                is_shown.set()

    reader = threading.Thread(target=read)
    reader.start()
    running = subprocess.Popen(
        [sys.executable, str(script), *argv],
        env=tracker.environment({"PYTHONIOENCODING": "utf-8"}),
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=subprocess.PIPE,
    )
    os.close(slave)
    if until:
        is_shown.wait(HANG_GUARD_S)
        running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=HANG_GUARD_S)
    reader.join(HANG_GUARD_S)
    os.close(master)
    # A terminal makes a carriage return and a line feed of each line's end itself.
    return running.returncode, b"".join(shown).decode().replace("\r\n", "\n"), err.decode()
