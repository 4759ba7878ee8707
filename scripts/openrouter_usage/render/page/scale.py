"""The scale of a chart: round amounts from nothing to a little more than the highest bar."""

from __future__ import annotations

from decimal import ROUND_CEILING, Context, Decimal

from openrouter_usage.money import ZERO

_MOST_STEPS = 5
# Below this, two ticks would round to the same amount.
_FINEST_STEP = Decimal("0.000001")
_PIXELS = Context(prec=18)
_ROUND_UP = Context(prec=60, rounding=ROUND_CEILING)


def ticks(most: Decimal) -> tuple[Decimal, ...]:
    """Give amounts for the lines of a chart: in steps of 1, 2 or 5, so that none has to be rounded to be written."""
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
    """Give a part as a number from 0 to 1, for a length; figures are never made of it."""
    if whole <= ZERO or amount <= ZERO:
        return 0.0
    return min(1.0, float(_PIXELS.divide(amount, whole)))
