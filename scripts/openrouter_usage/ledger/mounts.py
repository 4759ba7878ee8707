"""Finds the file system that a path is on, and whether other machines may miss the locks that are taken there."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from typing import NamedTuple

# Linux keeps the list of what is mounted here.
MOUNTS = "/proc/self/mountinfo"
# Locks and appending are other than on a disk there, or were in some version that is still in use.
_NETWORK = {
    "nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "afs", "afpfs", "9p", "drvfs", "virtiofs", "ceph", "glusterfs",
    "lustre", "gpfs", "beegfs", "orangefs", "gfs", "gfs2", "ocfs2", "ncpfs", "coda", "webdav", "davfs", "vboxsf",
    "vmhgfs", "prl_fs", "acfs",
}  # fmt: skip
# FUSE may be anything; these are file systems of a disk of this machine.
_LOCAL_FUSE = ("fuseblk", "fuse.ntfs-3g", "fuse.exfat", "fuse.lxcfs", "fuse.gocryptfs", "fuse.encfs")
_OCTAL = re.compile(r"\\([0-7]{3})")
_MACOS = re.compile(r"^.+? on (/.*) \(([\w.-]+)[,)]")
_REMOTE_DRIVE = 4
_LONGEST_S = 5


class Mount(NamedTuple):
    """Where a file system is mounted, and its kind."""

    point: str
    kind: str

    @property
    def is_shared(self) -> bool:
        """Whether it is on another machine, or made by a program (FUSE)."""
        return self.kind in _NETWORK or (self.kind.startswith("fuse") and self.kind not in _LOCAL_FUSE)


def find_mount(path: str | os.PathLike[str]) -> Mount | None:
    """Return the file system of a path; None where the system does not say."""
    real = os.path.realpath(path)
    with suppress(OSError):
        if sys.platform == "win32":
            return _windows(real)
        if sys.platform == "darwin":
            return mount_of(real, _told_by_mount())
        with open(MOUNTS, encoding="utf-8", errors="surrogateescape") as mounts:
            return mount_of(real, mounts.read())
    return None


def mount_of(path: str, table: str) -> Mount | None:
    """Return the mount nearest above a path without links; the table is Linux's mountinfo, or what `mount` prints."""
    best: Mount | None = None
    for line in table.split("\n"):
        mount = _linux(line) or _macos(line)
        is_above = mount and (path == mount.point or path.startswith(mount.point.rstrip("/") + "/"))
        # Of two at the same point the later one hides the earlier.
        if mount and is_above and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def _linux(line: str) -> Mount | None:
    before, separator, after = line.partition(" - ")
    fields = before.split(" ")
    if not separator or len(fields) < 6 or not after:
        return None
    # Blanks and backslashes in a name are written as octal numbers there.
    return Mount(_OCTAL.sub(lambda found: chr(int(found.group(1), 8)), fields[4]), after.split(" ")[0])


def _macos(line: str) -> Mount | None:
    found = _MACOS.match(line)
    return Mount(found.group(1), found.group(2)) if found else None


def _told_by_mount() -> str:
    import subprocess  # late: it is slow to load, and only macOS needs it

    try:
        told = subprocess.run(["/sbin/mount"], capture_output=True, timeout=_LONGEST_S, check=True)
    except subprocess.SubprocessError:
        return ""
    return told.stdout.decode("utf-8", "surrogateescape")


def _windows(path: str) -> Mount | None:
    drive = os.path.splitdrive(path)[0]
    if drive.startswith("\\\\"):
        return Mount(drive, "smbfs")
    import ctypes

    # A letter may stand for a folder of another machine.
    kind = getattr(ctypes, "windll").kernel32.GetDriveTypeW(drive + "\\")  # noqa: B009  # mypy knows it on Windows only
    return Mount(drive, "smbfs") if kind == _REMOTE_DRIVE else None
