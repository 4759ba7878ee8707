"""Set, show or clear the budget: the most that tracked calls may cost, enforced for every process of this machine."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.budgets import EVERY, KINDS, MACHINE, MEASURED, STRICT, TAG_KINDS, Budget, Burst, Owner, bounding
from openrouter_usage.called import as_called
from openrouter_usage.cli.budget_options import add_budget_options, budget_given
from openrouter_usage.cli.opening import ahead_notes, open_ledger, unsettled_notes, where_kept
from openrouter_usage.cli.program import Parser, whole_number, write
from openrouter_usage.cli.terminal import add_color, paint_of
from openrouter_usage.entry import LONGEST_NAME, Hold
from openrouter_usage.errors import SettingsError
from openrouter_usage.figures.forecast import (
    BudgetEnd,
    BudgetPace,
    budget_end,
    said_of_budget_end,
    tracked_pace,
)
from openrouter_usage.figures.limits import Scope, braked, dated_ahead_from, own_books, standings
from openrouter_usage.gateway.keys import load_keys
from openrouter_usage.home.settings import CAPS, VARIABLES, clear_budget, load_budgets, save_budget
from openrouter_usage.ledger.ledger import Committed, Ledger
from openrouter_usage.ledger.refused import remembered
from openrouter_usage.money import Json, add, format_usd, multiply, ratio, rounded, share, usd
from openrouter_usage.period import iso, spoken
from openrouter_usage.render.envelope import envelope
from openrouter_usage.render.paint import Paint
from openrouter_usage.text import named, plural, quoted, safe

EXAMPLES = """examples:
  cost_tracker.py budget set --daily 10 --monthly 200 --per-request 0.50
  cost_tracker.py budget set --client laptop --daily 5 --burst 2.00/10min
  cost_tracker.py budget set --session '*' --total 3 --policy measured
  cost_tracker.py budget
  cost_tracker.py budget clear --client laptop
  cost_tracker.py budget log --last 5

windows are OpenRouter's: the UTC day, the week from Monday and the calendar month; 0 means that nothing may be spent
"""
PROGRAM = as_called("cost_tracker.py budget")
_REMEDY = as_called("`cost_tracker.py settle` looks up what they cost")
_BAR = 20
_NEAR_PERCENT = 80


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument(
        "action", choices=("set", "show", "clear", "log"), nargs="?", default="show", help="action (show)"
    )
    owner = parser.add_mutually_exclusive_group()
    for kind in KINDS[1:]:
        owner.add_argument(
            f"--{kind}", metavar="NAME", help=f"the budget of one {kind}, not of the machine; '*' is each other one"
        )
    owner.add_argument("--machine", metavar="NAME", help="with --team: the budget of one machine of the team")
    parser.add_argument(
        "--team", action="store_true", help="in the shared ledger, for all its members (administrators)"
    )
    add_budget_options(parser)
    add_color(parser)
    parser.add_argument("--last", type=whole_number(1, 10_000), default=20, metavar="N", help="log: so many (20)")


class _Standing(NamedTuple):
    """How a budget stands: each of its caps, the pace of its calls, and what its brake counts, None without one."""

    scopes: list[Scope]
    brake: tuple[Decimal, Decimal] | None
    pace: BudgetPace = BudgetPace(None)


class _How(NamedTuple):
    """The moment of which the text is, and its colours."""

    now: datetime
    paint: Paint

    def marked(self, scope: Scope, text: str) -> str:
        """Colour the line of a cap that is used up, or nearly."""
        used = _used_percent(scope)
        if scope.left <= 0:
            return self.paint.over(text)
        return self.paint.near(text) if used is not None and used >= _NEAR_PERCENT else text


class _Kept(NamedTuple):
    """A budget, and where it was set."""

    budget: Budget
    source: str


def run(options: Namespace, *, now: datetime) -> int:
    """Change a budget if asked to, and print the state of all, or of the one that was named."""
    given, owner = budget_given(options), _owner(options)
    if options.action != "set" and given:
        raise SettingsError("amounts need `budget set`", hint="run: budget set --daily 10", code="usage")
    if options.action == "log":
        return _log(options, owner, now)
    if options.action == "set":
        if not given:
            raise SettingsError("no amount was given", hint="run: budget set --daily 10 --monthly 200", code="usage")
        if options.team:
            _set_in_team(open_ledger(PROGRAM), owner, given)
        else:
            save_budget(owner, given)
    elif options.action == "clear" and options.team:
        _set_in_team(open_ledger(PROGRAM), owner, {})
    elif options.action == "clear" and not clear_budget(owner) and owner is not None:
        raise SettingsError(f"no budget is set for {owner.kind} {named(owner.name)}", hint="`budget` shows all")
    ledger = open_ledger(PROGRAM)
    kept = [each for each in _kept(ledger) if options.action != "show" or owner in (None, each.budget.owner)]
    if options.action == "show" and owner is not None and not kept:
        raise SettingsError(f"no budget is set for {owner.kind} {named(owner.name)}", hint="`budget` shows all")
    found, holds = _standing(ledger, kept, now)
    overriding = [variable for variable in VARIABLES.values() if os.environ.get(variable, "").strip()]
    notes = [f"{variable} in the environment overrides what is set here" for variable in overriding]
    notes += [*unsettled_notes(ledger.health()), *ahead_notes(ledger.ahead(dated_ahead_from(now)))]
    if options.json:
        write(envelope("budget", now, {**_data(kept, found, holds, now), "ledger": where_kept(ledger)[1]}, notes=notes))
    else:
        how = _How(now, paint_of(options))
        write(_as_text(ledger, kept, found, holds, notes=notes, how=how))
    return 0


def _owner(options: Namespace) -> Owner | None:
    """Return whose budget is meant, None for the machine's; SettingsError for a name that no call can have."""
    if options.machine is not None and not options.team:
        raise SettingsError("--machine needs --team", hint="the budget of this machine needs no name", code="usage")
    for kind in KINDS:
        name = getattr(options, kind)
        if name is not None:
            has_blanks = name.split() != [name] and kind != "session"
            if not name.strip() or len(name) > LONGEST_NAME or has_blanks or not name.isprintable():
                raise SettingsError(
                    f"this cannot be the name of a {kind}: {quoted(name, 40)}",
                    hint=f"a name has 1 to {LONGEST_NAME} characters that can be shown"
                    + ("" if kind == "session" else ", and no blanks"),
                    code="usage",
                )
            return Owner(kind, name)
    return None


