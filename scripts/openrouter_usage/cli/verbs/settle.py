"""Look up calls whose cost is not known yet, and report which ones are left."""

from __future__ import annotations

from argparse import Namespace
from datetime import datetime
from decimal import Decimal

from openrouter_usage.called import as_called
from openrouter_usage.cli.opening import open_ledger
from openrouter_usage.cli.program import Parser, checked, complain, whole_number, write
from openrouter_usage.entry import LARGEST_COST, Entry, Hold
from openrouter_usage.errors import InvalidValue, SettingsError
from openrouter_usage.money import Json, format_usd, usd
from openrouter_usage.period import iso, spoken
from openrouter_usage.render.envelope import envelope
from openrouter_usage.text import named, plural, safe
from openrouter_usage.tracker.booking import Settled, settle_all, settle_one

EXAMPLES = """examples:
  cost_tracker.py settle                                look up every call of unknown cost
  cost_tracker.py settle --id gen-...                   a call with an implausible bill, after you checked it
  cost_tracker.py settle --id gen-... --cost 0.02 --yes   the same, with the cost that you found
  cost_tracker.py settle --release HOLD --yes           a call that was certainly not billed
"""
PROGRAM = as_called("cost_tracker.py settle")


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--release", metavar="HOLD", help="end one hold by its full id, without a cost")
    which.add_argument("--id", metavar="GEN", help="settle one recorded call after you checked its bill")
    parser.add_argument("--cost", type=checked(_cost), metavar="USD", help="with --id: what the call cost")
    parser.add_argument("--yes", action="store_true", help="confirm --release or --cost")
    parser.add_argument(
        "--timeout", type=whole_number(1, 600), default=30, metavar="S", help="seconds for each look-up (30)"
    )


def _cost(text: str) -> Decimal:
    cost = usd(text)
    if not 0 <= cost <= LARGEST_COST:
        raise InvalidValue(f"a cost must be an amount from 0 to {LARGEST_COST:,} USD")
    return cost


def run(options: Namespace, *, now: datetime) -> int:
    """Print what was settled and what is left."""
    ledger = open_ledger(PROGRAM)
    if options.cost is not None and not options.id:
        raise SettingsError("--cost needs the call", hint="name the call with --id", code="usage")
    if options.release:
        if not options.yes:
            raise SettingsError(
                "releasing a hold frees its money and needs --yes", hint="add --yes to confirm", code="usage"
            )
        if not ledger.release(options.release, now):
            raise SettingsError(
                f"no open hold has the id {safe(options.release, 80)}", hint="run settle to list the open holds"
            )
        complain(PROGRAM, f"the hold {named(options.release)} is released: its money counts as free again")
    if options.id:
        if options.cost is not None and not options.yes:
            raise SettingsError(
                "recording a cost that you found yourself needs --yes", hint="add --yes to confirm", code="usage"
            )
        done = Settled((settle_one(ledger, options.id, now, cost=options.cost, timeout_s=options.timeout),), ())
    else:
        done = settle_all(ledger, now, timeout_s=options.timeout)
    write(_as_json(done, now) if options.json else _as_text(done))
    return 0


def _as_text(done: Settled) -> str:
    lines = [f"✔ {named(entry.model)}: {_billed(entry)} ({named(entry.id)})" for entry in done.entries]
    lines += [f"• {_left(what)}: {safe(why, 500)}" for what, why in done.left]
    if not lines:
        return "Nothing is unsettled.\n"
    lines.append(f"{plural(len(done.entries), 'call')} settled, {len(done.left):,} left")
    return "\n".join(lines) + "\n"


def _billed(entry: Entry) -> str:
    byok = f" + {format_usd(entry.byok_cost)} BYOK" if entry.byok_cost else ""
    return format_usd(entry.usage.cost) + byok


def _left(what: Hold | Entry) -> str:
    most = what.max_cost if isinstance(what, Hold) else what.cost
    amount = "an unknown amount" if most is None else f"up to {format_usd(most)}"
    which = f"hold {named(what.id)}" if isinstance(what, Hold) else named(what.id)
    return f"{named(what.model)} of {spoken(what.ts)}, {amount}, {which}"


def _as_json(done: Settled, now: datetime) -> str:
    settled: list[Json] = [{"generation_id": e.id, "model": e.model, "cost_usd": e.cost} for e in done.entries]
    left: list[Json] = [
        {
            "hold": what.id if isinstance(what, Hold) else None,
            "generation_id": (what.generation if isinstance(what, Hold) else what.id) or None,
            "model": what.model,
            "since": iso(what.ts),
            "max_cost_usd": what.max_cost if isinstance(what, Hold) else what.cost,
            "why": why,
        }
        for what, why in done.left
    ]
    return envelope("settle", now, {"settled": settled, "left": left})
