"""What a summary has to say of an account, worked out from the sandbox's own books and not from the program."""

from __future__ import annotations

import csv
import io
import re
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from tests.sandbox import Account, ApiKey
from tests.sandbox.apikey import stamp, window_end, window_start

SUMS = {
    "usage_usd": "usage",
    "byok_usd": "byok_usage_inference",
    "requests": "requests",
    "prompt_tokens": "prompt_tokens",
    "completion_tokens": "completion_tokens",
    "reasoning_tokens": "reasoning_tokens",
    "cached_tokens": "cached_tokens",
}
COLUMN = {"model": "model", "provider": "provider_name", "day": "date"}
WINDOWS = {"today": "daily", "week": "weekly", "month": "monthly"}
MARK = " ⬅ what can still be spent"


def instant(at: datetime | None) -> str | None:
    """A moment as JSON shows it."""
    return stamp(at, milliseconds=False)


def window(account: Account, key: ApiKey, name: str) -> dict[str, Any]:
    """One of Today, Week and Month."""
    now, kind = account.now(), WINDOWS[name]
    start = window_start(kind, account.today())
    if key.is_management_key:
        usage, byok = (account.truth.spent_in(kind, value=value) for value in ("usage", "byok_usage_inference"))
        source = "/analytics/query" if start == account.today() else "/activity + /analytics/query"
    else:
        usage, byok = getattr(key, f"usage_{kind}"), getattr(key, f"byok_usage_{kind}")
        source = f"/key usage_{kind}"
    ends = {"start": f"{start}T00:00:00Z", "end": instant(window_end(kind, now.date()))}
    return {"usage_usd": usage, "byok_usd": byok, **ends, "source": source}


def breakdown(account: Account, *, days: int = 7, by: str = "model", top: int | None = None) -> dict[str, Any]:
    """The completed days by model, provider or day; `rows`, `more` and `total` are each summed from the books."""
    truth, today = account.truth, account.today()
    columns = {shown: truth.by(COLUMN[by], days, value=kept) for shown, kept in SUMS.items()}
    rows = [
        {"name": str(name), "names": [str(name)], **{shown: column[name] for shown, column in columns.items()}}
        for name in columns["usage_usd"]
    ]
    if by == "day":
        rows.sort(key=lambda row: row["name"], reverse=True)
        shown = len(rows) if top is None else top
    else:
        rows.sort(key=lambda row: (-row["usage_usd"], -row["byok_usd"], -row["requests"], row["name"]))
        shown = 5 if top is None else top
    rest = rows[shown:]
    first = datetime.fromordinal(today.toordinal() - days).date()
    return {
        "by": by,
        "days": days,
        "start": f"{first}T00:00:00Z",
        "end": f"{today}T00:00:00Z",
        "source": "/activity",
        "unattributed_usd": None,
        "truncated": False,
        "coverage": None,
        "compared": None,
        "rows": rows[:shown],
        "more": {"count": len(rest), **{name: sum((row[name] for row in rest), Decimal(0)) for name in SUMS}},
        "total": {shown: truth.total(days, value=kept) for shown, kept in SUMS.items()},
    }


def summary(account: Account, key: ApiKey, *, managed: bool, **how: Any) -> dict[str, Any]:
    """The data of the whole summary, when nothing is missing and no budget is tighter than the key's limit."""
    knows_balance = managed or account.credits_for_inference_key == "real"
    left = account.truth.balance()
    balance = {"left_usd": left, "purchased_usd": account.total_credits, "used_usd": account.total_usage}
    limit = {
        "scope": "key_limit",
        "unlimited": key.limit is None,
        "limit_usd": key.limit,
        "remaining_usd": key.limit_remaining,
        "reset": key.limit_reset,
        "resets_at": instant(window_end(key.limit_reset, account.today())),  # type: ignore[arg-type]
    }
    bounds = {"balance": left} | ({} if key.limit_remaining is None else {"key_limit": key.limit_remaining})
    bound = min(bounds, key=lambda name: bounds[name])
    spendable = knows_balance and not key.is_management_key
    return {
        "scope": "account" if key.is_management_key else "key",
        "key_label": key.label,
        "taken_at": instant(account.now()),
        "age_s": 0,
        **{name: window(account, key, name) for name in WINDOWS},
        "balance": balance if knows_balance else None,
        "key_limit": None if key.is_management_key else limit,
        "tighter_budget": None,
        "spendable_usd": max(Decimal(0), bounds[bound]) if spendable else None,
        "spendable_bound_by": bound if spendable else None,
        "expires_at": instant(key.expires_at),
        "free_models_today": None
        if not account.free_requests_used
        else {"used": account.free_requests_used, "limit": account.free_quota()["limit"]},
        "breakdown": breakdown(account, **how) if managed else None,
        "fees": None,
        "partial": False,
        "missing": [],
    }


# -- how the faces write figures -----------------------------------------------------------------------------------


def dollars(amount: Decimal | int) -> str:
    """An amount as people read it: cents, and below a dollar as many of six decimals as it has."""
    amount = Decimal(amount)
    sign, size = ("-" if amount < 0 else ""), abs(amount)
    if size and size < Decimal("0.0000005"):
        return f"{sign}<$0.000001"
    if size >= 1:
        return f"{sign}${size.quantize(Decimal('0.01'), ROUND_HALF_UP):,}"
    whole, fraction = f"{size.quantize(Decimal('0.000001'), ROUND_HALF_UP):.6f}".split(".")
    fraction = fraction[:2] + fraction[2:].rstrip("0")
    return f"{sign}${whole}.{fraction}"


