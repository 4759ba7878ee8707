"""Disks that fail as planned, and processes without the power to write everywhere."""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SHORT, EPERM, EINTR, EIO, EACCES, EBUSY, EXDEV, EFBIG, ENOSPC, EROFS = "short", 1, 4, 5, 13, 16, 18, 27, 28, 30
_PR_CAPBSET_DROP, _DAC_OVERRIDE, _DAC_READ_SEARCH = 24, 1, 2


@functools.cache
def _library() -> str:
    """Compile the library once for each process of the test run."""
    compiler = shutil.which("cc")
    if not compiler or not sys.platform.startswith("linux"):
        pytest.skip("a C compiler and LD_PRELOAD are needed to make a disk that fails")
    source = Path(__file__).with_name("faulty_disk.c")
    made = Path(tempfile.mkdtemp(prefix="faulty-disk-")) / "faulty_disk.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, source, "-ldl"], check=True)
    return str(made)


def faulty(*plans: str, mounts: Path | None = None) -> dict[str, str]:
    """What the environment of a program needs for some calls to fail; faulty_disk.c says how plans are written."""
    plan = {"LD_PRELOAD": _library(), "FAULT_PLAN": ";".join(plans), "PYTHONDONTWRITEBYTECODE": "1"}
    return plan | ({"FAULT_MOUNTS": str(mounts)} if mounts else {})


def without_power() -> dict[str, Callable[[], Any]]:
    """What makes a process heed the modes of files even when it is root's, as an argument of subprocess."""

    def give_up() -> None:
        for power in (_DAC_OVERRIDE, _DAC_READ_SEARCH):
            if ctypes.CDLL(None, use_errno=True).prctl(_PR_CAPBSET_DROP, power, 0, 0, 0):
                os._exit(99)

    if not hasattr(os, "geteuid") or os.geteuid():
        return {}
    if not sys.platform.startswith("linux"):
        pytest.skip("root may write everywhere")
    return {"preexec_fn": give_up}
