"""Elements of SVG and HTML with every value escaped: colours, a scale of round amounts, and stacked bars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import ROUND_CEILING, Context, Decimal
from html import escape
from typing import NamedTuple

from openrouter_usage.money import ZERO, add, format_usd, plain
from openrouter_usage.text import safe

# -- Writes elements of SVG and HTML: every text and every value is escaped, whatever it holds.

Value = str | int | float
Attributes = dict[str, Value]


def element(tag: str, /, *children: str, **attributes: Value) -> str:
    """Write an element around children that are written already; an underscore in a name stands for a hyphen."""
    inside = "".join(children)
    return f"<{tag}{_written(attributes)}>{inside}</{tag}>" if inside else f"<{tag}{_written(attributes)}/>"


def tag(name: str, /, *children: str, **attributes: Value) -> str:
    """Write an element of HTML, which has an end even when it holds nothing."""
    return f"<{name}{_written(attributes)}>{''.join(children)}</{name}>"


def text(words: object, limit: int = 1_000) -> str:
    """Write words that mean nothing to a browser: one printable line, with every sign of markup escaped."""
    return escape(safe(words, limit))


def _written(attributes: Attributes) -> str:
    return "".join(f' {_name(name)}="{escape(_number(value))}"' for name, value in attributes.items())


def _name(name: str) -> str:
    return name.rstrip("_").replace("_", "-") if name != "viewBox" else name


def _number(value: Value) -> str:
    """Write a value; a length to the hundredth of a pixel, which nobody sees."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


# -- The colours: told apart by people who see few of them, and by their contrast on light and on dark.


class Colours(NamedTuple):
    """What is painted how; `models` in the order of the stack."""

    ground: str
    card: str
    ink: str
    muted: str
    line: str
    models: tuple[str, ...]
    other: str
    byok: str
    unknown: str
    held: str
    over: str


LIGHT = Colours(
    ground="#f6f7f9",
    card="#ffffff",
    ink="#1a1d21",
    muted="#565d66",
    line="#dfe3e8",
    models=("#268bfc", "#165f58", "#ce50c7", "#6f35a2", "#9f8d0e", "#813c0b"),
    other="#6f757e",
    byok="#3c4450",
    unknown="#b3261e",
    held="#8a5a00",
    over="#b3261e",
)
DARK = Colours(
    ground="#14171c",
    card="#1c2027",
    ink="#e9ecf0",
    muted="#a9b1bb",
    line="#343b45",
    models=("#4862ed", "#5ed8a9", "#f877ef", "#7b638d", "#ccc23b", "#ad5c15"),
    other="#8b929c",
    byok="#c3cad3",
    unknown="#ff8a80",
    held="#e0a93b",
    over="#ff8a80",
)


def properties(colours: Colours) -> str:
    """Write colours as the custom properties of a style sheet."""
    single = {name: value for name, value in colours._asdict().items() if name != "models"}
    models = {f"model{number}": value for number, value in enumerate(colours.models)}
    return "".join(f"--{name}:{value};" for name, value in {**single, **models}.items())


def _referred() -> Colours:
    names = {name: f"var(--{name})" for name in Colours._fields if name != "models"}
    return Colours(**names, models=tuple(f"var(--model{number})" for number in range(len(LIGHT.models))))


# What the page paints with: the style sheet says which of the two it is.
THEMED = _referred()


# -- The scale of a chart: round amounts from nothing to a little more than the highest bar.

_MOST_STEPS = 5
# Below this, two ticks would round to the same amount.
_FINEST_STEP = Decimal("0.000001")
_PIXELS = Context(prec=18)
_ROUND_UP = Context(prec=60, rounding=ROUND_CEILING)


def ticks(most: Decimal) -> tuple[Decimal, ...]:
    """Return amounts for the lines of a chart: in steps of 1, 2 or 5, so that none has to be rounded to be written."""
    if most <= ZERO:
        return (ZERO,)
    step = max(_step(most), _FINEST_STEP)
    count = int(_ROUND_UP.quantize(_ROUND_UP.divide(most, step), Decimal(1)))
    return tuple(step * number for number in range(count + 1))


def _step(most: Decimal) -> Decimal:
    """Find the smallest round step of which at most five are needed."""
    power = Decimal(1).scaleb(most.adjusted() - 1)
    sizes = (power * size for size in (1, 2, 5, 10, 20, 50))
    return next(size for size in sizes if size * _MOST_STEPS >= most)


def part_of(amount: Decimal, whole: Decimal) -> float:
    """Return a part as a number from 0 to 1, for a length; figures are never made of it."""
    if whole <= ZERO or amount <= ZERO:
        return 0.0
    return min(1.0, float(_PIXELS.divide(amount, whole)))


# -- Stacked bars: one for each piece of a period, on a scale of round amounts.

AXIS_BELOW = 34
TO_COME = 0.45  # how much of the colour of the lines what is still to come has
_WIDEST_BAR = 0.09
_FILLED = 0.72
_MOST_LABELS = 8
_LEAST_HEIGHT = 1.5
_GAP = 1.0
_DIGIT = 7
_MOST_ABOVE = 2  # times as high as the highest bar


class Column(NamedTuple):
    """A bar as it is drawn: amounts from the ground up, each with its colour; `told` is shown when it is pointed at.

    An `is_unknown` one is a question mark in place of a bar, for nobody knows how high that would be.
    """

    label: str
    told: str
    amount: Decimal
    stacked: tuple[tuple[Decimal, str], ...]
    has_unknown: bool = False
    is_to_come: bool = False
    is_unknown: bool = False


