"""An installed skill says the same wherever it lies and however it is started; an update of its folder loses nothing."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from openrouter_usage.cli.cost_tracker import VERBS
from tests.running import HANG_GUARD_S, ROOT, contents
from tests.sandbox import DEMO_KEY, DEMO_MGMT_KEY, Sandbox, demo_account
from tests.staging import stage, tracked

LEDGER = (
    '{"ts":"2026-11-20T10:30:00Z","model":"google/gemini-2.0-flash-001","prompt_tokens":1500,"completion_tokens":500,'
    '"cost":0.0025,"id":"gen-1"}\n'
    '{"ts":"2026-11-21T10:30:00Z","model":"größe/modell","prompt_tokens":7,"completion_tokens":1,"cost":1.5,"id":"gen-2"}\n'
)
SEVERAL = ["stats.py", "--by provider"], ["cost_tracker.py", "stats --since 2026-11-20 --until 2026-11-21 --by model"]
posix = pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")


@dataclass
class Installed:
    """A copy of the skill, a home with keys and a ledger, and an unrelated folder to run it from."""

    skill: Path
    home: Path
    url: str

    def environment(self, env: Mapping[str, str | None]) -> dict[str, str]:
        """Nothing is inherited but PATH; the keys are in the home."""
        homes = dict.fromkeys(("HOME", "USERPROFILE"), str(self.home))
        given: dict[str, str | None] = {**homes, "PATH": os.environ["PATH"], "OPENROUTER_BASE_URL": self.url}
        inherited = {name: value for name, value in os.environ.items() if name.startswith(("COVERAGE_", "SYSTEMROOT"))}
        return {name: value for name, value in {**inherited, **given, **env}.items() if value is not None}

    def run(
        self, words: str, env: Mapping[str, str | None] | None = None, *, python: str = "", skill: Path | None = None,
        shell: str = "", **options: object,
    ) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
        """Run one of the programs: its name and its arguments."""
        program, *arguments = words.split()
        command = [sys.executable, *python.split(), str((skill or self.skill) / "scripts" / program), *arguments]
        if shell:
            command = ["/bin/sh", "-c", f'"$@" {shell}', "sh", *command]
        settings = {"cwd": self.home.parent / "elsewhere", "stdin": subprocess.DEVNULL, "capture_output": True, **options}
        return subprocess.run(command, env=self.environment(env or {}), timeout=HANG_GUARD_S, check=False, **settings)

    def says(self, words: str, env: Mapping[str, str | None] | None = None, encoding: str = "utf-8", **options: object) -> str:
        """What it prints; it has to end well and without a word of complaint."""
        ended = self.run(words, env, **options)
        assert (ended.returncode, ended.stderr) == (0, b""), ended.stderr.decode()
        return ended.stdout.decode(encoding).replace("\r\n", "\n").replace(str(self.home), "~")

    def both(self, env: Mapping[str, str | None] | None = None, **options: object) -> list[str]:
        """What both programs print."""
        return [self.says(" ".join(words), env, **options) for words in SEVERAL]


def furnished(folder: Path, url: str) -> Installed:
    """A new place with an installed skill, keys and a ledger."""
    home = folder / "home"
    own = home / ".openrouter"
    own.mkdir(parents=True, mode=0o700)
    (folder / "elsewhere").mkdir()
    (own / "usage.jsonl").write_text(LEDGER, encoding="utf-8")
    (own / "credentials.env").write_text(f"OPENROUTER_API_KEY={DEMO_KEY}\nOPENROUTER_MGMT_KEY={DEMO_MGMT_KEY}\n")
    for path in own.iterdir():
        path.chmod(0o600)
    return Installed(stage(folder / "skills"), home, url)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Sandbox(demo_account()) as sandbox:
        yield sandbox.url


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, url: str) -> Installed:
    return furnished(tmp_path_factory.mktemp("place"), url)


@pytest.fixture(scope="module")
def usual(installed: Installed) -> list[str]:
    """What both say where nothing is odd."""
    said = installed.both()
    assert "Today: $4.55*" in said[0] and "größe/modell" in said[1] and "$1.50" in said[1]
    return said


# -- how it is started --


@pytest.mark.parametrize(
    "env",
    [
        {"LANG": "C"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "utf-8"},
        {"NO_COLOR": "1", "TERM": "dumb"},
        {"FORCE_COLOR": "1", "COLUMNS": "20", "LINES": "3"},
        {"TZ": "Asia/Kathmandu"},
        {"PYTHONPATH": "/nonexistent", "PYTHONHASHSEED": "1", "PYTHONSAFEPATH": "1"},
    ],
    ids=str,
)
def test_the_environment_changes_no_word(env: dict[str, str], installed: Installed, usual: list[str]) -> None:
    said = installed.both(env)
    assert said[1] == usual[1]
    # In another zone a line may be added, which says that the date is another one there.
    assert said[0] == usual[0] or ("TZ" in env and said[0].startswith(usual[0]))


@pytest.mark.parametrize("python", ["-I", "-OO -X utf8=0", "-s -B -X dev"])
def test_the_options_of_python_change_no_word(python: str, installed: Installed, usual: list[str]) -> None:
    assert installed.both({"PYTHONIOENCODING": "utf-8"}, python=python) == usual


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-16"])
def test_an_output_that_lacks_a_sign_still_gets_every_figure(
    encoding: str, installed: Installed, usual: list[str]
) -> None:
    for said, expected in zip(installed.both({"PYTHONIOENCODING": encoding}, encoding=encoding), usual, strict=True):
        assert [word for word in expected.split() if "$" in word and word.isascii() and word not in said] == []
        assert len(said.splitlines()) == len(expected.splitlines())


@posix
@pytest.mark.parametrize("shell", ["<&-", "</dev/zero"])
def test_no_input_is_needed(shell: str, installed: Installed, usual: list[str]) -> None:
    assert installed.both(shell=shell, stdin=None) == usual


@posix
def test_a_terminal_gets_the_summary_that_a_pipe_gets(installed: Installed, usual: list[str]) -> None:
    ours, theirs = pytest.importorskip("pty").openpty()
    terminal = {"stdin": theirs, "stdout": theirs, "stderr": theirs, "capture_output": False}
    ended = installed.run(" ".join(SEVERAL[0]), {"TERM": "xterm", "COLUMNS": "30"}, **terminal)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:
        pass  # on Linux the end of a terminal's output is an error
    os.close(ours)
    assert ended.returncode == 0
    assert shown.decode().replace("\r\n", "\n").replace(str(installed.home), "~") == usual[0]


@posix
def test_without_a_home_a_ledger_that_is_named_is_read(installed: Installed, usual: list[str]) -> None:
    """A container's user may have none; then keys and ledger come from the environment."""
    code = f"import pwd,sys,runpy; pwd.getpwuid = {{}}.__getitem__; sys.argv = {[*SEVERAL[1][:1], *SEVERAL[1][1].split()]!r}; "
    code += f"sys.path.insert(0, {str(installed.skill / 'scripts')!r}); "
    code += f"runpy.run_path({str(installed.skill / 'scripts' / 'cost_tracker.py')!r}, run_name='__main__')"
    env = installed.environment({"HOME": None, "OPENROUTER_USAGE_FILE": str(installed.home / ".openrouter" / "usage.jsonl")})
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, env=env, capture_output=True, timeout=HANG_GUARD_S, check=False)
    assert (ended.returncode, ended.stdout.decode().replace(str(installed.home), "~")) == (0, usual[1])


