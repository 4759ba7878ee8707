"""The last good answers of OpenRouter on disk, used while they are fresh, and when OpenRouter does not answer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from zlib import adler32, crc32

from openrouter_usage.errors import Denied, OpenRouterUsageError, SettingsError, Unreachable
from openrouter_usage.files import make_private_folder, read_own, replace_file
from openrouter_usage.home.settings import Settings
from openrouter_usage.jobs.summary import collect
from openrouter_usage.jobs.together import nothing
from openrouter_usage.money import Json, dumps, loads
from openrouter_usage.openrouter.answers.account import (
    ActivityRow,
    Gap,
    Parts,
    TodaySpend,
    read_activity,
    read_credits,
    read_today,
    write_activity,
    write_credits,
    write_today,
)
from openrouter_usage.openrouter.answers.fields import Fields, LeftOut, Rows, left_out_of
from openrouter_usage.openrouter.answers.key import read_key, write_key
from openrouter_usage.period import parse_day

# -- Keeps the last good answers of OpenRouter on disk, with the moment they were given.

_VERSION = 3
_LARGEST_FILE = 64 * 1024 * 1024


def snapshot_file(settings: Settings) -> Path | None:
    """Name the file for these keys and this address, so that no account is shown another's figures."""
    folder, credentials = settings.cache_folder, settings.credentials
    if folder is None:
        return None
    secrets = [key.secret if key else "" for key in (credentials.api_key, settings.mgmt_key)]
    # Two checksums tell a user's few keys apart, say nothing of use about them, and need no slow import.
    whose = "\n".join([settings.base_url.url, *secrets]).encode()
    return folder / f"summary-{crc32(whose):08x}{adler32(whose):08x}.json"


def save_snapshot(path: Path | None, parts: Parts, source: str) -> None:
    """Keep these answers of a base URL; when that fails nothing is lost but the next fast answer."""
    if path is None or any(gap.passing for gap in parts.gaps):
        return
    with contextlib.suppress(OSError):
        make_private_folder(path.parent)
        replace_file(path, [dumps(_written(parts, source))])


def load_snapshot(path: Path | None, source: str) -> Parts | None:
    """Read the answers kept for these keys and this base URL; None when there are none that can be believed."""
    if path is None or not path.is_file():
        return None
    try:
        kept = Fields(loads(read_own(path, _LARGEST_FILE)), "the snapshot")
        return _read(kept) if kept.get("source") == source else None
    except (OSError, ValueError, OpenRouterUsageError):
        return None


def _written(parts: Parts, source: str) -> Json:
    answers: dict[str, Json] = {}
    if not isinstance(parts.key, Gap):
        answers["key"] = write_key(parts.key)
    if not isinstance(parts.credits, Gap):
        answers["credits"] = write_credits(parts.credits)
    if parts.activity is not None and not isinstance(parts.activity, Gap):
        answers["activity"] = write_activity(parts.activity)
    if parts.today is not None and not isinstance(parts.today, Gap):
        answers["today"] = write_today(parts.today)
    gaps: dict[str, Json] = {g.part: [g.code, g.message, g.hint, g.exit_code] for g in parts.gaps}
    head: dict[str, Json] = {"version": _VERSION, "source": source, "taken_at": parts.taken_at.isoformat()}
    short: dict[str, Json] = {
        name: part for name in ("key", "activity", "today") if (part := _write_left_out(getattr(parts, name)))
    }
    return {**head, "managed": parts.managed, "left_out": short, "answers": answers, "gaps": gaps}


def _read(file: Fields) -> Parts | None:
    taken_at = file.moment("taken_at")
    if taken_at is None or file.get("version") != _VERSION:
        return None
    answers, gaps = file.within("answers"), file.within("gaps")
    short = file.within("left_out")
    return Parts(
        taken_at,
        key=_gap(gaps, "key") or read_key(answers.get("key"))._replace(left_out=_left_out(short, "key")),
        credits=_gap(gaps, "credits") or read_credits(answers.get("credits")),
        activity=_gap(gaps, "activity") or (_rows(answers, short) if "activity" in answers else None),
        today=_gap(gaps, "today") or (_today(answers, short) if "today" in answers else None),
        managed=file.flag("managed"),
    )


