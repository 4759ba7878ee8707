"""What is made of the versions of Python, SQLite, the packages and the skill; pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from openrouter_usage.diagnosis.finding import Finding, ok, problem, warning
from openrouter_usage.diagnosis.words import Words
from openrouter_usage.errors import LedgerError

AREA = "versions"
# The same as in requirements.txt.
FLOORS = {"requests": (2, 31), "python-dotenv": (1, 0)}
UNKNOWN = "(of unknown version)"
# Older ones do not know the way in which the index adds to its sums.
SQLITE_FLOOR = (3, 24)


class Versions(NamedTuple):
    """What runs here; a package that is missing has no version."""

    skill: str
    python: str
    executable: str
    system: str
    sqlite: str
    packages: tuple[tuple[str, str], ...]
    requirements: str


def findings(found: Versions, words: Words) -> list[Finding]:
    """Judge them: what is there stands in one line."""
    known = [f"{name} {version}" for name, version in found.packages if version]
    line = f"openrouter-usage {found.skill} with Python {found.python} ({words.path(found.executable)}), "
    told = [ok(AREA, f"{line}SQLite {found.sqlite}, {', '.join(known) or 'no packages'}, on {found.system}")]
    install = f'{words.path(found.executable)} -m pip install -r "{words.path(found.requirements)}"   or: uv run'
    for name, version in found.packages:
        floor = FLOORS[name]
        if not version:
            missing = problem(AREA, f"the Python package {name} is missing", f"run: {install}")
            told.append(missing._replace(code="missing_package"))
        elif version != UNKNOWN and numbers(version) < floor:
            told.append(warning(AREA, f"{name} {version} is older than {written(floor)}", f"run: {install}"))
    if numbers(found.sqlite) < SQLITE_FLOOR:
        text = f"SQLite {found.sqlite} is older than {written(SQLITE_FLOOR)}: the ledger has no index with it"
        told.append(problem(AREA, text, "use a newer Python, or: uv run", kind=LedgerError))
    return told


def numbers(version: str) -> tuple[int, ...]:
    """Read the numbers that a version begins with; none of what is no version."""
    begin = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(number[:9]) for number in begin.group().split(".")) if begin else ()


def written(version: tuple[int, ...]) -> str:
    """Write the numbers of a version."""
    return ".".join(map(str, version))