def _set_in_team(ledger: Ledger, owner: Owner | None, given: dict[str, Json]) -> None:
    """Set caps in the shared ledger, or remove all of an owner where none is given."""
    from openrouter_usage.jobs.team import require_shared

    shared = require_shared(ledger)
    odd = next((name for name in ("burst", "repeats") if name in given), "")
    if odd:
        raise SettingsError(
            f"--{odd} is kept on a machine, not in a shared ledger", hint="leave out --team for it", code="usage"
        )
    amounts = {name: usd(given[name]) for name in CAPS if name in given}
    if given and not amounts:
        raise SettingsError("no amount was given", hint="run: budget set --team --daily 10", code="usage")
    caps = amounts or dict.fromkeys(CAPS)
    shared.set_caps(owner or MACHINE, caps, str(given.get("policy", STRICT)))


def _kept(ledger: Ledger) -> Iterator[_Kept]:
    yield from (_Kept(budget, "shared ledger") for budget in ledger.caps())
    yield from (_Kept(budget, "settings") for budget in load_budgets())
    yield from (_Kept(key.budget, "gateway key") for key in load_keys())


def _standing(ledger: Ledger, kept: list[_Kept], now: datetime) -> tuple[list[_Standing], list[Hold]]:
    """Return the caps of each budget, and all holds, as of one moment; one for every name stands nowhere by itself."""
    found: list[_Standing] = []
    holds: list[Hold] = []

    def look(books: Committed) -> None:
        for budget, _ in kept:
            if budget.owner.name == EVERY:
                found.append(_Standing([], None))
                continue
            own = own_books(budget, books)
            brake = braked(budget, own, now) if budget.burst else None
            pace = tracked_pace(own.spent, now)
            found.append(_Standing(list(standings([budget], books, now)), brake, pace))
        holds.extend(books.holds())

    ledger.committed(look)
    return found, holds


