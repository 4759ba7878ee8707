"""Whether standard output is a terminal, and whether it takes colour."""

from __future__ import annotations

import os
import sys
from argparse import Namespace

from openrouter_usage.cli.program import Parser
from openrouter_usage.render.paint import PLAIN, Paint

COLORS = ("auto", "always", "never")


def add_color(parser: Parser) -> None:
    """Add --color."""
    told = "auto is on a terminal or with FORCE_COLOR, and not with NO_COLOR (auto)"
    parser.add_argument("--color", choices=COLORS, default="auto", help=f"colour for over, near and unknown: {told}")


def is_terminal() -> bool:
    """Check whether standard output is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def paint_of(options: Namespace) -> Paint:
    """Return the colours that the user, the environment and the terminal want; an option beats the environment."""
    asked = getattr(options, "color", "auto")
    if asked != "auto":
        return Paint(asked == "always")
    if os.environ.get("NO_COLOR"):
        return PLAIN
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return Paint(True)
    return Paint(can_draw())


def can_draw() -> bool:
    """Check whether standard output is a terminal that understands escapes."""
    # The old console of Windows shows escapes as they are; newer ones name themselves.
    is_able = os.name != "nt" or any(name in os.environ for name in ("WT_SESSION", "TERM", "ANSICON"))
    return is_terminal() and is_able and os.environ.get("TERM") != "dumb"
