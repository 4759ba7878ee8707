"""Find out what unsettled calls cost: looks each one up, and says which ones are left."""

from __future__ import annotations

from argparse import Namespace
from datetime import datetime

from openrouter_usage.cli.books import open_ledger
from openrouter_usage.cli.output import complain, write
from openrouter_usage.cli.parser import Parser, whole_number
from openrouter_usage.entry import Hold
from openrouter_usage.errors import SettingsError
from openrouter_usage.exactjson import Json
from openrouter_usage.money import format_usd
from openrouter_usage.period import UTC, iso, spoken
from openrouter_usage.render.as_json import envelope
from openrouter_usage.text import named, plural, safe
from openrouter_usage.tracker.settling import Settled, settle_all

EXAMPLES = """examples:
  cost_tracker.py settle                          look up every unsettled call
  cost_tracker.py settle --release HOLD --yes     a call that surely was not billed
"""
PROGRAM = "cost_tracker.py settle"


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument("--release", metavar="HOLD", help="end one hold by its full id, without a cost")
    parser.add_argument("--yes", action="store_true", help="really release it")
    parser.add_argument(
        "--timeout", type=whole_number(1, 600), default=30, metavar="S", help="seconds for each look-up (30)"
    )


def run(options: Namespace, *, now: datetime | None = None) -> int:
    """Print what was settled and what is left."""
    ledger = open_ledger(PROGRAM)
    now = now or datetime.now(UTC)
    if options.release:
        if not options.yes:
            raise SettingsError(
                "a hold is only released with --yes", hint="its money counts as free again", code="usage"
            )
        if not ledger.release(options.release, now):
            raise SettingsError(f"no open hold has the id {safe(options.release, 80)}", hint="settle lists them")
        complain(PROGRAM, f"the hold {named(options.release)} is released: its money counts as free again")
    done = settle_all(ledger, now, timeout_s=options.timeout)
    write(_as_json(done, now) if options.json else _as_text(done))
    return 0


def _as_text(done: Settled) -> str:
    lines = [f"✔ {named(entry.model)}: {format_usd(entry.usage.cost)} ({named(entry.id)})" for entry in done.entries]
    lines += [f"• {_left(hold)}: {safe(why, 300)}" for hold, why in done.left]
    if not lines:
        return "Nothing is unsettled.\n"
    lines.append(f"{plural(len(done.entries), 'call')} settled, {len(done.left):,} left")
    return "\n".join(lines) + "\n"


def _left(hold: Hold) -> str:
    most = "an unknown amount" if hold.max_cost is None else f"up to {format_usd(hold.max_cost)}"
    return f"{named(hold.model)} of {spoken(hold.ts)}, {most}, hold {named(hold.id)}"


def _as_json(done: Settled, now: datetime) -> str:
    settled: list[Json] = [{"generation_id": e.id, "model": e.model, "cost_usd": e.cost} for e in done.entries]
    left: list[Json] = [
        {"hold": h.id, "model": h.model, "since": iso(h.ts), "max_cost_usd": h.max_cost, "why": why}
        for h, why in done.left
    ]
    return envelope("settle", now, {"settled": settled, "left": left})
