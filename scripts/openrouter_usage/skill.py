"""The skill's own folder: which files in it came with the skill, so that nothing the program writes replaces one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

SKILL_FOLDER = Path(__file__).resolve().parent.parent.parent
# What lies at the top of the skill, or of the repository that it comes from, without regard to case: some disks
# have none. A user's own report may lie beside these, and be replaced.
SHIPPED = frozenset(
    (
        ".ci", ".claude-plugin", ".clawhubignore", ".git", ".gitattributes", ".github", ".gitignore", ".tools", ".venv",
        "agents.md", "architecture.md", "benchmarks", "changelog.md", "constraints.txt", "contributing.md",
        "credentials.env", "credentials.env.example", "evals", "license", "makefile", "pyproject.toml", "readme.md",
        "references", "requirements-dev.txt", "requirements.txt", "scripts", "security.md", "skill.md", "tests",
    )
)  # fmt: skip


def came_with_skill(path: Path) -> bool:
    """Check whether a file, there or not, is one of the skill's, or would lie among them; links are followed."""
    part = _part(path)
    return (part is not None and _plain(part) in SHIPPED) or _is_linked(path)


def is_in_skill(path: Path) -> bool:
    """Check whether a file, there or not, lies anywhere in the skill's folder, which an update replaces."""
    return _part(path) is not None or _is_linked(path)


def _part(path: Path) -> str | None:
    """Return the first name below the skill's folder on the way to a file, None for one that is elsewhere."""
    real = Path(os.path.realpath(path))
    for below, above in zip((real, *real.parents), real.parents, strict=False):
        if _is_same(above, SKILL_FOLDER):
            # Programs that were copied alone have no folder of their own around them: it may be the user's home.
            return below.name if _plain(below.name) == "scripts" or (SKILL_FOLDER / "SKILL.md").is_file() else None
    return None


def _plain(name: str) -> str:
    """Write a name as the disks see it that see the least: Windows drops what follows a colon, and dots at the end."""
    return name.partition(":")[0].rstrip(" .").casefold()


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return os.path.normcase(path) == os.path.normcase(other)


def _is_linked(path: Path) -> bool:
    """Check whether a file is one of the skill's under a second name, which a program that appends would spoil."""
    try:
        status = os.stat(path)
    except OSError:
        return False
    if status.st_nlink < 2 or not os.path.isfile(path):
        return False
    return (status.st_dev, status.st_ino) in set(_identities())


def _identities() -> Iterator[tuple[int, int]]:
    for folder, folders, names in os.walk(SKILL_FOLDER):
        if Path(folder) == SKILL_FOLDER:
            folders[:] = [name for name in folders if name.casefold() in SHIPPED and name not in (".git", ".venv")]
        for name in names:
            try:
                status = os.lstat(os.path.join(folder, name))
            except OSError:
                continue
            if status.st_nlink > 1:
                yield status.st_dev, status.st_ino
