"""`make sandbox`: what it says to paste leads every verb to books of its own, and nothing to the user's."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from tests.running import HANG_GUARD_S, ROOT, contents, exact_json
from tests.sandbox import DEMO_KEY, DEMO_MGMT_KEY


def day(days_ago: int) -> str:
    """A day of the ledger."""
    return (datetime.now(timezone.utc) - timedelta(days=days_ago)).date().isoformat()


# What each verb shows there; every line was empty, or "no calls", with a home that is empty.
SHOWN: dict[tuple[str, ...], str] = {
    ("stats.py",): "Today: $4.55",
    ("stats.py", "--by", "provider", "--days", "30"): "Amazon Bedrock",
    ("stats", "--since", day(50)): "anthropic/claude-sonnet-4.5",
    ("stats", "--month", "--by", "session"): "",
    ("stats", "--since", day(60), "--by", "tag"): "project=website",
    ("stats", "--since", day(60), "--trend"): "deepseek/deepseek-v3.2",
    ("stats", "--source", "account", "--since", day(20)): "openai/gpt-5.2",
    ("report", "--html", "-"): "<svg",
    ("export", "--format", "csv"): "gen-demo-000001",
    ("budget",): "1 call running or unsettled",
    ("what-if", "--model", "openai/gpt-5-mini"): "openai/gpt-5-mini",
    ("reconcile", "--days", "7"): "anthropic/claude-sonnet-4.5",
    ("credits",): "$1.90",
    ("keys", "list"): "agents",
    ("models", "claude"): "anthropic/claude-sonnet-4.5",
    ("alert", "--balance-below", "5"): "$1.90",
    ("doctor",): "",
    ("query", "--id", "gen-demo-held"): "$0.0312",
    ("settle",): "1 call settled",
    ("clean", "--before", day(30), "--dry-run"): "",
    ("call", "--model", "openai/gpt-5-mini", "--prompt", "Hi"): "",
}


class Home:
    """A sandbox with its home, and a shell into which its lines were pasted."""

    def __init__(self, folder: Path) -> None:
        real = folder / "real"
        self.real = real
        (real / ".openrouter").mkdir(parents=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENROUTER_")}
        # What an own set-up may have, which must not show through.
        mine = {"HOME": str(real), "TMPDIR": str(folder), "OPENROUTER_USAGE_FILE": str(real / "mine.jsonl")}
        self.outside = {**environment, **mine, "OPENROUTER_DAILY_LIMIT": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "tests.sandbox"]
        self.program = subprocess.Popen(command, cwd=ROOT, env=self.outside, stdout=subprocess.PIPE, text=True)
        self.lines = [self.program.stdout.readline() for _ in range(7)]
        pairs = (line.removeprefix("export ").partition("=") for line in self.lines if line.startswith("export "))
        self.settings = {name: shlex.split(value)[0] for name, _, value in pairs}

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        program, *rest = words if words[0].endswith(".py") else ("cost_tracker.py", *words)
        command = [sys.executable, str(ROOT / "scripts" / program), *rest]
        pasted = "".join(self.lines) + shlex.join(command)
        return subprocess.run(
            ["/bin/sh", "-c", pasted], env=self.outside, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=HANG_GUARD_S, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    home = Home(tmp_path_factory.mktemp("sandbox"))
    try:
        yield home
    finally:
        home.program.terminate()
        home.program.wait(HANG_GUARD_S)
        home.program.stdout.close()


pytestmark = pytest.mark.skipif(os.name != "posix", reason="the lines are for a shell of POSIX")


def test_the_lines_are_complete(home: Home) -> None:
    names = ["HOME", "OPENROUTER_BASE_URL", "OPENROUTER_API_KEY", "OPENROUTER_MGMT_KEY"]
    assert list(home.settings) == names
    assert [home.settings[name] for name in names[2:]] == [DEMO_KEY, DEMO_MGMT_KEY]
    assert [line[0] for line in home.lines[:2]] == ["#", "#"] and "OPENROUTER_USAGE_FILE" in home.lines[2]


@pytest.mark.parametrize("verb", SHOWN, ids=lambda words: " ".join(words).translate({ord(c): "n" for c in "0123456789"}))
def test_every_verb_has_something_to_show_and_leaves_the_real_home_alone(verb: tuple[str, ...], home: Home) -> None:
    ran = home(*verb)
    assert ran.returncode in (0, 3) and ran.stdout and "Traceback" not in ran.stderr, ran.stderr
    assert SHOWN[verb] in ran.stdout + ran.stderr
    assert contents(home.real) == {}


def test_the_books_agree_with_the_account_as_far_as_they_go(home: Home) -> None:
    total = exact_json(home("stats", "--since", day(60), "--json").stdout)["data"]["total"]
    assert total["requests"] > 500 and total["unknown_cost_calls"] > 0 and total["byok_usd"] > 0
    assert exact_json(home("stats.py", "--json").stdout)["data"]["partial"] is False


def test_the_home_is_deleted_at_the_end(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert Path(home.settings["HOME"], ".openrouter", "usage.jsonl").is_file()
    home.program.terminate()
    assert home.program.wait(HANG_GUARD_S) == 0
    home.program.stdout.close()
    assert not Path(home.settings["HOME"]).exists()
