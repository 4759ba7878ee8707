"""Which combinations of cases are run: a spread of them as a rule, each of them with `make test EVERY_CASE=1`."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from typing import Any


def crossed(*factors: Iterable[Any]) -> list[tuple[Any, ...]]:
    """Return rows with every value of each factor, beside changing values of the others.

    There are as many rows as the longest factor has values, and all combinations with EVERY_CASE=1.
    """
    lists = [list(factor) for factor in factors]
    if os.environ.get("EVERY_CASE"):
        return list(itertools.product(*lists))
    # Moved by one at each round, so that two factors of the same length do not always meet in the same pairs.
    return [
        tuple(values[(row + row // len(values)) % len(values)] for values in lists)
        for row in range(max(map(len, lists)))
    ]
