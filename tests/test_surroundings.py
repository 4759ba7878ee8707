"""Surroundings that are broken: too few files, a folder that is gone, odd proxies, no home, closed streams.

The programs end with their documented exit code and one sentence, never with a traceback and never with a password.
"""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.booking import Booked, Tracker, call
from tests.running import Ran, Stats
from tests.sandbox import MANAGEMENT_KEY, Sandbox

pytestmark = pytest.mark.skipif(os.name != "posix", reason="limits and folders are those of POSIX")

CODES = {0, 2, 3, 4, 5, 6}
CALL = ("call", "--model", "openai/gpt-5.2", "--prompt", "Hi")
VERBS: list[tuple[str, ...]] = [
    ("stats",), ("stats", "--json"), CALL, (*CALL, "--stream", "--max-cost", "0.1"), ("budget", "set", "--daily", "1"),
    ("report", "--html", "-"), ("doctor",), ("models",), ("sync",), ("credits", "--json"), ("keys", "list"), ("settle",),
    ("export", "--format", "csv"), ("alert", "--balance-below", "5"), ("reconcile",),
]  # fmt: skip
MANAGED = {"OPENROUTER_MGMT_KEY": MANAGEMENT_KEY, "PYTHONDONTWRITEBYTECODE": "1"}
Program = Callable[..., Ran]


@pytest.fixture
def tracker(home: Path, sandbox: Sandbox) -> Tracker:
    tracker = Tracker(home, sandbox.url, {**MANAGED})
    tracker.write(call())
    return tracker


def in_a_folder_that_is_gone() -> None:
    """Begin in a folder that somebody has deleted meanwhile."""
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)


def says_one_thing(ran: Ran) -> bool:
    """Whether a program ended as is documented, with at most one line of why."""
    problems = [line for line in ran.err.splitlines() if line.startswith(("stats.py: ", "cost_tracker.py: "))]
    assert ran.code in CODES and len(problems) <= 1 + (ran.code == 0) * 9, ran.err
    return "bug" not in ran.err


# -- files ---------------------------------------------------------------------------------------------------------------


# A few verbs at every limit, and all of them where some part of each still works.
@pytest.mark.parametrize(("files", "verbs"), [(5, VERBS[:3]), (6, VERBS[3:7]), (8, VERBS), (10, VERBS[7::3])])
def test_a_limit_of_open_files_that_is_too_low_is_named(
    files: int, verbs: list[tuple[str, ...]], tracker: Tracker, stats: Stats
) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    shown: list[Ran] = [tracker(*verb, preexec_fn=limit) for verb in (*verbs, ("stats", "--json"))]
    shown += [stats(*words, mgmt=MANAGEMENT_KEY, preexec_fn=limit) for words in ((), ("--json",), ("--tz", "Asia/Tokyo"))]
    assert all(map(says_one_thing, shown))
    for ran in shown:
        if ran.code == 2:
            assert "open files" in ran.err or "files are open" in ran.err or "TLS certificates" in ran.err, ran.err
    assert shown[-4].json["schema_version"] == shown[-2].json["schema_version"] == 1


# -- the current folder --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_a_current_folder_that_is_gone_does_not_matter_to_what_names_no_file_in_it(
    verb: tuple[str, ...], tracker: Tracker
) -> None:
    ran = tracker(*verb, preexec_fn=in_a_folder_that_is_gone)
    assert says_one_thing(ran) and "folder" not in ran.err


