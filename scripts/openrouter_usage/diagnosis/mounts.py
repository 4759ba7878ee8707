"""Finds the file system that a path is on in what Linux or macOS say about mounts; pure."""

from __future__ import annotations

import re
from typing import NamedTuple

# Locks and appending are other than on a disk there, or were in some version that is still in use.
_NETWORK = {
    "nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "afs", "afpfs", "9p", "drvfs", "ceph", "glusterfs", "lustre",
    "gpfs", "beegfs", "ncpfs", "coda", "webdav", "davfs", "vboxsf", "prl_fs", "acfs",
}  # fmt: skip
_OCTAL = re.compile(r"\\([0-7]{3})")
_MACOS = re.compile(r"^.+? on (/.*) \(([\w.-]+)[,)]")


class Mount(NamedTuple):
    """Where a file system is mounted, and its kind."""

    point: str
    kind: str

    @property
    def is_network(self) -> bool:
        """Tell whether it is on another machine, or made by a program (FUSE)."""
        # fuseblk is a disk of this machine: NTFS and exFAT come that way.
        return self.kind in _NETWORK or (self.kind.startswith("fuse") and self.kind != "fuseblk")


def mount_of(path: str, table: str) -> Mount | None:
    """Give the mount that a path without links is on; the table is /proc/self/mountinfo, or what `mount` prints."""
    best: Mount | None = None
    for line in table.splitlines():
        mount = _linux(line) or _macos(line)
        # Of two at the same point the later one hides the earlier.
        if mount and _is_below(path, mount.point) and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def _linux(line: str) -> Mount | None:
    before, separator, after = line.partition(" - ")
    fields = before.split(" ")
    if not separator or len(fields) < 6 or not after:
        return None
    return Mount(_OCTAL.sub(lambda found: chr(int(found.group(1), 8)), fields[4]), after.split(" ")[0])


def _macos(line: str) -> Mount | None:
    found = _MACOS.match(line)
    return Mount(found.group(1), found.group(2)) if found else None


def _is_below(path: str, point: str) -> bool:
    return path == point or path.startswith(point.rstrip("/") + "/")
