"""The ledger beside the account, per UTC day and model: what differs, and why as far as can be told; pure and exact."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.called import as_called
from openrouter_usage.entry import NOTHING, Hold, Usage
from openrouter_usage.figures.model_names import canonical, without_prefix
from openrouter_usage.figures.pricing import PriceList, without_routing
from openrouter_usage.figures.seen_in_logs import Seen, estimate_of, words_of
from openrouter_usage.money import ZERO, add, format_usd, subtract, total
from openrouter_usage.openrouter.answers.account import ActivityRow
from openrouter_usage.period import DAY
from openrouter_usage.text import named, plural

# -- Which names mean the same model: the requested, the billed and the dated one; pure.
#
# Names are joined by what OpenRouter says of them, never because two prices look alike.

# Deprecated at OpenRouter, and still found in ledgers: the model, with a search of the web.
_SEARCHING = ":online"


class Names:
    """Groups of names, each with the one that the account shows."""

    def __init__(self) -> None:
        """Begin with no names joined."""
        self._above: dict[str, str] = {}

    def join(self, one: str, other: str) -> None:
        """Record that two names mean the same model."""
        if one and other:
            self._above[self.group(other)] = self.group(one)

    def show_as(self, name: str) -> None:
        """Make a name the one that stands for all names of its model."""
        self._above[self.group(name)] = self._above[name] = name

    def group(self, name: str) -> str:
        """Return the name that stands for all names of its model."""
        found = name
        while self._above.get(found, found) != found:
            found = self._above[found]
        self._above[name] = found
        return found


def joined_names(rows: Iterable[ActivityRow], ledger_names: Iterable[str], prices: PriceList | None) -> Names:
    """Join what the account's rows, routing suffixes and the price list say is the same model."""
    names = Names()
    rows = list(rows)
    known = {name for row in rows for name in (row.model, row.slug)}
    for row in rows:
        names.join(row.model, row.slug)
    for name in ledger_names:
        plain = without_routing(without_prefix(name).removesuffix(_SEARCHING))
        names.join(plain, name)
        # Dated as OpenRouter dates them; that a date alone makes no other model is for the account to show.
        short = canonical(plain, prices.short_names if prices else None)
        if short != plain and short in known:
            names.join(short, plain)
        model = prices.find(plain) if prices and plain not in known else None
        if model is not None:
            for other in (model.id, model.slug, model.alias_of):
                names.join(other, plain)
    # The account's own name for a model, and of several the plainest and dearest, which therefore comes last.
    for row in sorted(rows, key=lambda row: (row.model != row.slug, ":" not in row.model, row.usage.cost)):
        names.show_as(row.model)
    return names


# -- Puts the ledger beside the account, per UTC day and model; pure, and exact to the last digit.

LedgerDays = Mapping[date, Mapping[str, Usage]]
# The calls of a model just before, and just after, the midnight that ends a day.
NearMidnight = Mapping[tuple[date, str], tuple[Decimal, Decimal]]


@dataclass(frozen=True, slots=True)
class Line:
    """One model on one UTC day, by the account and by the ledger; amounts in USD of credits.

    `moved` is what the ledger has under another day or name than the account: negative where it went. `matched` is
    what calls that both know by their ids cost: on the account, in the ledger, and the smaller of both for each call.
    `own` is what this key alone spent by the account; None where that cannot be known.
    """

    day: date
    model: str
    ledger_names: tuple[str, ...]
    account: Usage
    ledger: Usage
    moved: Decimal = ZERO
    matched: tuple[Decimal, Decimal, Decimal] = (ZERO, ZERO, ZERO)
    own: Decimal | None = None

    @property
    def known(self) -> Decimal:
        """What the ledger has that belongs to this day and model."""
        return add(self.ledger.cost, self.moved)

    @property
    def attributed(self) -> Decimal:
        """What both have: call by call where ids tell, of the rest what the sums have in common."""
        on_account, in_ledger, in_both = self.matched
        rest = min(subtract(self.account.cost, on_account), subtract(self.known, in_ledger))
        # Never less than nothing: money that was given back belongs to no call of the ledger.
        return max(ZERO, min(self.account.cost, self.known, add(in_both, max(ZERO, rest))))

    @property
    def unexplained(self) -> Decimal:
        """What only the account has."""
        return subtract(self.account.cost, self.attributed)

    @property
    def surplus(self) -> Decimal:
        """What only the ledger has."""
        return subtract(self.known, self.attributed)

    @property
    def is_proven(self) -> bool:
        """Check whether the account bills all calls that the ledger has here, so that their names are its own name."""
        is_paid = bool(self.ledger.cost) or self.account.requests >= self.ledger.requests
        return bool(self.account.requests) and is_paid and not self.surplus and not self.moved

    @property
    def by_others(self) -> Decimal | None:
        """What of the unexplained part other keys spent; the rest is this key's."""
        if self.own is None:
            return None
        elsewhere = max(ZERO, subtract(self.account.cost, self.own))
        not_seen = max(ZERO, subtract(self.own, self.known))
        return max(ZERO, min(elsewhere, subtract(self.unexplained, not_seen)))


