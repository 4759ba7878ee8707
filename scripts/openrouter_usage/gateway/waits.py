"""How long the gateway waits for whom, in seconds."""

from __future__ import annotations

from openrouter_usage.figures.limits import LONGEST_CALL

# A connection on which no request has come, or has come in full, for so long is closed.
IDLE_S = 60.0
SLOWEST_REQUEST_S = 120.0
# A client that leaves has often read all that it wants, and the end with the bill is already on its way.
GRACE_S = 2.0
# How long running calls may go on when the gateway ends.
FAREWELL_S = 10.0
# A hold counts in the next day as well for as long, so no call may last longer.
LONGEST_CALL_S = LONGEST_CALL.total_seconds()
SILENCE_S = 900.0
CONNECT_S = 30.0
LOCK_S = 5.0
# A call that would fit if running calls were billed what they cost waits for them, and is refused only then.
ROOM_S = 60.0
# Alerts are checked at most so often, and only after a call.
ALERTS_S = 60.0
