"""The summary as one line for a status bar: the usual one, or one made of the user's own pieces."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime

from openrouter_usage.errors import SettingsError
from openrouter_usage.figures.summary import Summary, Window
from openrouter_usage.money import ZERO, format_usd
from openrouter_usage.render.amounts import window_amount
from openrouter_usage.text import ago, safe

_STALE_S = 120
_BETWEEN = " · "
_PIECE = re.compile(r"\{(\w*)\}")


def as_line(summary: Summary, now: datetime) -> str:
    """Write today's and the month's spend and what is left; figures older than two minutes tell their age."""
    windows = [_window(window, now) for window in (summary.today, summary.month) if window.usage is not None]
    pieces = [piece for piece in (*windows, _left(summary), _age(summary, now)) if piece]
    return "💰 " + (_BETWEEN.join(pieces) if windows or _left(summary) else "no figures") + _state(summary) + "\n"


def names_in(template: str) -> list[str]:
    """Return the names in a template such as `{today} · {left}`; SettingsError for an unknown one, or for none."""
    found = _PIECE.findall(template)
    unknown = [name for name in found if name not in NAMES]
    if unknown or not found:
        what = f"unknown name in the line: {{{safe(unknown[0], 40)}}}" if unknown else "no name in braces in the line"
        known = ", ".join(f"{{{name}}}" for name in NAMES)
        raise SettingsError(what, hint=f"the names are {known}", code="usage")
    return found


def as_own_line(template: str, summary: Summary, now: datetime, others: Mapping[str, str]) -> str:
    """Write the user's own line; a piece between dots is left out if its names stand for nothing here.

    `others` are the texts of the names that need more than the summary. The age of old figures, and that some are
    missing, is added also where the template does not ask for it.
    """
    names = names_in(template)
    told = {name: OF_SUMMARY[name](summary, now) if name in OF_SUMMARY else others.get(name, "") for name in names}
    pieces = []
    for piece in template.split(_BETWEEN):
        inside = _PIECE.findall(piece)
        if not inside or any(told[name] for name in inside):
            pieces.append(_PIECE.sub(lambda match: told[match[1]], piece))
    if "age" not in names and _age(summary, now):
        pieces.append(_age(summary, now))
    return _BETWEEN.join(pieces) + _state(summary) + "\n"


def _window(window: Window, now: datetime) -> str:
    """Write a window's spend; figures of a day or month that has ended name it, as the running one is unknown."""
    amount = window_amount(window)
    if now < window.period.end:
        return f"{amount} {window.period.label}"
    first = window.period.first_day
    return f"{amount} on {first}" if window.period.last_day == first else f"{amount} from {first}"


def _left(summary: Summary) -> str:
    """Write what can still be spent, or the one bound that is known."""
    if summary.spendable is not None:
        return f"{format_usd(summary.spendable)} left"
    if summary.balance:
        return f"{format_usd(summary.balance.balance)} balance"
    limit = summary.key_limit
    if limit is None or limit.remaining is None:
        return ""
    return f"{format_usd(max(limit.remaining, ZERO))} of key limit left"


def _age(summary: Summary, now: datetime) -> str:
    age_s = (now - summary.taken_at).total_seconds()
    return f"{ago(age_s)} old" if age_s >= _STALE_S else ""


def _state(summary: Summary) -> str:
    return " ⚠ partial" if summary.is_partial else ""


# What each name stands for; the later ones need more than the summary, and are made where they are asked for.
OF_SUMMARY: Mapping[str, Callable[[Summary, datetime], str]] = {
    "today": lambda summary, now: _window(summary.today, now),
    "week": lambda summary, now: _window(summary.week, now),
    "month": lambda summary, now: _window(summary.month, now),
    "left": lambda summary, now: _left(summary),
    "age": _age,
}
OTHERS = ("session", "spent", "budget", "runway")
NAMES = (*OF_SUMMARY, *OTHERS)
