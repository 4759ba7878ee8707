"""Draws the terminal of README's first screen: real output of the programs for the invented account, as SVG.

`make picture` writes `references/summary.svg`. The moment is fixed, so the same program draws the same picture.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from html import escape
from pathlib import Path

from tests.sandbox import DEMO_KEY, DEMO_MGMT_KEY, Sandbox, demo_account

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "references" / "summary.svg"
NOW = datetime(2026, 11, 22, 14, 45, tzinfo=timezone.utc)
_RUN = """
import sys
sys.path.insert(0, "scripts")
from datetime import datetime, timezone
from openrouter_usage.called import call_by
call_by("openrouter-usage")
from openrouter_usage.cli.summary import main
sys.exit(main([], clock=lambda: datetime.fromtimestamp(float(sys.argv[1]), timezone.utc)))
"""
_LINE, _LEFT, _TOP, _WIDTH = 22, 24, 66, 860


def shown() -> list[str]:
    """Return the lines that `openrouter-usage` prints for the invented account."""
    with Sandbox(demo_account(NOW)) as sandbox, tempfile.TemporaryDirectory() as home:
        keys = {
            "OPENROUTER_BASE_URL": sandbox.url,
            "OPENROUTER_API_KEY": DEMO_KEY,
            "OPENROUTER_MGMT_KEY": DEMO_MGMT_KEY,
        }
        environment = {"PATH": os.environ["PATH"], "HOME": home, "TZ": "UTC", "PYTHONIOENCODING": "utf-8", **keys}
        command = [sys.executable, "-c", _RUN, str(NOW.timestamp())]
        ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", check=True)
    return ended.stdout.splitlines()


def as_svg(lines: list[str]) -> str:
    """Draw a terminal with a command and its output; the text is text, for those who search or listen."""
    rows = ["$ openrouter-usage", *lines]
    height = _TOP + _LINE * len(rows) + 8
    drawn = []
    for number, line in enumerate(rows):
        colour = "#7ee787" if not number else "#8b949e" if line.startswith(("*", "...")) else "#e6edf3"
        y = _TOP + _LINE * number
        drawn.append(f'<text x="{_LEFT}" y="{y}" fill="{colour}" xml:space="preserve">{escape(line)}</text>')
    dots = "".join(
        f'<circle cx="{24 + 20 * at}" cy="22" r="6" fill="{c}"/>'
        for at, c in enumerate(("#ff5f56", "#ffbd2e", "#27c93f"))
    )
    style = (
        'font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, \'DejaVu Sans Mono\', monospace" font-size="14"'
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" role="img"',
            f'viewBox="0 0 {_WIDTH} {height}">',
            "<title>openrouter-usage, with the figures of an invented account</title>",
            f'<rect width="{_WIDTH}" height="{height}" rx="10" fill="#0d1117"/>{dots}',
            f"<g {style}>",
            *drawn,
            "</g>",
            "</svg>\n",
        ]
    )


def main() -> int:
    """Write the picture."""
    TARGET.write_text(as_svg(shown()), encoding="utf-8", newline="\n")
    print(TARGET.relative_to(ROOT).as_posix())
    return 0


if __name__ == "__main__":
    sys.exit(main())
