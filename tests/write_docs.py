"""Writes what `stats.py --help` prints into references/cli.md; `make docs`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLI = ROOT / "references" / "cli.md"
BEGIN, END = "<!-- begin: what stats.py --help prints; `make docs` writes it -->\n", "<!-- end -->\n"
# 3.13 wraps the usage line in another way, so one text can only be true for the Pythons before it.
PRINTS_THE_SAME = sys.version_info < (3, 13)


def printed_help() -> str:
    """What the program prints on a terminal of 80 columns."""
    environment = {**os.environ, "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, str(ROOT / "scripts" / "stats.py"), "--help"]
    ended = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=True)
    return ended.stdout


def with_help(document: str, shown: str) -> str:
    """The document with this help between its markers; ValueError when a marker is missing or doubled."""
    if document.count(BEGIN) != 1 or document.count(END) != 1:
        raise ValueError("the document needs both markers, once each")
    before, _, rest = document.partition(BEGIN)
    return f"{before}{BEGIN}\n```text\n{shown.rstrip()}\n```\n\n{END}{rest.partition(END)[2]}"


def main() -> int:
    """Rewrites the file if it is out of date; 2 on a Python whose help looks different."""
    if not PRINTS_THE_SAME:
        sys.stderr.write("make docs: Python 3.13 and newer print the help in another way; use 3.10, 3.11 or 3.12\n")
        return 2
    document = CLI.read_text(encoding="utf-8")
    written = with_help(document, printed_help())
    CLI.write_text(written, encoding="utf-8", newline="\n")
    print(f"{CLI.relative_to(ROOT).as_posix()}: {'unchanged' if written == document else 'rewritten'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
