"""The options that say what a budget allows, for `budget set` and `gateway key add`."""

from __future__ import annotations

from argparse import Namespace

from openrouter_usage.budgets import MOST_REPEATS, POLICIES, read_burst
from openrouter_usage.cli.program import Parser, checked, whole_number
from openrouter_usage.home.settings import CAPS, cap
from openrouter_usage.money import Json, plain

_UNITS = {
    "daily": "a UTC day",
    "weekly": "a UTC week",
    "monthly": "a UTC month",
    "total": "all time",
    "per_request": "one call",
}


def add_budget_options(parser: Parser, before: str = "") -> None:
    """Add the options; `before` stands before each one's help."""
    for name, unit in _UNITS.items():
        parser.add_argument(
            "--" + name.replace("_", "-"),
            type=checked(lambda text: cap(text, "the budget")),
            metavar="USD",
            help=f"{before}most for {unit}",
        )
    parser.add_argument("--policy", choices=POLICIES, help=f"{before}how running calls count (strict)")
    parser.add_argument(
        "--burst",
        type=checked(lambda text: str(read_burst(text))),
        metavar="USD/TIME",
        help=f"{before}a brake, such as 2.00/10min",
    )
    parser.add_argument(
        "--repeats",
        type=whole_number(1, MOST_REPEATS),
        metavar="N",
        help=f"{before}the same request at most so often a minute",
    )


def budget_given(options: Namespace) -> dict[str, Json]:
    """Return what was given of a budget, as the settings keep it."""
    amounts = {name: getattr(options, name) for name in CAPS}
    given: dict[str, Json] = {name: plain(amount) for name, amount in amounts.items() if amount is not None}
    more = {name: getattr(options, name) for name in ("policy", "burst", "repeats")}
    return given | {name: value for name, value in more.items() if value is not None}
