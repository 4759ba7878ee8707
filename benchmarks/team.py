"""Times a shared ledger: holds and settles a second beside the bare functions of its server, and a month by model.

The server is started for it, with its settings as they come, and syncs every commit to the disk. The processes of each
round are this program's forks, one connection each, and spend from one hot budget.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from benchmarks.timing import Goal, interleaved, ratio, show_progress, table
from openrouter_usage.budgets import MACHINE, Budget
from openrouter_usage.entry import Caps, Entry, Hold, write_line
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.ledger.team import LEASE, TeamLedger
from openrouter_usage.period import Period
from tests import postgres
from tests.team import Team, made

UTC = timezone.utc
Gate = Callable[[], None]
CENT = Decimal("0.01")
CAP = Decimal(900_000)
BUDGETS = [Budget(MACHINE, Caps(daily=CAP))]
MONTH = Period(datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC), "October")
MODELS, DAYS = 50, 365
# Rows as the functions write them: calls of a year, and the sums that the functions would have kept of them.
FILL = """
INSERT INTO call (key, ts, member, machine, record)
SELECT 'made-' || n, at, 'alice', 'laptop', jsonb_build_object('ts', to_char(at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
    'model', 'maker/model-' || n % {models}, 'prompt_tokens', 1500, 'completion_tokens', 500, 'cost', 0.0025,
    'id', 'made-' || n, 'cost_source', 'billed')
FROM (SELECT n, timestamptz '2026-01-01 00:00:00+00' + n * (interval '{days} days' / {count}) AS at
    FROM generate_series(0, {count} - 1) n) made;
INSERT INTO rollup (facet, key, day, name, requests, prompt_tokens, completion_tokens, cost)
SELECT g.facet, g.name, day_of(c.ts), g.name, count(*), sum(1500), sum(500), sum((c.record ->> 'cost')::numeric)
FROM call c, LATERAL (VALUES ('', ''), ('model', c.record ->> 'model'), ('member', c.member), ('machine', c.machine))
    g (facet, name)
GROUP BY g.facet, g.name, day_of(c.ts);
ANALYZE call; ANALYZE rollup;
"""
BARE = """SELECT name, sum(requests), sum(cost) FROM openrouter_usage.rollup
WHERE facet = 'model' AND day >= '2026-10-01' AND day < '2026-11-01' GROUP BY name"""


KEPT = "SELECT * FROM rollup ORDER BY facet, key, day"
# What the functions keep of the same calls: `book` is what each of them ends with.
BOOKED = """DELETE FROM rollup;
SELECT book(array_agg(ROW(record, member, machine, day_of(ts), 1, 0, 0, 0)::booking)) FROM call"""


def check_sums(team: Team) -> None:
    """Raise RuntimeError unless `FILL` keeps the sums that the functions keep of the same calls."""
    team.sql(FILL.format(models=MODELS, days=DAYS, count=2_000))
    made_here = team.sql(KEPT)
    team.sql(BOOKED)
    if not made_here or made_here != team.sql(KEPT):
        raise RuntimeError("the sums made here are not those of the functions")


def hold_and_entry() -> tuple[Hold, Entry]:
    """A hold, and the call that it becomes."""
    now, name = datetime.now(UTC), uuid.uuid4().hex
    hold = Hold(name, now, "maker/model", CENT)
    return hold, Entry(now, "maker/model", 1500, 500, CENT / 4, f"gen-{name}", cost_source="billed", hold=name)


def spend(ledger: Ledger, calls: int, gate: Gate) -> None:
    """Connect, wait for the others, and hold and settle so many calls by the verbs."""
    ledger.names()
    gate()
    for _ in range(calls):
        hold, entry = hold_and_entry()
        ledger.hold(hold, lambda books: None, BUDGETS)
        ledger.settle(entry)


def spend_raw(url: str, calls: int, gate: Gate) -> None:
    """Do the same by nothing but the two functions, on a connection of its own."""
    import psycopg

    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
        gate()
        for _ in range(calls):
            hold, entry = hold_and_entry()
            values: tuple[Any, ...] = (hold.id, write_line(hold).decode(), CENT, "raw", LEASE, CAP)
            connection.execute(
                "SELECT openrouter_usage.hold(%s, %s::jsonb, %s::numeric, NULL, %s, %s::interval, '{\"\"}', '{\"\"}',"
                " '{strict}', '{day}', ARRAY[%s::numeric])",
                values,
            ).fetchall()
            values = (hold.id, write_line(entry).decode(), entry.id, "raw")
            connection.execute("SELECT openrouter_usage.settle(%s, %s::jsonb, %s, %s)", values).fetchall()


@dataclass
class Forks:
    """Processes that begin together; the time runs from then until the last one is done."""

    count: int
    work: Callable[[int, Gate], None]
    calls: int

    def __call__(self) -> float:
        """Run them, and return the seconds."""
        context = multiprocessing.get_context("fork")
        gate = context.Barrier(self.count + 1)

        def run() -> None:
            self.work(self.calls, lambda: gate.wait() and None)

        processes = [context.Process(target=run) for _ in range(self.count)]
        for process in processes:
            process.start()
        gate.wait()
        began = time.perf_counter()
        for process in processes:
            process.join()
        if any(process.exitcode for process in processes):
            raise RuntimeError("a process has failed; its traceback is above")
        return time.perf_counter() - began


def contenders(team: Team, file: Path, count: int, calls: int) -> dict[str, Callable[[], object]]:
    """The shared ledger, its bare functions, and the ledger in a file."""

    def shared(calls: int, gate: Gate) -> None:
        ledger: TeamLedger = team.ledger(wait_s=30)
        spend(ledger, calls, gate)
        ledger.close()

    def in_file(calls: int, gate: Gate) -> None:
        ledger = Ledger(file)
        spend(ledger, calls, gate)
        ledger.close()

    return {
        "shared ledger": Forks(count, shared, calls),
        "bare functions": Forks(count, lambda calls, gate: spend_raw(team.url(), calls, gate), calls),
        "ledger in a file": Forks(count, in_file, calls),
    }


def by_threads(team: Team, count: int, calls: int, *, alone: bool) -> Callable[[], None]:
    """Threads of one program, as a gateway has them: their questions in one statement, or each by itself."""

    def work() -> None:
        ledger = team.ledger(wait_s=30)
        if alone:
            ledger.server._alone_until = float("inf")  # as after a failure
        threads = [threading.Thread(target=spend, args=(ledger, calls, lambda: None)) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ledger.close()

    return work


def by_month(server: postgres.Server, folder: Path, options: argparse.Namespace) -> bool:
    """Print how long a month by model takes over few and many calls, in turns; return whether a goal is missed."""
    import psycopg

    sizes = sorted({min(100_000, options.entries), options.entries})
    asking: dict[str, Callable[[], object]] = {}
    with ExitStack() as opened:
        for size in sizes:
            team = opened.enter_context(made(server, folder))
            show_progress(f"making {size:,} calls")
            began = time.perf_counter()
            team.sql(FILL.format(models=MODELS, days=DAYS, count=size))
            print(f"\n{size:,} calls made in {time.perf_counter() - began:.0f} s")
            bare = opened.enter_context(psycopg.connect(server.url(database=team.database), autocommit=True))
            ledger = team.ledger()
            asking[f"totals, {size:,}"] = lambda ledger=ledger: ledger.totals(MONTH)  # type: ignore[misc]
            asking[f"bare SELECT, {size:,}"] = lambda bare=bare: bare.execute(BARE).fetchall()  # type: ignore[misc]
        seconds = interleaved(asking, max(options.rounds, 51))
    print("\nOctober by model\n")
    print("\n".join(table(seconds)))
    times = [ratio(seconds, f"totals, {size:,}", f"bare SELECT, {size:,}") for size in sizes]
    print(f"{', '.join(f'{each:.1f}' for each in times)} times the bare SELECT (goal: 3)")
    growth = ratio(seconds, f"totals, {sizes[-1]:,}", f"totals, {sizes[0]:,}")
    print(f"{growth:.2f} times as long over {sizes[-1]:,} as over {sizes[0]:,} calls (goal: 1.5)")
    return max(times) > 3 or growth > 1.5


def main(argv: list[str] | None = None) -> int:
    """Print the tables; 1 when a goal is missed, 0 without a server, with a word about it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=40, help="calls of each process in a round")
    parser.add_argument("--entries", type=int, default=10_000_000, help="calls of which a month is summed")
    options = parser.parse_args(argv)
    if postgres.BIN is None:
        print(postgres.MISSING)
        return 0
    missed = False
    with tempfile.TemporaryDirectory() as folder, postgres.running({"fsync": "on", "max_connections": "200"}) as server:
        with made(server, Path(folder)) as team:
            for count in (1, 16, 64):
                calls = max(1, options.calls * 16 // max(16, count))
                seconds = interleaved(contenders(team, Path(folder) / f"{count}.jsonl", count, calls), options.rounds)
                print(f"\n{count} connections, {calls} calls each: hold and settle, one hot budget\n")
                print("\n".join(table(seconds)))
                for name, took in seconds.items():
                    print(f"{name}: {count * calls / sorted(took)[len(took) // 2]:,.0f} calls/s")
                share = 1 / ratio(seconds, "shared ledger", "bare functions")
                goal = Goal("shared ledger", "bare functions", 1 / 0.8)
                verdict = f"{share:.0%} of the bare functions' calls/s (goal at 16 connections: 80%)"
                missed |= count == 16 and ratio(seconds, goal.contender, goal.against) > goal.at_most
                print(verdict)
            both = {
                "in one statement": by_threads(team, 16, options.calls, alone=False),
                "each by itself": by_threads(team, 16, options.calls, alone=True),
            }
            seconds = interleaved(both, options.rounds)
            print(f"\n16 threads of one program, {options.calls} calls each\n")
            print("\n".join(table(seconds)))
            for name, took in seconds.items():
                print(f"{name}: {16 * options.calls / median(took):,.0f} calls/s")
        with made(server, Path(folder)) as team:
            check_sums(team)
        missed |= by_month(server, Path(folder), options)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
