"""doctor: every fault makes its finding and its exit code, nothing is changed, and no key is shown."""

from __future__ import annotations

import io
import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_of
from hypothesis import strategies as st

from openrouter_usage.cli.cost_tracker import main as tracker_main
from openrouter_usage.cli.program import run
from openrouter_usage.figures import doctor as judged
from openrouter_usage.figures import doctor as judged_ledger
from openrouter_usage.jobs import doctor as examine
from openrouter_usage.ledger import file as mounts
from openrouter_usage.ledger import spool
from openrouter_usage.ledger.ledger import Ledger
from tests import booking
from tests.booking import Booked, Tracker, TrackerAt, call, hold
from tests.controls import key_named, managing
from tests.proxy import Proxy
from tests.running import contents, copy_skill
from tests.sandbox import INFERENCE_KEY, MANAGEMENT_KEY, Account, Fault, Sandbox, Unreachable

UTC = timezone.utc
needs_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
POSIX = ("others can", "a pipe", "a link", "whose folder")
GONE: dict[str, str | None] = {"OPENROUTER_API_KEY": None, "OPENROUTER_MGMT_KEY": None}
ENDPOINTS = ["/key", "/key", "/credits", "/activity", "/analytics/meta", "/models"]


@dataclass
class Doctor:
    """The verb in this process, in a home with both keys; `ran.data` has the findings."""

    tracker: Tracker
    at: TrackerAt
    sandbox: Sandbox
    env: dict[str, str | None]

    @property
    def home(self) -> Path:
        """The home."""
        return self.tracker.home

    @property
    def account(self) -> Account:
        """The account that is asked about."""
        return self.sandbox.account

    def __call__(self, *argv: str, env: dict[str, str | None] | None = None) -> Booked:
        """Run it; whatever happens, its JSON is valid and its exit code the one that it says."""
        before = contents(self.home)
        ran = self.at(None, "doctor", "--timeout", "5", *argv, env={**self.env, **(env or {})})
        assert contents(self.home) == before, "doctor changed a file"
        if "--json" in argv:
            assert ran.data["exit_code"] == ran.code
            assert (ran.json["error"] is None) == (ran.code == 0)
        return ran


@pytest.fixture
def tracker(home: Path, sandbox: Sandbox) -> Tracker:
    (home / ".openrouter").mkdir(mode=0o700)
    return managing(home, sandbox.url)


