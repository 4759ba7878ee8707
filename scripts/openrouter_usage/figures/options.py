"""What a summary and a report can be asked for; on its own, because the programs need it before anything slower."""

from __future__ import annotations

DEFAULT_TOP = 5
REPORT_TOP = 20
DEFAULT_DAYS = 7
MOST_DAYS = 365
# What only the analytics API can tell, with a management key.
ACCOUNT_GROUPINGS = ("key", "workspace")
# What the usual answers can be broken down by; anything else needs the days of a period.
USUAL_GROUPINGS = ("model", "provider", "day", *ACCOUNT_GROUPINGS)
