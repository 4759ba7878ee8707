"""Puts a copy of the skill where an installer would: the files that git knows, in a folder of the skill's name."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME = "openrouter-usage"


def tracked() -> list[str]:
    """Every file that a clone has, and new ones that are not ignored, as paths below the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    names = listed.stdout.decode("utf-8").split("\0")
    return sorted({name for name in names if name and (ROOT / name).is_file()})


def stage(folder: Path) -> Path:
    """Copy the skill into a folder of its own below this one, and give that."""
    target = folder / NAME
    for name in tracked():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)
    return target