def _as_text(
    ledger: Ledger, kept: list[_Kept], found: list[_Standing], holds: list[Hold], *, notes: list[str], how: _How
) -> str:
    shared = where_kept(ledger)[0] if ledger.is_shared else ""
    whose = f"of all who share {shared}" if shared else "of this machine, from the local ledger"
    lines = [f"💵 Budget (tracked calls {whose})"]
    if not any(each.budget.is_bounding or each.budget.repeats for each in kept):
        lines = [
            as_called("No budget is set: calls are not limited. To set one: cost_tracker.py budget set --daily 10"),
            *([f"Calls are in {shared}"] if shared else []),
        ]
    for (budget, _), standing in zip(kept, found, strict=True):
        of = f"{budget.owner.kind} {named(budget.owner.name)}, " if budget.owner.name else ""
        if budget.owner.name == EVERY:
            of = f"each other {budget.owner.kind}, "
            caps = {name.replace("_", "-"): cap for name, cap in budget.caps._asdict().items() if cap is not None}
            lines += [f"{of}{name}: at most {format_usd(cap)} ({budget.policy})" for name, cap in caps.items()]
        lines += [line for scope in standing.scopes for line in _lines(scope, of, standing.pace, how)]
        if budget.burst is not None:
            lines.append(f"{of}brake: {_braked(standing)}{format_usd(budget.burst.amount)} in {_spoken(budget.burst)}")
        if budget.repeats is not None:
            lines.append(f"{of}brake: the same request at most {plural(budget.repeats, 'time')} a minute")
    hows = (each.pace.pace.how for each in found if each.pace.pace and any(scope.period for scope in each.scopes))
    lines += [f"Pace: {how_found}" for how_found in dict.fromkeys(hows)]
    if holds:
        lines.append(f"{plural(len(holds), 'call')} running or unsettled{_open_ended(holds)}; {_REMEDY}")
    return "\n".join([*lines, *notes]) + "\n"


def _lines(scope: Scope, of: str, pace: BudgetPace, how: _How) -> Iterator[str]:
    if scope.period is None:
        yield f"{of}{scope.name}: at most {format_usd(scope.cap)} a call" + _policy(scope)
        return
    used = share(add(scope.spent, scope.held), scope.cap)
    until = f", resets {spoken(scope.resets_at)}" if scope.resets_at else ""
    yield how.marked(
        scope,
        f"{of}{scope.name}: {format_usd(scope.spent)} spent + {format_usd(scope.held)} held of {format_usd(scope.cap)} "
        f"({used}), {_left(scope)}{until}",
    )
    end = budget_end(scope, pace, how.now)
    said = f"  {said_of_budget_end(scope, end, how.now)}"
    yield how.paint.unknown(said) if end.outlook == "unknown" else said
    yield f"  {_bar(scope)} {scope.policy}{_overshoot(scope)}"
    if scope.unknown_calls:
        yield f"  not counted: {plural(scope.unknown_calls, 'call')} of unknown cost"
    if scope.ahead_calls:
        calls = plural(scope.ahead_calls, "call")
        yield f"  {format_usd(scope.ahead)} of it is in {calls} dated in the future, which count until corrected"


def _policy(scope: Scope) -> str:
    return f" ({scope.policy})"


def _bar(scope: Scope) -> str:
    """Draw what is spent, held and left of a cap; anything spent shows, and only a full one is full."""
    if not scope.cap:
        return "█" * _BAR

    def cells(amount: Decimal) -> int:
        whole = ratio(multiply(amount, _BAR), scope.cap)
        return min(_BAR, max(int(whole), 1 if amount > 0 else 0))

    spent = cells(scope.spent)
    both = max(spent, min(_BAR, spent + cells(scope.held)))
    return "█" * spent + "▒" * (both - spent) + "░" * (_BAR - both)


def _overshoot(scope: Scope) -> str:
    if scope.policy != MEASURED:
        return ""
    most = scope.largest_overshoot
    return (
        f": the calls that run now can pass it by at most {format_usd(most)}"
        if most
        else ": no running call can pass it"
    )


def _braked(standing: _Standing) -> str:
    if standing.brake is None:
        return "at most "
    spent, held = standing.brake
    return f"{format_usd(spent)} spent + {format_usd(held)} held of "


def _spoken(burst: Burst) -> str:
    seconds = burst.seconds
    return next(
        f"{seconds // size:,} {unit}" for unit, size in (("h", 3600), ("min", 60), ("s", 1)) if not seconds % size
    )


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