class Space(NamedTuple):
    """How high bars may be, and how wide all of them: in pixels, or as wide as there is room."""

    height: float
    width: float | None = None

    def across(self, part: float) -> str:
        """Write a part of the width."""
        return f"{100 * part:.3f}%" if self.width is None else f"{self.width * part:.2f}"


def scale_of(columns: Sequence[Column], marks: Sequence[Decimal] = ()) -> tuple[Decimal, ...]:
    """Return the amounts at the lines behind the bars; every one of the `marks` is within them."""
    return ticks(max((*(column.amount for column in columns), *marks), default=ZERO))


def fits(mark: Decimal, columns: Sequence[Column]) -> bool:
    """Check whether an amount can be marked among bars without making them too low to be compared."""
    most = max((column.amount for column in columns), default=ZERO)
    return most > ZERO and mark <= most * _MOST_ABOVE


def axis_width(*charts: Sequence[Decimal]) -> int:
    """Return the room that the amounts beside the lines need, on each of the scales that stand one below the other."""
    return 10 + _DIGIT * max(len(format_usd(amount)) for scale in charts for amount in scale)


def axis(scale: Sequence[Decimal], space: Space, colours: Colours) -> Iterator[str]:
    """Write the amounts beside the lines, up to the right end of the room for them."""
    height, width = space.height, space.width or 0
    for amount in scale:
        y = height * (1 - part_of(amount, scale[-1]))
        style: Attributes = {"text_anchor": "end", "fill": colours.muted, "font_size": 12}
        yield element("text", text(format_usd(amount)), x=width - 8, y=y + 4, **style)


def plot(columns: Sequence[Column], space: Space, colours: Colours, marks: Sequence[Decimal] = ()) -> Iterator[str]:
    """Draw the lines, the bars, a mark below those with calls of unknown cost, and what some of them are called.

    A dashed line is drawn at each of the `marks`.
    """
    scale = scale_of(columns, marks)
    for amount in scale:
        y = space.height * (1 - part_of(amount, scale[-1]))
        line = colours.muted if not amount else colours.line
        yield element("line", x1=0, x2=space.across(1), y1=y, y2=y, stroke=line)
    for number, column in enumerate(columns):
        yield _column(column, (number, len(columns)), scale[-1], space, colours)
    for mark in marks:
        y = space.height * (1 - part_of(mark, scale[-1]))
        dashed: Attributes = {"stroke": colours.over, "stroke_width": 1.5, "stroke_dasharray": "6 4"}
        yield element("line", x1=0, x2=space.across(1), y1=y, y2=y, **dashed, class_="cap", data_usd=plain(mark))
    yield from _labels(columns, space, colours)


def _column(column: Column, where: tuple[int, int], most: Decimal, space: Space, colours: Colours) -> str:
    number, count = where
    width = min(_FILLED / count, _WIDEST_BAR)
    place: Attributes = {"x": space.across((number + 0.5) / count - width / 2), "width": space.across(width)}
    hit: Attributes = {"x": space.across(number / count), "width": space.across(1 / count)}
    # Wherever the pointer is above a bar, however low that is, its figures are told.
    parts = [element("rect", **hit, y=0, height=space.height + AXIS_BELOW, fill="transparent", class_="hit")]
    if column.is_to_come:
        parts.append(element("rect", **hit, y=0, height=space.height, fill=colours.line, fill_opacity=TO_COME))
    parts += [
        element("rect", **place, y=y, height=height, fill=colour) for y, height, colour in _stacked(column, most, space)
    ]
    if column.is_unknown:
        style: Attributes = {"text_anchor": "middle", "fill": colours.unknown, "font_size": 13}
        parts.append(element("text", "?", x=space.across((number + 0.5) / count), y=space.height - 6, **style))
    if column.has_unknown:
        mark: Attributes = {"fill": colours.card, "stroke": colours.unknown, "stroke_width": 1.5}
        parts.append(element("rect", **place, y=space.height + 5, height=5, **mark))
    return element("g", element("title", _lines(column.told)), *parts, class_="bar", data_usd=plain(column.amount))


def _lines(told: str) -> str:
    return "\n".join(text(line) for line in told.split("\n"))


def _stacked(column: Column, most: Decimal, space: Space) -> Iterator[tuple[float, float, str]]:
    """Return the top, the height and the colour of each part of a bar; no part that cost something is invisible."""
    full = space.height * part_of(column.amount, most)
    if column.amount > ZERO and full < _LEAST_HEIGHT:
        yield space.height - _LEAST_HEIGHT, _LEAST_HEIGHT, max(column.stacked)[1]
        return
    below = ZERO
    for amount, colour in column.stacked:
        low = space.height * part_of(below, most)
        below = add(below, amount)
        height = space.height * part_of(below, most) - low
        # A line of the ground keeps neighbours apart for those who see few colours.
        gap = _GAP if low and height > 2 * _GAP else 0.0
        if height > 0:
            yield space.height - low - height, height - gap, colour


def _labels(columns: Sequence[Column], space: Space, colours: Colours) -> Iterator[str]:
    """Name some of the bars; of many names, those of every second are left out where there is little room."""
    every = -(-len(columns) // _MOST_LABELS)
    named = range(0, len(columns), max(every, 1))
    style: Attributes = {"text_anchor": "middle", "fill": colours.muted, "font_size": 12}
    for position, number in enumerate(named):
        is_minor = position % 2 and len(named) > _MOST_LABELS / 2
        more: Attributes = {"class_": "minor"} if is_minor else {}
        x = space.across((number + 0.5) / len(columns))
        yield element("text", text(columns[number].label), x=x, y=space.height + 28, **style, **more)
