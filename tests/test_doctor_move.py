"""doctor --move-credentials: the keys get out of the skill folder, and none is lost, shown or replaced on the way."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openrouter_usage import legacy
from openrouter_usage.credentials import find_credentials
from openrouter_usage.errors import SettingsError
from openrouter_usage.legacy import move_credentials
from tests import booking
from tests.booking import Booked, Tracker
from tests.running import contents, copy_skill
from tests.sandbox import INFERENCE_KEY, MANAGEMENT_KEY

API = f"OPENROUTER_API_KEY={INFERENCE_KEY}\n"
MGMT = f"OPENROUTER_MGMT_KEY={MANAGEMENT_KEY}\n"
needs_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes, links and pipes as POSIX has them")
Move = Callable[..., Booked]


@pytest.fixture
def skill(tmp_path: Path) -> Path:
    """The folder of an installed skill."""
    folder = tmp_path / "skill"
    folder.mkdir()
    return folder


def private(path: Path, content: str, mode: int = 0o600) -> Path:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_text(content)
    path.chmod(mode)
    return path


def target_of(home: Path) -> Path:
    return home / ".openrouter" / "credentials.env"


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# -- through the program ---------------------------------------------------------------------------------------------


@pytest.fixture
def move(home: Path, skill: Path, monkeypatch: pytest.MonkeyPatch) -> Move:
    """The program of a skill that is installed elsewhere, with no key in the environment."""
    monkeypatch.setattr(booking, "TRACKER", copy_skill(skill).with_name("cost_tracker.py"))
    tracker = Tracker(home, env={"OPENROUTER_API_KEY": None})
    return lambda *argv: tracker("doctor", "--move-credentials", *argv, secrets=[], umask=0)


def test_the_keys_are_moved_once_and_are_found_at_their_new_place(move: Move, home: Path, skill: Path) -> None:
    old = private(skill / "credentials.env", f"# mine\n{API}{MGMT}OTHER=1\n", 0o644)
    for words in ((), ("--dry-run",), ("--yes", "--dry-run")):
        ran = move(*words)
        assert ran.code == 0
        assert ran.out == (
            f"OPENROUTER_API_KEY, OPENROUTER_MGMT_KEY, OTHER would be moved from {old} to {target_of(home)}; --yes does it\n"
        )
    assert contents(home) == {} and old.exists()
    ran = move("--yes")
    assert ran.out == f"OPENROUTER_API_KEY, OPENROUTER_MGMT_KEY, OTHER moved to {target_of(home)}; {old} is deleted\n"
    assert (ran.code, ran.err, old.exists()) == (0, "", False)
    assert target_of(home).read_text() == f"# mine\n{API}{MGMT}OTHER=1\n"
    assert (mode_of(target_of(home)), mode_of(home / ".openrouter")) == (0o600, 0o700)
    found = find_credentials({}, home, skill)
    assert [key and key.secret for key in found[:2]] == [INFERENCE_KEY, MANAGEMENT_KEY]
    again = move("--yes")
    assert (again.code, again.out) == (0, f"there is no {old}: nothing to move\n")
    assert INFERENCE_KEY not in ran.out + ran.err


def test_the_answer_in_json_names_the_names_and_never_a_key(move: Move, home: Path, skill: Path) -> None:
    old = private(skill / "credentials.env", API)
    places = {"source": str(old), "target": str(target_of(home))}
    assert move("--json").data == {"dry_run": True, "found": True, "names": ["OPENROUTER_API_KEY"], **places}
    ran = move("--json", "--yes")
    assert (ran.json["kind"], ran.data["dry_run"], ran.data["names"]) == ("move", False, ["OPENROUTER_API_KEY"])
    assert move("--json", "--yes").data == {"dry_run": False, "found": False, "names": [], **places}
    assert INFERENCE_KEY not in ran.out


def test_a_key_that_differs_is_refused_with_its_name_and_both_files_stay(move: Move, home: Path, skill: Path) -> None:
    old, new = private(skill / "credentials.env", API + MGMT), private(target_of(home), "OPENROUTER_API_KEY=another-key-1\n")
    for words in (("--yes",), ("--dry-run",)):
        ran = move(*words, "--json")
        assert (ran.code, ran.json["error"]["code"], ran.json["data"]) == (2, "settings", None)
        assert f"OPENROUTER_API_KEY is another one in {new} than in {old}: nothing was moved" in ran.error_line
        assert "another-key-1" not in ran.out + ran.err and INFERENCE_KEY not in ran.out + ran.err
    assert (old.read_text(), new.read_text()) == (API + MGMT, "OPENROUTER_API_KEY=another-key-1\n")


def test_what_is_shared_of_a_move_shows_no_home(move: Move, home: Path, skill: Path) -> None:
    private(skill / "credentials.env", API)
    assert str(home) not in move("--share").out


def test_without_a_home_nothing_is_moved(skill: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(booking, "TRACKER", copy_skill(skill).with_name("cost_tracker.py"))
    old = private(skill / "credentials.env", API)
    ran = Tracker(home)("doctor", "--move-credentials", "--yes", env={"HOME": ""})
    assert ran.code == 2 and "no home folder" in ran.error_line and old.exists()


# -- every outcome ---------------------------------------------------------------------------------------------------

MERGED = [
    # what is in the skill folder, what is there already, what is there then, and what was added
    (API, MGMT, MGMT + API, ["OPENROUTER_API_KEY"]),
    (API, MGMT.strip(), MGMT + API, ["OPENROUTER_API_KEY"]),
    (API, "", API, ["OPENROUTER_API_KEY"]),
    (API, API, API, []),
    (API, f"# kept\nOPENROUTER_API_KEY='{INFERENCE_KEY}'\n", f"# kept\nOPENROUTER_API_KEY='{INFERENCE_KEY}'\n", []),
    (API, "OPENROUTER_API_KEY=your-key\n", "OPENROUTER_API_KEY=your-key\n" + API, ["OPENROUTER_API_KEY"]),
    (API, "OPENROUTER_API_KEY=\n", "OPENROUTER_API_KEY=\n" + API, ["OPENROUTER_API_KEY"]),
    ("OPENROUTER_API_KEY=your-key\n" + MGMT, API, API + MGMT, ["OPENROUTER_MGMT_KEY"]),
    (f"export {API}# note\n\n{MGMT}", API, API + MGMT, ["OPENROUTER_MGMT_KEY"]),
    ("OPENROUTER_API_KEY=old-key-0000\n" + API, MGMT, MGMT + API, ["OPENROUTER_API_KEY"]),
    ("OTHER='two\nlines'\n", API, API + "OTHER='two\nlines'\n", ["OTHER"]),
    (API.replace("\n", "\r\n"), MGMT, MGMT + API, ["OPENROUTER_API_KEY"]),
    ("", API, API, []),
]


@pytest.mark.parametrize(("old", "there", "then", "names"), MERGED)
def test_what_is_there_stays_and_what_is_missing_is_added(
    old: str, there: str, then: str, names: list[str], home: Path, skill: Path
) -> None:
    source, target = private(skill / "credentials.env", old), private(target_of(home), there, 0o644)
    assert move_credentials(home, dry_run=True, skill_folder=skill).names == tuple(names)
    assert (source.read_text(), target.read_text()) == (old.replace("\r\n", "\n"), there)
    assert move_credentials(home, dry_run=False, skill_folder=skill).names == tuple(names)
    assert target.read_text().replace("\r", "") == then and not source.exists()
    keys = {key.name: key.secret for key in find_credentials({}, home, skill)[:2] if key}
    expected = {"OPENROUTER_API_KEY": INFERENCE_KEY, "OPENROUTER_MGMT_KEY": MANAGEMENT_KEY}
    assert keys.items() <= expected.items()
    assert mode_of(home / ".openrouter") == 0o700


def test_the_new_file_and_its_folder_are_for_their_owner_alone_whatever_the_umask(home: Path, skill: Path) -> None:
    private(skill / "credentials.env", API)
    (home / ".openrouter").mkdir(mode=0o755)
    before = os.umask(0)
    try:
        move_credentials(home, dry_run=False, skill_folder=skill)
    finally:
        os.umask(before)
    assert (mode_of(target_of(home)), mode_of(home / ".openrouter")) == (0o600, 0o700)


def broken_line(home: Path, skill: Path) -> None:
    private(skill / "credentials.env", API + "OTHER='no end\n")
    private(target_of(home), MGMT)


def linked_source(home: Path, skill: Path) -> None:
    (skill / "credentials.env").symlink_to(private(skill / "real.env", API))


def linked_target(home: Path, skill: Path) -> None:
    private(skill / "credentials.env", API)
    real = private(home / "dotfiles.env", MGMT)
    target_of(home).parent.mkdir()
    target_of(home).symlink_to(real)


def dangling_target(home: Path, skill: Path) -> None:
    private(skill / "credentials.env", API)
    target_of(home).parent.mkdir()
    target_of(home).symlink_to(home / "nowhere")


def linked_folder(home: Path, skill: Path) -> None:
    private(skill / "credentials.env", API)
    (home / "elsewhere").mkdir()
    (home / ".openrouter").symlink_to(home / "elsewhere")


def file_as_folder(home: Path, skill: Path) -> None:
    private(skill / "credentials.env", API)
    (home / ".openrouter").write_text("")


def folder_as_source(home: Path, skill: Path) -> None:
    (skill / "credentials.env").mkdir()


def folder_as_target(home: Path, skill: Path) -> None:
    private(skill / "credentials.env", API)
    target_of(home).mkdir(parents=True)


def piped_source(home: Path, skill: Path) -> None:
    os.mkfifo(skill / "credentials.env")


def writable_source(home: Path, skill: Path) -> None:
    private(skill / "credentials.env", API, 0o666)


def writable_target(home: Path, skill: Path) -> None:
    private(skill / "credentials.env", API)
    private(target_of(home), MGMT, 0o666)


def binary_source(home: Path, skill: Path) -> None:
    private(skill / "credentials.env", API + "\0")


def large_source(home: Path, skill: Path) -> None:
    private(skill / "credentials.env", API + "#" * 70_000)


def other_value(home: Path, skill: Path) -> None:
    private(skill / "credentials.env", API + "OTHER=1\n")
    private(target_of(home), API + "OTHER=2\n")


REFUSED: list[tuple[Callable[[Path, Path], None], str]] = [
    (broken_line, "line 2 of the old credentials file is not understood"),
    (linked_source, "is not a regular file: nothing was moved"),
    (linked_target, "is not a regular file: nothing was moved"),
    (dangling_target, "is not a regular file: nothing was moved"),
    (linked_folder, "is not a folder: nothing was moved"),
    (file_as_folder, "is not a folder: nothing was moved"),
    (folder_as_source, "is not a regular file: nothing was moved"),
    (folder_as_target, "is not a regular file: nothing was moved"),
    (piped_source, "is not a regular file: nothing was moved"),
    (writable_source, "others can change it"),
    (writable_target, "others can change it"),
    (binary_source, "it is a binary file"),
    (large_source, "it is larger than 64 KiB"),
    (other_value, "OTHER is another one in"),
]


@pytest.mark.parametrize(("make", "why"), REFUSED, ids=[make.__name__ for make, _ in REFUSED])
@pytest.mark.parametrize("dry_run", [True, False])
def test_what_is_odd_is_refused_and_left_as_it_is(
    dry_run: bool, make: Callable[[Path, Path], None], why: str, home: Path, skill: Path
) -> None:
    make(home, skill)
    before = {folder: contents(folder) for folder in (home, skill)}
    links = sorted(path for path in home.rglob("*") if path.is_symlink())
    with pytest.raises(SettingsError, match=why) as refused:
        move_credentials(home, dry_run=dry_run, skill_folder=skill)
    after = {folder: contents(folder) for folder in (home, skill)}
    after[home].pop(home / ".openrouter" / "settings.lock", None)
    assert after == before
    assert links == sorted(path for path in home.rglob("*") if path.is_symlink())
    assert os.path.lexists(skill / "credentials.env")
    assert INFERENCE_KEY not in refused.value.message + refused.value.hint


@needs_root
def test_a_folder_of_another_user_gets_no_key(home: Path, skill: Path) -> None:
    old = private(skill / "credentials.env", API)
    (home / ".openrouter").mkdir()
    os.chown(home / ".openrouter", 12345, 12345)
    with pytest.raises(SettingsError, match="belongs to another user: nothing was moved"):
        move_credentials(home, dry_run=False, skill_folder=skill)
    assert old.exists() and not target_of(home).exists()


def test_an_old_file_that_cannot_be_deleted_is_told_and_both_hold_the_keys(
    home: Path, skill: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, delete = private(skill / "credentials.env", API), os.unlink

    def refuse(path: Any) -> None:
        if Path(path) == old:
            raise PermissionError(13, "Permission denied")
        delete(path)

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(SettingsError, match="cannot be deleted: Permission denied") as refused:
        move_credentials(home, dry_run=False, skill_folder=skill)
    assert refused.value.hint == "delete it yourself"
    assert old.read_text() == target_of(home).read_text() == API
    monkeypatch.undo()
    assert move_credentials(home, dry_run=False, skill_folder=skill).names == ()
    assert not old.exists()


def test_the_old_file_goes_only_after_the_new_one_is_on_the_disk(
    home: Path, skill: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, steps = private(skill / "credentials.env", API), []
    write, delete, sync = legacy.replace_file, os.unlink, os.fsync

    def writing(path: Path, pieces: Any, **options: Any) -> None:
        write(path, pieces, **options)
        steps.append(("written", options["durable"], old.exists()))

    def deleting(path: Any, **options: Any) -> None:
        if Path(path) == old:
            steps.append(("deleted", target_of(home).read_text() == API, True))
        delete(path, **options)

    def syncing(handle: int) -> None:
        steps.append(("synced", True, True))
        sync(handle)

    monkeypatch.setattr(legacy, "replace_file", writing)
    monkeypatch.setattr(os, "unlink", deleting)
    monkeypatch.setattr(os, "fsync", syncing)
    move_credentials(home, dry_run=False, skill_folder=skill)
    # The file, its folder; then the old one goes, and the folder that it was in.
    assert [step[0] for step in steps] == ["synced", "synced", "written", "deleted", "synced"]
    assert all(step[1:] == (True, True) for step in steps)


def test_a_disk_that_is_full_leaves_both_files_as_they_were(
    home: Path, skill: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = private(skill / "credentials.env", API), private(target_of(home), MGMT)

    def full(*args: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SettingsError, match=r"cannot be moved to .*: No space left on device"):
        move_credentials(home, dry_run=False, skill_folder=skill)
    assert (old.read_text(), new.read_text()) == (API, MGMT)
    assert [path.name for path in new.parent.iterdir() if path.name.startswith(".")] == []


def test_an_old_file_that_changes_meanwhile_is_not_deleted(
    home: Path, skill: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, write = private(skill / "credentials.env", API), legacy.replace_file

    def writing(path: Path, pieces: Any, **options: Any) -> None:
        write(path, pieces, **options)
        old.write_text(API + MGMT)

    monkeypatch.setattr(legacy, "replace_file", writing)
    with pytest.raises(SettingsError, match="was changed meanwhile: it is still there"):
        move_credentials(home, dry_run=False, skill_folder=skill)
    monkeypatch.undo()
    assert old.read_text() == API + MGMT and target_of(home).read_text() == API
    assert move_credentials(home, dry_run=False, skill_folder=skill).names == ("OPENROUTER_MGMT_KEY",)
    assert target_of(home).read_text() == API + MGMT and not old.exists()
