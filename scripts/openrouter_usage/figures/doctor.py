"""The findings of a check-up: versions, settings, keys, network, clock, ledger, files and disk; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from enum import IntEnum
from shlex import quote
from typing import NamedTuple

from openrouter_usage.called import as_called
from openrouter_usage.entry import Caps, Entry, Hold, UnreadLine
from openrouter_usage.errors import LedgerError, MissingKey, OpenRouterUsageError, Refused, SettingsError
from openrouter_usage.money import format_usd, total
from openrouter_usage.openrouter.answers.key import KeyInfo
from openrouter_usage.period import NOTABLE_SKEW_S, clock_off, spoken
from openrouter_usage.text import ago, named, plural, quoted, safe

# -- The findings of a check-up, and what is made of versions, settings, keys, network and clock; pure.

# The order in which findings are told; the first of the gravest gives the exit code.
AREAS = ("versions", "settings", "keys", "network", "clock", "ledger", "files")
# The same as in requirements.txt.
FLOORS = {"requests": (2, 31), "python-dotenv": (1, 0)}
UNKNOWN = "(of unknown version)"
# Older ones do not know the way in which the index adds to its sums.
SQLITE_FLOOR = (3, 24)
API_KEY, MGMT_KEY = "OPENROUTER_API_KEY", "OPENROUTER_MGMT_KEY"
KEYS_PAGE = "https://openrouter.ai/settings/keys"
MGMT_KEYS_PAGE = "https://openrouter.ai/settings/management-keys"
SLOW_MS = 3_000
# New, or not for everybody: the figures do without it.
OPTIONAL = ("GET /analytics/meta",)
_SOON = timedelta(days=7)
_SPANS = {
    "per_request": "a call",
    "daily": "a UTC day",
    "weekly": "a UTC week",
    "monthly": "a UTC month",
    "total": "in total",
}


class Level(IntEnum):
    """How grave a finding is; only a problem makes the program end with another code than 0."""

    OK = 0
    NOTE = 1
    WARNING = 2
    PROBLEM = 3


class Finding(NamedTuple):
    """One line on what was found, and one on what to do; a problem has the exit code and slug of its kind."""

    area: str
    level: Level
    text: str
    remedy: str = ""
    exit_code: int = 0
    code: str = ""


def ok(area: str, text: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(area, Level.OK, text)


def note(area: str, text: str, remedy: str = "") -> Finding:
    """Return a finding that is worth knowing and does no harm."""
    return Finding(area, Level.NOTE, text, remedy)


def warning(area: str, text: str, remedy: str = "") -> Finding:
    """Return a finding that will do harm one day, or does a little already."""
    return Finding(area, Level.WARNING, text, remedy)


def problem(area: str, text: str, remedy: str = "", *, kind: type[OpenRouterUsageError] = SettingsError) -> Finding:
    """Return a finding that keeps something from working, with the exit code of that kind of error."""
    return Finding(area, Level.PROBLEM, text, remedy, kind.exit_code, kind.code)


def of_error(area: str, error: OpenRouterUsageError, level: Level = Level.PROBLEM) -> Finding:
    """Make a finding of an error that a program would end with."""
    if level is Level.PROBLEM:
        return Finding(area, level, error.message, error.hint, error.exit_code, error.code)
    return Finding(area, level, error.message, error.hint)


def of_bug(area: str, what: str) -> Finding:
    """Make a finding of a check that failed itself."""
    text = f"this check itself failed, which is a bug: {what}"
    return Finding(
        area, Level.PROBLEM, text, as_called("report it with the output of: cost_tracker.py doctor"), 1, "bug"
    )


def too_slow(area: str, seconds: float) -> Finding:
    """Make a finding of a check that did not end: a file system that is gone keeps whoever asks waiting."""
    return problem(
        area,
        f"this check did not end within {seconds:.0f} s",
        "a network folder that is gone hangs like this; "
        + as_called("if the ledger is very large, run first: cost_tracker.py stats"),
        kind=LedgerError if area in ("ledger", "files") else SettingsError,
    )


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings in the order in which they are shown."""
    return sorted(findings, key=lambda finding: AREAS.index(finding.area))


