"""A key that may not ask for its spend by model gets it from the local ledger, with what the ledger has not seen."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from openrouter_usage.jobs.breakdown import local_breakdown
from tests.booking import call, hold
from tests.running import Stats, StatsAt, contents
from tests.sandbox import MANAGEMENT_KEY, Account, Fault, Sandbox
from tests.test_hostile_text import TERMINAL, harmless

NOON = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)  # a Sunday: the week began on the 16th
Golden = Callable[[str, str], None]
WEEK = [
    call("2026-11-15T23:59:59Z", "openai/gpt-5.2", "100"),  # last week's
    call("2026-11-16T00:00:00Z", "anthropic/claude-sonnet-4.5", "1.25", id="gen-1", provider="Anthropic"),
    call("2026-11-22T11:59:59Z", "openai/gpt-5.2", "0.30000000000000004", id="gen-2", provider="OpenAI"),
    call("2026-11-22T11:00:00Z", "google/gemini-3-flash", "0", byok_cost=4.2, provider="Google"),
    call("2026-11-21T11:00:00Z", "openai/gpt-5.2", None, id="gen-3"),
    call("2026-11-23T00:00:00Z", "openai/gpt-5.2", "100"),  # next week's
]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Account.simple(now=lambda: NOON)) as running:
        running.account.keys[0].usage_weekly = Decimal("2.00000000000000000001")
        running.account.keys[0].usage_monthly = Decimal(5)
        running.misbehave("*", Fault.headers({"Date": ""}))  # whose clock is not that of the test
        yield running


@pytest.fixture
def ledger(home: Path) -> Path:
    """The default ledger with some calls of this week, and of others."""
    path = home / ".openrouter" / "usage.jsonl"
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b"".join(WEEK))
    return path


@pytest.mark.parametrize(("face", "name"), [("text", "txt"), ("json", "json"), ("csv", "csv"), ("markdown", "md")])
def test_the_running_week_of_the_ledger_stands_in(
    face: str, name: str, ledger: Path, stats_at: StatsAt, golden: Golden
) -> None:
    ran = stats_at(NOON, "--format", face)
    assert (ran.code, ran.err) == (0, "")
    golden(f"summary-ledger.{name}", ran.out)


@pytest.mark.parametrize("by", ["model", "provider", "day"])
@pytest.mark.parametrize("top", [None, 0, 1, 9])
def test_rows_add_up_to_the_week_and_the_week_to_what_the_key_spent(
    by: str, top: int | None, ledger: Path, stats_at: StatsAt
) -> None:
    found = stats_at(NOON, "--json", "--by", by, *(() if top is None else ("--top", str(top)))).data["breakdown"]
    assert (found["source"], found["by"]) == ("local ledger", by)
    assert (found["start"], found["end"]) == ("2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z")
    expected = {"usage_usd": Decimal("1.55000000000000004"), "byok_usd": Decimal("4.2"), "requests": 4}
    for figure, amount in expected.items():
        assert found["total"][figure] == amount
        assert sum((row[figure] for row in [*found["rows"], found["more"]]), Decimal(0)) == amount
    assert found["unattributed_usd"] == Decimal("0.44999999999999996001")
    assert len(found["rows"]) <= (4 if top is None else top)
    assert "" not in [row["name"] for row in found["rows"]]


def test_the_text_says_what_is_not_attributed_and_what_is_unknown(ledger: Path, stats_at: StatsAt) -> None:
    lines = stats_at(NOON).out.splitlines()
    at = lines.index("Recent Models (this week, from the local ledger):")
    assert lines[at + 1 : at + 6] == [
        "• anthropic/claude-sonnet-4.5: $1.25 (1)",
        "• openai/gpt-5.2: $0.30 (2)",
        "• google/gemini-3-flash: $0.00 + $4.20 BYOK (1)",
        "1 call of unknown cost not in these",
        "not attributed: $0.45 (spent by this key, not seen by the ledger)",
    ]


@pytest.mark.parametrize(
    ("spent", "unattributed", "words"),
    [
        ("1.55000000000000004", "0", "not attributed: $0.00 (spent by this key, not seen by the ledger)"),
        ("1.55000000000000004000000001", "1E-26", "not attributed: <$0.000001 (spent by this key"),
        ("0", "-1.55000000000000004", "the ledger has $1.55 more than this key spent: calls of other keys, or figures"),
        ("1.55", "-0.00000000000000004", "the ledger has <$0.000001 more than this key spent"),
    ],
)
def test_a_ledger_that_knows_more_or_less_than_the_account_says_by_how_much(
    spent: str, unattributed: str, words: str, ledger: Path, sandbox: Sandbox, stats_at: StatsAt
) -> None:
    sandbox.account.keys[0].usage_weekly = Decimal(spent)
    assert stats_at(NOON, "--json").data["breakdown"]["unattributed_usd"] == Decimal(unattributed)
    assert words in stats_at(NOON).out


def test_without_the_keys_own_week_nothing_is_said_of_it(
    ledger: Path, sandbox: Sandbox, stats_at: StatsAt
) -> None:
    sandbox.misbehave("/key", Fault.mutate(lambda body: body["data"].pop("usage_weekly") and None))
    ran = stats_at(NOON, "--json")
    assert ran.data["breakdown"]["unattributed_usd"] is None
    assert "not attributed" not in stats_at(NOON).out
    assert "• openai/gpt-5.2: $0.30 (2)" in stats_at(NOON).out


@pytest.mark.parametrize("lines", [[], [WEEK[0]], [WEEK[-1]], [hold("a")], [b"garbage\n"]])
def test_a_ledger_without_calls_of_the_week_does_not_stand_in(
    lines: list[bytes], home: Path, stats_at: StatsAt
) -> None:
    (home / ".openrouter").mkdir()
    (home / ".openrouter" / "usage.jsonl").write_bytes(b"".join(lines))
    ran = stats_at(NOON, "--json")
    assert (ran.code, ran.err) == (0, "")
    assert ran.data["breakdown"] is None
    assert "no spend by model: set OPENROUTER_MGMT_KEY" in stats_at(NOON).out


def test_without_a_ledger_none_is_made(home: Path, stats_at: StatsAt) -> None:
    ran = stats_at(NOON, "--json")
    assert (ran.code, ran.err, ran.data["breakdown"]) == (0, "", None)
    assert not [path for path in contents(home) if "usage" in path.name]


def test_openrouters_own_figures_come_first(ledger: Path, sandbox: Sandbox, stats_at: StatsAt) -> None:
    sandbox.account.add_activity("x/y", usage=Decimal(7))
    found = stats_at(NOON, "--json", mgmt=MANAGEMENT_KEY).data["breakdown"]
    assert (found["source"], found["unattributed_usd"]) == ("/activity", None)
    assert [row["name"] for row in found["rows"]] == ["x/y"]


WRONG: dict[str, Callable[[Path], Any]] = {
    "folder": lambda path: path.mkdir(),
    "link": lambda path: path.symlink_to(path.with_name("another")),
    "below a file": lambda path: path.parent.write_text(""),
    "loop": lambda path: path.parent.symlink_to(path.parent),
    "too long": lambda path: None,
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_ledger_that_cannot_be_read_spoils_nothing_else(
    kind: str, home: Path, stats_at: StatsAt, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "books" / ("x" * 5_000 if kind == "too long" else "usage.jsonl")
    if kind not in ("below a file", "loop"):
        path.parent.mkdir()
    WRONG[kind](path)
    monkeypatch.setenv("OPENROUTER_USAGE_FILE", str(path))
    ran = stats_at(NOON, "--json")
    assert (ran.code, ran.data["breakdown"]) == (0, None)
    assert ran.data["week"]["usage_usd"] == Decimal("2.00000000000000000001")
    assert ran.error_line.startswith("stats.py: the local ledger does not help: the ")
    assert len(ran.error_line) < 600
    assert ran.data["partial"] is False


def test_without_an_index_the_ledger_is_read_all_the_same(ledger: Path, stats_at: StatsAt) -> None:
    ledger.with_name("usage.jsonl.index").mkdir()
    ran = stats_at(NOON, "--json")
    assert (ran.code, ran.err) == (0, "")
    assert ran.data["breakdown"]["total"]["usage_usd"] == Decimal("1.55000000000000004")


def test_a_ledger_that_is_locked_is_read_all_the_same(ledger: Path, stats_at: StatsAt) -> None:
    stats_at(NOON)
    other = sqlite3.connect(ledger.with_name("usage.jsonl.index"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with ledger.open("ab") as file:
        file.write(call("2026-11-20T00:00:00Z", "x/y", "0.25"))
    ran = stats_at(NOON, "--json")
    other.close()
    assert (ran.code, ran.err) == (0, "")
    assert ran.data["breakdown"]["total"]["usage_usd"] == Decimal("1.80000000000000004")


@pytest.mark.parametrize("kind", TERMINAL)
def test_a_hostile_name_in_the_ledger_is_only_shown(kind: str, ledger: Path, stats_at: StatsAt) -> None:
    ledger.write_bytes(call("2026-11-20T00:00:00Z", TERMINAL[kind], "0.25"))
    for face in ("text", "csv", "markdown"):
        ran = stats_at(NOON, "--format", face)
        harmless(ran.out)
        assert "0.25" in ran.out


def test_the_ledger_may_be_anywhere(tmp_path: Path, stats: Stats, sandbox: Sandbox) -> None:
    sandbox.account.now = lambda: datetime.now(timezone.utc)
    path = tmp_path / "my books.jsonl"
    path.write_bytes(call(datetime.now(timezone.utc).isoformat(), "x/y", "0.25"))
    ran = stats(env={"OPENROUTER_USAGE_FILE": str(path)})
    assert "• x/y: $0.25 (1)" in ran.out
    assert stats("--json", env={"OPENROUTER_USAGE_FILE": ""}).data["breakdown"] is None


def test_the_reason_is_empty_only_where_nothing_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENROUTER_USAGE_FILE", str(tmp_path / "none.jsonl"))
    assert local_breakdown(NOON, top=None, by="model") == (None, "")
    monkeypatch.setenv("OPENROUTER_USAGE_FILE", "")
    monkeypatch.setenv("HOME", "")
    found, reason = local_breakdown(NOON, top=None, by="model")
    assert found is None
    assert reason == "the local ledger does not help: there is no home folder to keep the ledger in"
