"""Times cost_tracker.py on ledgers of 10,000 and 1,000,000 calls, beside what one would do without it.

Every contender is a fresh process over the same file and has to show the right number of calls. The json.loads loop
adds floating point and looks for neither ids that come twice nor damage; jq and DuckDB, where installed, do the same.
They stand in no goal and take long, as do groupings that read every line; so they have three rounds of their own.
Appends are timed within processes that stay. The goals are for 1,000,000 calls; with fewer there is no verdict.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from datetime import datetime, timezone
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from benchmarks.books import Books, Rates, measured
from benchmarks.made_ledger import UNITS
from benchmarks.timing import Contender, Goal, goals_table, interleaved, show_progress, table

FULL, SMALL, NEW = 1_000_000, 10_000, 1_000
LOOP, COLD, CAUGHT_UP = "json.loads loop", "stats, index cold", f"stats, {NEW:,} new calls"
VIEWS = {
    "stats --month": ("--month",),
    "stats --by-model": ("--by-model",),  # all time, as without any option
    "stats --by session": ("--by", "session"),
    "stats --by day": ("--by", "day"),
    "stats --by hour": ("--by", "hour"),
    "stats --by weekday": ("--by", "weekday"),
    "stats --by client": ("--by", "client"),
    "stats --by day,model": ("--by", "day,model"),
    "stats --by day,client": ("--by", "day,client"),
    "stats --provider anthropic": ("--provider", "anthropic"),
    "stats --client client-1": ("--client", "client-1"),
}
# What no grouping of the index answers, so that every line is read; a session of this ledger has calls on every day.
READING = {
    "stats --by session,model": ("--by", "session,model"),
    "stats --by hour,model": ("--by", "hour,model"),
    "stats --session job-1": ("--session", "job-1"),
}
BARE, TWO_BARE = "open-append-fsync-close", "the same, twice"
WRITES = {
    "bare": BARE,
    "logged": "log_usage",
    "durable": "append, made to last",
    "two bare": TWO_BARE,
    "held": "hold + settle",
    "held small": "hold + settle at 1,000",
}
JQ = (
    "reduce inputs as $c ({}; .[$c.model] |= [.[0] + 1, .[1] + $c.prompt_tokens, .[2] + $c.completion_tokens,"
    " .[3] + ($c.cached_tokens // 0), .[4] + ($c.reasoning_tokens // 0), .[5] + $c.cost])"
    ' | "Total Calls: \\([.[][0]] | add)", .'
)
DUCKDB = (
    "import sys, duckdb\n"
    "rows = duckdb.sql('SELECT model, count(*), sum(prompt_tokens), sum(completion_tokens), sum(cached_tokens),'\n"
    "    f\" sum(reasoning_tokens), sum(cost) FROM read_json('{sys.argv[1]}', format='newline_delimited')\"\n"
    "    ' GROUP BY model ORDER BY 7 DESC').fetchall()\n"
    "print('Total Calls:', sum(row[1] for row in rows), rows)\n"
)


def main() -> int:
    """Make the ledgers, run the rounds and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="timed rounds (15)")
    parser.add_argument("--calls", type=int, default=FULL, metavar="N", help=f"calls in the large ledger ({FULL:,})")
    parser.add_argument("--folder", type=Path, help="where to make them, in a folder of their own (the temporary one)")
    options = parser.parse_args()
    rounds, calls = max(1, options.rounds), max(SMALL, options.calls)
    with tempfile.TemporaryDirectory(prefix="openrouter-bench-", dir=options.folder) as folder:
        run(Path(folder), calls, rounds)
    return 0