def _rows(answers: Fields, short: Fields) -> Rows[ActivityRow]:
    rows = read_activity(answers.get("activity"))
    if rows.left_out:
        raise answers.wrong("activity", rows.left_out[0].why)  # what was kept can all be read, or is not what was kept
    return Rows.of(rows, _left_out(short, "activity"))


def _today(answers: Fields, short: Fields) -> TodaySpend:
    found = read_today(answers.get("today"))
    if found.left_out:
        raise answers.wrong("today", found.left_out[0].why)
    return found._replace(left_out=_left_out(short, "today"))


def _write_left_out(part: object) -> Json:
    return [[one.why, one.day.isoformat() if one.day else None] for one in left_out_of(part)]


def _left_out(short: Fields, part: str) -> tuple[LeftOut, ...]:
    kept = short.get(part)
    if not isinstance(kept, list):
        return ()
    pairs = [one for one in kept if isinstance(one, list) and len(one) == 2]
    return tuple(LeftOut(str(why), parse_day(day) if isinstance(day, str) else None) for why, day in pairs)


def _gap(gaps: Fields, part: str) -> Gap | None:
    kept = gaps.get(part)
    if not isinstance(kept, list) or len(kept) != 4:
        return None
    code, message, hint, exit_code = kept
    return Gap(part, str(code), str(message), str(hint), exit_code if isinstance(exit_code, int) else 5)


def is_fresh(parts: Parts | None, now: datetime, max_age_s: float) -> bool:
    """Check whether answers are young enough, and of the same UTC day: Today begins at midnight."""
    if parts is None:
        return False
    age_s = (now - parts.taken_at).total_seconds()
    return 0 <= age_s <= max_age_s and parts.taken_at.date() == now.date()


# -- The latest answers there are: kept ones while they are fresh, OpenRouter's, or failing that the old ones.


class Latest(NamedTuple):
    """Answers, whether they are kept ones, and the error that made those take the place of new ones."""

    parts: Parts
    is_kept: bool = False
    error: OpenRouterUsageError | None = None


def latest(
    settings: Settings,
    now: datetime,
    *,
    max_age_s: float = 0,
    timeout_s: float = 30.0,
    meanwhile: Callable[[], None] = nothing,
) -> Latest:
    """Return answers at most `max_age_s` seconds old without asking, else ask and do `meanwhile` while waiting.

    Raises Denied when OpenRouter says no, and Unreachable when it cannot be reached and nothing is kept.
    """
    if max_age_s:
        kept = _kept(settings, now, max_age_s)
        if kept:
            return Latest(kept, True)
    parts = collect(settings, now, timeout_s=timeout_s, meanwhile=meanwhile)

    path = snapshot_file(settings)
    if not parts.is_empty:
        save_snapshot(path, parts, settings.base_url.url)
        return Latest(parts)
    error = error_of(parts.gaps[0])
    kept = load_snapshot(path, settings.base_url.url) if isinstance(error, Unreachable) else None
    if kept is None:
        raise error
    return Latest(kept, True, error)


def _kept(settings: Settings, now: datetime, max_age_s: float) -> Parts | None:

    kept = load_snapshot(snapshot_file(settings), settings.base_url.url)
    return kept if is_fresh(kept, now, max_age_s) else None


def error_of(gap: Gap) -> OpenRouterUsageError:
    """Make the error again that left a gap."""
    kinds: dict[int, type[OpenRouterUsageError]] = {2: SettingsError, 4: Denied, 5: Unreachable}
    return kinds.get(gap.exit_code, Unreachable)(gap.message, hint=gap.hint, code=gap.code)
