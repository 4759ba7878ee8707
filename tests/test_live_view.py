"""stats.py --watch: the summary in place on a terminal, with its age, and at most one question a minute."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from openrouter_usage.cli.watching import View, watch
from openrouter_usage.errors import Denied, Unreachable
from tests.booking import NOON, Tracker, TrackerAt, call, hold
from tests.running import STATS, StatsAt
from tests.sandbox import Account, Sandbox
from tests.terminals import on_a_terminal


class Clock:
    """A clock that `sleep` moves on, until ^C is pressed after so many seconds."""

    def __init__(self, seconds: int) -> None:
        self.now, self.end = NOON, NOON + timedelta(seconds=seconds)

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        if self.now > self.end:
            raise KeyboardInterrupt


def test_a_view_asks_once_a_minute_and_counts_the_seconds_between(capsys: pytest.CaptureFixture[str]) -> None:
    """A failure in between leaves the last figures, which say that they are old; the next minute may be better."""
    clock, asked = Clock(130), []

    def show(now: datetime) -> View:
        asked.append((now - NOON).total_seconds())
        if len(asked) == 2:
            raise Unreachable("no route")
        return View(f"💰 {len(asked)}\n", now)

    assert watch(show, clock, sleep=clock.sleep) == 0
    assert asked == [0, 60, 120]
    screens = capsys.readouterr().out.split("\x1b[H")[2:]
    feet = [screen.split("\x1b[K\n")[1] for screen in screens]
    assert [screen[:3] for screen in screens] == ["💰 1"] * 120 + ["💰 3"] * 11
    assert feet[0] == "As of 0 s ago; next in 60 s; ^C ends"
    assert feet[59] == "As of 59 s ago; next in 1 s; ^C ends"
    assert feet[60] == "As of 1 min ago; next in 60 s; ^C ends; these figures are old: no route"
    assert feet[120] == "As of 0 s ago; next in 60 s; ^C ends"


@pytest.mark.parametrize(("error", "first"), [(Unreachable("no route"), True), (Denied("no"), False)])
def test_a_view_ends_with_the_error_where_waiting_is_no_use(error: Exception, first: bool) -> None:
    """Without any figures, and where the key is refused."""
    clock, asked = Clock(130), []

    def show(now: datetime) -> View:
        asked.append(now)
        if first or len(asked) == 2:
            raise error
        return View("", now)

    with pytest.raises(type(error)):
        watch(show, clock, sleep=clock.sleep)
    assert len(asked) == (1 if first else 2)


def test_a_window_that_is_too_small_gets_what_fits_and_never_scrolls(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    clock = Clock(0)
    watch(lambda now: View("x" * 100 + "\n" + "line\n" * 40, now), clock, sleep=clock.sleep)
    lines = capsys.readouterr().out.split("\x1b[H")[2].split("\x1b[K\n")[:-1]
    assert sum(-(-len(line) // 40) for line in lines) <= 23
    assert lines[-2:] == ["... the window is too small for more", "As of 0 s ago; next in 60 s; ^C ends"]


def test_a_terminal_shows_the_summary_until_ctrl_c_which_ends_with_0(home: Path, sandbox: Sandbox, account: Account) -> None:
    seen = Tracker(home, sandbox.url, env={"TERM": "xterm", "PYTHONIOENCODING": "utf-8"})
    code, out, err = on_a_terminal(seen, "--watch", script=STATS, until="next in 5")
    assert (code, err) == (0, "")
    screens = out.split("\x1b[H")[2:]
    assert len(screens) >= 2 and all("💰 OpenRouter Usage\x1b[K\n" in screen for screen in screens[:2])
    foot = re.search(r"As of (\d) s ago; next in (\d+) s; \^C ends", screens[0])
    # On a busy machine the first screen is drawn a second late, and both figures say so.
    assert foot and 58 <= int(foot[1]) + int(foot[2]) <= 61
    assert len(sandbox.received("/key")) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--watch refreshes in place, and standard output is not a terminal that can do so"),
        (("--json",), "--watch shows the text, once a minute"),
        (("--max-age", "9"), "--watch shows the text, once a minute"),
        (("--source", "ledger"), "--line, --explain, --watch and --max-age are about the account"),
    ],
)
def test_without_a_terminal_it_is_refused(words: tuple[str, ...], said: str, stats_at: StatsAt, sandbox: Sandbox) -> None:
    ran = stats_at(NOON, "--watch", *words)
    assert ran.code == 2 and said in ran.out + ran.err
    assert sandbox.received() == []


def test_top_shows_the_ledger_by_client_session_and_model(home: Path, at: TrackerAt) -> None:
    """Once in a pipe; on a terminal until ^C, with calls that are written meanwhile."""
    at.tracker.write(
        call("2026-11-22T11:30:00Z", "a/b", "1.5", tags={"client": "codex"}, session="fix"), call("2026-11-22T01:00:00Z", "c/d", "0.25"),
        call("2026-11-21T23:00:00Z", "c/d", "9"), hold("h1", "2026-11-22T11:59:00Z", "0.5"),
    )  # fmt: skip
    text = at(NOON, "top").out
    assert text.splitlines()[:3] == [
        "OpenRouter calls (2026-11-22, UTC; local ledger)",
        "$1.75 in 2 calls; in the last hour $1.50 in 1 call",
        "1 call running or unsettled, up to $0.50, not in these",
    ]
    assert [heading for heading in text.splitlines() if heading.startswith("By ")] == ["By Client:", "By Session:", "By Model:"]
    assert len(re.findall(r"  Total +\$1.75 +100% +2 +4,000\n", text)) == 3
    data = at(NOON, "top", "--by", "client,model", "--top", "1", "--json").data
    assert [(row["names"], row["cost_usd"]) for row in data["tables"][0]["groups"]] == [(["codex", "a/b"], Decimal("1.5"))]
    assert data["tables"][0]["more"]["cost_usd"] == Decimal("0.25")
    shown = Tracker(home, env={"TERM": "xterm", "COLUMNS": "100"})
    code, out, err = on_a_terminal(shown, "top", "--since", "2026-11-22", "--every", "1", until="in 1 s")
    assert (code, err) == (0, "")
    assert "  codex" in out.split("\x1b[H")[2] and "\x1b[33m1 call running" in out