@pytest.fixture
def doctor(
    tracker: Tracker, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Doctor:
    temporary = tracker.home.parent / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(examine, "_LOCK_WAIT_S", 0.02)
    return Doctor(tracker, TrackerAt(tracker, monkeypatch, capsys), sandbox, {"TMPDIR": str(temporary)})


def told(ran: Booked, level: str) -> list[str]:
    """What was found at a level, each with its area before it."""
    return [f"{one['area']}: {one['text']}" for one in ran.data["findings"] if one["level"] == level]


def one_of(ran: Booked, level: str, *words: str) -> dict[str, Any]:
    """The one finding at a level that has these words."""
    fits = [one for one in ran.data["findings"] if one["level"] == level and all(word in one["text"] for word in words)]
    assert len(fits) == 1, ran.data["findings"]
    return dict(fits[0])


def private(path: Path, content: str | bytes = "", mode: int = 0o600) -> Path:
    """Write a file with a mode."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path


def booked(doctor: Doctor, *lines: bytes, mode: int = 0o600) -> Path:
    """Write a ledger, and have its index made."""
    path = private(doctor.tracker.ledger, b"".join(lines or [call()]), mode)
    doctor.at(None, "stats", env=doctor.env)
    return path


# -- a home in order -------------------------------------------------------------------------------------------------


def test_in_a_home_in_order_nothing_is_found_and_every_endpoint_is_asked_once(
    tracker: Tracker, sandbox: Sandbox
) -> None:
    private(tracker.ledger, call())
    assert tracker("stats").code == 0
    before = contents(tracker.home)
    ran = tracker("doctor", "--json")
    assert (ran.code, ran.err, ran.json["kind"]) == (0, "", "checkup")
    assert (ran.data["worst"], ran.data["counts"]["warning"], ran.data["counts"]["problem"]) == ("note", 0, 0)
    assert told(ran, "note") == [f"network: OpenRouter is asked at {sandbox.url}, which is this machine, by "
                                 "OPENROUTER_BASE_URL"]  # fmt: skip
    assert sorted(request.path.removeprefix("/api/v1") for request in sandbox.requests) == sorted(ENDPOINTS)
    assert contents(tracker.home) == before


def test_each_endpoint_is_asked_with_the_key_that_it_needs(doctor: Doctor) -> None:
    ran = doctor("--json")
    assert one_of(ran, "ok", "GET /key, GET /credits, GET /activity, GET /analytics/meta, GET /models answered")
    asked = sorted((request.path.removeprefix("/api/v1"), request.headers.get("Authorization", "").removeprefix("Bearer "))
                   for request in doctor.sandbox.requests)  # fmt: skip
    managed = [(path, MANAGEMENT_KEY) for path in ("/key", "/credits", "/activity", "/analytics/meta")]
    assert asked == sorted([("/key", INFERENCE_KEY), ("/models", ""), *managed])


def test_what_each_key_is_and_where_it_is_from_is_told_with_its_last_four_characters(doctor: Doctor) -> None:
    path = private(doctor.home / ".openrouter" / "credentials.env", f"OPENROUTER_MGMT_KEY={MANAGEMENT_KEY}\n")
    ran = doctor("--json", env={"OPENROUTER_MGMT_KEY": None})
    label = key_named(doctor.account, "agent").label
    assert told(ran, "ok")[3:7] == [
        f"keys: OPENROUTER_API_KEY …{INFERENCE_KEY[-4:]}, from the environment",
        f"keys: OPENROUTER_MGMT_KEY …{MANAGEMENT_KEY[-4:]}, from {path}",
        f"keys: OPENROUTER_API_KEY …{INFERENCE_KEY[-4:]} is an ordinary (inference) key, labelled {label}",
        f"keys: OPENROUTER_MGMT_KEY …{MANAGEMENT_KEY[-4:]} is a management key, labelled "
        f"{key_named(doctor.account, 'watcher').label}",
    ]


def test_the_text_has_one_line_for_each_finding_below_the_count(doctor: Doctor) -> None:
    found, lines = doctor("--json").data["findings"], doctor().out.splitlines()
    assert lines[0] == "🩺 OpenRouter check-up: 1 note"
    signs = {"ok": "✔", "note": "ℹ", "warning": "⚠", "problem": "✘"}
    assert [line[0] for line in lines[1:-1]] == [signs[one["level"]] for one in found]
    assert lines[-1] == "Read this report before you share it: it shows paths, key labels and host names."


def test_offline_nothing_is_asked_and_the_rest_is_checked(doctor: Doctor) -> None:
    booked(doctor)
    ran = doctor("--offline", "--json")
    assert (ran.code, ran.data["offline"], doctor.sandbox.connections) == (0, True, 0)
    assert one_of(ran, "note", "not asked (--offline)")
    assert any(line.startswith("ledger: the ledger ") for line in told(ran, "ok"))


def test_versions_of_all_that_runs_are_told(doctor: Doctor) -> None:
    (line,) = [line for line in told(doctor("--offline", "--json"), "ok") if line.startswith("versions")]
    for name in ("openrouter-usage 0.", f"Python 3.{sys.version_info.minor}.", f"SQLite {sqlite3.sqlite_version}",
                 "requests 2.", "python-dotenv 1."):  # fmt: skip
        assert name in line


# -- faults ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A fault: how it is made, the finding that it makes, and the exit code."""

    name: str
    make: Callable[[Doctor], dict[str, str | None] | None]
    level: str
    words: tuple[str, ...]
    code: int = 0
    slug: str | None = None


def fault(path: str, *faults: Fault) -> Callable[[Doctor], None]:
    return lambda doctor: doctor.sandbox.misbehave(path, *faults)


def settings(text: str) -> Callable[[Doctor], None]:
    def make(doctor: Doctor) -> None:
        private(doctor.home / ".openrouter" / "settings.json", text)

    return make


def environ(**env: str | None) -> Callable[[Doctor], dict[str, str | None]]:
    return lambda doctor: env


def credentials(mode: int) -> Callable[[Doctor], dict[str, str | None]]:
    def make(doctor: Doctor) -> dict[str, str | None]:
        private(doctor.home / ".openrouter" / "credentials.env", f"OPENROUTER_API_KEY={INFERENCE_KEY}\n", mode)
        return {"OPENROUTER_API_KEY": None}

    return make


def clock_off(minutes: int) -> Callable[[Doctor], None]:
    def make(doctor: Doctor) -> None:
        doctor.account.now = lambda: datetime.now(UTC) + timedelta(minutes=minutes)

    return make


def ledger(*lines: bytes) -> Callable[[Doctor], None]:
    def make(doctor: Doctor) -> None:
        booked(doctor, *lines)

    return make


def corrupt_index(content: bytes) -> Callable[[Doctor], None]:
    def make(doctor: Doctor) -> None:
        path = booked(doctor).with_name("usage.jsonl.index")
        path.write_bytes(content or path.read_bytes()[:8192] + b"\xff" * 4096 + path.read_bytes()[12288:])

    return make


def odd(place: str, make: Callable[[Path], Any]) -> Callable[[Doctor], None]:
    """Put something into ~/.openrouter in the place of a file."""

    def run(doctor: Doctor) -> None:
        if place != "usage.jsonl":
            private(doctor.tracker.ledger, call())
        make(doctor.home / ".openrouter" / place)

    return run


def linked(path: Path) -> None:
    path.symlink_to(private(path.parent.parent / "elsewhere.jsonl", call()))


def waiting(doctor: Doctor) -> None:
    booked(doctor)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(doctor.env["TMPDIR"]))
        assert spool.save(doctor.tracker.ledger, call() + call())


def now_held(doctor: Doctor) -> None:
    booked(doctor, hold("aa", (datetime.now(UTC) - timedelta(minutes=1)).isoformat()))


