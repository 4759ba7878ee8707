"""Set, show or clear the budget: the most that tracked calls may cost, enforced for every process of this machine."""

from __future__ import annotations

import os
from argparse import Namespace
from datetime import datetime
from decimal import Decimal

from openrouter_usage.cli.opening import ahead_notes, open_ledger, unsettled_notes
from openrouter_usage.cli.program import Parser, checked, write
from openrouter_usage.entry import Caps, Hold
from openrouter_usage.errors import SettingsError
from openrouter_usage.figures.limits import Scope, dated_ahead_from, scopes
from openrouter_usage.home.settings import VARIABLES, cap, load_caps, save_caps, save_preference
from openrouter_usage.ledger.ledger import Committed, Ledger
from openrouter_usage.money import Json, add, format_usd, multiply, ratio, rounded, share
from openrouter_usage.period import UTC, iso, spoken
from openrouter_usage.render.envelope import envelope
from openrouter_usage.text import plural

EXAMPLES = """examples:
  cost_tracker.py budget set --daily 10 --monthly 200 --per-request 0.50
  cost_tracker.py budget show
  cost_tracker.py budget clear

windows are OpenRouter's: the UTC day and the UTC calendar month; 0 means that nothing may be spent
"""
PROGRAM = "cost_tracker.py budget"
_REMEDY = "`cost_tracker.py settle` looks up what they cost"


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument("action", choices=("set", "show", "clear"), nargs="?", default="show", help="action (show)")
    for name, unit in (("daily", "a UTC day"), ("monthly", "a UTC month"), ("per_request", "one call")):
        flag = "--" + name.replace("_", "-")
        parser.add_argument(
            flag, type=checked(lambda text: cap(text, "the budget")), metavar="USD", help=f"most for {unit}"
        )


def run(options: Namespace, *, now: datetime | None = None) -> int:
    """Change the budget if asked to, and print its state."""
    given = {name: getattr(options, name) for name in VARIABLES if getattr(options, name) is not None}
    if options.action != "set" and given:
        raise SettingsError("amounts need `budget set`", hint="run: budget set --daily 10", code="usage")
    if options.action == "set":
        if not given:
            raise SettingsError("no amount was given", hint="run: budget set --daily 10 --monthly 200", code="usage")
        save_caps(given)
    elif options.action == "clear":
        save_preference("budget", None)
    now = now or datetime.now(UTC)
    caps = load_caps()
    ledger = open_ledger(PROGRAM)
    found, holds = _standing(ledger, caps, now)
    overriding = [variable for variable in VARIABLES.values() if os.environ.get(variable, "").strip()]
    notes = [f"{variable} in the environment overrides what is set here" for variable in overriding]
    notes += [*unsettled_notes(ledger.health()), *ahead_notes(ledger.ahead(dated_ahead_from(now)))]
    write(_as_json(caps, found, holds, notes, now) if options.json else _as_text(caps, found, holds, notes))
    return 0


def _standing(ledger: Ledger, caps: Caps, now: datetime) -> tuple[list[Scope], list[Hold]]:
    """Return all caps and holds as of one moment."""
    found: list[Scope] = []
    holds: list[Hold] = []

    def look(books: Committed) -> None:
        found.extend(scopes(caps, books, now))
        holds.extend(books.holds())

    ledger.committed(look)
    return found, holds


def _as_text(caps: Caps, found: list[Scope], holds: list[Hold], notes: list[str]) -> str:
    lines = ["💵 Budget (tracked calls of this machine, from the local ledger)"]
    if not caps.any:
        lines = ["No budget is set: calls are not limited. To set one: cost_tracker.py budget set --daily 10"]
    for scope in found:
        if scope.period is None:
            lines.append(f"{scope.name}: at most {format_usd(scope.cap)} a call")
            continue
        used = share(add(scope.spent, scope.held), scope.cap)
        lines.append(
            f"{scope.name}: {format_usd(scope.spent)} spent + {format_usd(scope.held)} held of {format_usd(scope.cap)} "
            f"({used}), {_left(scope)}, resets {spoken(scope.period.end)}"
        )
        if scope.unknown_calls:
            lines.append(f"  not counted: {plural(scope.unknown_calls, 'call')} of unknown cost")
        if scope.ahead_calls:
            calls = plural(scope.ahead_calls, "call")
            lines.append(
                f"  {format_usd(scope.ahead)} of it is in {calls} dated in the future, which count until corrected"
            )
    if holds:
        lines.append(f"{plural(len(holds), 'call')} running or unsettled{_open_ended(holds)}; {_REMEDY}")
    return "\n".join([*lines, *notes]) + "\n"


def _used_percent(scope: Scope) -> Decimal | None:
    """Return how much of a cap is spent or held, to a tenth of a percent; None without a cap, and per request."""
    if scope.period is None or not scope.cap:
        return None
    return rounded(ratio(multiply(add(scope.spent, scope.held), 100), scope.cap), Decimal("0.1"))


def _left(scope: Scope) -> str:
    return f"{format_usd(scope.left)} left" if scope.left >= 0 else f"overrun by {format_usd(scope.left.copy_abs())}"


def _open_ended(holds: list[Hold]) -> str:
    """Return how many calls began without a budget, so that nothing is held for them, in words."""
    count = sum(hold.max_cost is None for hold in holds)
    return f", {count:,} of them without a limit" if count else ""


def _as_json(caps: Caps, found: list[Scope], holds: list[Hold], notes: list[str], now: datetime) -> str:
    rows: list[Json] = [
        {
            "scope": scope.name,
            "cap_usd": scope.cap,
            "spent_usd": scope.spent if scope.period else None,
            "held_usd": scope.held if scope.period else None,
            "left_usd": scope.left if scope.period else None,
            "used_percent": _used_percent(scope),
            "unknown_cost_calls": scope.unknown_calls if scope.period else None,
            "ahead_calls": scope.ahead_calls if scope.period else None,
            "ahead_usd": scope.ahead if scope.period else None,
            "start": iso(scope.period.start) if scope.period else None,
            "resets_at": iso(scope.period.end) if scope.period else None,
        }
        for scope in found
    ]
    return envelope("budget", now, {"is_set": caps.any, "scopes": rows, "open_holds": len(holds)}, notes=notes)