def gravest(findings: Iterable[Finding]) -> Finding | None:
    """Return the first problem, None when there is none."""
    return next((finding for finding in findings if finding.level is Level.PROBLEM), None)


def version_findings(packages: Mapping[str, str], *, sqlite: str, rest: str, install: str) -> list[Finding]:
    """Check the versions; a package that is missing has none."""
    known = ", ".join(f"{name} {version}" for name, version in packages.items() if version) or "no packages"
    told = [ok("versions", f"{rest}, SQLite {sqlite}, {known}")]
    for name, version in packages.items():
        if not version:
            missing = problem("versions", f"the Python package {name} is missing", install)
            told.append(missing._replace(code="missing_package"))
        elif version != UNKNOWN and numbers(version) < FLOORS[name]:
            told.append(warning("versions", f"{name} {version} is older than {_written(FLOORS[name])}", install))
    if numbers(sqlite) < SQLITE_FLOOR:
        text = f"SQLite {sqlite} is older than {_written(SQLITE_FLOOR)}: the ledger has no index with it"
        told.append(problem("versions", text, "use a newer Python, or: uv run", kind=LedgerError))
    return told


def numbers(version: str) -> tuple[int, ...]:
    """Read the numbers that a version begins with; none if it begins with something else."""
    begin = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(number[:9]) for number in begin.group().split(".")) if begin else ()