def run(folder: Path, calls: int, rounds: int) -> None:
    show_progress(f"making ledgers of {calls:,} and {SMALL:,} calls")
    now = datetime.now(timezone.utc)
    large, small, growing = (Books(folder / name, now) for name in ("large", "small", "growing"))
    for books, number in ((large, calls), (small, SMALL), (growing, calls)):
        books.fill(number)
    check_exactly(large)
    seconds = interleaved(contenders(large, small, growing), rounds)
    others = interleaved(neighbours(large), min(rounds, 3))
    show_progress("timing appends")
    tiny = Books(folder / "tiny", now)
    tiny.fill(1_000)
    rates = Rates(large.path, tiny.path)
    writes = {WRITES[kind]: took for kind, took in rates.pairs(40 * rounds).items()}
    alone, together = ([rates.many(count, 2_000 // count) for _ in range(min(rounds, 5))] for count in (1, 8))
    show_progress("")
    size = large.path.stat().st_size / 1e6
    print(f"\n{rounds} rounds, {calls:,} calls in {size:.0f} MB, files in {folder.parent}")
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    print("\n".join([*table(seconds), "", *table(others), "", *table(writes), ""]))
    print(f"Appends a second: {median(alone):,.0f} from 1 process, {median(together):,.0f} from 8\n")
    peaks = {name: books.peak_mb(name) for books in (large, growing) for name in books.peaks_kb}
    print("\n".join(verdicts(seconds | writes, peaks)) if calls == FULL else f"no verdict below {FULL:,} calls")


def contenders(large: Books, small: Books, growing: Books) -> dict[str, Contender]:
    """Give what is held against the goals, by name."""
    loop = [sys.executable, str(Path(__file__).with_name("json_loop.py")), str(large.path), "model", ""]
    found: dict[str, Contender] = {
        LOOP: lambda: large.timed(LOOP, loop),
        COLD: lambda: large.cold(COLD),
        CAUGHT_UP: lambda: growing.caught_up(CAUGHT_UP, NEW),
    }
    for name, words in VIEWS.items():
        found[name] = lambda name=name, words=words: large.stats(name, *words)
        found[f"{name} at {SMALL:,}"] = lambda name=name, words=words: small.stats(name, *words)
    return found


def neighbours(large: Books) -> dict[str, Contender]:
    """Give what else one would run, and the floor; what is not installed is left out and named."""
    commands = {"wc -l, the floor": ["wc", "-l", str(large.path)]}
    if shutil.which("jq"):
        commands["jq"] = ["jq", "-n", JQ, str(large.path)]
    if find_spec("duckdb"):
        commands["DuckDB"] = [sys.executable, "-c", DUCKDB, str(large.path)]
    readers: dict[str, Contender] = {
        name: lambda name=name, words=words: large.stats(name, *words) for name, words in READING.items()
    }
    missing = {"jq", "DuckDB"} - commands.keys()
    if missing:
        show_progress(f"not installed and left out: {', '.join(sorted(missing))}")
    return readers | {
        name: lambda name=name, command=command: large.timed(name, command) for name, command in commands.items()
    }


def check_exactly(books: Books) -> None:
    """Compare the exact total with the known one before anything is timed: what is wrong is often fast."""
    _, _, out = measured(books.program("--json"), books.environment)
    total = json.loads(out, parse_float=Decimal)["data"]["total"]
    if (total["requests"], total["cost_usd"]) != (books.made.calls, Decimal(books.made.cost) / UNITS):
        raise RuntimeError(f"the sums are wrong: {total}")


def verdicts(seconds: dict[str, list[float]], peaks: dict[str, float]) -> list[str]:
    """Write what design and measurement say of each other as the lines of two Markdown tables."""
    goals = [Goal(COLD, LOOP, 2.0), Goal(CAUGHT_UP, "stats --by-model", 1.5)]
    for name in VIEWS:
        goals += [Goal(name, LOOP, 1 / 25, aim=1 / 50), Goal(name, f"{name} at {SMALL:,}", 1.5)]
    goals += [Goal(WRITES["logged"], BARE, 3.0), Goal(WRITES["durable"], BARE, 3.0)]
    goals += [Goal(WRITES["held"], TWO_BARE, 4.0), Goal(WRITES["held"], WRITES["held small"], 1.5)]
    lines = [*goals_table(seconds, goals), "", "| peak memory | MB | goal | |", "| --- | --- | --- | --- |"]
    for name, limit in ((COLD, 100), *((name, 60) for name in (CAUGHT_UP, *VIEWS))):
        lines.append(f"| {name} | {peaks[name]:.0f} | {limit} | {'missed' if peaks[name] > limit else 'met'} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
