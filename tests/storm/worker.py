"""One process of the storm: makes tracked calls one after the other until it is done or killed.

It takes the number of calls, a seed, and the moment at which its clock stands.
"""

from __future__ import annotations

import contextlib
import random
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "scripts"))

from cost_tracker import CostTracker, OpenRouterUsageError

MODEL = "anthropic/claude-opus-4.5"


def one_call(tracker: CostTracker, chance: random.Random) -> None:
    """Make a call of one kind or another; a stream may be read, left in the middle, or not looked at."""
    wishes: dict[str, Any] = {"max_tokens": chance.randint(200, 2_000), "timeout_s": 30.0}
    wishes |= {"session": chance.choice(("s", "t", "")), "tags": {"client": chance.choice("ab"), "project": chance.choice("pq")}}
    kind = chance.choice(("whole", "whole", "read", "read", "left", "dropped"))
    if kind == "whole":
        tracker.chat("What is the weather like?", MODEL, **wishes)
        return
    stream = tracker.stream("What is the weather like?", MODEL, **wishes)
    if kind == "dropped":
        return
    for _ in stream:
        if kind == "left":
            stream.close()
            break


def main(calls: int, seed: int, now: datetime) -> None:
    """Make the calls; a refusal, of the budget's or of OpenRouter's, is a call like any other."""
    chance = random.Random(seed)
    tracker = CostTracker(clock=lambda: now)
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(calls):
        with contextlib.suppress(OpenRouterUsageError):
            one_call(tracker, chance)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), datetime.fromisoformat(sys.argv[3]))
