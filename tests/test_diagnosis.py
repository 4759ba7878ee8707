"""The thinking behind doctor: what is hidden from others, which mount a path is on, which version is too old."""

from __future__ import annotations

import re

import pytest

from openrouter_usage.diagnosis import versions
from openrouter_usage.diagnosis.books import size
from openrouter_usage.diagnosis.files import Seen, modes
from openrouter_usage.diagnosis.finding import AREAS, Level, gravest, note, of_error, ok, ordered, problem, warning
from openrouter_usage.diagnosis.network import Asked, clock
from openrouter_usage.diagnosis.versions import FLOORS, SQLITE_FLOOR, UNKNOWN, Versions
from openrouter_usage.diagnosis.words import Words
from openrouter_usage.errors import Denied, LedgerError, SettingsError
from tests.running import ROOT

SHARED = Words(is_shared=True, homes=["/home/ann", "/home/ann/x", "/"], names=["ann"], hosts=["proxy.corp", "10.0.0.1:8080"],
               folders=["/", "/srv", "/srv/Acme Corp"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/ann/.openrouter/usage.jsonl", "~/.openrouter/usage.jsonl"),
        ("/home/ann", "~"),
        ("/home/ann/x/y", "~/y"),
        ("/home/annabel/y", "[hidden]/y"),
        ("in /home/ann.", "in ~."),
        ("/mnt/ann/usage.jsonl", "[hidden]/usage.jsonl"),
        ("/mnt/anna", "[hidden]/anna"),
        ("K (…7f3a, from /home/ann/c)", "K (…[hidden], from ~/c)"),
        ("call gen-1763-AbC_9 is", "call gen-[hidden] is"),
        ('it said "your key sk-or-v1-0e6...1c96 of Ann" and "x"', 'it said "[hidden]" and "[hidden]"'),
        ("proxy.corp let nothing through", "[hidden] let nothing through"),
        ("10.0.0.1:8080, my-proxy.corp", "[hidden], my-proxy.corp"),
        ("certificates in /srv/Acme Corp/tls/ca.pem cannot be read", "certificates in [hidden]/ca.pem cannot be read"),
        ("nothing may be written into /srv/Acme Corp", "nothing may be written into [hidden]"),
        ("in '/opt/acme/a b', (C:\\acme\\x\\y.pem)", "in '[hidden]/a b', ([hidden]/y.pem)"),
        ("/mnt/acme/ann/y.jsonl: no", "[hidden]/y.jsonl: no"),
        ("answer to /analytics/meta, /auth/key and /activity", "answer to /analytics/meta, /auth/key and /activity"),
        ("see https://openrouter.ai/settings/keys and ~/a/b/c", "see https://openrouter.ai/settings/keys and ~/a/b/c"),
        ("no key is found", "no key is found"),
        ("a\nb", "a\\nb"),
    ],
)
def test_what_is_somebodys_own_is_hidden_in_what_is_shared(text: str, shown: str) -> None:
    assert SHARED.text(text) == shown
    assert Words().text(text) == text


def test_paths_keys_labels_and_hosts_are_shown_to_their_owner_alone() -> None:
    for words, path, tail, label, host in (
        (Words(), "/home/ann/a", " …7f3a", "my key", "proxy.corp"),
        (SHARED, "~/a", "", "[hidden]", "[hidden]"),
    ):
        told = (words.path("/home/ann/a"), words.tail("7f3a"), words.label("my key"), words.host("proxy.corp"))
        assert told == (path, tail, label, host)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/srv/Acme Corp/a b.jsonl", "[hidden]/a b.jsonl"),
        ("/home/ann/work/a.jsonl", "~/work/a.jsonl"),
        ("/mnt/ann", "[hidden]/[hidden]"),
        ("/etc", "/etc"),
        ("/", "/"),
        ("D:\\Acme\\a.jsonl", "[hidden]/a.jsonl"),
    ],
)
def test_of_a_path_that_is_not_below_the_home_only_the_last_part_is_shared(path: str, shown: str) -> None:
    assert SHARED.path(path) == shown
    assert Words().path(path) == path


# -- versions --------------------------------------------------------------------------------------------------------


def test_the_floors_are_those_that_are_installed() -> None:
    lines = re.findall(r"^([\w-]+)>=([\d.]+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert {name: versions.numbers(version) for name, version in lines} == FLOORS


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
    found = versions.findings(Versions("1", "3.11", "/usr/bin/python3", "Linux", sqlite, packages, "/r.txt"), Words())
    assert [finding.level for finding in found] == levels
    assert found[-1].code == code
    assert SQLITE_FLOOR < (3, 40)


# -- findings --------------------------------------------------------------------------------------------------------


def test_the_first_problem_in_the_order_of_the_areas_is_the_gravest() -> None:
    told = [warning("versions", "w"), problem("ledger", "l", kind=LedgerError), ok("keys", "k"), note("files", "n")]
    told.append(of_error("keys", Denied("d", code="forbidden"), Words()))
    worst = gravest(ordered(told))
    assert worst and (worst.text, worst.exit_code, worst.code) == ("d", 4, "forbidden")
    assert gravest(told[:1]) is None
    assert [finding.area for finding in ordered(told)] == ["versions", "keys", "keys", "ledger", "files"]


def test_only_a_problem_has_an_exit_code() -> None:
    error = SettingsError("m", hint="h")
    for level in Level:
        found = of_error("keys", error, Words(), level)
        assert (found.exit_code, found.code) == ((2, "settings") if level is Level.PROBLEM else (0, ""))
    assert all(found.exit_code == 0 for found in (ok("keys", ""), note("keys", ""), warning("keys", "")))
    assert len(set(AREAS)) == len(AREAS)


def test_the_clock_is_judged_by_the_answer_that_was_quickest() -> None:
    slow, quick = Asked("GET /activity", ms=9_000, ahead_s=-121.0), Asked("GET /key", ms=10, ahead_s=0.5)
    for asked in ([slow, quick], [quick, slow]):
        assert [finding.level for finding in clock(asked)] == [Level.OK]
    assert [finding.level for finding in clock([slow])] == [Level.WARNING]
    assert clock([Asked("GET /key", ms=10)]) == []


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
    (found,) = modes([seen], Words())
    assert found.level.name.lower() == level and text in found.text
    assert ("chmod go-rwx '/a'" in found.remedy) is (seen.mode & 0o077 != 0 and level not in ("ok", "note"))


def test_many_files_make_one_line() -> None:
    (found,) = modes([Seen(f"/{name}", 0o644) for name in "abcde"], Words())
    assert found.text == "/a, /b, /c and 2 more can be read by others"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.0 KB"), (78_800_000_000, "78.8 GB")]
)
def test_bytes_are_written_the_way_people_say_them(count: int, text: str) -> None:
    assert size(count) == text
