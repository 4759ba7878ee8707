"""How long the gateway waits for whom, in seconds."""

from __future__ import annotations

# A connection on which no request has come, or has come in full, for so long is closed.
IDLE_S = 60.0
SLOWEST_REQUEST_S = 120.0
# A client that leaves has often read all that it wants, and the end with the bill is already on its way.
GRACE_S = 2.0
# How long running calls may go on when the gateway ends.
FAREWELL_S = 10.0
# As long as a hold counts in the next day as well: see budget.LONGEST_CALL.
LONGEST_CALL_S = 3600.0
SILENCE_S = 900.0
CONNECT_S = 30.0
LOCK_S = 5.0
