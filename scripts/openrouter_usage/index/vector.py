"""A Usage as one whole number, so that the calls of a block are summed by plain additions.

Every figure has its own lane of bits, wide enough that the largest figures of 2**24 calls do not run
over into the next: 60 bits for tokens, 150 for money in units of 10**-27 USD. The index keeps money in
three columns of nine digits each, because SQLite adds 64-bit integers exactly and has nothing wider.
"""

from __future__ import annotations

from decimal import Decimal

from openrouter_usage.money import EXACT
from openrouter_usage.usage import Usage

# The order of the columns in the index: counts first, then credits and BYOK in three limbs each.
COUNTS = (
    "requests",
    "unknown",
    "estimated",
    "prompt_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "cached_tokens",
    "cache_write_tokens",
)
MONEY = ("cost_nano", "cost_atto", "cost_fine", "byok_nano", "byok_atto", "byok_fine")
COLUMNS = COUNTS + MONEY
FINEST = 27
_LIMB = 10**9
_WIDTHS = {"requests": 30, "cost": 150, "byok_cost": 150}
# What nearly every call has stands lowest: the numbers stay short, and adding them fast.
_USUAL = ("requests", "prompt_tokens", "completion_tokens", "cost")
_RARE = ("unknown", "estimated", "reasoning_tokens", "cached_tokens", "cache_write_tokens", "byok_cost")
SHIFT: dict[str, int] = {}
_MASK: dict[str, int] = {}
_place = 0
for _name in _USUAL + _RARE:
    SHIFT[_name], _MASK[_name] = _place, (1 << _WIDTHS.get(_name, 60)) - 1
    _place += _WIDTHS.get(_name, 60)


def pack(usage: Usage) -> int:
    """Give a usage as one number; numbers add up as usages do."""
    vector = units(usage.cost) << SHIFT["cost"] | units(usage.byok_cost) << SHIFT["byok_cost"]
    for name in COUNTS:
        vector |= getattr(usage, name) << SHIFT[name]
    return vector


def units(amount: Decimal) -> int:
    """Give USD in units of 10**-27; every amount of the ledger is a whole number of them."""
    return int(EXACT.scaleb(amount, FINEST))


def _lane(vector: int, name: str) -> int:
    return vector >> SHIFT[name] & _MASK[name]


def columns(vector: int) -> tuple[int, ...]:
    """Give a sum as the columns of the index."""
    counts = (_lane(vector, name) for name in COUNTS)
    return (*counts, *_limbs(_lane(vector, "cost")), *_limbs(_lane(vector, "byok_cost")))


def _limbs(amount: int) -> tuple[int, int, int]:
    high, fine = divmod(amount, _LIMB)
    return (*divmod(high, _LIMB), fine)


def from_columns(values: tuple[int, ...]) -> Usage:
    """Give the Usage that columns stand for; sums of columns need not be normalised."""
    counts = dict(zip(COUNTS, values[: len(COUNTS)], strict=True))
    money = values[len(COUNTS) :]
    return Usage(**counts, cost=_amount(*money[:3]), byok_cost=_amount(*money[3:]))


def _amount(nano: int, atto: int, fine: int) -> Decimal:
    total = (nano * _LIMB + atto) * _LIMB + fine
    exact = Decimal(total).scaleb(-FINEST, EXACT)
    # 0.0025 and not 0.002500000000000000000000000: the value is the same, the page is readable.
    return exact.normalize(EXACT) if total else Decimal(0)
