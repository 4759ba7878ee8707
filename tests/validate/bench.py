"""The place where checks work: a staged copy of the skill, homes that are thrown away, and programs run in them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from openrouter_usage.home.settings import VERSION
from tests.sandbox import DEMO_KEY, DEMO_MGMT_KEY
from tests.staging import NAME

SILENT = {
    **dict.fromkeys(("DISABLE_TELEMETRY", "DO_NOT_TRACK", "CLAWHUB_DISABLE_TELEMETRY", "DISABLE_AUTOUPDATER"), "1"),
    **dict.fromkeys(("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "NO_COLOR", "CI"), "1"),
}


class FailedError(Exception):
    """A check does not hold; the text says what was seen."""


@dataclass(frozen=True)
class Bench:
    """A staged copy of the repository, the skill alone and as a plugin, a folder for what comes and goes, and the address
    of the invented account."""

    staged: Path
    skill: Path
    plugin: Path
    scratch: Path
    url: str

    @property
    def keys(self) -> dict[str, str]:
        """The variables that lead to the invented account."""
        return {"OPENROUTER_BASE_URL": self.url, "OPENROUTER_API_KEY": DEMO_KEY, "OPENROUTER_MGMT_KEY": DEMO_MGMT_KEY}

    def home(self, name: str) -> Path:
        """A new home with an unrelated folder in it, from which everything is run."""
        home = self.scratch / name
        (home / "elsewhere").mkdir(parents=True)
        return home

    def environment(self, home: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """The caller's environment without OpenRouter settings, and with this home."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("OPENROUTER_", "XDG_", "CLAUDE"))
        }
        homes = {"HOME": str(home), "USERPROFILE": str(home), "PYTHONIOENCODING": "utf-8"}
        return {**kept, **SILENT, **homes, **(more or {})}

    def run(
        self, command: Sequence[str], home: Path, more: Mapping[str, str] | None = None, accept: Sequence[int] = (0,)
    ) -> str:
        """Run a program from the unrelated folder; FailedError unless it ends as it should."""
        ended = subprocess.run(
            list(command),
            cwd=home / "elsewhere",
            env=self.environment(home, more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=600,
            check=False,
        )
        if ended.returncode not in accept:
            raise FailedError(f"exit code {ended.returncode} of {' '.join(command)}\n{ended.stdout.strip()}")
        return ended.stdout

    def shows_the_account(self, start: Sequence[str], skill: Path, home: Path) -> str:
        """Run the stats.py of an installed skill on the invented account; gives its first line of figures."""
        if not (skill / "SKILL.md").is_file() or skill.name not in (NAME, VERSION):
            raise FailedError(f"there is no skill at {skill}")
        return self.shows_figures([*start, str(skill / "scripts" / "stats.py")], home)

    def shows_figures(self, command: Sequence[str], home: Path) -> str:
        """Run a command that should show the invented account; gives its first line of figures."""
        shown = self.run(command, home, self.keys)
        figures = next((line for line in shown.splitlines() if line.startswith("Today: $4.55*")), "")
        if not figures or "• anthropic/claude-sonnet-4.5: $21.70 (840)" not in shown:
            raise FailedError(f"these are not the figures of the account:\n{shown}")
        return figures