@dataclass(frozen=True, slots=True)
class Comparison:
    """All lines of a period, and what they add up to; `knows_own` tells whether this key's part is known."""

    lines: tuple[Line, ...]
    knows_own: bool = False

    @property
    def account(self) -> Usage:
        """All that the account has."""
        return sum((line.account for line in self.lines), NOTHING)

    @property
    def ledger(self) -> Usage:
        """All that the ledger has."""
        return sum((line.ledger for line in self.lines), NOTHING)

    @property
    def attributed(self) -> Decimal:
        """What both have, in USD."""
        return total(line.attributed for line in self.lines)

    @property
    def unexplained(self) -> Decimal:
        """What only the account has, in USD."""
        return total(line.unexplained for line in self.lines)

    @property
    def surplus(self) -> Decimal:
        """What only the ledger has, in USD."""
        return total(line.surplus for line in self.lines)

    @property
    def by_others(self) -> Decimal | None:
        """What of the unexplained part other keys spent; None where that cannot be told."""
        if not self.knows_own:
            return None
        return total(line.by_others for line in self.lines if line.by_others is not None)

    @property
    def difference(self) -> Decimal:
        """What either side has alone, in USD, both ways together."""
        return total(add(line.unexplained.copy_abs(), line.surplus) for line in self.lines)

    @property
    def differing(self) -> list[Line]:
        """The lines where the two differ, the largest difference first."""
        found = [line for line in self.lines if line.unexplained or line.surplus]
        return sorted(found, key=lambda line: (subtract(line.attributed, _larger(line)), line.day, line.model))

    def of(self, known: Container[date], first: date, last: date) -> Comparison:
        """Keep the lines of the days from `first` to `last` that are known."""
        kept = tuple(line for line in self.lines if line.day in known and first <= line.day <= last)
        return replace(self, lines=kept)


def compare(
    account: Iterable[ActivityRow], ledger: LedgerDays, names: Names, *, own: Iterable[ActivityRow] | None = None
) -> Comparison:
    """Make a line of every day and model that either side has; `own` are the rows of this key alone."""
    billed = _grouped(account, names)
    own_billed = None if own is None else _grouped(own, names)
    booked: dict[tuple[date, str], dict[str, Usage]] = {}
    for day, by_name in ledger.items():
        for name, usage in by_name.items():
            booked.setdefault((day, names.group(name)), {})[name] = usage
    lines = []
    for day, model in sorted(billed.keys() | booked.keys()):
        calls = booked.get((day, model), {})
        alone = None if own_billed is None else own_billed.get((day, model), NOTHING).cost
        lines.append(
            Line(
                day,
                model,
                tuple(sorted(calls)),
                billed.get((day, model), NOTHING),
                sum(calls.values(), NOTHING),
                own=alone,
            )
        )
    return Comparison(tuple(lines), own_billed is not None)


def _larger(line: Line) -> Decimal:
    return max(line.account.cost.copy_abs(), line.known)


def _grouped(rows: Iterable[ActivityRow], names: Names) -> dict[tuple[date, str], Usage]:
    sums: dict[tuple[date, str], Usage] = {}
    for row in rows:
        key = (row.day, names.group(row.model))
        sums[key] = sums.get(key, NOTHING) + row.usage
    return sums


def borders(comparison: Comparison) -> Sequence[tuple[date, str]]:
    """Name the days, with a model, at whose end one side has too much and the other too little."""
    by_key = {(line.day, line.model): line for line in comparison.lines}
    found = []
    for line in comparison.lines:
        following = by_key.get((line.day + DAY, line.model))
        if following and ((line.surplus and following.unexplained) or (line.unexplained and following.surplus)):
            found.append((line.day, line.model))
    return found


