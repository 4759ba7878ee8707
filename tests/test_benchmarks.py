"""What benchmarks measure against: made ledgers whose sums are known, and verdicts that follow from the figures."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from benchmarks import line
from benchmarks.collect import write_transcripts
from benchmarks.made_ledger import DAYS, MODELS, SESSIONS, UNITS, Made
from benchmarks.timing import Goal, goals_table, interleaved, shown
from openrouter_usage.jobs.collect import read_logs
from openrouter_usage.jobs.log_book import LogBook
from openrouter_usage.jobs.log_stores import find_stores
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.ledger.scan import is_usual
from openrouter_usage.period import month
from tests.ledger_model import NOON, Book


def test_the_sums_of_a_made_ledger_are_known(tmp_path: Path) -> None:
    path, made = tmp_path / "usage.jsonl", Made("2026-11")
    made.write(path, 4_000, NOON)
    made.write(path, 50, NOON, days=1)
    ledger = Ledger(path)
    for by, most in (("model", MODELS), ("session", SESSIONS), ("day", DAYS + 1)):
        totals = ledger.totals(by=by)
        assert (totals.total.requests, totals.total.cost) == (made.calls, Decimal(made.cost) / UNITS)
        assert most - 1 <= len(totals.groups) <= most
    of_month = ledger.totals(month(NOON)).total
    assert (of_month.requests, of_month.cost) == (made.month_calls, Decimal(made.month_cost) / UNITS)
    assert 0 < made.month_calls < made.calls == 4_050
    assert ledger.totals(by="model").groups == Book.of(path).totals(None, "model")
    assert all(map(is_usual, path.read_bytes().splitlines()))
    again = tmp_path / "again.jsonl"
    Made("2026-11").write(again, 4_000, NOON)
    assert path.read_bytes().startswith(again.read_bytes())
    assert min(entry.ts for entry in ledger.entries()) == NOON - timedelta(days=DAYS)
    ledger.close()


def test_a_contender_that_measures_itself_is_believed(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = interleaved({"own": lambda: 5.0, "other": lambda: None}, 3)
    assert seconds["own"] == [5.0] * 3
    assert all(0 < took < 1 for took in seconds["other"])


@pytest.mark.parametrize(("took", "verdict"), [([1.0, 2.0, 9.0], "met"), ([1.0, 4.1, 9.0], "missed")])
def test_a_goal_is_judged_by_the_median_of_the_rounds(took: list[float], verdict: str) -> None:
    lines = goals_table({"ours": took, "theirs": [1.0, 2.0, 3.0]}, [Goal("ours", "theirs", 2.0)])
    assert lines[-1].endswith(f"| {verdict} |")


@pytest.mark.parametrize(("seconds", "text"), [(0.000123, "123 µs"), (0.00999, "9990 µs"), (0.25, "250 ms")])
def test_times_have_a_unit_of_their_size(seconds: float, text: str) -> None:
    assert shown(seconds) == text


def test_the_made_transcripts_hold_what_is_said_of_them(tmp_path: Path) -> None:
    calls, output = write_transcripts(tmp_path / "claude", 3, 50)
    assert (calls, sum(1 for _ in (tmp_path / "claude").rglob("*.jsonl"))) == (12, 3)
    with closing(LogBook(tmp_path / "book" / "logs")) as book:
        read_logs(book, find_stores(("claude-code",), tmp_path, {"CLAUDE_CONFIG_DIR": str(tmp_path / "claude")}))
        found = list(book.waiting())
        assert (len(found), sum(each.call.completion_tokens for each in found)) == (calls, output)
        assert book.skipped() == {}


def test_a_status_line_is_judged_by_its_slowest_runs() -> None:
    names = (line.WARM, line.NORMAL, line.SLOW, line.DEAD)
    took = {name: [1.0] * 198 + [2.0, 9.0] for name in names}  # of 200, the third slowest
    assert all(row.endswith(" | 1.00 | 1.50 | met | 1.00 |") for row in line.percentiles(took)[2:])
    took[line.SLOW] = [1.0] * 197 + [1.6] * 3
    assert [row.split(" | ")[-2] for row in line.percentiles(took)[2:]] == ["met", "missed", "met"]
