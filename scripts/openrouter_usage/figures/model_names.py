"""One name for a model, whatever it was called by: short, dated, or with a client's prefix; pure.

The ledger keeps the name that was billed. This one is for grouping, pricing and comparing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date

from openrouter_usage.entry import Usage
from openrouter_usage.vocabulary import joined, names_of, parts_of

# LiteLLM and others put the router before the vendor; openrouter/auto is a model of OpenRouter's own.
_PREFIX = re.compile(r"openrouter/(?=[^/@:]+/[^/])")
_DATE = re.compile(r"-(20\d\d)(-?)(\d\d)\2(\d\d)$", re.ASCII)
# OpenRouter lists openai/gpt-4o-2024-05-13 and its like as models of their own, at other prices; none is newer.
_FIRST_UNLISTED_YEAR = 2025
Canonical = Callable[[str], str]


def canonical(name: str, short_names: Mapping[str, str] | None = None) -> str:
    """Return the short name of a model; a variant such as `:free` is another model and stays.

    `short_names` lead from each name that OpenRouter lists to the short one; without them a date at the end goes.
    """
    base, sign, variant = without_prefix(name).partition(":")
    known = short_names.get(base) if short_names else None
    return (known or _without_date(base)) + sign + variant


def without_prefix(name: str) -> str:
    """Remove `openrouter/` from a name that continues with a vendor and a model; OpenRouter's own names have none."""
    return _PREFIX.sub("", name, count=1) if name.startswith("openrouter/") else name


def is_dated(name: str) -> bool:
    """Check whether a name ends with a day, so that OpenRouter's list may know a shorter one."""
    return _DATE.search(name.partition(":")[0]) is not None


def _without_date(base: str) -> str:
    found = _DATE.search(base)
    if found is None:
        return base
    year, dash, month, day = int(found[1]), found[2], int(found[3]), int(found[4])
    try:
        date(year, month, day)
    except ValueError:
        return base
    is_listed = dash and year < _FIRST_UNLISTED_YEAR
    return base if is_listed else base[: found.start()]


def short_names(models: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the short name of each id and dated slug of a price list; a listed id is its own short name."""
    listed = [(identity, slug) for identity, slug in models if ":" not in identity]
    # Of several models with one slug the plainest: an alias such as ~openai/gpt-latest has that of its model.
    listed.sort(key=lambda pair: (pair[0].startswith("~"), len(pair[0]), pair[0]), reverse=True)
    return {slug: identity for identity, slug in listed if slug} | {identity: identity for identity, _ in listed}


def grouped(groups: Mapping[str, Usage], name_of: Canonical) -> dict[str, Usage]:
    """Add up the groups of one model exactly, under its canonical name."""
    sums: dict[str, Usage] = {}
    for name, usage in groups.items():
        short = name_of(name)
        sums[short] = sums[short] + usage if short in sums else usage
    return sums


def grouped_by(groups: Mapping[str, Usage], by: str, name_of: Canonical) -> dict[str, Usage]:
    """Do the same where models are one of two groupings; groups without models stay as they are."""
    parts = parts_of(by)
    if "model" not in parts:
        return dict(groups)
    at = parts.index("model")

    def short(name: str) -> str:
        names = list(names_of(name))
        names[at] = name_of(names[at])
        return joined(names)

    return grouped(groups, short)


def models_in(groups: Iterable[str], by: str) -> set[str]:
    """Return the models among the names of groups."""
    parts = parts_of(by)
    return {names_of(name)[parts.index("model")] for name in groups} if "model" in parts else set()