def across_midnight(comparison: Comparison, near: NearMidnight) -> Comparison:
    """Count calls within minutes of a midnight to the day that the account has them on.

    No more is moved than the calls near that midnight cost, than one day has too much, and the other too little.
    """
    by_key = {(line.day, line.model): line for line in comparison.lines}
    for (day, model), (before, after) in sorted(near.items()):
        here, there = by_key[day, model], by_key[day + DAY, model]
        forward = min(here.surplus, there.unexplained, before)
        backward = min(there.surplus, here.unexplained, after)
        moved = subtract(backward, forward)
        by_key[day, model] = replace(here, moved=add(here.moved, moved))
        by_key[day + DAY, model] = replace(there, moved=subtract(there.moved, moved))
    return replace(comparison, lines=tuple(by_key[line.day, line.model] for line in comparison.lines))


# -- Why ledger and account differ, as far as that can be told apart, and which command helps; pure.

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
    same of calls whose cost the ledger does not know; `seen` is what other programs logged without an id.
    """

    today: date
    holds: Sequence[Hold]
    held: Decimal
    unknown: Decimal
    own_name: str
    by_key: Sequence[tuple[str, Usage]]
    seen: Sequence[Seen] = ()


def causes(comparison: Comparison, known: Circumstances) -> list[Cause]:
    """Name every reason that applies."""
    return [
        *_of_others(comparison, known),
        *_of_logs(comparison, known),
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
                as_called("stats.py --by key"),
            )
        return
    if others:
        yield Cause(
            "other_keys",
            others,
            f"{format_usd(others)} was spent by other keys{_who(known)}",
            as_called("stats.py --by key"),
        )
    own = subtract(comparison.unexplained, others)
    if own:
        yield Cause(
            "not_tracked",
            own,
            f"{format_usd(own)} was spent by this key and is not in the ledger: calls made elsewhere, or not tracked",
            as_called("cost_tracker.py call, or track_cost in the program that calls"),
        )


def _of_logs(comparison: Comparison, known: Circumstances) -> Iterator[Cause]:
    """Split what only the account has by the programs whose logs name calls without an id."""
    if comparison.unexplained > 0 and known.seen:
        yield Cause(
            "seen_in_logs",
            estimate_of(known.seen),
            f"of what is unexplained, {words_of(known.seen)}",
            as_called("cost_tracker.py collect"),
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
        as_called("cost_tracker.py settle"),
    )


def _of_costs(comparison: Comparison, known: Circumstances) -> Iterator[Cause]:
    unknown, estimated = comparison.ledger.unknown, comparison.ledger.estimated
    look_up = as_called("cost_tracker.py settle")
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
        yield Cause("byok", as_credits, text, as_called("cost_tracker.py query --id gen-..."))
    if as_byok:
        text = f"{format_usd(as_byok)} is in the ledger as BYOK money where the account has credits"
        yield Cause("byok", as_byok, text, as_called("cost_tracker.py query --id gen-..."))


def _of_surplus(comparison: Comparison, running: date) -> Iterator[Cause]:
    late = total(line.surplus for line in comparison.lines if line.day == running)
    if late:
        text = f"{format_usd(late)} of today is in the ledger and not yet on the account, which may lag by minutes"
        yield Cause("not_yet_billed", late, text, as_called("cost_tracker.py reconcile, in a few minutes"))
    rest = subtract(comparison.surplus, late)
    if rest:
        text = f"{format_usd(rest)} is in the ledger alone: calls of another account, or noted twice without an id"
        yield Cause("ledger_alone", rest, text, as_called("cost_tracker.py export --format csv"))


def _of_names(lines: Sequence[Line]) -> Iterator[Cause]:
    billed = {line.model for line in lines if line.account.requests or line.account.cost}
    alone = [line for line in lines if line.surplus and line.model not in billed]
    strange = sorted({name for line in alone for name in line.ledger_names})
    if strange:
        shown = ", ".join(map(named, strange[:_MOST_NAMES])) + (", ..." if len(strange) > _MOST_NAMES else "")
        text = f"the account has no calls of {shown}: it may bill them under another name"
        yield Cause("unknown_name", None, text, as_called("cost_tracker.py models NAME"))
