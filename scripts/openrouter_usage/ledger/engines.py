"""Opens the ledger that the settings name: a file of this machine, or the one that a team shares."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

from openrouter_usage.errors import of_missing_part
from openrouter_usage.home.settings import ledger_file, shared_ledger
from openrouter_usage.ledger.engine import Notice, Progress
from openrouter_usage.ledger.ledger import Ledger

# Beyond this a call does not wait for a server, however patient its caller is with a lock on a file.
_LONGEST_WAIT_S = 10.0


def open_ledger(
    usage_file: str | Path | None = None,
    *,
    lock_timeout_s: float = 30.0,
    notice: Notice = lambda text: None,
    progress: Progress = lambda done, size: None,
) -> Ledger:
    """Return the ledger in `usage_file`, or the one that OPENROUTER_LEDGER or OPENROUTER_USAGE_FILE names.

    While this machine has an allowance of a shared ledger, that is the file of what the allowance is spent on.
    Nothing is opened or connected before its first verb. SettingsError for an address or a path that cannot be used.
    """
    address = None if usage_file else shared_ledger()
    if address is None:
        return own_ledger(usage_file, lock_timeout_s=lock_timeout_s, notice=notice, progress=progress)
    path = ledger_file()
    try:
        from openrouter_usage.ledger.team import TeamLedger
        from openrouter_usage.ledger.team_allowance import ASKED, AllowanceLedger, load
    except ModuleNotFoundError as error:
        raise of_missing_part(error) or error from None

    # There is no file of this name: it only tells the lines in the spool apart that wait for this server.
    waiting = path.with_name(f"team-{zlib.crc32(os.fsencode(address.shown)):08x}.jsonl")
    team = TeamLedger(address, waiting, wait_s=min(lock_timeout_s, _LONGEST_WAIT_S), notice=notice)
    taken = load(waiting)
    if taken is None or taken.state == ASKED:
        return team
    return AllowanceLedger(taken, team, lock_timeout_s=lock_timeout_s, notice=notice, progress=progress)


def own_ledger(
    usage_file: str | Path | None = None,
    *,
    lock_timeout_s: float = 30.0,
    notice: Notice = lambda text: None,
    progress: Progress = lambda done, size: None,
) -> Ledger:
    """Return the ledger in a file of this machine, also where a shared one is in use."""
    path = ledger_file({"OPENROUTER_USAGE_FILE": str(usage_file)} if usage_file else None)
    return Ledger(path, lock_timeout_s=lock_timeout_s, notice=notice, progress=progress)
