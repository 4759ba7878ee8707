"""What a key spent while a session of another program ran: OpenRouter's total of the key, less that at the beginning.

The total at the beginning is what was known when the session was first asked about. Other programs that use the same
key at the same time are in the difference, as OpenRouter does not know sessions.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.files import locked, make_private_folder, read_own, replace_file
from openrouter_usage.money import Json, dumps, loads, subtract, usd
from openrouter_usage.openrouter.answers.account import Gap, Parts
from openrouter_usage.period import iso, parse_moment

_MOST_KEPT = 200
_LARGEST_FILE = 256 * 1024
_LOCK_WAIT_S = 0.2


class SessionSpend(NamedTuple):
    """Credits and BYOK in USD that a key spent, and the moment from which they are counted; None is unknown."""

    since: datetime
    usage: Decimal
    byok: Decimal | None


def session_spend(snapshot: Path, session: str, parts: Parts) -> SessionSpend | None:
    """Return what the key spent since the session began, as of these figures; None for what nobody knows.

    A session that is not known yet begins with these figures, which are kept beside the snapshot.
    """
    # A management key makes no calls: what it spent says nothing of those of the session.
    if isinstance(parts.key, Gap) or parts.key.is_management_key:
        return None
    usage_now, byok_now = parts.key.all_time
    if usage_now is None:
        return None
    path = snapshot.with_name(snapshot.name.replace("summary-", "sessions-"))
    try:
        make_private_folder(path.parent)
        with locked(path.with_suffix(".lock"), _LOCK_WAIT_S):
            kept = _load(path)
            began = _began(kept.get(session))
            if began is None:
                kept.pop(session, None)
                kept[session] = {"since": iso(parts.taken_at), "usage": usage_now, "byok": byok_now}
                replace_file(path, [dumps(dict(list(kept.items())[-_MOST_KEPT:]))])
                began = SessionSpend(parts.taken_at, usage_now, byok_now)
    except OSError:
        return None
    usage = subtract(usage_now, began.usage)
    byok = None if byok_now is None or began.byok is None else subtract(byok_now, began.byok)
    # Less than before: OpenRouter has corrected a total, so nobody can tell what the session cost.
    return None if usage < 0 or (byok is not None and byok < 0) else SessionSpend(began.since, usage, byok)


def _load(path: Path) -> dict[str, Json]:
    try:
        kept = loads(read_own(path, _LARGEST_FILE))
    except (FileNotFoundError, ValueError, OpenRouterUsageError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _began(kept: Json) -> SessionSpend | None:
    if not isinstance(kept, Mapping):
        return None
    try:
        byok = kept.get("byok")
        since = parse_moment(str(kept.get("since")))
        return SessionSpend(since, usd(kept.get("usage")), None if byok is None else usd(byok))
    except (ValueError, OpenRouterUsageError):
        return None