def _data(kept: list[_Kept], found: list[_Standing], holds: list[Hold], now: datetime) -> dict[str, Json]:
    rows: list[Json] = [
        {
            "scope": scope.name,
            "kind": scope.owner.kind,
            "name": scope.owner.name or None,
            "policy": scope.policy,
            "set_in": source,
            "cap_usd": scope.cap,
            "spent_usd": scope.spent if scope.period else None,
            "held_usd": scope.held if scope.period else None,
            "left_usd": scope.left if scope.period else None,
            "used_percent": _used_percent(scope),
            "largest_overshoot_usd": scope.largest_overshoot if scope.period else None,
            "unknown_cost_calls": scope.unknown_calls if scope.period else None,
            "ahead_calls": scope.ahead_calls if scope.period else None,
            "ahead_usd": scope.ahead if scope.period else None,
            "start": iso(scope.period.start) if scope.period and scope.name != "total" else None,
            "resets_at": iso(scope.resets_at) if scope.resets_at else None,
            **_end_data(scope, standing.pace, now),
        }
        for (_, source), standing in zip(kept, found, strict=True)
        for scope in standing.scopes
    ]
    rules: list[Json] = [
        _rule(budget, source, standing)
        for (budget, source), standing in zip(kept, found, strict=True)
        if budget.is_bounding or budget.repeats
    ]
    is_set = bounding(each.budget for each in kept)
    return {"is_set": is_set, "scopes": rows, "budgets": rules, "open_holds": len(holds)}


def _end_data(scope: Scope, pace: BudgetPace, now: datetime) -> dict[str, Json]:
    """Return when a cap is reached at the pace of its calls; null per request."""
    end: BudgetEnd | None = budget_end(scope, pace, now) if scope.period else None
    found = end.pace.pace if end else None
    return {
        "outlook": end.outlook if end else None,
        "ends_at": iso(end.ends_at) if end and end.ends_at else None,
        "usd_per_day": found.shown if found else None,
        "pace": found.how if found else None,
    }


def _rule(budget: Budget, source: str, standing: _Standing) -> dict[str, Json]:
    """Return what one budget says, whether or not a call has fallen under it yet."""
    amounts: dict[str, Json] = {f"{name}_usd": amount for name, amount in budget.caps._asdict().items()}
    return {
        "kind": budget.owner.kind,
        "name": budget.owner.name or None,
        "policy": budget.policy,
        "set_in": source,
        **amounts,
        "burst_usd": budget.burst.amount if budget.burst else None,
        "burst_seconds": budget.burst.seconds if budget.burst else None,
        "burst_spent_usd": standing.brake[0] if standing.brake else None,
        "burst_held_usd": standing.brake[1] if standing.brake else None,
        "repeats_a_minute": budget.repeats,
    }


# -- Why calls were refused: what is remembered of them, without a word of what they said.

_TEXTS = ("ts", "code", "kind", "name", "scope", "policy", "model", "session", *TAG_KINDS, "resets_at", "message")
_ALWAYS = ("ts", "code", "model", "message")
_USD = ("asked_usd", "spent_usd", "held_usd", "cap_usd")


def _log(options: Namespace, owner: Owner | None, now: datetime) -> int:
    """Print the newest refusals, of all or of one owner's calls."""
    try:
        found = [_read(each) for each in remembered(open_ledger(PROGRAM).path)]
    except OSError as error:
        raise SettingsError(
            f"the list of refusals cannot be read: {error.strerror or error}",
            hint="delete it; it lies beside the ledger",
        ) from None
    wanted = [each for each in found if owner is None or each.get(owner.kind) == owner.name]
    newest: list[Json] = list(wanted[-options.last :])
    if options.json:
        write(envelope("refusals", now, {"refusals": newest, "remembered": len(wanted)}))
        return 0
    lines = [_refusal(each) for each in wanted[-options.last :]]
    rest = len(wanted) - len(lines)
    lines = lines or ["No refused call is remembered."]
    write("\n".join([*lines, *([f"... and {rest:,} before them"] if rest else [])]) + "\n")
    return 0


def _read(kept: Mapping[str, Json]) -> dict[str, Json]:
    """Return what is understood of a remembered refusal; the file may hold anything."""
    texts: dict[str, Json] = {}
    for name in _TEXTS:
        value = kept.get(name)
        texts[name] = safe(value, 1_000) if isinstance(value, str) else "" if name in _ALWAYS else None
    amounts = {name: kept.get(name) for name in _USD}
    return texts | {name: value if isinstance(value, (Decimal, int)) else None for name, value in amounts.items()}


def _refusal(row: Mapping[str, Json]) -> str:
    who = [f"{kind} {named(str(row[kind]))}" for kind in (*TAG_KINDS, "session") if row.get(kind)]
    of = f" ({', '.join(who)})" if who else ""
    return f"• {row['ts']} {named(str(row['model']))}{of}: {row['message']}"
