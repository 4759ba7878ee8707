"""The ledger that goes with the demo account: the calls of it that were tracked on this machine, of 60 days."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from .account import Account
from .activity import ActivityRow
from .demo import spread
from .generation import Generation

DAYS = 60
HELD = "5e7b1f0c9a4d4e0d8b6a2c3f1d9e7a55"
HELD_COST = Decimal("0.0312")
SESSIONS = ("nightly-review", "support-bot", "triage", "")
PROJECTS = ("website", "search", "")
# One call in so many was tracked, and one of so many tracked ones came without its cost and its name.
ONE_IN, LOST = 10, 97


def write_ledger(path: Path, account: Account) -> None:
    """Write the calls, oldest first, and one that is still held; OpenRouter can be asked about that one."""
    lines = sorted([*_calls(account), *_held(account)], key=lambda line: str(line["ts"]))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = "".join(_json(line) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)


def _calls(account: Account) -> Iterator[dict[str, Any]]:
    """The account knows 30 days; those before them were alike."""
    number = 0
    for row in list(account.rows()):
        for days_before in (0, 30) if row.date < account.today() else (0,):
            for line in _of_row(row, account.now(), timedelta(days=days_before)):
                number += 1
                line["id"] = f"gen-demo-{number:06d}"
                if number % LOST == 0:
                    del line["cost"], line["cost_source"], line["id"]
                yield line


def _of_row(row: ActivityRow, now: datetime, before: timedelta) -> Iterator[dict[str, Any]]:
    count = -(-row.requests // ONE_IN)
    if not count:
        return
    share = Decimal(count) / row.requests
    usages = spread((row.usage * share).quantize(Decimal("0.000001")), count, "0.000001")
    byoks = spread((row.byok_usage_inference * share).quantize(Decimal("0.000001")), count, "0.000001")
    start = datetime(row.date.year, row.date.month, row.date.day, tzinfo=now.tzinfo)
    length = min(timedelta(days=1), now - start)
    for at in range(count):
        ts = start + length * (at + 1) / (count + 1) - before
        session, project = SESSIONS[(at + len(row.model)) % len(SESSIONS)], PROJECTS[at % len(PROJECTS)]
        line: dict[str, Any] = {
            "ts": f"{ts:%Y-%m-%dT%H:%M:%SZ}",
            "model": row.model,
            "prompt_tokens": row.prompt_tokens // row.requests,
            "completion_tokens": row.completion_tokens // row.requests,
            "cost": usages[at],
            "cost_source": "billed",
            "provider": row.provider_name,
        }
        optional = {"byok_cost": byoks[at] or None, "session": session, "tags": {"project": project} if project else None}
        yield line | {name: value for name, value in optional.items() if value}


def _held(account: Account) -> Iterator[dict[str, Any]]:
    """A call whose program was killed two hours ago: held, and billed, as `settle` finds out."""
    ts = account.now() - timedelta(hours=2)
    model, key = "anthropic/claude-sonnet-4.5", account.keys[-1]
    call = Generation(
        "gen-demo-held", ts, model, model, "Anthropic", key.hash, key.creator_user_id, None,
        prompt_tokens=4_000, completion_tokens=450, cost=HELD_COST, finish_reason="stop", finished=True, finished_at=ts,
    )  # fmt: skip
    account.generations[call.id] = call
    for row in (*account.activity, *account.today_rows):
        if row.model == model and row.date == ts.date() and row.usage > HELD_COST:
            # It was in the account's figures all the time.
            row.usage, row.requests = row.usage - HELD_COST, row.requests - 1
            break
    yield {
        "kind": "hold", "hold": HELD, "ts": f"{ts:%Y-%m-%dT%H:%M:%SZ}", "model": model, "max_cost": Decimal("0.25"),
        "generation": call.id, "session": SESSIONS[0],
    }  # fmt: skip


def _json(line: dict[str, Any]) -> str:
    """One line, with amounts as the exact numbers that they are."""
    amounts = {name: value for name, value in line.items() if isinstance(value, Decimal)}
    text = json.dumps({name: f"<{name}>" if name in amounts else value for name, value in line.items()})
    for name, value in amounts.items():
        text = text.replace(f'"<{name}>"', f"{value:f}")
    return text
