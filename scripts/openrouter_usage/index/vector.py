"""A Usage as one whole number, so that the calls of a block are summed by plain additions.

Every figure has its own lane of bits, wide enough that the largest figures of `MOST_CALLS` calls do not
run over into the next. The index keeps money in three columns of eleven digits each, because SQLite adds
64-bit integers exactly and has nothing wider: ninety million calls of the largest cost fit.
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
MONEY = ("cost_high", "cost_mid", "cost_low", "byok_high", "byok_mid", "byok_low")
COLUMNS = COUNTS + MONEY
FINEST = 27
# What the largest figures of so many calls come to fits into the lanes, and into SQLite's integers.
MOST_CALLS = 2**22
_LIMB = 10**11
_WIDTHS = {"requests": 30, "cost": 150, "byok_cost": 150}
# What nearly every call has stands lowest: the numbers stay short, and adding them fast.
_USUAL = ("requests", "prompt_tokens", "completion_tokens", "cost")
_RARE = ("cached_tokens", "reasoning_tokens", "cache_write_tokens", "unknown", "estimated", "byok_cost")
SHIFT: dict[str, int] = {}
_MASK: dict[str, int] = {}
_place = 0
for _name in _USUAL + _RARE:
    SHIFT[_name], _MASK[_name] = _place, (1 << _WIDTHS.get(_name, 63)) - 1
    _place += _WIDTHS.get(_name, 63)
_COUNT_LANES = tuple((SHIFT[name], _MASK[name]) for name in COUNTS)
_COST, _COST_MASK, _BYOK = SHIFT["cost"], _MASK["cost"], SHIFT["byok_cost"]


def pack(usage: Usage) -> int:
    """Give a usage as one number; numbers add up as usages do."""
    vector = units(usage.cost) << _COST | units(usage.byok_cost) << _BYOK
    for name in COUNTS:
        vector |= getattr(usage, name) << SHIFT[name]
    return vector


def units(amount: Decimal) -> int:
    """Give USD in units of 10**-27; every amount of the ledger is a whole number of them."""
    return int(EXACT.scaleb(amount, FINEST))


def columns(vector: int) -> tuple[int, ...]:
    """Give a sum as the columns of the index."""
    counts = [vector >> shift & mask for shift, mask in _COUNT_LANES]
    return (*counts, *_limbs(vector >> _COST & _COST_MASK), *_limbs(vector >> _BYOK))


def _limbs(amount: int) -> tuple[int, int, int]:
    high, low = divmod(amount, _LIMB)
    return (*divmod(high, _LIMB), low)


def from_columns(values: tuple[int, ...]) -> Usage:
    """Give the Usage that columns stand for; sums of columns need not be normalised."""
    requests, unknown, estimated, prompt, completion, reasoning, cached, written, *money = values
    cost, byok = _amount(*money[:3]), _amount(*money[3:])
    return Usage(requests, prompt, completion, reasoning, cached, cost, byok, written, unknown, estimated)


def _amount(high: int, mid: int, low: int) -> Decimal:
    total = (high * _LIMB + mid) * _LIMB + low
    exact = Decimal(total).scaleb(-FINEST, EXACT)
    # 0.0025 and not 0.002500000000000000000000000: the value is the same, the page is readable.
    return exact.normalize(EXACT) if total else Decimal(0)
