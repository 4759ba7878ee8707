"""Recognises file systems whose locks other machines may not see: the ledger works there for one machine at a time."""

from __future__ import annotations

import os
from pathlib import Path

# Linux keeps the list of what is mounted here; elsewhere nothing is said.
_MOUNTS = "/proc/self/mountinfo"
_SHARED = (
    *("nfs", "nfs4", "cifs", "smbfs", "smb2", "smb3", "afs", "coda", "davfs", "ncpfs", "9p", "drvfs", "virtiofs"),
    *("vboxsf", "vmhgfs", "ceph", "glusterfs", "lustre", "gpfs", "beegfs", "orangefs", "gfs", "gfs2", "ocfs2"),
)
# FUSE may be anything; these are file systems of a disk of this machine.
_LOCAL_FUSE = ("fuseblk", "fuse.ntfs-3g", "fuse.exfat", "fuse.lxcfs", "fuse.gocryptfs", "fuse.encfs")


def shared_kind(folder: Path) -> str:
    """Name the file system of a folder if it is a network's or a program's, "" if it is local or not known."""
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as mounts:
            lines = mounts.read().splitlines()
    except OSError:
        return ""
    kind = _kind_at(os.path.realpath(folder), lines)
    is_shared = kind in _SHARED or (kind.startswith("fuse") and kind not in _LOCAL_FUSE)
    return kind if is_shared else ""


def _kind_at(path: str, lines: list[str]) -> str:
    """Give the kind of what is mounted nearest above a path; of two at one place the later one is on top."""
    found, longest = "", -1
    for line in lines:
        fields, _, rest = line.partition(" - ")
        place = _unescaped(fields.split(" ")[4]) if fields.count(" ") > 4 else ""
        is_above = path == place or path.startswith(place.rstrip("/") + "/")
        if place and is_above and len(place) >= longest:
            found, longest = rest.partition(" ")[0], len(place)
    return found


def _unescaped(place: str) -> str:
    """Put blanks and backslashes back, which are written as octal numbers there."""
    for number in (" ", "\t", "\n", "\\"):
        place = place.replace(f"\\{ord(number):03o}", number)
    return place
