"""Times a budget's hold and settle, and races its cap against check-then-record, the usual guard.

Every contender runs in long-lived processes. A call's two lines are synced to the disk, and so are the two bare
appends beside them. In the race every call costs $0.10 of a cap of $1.00, and the sandbox, in a process of its
own, says what was spent.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from statistics import median

from benchmarks.made_ledger import Made
from benchmarks.spender import CAP, PRICE
from benchmarks.spenders import Bill, Pool, billed, pool
from benchmarks.timing import Goal, goals_table, interleaved, show_progress

SMALL = 1_000
COUNTS = (1, 8, 64)
CALLS = 256  # in a round, of all processes together
THREADS, RACERS = 20, 8
GUARDS = {"held": "hold, then settle", "checked": "check, then record"}


def main() -> int:
    """Run the rounds and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="timed rounds (15)")
    parser.add_argument("--entries", type=int, default=1_000_000, metavar="N", help="of the large ledger (1,000,000)")
    parser.add_argument("--processes", type=int, default=COUNTS[-1], metavar="N", help="at most, at once (64)")
    options = parser.parse_args()
    counts = [count for count in COUNTS if count <= max(1, options.processes)]
    rounds, large = max(1, options.rounds), max(SMALL + 1, options.entries)
    most = max(*counts, RACERS)
    with scratch() as folder, billed() as bill, pool(most, surroundings(bill, folder)) as processes:
        show_progress(f"writing and indexing {large:,} entries")
        processes.run(1, "book", str(ledger(folder, large)), 1)
        contenders = {name: run for count in counts for name, run in timed(processes, folder, count, large).items()}
        seconds = interleaved(contenders, rounds)
        spent = raced(processes, bill, folder, rounds)
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    print(f"\n{rounds} rounds, Python {platform.python_version()}, {os.cpu_count()} cores, load {load}\n")
    print("\n".join([*times_table(seconds), "", *goals_table(seconds, goals(large)), "", *race_table(spent)]))
    return 0


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Give a folder for the ledgers and the home of all processes, and delete it."""
    with tempfile.TemporaryDirectory(prefix="openrouter-bench-") as folder:
        yield Path(folder)


def surroundings(bill: Bill, home: Path) -> dict[str, str]:
    """Give the environment of every process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENROUTER_", "PYTHON"))}
    ours = {"OPENROUTER_BASE_URL": bill.url, "OPENROUTER_API_KEY": bill.key}
    return {**kept, **ours, "HOME": str(home), "TMPDIR": str(home)}


def ledger(folder: Path, entries: int) -> Path:
    """Give a ledger with so many calls of the last year, written at the first time of asking."""
    path = folder / f"{entries}.jsonl"
    if not path.exists():
        now = datetime.now(timezone.utc)
        Made(f"{now:%Y-%m}").write(path, entries, now)
    return path


def ours(entries: int, count: int) -> str:
    """Name the contender that books into a ledger of so many entries."""
    return f"{entries:,} entries, {processes_of(count)}"


def of_owners(entries: int, count: int) -> str:
    """Name the contender that does the same under four budgets."""
    return f"{ours(entries, count)}, four budgets"


def bare(count: int) -> str:
    """Name the contender that appends and does nothing else."""
    return f"two bare appends, {processes_of(count)}"


def processes_of(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"


def timed(processes: Pool, folder: Path, count: int, large: int) -> dict[str, Callable[[], object]]:
    """Give what is timed with so many processes, by name."""
    each = CALLS // count
    small_one, large_one = (str(ledger(folder, entries)) for entries in (SMALL, large))
    return {
        ours(SMALL, count): lambda: processes.run(count, "book", small_one, each),
        ours(large, count): lambda: processes.run(count, "book", large_one, each),
        of_owners(large, count): lambda: processes.run(count, "book_of_owners", large_one, each),
        bare(count): lambda: processes.run(count, "append", str(folder / "bare"), each),
    }


def goals(large: int) -> list[Goal]:
    """Give the goals, which are for one process: with more, it is the disk's queue that is measured."""
    return [
        Goal(ours(large, 1), ours(SMALL, 1), 1.5),
        Goal(of_owners(large, 1), ours(large, 1), 1.3),
        Goal(ours(large, 1), bare(1), 4.0),
    ]


def times_table(seconds: dict[str, list[float]]) -> list[str]:
    """Write what one call costs, in all processes' time together, as the lines of a Markdown table."""
    lines = ["| hold and settle | median for a call | fastest | slowest |", "| --- | --- | --- | --- |"]
    for name, took in seconds.items():
        shown = " | ".join(f"{value / CALLS * 1000:.2f} ms" for value in (median(took), min(took), max(took)))
        lines.append(f"| {name} | {shown} |")
    return lines


def raced(processes: Pool, bill: Bill, folder: Path, rounds: int) -> dict[tuple[str, str], list[Decimal]]:
    """Let both guards spend in turn, each time with a fresh ledger, and give what the sandbox billed each round."""
    fields = {f"{THREADS} threads": (1, THREADS), f"{RACERS} processes": (RACERS, 1)}
    spent: dict[tuple[str, str], list[Decimal]] = {}
    for number in range(rounds):
        show_progress(f"race {number + 1} of {rounds}")
        for field, (count, threads) in fields.items():
            for guard in GUARDS:
                own = folder / f"race-{number}-{guard}-{count}"
                own.mkdir()
                processes.run(count, "race", guard, str(own), threads)
                spent.setdefault((guard, field), []).append(bill.take())
    show_progress("")
    return spent


def race_table(spent: dict[tuple[str, str], list[Decimal]]) -> list[str]:
    """Write what each guard spent of the cap, as the sandbox's bill has it, as the lines of a Markdown table."""
    lines = [f"| calls of ${PRICE} under a cap of ${CAP} | by | spent, median | least | most | |"]
    lines += ["| --- | --- | --- | --- | --- | --- |"]
    for (guard, field), amounts in spent.items():
        shown = " | ".join(f"${amount:.2f}" for amount in (median(amounts), min(amounts), max(amounts)))
        lines.append(f"| {GUARDS[guard]} | {field} | {shown} | {'kept' if max(amounts) <= CAP else 'overspent'} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
