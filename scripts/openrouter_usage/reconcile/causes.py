"""Why ledger and account differ, as far as that can be told apart, and which command helps; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.entry import Hold
from openrouter_usage.money import ZERO, add, format_usd, subtract, total
from openrouter_usage.reconcile.compare import Comparison, Line
from openrouter_usage.text import named, plural
from openrouter_usage.usage import Usage

_MOST_NAMES = 3


class Cause(NamedTuple):
    """One reason: in a word, how much in USD (None where that is not known), and a sentence; what to run."""

    code: str
    amount: Decimal | None
    message: str
    command: str


class Circumstances(NamedTuple):
    """What is known beside the two sides: the running day, open holds, and who else spends.

    `held` is what the calls of those holds cost by the account, as far as they can be found there; `unknown` the
    same of calls whose cost the ledger does not know.
    """

    today: date
    holds: Sequence[Hold]
    held: Decimal
    unknown: Decimal
    own_name: str
    by_key: Sequence[tuple[str, Usage]]


def causes(comparison: Comparison, known: Circumstances) -> list[Cause]:
    """Name every reason that applies."""
    return [
        *_of_others(comparison, known),
        *_of_holds(known),
        *_of_costs(comparison, known),
        *_of_purses(comparison.lines),
        *_of_surplus(comparison, known.today),
        *_of_names(comparison.lines),
    ]


def _of_others(comparison: Comparison, known: Circumstances) -> Iterator[Cause]:
    others = comparison.by_others
    if others is None:
        if comparison.unexplained:
            yield Cause(
                "elsewhere",
                comparison.unexplained,
                f"{format_usd(comparison.unexplained)} was spent by other keys, or by calls that were not tracked",
                "stats.py --by key",
            )
        return
    if others:
        yield Cause(
            "other_keys", others, f"{format_usd(others)} was spent by other keys{_who(known)}", "stats.py --by key"
        )
    own = subtract(comparison.unexplained, others)
    if own:
        yield Cause(
            "not_tracked",
            own,
            f"{format_usd(own)} was spent by this key and is not in the ledger: calls made elsewhere, or not tracked",
            "cost_tracker.py call, or track_cost in the program that calls",
        )


def _who(known: Circumstances) -> str:
    others = [(name, usage) for name, usage in known.by_key if name != known.own_name and usage.cost]
    listed = [f"{named(name)} {format_usd(usage.cost)} in all" for name, usage in others[:_MOST_NAMES]]
    if len(others) > _MOST_NAMES:
        listed.append(f"{len(others) - _MOST_NAMES} more")
    return f" ({', '.join(listed)})" if listed else ""


def _of_holds(known: Circumstances) -> Iterator[Cause]:
    if not known.holds:
        return
    amounts = [hold.max_cost for hold in known.holds if hold.max_cost is not None]
    most = f"up to {format_usd(total(amounts))}" if len(amounts) == len(known.holds) else "at a cost that is not known"
    billed = f"; the account has {format_usd(known.held)} of them" if known.held else ""
    yield Cause(
        "unsettled",
        known.held or None,
        f"{plural(len(known.holds), 'call')} running or unsettled, {most}, not yet in the ledger{billed}",
        "cost_tracker.py settle",
    )


def _of_costs(comparison: Comparison, known: Circumstances) -> Iterator[Cause]:
    unknown, estimated = comparison.ledger.unknown, comparison.ledger.estimated
    look_up = "cost_tracker.py settle"
    if unknown:
        billed = f"; the account has {format_usd(known.unknown)} for them" if known.unknown else ""
        told = f"{plural(unknown, 'call')} in the ledger of unknown cost{billed}"
        yield Cause("unknown_cost", known.unknown or None, told, look_up)
    if estimated:
        told = f"{plural(estimated, 'call')} in the ledger whose cost is an estimate"
        yield Cause("estimated", None, told, look_up)


def _of_purses(lines: Iterable[Line]) -> Iterator[Cause]:
    """Find money that one side has as credits and the other as BYOK."""
    as_credits, as_byok = ZERO, ZERO
    for line in lines:
        byok_missing = subtract(line.account.byok_cost, line.ledger.byok_cost)
        as_credits = add(as_credits, min(line.surplus, max(ZERO, byok_missing)))
        as_byok = add(as_byok, min(line.unexplained, max(ZERO, subtract(ZERO, byok_missing))))
    if as_credits:
        text = f"{format_usd(as_credits)} is in the ledger as credits where the account has BYOK money"
        yield Cause("byok", as_credits, text, "cost_tracker.py query --id gen-...")
    if as_byok:
        text = f"{format_usd(as_byok)} is in the ledger as BYOK money where the account has credits"
        yield Cause("byok", as_byok, text, "cost_tracker.py query --id gen-...")


def _of_surplus(comparison: Comparison, running: date) -> Iterator[Cause]:
    late = total(line.surplus for line in comparison.lines if line.day == running)
    if late:
        text = f"{format_usd(late)} of today is in the ledger and not yet on the account, which may lag by minutes"
        yield Cause("not_yet_billed", late, text, "cost_tracker.py reconcile, in a few minutes")
    rest = subtract(comparison.surplus, late)
    if rest:
        text = f"{format_usd(rest)} is in the ledger alone: calls of another account, or noted twice without an id"
        yield Cause("ledger_alone", rest, text, "cost_tracker.py export --format csv")


def _of_names(lines: Sequence[Line]) -> Iterator[Cause]:
    billed = {line.model for line in lines if line.account.requests or line.account.cost}
    alone = [line for line in lines if line.surplus and line.model not in billed]
    strange = sorted({name for line in alone for name in line.ledger_names})
    if strange:
        shown = ", ".join(map(named, strange[:_MOST_NAMES])) + (", ..." if len(strange) > _MOST_NAMES else "")
        text = f"the account has no calls of {shown}: it may bill them under another name"
        yield Cause("unknown_name", None, text, "cost_tracker.py models NAME")