NAMES: dict[str, tuple[str, ...]] = {
    "a page": ("report", "--html", "x.html"),
    "a chart": ("report", "--svg", "x.svg"),
    "an export": ("export", "--format", "csv", "--output", "x.csv"),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_in_a_current_folder_that_is_gone_is_refused_in_one_sentence(name: str, tracker: Tracker) -> None:
    ran = tracker(*NAMES[name], preexec_fn=in_a_folder_that_is_gone)
    assert ran.code == 2 and "the current folder does not exist any more" in ran.error_line


@pytest.mark.parametrize("verb", [("stats",), ("budget",), CALL, ("doctor",), ("doctor", "--offline"), ("settle",)], ids=" ".join)
def test_a_ledger_in_a_current_folder_that_is_gone_is_refused_in_one_sentence(
    verb: tuple[str, ...], tracker: Tracker, sandbox: Sandbox
) -> None:
    ran = tracker(*verb, env={"OPENROUTER_USAGE_FILE": "x.jsonl"}, preexec_fn=in_a_folder_that_is_gone)
    assert ran.code == 2 and "which does not exist any more" in ran.error_line
    assert sandbox.calls("POST /chat/completions") == 0


def test_the_summary_needs_no_current_folder(stats: Stats) -> None:
    assert stats(preexec_fn=in_a_folder_that_is_gone, env={"OPENROUTER_USAGE_FILE": "x.jsonl"}).code == 0


# -- proxies and certificates --------------------------------------------------------------------------------------------

PASSWORD = "canary-pa55word"
PROXIES = [
    f"http://u:{PASSWORD}@[::zz", f"http://u:{PASSWORD}@[::zz]:1", f"http://u:{PASSWORD}@host:99999",
    f"http://u:{PASSWORD}@host:abc", f"u:{PASSWORD}@[", f"http://u:{PASSWORD}@", f"http://u:{PASSWORD}@:8080",
    f"socks5://u:{PASSWORD}@h:1", f"http://u:{PASSWORD}@h h:1", f"http://u:{PASSWORD}@é:1", "://", "http://",
    f"http://u:{PASSWORD}@{'a' * 300}:1", f"ftp://u:{PASSWORD}@h", f"http://u:{PASSWORD}@127.0.0.1:9",
]  # fmt: skip


@pytest.mark.parametrize("proxy", PROXIES, ids=lambda text: text.replace(PASSWORD, "pw")[:30])
def test_a_proxy_that_cannot_be_used_is_told_without_its_password(proxy: str, tracker: Tracker, stats: Stats) -> None:
    env: dict[str, Any] = {"OPENROUTER_BASE_URL": None, "HTTPS_PROXY": proxy, "https_proxy": proxy}
    shown: list[Ran] = [tracker(*verb, env=env, secrets=[PASSWORD]) for verb in (("models",), CALL, ("doctor",))]
    shown.append(stats(env=env, secrets=[PASSWORD]))
    for ran in shown:
        assert says_one_thing(ran) and ran.code in (2, 5), ran.err
        assert PASSWORD not in ran.out + ran.err
    assert b'"hold"' not in tracker.bytes or b'"release"' in tracker.bytes  # nothing was sent


@pytest.mark.parametrize("bundle", ["/nonexistent", "/dev/null", "/etc/passwd", "\x01", "a" * 5000], ids=lambda text: text[:12])
def test_certificates_that_cannot_be_read_are_told(bundle: str, tracker: Tracker, stats: Stats) -> None:
    env = {"REQUESTS_CA_BUNDLE": bundle, "OPENROUTER_BASE_URL": "https://127.0.0.1:9/api/v1"}
    for ran in (tracker(*CALL, env=env), tracker("models", env=env), stats(env=env)):
        assert says_one_thing(ran) and ran.code in (2, 5) and ran.err.count("\n") == 1, ran.err


# -- homes and streams ---------------------------------------------------------------------------------------------------

HOMES = {"none": None, "empty": "", "a file": "/etc/passwd", "missing": "{}/a/home", "not to be written": "/proc/1"}


@pytest.mark.parametrize("name", HOMES)
def test_a_home_that_is_none_is_told_or_done_without(name: str, tracker: Tracker, tmp_path: Path) -> None:
    home = HOMES[name] and HOMES[name].format(tmp_path)
    for verb in VERBS:
        assert says_one_thing(tracker(*verb, env={"HOME": home, "TMPDIR": str(tmp_path / "missing")}))


# All verbs where every stream is closed or the output is full; a part of them where one of several is.
CLOSED = [("<&-", VERBS[2::4]), (">&-", VERBS[::3]), ("2>&-", VERBS[1::3]), ("<&- >&- 2>&-", VERBS), (">/dev/full", VERBS)]


@pytest.mark.parametrize(("closed", "verbs"), CLOSED, ids=[closed for closed, _ in CLOSED])
def test_streams_that_are_closed_or_full_end_no_verb_in_a_traceback(
    closed: str, verbs: list[tuple[str, ...]], tracker: Tracker
) -> None:
    for verb in verbs:
        ran: Booked = tracker(*verb, shell=closed)
        assert says_one_thing(ran), verb
