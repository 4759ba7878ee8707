"""stats.py can be called wrongly, interrupted, and started in odd places, and always ends in an orderly way."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from openrouter_usage.cli import cost_tracker as tracker
from openrouter_usage.cli import summary
from openrouter_usage.cli.program import nearest, run
from openrouter_usage.home.credentials import find_credentials
from openrouter_usage.home.settings import VERSION
from tests import guards
from tests.running import HANG_GUARD_S, ROOT, STATS, Ran, Stats, contents, copy_skill
from tests.sandbox import INFERENCE_KEY, MANAGEMENT_KEY, Fault, Sandbox

SITE = Path(next(path for path in sys.path if path.endswith("site-packages")))
NEEDED = ("requests", "urllib3", "certifi", "idna", "charset_normalizer", "dotenv")


# -- wrong usage ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "meant"),
    [
        (["--jsn"], "--json"), (["--dayz", "7"], "--days"), (["--fromat=csv"], "--format"),
        (["--by", "modle"], "model"),
        (["--format", "cvs"], "csv"), (["--lin"], "--line"), (["--tpo", "3"], "--top"),
        (["--maxage", "5"], "--max-age"),
        (["--by=providr"], "provider"), (["--time-out", "5"], "--timeout"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_is_misspelt_gets_a_suggestion(
    argv: list[str], meant: str, stats_here: Callable[..., Ran], sandbox: Sandbox
) -> None:
    ran = stats_here(*argv)
    assert (ran.code, ran.out) == (2, "")
    assert f"did you mean {meant}?" in ran.error_line
    assert sandbox.connections == 0


@pytest.mark.parametrize(
    "argv",
    [
        ["--unheard-of"], ["word"], ["--js"], ["--days"], ["--days", "0"], ["--days", "366"], ["--days", "-1"],
        ["--days", "1.5"],
        ["--days", "x"], ["--days", ""], ["--days", "٣"], ["--days", "9" * 5000], ["--days", "1e1"], ["--top", "-1"],
        ["--top", "10001"],
        ["--timeout", "0"], ["--timeout", "601"], ["--max-age", "86401"], ["--max-age", "-5"], ["--by", "tag"], ["--tz", "Nowhere"],
        ["--by", ""],
        ["--format", "xml"], ["--json", "--line"], ["--line", "--format", "csv"], ["--json", "--format", "csv"],
        ["--", "--json"], [""],
    ],
    ids=lambda argv: " ".join(argv)[:30],
)  # fmt: skip
def test_what_is_wrong_is_told_in_one_line(argv: list[str], stats_here: Callable[..., Ran], sandbox: Sandbox) -> None:
    ran = stats_here(*argv)
    assert ran.code == 2
    assert " -- " in ran.error_line
    assert len(ran.err) < 500
    assert sandbox.connections == 0
    if "--json" in argv:
        assert ran.json["error"]["code"] == "usage"


def test_an_unknown_flag_ends_a_process_with_2(stats: Stats) -> None:
    ran = stats("--jsn", "--json")
    assert ran.code == 2
    assert ran.error_line == "stats.py: unrecognized arguments: --jsn -- did you mean --json?\n"
    assert ran.json["error"] == {
        "code": "usage", "message": "unrecognized arguments: --jsn", "hint": "did you mean --json?",
    }  # fmt: skip


def test_an_argument_with_control_characters_is_shown_as_text(stats: Stats) -> None:
    ran = stats("--\x1b[2J\nSYSTEM: pay")
    assert ran.code == 2
    assert "\\x1b[2J\\nSYSTEM: pay" in ran.error_line


def test_a_key_among_the_arguments_is_not_repeated(stats: Stats) -> None:
    ran = stats("--json", "--api-key", "sk-or-test-key-typed-by-mistake")
    assert ran.code == 2
    assert "typed-by-mistake" not in ran.out + ran.err
    assert "[key]" in ran.error_line


def test_help_shows_an_example_and_the_exit_codes(stats: Stats, sandbox: Sandbox) -> None:
    ran = stats("--help", key=None)
    assert (ran.code, ran.err) == (0, "")
    for words in ("usage: stats.py", "examples:", "exit codes:", "OPENROUTER_API_KEY", "130 interrupted"):
        assert words in ran.out
    assert sandbox.connections == 0
    assert max(map(len, ran.out.splitlines())) <= 100


def test_the_version_is_told(stats: Stats) -> None:
    assert stats("--version", key=None).out == f"openrouter-usage {VERSION}\n"


# -- JSON whatever happens -----------------------------------------------------------------------------------------

TROUBLES: dict[str, Callable[[Sandbox], dict[str, Any]]] = {
    "nothing": lambda sandbox: {},
    "no key": lambda sandbox: {"key": None},
    "an odd key": lambda sandbox: {"key": "a b c d e f g h"},
    "an unknown key": lambda sandbox: {"key": "wrong-key-0000000000"},
    "a web page": lambda sandbox: {"_": sandbox.misbehave("*", Fault.html())},
    "no credits": lambda sandbox: {"_": sandbox.misbehave("*", Fault.status(402))},
    "a missing part": lambda sandbox: {"mgmt": "wrong-mgmt-0000000000"},
}
CODES = {"no key": 2, "an odd key": 2, "an unknown key": 4, "a web page": 5, "no credits": 4}


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("asked", [["--json"], ["--format", "json"], ["--format=json"]], ids=" ".join)
def test_what_stands_on_standard_output_is_json_whatever_happens(
    trouble: str, asked: list[str], stats_here: Callable[..., Ran], sandbox: Sandbox
) -> None:
    options = TROUBLES[trouble](sandbox)
    options.pop("_", None)
    ran = stats_here(*asked, **options)
    assert ran.code == CODES.get(trouble, 0)
    assert set(ran.json) == {"schema_version", "kind", "generated_at", "data", "notes", "error"}
    assert (ran.json["error"] is None) == (ran.code == 0)
    assert (ran.json["data"] is None) == (ran.code != 0)
    assert ran.json["kind"] == ("error" if ran.code else "summary")
    if ran.code:
        assert ran.json["error"]["message"] in ran.error_line
        assert set(ran.json["error"]) == {"code", "message", "hint"}
    assert ran.out.isascii()


@pytest.mark.parametrize("face", ["text", "csv", "markdown", "line"])
def test_other_faces_leave_standard_output_empty_on_an_error(face: str, stats_here: Callable[..., Ran]) -> None:
    ran = stats_here("--format", face, key=None)
    assert (ran.code, ran.out) == (2, "")


def test_a_bug_is_told_as_one_and_shows_no_key(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    find_credentials({"OPENROUTER_API_KEY": INFERENCE_KEY}, None, tmp_path)

    def broken(argv: Sequence[str]) -> int:
        raise RuntimeError(f"no idea what to do with {INFERENCE_KEY}")

    assert run("stats.py", broken, ["--json"]) == 1
    captured = capsys.readouterr()
    assert "RuntimeError: no idea what to do with [key]" in captured.err
    assert captured.err.endswith("with the lines above\n")
    assert Ran(1, captured.out, "").json["error"]["code"] == "bug"
    assert INFERENCE_KEY not in captured.out + captured.err


# -- outputs -------------------------------------------------------------------------------------------------------


def test_a_closed_output_is_no_success(stats: Stats) -> None:
    ran = stats(shell=">&-")
    assert ran.code == 2
    assert ran.error_line == "stats.py: standard output is closed\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize(
    "argv", [[], ["--json"], ["--line"], ["--format", "csv"], ["--help"], ["--version"]], ids=" ".join
)
def test_a_full_output_is_no_success(argv: list[str], stats: Stats) -> None:
    ran = stats(*argv, shell=">/dev/full")
    assert ran.code == 2
    assert "the output could not be written" in ran.error_line


@pytest.mark.parametrize("argv", [["--help"], ["--version"]])
def test_help_into_a_closed_output_is_no_success(argv: list[str], stats: Stats) -> None:
    assert stats(*argv, shell=">&-").error_line == "stats.py: standard output is closed\n"


def test_a_closed_standard_error_does_not_spoil_the_json(stats: Stats) -> None:
    ran = stats("--json", key=None, shell="2>&-")
    assert (ran.code, ran.err) == (2, "")
    assert ran.json["error"]["code"] == "missing_key"


def test_both_outputs_closed_is_an_error_all_the_same(stats: Stats) -> None:
    ran = stats(shell=">&- 2>&-")
    assert ran == Ran(2, "", "")
    assert stats("--json", key=None, shell=">&- 2>&-").code == 2


def test_a_reader_that_has_gone_is_told_nothing(stats: Stats) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command, env = stats.command("--json"), stats.environment(key=INFERENCE_KEY, mgmt=None, env={})
        done = subprocess.run(command, env=env, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (2, b"")


def test_a_closed_input_is_not_needed(stats: Stats) -> None:
    assert stats("--json", shell="<&-").code == 0


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", ("$ OpenRouter Usage", "* gr?n/modell", "! Key expires", "i no spend")),
        ("ascii:strict", ("$ OpenRouter Usage", "* gr?n/modell")),
        ("cp1252", ("$ OpenRouter Usage", "\u2022 gr\u00fcn/modell", "! Key expires", "i no spend")),
        ("latin-1", ("$ OpenRouter Usage", "* gr\u00fcn/modell")),
        ("utf-8", ("💰 OpenRouter Usage", "• grün/modell", "⚠ Key expires", "ℹ no spend")),
    ],
)
def test_signs_that_an_output_lacks_are_replaced(
    encoding: str, shown: tuple[str, ...], stats: Stats, sandbox: Sandbox
) -> None:
    from datetime import datetime, timedelta, timezone

    sandbox.account.add_activity("grün/modell")
    sandbox.account.keys[0].expires_at = datetime.now(timezone.utc) + timedelta(hours=3)
    env: dict[str, str | None] = {"PYTHONIOENCODING": encoding}
    name = encoding.partition(":")[0]
    # cp1252 has a bullet of its own, yet one sign that is missing has all of them replaced.
    both = stats(mgmt=MANAGEMENT_KEY, env=env, encoding=name).out + stats(env=env, encoding=name).out
    for words in shown:
        assert words.replace("\u2022", "*" if name == "cp1252" else "\u2022") in both


@pytest.mark.parametrize(
    "env",
    [
        {"LANG": "C"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "POSIX"},
        {"LANG": "xx_XX.nothing"},
    ],
    ids=str,
)
def test_any_locale_will_do(env: dict[str, str | None], stats: Stats) -> None:
    ran = stats(env=env)
    assert (ran.code, ran.err) == (0, "")
    assert "OpenRouter Usage\nToday: $0.00* | Week: $0.00 | Month: $0.00\n" in ran.out


@pytest.mark.parametrize(
    "env",
    [
        {"COLUMNS": "10"},
        {"NO_COLOR": "1"},
        {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"},
        {"TERM": "dumb"},
        {"COLUMNS": "x"},
        {"COLUMNS": "9" * 5_000},
    ],
    ids=lambda env: str(env)[:60],
)
def test_terminals_and_their_wishes_change_no_figure(env: dict[str, str | None], stats: Stats) -> None:
    assert stats("--max-age", "0", env=env).out == stats().out


def test_a_terminal_gets_the_same_text(stats: Stats) -> None:
    ours, theirs = pytest.importorskip("pty").openpty()
    env = stats.environment(key=INFERENCE_KEY, mgmt=None, env={"TERM": "xterm-256color"})
    done = subprocess.run(stats.command(), env=env, stdin=theirs, stdout=theirs, stderr=theirs, timeout=60, check=False)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:
        pass  # on Linux the end of a terminal's output is an error
    os.close(ours)
    assert done.returncode == 0
    assert shown.decode().replace("\r\n", "\n") == stats().out
    assert b"\x1b" not in shown


# -- interruptions -------------------------------------------------------------------------------------------------


def interrupted(process: subprocess.Popen[bytes], *pauses: float) -> Ran:
    """Send ^C, and again after each pause, and wait for the end."""
    process.send_signal(signal.SIGINT)
    for pause in pauses:
        time.sleep(pause)
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=HANG_GUARD_S)
    assert INFERENCE_KEY.encode() not in out + err
    return Ran(process.returncode, out.decode(), err.decode())


@pytest.mark.parametrize(
    "fault",
    [Fault.hang(), Fault.drip(0.5), Fault.status(429, headers={"Retry-After": "20"})],
    ids=["a stalled call", "a dripping answer", "a wait before a retry"],
)
def test_an_interruption_ends_with_130_and_one_line(fault: Fault, stats: Stats, sandbox: Sandbox) -> None:
    sandbox.misbehave("*", fault)
    process = stats.start()
    sandbox.wait_for("/key")
    assert interrupted(process) == Ran(130, "", "stats.py: interrupted\n")


@pytest.mark.parametrize("pause", [0.0, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05])
def test_a_second_interruption_changes_nothing(pause: float, stats: Stats, sandbox: Sandbox) -> None:
    sandbox.misbehave("*", Fault.hang())
    process = stats.start("--json")
    sandbox.wait_for("/key")
    time.sleep(0.3)  # until the call is all that happens: an import in progress may swallow an interruption
    ran = interrupted(process, pause, pause)
    assert ran.code == 130
    assert ran.error_line == "stats.py: interrupted\n"
    assert ran.json["error"]["code"] == "interrupted"


def test_interruptions_during_the_farewell_change_nothing(stats: Stats, sandbox: Sandbox) -> None:
    sandbox.misbehave("*", Fault.hang())
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    filled = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            filled += os.write(writing, b"." * 4096)
    os.set_blocking(writing, True)  # standard error is full now, and the farewell has to wait
    command, env = stats.command(), stats.environment(key=INFERENCE_KEY, mgmt=None, env={})
    process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=writing)
    os.close(writing)
    sandbox.wait_for("/key")
    for _ in range(5):
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()[filled:]
    assert (process.wait(HANG_GUARD_S), said) == (130, b"stats.py: interrupted\n")


def test_an_interruption_leaves_no_half_written_file(stats: Stats, sandbox: Sandbox) -> None:
    sandbox.misbehave("*", Fault.hang())
    process = stats.start()
    sandbox.wait_for("/key")
    interrupted(process)
    assert contents(stats.home) == {}


# -- surroundings --------------------------------------------------------------------------------------------------


def packages_without(folder: Path, *missing: str) -> Path:
    """A folder with links to the packages that are needed, but for some."""
    folder.mkdir()
    for name in NEEDED:
        if name not in missing:
            (folder / name).symlink_to(SITE / name)
    return folder


@pytest.mark.parametrize("missing", NEEDED)
def test_a_missing_package_is_told_with_the_line_that_installs_it(missing: str, stats: Stats, tmp_path: Path) -> None:
    if missing == "charset_normalizer":
        pytest.skip("requests can do without it")
    folder = packages_without(tmp_path / "packages", missing)
    credentials = stats.home / ".openrouter" / "credentials.env"
    credentials.parent.mkdir()
    credentials.write_text(f"OPENROUTER_API_KEY={INFERENCE_KEY}\n")
    credentials.chmod(0o600)
    env: dict[str, str | None] = {"PYTHONPATH": str(folder)}
    ran = stats("--json", key=None, python=[sys.executable, "-S"], env=env, secrets=[INFERENCE_KEY])
    assert ran.code == 2
    assert f"the Python package {missing} is missing" in ran.error_line
    assert f'-m pip install -r "{ROOT}/requirements.txt"' in ran.err
    assert (ROOT / "requirements.txt").exists()
    assert f'uv run "{STATS}"' in ran.err
    assert ran.json["error"]["code"] == "missing_package"


def test_without_any_package_nothing_but_one_line_is_said(stats: Stats) -> None:
    ran = stats(python=[sys.executable, "-S", "-I"])
    assert ran.code == 2
    assert "is missing -- run: " in ran.error_line


def test_with_both_keys_in_the_environment_no_file_is_parsed(stats: Stats, tmp_path: Path) -> None:
    folder = packages_without(tmp_path / "packages", "dotenv")
    env: dict[str, str | None] = {"PYTHONPATH": str(folder)}
    assert stats(mgmt=MANAGEMENT_KEY, python=[sys.executable, "-S"], env=env).code == 0


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.7", "3.8", "3.9"])
def test_an_old_python_is_turned_away_with_a_way_out(version: str, stats: Stats) -> None:
    found = sorted((guards.REAL_HOME / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    python = str(found[-1]) if found else shutil.which(f"python{version}")
    if not python:
        pytest.skip(f"there is no Python {version} here")
    ran = stats(python=[python])
    assert (ran.code, ran.out) == (2, "")
    assert ran.error_line == f'stats.py: Python 3.10 or newer is needed; run: uv run "{STATS}"\n'


def test_the_first_lines_of_the_program_are_plain_enough_for_any_python() -> None:
    head = STATS.read_text().partition("from openrouter_usage")[0]
    assert head.isascii()
    assert not re.search(r"\bf\"|:=|print\(|annotations", head)


def test_without_a_home_nothing_is_kept_and_nothing_breaks(stats: Stats) -> None:
    code = (
        "import pwd, runpy, sys\n"
        "def nobody(uid): raise KeyError(uid)\n"
        "pwd.getpwuid = nobody\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    python = [sys.executable, "-c", code]
    for _ in range(2):
        assert stats("--json", "--max-age", "60", python=python, env={"HOME": None}).code == 0
    ran = stats(key=None, python=python, env={"HOME": None})
    assert ran.code == 2
    assert "in ~/.openrouter/credentials.env" in ran.error_line


@pytest.mark.parametrize("value", ["", "relative", "/nonexistent/home", "/dev/null"])
def test_an_odd_home_is_left_alone(value: str, stats: Stats, tmp_path: Path) -> None:
    before = set(os.listdir("/"))
    assert stats(env={"HOME": value}, cwd=tmp_path).code == 0
    assert set(os.listdir("/")) == before
    assert not (tmp_path / "relative").exists()


@pytest.fixture
def skill(tmp_path: Path) -> Path:
    """The programs, installed at a place with blanks and accents in its path."""
    return copy_skill(tmp_path / "my skills" / "open röuter")


def test_a_path_with_blanks_will_do(skill: Path, stats: Stats, tmp_path: Path) -> None:
    stats.home = tmp_path / "a home of one's own"
    stats.home.mkdir()
    assert stats("--json", script=skill, cwd=skill.parent).data["partial"] is False
    assert any(stats.home.rglob("summary-*.json"))


def test_a_link_to_the_skill_and_to_its_program_will_do(skill: Path, stats: Stats, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(skill.parent.parent)
    (tmp_path / "stats").symlink_to(skill)
    for script in (tmp_path / "linked" / "scripts" / "stats.py", tmp_path / "stats"):
        assert stats("--json", script=script).code == 0


def test_nothing_is_written_into_the_skill(skill: Path, stats: Stats) -> None:
    folder = skill.parent.parent
    before = contents(folder)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    ran = stats(mgmt=MANAGEMENT_KEY, script=skill, env={"PYTHONDONTWRITEBYTECODE": "1"})
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert (ran.code, ran.err) == (0, "")
    assert contents(folder) == before


@pytest.mark.parametrize("cwd", ["/", "scripts", "gone"])
def test_any_working_directory_will_do(cwd: str, skill: Path, stats: Stats, tmp_path: Path) -> None:
    if cwd == "gone":
        leave = 'mkdir "$0" && cd "$0" && rmdir "$0" && exec "$@"'
        ran = stats("--json", python=["/bin/sh", "-c", leave, str(tmp_path / "gone"), sys.executable], script=skill)
    else:
        folder = skill.parent if cwd == "scripts" else Path("/")
        ran = stats("--json", script=Path(os.path.relpath(skill, folder)), cwd=folder)
    assert (ran.code, ran.err) == (0, "")


def test_modules_of_the_working_directory_are_not_loaded(stats: Stats, tmp_path: Path) -> None:
    for name in ("requests", "dotenv", "json", "openrouter_usage", "ssl", "decimal"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken over')\n")
    assert stats(cwd=tmp_path).code == 0


# -- what may have been meant ----------------------------------------------------------------------------------------

MEANT = """
stats.py --jsn | did you mean --json?
stats.py --JSON | did you mean --json?
stats.py --fromat=csv --dayz 7 | did you mean --format?
stats.py --explian | did you mean --explain?
stats.py --exp | did you mean --explain?
stats.py json | did you mean --json?
stats.py --trend | --trend is an option of cost_tracker.py stats
stats.py --webhook json | --webhook is an option of cost_tracker.py alert
stats.py --by modle | did you mean model?
stats.py budget | budget is a command of cost_tracker.py
stats.py --api-key json | see stats.py --help
stats.py --unheard-of | see stats.py --help
stats.py word | see stats.py --help
stats.py --by colour | see stats.py --help
stats.py --js | see stats.py --help
cost_tracker.py settle --days 7 | --days is an option of stats.py, cost_tracker.py stats, cost_tracker.py report and 4 more
cost_tracker.py stats --by sesion | did you mean session?
cost_tracker.py stats --line | --line is an option of stats.py
cost_tracker.py stats --by tagg | did you mean tag?
cost_tracker.py alert --yearly-limit 5 | see cost_tracker.py alert --help
cost_tracker.py alert --balance-blow 5 | did you mean --balance-below?
cost_tracker.py alert --webhok x | did you mean --webhook?
cost_tracker.py alert --last 5 | --last is an option of cost_tracker.py budget
cost_tracker.py keys lst | did you mean list?
cost_tracker.py keys remove | see cost_tracker.py keys --help
cost_tracker.py stast | did you mean stats?
cost_tracker.py credit | did you mean credits?
cost_tracker.py balance | see cost_tracker.py --help
cost_tracker.py --today | put the command first: cost_tracker.py stats --today
cost_tracker.py -q | -q is an option of cost_tracker.py collect, cost_tracker.py alert and cost_tracker.py sync
cost_tracker.py --line | --line is an option of stats.py
cost_tracker.py --unheard-of | see cost_tracker.py --help
"""


@pytest.mark.parametrize("line", MEANT.strip().splitlines())
def test_a_guess_is_a_close_misspelling_or_says_where_a_word_belongs(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    (program, *argv), _, hint = line.partition(" | ")[0].split(), None, line.partition(" | ")[2]
    main = {"stats.py": summary.main, "cost_tracker.py": tracker.main}[program]
    assert run(program, main, argv) == 2
    assert capsys.readouterr().err.endswith(f" -- {hint}\n")


def every_word() -> list[tuple[str, list[str]]]:
    """The words that each program, verb and option knows, to be mistaken for one another."""
    parsers = [summary.parser(), *map(tracker.verb_parser, tracker.VERBS)]
    known = [(parser.prog, parser.option_names) for parser in parsers]
    return [*known, ("cost_tracker.py", list(tracker.VERBS))]


def test_no_word_of_one_command_is_taken_for_a_misspelling_in_another() -> None:
    """A word that is spelt well is at most the beginning of another one."""
    words = {word for _, known in every_word() for word in known}
    taken = {
        (word, nearest(word, known, is_elsewhere=True))
        for _, known in every_word()
        for word in words
        if word not in known
    }
    assert len(taken) > 100
    assert [pair for pair in taken if not pair[1].startswith(pair[0]) and pair[1]] == []
