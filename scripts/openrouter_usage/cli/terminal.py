"""Whether standard output is a terminal, whether it takes colour, and how a page gets to the user's browser."""

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


def open_in_browser(address: str) -> str:
    """Open an address in the user's browser; return why that was not done, "" where it was.

    Without a display a browser of the terminal would take it over, so none is started there.
    """
    is_x11 = sys.platform not in ("win32", "darwin", "cygwin")
    if is_x11 and not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")):
        return "there is no display here"
    import webbrowser  # late: few runs need it

    try:
        return "" if webbrowser.open(address) else "no browser was found"
    except (OSError, webbrowser.Error) as error:
        return f"no browser could be started ({error})"
