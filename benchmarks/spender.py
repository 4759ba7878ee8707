"""One long-lived process of the budget's benchmark: does what it is told on standard input, and says when."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import threading
import uuid
from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import requests  # noqa: E402
from cost_tracker import BudgetExceeded, CostTracker  # noqa: E402

from openrouter_usage.budgets import MACHINE, Budget, Owner  # noqa: E402
from openrouter_usage.entry import Caps, Entry, Hold  # noqa: E402
from openrouter_usage.figures.limits import Asked, check, check_all  # noqa: E402
from openrouter_usage.ledger.ledger import Ledger  # noqa: E402

MODEL = "bench/ten-cents-a-call"
PRICE, CAP = Decimal("0.10"), Decimal("1.00")
HELD, BILLED = Decimal("0.05"), Decimal("0.0025")
# Larger than any ledger of the benchmark: here the time counts, not the answer.
WIDE = Caps(Decimal(1), Decimal(10) ** 6, Decimal(10) ** 6)
Race = Callable[[str], Callable[[], bool]]
_LEDGERS: dict[str, Ledger] = {}


def book(path: str, calls: int) -> None:
    """Hold and settle so many calls, one after the other."""
    ledger = _LEDGERS.setdefault(path, Ledger(Path(path), lock_timeout_s=300))
    for _ in range(calls):
        now = datetime.now(timezone.utc).replace(microsecond=0)
        hold = Hold(uuid.uuid4().hex, now, MODEL, HELD)
        ledger.hold(hold, lambda books: check(WIDE, HELD, books, now))  # noqa: B023  # called before the next round
        ledger.settle(Entry(now, MODEL, 1500, 500, BILLED, id=f"gen-{hold.id}", cost_source="billed", hold=hold.id))


def book_of_owners(path: str, calls: int) -> None:
    """Do the same under four budgets: the machine's, and those of a client, a project and a session."""
    ledger = _LEDGERS.setdefault(path, Ledger(Path(path), lock_timeout_s=300))
    tags = (("client", f"client-{os.getpid()}"), ("project", "site"))
    session = f"session-{os.getpid()}"
    owners = (MACHINE, Owner(*tags[0]), Owner(*tags[1]), Owner("session", session))
    budgets, asked = [Budget(owner, WIDE) for owner in owners], Asked(HELD, HELD)
    for _ in range(calls):
        now = datetime.now(timezone.utc).replace(microsecond=0)
        hold = Hold(uuid.uuid4().hex, now, MODEL, HELD, session=session, tags=tags)
        ledger.hold(hold, lambda books: check_all(budgets, asked, books, now))  # noqa: B023  # called before the next
        name = f"gen-{hold.id}"
        ledger.settle(
            Entry(now, MODEL, 1500, 500, BILLED, name, cost_source="billed", session=session, tags=tags, hold=hold.id)
        )


def append(path: str, calls: int) -> None:
    """Append two lines for each call and nothing else: opened, written, synced, closed."""
    line = b"x" * 199 + b"\n"
    for _ in range(2 * calls):
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(handle, line)
        os.fsync(handle)
        os.close(handle)


def held_calls(folder: str) -> Callable[[], bool]:
    """Give a call under this project's budget; it tells whether it was made."""
    tracker = CostTracker(usage_file=Path(folder) / "usage.jsonl", caps=Caps(daily=CAP))

    def call() -> bool:
        try:
            tracker.chat("What is the weather like?", MODEL)
        except BudgetExceeded:
            return False
        return True

    return call


def checked_calls(folder: str) -> Callable[[], bool]:
    """Give a call as it is usually guarded: add up what is recorded, call if there is room, record what it cost."""
    path, local = Path(folder) / "spent.db", threading.local()
    url = os.environ["OPENROUTER_BASE_URL"] + "/chat/completions"
    key = {"Authorization": "Bearer " + os.environ["OPENROUTER_API_KEY"]}
    body = {"model": MODEL, "messages": [{"role": "user", "content": "What is the weather like?"}]}

    def call() -> bool:
        if not hasattr(local, "database"):
            local.database, local.session = sqlite3.connect(path, timeout=60), requests.Session()
            local.database.execute("CREATE TABLE IF NOT EXISTS calls (micro INTEGER)")
        (spent,) = local.database.execute("SELECT coalesce(sum(micro), 0) FROM calls").fetchone()
        if Decimal(spent) / 1_000_000 + PRICE > CAP:
            return False
        answer = local.session.post(url, json=body, headers=key, timeout=60)
        answer.raise_for_status()
        cost = answer.json()["usage"]["cost"]
        with local.database:  # committed when the block ends
            local.database.execute("INSERT INTO calls VALUES (?)", (round(cost * 1_000_000),))
        return True

    return call


RACES: dict[str, Race] = {"held": held_calls, "checked": checked_calls}


def race(guard: str, folder: str, threads: int) -> None:
    """Make calls in so many threads at once, until each has been refused."""
    call = RACES[guard](folder)
    gate, failed = threading.Barrier(threads), list[BaseException]()

    def spend() -> None:
        gate.wait()
        try:
            while call():
                pass
        except BaseException as error:
            failed.append(error)

    started = [threading.Thread(target=spend) for _ in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    if failed:
        raise failed[0]


WORK: dict[str, Callable[..., None]] = {"book": book, "book_of_owners": book_of_owners, "append": append, "race": race}


def main() -> None:
    """Work until standard input is closed, which also happens when the benchmark dies."""
    for line in iter(sys.stdin.readline, ""):
        name, *arguments = json.loads(line)
        WORK[name](*arguments)
        print("done", flush=True)


if __name__ == "__main__":
    main()
