"""The plan of the code: which folder may import which; `python -m tests.plan` counts rooms, floors and circles.

A room is a module of `openrouter_usage`. Two questions find any room: which folder, which feature.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

HOUSE = Path(__file__).resolve().parent.parent / "scripts" / "openrouter_usage"
ROOT = "(root)"
# Every folder, from the bottom up, and what it may import beside itself.
FOLDERS: dict[str, set[str]] = {
    ROOT: set(),
    "home": {ROOT},
    "openrouter.answers": {ROOT},
    "openrouter": {ROOT, "home", "openrouter.answers"},
    "ledger": {ROOT, "home"},
    "figures": {ROOT, "openrouter.answers"},
    "figures.logs": {ROOT, "openrouter.answers", "figures"},
    "jobs": {ROOT, "home", "openrouter.answers", "openrouter", "ledger", "figures", "figures.logs"},
    "tracker": {ROOT, "home", "openrouter.answers", "openrouter", "ledger", "figures", "jobs"},
    "render": {ROOT, "openrouter.answers", "figures"},
    "gateway": {ROOT, "home", "openrouter.answers", "openrouter", "ledger", "figures", "jobs", "tracker", "render"},
}
FOLDERS["cli"] = {*FOLDERS}
FOLDERS["cli.verbs"] = {*FOLDERS}
# Folders, and rooms of the root, that open nothing, ask nobody and own no clock.
PURE = {"openrouter.answers", "figures", "figures.logs", "render", "errors", "money", "period", "text", "redaction", "entry", "budgets", "vocabulary"}
# A name that stands in several folders is one feature, whose parts they are.
SAME_NAME = {
    "account_days", "alert", "archive", "booking", "breakdown", "clean", "collect", "cost_tracker", "doctor", "gateway", "import_calls", "keys",
    "line", "management",
    "models", "page", "reconcile",
    "seen_in_logs",
    "report", "summary", "sync", "team",
}  # fmt: skip


def modules() -> Iterator[tuple[str, str]]:
    """Name and source of every module of the house; `__main__` is a door, as the scripts are."""
    for path in sorted(path for path in HOUSE.rglob("*.py") if path.name != "__main__.py"):
        yield ".".join(path.relative_to(HOUSE).with_suffix("").parts), path.read_text(encoding="utf-8")


def folder_of(name: str) -> str:
    """The folder that a module stands in."""
    folder = name.rpartition(".")[0]
    return folder or ROOT


def is_pure(name: str) -> bool:
    """Whether a module only thinks."""
    return (folder_of(name) if "." in name else name) in PURE


def imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every module that is imported, wherever it is done and be it for types alone; relative ones begin with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            whole = "." * node.level + (node.module or "")
            yield whole, node.lineno
            if whole.startswith("openrouter_usage"):  # `from openrouter_usage.ledger import spool` names a module as well
                yield from ((f"{whole}.{alias.name}", node.lineno) for alias in node.names)


def ours(module: str) -> str | None:
    """The name within the house, "" for the house itself, None for what is not ours."""
    is_ours = module == "openrouter_usage" or module.startswith("openrouter_usage.")
    return module.removeprefix("openrouter_usage").removeprefix(".") if is_ours else None


def arrows(sources: dict[str, str]) -> dict[str, set[str]]:
    """Which modules each module imports."""
    return {
        name: {ours(module) or "" for module, _ in imported(ast.parse(source))} & (sources.keys() - {name})
        for name, source in sources.items()
    }


def circles(edges: dict[str, set[str]]) -> set[str]:
    """The modules that are part of a circle, or stand above one."""
    left = {name: set(targets) for name, targets in edges.items()}
    while leaves := {name for name, targets in left.items() if not targets & left.keys()}:
        for name in leaves:
            del left[name]
    return set(left)


def floors(edges: dict[str, set[str]]) -> int:
    """How many folders stand on top of each other at most."""
    below: dict[str, set[str]] = {folder: set() for folder in FOLDERS}
    for name, targets in edges.items():
        below[folder_of(name)] |= {folder_of(target) for target in targets} - {folder_of(name)}

    def height(folder: str) -> int:
        return 1 + max((height(under) for under in below[folder]), default=0)

    return max(map(height, below))


def twins(sources: dict[str, str]) -> set[str]:
    """File names that stand in more than one folder without being parts of one feature."""
    last = [name.rpartition(".")[2] for name in sources if not name.endswith("__init__")]
    return {name for name in last if last.count(name) > 1} - SAME_NAME


def main() -> int:
    """Print the counts; 1 when there is a circle."""
    sources = {name: source for name, source in modules() if not name.endswith("__init__")}
    edges = arrows(sources)
    found = circles(edges)
    at_root = sum(1 for name in sources if "." not in name)
    print(
        f"plan: {len(sources)} rooms in {len(FOLDERS) - 1} folders, {at_root} root files, {floors(edges)} floors, "
        f"{sum(map(len, edges.values()))} arrows, {f'circles: {sorted(found)}' if found else 'no circle'}"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