def _written(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def settings_findings(
    path: str, *, exists: bool, caps: Caps | None, alerts: int, errors: Sequence[OpenRouterUsageError]
) -> list[Finding]:
    """Check the settings, the budget in force and the number of alerts; an error in several places is shown once."""
    once = {error.message: error for error in errors}
    told = [of_error("settings", error) for error in once.values()]
    if not exists:
        told.append(ok("settings", f"there are no settings at {safe(path, 300)}" if path else "no settings"))
    elif not told:
        told.append(ok("settings", f"the settings {safe(path, 300)} are readable"))
    if caps and caps.any:
        amounts = {span: caps._asdict()[name] for name, span in _SPANS.items()}
        listed = ", ".join(f"{format_usd(amount)} {span}" for span, amount in amounts.items() if amount is not None)
        told.append(ok("settings", f"the budget in force: {listed}"))
    elif caps:
        told.append(ok("settings", "no budget is set: no call is refused"))
    if alerts:
        told.append(ok("settings", f"{plural(alerts, 'alert')} set"))
    return told


class FoundKey(NamedTuple):
    """What may be shown of a key: its variable, its last four characters, and the file or "the environment"."""

    name: str
    tail: str
    source: str

    def __str__(self) -> str:
        """Write which key it is."""
        return f"{self.name} …{self.tail}"


def key_findings(
    found: Sequence[FoundKey],
    *,
    hidden: Sequence[FoundKey],
    error: OpenRouterUsageError | None,
    withheld_from: str,
    home: str,
) -> list[Finding]:
    """Check where the keys in force come from, which keys they hide, and what keeps them from being used."""
    told = [of_error("keys", error)] if error else []
    names = [key.name for key in found]
    told += [ok("keys", f"{key}, from {safe(key.source, 300)}") for key in found]
    if not names and not error:
        text = "no OpenRouter key is found, in the environment or in a file"
        where = f"{safe(home or '~', 300)}/.openrouter/credentials.env"
        told.append(problem("keys", text, f"put {API_KEY}=your-key into {where}; from {KEYS_PAGE}", kind=MissingKey))
    elif names == [MGMT_KEY]:
        told.append(note("keys", f"{API_KEY} is not set: totals are the account's, and no call can be made"))
    elif names == [API_KEY]:
        text = f"{MGMT_KEY} is not set: no balance, no spend by model from OpenRouter"
        told.append(note("keys", text, f"if you want them, set it to a key from {MGMT_KEYS_PAGE}"))
    why = "while that stands" if error else "for another one is stronger"
    told += [note("keys", f"{key} from {safe(key.source, 300)} is not used {why}") for key in hidden]
    if withheld_from:
        text = f"{MGMT_KEY} is not sent to {safe(withheld_from)}, only to openrouter.ai"
        told.append(warning("keys", text, "unset OPENROUTER_BASE_URL to use it"))
    return told


def kind_findings(key: FoundKey, info: KeyInfo, now: datetime) -> list[Finding]:
    """Check what OpenRouter says a key is, and whether it is in the right place."""
    kind = "a management key" if info.is_management_key else "an ordinary (inference) key"
    told = [ok("keys", f"{key} is {kind}, labelled {named(info.label)}")]
    if key.name == MGMT_KEY and not info.is_management_key:
        told = [problem("keys", f"{MGMT_KEY} holds an ordinary key", f"management keys come from {MGMT_KEYS_PAGE}")]
    elif key.name == API_KEY and info.is_management_key:
        text = f"{API_KEY} holds a management key: it can make no calls, and may change the account's keys"
        told = [warning("keys", text, f"set {MGMT_KEY} to it, and {API_KEY} to one from {KEYS_PAGE}")]
    if info.expires_at and info.expires_at <= now + _SOON:
        verb = "expired" if info.expires_at <= now else "expires"
        told.append(warning("keys", f"{key} {verb} {spoken(info.expires_at)}", f"make one at {KEYS_PAGE}"))
    return told


class Answer(NamedTuple):
    """One question and how it ended: in `ms` milliseconds, or with the error that came instead."""

    endpoint: str
    key: FoundKey | None = None
    ms: int | None = None
    error: OpenRouterUsageError | None = None
    ahead_s: float | None = None
    info: KeyInfo | None = None

    def __str__(self) -> str:
        """Write what was asked, and with which key."""
        return f"{self.endpoint} with {self.key}" if self.key else self.endpoint


def answer_findings(answers: Sequence[Answer], now: datetime) -> list[Finding]:
    """Check the answers of the endpoints, the keys that they describe, and the clock."""
    told = [finding for one in answers if one.key and one.info for finding in kind_findings(one.key, one.info, now)]
    first = answers[0].error if answers else None
    if first and all(one.error and one.ms is None for one in answers):
        nobody = of_error("network", first)
        return [*told, nobody._replace(text=f"OpenRouter did not answer at all: {nobody.text}")]
    well = [one.endpoint for one in answers if not one.error and not _is_slow(one)]
    if well:
        told.append(ok("network", f"{', '.join(dict.fromkeys(well))} answered"))
    for one in answers:
        if one.error:
            told.append(_refused(one, one.error))
        elif _is_slow(one):
            text = f"{one} answered in {one.ms:,} ms, which is slow"
            told.append(warning("network", text, "check the connection and any proxy; see --timeout"))
    return told + clock_findings(answers)


def _is_slow(answer: Answer) -> bool:
    return answer.ms is not None and answer.ms >= SLOW_MS


def _refused(answer: Answer, error: OpenRouterUsageError) -> Finding:
    is_missing = answer.endpoint in OPTIONAL and error.code == "not_found"
    passes = error.code == "rate_limited"
    level = Level.NOTE if is_missing else Level.WARNING if passes else Level.PROBLEM
    # A key that is refused is the key's trouble, and told with the keys.
    found = of_error("keys" if error.code == "unauthorized" else "network", error, level)
    return found._replace(text=f"{answer}: {found.text}")


def clock_findings(answers: Sequence[Answer]) -> list[Finding]:
    """Check this computer's clock by the quickest answer, whose time is the most certain."""
    timed = sorted((one.ms or 0, one.ahead_s) for one in answers if one.ahead_s is not None)
    if not timed:
        return []
    ahead_s = timed[0][1]
    if abs(ahead_s) < NOTABLE_SKEW_S:
        return [ok("clock", f"this computer's clock is within {max(2, int(abs(ahead_s)) + 1)} s of OpenRouter's")]
    text = f"{clock_off(ahead_s)}: days may be counted wrongly"
    return [warning("clock", text, "set the clock, and turn on time synchronization (NTP)")]


# -- What is made of the ledger, of what belongs to it, and of the files and the disk they are on; pure.

LITTLE_ROOM, NO_ROOM = 100 * 1000 * 1000, 1000 * 1000
# A call that runs for longer than this has most likely ended without saying so.
RUNNING = timedelta(minutes=10)
_MOST_LINES, _MOST_FILES = 5, 3


def size_finding(path: str, bytes_long: int | None) -> Finding:
    """Name the ledger, with its size; None when there is none."""
    if bytes_long is None:
        return ok("ledger", f"there is no ledger yet at {safe(path, 300)}: no call was tracked")
    return ok("ledger", f"the ledger {safe(path, 300)} has {size(bytes_long)}")


def shared_finding(shown: str, member: str, *, caps: int, version: int) -> Finding:
    """Name a shared ledger that answers, and who this program is to it."""
    limits = f"{plural(caps, 'owner')} with caps" if caps else "no cap is set in it"
    return ok("ledger", f"{shown} answers, to {member}: schema version {version}, {limits}")


def line_findings(unread: Sequence[UnreadLine], *, duplicates: int, notices: Sequence[str]) -> list[Finding]:
    """Check the lines of the ledger; `notices` is what the ledger reported while it was read."""
    told = []
    damaged, foreign = _told_apart(unread)
    if damaged:
        text = f"{plural(len(damaged), 'damaged line')} not counted, at {_places(damaged)}"
        remedy = "tail -c +N with that byte plus one shows it; correct or delete it while nothing runs"
        told.append(warning("ledger", text, remedy))
    if foreign:
        text = f"{plural(len(foreign), 'line')} of a kind from elsewhere, kept and not counted, at {_places(foreign)}"
        told.append(note("ledger", text))
    if duplicates:
        told.append(note("ledger", f"{plural(duplicates, 'line')} superseded: reported again, and counted once"))
    told += [note("ledger", safe(notice, 600)) for notice in notices]
    return told or [ok("ledger", "every line is understood")]


def archive_findings(
    path: str, unread: Sequence[UnreadLine], *, days: int, accounts: int, is_writable: bool
) -> list[Finding]:
    """Check the archive of OpenRouter's own figures."""
    told = []
    where = safe(path, 300)
    if not is_writable:
        text = f"the archive {where} cannot be written: it may not be changed"
        told.append(problem("ledger", text, "check its owner and mode", kind=LedgerError))
    damaged, foreign = _told_apart(unread)
    if damaged:
        text = f"{plural(len(damaged), 'damaged line')} of the archive {where} not counted, at {_places(damaged)}"
        remedy = as_called(
            "run: cost_tracker.py sync --backfill 365, which asks for their days again; then delete these lines"
        )
        told.append(warning("ledger", text, remedy))
    if foreign:
        text = f"{plural(len(foreign), 'line')} of a kind from elsewhere in the archive, kept and not counted, at "
        told.append(note("ledger", text + _places(foreign)))
    whose = f" of {accounts:,} accounts" if accounts > 1 else ""
    return told or [ok("ledger", f"the archive {where} has {plural(days, 'day')}{whose}")]


def _told_apart(unread: Sequence[UnreadLine]) -> tuple[list[UnreadLine], list[UnreadLine]]:
    return [line for line in unread if line.is_damaged], [line for line in unread if not line.is_damaged]


def _places(lines: Sequence[UnreadLine]) -> str:
    """Write where lines begin, and why they are not counted."""
    shown = ", ".join(f"byte {line.offset:,} ({safe(line.why)})" for line in lines[:_MOST_LINES])
    rest = len(lines) - _MOST_LINES
    return f"{shown} and {rest:,} more" if rest > 0 else shown


def link_findings(path: str, others: int) -> list[Finding]:
    """Check the other names that the ledger has on its disk."""
    if not others:
        return []
    text = f"the ledger {safe(path, 300)} has {plural(others, 'other name')} (hard links)"
    return [
        warning(
            "ledger", text, "delete the other names: `clean` refuses to run, because it would make two ledgers of one"
        )
    ]


def hold_findings(holds: Sequence[Hold], unsettled: int, now: datetime) -> list[Finding]:
    """Check the calls that are running or ended in doubt, and the number of those recorded without a certain cost."""
    told = [] if holds or unsettled else [ok("ledger", "no call is unsettled")]
    if holds:
        told.append(_held(holds, now))
    if unsettled:
        text = f"{plural(unsettled, 'call')} recorded with an unknown or estimated cost, which can be looked up"
        told.append(warning("ledger", text, as_called("run: cost_tracker.py settle")))
    return told


def _held(holds: Sequence[Hold], now: datetime) -> Finding:
    known = [(hold.max_cost, hold) for hold in holds if hold.max_cost is not None]
    if known:
        most, largest = max(known, key=lambda pair: pair[0])
        is_all = len(known) == len(holds)
        rest = "" if is_all else f" for {len(known):,} of them, unknown for the rest"
        amount = f"{format_usd(total(cost for cost, _ in known))} held{rest}"
        amount += f"; the largest{'' if is_all else ' known'} is {format_usd(most)}, "
    else:
        largest = min(holds, key=lambda hold: hold.ts)
        amount = "held: not known; the oldest is "
    text = (
        f"{plural(len(holds), 'call')} running or unsettled, {amount}"
        f"{named(largest.model)}, {named(largest.generation or largest.id)}, since {spoken(largest.ts)}"
    )
    if all(now - hold.ts < RUNNING for hold in holds):
        return note("ledger", text)
    return warning("ledger", text, as_called("run: cost_tracker.py settle"))


def doubtful_findings(doubtful: Sequence[Entry]) -> list[Finding]:
    """Return findings about calls with an implausible bill that nobody has looked at yet."""
    if not doubtful:
        return []
    first = doubtful[0]
    text = f"{plural(len(doubtful), 'call')} with an implausible bill ({quoted(first.told)})"
    remedy = as_called(
        "look at it on OpenRouter, then run: cost_tracker.py settle --id ID; under a budget nothing is sent before"
    )
    return [problem("ledger", f"{text}, the first is {named(first.id)}", remedy, kind=Refused)]


def ahead_finding(count: int, cost: Decimal, last: datetime) -> Finding:
    """Check the calls that are dated in the future, up to `last`, and their cost in USD."""
    text = f"{plural(count, 'call')} dated in the future, up to {spoken(last)}, with {format_usd(cost)}"
    remedy = as_called(
        "set the clock; cost_tracker.py settle asks OpenRouter when they were made, clean --ahead takes them out"
    )
    return warning("ledger", f"{text}: every budget until then counts them", remedy)


def index_finding(bytes_long: int | None, why: str, *, is_blocked: bool) -> Finding:
    """Check the index: its size, None when there is none, and why it is unusable; blocked if that stays so."""
    if bytes_long is None:
        return note("ledger", "the ledger has no index yet: the next report creates it")
    if is_blocked:
        remedy = "check its owner and mode; it can be deleted while nothing runs"
        return problem("ledger", f"the index cannot be used: {safe(why, 300)}", remedy, kind=LedgerError)
    if why:
        text = f"the index ({size(bytes_long)}) is damaged: {safe(why, 300)}"
        return warning("ledger", text, "nothing is lost: the next report rebuilds it from the ledger")
    return ok("ledger", f"the index is readable, {size(bytes_long)}")


def spool_finding(lines: int, *, bytes_long: int, oldest: datetime | None, now: datetime) -> Finding:
    """Check what waits to be written to the ledger."""
    since = f", the oldest for {ago((now - oldest).total_seconds())}" if oldest else ""
    text = f"{plural(lines, 'line')} ({size(bytes_long)}) in the spool, not yet in the ledger{since}"
    return warning("ledger", text, as_called("free some space or repair the folder, then run: cost_tracker.py stats"))


def size(count: int) -> str:
    """Write a number of bytes the way people say it."""
    amount, unit = float(count), "bytes"
    for larger in ("KB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{count:,} {'byte' if count == 1 else 'bytes'}" if unit == "bytes" else f"{amount:.1f} {unit}"


class Seen(NamedTuple):
    """A file or folder: its mode, whether it is this user's (or root's), and whether keys are in it."""

    path: str
    mode: int
    is_ours: bool = True
    is_link: bool = False
    is_secret: bool = False

    def is_open(self, bits: int) -> bool:
        """Check whether one of these bits of the mode is set."""
        return bool(self.mode & bits)


_CHOWN, _CHMOD = "chown it to you, or delete it", "chmod go-rwx"
# The gravest first: a file is told once.
_WRONG: tuple[tuple[Callable[[Seen], bool], Callable[..., Finding], str, str], ...] = (
    (lambda one: one.is_secret and not one.is_ours, problem, "belongs to another user, and keys are in it", _CHOWN),
    (lambda one: one.is_secret and one.is_open(0o022), problem, "can be changed by others, and keys are in it", _CHMOD),
    (lambda one: not one.is_ours, warning, "belongs to another user", _CHOWN),
    (lambda one: one.is_open(0o022), warning, "can be changed by others", _CHMOD),
    (lambda one: one.is_secret and one.is_open(0o044), warning, "can be read by others, and keys are in it", _CHMOD),
    (lambda one: one.is_open(0o055), warning, "can be read by others", _CHMOD),
)


def mode_findings(seen: Sequence[Seen]) -> list[Finding]:
    """Check who may read and change what; on POSIX only, as other systems show no modes."""
    told = []
    rest = [one for one in seen if not one.is_link]
    for is_wrong, judged, text, remedy in _WRONG:
        found = [one for one in rest if is_wrong(one)]
        rest = [one for one in rest if not is_wrong(one)]
        if found:
            paths = [safe(one.path, 300) for one in found[:_MOST_FILES]]
            more = f" and {len(found) - _MOST_FILES:,} more" if len(found) > _MOST_FILES else ""
            todo = f"run: {remedy} {' '.join(map(quote, paths))}" if remedy is _CHMOD else remedy
            told.append(judged("files", f"{', '.join(paths)}{more} {text}", todo))
    links = [one for one in seen if one.is_link]
    if links:
        names = ", ".join(safe(one.path, 300) for one in links[:_MOST_FILES])
        told.append(
            note("files", f"{names} {'is a link' if len(links) == 1 else 'and others are links'}, not followed")
        )
    if seen and not told:
        told.append(ok("files", f"nobody else can read or change any of {len(seen):,} files and folders"))
    return told


def disk_findings(free: int | None, *, shared: str) -> list[Finding]:
    """Check the disk of the ledger: the free bytes, None if unknown, and the name of a shared file system."""
    told = []
    if shared:
        text = f"the ledger is on a network or user-space file system ({safe(shared, 300)})"
        remedy = "locks may not hold there, and budgets rest on them: name a local file with OPENROUTER_USAGE_FILE"
        told.append(warning("files", text, remedy))
    if free is None:
        return told
    text = f"{size(free)} are free where the ledger is"
    if free < NO_ROOM:
        return [*told, problem("files", text, "make room: no call can be written down", kind=LedgerError)]
    if free < LITTLE_ROOM:
        return [*told, warning("files", text, "make room before the disk is full")]
    return [*told, ok("files", text)]
