"""What a summary can be asked for; on its own, because the programs need it before anything slower."""

from __future__ import annotations

DEFAULT_TOP = 5
DEFAULT_DAYS = 7
MOST_DAYS = 30
GROUPINGS = ("model", "provider", "day")
