"""How the user calls this program, so that the commands in help, hints and errors can be pasted as they are."""

from __future__ import annotations

import os
import re
import sys

COMMAND = "openrouter-usage"
_SCRIPT = re.compile(r"(?:python3 scripts/)?\b(stats|cost_tracker|gateway)\.py\b")
_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# An installed package has no scripts beside it.
IS_PACKAGE = not os.path.exists(os.path.join(_FOLDER, "cost_tracker.py"))
_called = [COMMAND if IS_PACKAGE else ""]


def own_command(script: str, *words: str) -> list[str]:
    """Return the command line of one of the three programs, for a process that this one starts or a service file."""
    python = os.path.abspath(sys.executable)
    if IS_PACKAGE:
        verb = [] if script == "stats" else [script]
        return [python, "-m", "openrouter_usage", *verb, *words]
    return [python, os.path.join(_FOLDER, f"{script}.py"), *words]


def call_by(command: str) -> None:
    """Name the one command that stands for all three scripts; to be called before any other module is loaded."""
    _called[0] = command


def as_called(text: str) -> str:
    """Return a text of ours, which names the scripts by their files, with the names that the user calls them by.

    Called by scripts, the text stays as it is. For the command, `stats.py` becomes `openrouter-usage`,
    `cost_tracker.py VERB` becomes `openrouter-usage VERB`, and `gateway.py` becomes `openrouter-usage gateway`.
    """
    return _SCRIPT.sub(_name, text) if _called[0] else text


def _name(script: re.Match[str]) -> str:
    return f"{_called[0]} gateway" if script[1] == "gateway" else _called[0]