def expiring(doctor: Doctor) -> None:
    key_named(doctor.account, "agent").expires_at = datetime.now(UTC) + timedelta(days=2)


def open_modes(doctor: Doctor) -> None:
    booked(doctor, mode=0o644)


NO_MGMT = {"OPENROUTER_MGMT_KEY": None}
DAY = (
    b'{"kind":"activity","account":"user-1","date":"2026-11-20","source":"/activity",'
    b'"synced_at":"2026-11-21T00:00:00Z","rows":[]}\n'
)
CASES = [
    # keys
    Case("no key", environ(**GONE), "problem", ("no OpenRouter key is found",), 2, "missing_key"),
    Case("a wrong key", environ(OPENROUTER_API_KEY="wrong-key-0000-abcd"), "problem",
         ("GET /key", "(401)", "…abcd"), 4, "unauthorized"),
    Case("no key can look like that", environ(OPENROUTER_API_KEY="two words of text"), "problem",
         ("does not look like a key",), 2, "settings"),
    Case("no management key", environ(**NO_MGMT), "note", ("OPENROUTER_MGMT_KEY is not set",)),
    Case("no ordinary key", environ(OPENROUTER_API_KEY=None), "note", ("OPENROUTER_API_KEY is not set",)),
    Case("a management key for calls", environ(OPENROUTER_API_KEY=MANAGEMENT_KEY, **NO_MGMT), "warning",
         ("OPENROUTER_API_KEY holds a management key",)),
    Case("an ordinary key to manage", environ(OPENROUTER_MGMT_KEY=INFERENCE_KEY), "problem",
         ("OPENROUTER_MGMT_KEY holds an ordinary key",), 2, "settings"),
    Case("keys that others can read", credentials(0o644), "warning", ("can be read by others, and keys are in it",)),
    Case("keys that others can change", credentials(0o666), "problem", ("others can change it",), 2, "settings"),
    Case("a key that expires", expiring, "warning", ("OPENROUTER_API_KEY", "expires")),
    # what OpenRouter answers
    Case("403 on /activity", fault("/activity", Fault.status(403)), "problem", ("GET /activity", "403"), 4, "forbidden"),
    Case("402 on /credits", fault("/credits", Fault.status(402)), "problem", ("GET /credits", "402"), 4, "payment"),
    Case("500", fault("/credits", Fault.status(500)), "problem", ("GET /credits", "500"), 5, "unreachable"),
    Case("429", fault("/activity", Fault.status(429)), "warning", ("GET /activity", "too many requests")),
    Case("no analytics", fault("/analytics/meta", Fault.status(404)), "note", ("GET /analytics/meta", "404")),
    Case("a page", fault("/key", Fault.html()), "problem", ("GET /key with OPENROUTER_API_KEY", "a web page"), 5,
         "bad_answer"),
    Case("another shape", fault("/key", Fault.raw(b"[]")), "problem", ("GET /key with OPENROUTER_MGMT_KEY",), 5,
         "bad_answer"),
    *(Case(f"another shape of {path}: {body!r}", fault(path, Fault.raw(body)), "problem", (f"GET {path}", "not understood"),
           5, "bad_answer")
      for path in ("/credits", "/activity", "/analytics/meta", "/models")
      for body in (b"null", b'{"data":7}', b'{"data":[7]}')),
    Case("a row of /activity that is none", fault("/activity", Fault.raw(b'{"data":[{"date":"2026-11-21"}]}')),
         "problem", ("GET /activity",), 5, "bad_answer"),
    Case("a redirect", fault("/models", Fault.redirect(302, "https://example.com/")), "problem", ("a redirect",), 5,
         "unreachable"),
    Case("a reset", fault("/models", Fault.reset()), "problem", ("GET /models", "broke"), 5, "unreachable"),
    Case("a clock behind", clock_off(5), "warning", ("clock is 5 min behind",)),
    Case("a clock ahead", clock_off(-61), "warning", ("clock is 61 min ahead of",)),
    Case("a clock a minute off", clock_off(1), "ok", ("clock is within",)),
    # the way there
    Case("a bad address", environ(OPENROUTER_BASE_URL="http://example.com"), "problem", ("only https is safe",), 2,
         "settings"),
    Case("no certificates", environ(REQUESTS_CA_BUNDLE="/nowhere/ca.pem"), "problem", ("/nowhere/ca.pem cannot",), 2,
         "settings"),
    Case("own certificates", environ(REQUESTS_CA_BUNDLE="/etc/ssl/certs"), "note", ("those in /etc/ssl/certs",)),
    # settings
    Case("settings that are no JSON", settings("{"), "problem", ("settings.json are not JSON",), 2, "settings"),
    Case("settings of another shape", settings("[]"), "problem", ("are not a JSON object",), 2, "settings"),
    Case("a budget that is no amount", settings('{"budget":{"daily":"ten"}}'), "problem", ("daily budget",), 2,
         "settings"),
    Case("a misspelt budget", settings('{"budget":{"dayly":"10"}}'), "problem", ("dayly",), 2, "settings"),
    Case("an alert that is no amount", settings('{"alerts":{"spike":"x"}}'), "problem", ("spike alert",), 2, "settings"),
    Case("an unknown alert", settings('{"alerts":{"moon":"1"}}'), "problem", ("moon",), 2, "settings"),
    Case("a webhook that is not safe", settings('{"alerts":{"webhook":"http://example.com/x"}}'), "problem",
         ("the webhook is not used",), 2, "settings"),
    Case("routing of another shape", settings('{"routing":[]}'), "problem", ('"routing"',), 2, "settings"),
    Case("a limit that is no amount", environ(OPENROUTER_DAILY_LIMIT="-1"), "problem", ("OPENROUTER_DAILY_LIMIT",), 2,
         "settings"),
    Case("settings that are a pipe", odd("settings.json", lambda path: os.mkfifo(path)), "problem", ("not a regular file",), 2, "settings"),
    Case("a budget", settings('{"budget":{"daily":"10","per_request":"0.5"}}'), "ok",
         ("the budget in force: $0.50 a call, $10.00 a UTC day",)),
    # the ledger
    Case("damaged lines", ledger(call(), b"{torn\n", call(), b"\xff\n"), "warning",
         ("2 damaged lines not counted", f"byte {len(call())} (", f"byte {2 * len(call()) + 6} (")),
    Case("a torn end", ledger(call(), b'{"ts":'), "warning", ("1 damaged line", f"byte {len(call())} (without an end)")),
    Case("many damaged lines", ledger(*[b"x\n"] * 12), "warning", ("12 damaged lines", "byte 8 (", "and 7 more")),
    Case("lines from elsewhere", ledger(call(), b'{"kind":"marker"}\n'), "note", ("1 line of a kind from elsewhere",)),
    Case("a repeated call", ledger(call(id="gen-a"), call(id="gen-a")), "note", ("1 line superseded",)),
    Case("unsettled calls", ledger(hold("aa", most="0.5"), hold("bb", most="0.7", generation="gen-b")), "warning",
         ("2 calls running or unsettled, $1.20 held; the largest is $0.70", "gen-b, since 2026-11-22 10:00 UTC")),
    Case("calls that hold nobody knows what", ledger(hold("aa", most=None), hold("bb", most=None)), "warning",
         ("2 calls running or unsettled, held: not known; the oldest is openai/gpt-5.2, aa, since 2026-11-22",)),
    Case("calls of which one holds nobody knows what", ledger(hold("aa", most=None), hold("bb", most="0.1234567")),
         "warning", ("2 calls running or unsettled, $0.123457 held for 1 of them, unknown for the rest; "
                     "the largest known is $0.123457, openai/gpt-5.2, bb",)),
    Case("a running call", now_held, "note", ("1 call running or unsettled",)),
    Case("calls in the spool", waiting, "warning", ("2 lines (", "in the spool, not yet in the ledger")),
    Case("no index", odd("other", lambda path: None), "note", ("has no index yet",)),
    Case("an index of zeros", corrupt_index(b"\0" * 5000), "warning", ("the index (5.0 KB) is damaged",)),
    Case("an index that is a text", corrupt_index(b"no database" * 999), "warning", ("file is not a database",)),
    Case("a damaged page", corrupt_index(b""), "warning", ("the index (", "is damaged")),
    Case("an index that is a pipe", odd("usage.jsonl.index", lambda path: os.mkfifo(path)), "warning", ("it is not a regular file",)),
    Case("an index that is a folder", odd("usage.jsonl.index", os.mkdir), "problem", ("the index cannot be used",), 6,
         "ledger"),
    Case("a ledger that is a link", odd("usage.jsonl", linked), "problem", ("is not a regular file",), 6, "ledger"),
    Case("a ledger that is a pipe", odd("usage.jsonl", lambda path: os.mkfifo(path)), "problem", ("is not a regular file",), 6, "ledger"),
    Case("a ledger that is a folder", odd("usage.jsonl", os.mkdir), "problem", ("is not a regular file",), 6, "ledger"),
    Case("a ledger whose folder is a file", environ(OPENROUTER_USAGE_FILE="/etc/passwd/usage.jsonl"), "problem",
         ("/etc/passwd/usage.jsonl",), 6, "ledger"),
    # the archive
    Case("an archive that is a pipe", odd("activity.jsonl", lambda path: os.mkfifo(path)), "problem",
         ("the archive", "is not a regular file"), 6, "ledger"),
    Case("an archive that is a folder", odd("activity.jsonl", os.mkdir), "problem",
         ("the archive", "is not a regular file"), 6, "ledger"),
    Case("damaged lines of the archive", odd("activity.jsonl", lambda path: private(path, DAY + b"x\n" + DAY[:-9])),
         "warning", ("2 damaged lines of the archive", f"byte {len(DAY)} (not JSON)", f"byte {len(DAY) + 2} (without")),
    Case("lines from elsewhere in the archive", odd("activity.jsonl", lambda path: private(path, b'{"kind":"x"}\n')),
         "note", ("1 line of a kind from elsewhere in the archive",)),
    Case("an archive", odd("activity.jsonl", lambda path: private(path, DAY)), "ok", ("activity.jsonl has 1 day",)),
    # files
    Case("a ledger that others can read", open_modes, "warning", ("usage.jsonl can be read by others",)),
    Case("no home", environ(HOME=""), "problem", ("no home folder to keep the ledger",), 2, "settings"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fault_makes_its_finding_and_its_exit_code(case: Case, doctor: Doctor) -> None:
    if os.name != "posix" and any(words in case.name for words in POSIX):
        pytest.skip("modes, pipes and links as POSIX has them")
    env = case.make(doctor) or {}
    ran = doctor("--json", env=env)
    finding = one_of(ran, case.level, *case.words)
    assert (ran.code, finding["code"]) == (case.code, case.slug), told(ran, "problem")
    if case.code:
        assert ran.json["error"]["code"] == case.slug
        assert ran.json["error"]["message"] in ran.error_line
    else:
        assert ran.err == ""


def test_the_first_of_the_gravest_gives_the_exit_code_and_the_line_on_standard_error(doctor: Doctor) -> None:
    odd("usage.jsonl", linked)(doctor)
    ran = doctor("--json", env={"OPENROUTER_API_KEY": "wrong-key-0000-abcd"})
    assert [one["code"] for one in ran.data["findings"] if one["level"] == "problem"] == ["unauthorized", "ledger"]
    assert ran.code == 4
    assert ran.error_line.startswith("cost_tracker.py doctor: 2 problems: keys: GET /key ")
    settings("{")(doctor)
    assert doctor("--json").code == 2


def test_where_nobody_answers_it_is_said_once(doctor: Doctor) -> None:
    with Unreachable() as nowhere:
        ran = doctor("--json", env={"OPENROUTER_BASE_URL": nowhere.url})
    assert (ran.code, ran.json["error"]["code"]) == (5, "unreachable")
    assert [line for line in told(ran, "problem") if "OpenRouter did not answer at all" in line] == told(ran, "problem")
    assert not any("answered" in line for line in told(ran, "ok"))


def test_an_answer_that_does_not_come_ends_with_the_time_limit(doctor: Doctor) -> None:
    doctor.sandbox.misbehave("/models", Fault.hang())
    ran = doctor("--timeout", "1", "--json")
    assert ran.code == 5
    assert one_of(ran, "problem", "GET /models", "no complete answer", "within 1 s")["code"] == "timeout"
    assert one_of(ran, "ok", "GET /key, GET /credits, GET /activity, GET /analytics/meta answered")


def test_an_answer_that_is_slow_is_a_warning(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judged, "SLOW_MS", 150)
    doctor.sandbox.misbehave("/credits", Fault.delay(0.2))
    ran = doctor("--json")
    took = re.search(r"answered in ([\d,]+) ms, which is slow", one_of(ran, "warning", "GET /credits")["text"])
    assert ran.code == 0 and took and int(took[1].replace(",", "")) >= 200


def test_a_question_is_asked_once_so_that_no_second_try_hides_a_fault(doctor: Doctor) -> None:
    doctor.sandbox.misbehave("/activity", Fault.status(503), times=1)
    assert doctor("--json").code == 5
    assert doctor.sandbox.calls("/activity") == 1


def test_where_only_the_older_path_is_known_that_one_is_asked(doctor: Doctor) -> None:
    doctor.account.key_paths = ("/auth/key",)
    assert doctor("--json").code == 0


def test_a_management_key_in_the_wrong_place_is_asked_what_only_such_a_key_may(doctor: Doctor) -> None:
    ran = doctor("--json", env={"OPENROUTER_API_KEY": MANAGEMENT_KEY, "OPENROUTER_MGMT_KEY": None})
    assert one_of(ran, "ok", "GET /activity", "answered")
    assert doctor.sandbox.calls("/activity") == 1


def test_without_a_management_key_what_needs_one_is_not_asked(doctor: Doctor) -> None:
    ran = doctor("--json", env={"OPENROUTER_MGMT_KEY": None})
    assert one_of(ran, "note", "not asked: GET /credits, GET /activity, GET /analytics/meta; a management key")
    assert doctor.sandbox.calls("/credits") == 0


def test_a_key_that_another_one_stands_before_is_named(doctor: Doctor) -> None:
    path = private(doctor.home / ".openrouter" / "credentials.env", "OPENROUTER_API_KEY=another-key-5678\n")
    ran = doctor("--json", "--offline")
    assert one_of(ran, "note", f"OPENROUTER_API_KEY …5678 from {path} is not used for another one is stronger")
    private(path, f"OPENROUTER_API_KEY={INFERENCE_KEY}\n")
    assert "is not used" not in doctor("--offline").out


def test_a_management_key_is_not_sent_to_another_host_and_that_is_said(doctor: Doctor) -> None:
    ran = doctor("--json", "--offline", env={"OPENROUTER_BASE_URL": "https://gateway.example/api"})
    assert one_of(ran, "warning", "OPENROUTER_MGMT_KEY is not sent to gateway.example")


def test_the_proxy_in_force_is_named_without_its_password(doctor: Doctor) -> None:
    with Proxy(answer=b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n") as proxy:
        url = proxy.url.replace("//", "//someone:pass-canary@")
        env: dict[str, str | None] = {"HTTPS_PROXY": url, "OPENROUTER_BASE_URL": None}
        ran = doctor("--json", env=env)
    assert ran.code == 5 and "pass-canary" not in ran.out + ran.err
    assert one_of(ran, "note", f"requests go through the proxy 127.0.0.1:{proxy.port}")
    assert one_of(ran, "problem", "the proxy 127.0.0.1 did not let the request through")["code"] == "proxy"


# -- the ledger, looked at and left alone ----------------------------------------------------------------------------


def test_looking_at_a_ledger_changes_nothing_and_finds_what_a_report_would(doctor: Doctor) -> None:
    lines = [call(id="gen-a"), b"{torn\n", hold("aa"), b'{"kind":"x"}\n', call(id="gen-a")]
    path = private(doctor.tracker.ledger, b"".join(lines))
    looked = Ledger(path).health(untouched=True)
    assert sorted(path.parent.iterdir()) == [path]
    made = Ledger(path)
    assert made.health() == looked
    made.close()
    before = {file: file.read_bytes() for file in path.parent.iterdir()}
    with path.open("ab") as file:
        file.write(hold("bb"))
    before[path] = path.read_bytes()
    assert [hold.id for hold in Ledger(path).health(untouched=True).holds] == ["aa", "bb"]
    assert {file: file.read_bytes() for file in path.parent.iterdir()} == before


def test_looking_leaves_an_index_that_is_in_use_as_it_is(doctor: Doctor) -> None:
    path = booked(doctor)
    ledger = Ledger(path)
    ledger.totals()
    names = sorted(file.name for file in path.parent.iterdir())
    assert "usage.jsonl.index-wal" in names
    assert one_of(doctor("--offline", "--json"), "ok", "the index is readable")
    assert sorted(file.name for file in path.parent.iterdir()) == names
    ledger.close()


def test_what_waits_in_the_spool_still_waits_after_a_look(doctor: Doctor) -> None:
    waiting(doctor)
    temporary = Path(str(doctor.env["TMPDIR"]))
    before = contents(temporary)
    assert "in the spool" in doctor().out
    assert contents(temporary) == before and len(before) == 1


def test_a_damaged_index_is_made_anew_by_the_report_that_the_finding_names(doctor: Doctor) -> None:
    corrupt_index(b"\0" * 5000)(doctor)
    assert "the next report rebuilds it" in doctor("--offline").out
    doctor.at(None, "stats", env=doctor.env)
    assert one_of(doctor("--offline", "--json"), "ok", "the index is readable")


def test_a_ledger_that_somebody_does_not_let_go_of_is_a_problem(doctor: Doctor) -> None:
    fcntl = pytest.importorskip("fcntl")
    with booked(doctor).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        ran = doctor("--json", "--offline")
    assert (ran.code, ran.json["error"]["code"]) == (6, "locked")
    assert one_of(ran, "problem", "is locked")


@needs_root
def test_files_of_another_user_are_named(doctor: Doctor) -> None:
    path = private(doctor.home / ".openrouter" / "alerts.json", "{}")
    os.chown(path, 12345, 12345)
    assert one_of(doctor("--json", "--offline"), "warning", f"{path} belongs to another user")
    os.chown(booked(doctor), 12345, 12345)
    assert doctor("--json", "--offline").code == 6


@pytest.mark.parametrize(
    ("kind", "level"), [("nfs4", "warning"), ("fuse.sshfs", "warning"), ("cifs", "warning"), ("ext4", ""), ("fuseblk", "")]
)
def test_a_ledger_on_a_network_folder_is_warned_of_once(
    kind: str, level: str, doctor: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    booked(doctor)
    point = os.path.realpath(doctor.home)
    table = private(tmp_path / "mountinfo", f"22 1 254:0 / / rw - ext4 /dev/sda rw\n36 22 0:31 / {point} rw - {kind} x rw\n")
    monkeypatch.setattr(mounts, "MOUNTS", table)
    ran = doctor("--json", "--offline")
    warned = [line for line in told(ran, "warning") if "network or user-space file system" in line]
    assert (ran.code, len(warned)) == (0, 1 if level else 0)


@pytest.mark.parametrize(("name", "level", "code"), [("LITTLE_ROOM", "warning", 0), ("NO_ROOM", "problem", 6)])
def test_a_disk_with_little_room_is_told(
    name: str, level: str, code: int, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judged_ledger, name, 10**18)
    ran = doctor("--json", "--offline")
    assert ran.code == code
    assert re.search(r"^[\d.]+ [KMGT]B are free", one_of(ran, level, "are free where the ledger is")["text"])


# -- the skill folder ------------------------------------------------------------------------------------------------


def test_keys_in_the_skill_folder_are_warned_of_with_the_commands_that_move_them(
    tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(booking, "TRACKER", copy_skill(tmp_path / "skill").with_name("cost_tracker.py"))
    path = private(tmp_path / "skill" / "credentials.env", f"OPENROUTER_API_KEY={INFERENCE_KEY}\n", 0o644)
    ran = tracker("doctor", "--json", env={"OPENROUTER_API_KEY": None}, secrets=[INFERENCE_KEY])
    finding = one_of(ran, "warning", f"{path} is in the skill folder: the next update deletes it")
    new = tracker.home / ".openrouter" / "credentials.env"
    commands = f"mkdir -p -m 700 {new.parent} && mv -n {path} {new} && chmod 600 {new}"
    assert (ran.code, finding["remedy"]) == (0, f"run: {commands}")
    assert one_of(ran, "warning", f"{path} can be read by others, and keys are in it")
    assert f"OPENROUTER_API_KEY …{INFERENCE_KEY[-4:]}, from {path}" in ran.out.encode().decode("unicode_escape")


# -- nothing keeps it from answering ---------------------------------------------------------------------------------


def test_a_check_that_fails_itself_is_a_finding_and_the_others_are_made(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(skill_folder: Path) -> None:
        raise RuntimeError("words that may hold anything")

    doctor("--offline")
    monkeypatch.setattr(examine, "look_at_versions", broken)
    code = run("cost_tracker.py", tracker_main, ["doctor", "--offline", "--json"])
    captured = capsys.readouterr()
    ran = Booked(code, captured.out, captured.err)
    assert ran.code == ran.data["exit_code"] == 1 and ran.json["error"]["code"] == "bug"
    assert re.search(r"a bug: RuntimeError in test_doctor\.py:\d+$", one_of(ran, "problem", "itself failed")["text"])
    assert "words that may hold anything" not in ran.out + ran.err
    assert {one["area"] for one in ran.data["findings"]} >= {"settings", "keys", "ledger", "files"}


def test_a_check_that_never_ends_is_a_finding(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(examine, "_LONGEST_LOOK_S", 3.0)
    monkeypatch.setattr(examine, "look_at_files", lambda *places: released.wait(60) and [])
    ran = doctor("--json", "--offline")
    released.set()
    assert (ran.code, told(ran, "problem")) == (6, ["files: this check did not end within 3 s"])


def test_without_packages_the_rest_is_checked_and_the_missing_ones_are_named(tracker: Tracker) -> None:
    command = [sys.executable, "-S", "-I", str(booking.TRACKER), "doctor", "--json"]
    done = subprocess.run(command, env=tracker.environment({}), capture_output=True, timeout=60, check=False)
    ran = Booked(done.returncode, done.stdout.decode(), done.stderr.decode())
    assert (ran.code, ran.json["error"]["code"]) == (2, "missing_package")
    assert told(ran, "problem")[:2] == [
        "versions: the Python package requests is missing",
        "versions: the Python package python-dotenv is missing",
    ]
    assert one_of(ran, "problem", "not checked: the Python package")
    assert INFERENCE_KEY not in ran.out + ran.err
    assert any(line.startswith("ledger: ") for line in told(ran, "ok"))


PLACES = ("credentials.env", "settings.json", "usage.jsonl", "usage.jsonl.index", "usage.jsonl.index-wal", "usage.jsonl.1",
          "alerts.json", "cache", "keys", "settings.lock", "audit.jsonl")  # fmt: skip
VARIABLES = ("OPENROUTER_API_KEY", "OPENROUTER_MGMT_KEY", "OPENROUTER_USAGE_FILE", "OPENROUTER_DAILY_LIMIT",
             "OPENROUTER_BASE_URL", "OPENROUTER_ALERT_WEBHOOK", "HTTPS_PROXY", "NO_PROXY", "TMPDIR", "HOME", "USER",
             "REQUESTS_CA_BUNDLE", "COLUMNS")  # fmt: skip
PUT: dict[str, Callable[[Path], Any]] = {
    "folder": lambda path: path.mkdir(),
    "pipe": lambda path: os.mkfifo(path),
    "loop": lambda path: path.symlink_to(path),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "dangling": lambda path: path.symlink_to("/nowhere/at/all"),
    "unreadable": lambda path: private(path, "{}", 0),
    "huge": lambda path: os.truncate(private(path), 10**9),
}
TEXTS = st.one_of(
    st.binary(max_size=200),
    st.sampled_from([b"", b"{}", b"[]", b"null", b"[" * 5000, b'{"budget":1,"alerts":[]}', b'{"alerts":{"webhook":5}}',
                     b'{"budget":{"daily":1e999999999}}', b"SQLite format 3\0" + b"\0" * 4096, call(), call()[:-9],
                     b"OPENROUTER_API_KEY='", b"OPENROUTER_MGMT_KEY=" + b"x" * 70_000]),
)  # fmt: skip
VALUES = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30),
    st.sampled_from(["", "/", ".", "//", "/dev/null", "/dev/zero", "/nowhere", "~", "~nobody", "http://[", "https://a:b@c",
                     "http://127.0.0.1:9", "\x1b[2J", "9" * 5000, "1e999999999", "nan", "*", "a" * 300]),
)  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="pipes, links and devices as POSIX has them")
@settings_of(max_examples=25, suppress_health_check=list(HealthCheck))
@given(
    files_put=st.dictionaries(st.sampled_from(PLACES), st.one_of(TEXTS, st.sampled_from(sorted(PUT))), max_size=4),
    env=st.dictionaries(st.sampled_from(VARIABLES), VALUES, max_size=3),
)
def test_whatever_is_broken_there_is_an_answer(
    files_put: dict[str, bytes | str], env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("broken")
    (home / ".openrouter").mkdir(mode=0o700)
    for name, content in files_put.items():
        path = home / ".openrouter" / name
        PUT[content](path) if isinstance(content, str) else private(path, content)
    wanted = {**Tracker(home).environment({}), "TMPDIR": str(home), **env}
    out, err = io.StringIO(), io.StringIO()
    with mock.patch.dict(os.environ, wanted, clear=True), redirect_stdout(out), redirect_stderr(err):
        code = run("cost_tracker.py", tracker_main, ["doctor", "--offline", "--json"])
    ran = Booked(code, out.getvalue(), err.getvalue())
    assert code in (0, 2, 6), ran.err or ran.data
    assert ran.data["exit_code"] == code
    assert ran.err.count("\n") == (code != 0)


def test_a_terminal_without_these_signs_gets_plain_ones(tracker: Tracker) -> None:
    ran = tracker("doctor", "--offline", env={"PYTHONIOENCODING": "ascii", "OPENROUTER_DAILY_LIMIT": "x"})
    assert ran.code == 2
    assert ran.out.splitlines()[0].startswith("+ OpenRouter check-up: 1 problem, ")
    assert {line[0] for line in ran.out.splitlines()[:-1]} == {"+", "x", "i"}


def test_a_closed_output_is_no_success(tracker: Tracker) -> None:
    assert tracker("doctor", "--offline", shell=">&-").code == 2


# -- what is shown ---------------------------------------------------------------------------------------------------


def worst_case(doctor: Doctor) -> None:
    """A home in which everything is named in a finding."""
    waiting(doctor)
    lines = [call(), b"{torn\n", hold("aa", most="0.5"), b'{"kind":"marker"}\n']
    private(doctor.tracker.ledger, b"".join(lines), 0o666)
    path = private(doctor.home / ".openrouter" / "credentials.env", "OPENROUTER_API_KEY=another-key-5678\n", 0o644)
    (path.parent / "linked").symlink_to(path)
    expiring(doctor)
    for name in ("/credits", "/activity"):
        doctor.sandbox.misbehave(name, Fault.status(403, message="words of the server"))
    doctor.sandbox.misbehave("/models", Fault.status(401, message="words of the server"))


SHOWN: list[tuple[str, Callable[[Doctor], Any], dict[str, str | None]]] = [
    ("all is well", lambda doctor: None, {}),
    ("much is wrong", worst_case, {}),
    ("a server that says the key", fault("/credits", Fault.status(403, message=f"no {MANAGEMENT_KEY}")), {}),
    ("wrong keys", worst_case, {"OPENROUTER_API_KEY": "wrong-key-0000-7f3a", "OPENROUTER_MGMT_KEY": "wrong-key-11-9b2c"}),
    ("keys from a file", credentials(0o600), {"OPENROUTER_API_KEY": None}),
    ("a file that is refused", credentials(0o666), {"OPENROUTER_API_KEY": None}),
    ("no key can look like that", lambda doctor: None, {"OPENROUTER_API_KEY": "wrong key 0000 7f3a"}),
    ("another host", worst_case, {"OPENROUTER_BASE_URL": "http://localhost:9"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "make", "env"), SHOWN, ids=[name for name, _, _ in SHOWN])
def test_of_a_key_no_more_than_the_last_four_characters_is_shown(
    name: str, make: Callable[[Doctor], Any], env: dict[str, str | None], doctor: Doctor
) -> None:
    make(doctor)
    keys = {INFERENCE_KEY, MANAGEMENT_KEY, "another-key-5678", *(value for value in env.values() if value)}
    for face in ((), ("--json",)):
        ran = doctor(*face, env=env)
        shown = (ran.out + ran.err).encode().decode("unicode_escape", "replace")
        assert [key for key in keys if "key" in key and key[-5:] in shown] == []


@pytest.mark.parametrize("name", ["odd\nname", "\x1b[2Jodd", "\u202eodd"])
def test_a_path_that_holds_what_a_terminal_would_obey_is_shown_on_one_line(name: str, doctor: Doctor) -> None:
    private(doctor.home / ".openrouter" / name, "x", 0o644)
    (doctor.home / ".openrouter" / f"{name} link").symlink_to("x")
    env: dict[str, str | None] = {
        "OPENROUTER_USAGE_FILE": f"{doctor.home}/{name}/usage.jsonl", "REQUESTS_CA_BUNDLE": f"/nowhere/{name}",
    }  # fmt: skip
    ran = doctor(env=env)
    assert all(line.isprintable() for line in ran.out.splitlines()) and name not in ran.out
    assert {line[0] for line in ran.out.splitlines()[:-1]} <= set("🩺✔ℹ⚠✘")


def test_all_questions_are_on_their_way_at_the_same_time(doctor: Doctor) -> None:
    sandbox = doctor.sandbox
    everyone = Fault("wait", before=lambda wire: sandbox.wait_until(lambda: len(sandbox.requests) >= 6, timeout=4))
    sandbox.misbehave("*", everyone)
    assert doctor("--json").code == 0
