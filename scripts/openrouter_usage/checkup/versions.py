"""Looks at what runs here: the skill, Python, SQLite and the packages."""

from __future__ import annotations

import platform
import sqlite3
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from openrouter_usage.diagnosis.versions import FLOORS, UNKNOWN, Versions
from openrouter_usage.version import VERSION

_MODULES = {"python-dotenv": "dotenv"}


def look(skill_folder: Path) -> Versions:
    """Tell the versions; a package that is not installed has none."""
    return Versions(
        skill=VERSION,
        python=platform.python_version(),
        executable=sys.executable or "python3",
        system=f"{platform.system()} {platform.release()} ({platform.machine()})",
        sqlite=sqlite3.sqlite_version,
        packages=tuple((name, _installed(name)) for name in FLOORS),
        requirements=str(skill_folder / "requirements.txt"),
    )


def _installed(name: str) -> str:
    try:
        return version(name) or UNKNOWN
    except PackageNotFoundError:
        # Copied to where Python finds it, without the papers that come with an installation.
        return UNKNOWN if find_spec(_MODULES.get(name, name)) else ""