def with_byok(usage: Decimal | None, byok: Decimal | None, mark: str = "") -> str:
    """Credits, and BYOK money beside them."""
    if usage is None:
        return "unknown"
    return dollars(usage) + mark + (f" + {dollars(byok)} BYOK" if byok else "")


def limit_words(limit: dict[str, Any]) -> str:
    """What is left of a limit."""
    if limit["unlimited"]:
        return "none"
    moment = (limit["resets_at"] or "").replace("T00:00:00Z", " UTC")
    resets = f"{limit['reset']}, resets {moment}" if moment else limit["reset"] or "never resets"
    cap, left = dollars(limit["limit_usd"]), limit["remaining_usd"]
    if left is None:
        return f"{cap} (what is left is unknown; {resets})"
    if left <= 0:
        return f"exhausted{f', {dollars(-left)} over' if left else ''}: $0.00 left of {cap} ({resets})"
    return f"{dollars(left)} left of {cap} ({resets})"


def text_figures(data: dict[str, Any]) -> list[str]:
    """The lines of the text that carry figures, in their order."""
    windows = [data[name] for name in WINDOWS]
    mark = lambda name: MARK if data["spendable_bound_by"] == name else ""  # noqa: E731
    amounts = [
        f"{name.capitalize()}: {with_byok(data[name]['usage_usd'], data[name]['byok_usd'], '*' * (name == 'today'))}"
        for name in WINDOWS
    ]
    lines = [" | ".join(amounts)] if any(window["usage_usd"] is not None for window in windows) else []
    if data["balance"]:
        balance = data["balance"]
        lines.append(f"Balance: {dollars(balance['left_usd'])} / {dollars(balance['purchased_usd'])}{mark('balance')}")
    if data["key_limit"]:
        lines.append(f"Key limit: {limit_words(data['key_limit'])}{mark('key_limit')}")
    if data["tighter_budget"]:
        budget = data["tighter_budget"]
        lines.append(f"Budget ({budget['scope']}): {limit_words(budget)}{mark('budget')}")
    if data["breakdown"]:
        for row in data["breakdown"]["rows"]:
            lines.append(f"• {row['name']}: {with_byok(row['usage_usd'], row['byok_usd'])} ({row['requests']:,})")
        more = data["breakdown"]["more"]
        if more["count"]:
            lines.append(f"... and {more['count']} more ({with_byok(more['usage_usd'], more['byok_usd'])})")
    return lines


def line_face(data: dict[str, Any]) -> str:
    """The whole of the one-line face, for answers that are new and complete."""
    known = [name for name in ("today", "month") if data[name]["usage_usd"] is not None]
    pieces = [f"{with_byok(data[name]['usage_usd'], data[name]['byok_usd'])} {name}" for name in known]
    limit = data["key_limit"] or {"remaining_usd": None}
    if data["spendable_usd"] is not None:
        pieces.append(f"{dollars(data['spendable_usd'])} left")
    elif data["balance"]:
        pieces.append(f"{dollars(data['balance']['left_usd'])} balance")
    elif limit["remaining_usd"] is not None:
        pieces.append(f"{dollars(max(Decimal(0), limit['remaining_usd']))} of key limit left")
    return "💰 " + " · ".join(pieces) + "\n"


def plain(value: Any) -> str:
    """An exact amount in a cell."""
    if value is None:
        return ""
    text = f"{Decimal(value):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def table_rows(data: dict[str, Any]) -> list[dict[str, str]]:
    """The rows of the faces that are tables."""

    def row(kind: str, name: str, source: str, values: dict[str, Any], **more: Any) -> dict[str, str]:
        exact = {column: plain(values.get(column)) for column in ("usage_usd", "byok_usd", "requests")}
        ends = {"start_utc": values.get("start", ""), "end_utc": values.get("end", "")}
        rest = {"left_usd": plain(more.get("left")), "limit_usd": plain(more.get("limit"))}
        return {"kind": kind, "name": name, **ends, **exact, **rest, "source": source}

    rows = [row("window", name, data[name]["source"], data[name]) for name in WINDOWS]
    if data["balance"]:
        balance = data["balance"]
        ends = {"left": balance["left_usd"], "limit": balance["purchased_usd"]}
        rows.append(row("balance", "credits", "/credits", {"usage_usd": balance["used_usd"]}, **ends))
    for kind, limit in (("key_limit", data["key_limit"]), ("budget", data["tighter_budget"])):
        if limit:
            name = "unlimited" if limit["unlimited"] else limit["reset"] or "never resets"
            rows.append(row(kind, name, "/key", {}, left=limit["remaining_usd"], limit=limit["limit_usd"]))
    if data["breakdown"]:
        found = data["breakdown"]
        ends = {"start": found["start"], "end": found["end"]}
        for used in found["rows"]:
            rows.append(
                row(found["by"], used["name"], "/activity", used | (day_of(used) if found["by"] == "day" else ends))
            )
        if found["more"]["count"]:
            rows.append(row("more", f"{found['more']['count']} more", "/activity", found["more"] | ends))
        rows.append(row("total", f"all of {found['days']} days", "/activity", found["total"] | ends))
    return rows


def day_of(used: dict[str, Any]) -> dict[str, str]:
    """Beginning and end of the day that a row is about."""
    day = date.fromisoformat(used["name"])
    return {"start": f"{day}T00:00:00Z", "end": f"{day + timedelta(days=1)}T00:00:00Z"}


def read_csv(text: str) -> list[dict[str, str]]:
    """The rows of a CSV text."""
    return list(csv.DictReader(io.StringIO(text)))


def read_markdown(text: str) -> list[dict[str, str]]:
    """The rows of a Markdown table, without the escapes."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[re.sub(r"\\(.)", r"\1", cell.strip()) for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]
