"""Nothing that the program writes ever takes the place of a file that came with the skill."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openrouter_usage import files as skill
from tests.booking import Booked, Tracker, call
from tests.cases import crossed
from tests.running import HANG_GUARD_S, ROOT, contents
from tests.sandbox import MANAGEMENT_KEY, Sandbox


class Installed:
    """A copy of the skill that a program runs from, with every file that is in it."""

    def __init__(self, tracker: Tracker, folder: Path) -> None:
        self.tracker = tracker
        self.folder = folder
        for name in ("scripts", "references"):  # with what is compiled, or every start would compile it again
            shutil.copytree(ROOT / name, folder / name)
        for name in ("SKILL.md", "README.md", "LICENSE", "credentials.env.example", "requirements.txt"):
            shutil.copy(ROOT / name, folder / name)
        self.before = contents(folder)

    def __call__(self, *argv: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> Booked:
        command = [sys.executable, "-B", str(self.folder / "scripts" / "cost_tracker.py"), *argv]
        environment = {**self.tracker.environment(env or {}), "OPENROUTER_MGMT_KEY": MANAGEMENT_KEY}
        done = subprocess.run(command, env=environment, capture_output=True, timeout=HANG_GUARD_S, check=False, cwd=cwd)
        ran = Booked(done.returncode, done.stdout.decode(), done.stderr.decode())
        assert "Traceback" not in ran.err, ran.err
        return ran

    @property
    def is_whole(self) -> bool:
        """Every file is as it was installed, and no other is among the programs."""
        now = contents(self.folder)
        return all(now.get(path) == data for path, data in self.before.items()) and not [
            path for path in now if path not in self.before and path.parent != self.folder
        ]


@pytest.fixture
def installed(home: Path, sandbox: Sandbox, tmp_path: Path) -> Installed:
    tracker = Tracker(home, sandbox.url)
    tracker.write(call())
    return Installed(tracker, tmp_path / "a skill")


def plainly(installed: Installed, name: str) -> str:
    return str(installed.folder / name)


def by_dots(installed: Installed, name: str) -> str:
    return str(installed.folder / "scripts" / ".." / "references" / ".." / name)


def by_a_link(installed: Installed, name: str) -> str:
    link = installed.tracker.home / "link.md"
    link.symlink_to(installed.folder / name)
    return str(link)


def by_a_link_to_its_folder(installed: Installed, name: str) -> str:
    link = installed.tracker.home / "linked"
    link.symlink_to(installed.folder)
    return str(link / name)


def by_a_hard_link(installed: Installed, name: str) -> str:
    link = installed.tracker.home / "hard.md"
    os.link(installed.folder / name, link)
    return str(link)


def in_other_letters(installed: Installed, name: str) -> str:
    return str(installed.folder / name.swapcase())


def with_dots_at_its_end(installed: Installed, name: str) -> str:
    return str(installed.folder / (name + ". "))


WAYS = [plainly, by_dots, by_a_link, by_a_link_to_its_folder, by_a_hard_link, in_other_letters, with_dots_at_its_end]
FILES = ["SKILL.md", "scripts/cost_tracker.py", "scripts/openrouter_usage/errors.py", "references/json.md", "LICENSE"]
WRITERS: dict[str, Callable[[str], tuple[str, ...]]] = {
    "export": lambda path: ("export", "--format", "csv", "--output", path, "--force"),
    "page": lambda path: ("report", "--html", path, "--force"),
    "chart": lambda path: ("report", "--svg", path, "--force"),
    "secret": lambda path: ("keys", "create", "--name", "ci", "--limit", "1", "--yes", "--secret-file", path),
}


@pytest.mark.parametrize(
    ("way", "writer", "name"), crossed(WAYS, WRITERS, ["SKILL.md", "scripts/openrouter_usage/errors.py"])
)
def test_no_output_takes_the_place_of_a_file_of_the_skill(
    writer: str, name: str, way: Any, installed: Installed
) -> None:
    """Not by force, nor under another name."""
    ran = installed(*WRITERS[writer](way(installed, name)))
    assert ran.code == 2 and ran.err.count("\n") == 1, ran.err
    assert installed.is_whole


@pytest.mark.parametrize("name", FILES)
def test_no_file_of_the_skill_is_too_small_to_be_kept(name: str, installed: Installed) -> None:
    """Programs, references and the rest alike."""
    for writer in WRITERS.values():
        assert installed(*writer(str(installed.folder / name))).code == 2
    assert installed.is_whole


@pytest.mark.parametrize(
    ("writer", "name"),
    crossed(WRITERS, ["scripts/requests.py", "scripts/openrouter_usage/json.py", "references/new.md"]),
)
def test_nothing_new_is_put_among_the_programs(writer: str, name: str, installed: Installed) -> None:
    """A file named like a package would be run in its place."""
    assert installed(*WRITERS[writer](str(installed.folder / name))).code == 2
    assert installed.is_whole


@pytest.mark.parametrize(("way", "verb"), crossed(WAYS, ["call", "clean", "import", "stats"]))
def test_no_file_of_the_skill_is_taken_for_the_ledger(verb: str, way: Any, installed: Installed) -> None:
    """A ledger is appended to, cleaned and indexed where it lies."""
    argv = {
        "call": ("call", "--model", "openai/gpt-5.2", "--prompt", "Hello?"),
        "clean": ("clean", "--before", "2026-11-01", "--yes"),
        "import": ("import", str(installed.tracker.ledger)),
        "stats": ("stats",),
    }[verb]
    ran = installed(*argv, env={"OPENROUTER_USAGE_FILE": way(installed, "SKILL.md")})
    assert ran.code == 2 and "in the skill's own folder" in ran.err
    assert installed.is_whole
    assert not list(installed.folder.glob("*.index*"))


def test_a_report_of_one_s_own_may_lie_beside_the_skill_s_files_and_be_replaced(installed: Installed) -> None:
    """Run in a clone, a plain name is in the clone."""
    for _ in range(2):
        assert installed("report", "--html", "spend.html", "--force", cwd=installed.folder).code == 0
        assert installed("export", "--format", "csv", "--output", "mine.csv", "--force", cwd=installed.folder).code == 0
    assert installed.is_whole


def test_programs_that_were_copied_alone_do_not_claim_the_folder_around_them(
    home: Path, sandbox: Sandbox
) -> None:
    """With only scripts/ in a home, the rest of the home is the user's."""
    tracker = Tracker(home, sandbox.url)
    tracker.write(call())
    installed = Installed.__new__(Installed)
    installed.tracker, installed.folder = tracker, home
    shutil.copytree(ROOT / "scripts", home / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    ledger = {"OPENROUTER_USAGE_FILE": str(home / "books" / "usage.jsonl")}
    assert installed("stats", env=ledger).code == 0
    assert installed("export", "--format", "csv", "--output", str(home / "tests"), env=ledger).code == 0
    assert installed("export", "--format", "csv", "--output", str(home / "scripts" / "x.py"), env=ledger).code == 2


def test_all_that_is_shipped_is_known_to_be_the_skill_s() -> None:
    """A new file at the top has to be added to the list."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    names = {line.partition("/")[0].casefold() for line in listed.stdout.splitlines()}
    if listed.returncode:
        names = {path.name.casefold() for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert names and names - skill.SHIPPED - {"__pycache__", "build", "dist"} == set()