# -- where it lies --


@pytest.mark.parametrize("place", ["a folder with blanks", "größe, it's %20", "-dash; $HOME &"])
def test_the_path_changes_no_word(place: str, installed: Installed, usual: list[str], tmp_path: Path) -> None:
    folder = tmp_path / place / "openrouter-usage"
    shutil.copytree(installed.skill / "scripts", folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    assert installed.both(skill=folder) == usual


@posix
def test_a_link_to_the_folder_and_one_to_the_program_change_no_word(
    installed: Installed, usual: list[str], tmp_path: Path
) -> None:
    """`npx skills add` keeps one copy and links to it from each client's folder."""
    (tmp_path / "linked").symlink_to(installed.skill, target_is_directory=True)
    (tmp_path / "programs" / "scripts").mkdir(parents=True)
    for words in SEVERAL:
        (tmp_path / "programs" / "scripts" / words[0]).symlink_to(installed.skill / "scripts" / words[0])
    assert installed.both(skill=tmp_path / "linked") == usual
    # With -I Python itself does not look beside the program for what it imports.
    assert installed.both({"PYTHONIOENCODING": "utf-8"}, skill=tmp_path / "programs", python="-I") == usual


@posix
def test_a_folder_that_cannot_be_written_is_enough(installed: Installed, usual: list[str]) -> None:
    for path in (installed.skill, *installed.skill.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = contents(installed.skill)
    try:
        assert installed.both({"PYTHONDONTWRITEBYTECODE": "1"}) == usual
        assert contents(installed.skill) == before
    finally:
        for path in (installed.skill, *installed.skill.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)


def test_line_ends_of_windows_change_no_word(usual: list[str], url: str, tmp_path: Path) -> None:
    """A checkout may have them in every source, an editor in the keys and in the ledger."""
    there = furnished(tmp_path, url)
    written = [*there.skill.rglob("*.py"), *(there.home / ".openrouter").iterdir()]
    assert len(written) > 100
    for path in written:
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert there.both() == usual


# -- updates --


def booked(there: Installed) -> list[str]:
    """Everything that a user would miss: figures of the account, calls, budget, alerts."""
    said = [*there.both(), there.says("cost_tracker.py budget"), there.says("cost_tracker.py alert --list")]
    return [*said, there.says("cost_tracker.py export --format csv")]


def test_an_update_of_the_folder_loses_nothing(url: str, tmp_path: Path) -> None:
    """What is the user's is in the home; what an installer puts in the folder's place is new."""
    there = furnished(tmp_path, url)
    there.says("cost_tracker.py budget set --daily 3.50 --monthly 70")
    call = "cost_tracker.py call --model openai/gpt-5-mini --prompt Hi --session kept --max-tokens 50"
    assert there.run(call).returncode == 0
    assert there.run("cost_tracker.py alert --monthly-limit 1000000").returncode == 0
    before, files = booked(there), contents(there.home)
    assert ",kept," in before[-1]
    assert "of $3.50" in before[2]
    assert "1000000" in before[3]
    lying = {path.relative_to(there.skill).as_posix() for path in contents(there.skill) if path.suffix != ".pyc"}
    assert lying == set(tracked())
    shutil.rmtree(there.skill)
    there.skill = stage(tmp_path / "skills")
    assert booked(there) == before
    kept = [".openrouter/" + name for name in ("usage.jsonl", "settings.json", "credentials.env")]
    assert [name for name in kept if files[there.home / name] != (there.home / name).read_bytes()] == []


@pytest.mark.parametrize("moved", [False, pytest.param(True, marks=posix)])
def test_keys_in_the_skill_folder_bring_a_warning_and_survive_an_update_once_moved(
    moved: bool, url: str, tmp_path: Path
) -> None:
    there = furnished(tmp_path, url)
    own = there.home / ".openrouter" / "credentials.env"
    shutil.move(own, there.skill / "credentials.env")
    ended = there.run("stats.py")
    shown = (ended.stderr + ended.stdout).decode()
    assert (ended.returncode, "Today: $4.55*" in shown) == (0, True)
    (warned,) = [line for line in shown.splitlines() if str(there.skill / "credentials.env") in line]
    assert "is deleted when the skill is updated" in warned
    if moved:
        command = warned.partition("; run: ")[2]
        assert subprocess.run(["sh", "-c", command], timeout=HANG_GUARD_S, check=False).returncode == 0
        assert stat.S_IMODE(own.lstat().st_mode) == 0o600
    shutil.rmtree(there.skill)
    there.skill = stage(tmp_path / "skills")
    assert there.run("stats.py").returncode == (0 if moved else 2)


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_the_help_of_every_verb_needs_no_packages(verb: str) -> None:
    command = [sys.executable, "-S", "-E", str(ROOT / "scripts" / "cost_tracker.py"), *verb.split(), "--help"]
    done = subprocess.run(command, capture_output=True, timeout=HANG_GUARD_S, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(f"usage: cost_tracker.py {verb}".strip().encode())
