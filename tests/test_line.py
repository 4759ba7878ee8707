"""The line of a status bar comes at once, from the last figures; one process at a time renews them beside it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest

from tests.running import STATS, Stats
from tests.sandbox import DEMO_KEY, DEMO_MGMT_KEY, Fault, Sandbox, demo_account

KEYS = {"key": DEMO_KEY, "mgmt": DEMO_MGMT_KEY}
LEFT = "$1.90 left"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(demo_account()) as running:
        yield running


@pytest.fixture
def bar(tmp_path: Path, sandbox: Sandbox) -> Stats:
    """A home in which the line was shown once."""
    home = tmp_path / "home"
    home.mkdir()
    stats = Stats(home, sandbox.url)
    assert LEFT in stats("--line", **KEYS).out
    return stats


def cached(stats: Stats, suffix: str) -> Path:
    """The snapshot of a home, or the lock beside it."""
    (path,) = (stats.home / ".openrouter" / "cache").glob(f"summary-*.{suffix}")
    return path


def grow_old(stats: Stats, age: timedelta, *, may_ask: bool = True) -> None:
    """Let the figures be so old, and the last question more than a minute ago."""
    snapshot, lock = cached(stats, "json"), cached(stats, "lock")
    kept = snapshot.read_text(encoding="utf-8")
    moment = (datetime.now(timezone.utc) - age).isoformat()
    snapshot.write_text(re.sub(r'"taken_at": ?"[^"]*"', f'"taken_at": "{moment}"', kept), encoding="utf-8")
    if may_ask:
        os.utime(lock, (time.time() - 61,) * 2)


def wait_for(sandbox: Sandbox, calls: int) -> None:
    deadline = time.monotonic() + 30
    while sandbox.calls("/key") < calls and time.monotonic() < deadline:
        time.sleep(0.02)


def test_many_lines_at_once_show_old_figures_and_ask_once(bar: Stats, sandbox: Sandbox) -> None:
    sandbox.misbehave("*", Fault.delay(3))
    grow_old(bar, timedelta(minutes=12))
    running = [bar.start("--line", **KEYS) for _ in range(8)]
    shown = [each.communicate(timeout=60)[0].decode() for each in running]
    assert all(LEFT in line and line.endswith(" · 12 min old\n") for line in shown), shown
    wait_for(sandbox, 2)
    # The question takes longer than a minute now: nobody asks beside it. Then it is over, and the minute is not.
    os.utime(cached(bar, "lock"), (time.time() - 61,) * 2)
    assert "12 min old" in bar("--line", **KEYS).out
    deadline = time.monotonic() + 30
    while "old" in bar("--line", **KEYS).out and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "old" not in bar("--line", **KEYS).out
    assert sandbox.calls("/key") == 2


def test_a_server_that_is_gone_changes_nothing_but_the_age(bar: Stats, sandbox: Sandbox) -> None:
    bar.url = "http://127.0.0.1:9/api/v1"
    other = bar("--line", **KEYS)
    assert (other.code, other.out) == (5, "")  # another address: nothing is known of it yet
    assert bar("--line", **KEYS).out == "💰 no figures yet\n"
    bar.url = sandbox.url
    cached_before = sorted((bar.home / ".openrouter" / "cache").glob("*.json"))
    (snapshot,) = cached_before
    for lock in snapshot.parent.glob("*.lock"):
        os.utime(lock, (time.time() - 61,) * 2)
    kept = snapshot.read_text(encoding="utf-8")
    moment = (datetime.now(timezone.utc) - timedelta(days=2)).isoformat()
    snapshot.write_text(re.sub(r'"taken_at": ?"[^"]*"', f'"taken_at": "{moment}"', kept), encoding="utf-8")
    sandbox.misbehave("*", Fault.status(500, headers={"Retry-After": "0"}))
    ran = bar("--line", **KEYS)
    assert (ran.code, ran.err) == (0, "")
    # What was spent two days ago is not what was spent today.
    assert re.match(r"💰 \S+ \+ \S+ BYOK on 20\d\d-\d\d-\d\d · .* · 2 days old", ran.out), ran.out
    wait_for(sandbox, 2)
    assert sandbox.calls("/key") >= 2


def test_the_session_of_claude_code_is_billed_or_its_own_estimate(bar: Stats) -> None:
    told = {"session_id": "s-1", "model": {"id": "m"}, "cost": {"total_cost_usd": 0.25, "total_duration_ms": 12}}
    usual = bar("--line", **KEYS).out
    assert " · ~$0.25 session · $1.90 left" in bar("--line", **KEYS, input=json.dumps(told).encode()).out
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    entry = {"ts": now, "model": "a/b", "prompt_tokens": 1, "completion_tokens": 1, "cost": 0.5, "id": "gen-1", "session": "s-1"}
    unknown = {**entry, "id": "gen-2", "cost": None, "session": "s-2"}
    ledger = bar.home / ".openrouter" / "usage.jsonl"
    ledger.write_text("".join(json.dumps({k: v for k, v in each.items() if v is not None}) + "\n" for each in (entry, unknown)))
    cases = [
        (told, " · $0.50 session · "), ({**told, "session_id": "s-2"}, " · ? session · "),
        ({**told, "session_id": "s-3", "cost": {"total_cost_usd": "much"}}, usual.rpartition(" · ")[2]),
    ]  # fmt: skip
    for given, expected in cases:
        ran = bar("--line", **KEYS, input=json.dumps(given).encode())
        assert (ran.code, ran.err) == (0, "") and expected in ran.out, ran
        assert ("session" in ran.out) == ("session" in expected)
    for nothing in (b"", b"{}", b"[1]", b'"text"', b"{", b"\xff\xfe", b'{"session_id": 7}'):
        assert bar("--line", **KEYS, input=nothing).out == usual
    # A pipe that nobody writes to, as of a bar that keeps it open.
    idle, kept_open = os.pipe()
    with os.fdopen(idle), os.fdopen(kept_open, "w"):
        ran = subprocess.run([sys.executable, str(STATS), "--line"], env=bar.environment(**KEYS, env={}), stdin=idle, capture_output=True, timeout=60)
    assert ran.stdout.decode() == usual


def test_a_line_of_ones_own_leaves_out_what_stands_for_nothing(bar: Stats) -> None:
    template = "Spent {today} ({month}) · {session} · {budget} · {left} · {age} · end"
    plain = bar("--line-format", template, **KEYS).out
    assert re.fullmatch(r"Spent \$4\.55 \+ \S+ BYOK today \(\$45\.46 \+ \S+ BYOK month\) · \$1\.90 left · end\n", plain), plain
    limited = bar("--line-format", "{budget} · {runway}", **KEYS, env={"OPENROUTER_DAILY_LIMIT": "2", "OPENROUTER_MONTHLY_LIMIT": "90"}).out
    assert re.fullmatch(r"\$2\.00 of daily budget left · lasts about \d+ hours\n", limited), limited
    grow_old(bar, timedelta(minutes=7), may_ask=False)
    assert bar("--line-format", "{left}", **KEYS).out == "$1.90 left · 7 min old\n"
    assert bar("--line-format", "{age}: {left}", **KEYS).out == "7 min old: $1.90 left\n"
    for argv in (["--line-format", "{toady}"], ["--line-format", "none"], ["--line-format", "{left}", "--json"],
                 ["--line-format", "{left}", "--max-age", "60"]):  # fmt: skip
        ran = bar(*argv, **KEYS)
        assert ran.code == 2 and ("{today}, {week}" in ran.err or "--line-format" in ran.err), ran


def test_a_session_without_the_gateway_costs_what_the_key_spent_since_it_began(bar: Stats, sandbox: Sandbox) -> None:
    key = sandbox.account.key(DEMO_KEY)
    assert key is not None

    def hook(event: str, session: str = "s-1", template: str = "{session} · {spent}") -> str:
        told = json.dumps({"session_id": session, "hook_event_name": event, "cwd": "/", "reason": "exit"}).encode()
        ran = bar("--line-format", template, **KEYS, input=told)
        assert (ran.code, ran.err) == (0, ""), ran
        return ran.out.rstrip("\n")

    began = hook("SessionStart")
    moment = r"of this key since \d\d:\d\d UTC"
    assert re.fullmatch(rf"\$0\.00 {moment}", began), began
    key.usage += Decimal("0.31")
    key.byok_usage += Decimal("0.02")
    asked = sandbox.calls("/key")
    assert hook("Stop") == began  # no beginning and no end: a status line asks nobody on the spot
    assert sandbox.calls("/key") == asked
    assert re.fullmatch(rf"\$0\.31 \+ \$0\.02 BYOK {moment}", hook("SessionEnd"))
    assert re.fullmatch(rf"\$0\.00 {moment}", hook("SessionEnd", "never seen before"))
    # Who does not name it has nothing kept, and asks nobody.
    asked = sandbox.calls("/key")
    (kept,) = (bar.home / ".openrouter" / "cache").glob("sessions-*.json")
    assert hook("SessionStart", "s-3", "{left}") == LEFT and "s-3" not in json.loads(kept.read_text())
    assert sandbox.calls("/key") == asked
    # Nobody answers in the time that a hook has: the last figures, with their age.
    key.usage += Decimal(1)
    grow_old(bar, timedelta(minutes=7))
    sandbox.misbehave("*", Fault.delay(20))
    assert re.fullmatch(rf"\$0\.31 \+ \$0\.02 BYOK {moment} · 7 min old", hook("SessionEnd"))
    sandbox.behave()
    # A total that has become smaller says nothing of a session, and nor does a file that somebody has spoilt.
    key.usage -= Decimal(40)
    assert hook("SessionEnd") == ""
    kept.write_text("[", encoding="utf-8")
    assert re.fullmatch(rf"\$0\.00 {moment}", hook("SessionEnd"))
    # A management key makes no calls.
    told = json.dumps({"session_id": "s-2", "hook_event_name": "SessionStart"}).encode()
    assert bar("--line-format", "{spent} · end", key=None, mgmt=DEMO_MGMT_KEY, input=told).out == "end\n"
