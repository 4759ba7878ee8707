"""The file system that a path is on, and whether locks hold there for other machines too."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from openrouter_usage.ledger import file as mounts
from openrouter_usage.ledger.file import Mount, find_mount, mount_of

LINUX = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
36 27 0:31 / /home rw shared:1 master:2 - nfs4 server:/home rw
37 36 0:32 / /home/ann/my\040disk rw - ext4 /dev/sdb rw
38 36 0:33 / /home/ann/remote rw - fuse.sshfs ann@host: rw
39 27 0:34 / /mnt/c rw - 9p C:\134 rw
40 27 0:35 / /twice rw - nfs a:/ rw
41 40 0:36 / /twice rw - xfs /dev/sdc rw
a line of nothing
- - -
"""
MACOS = """/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
devfs on /dev (devfs, local, nobrowse)
//ann@server/share on /Volumes/share (smbfs, nodev, nosuid, mounted by ann)
map auto_home on /System/Volumes/Data/home (autofs, automounted, nobrowse)
"""


@pytest.mark.parametrize(
    ("path", "table", "point", "kind", "is_shared"),
    [
        ("/etc/x", LINUX, "/", "ext4", False),
        ("/home/bob/usage.jsonl", LINUX, "/home", "nfs4", True),
        ("/home", LINUX, "/home", "nfs4", True),
        ("/homes/x", LINUX, "/", "ext4", False),
        ("/home/ann/my disk/x", LINUX, "/home/ann/my disk", "ext4", False),
        ("/home/ann/remote/x", LINUX, "/home/ann/remote", "fuse.sshfs", True),
        ("/mnt/c/Users", LINUX, "/mnt/c", "9p", True),
        ("/twice/x", LINUX, "/twice", "xfs", False),
        ("/Users/ann", MACOS, "/", "apfs", False),
        ("/Volumes/share/x", MACOS, "/Volumes/share", "smbfs", True),
    ],
)
def test_a_path_is_on_the_mount_that_is_nearest_above_it(
    path: str, table: str, point: str, kind: str, is_shared: bool
) -> None:
    found = mount_of(path, table)
    assert found == Mount(point, kind)
    assert found.is_shared is is_shared


@pytest.mark.parametrize("table", ["", "nothing\n", "\0\n - \n"])
def test_a_table_of_mounts_that_says_nothing_gives_none(table: str) -> None:
    assert mount_of("/x", table) is None


SHARED = {
    "nfs", "nfs4", "cifs", "smb3", "afpfs", "9p", "drvfs", "virtiofs", "vmhgfs", "orangefs", "ocfs2", "fuse",
    "fuse.rclone", "fuse.s3fs", "fuse.sshfs",
}  # fmt: skip
LOCAL = {"ext4", "xfs", "apfs", "tmpfs", "overlay", "fuseblk", "fuse.ntfs-3g", "fuse.exfat", "fuse.gocryptfs"}


@pytest.mark.parametrize(("kind", "is_shared"), [(kind, kind in SHARED) for kind in sorted(SHARED | LOCAL)])
def test_file_systems_of_other_machines_and_of_programs_are_known(kind: str, is_shared: bool) -> None:
    assert Mount("/", kind).is_shared is is_shared


@pytest.mark.skipif(sys.platform != "linux", reason="the list of mounts as Linux keeps it")
def test_the_list_of_the_system_is_read_and_links_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "on a server").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "on a server")
    point = os.path.realpath(tmp_path / "on a server")
    table = tmp_path / "mountinfo"
    written = point.replace(" ", "\\040")
    table.write_text(f"22 1 254:0 / / rw - ext4 /dev/vda rw\n30 22 0:26 / {written} rw - nfs4 server:/export rw\n")
    monkeypatch.setattr(mounts, "MOUNTS", str(table))
    assert find_mount(tmp_path / "link" / "x") == Mount(point, "nfs4")
    assert find_mount(tmp_path) == Mount("/", "ext4")
    monkeypatch.setattr(mounts, "MOUNTS", str(tmp_path / "nothing"))
    assert find_mount(tmp_path) is None
