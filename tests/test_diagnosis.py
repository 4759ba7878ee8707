"""The thinking behind doctor: how grave a finding is, which version is too old, who may read a file."""

from __future__ import annotations

import re
import shlex

import pytest

from openrouter_usage.errors import Denied, LedgerError, SettingsError
from openrouter_usage.figures.doctor import (
    AREAS,
    FLOORS,
    SQLITE_FLOOR,
    UNKNOWN,
    Answer,
    Level,
    Seen,
    clock_findings,
    gravest,
    mode_findings,
    note,
    numbers,
    of_error,
    ok,
    ordered,
    problem,
    size,
    version_findings,
    warning,
)
from tests.running import ROOT

# -- versions --------------------------------------------------------------------------------------------------------


def test_the_floors_are_those_that_are_installed() -> None:
    lines = re.findall(r"^([\w-]+)>=([\d.]+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert {name: numbers(version) for name, version in lines} == FLOORS


@pytest.mark.parametrize(
    ("packages", "sqlite", "levels", "code"),
    [
        ((("requests", "2.31.0"), ("python-dotenv", "1.0.0")), "3.24.0", [Level.OK], ""),
        ((("requests", UNKNOWN), ("python-dotenv", UNKNOWN)), "3.40.1", [Level.OK], ""),
        ((("requests", "2.9.9"), ("python-dotenv", "0.21.1")), "3.40.1", [Level.OK, Level.WARNING, Level.WARNING], ""),
        ((("requests", ""), ("python-dotenv", "1.2.3rc1")), "3.40.1", [Level.OK, Level.PROBLEM], "missing_package"),
        ((), "3.8.11", [Level.OK, Level.PROBLEM], "ledger"),
    ],
)
def test_what_is_missing_is_a_problem_and_what_is_old_a_warning(
    packages: tuple[tuple[str, str], ...], sqlite: str, levels: list[Level], code: str
) -> None:
    found = version_findings(dict(packages), sqlite=sqlite, rest="Python 3.11", install="run: pip install")
    assert [finding.level for finding in found] == levels
    assert found[-1].code == code
    assert SQLITE_FLOOR < (3, 40)


# -- findings --------------------------------------------------------------------------------------------------------


def test_the_first_problem_in_the_order_of_the_areas_is_the_gravest() -> None:
    told = [warning("versions", "w"), problem("ledger", "l", kind=LedgerError), ok("keys", "k"), note("files", "n")]
    told.append(of_error("keys", Denied("d", code="forbidden")))
    worst = gravest(ordered(told))
    assert worst and (worst.text, worst.exit_code, worst.code) == ("d", 4, "forbidden")
    assert gravest(told[:1]) is None
    assert [finding.area for finding in ordered(told)] == ["versions", "keys", "keys", "ledger", "files"]


def test_only_a_problem_has_an_exit_code() -> None:
    error = SettingsError("m", hint="h")
    for level in Level:
        found = of_error("keys", error, level)
        assert (found.exit_code, found.code) == ((2, "settings") if level is Level.PROBLEM else (0, ""))
    assert all(found.exit_code == 0 for found in (ok("keys", ""), note("keys", ""), warning("keys", "")))
    assert len(set(AREAS)) == len(AREAS)


def test_the_clock_is_judged_by_the_answer_that_was_quickest() -> None:
    slow, quick = Answer("GET /activity", ms=9_000, ahead_s=-121.0), Answer("GET /key", ms=10, ahead_s=0.5)
    for asked in ([slow, quick], [quick, slow]):
        assert [finding.level for finding in clock_findings(asked)] == [Level.OK]
    assert [finding.level for finding in clock_findings([slow])] == [Level.WARNING]
    assert clock_findings([Answer("GET /key", ms=10)]) == []


MODES = [
    (Seen("/a", 0o600), "ok", ""),
    (Seen("/a", 0o700), "ok", ""),
    (Seen("/a", 0o755), "warning", "can be read by others"),
    (Seen("/a", 0o604), "warning", "can be read by others"),
    (Seen("/a", 0o710), "warning", "can be read by others"),
    (Seen("/a", 0o620), "warning", "can be changed by others"),
    (Seen("/a", 0o602, is_secret=True), "problem", "can be changed by others, and keys are in it"),
    (Seen("/a", 0o600, is_ours=False, is_secret=True), "problem", "belongs to another user, and keys are in it"),
    (Seen("/a", 0o640, is_secret=True), "warning", "can be read by others, and keys are in it"),
    (Seen("/a", 0o600, is_ours=False), "warning", "belongs to another user"),
    (Seen("/a", 0o777, is_link=True), "note", "is a link"),
]


@pytest.mark.parametrize(("seen", "level", "text"), MODES)
def test_who_else_may_read_or_change_a_file_decides(seen: Seen, level: str, text: str) -> None:
    (found,) = mode_findings([seen])
    assert found.level.name.lower() == level and text in found.text
    assert ("chmod go-rwx /a" in found.remedy) is (seen.mode & 0o077 != 0 and level not in ("ok", "note"))


def test_paths_are_quoted_for_the_shell() -> None:
    (found,) = mode_findings([Seen("/with a blank", 0o644), Seen("/it's", 0o644)])
    assert shlex.split(found.remedy.removeprefix("run: ")) == ["chmod", "go-rwx", "/with a blank", "/it's"]


def test_many_files_make_one_line() -> None:
    (found,) = mode_findings([Seen(f"/{name}", 0o644) for name in "abcde"])
    assert found.text == "/a, /b, /c and 2 more can be read by others"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.0 KB"), (78_800_000_000, "78.8 GB")]
)
def test_bytes_are_written_the_way_people_say_them(count: int, text: str) -> None:
    assert size(count) == text
