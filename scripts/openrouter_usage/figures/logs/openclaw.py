"""OpenClaw's sessions of both eras: JSON lines in files, later the same lines in an SQLite store; pure.

What was moved from files into the store is there twice, with the same ids. The folder of a session names its agent.
"""

from __future__ import annotations

import re
from typing import Any

from openrouter_usage.figures.logs import pi
from openrouter_usage.figures.logs.logged import tag

_AGENT = re.compile(r"[\\/]agents[\\/]([^\\/]+)[\\/]")


class Lines(pi.Lines):
    """Reads the lines of one session, from a file or from the store."""

    def __init__(self, path: str, context: dict[str, Any]) -> None:
        """Begin at the first line, or go on with a context."""
        super().__init__(path, context)
        found = _AGENT.search(path)
        self.agent = tag(found[1]) if found else ""
