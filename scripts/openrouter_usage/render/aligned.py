"""A breakdown as an aligned table with a total row, its decimal points in line, as wide as the terminal; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from openrouter_usage.entry import Usage
from openrouter_usage.figures.breakdown import Breakdown
from openrouter_usage.money import format_usd, share
from openrouter_usage.period import Period
from openrouter_usage.render.amounts import day_names
from openrouter_usage.render.paint import Paint
from openrouter_usage.text import columns, named, plural
from openrouter_usage.vocabulary import names_of

_INDENT, _GAP = "  ", "  "
_LEAST_NAME = 12
_UNKNOWN = "unknown"


class _Line(NamedTuple):
    """A row: its name, and its sums; None for days that are not known."""

    name: str
    usage: Usage | None


def table(breakdown: Breakdown, unknown: Iterable[Period], *, width: int | None, paint: Paint) -> list[str]:
    """Return the rows with a head and a total; names are cut where the table has to fit into `width` columns.

    `unknown` are spans between days that are in no sum; each one is a row.
    """
    lines = [*_lines(breakdown, unknown), _Line("Total", breakdown.total)]
    cells = [_column(heading, [told(each) for each in lines]) for heading, told in _columns(breakdown)]
    names = _names([breakdown.by.replace(",", " · "), *(line.name for line in lines)], cells, width)
    rows = [_INDENT + _GAP.join([name, *(column[at] for column in cells)]).rstrip() for at, name in enumerate(names)]
    rule = _INDENT + "-" * (max(map(columns, rows)) - len(_INDENT))
    painted = [_painted(row, line, paint) for row, line in zip(rows[1:], lines, strict=True)]
    return [rows[0], *painted[:-1], rule, painted[-1]]


def _lines(breakdown: Breakdown, unknown: Iterable[Period]) -> list[_Line]:
    rows = [_Line(" · ".join(map(named, names_of(name))), usage) for name, usage in breakdown.rows]
    if not breakdown.is_in_order:
        more = [_Line(f"... and {breakdown.more_count:,} more", breakdown.more)] if breakdown.more_count else []
        return rows + more
    rows += [_Line(day_names(span), None) for span in unknown]
    rows.sort(key=lambda row: row.name)
    count = plural(breakdown.more_count, f"earlier {breakdown.by}")
    return [_Line(f"... {count}", breakdown.more), *rows] if breakdown.more_count else rows


def _columns(breakdown: Breakdown) -> list[tuple[str, Callable[[_Line], str]]]:
    """Return the columns with what each one says; those that are empty in every row are left out."""
    whole = breakdown.total

    def of(told: Callable[[Usage], str], unknown: str = "") -> Callable[[_Line], str]:
        return lambda line: unknown if line.usage is None else told(line.usage)

    found = [
        ("cost", of(lambda usage: _UNKNOWN if _is_unknown(usage) else format_usd(usage.cost), _UNKNOWN)),
        ("share", of(lambda usage: "" if _is_unknown(usage) else share(usage.cost, whole.cost))),
        ("calls", of(lambda usage: f"{usage.requests:,}")),
        ("tokens", of(lambda usage: f"{usage.total_tokens:,}")),
    ]
    if whole.byok_cost:
        found.insert(1, ("BYOK", of(lambda usage: format_usd(usage.byok_cost) if usage.byok_cost else "")))
    if whole.unknown:
        found.append(("unknown cost", of(lambda usage: f"{usage.unknown:,}" if usage.unknown else "")))
    return found


def _is_unknown(usage: Usage) -> bool:
    return bool(usage.unknown) and usage.unknown == usage.requests


def _column(heading: str, cells: Sequence[str]) -> list[str]:
    """Return a heading and its cells at one width, with the decimal points of amounts below one another."""
    after = max((len(cell) - cell.index(".") for cell in cells if "." in cell), default=0)
    in_line = [
        cell if cell in ("", _UNKNOWN) else cell + " " * (after - (len(cell) - cell.index(".") if "." in cell else 0))
        for cell in cells
    ]
    widest = max(len(heading), *map(len, in_line))
    return [each.rjust(widest) for each in (heading, *in_line)]


def _names(names: Sequence[str], cells: Sequence[Sequence[str]], width: int | None) -> list[str]:
    room = max(map(columns, names))
    if width is not None:
        taken = len(_INDENT) + sum(len(_GAP) + len(column[0]) for column in cells)
        room = min(room, max(_LEAST_NAME, width - taken))
    cut = [_cut(name, room) for name in names]
    return [name + " " * (room - columns(name)) for name in cut]


def _cut(name: str, room: int) -> str:
    if columns(name) <= room:
        return name
    while columns(name) > room - 1:
        name = name[:-1]
    return f"{name}…"


def _painted(row: str, line: _Line, paint: Paint) -> str:
    is_unknown = line.usage is None or bool(line.usage.unknown)
    return paint.unknown(row) if is_unknown else row
