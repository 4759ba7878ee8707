"""Writes what the programs and their verbs print for `--help` into the page of each program; `make docs`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REFERENCES = ROOT / "references"
END = "<!-- end -->\n"
# 3.13 wraps the usage line in another way, so one text can only be true for the Pythons before it.
PRINTS_THE_SAME = sys.version_info < (3, 13)
_BLOCK = re.compile(r"^<!-- help: ([\w. -]+) -->\n(.*?)^<!-- end -->\n", re.MULTILINE | re.DOTALL)


def wanted() -> dict[str, list[str]]:
    """Return each page of references/ with the programs and verbs whose help the page shows."""
    sys.path.insert(0, str(ROOT / "scripts"))
    from openrouter_usage.cli.cost_tracker import PROGRAM, VERBS

    return {"stats.md": ["stats.py"], "gateway.md": ["gateway.py"], "cost_tracker.md": [PROGRAM, *(f"{PROGRAM} {verb}" for verb in VERBS)]}


def printed_help(command: str) -> str:
    """Return what a program, or one of its verbs, prints on a terminal of 80 columns."""
    program, *verb = command.split()
    environment = {**os.environ, "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"}
    words = [sys.executable, str(ROOT / "scripts" / program), *verb, "--help"]
    shown = subprocess.run(words, env=environment, capture_output=True, encoding="utf-8", check=True).stdout
    # The exit codes are the same everywhere; the programs' own help is where the document shows them.
    return shown.partition("\nexit codes:\n")[0] if verb else shown


def begin(command: str) -> str:
    """Return the marker before a help."""
    return f"<!-- help: {command} -->\n"


def with_help(document: str, commands: list[str], show: Callable[[str], str] = printed_help) -> str:
    """Return the document with each help between its markers; ValueError when one is missing, doubled or unknown."""
    found = [name for name, _ in _BLOCK.findall(document)]
    if sorted(found) != sorted(commands) or document.count("<!-- help: ") != len(commands):
        raise ValueError(f"the document needs both markers once for each of {commands}, and has {found}")
    return _BLOCK.sub(lambda block: f"{begin(block[1])}\n```text\n{show(block[1]).rstrip()}\n```\n\n{END}", document)


def main() -> int:
    """Rewrite the pages that are out of date; return 2 on a Python whose help looks different."""
    if not PRINTS_THE_SAME:
        sys.stderr.write("make docs: Python 3.13 and newer print the help in another way; use 3.10, 3.11 or 3.12\n")
        return 2
    for name, commands in wanted().items():
        page = REFERENCES / name
        document = page.read_text(encoding="utf-8")
        written = with_help(document, commands)
        page.write_text(written, encoding="utf-8", newline="\n")
        print(f"{page.relative_to(ROOT).as_posix()}: {'unchanged' if written == document else 'rewritten'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
