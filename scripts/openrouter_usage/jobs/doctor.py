"""Runs the whole check-up: every look on its own, all at the same time, changing nothing; each failure is a finding."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import stat
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from datetime import datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from openrouter_usage.entry import Caps
from openrouter_usage.errors import BadAnswer, LedgerError, NotFound, OpenRouterUsageError, TimedOut
from openrouter_usage.figures.doctor import (
    FLOORS,
    UNKNOWN,
    Answer,
    Finding,
    FoundKey,
    Seen,
    ahead_finding,
    answer_findings,
    archive_findings,
    disk_findings,
    doubtful_findings,
    hold_findings,
    index_finding,
    key_findings,
    line_findings,
    link_findings,
    mode_findings,
    note,
    of_bug,
    of_error,
    ok,
    ordered,
    problem,
    settings_findings,
    shared_finding,
    size_finding,
    spool_finding,
    too_slow,
    version_findings,
    warning,
)
from openrouter_usage.figures.limits import dated_ahead_from
from openrouter_usage.files import SKILL_FOLDER, archive_beside, own_files, refused_by_system
from openrouter_usage.home.credentials import KEYRING, ApiKey, Credentials, find_credentials, how_to_move
from openrouter_usage.home.settings import (
    DEFAULT_BASE_URL,
    VERSION,
    BaseUrl,
    Settings,
    base_url_of,
    declared,
    find_home,
    ledger_file,
    load_budgets,
    load_preference,
    load_preferences,
    parse_webhook,
    shared_ledger,
)
from openrouter_usage.jobs.alert import read_rules
from openrouter_usage.jobs.archive import Archive
from openrouter_usage.jobs.together import Ended, run_together
from openrouter_usage.ledger.clean import other_names
from openrouter_usage.ledger.engines import open_ledger
from openrouter_usage.ledger.file import find_mount
from openrouter_usage.ledger.index import examine
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.ledger.locks import guarded
from openrouter_usage.ledger.spool import waiting
from openrouter_usage.money import Json
from openrouter_usage.openrouter.answers.account import read_activity, read_credits
from openrouter_usage.openrouter.answers.fields import Fields, left_out_of, left_out_words
from openrouter_usage.openrouter.answers.key import KeyInfo, read_key
from openrouter_usage.openrouter.answers.models import read_models
from openrouter_usage.period import UTC
from openrouter_usage.text import safe

if TYPE_CHECKING:
    from openrouter_usage.openrouter.network import SharedContext
    from openrouter_usage.openrouter.transport import Transport

# -- Looks at the way to OpenRouter, and asks every endpoint once, with the key that it needs.

_MANAGED = ("GET /credits", "GET /activity", "GET /analytics/meta")
# Like all others of the program, so that what they would get is what is looked at.
_PARAMS = {"/models": (("output_modalities", "all"),)}


def found_key(key: ApiKey) -> FoundKey:
    """Return what may be shown of a key."""
    return FoundKey(key.name, key.secret[-4:], key.source)


def look_at_network(
    environ: Mapping[str, str],
    home: Path | None,
    credentials: Credentials,
    *,
    now: datetime,
    is_offline: bool,
    timeout_s: float,
) -> list[Finding]:
    """Check the connection to OpenRouter, and ask it unless `is_offline`; what goes wrong is a finding."""
    try:
        base_url = base_url_of(environ)
    except OpenRouterUsageError as error:
        return [of_error("settings", error), note("network", "not asked: no address can be used")]
    from openrouter_usage.openrouter.network import SharedContext

    tls = SharedContext()
    told = _look_at_way(base_url)
    try:
        tls.get()
    except OpenRouterUsageError as error:
        told.append(of_error("network", error))
        if not is_offline:
            return told
    if is_offline:
        return [
            *told,
            note("network", "OpenRouter is not asked (--offline), so keys, endpoints and the clock are not checked"),
        ]
    answers = _ask(Settings(credentials, base_url, home), tls, timeout_s)
    told += answer_findings(answers, now)
    asked = {one.endpoint for one in answers}
    unasked = [endpoint for endpoint in ("GET /key", *_MANAGED) if endpoint not in asked]
    if unasked:
        needed = "a management key is needed" if "GET /key" in asked else "there is no key to ask with"
        told.append(note("network", f"not asked: {', '.join(unasked)}; {needed}"))
    return told


def _look_at_way(base_url: BaseUrl) -> list[Finding]:
    """Return what the environment says: the address, the proxy, the trusted certificates."""
    from openrouter_usage.openrouter.network import named_bundle, proxy_hosts

    asked = f"OpenRouter is asked at {base_url.url}"
    told = [ok("network", asked)]
    if base_url.url != DEFAULT_BASE_URL:
        here = ", which is this machine" if base_url.is_loopback else ""
        remedy = "unset OPENROUTER_BASE_URL unless you meant it"
        told = [note("network", f"{asked}{here}, by OPENROUTER_BASE_URL", remedy)]
    for proxy in proxy_hosts(base_url):
        told.append(note("network", f"requests go through the proxy {safe(proxy)}", "set NO_PROXY to go without it"))
    bundle = named_bundle()
    if bundle:
        told.append(note("network", f"certificates are those in {safe(bundle, 300)}, by the environment"))
    return told


def _ask(settings: Settings, tls: SharedContext, timeout_s: float) -> list[Answer]:
    """Ask for each key what it is, for the models, and with a management key for what needs one."""
    from openrouter_usage.openrouter.transport import Transport

    transport = Transport(settings.base_url, timeout_s=timeout_s, tls=tls)
    api_key, mgmt_key = settings.credentials.api_key, settings.mgmt_key
    questions: list[tuple[str, ApiKey | None]] = [("GET /key", key) for key in (api_key, mgmt_key) if key]
    questions += [(endpoint, mgmt_key) for endpoint in _MANAGED if mgmt_key]
    answers = _ask_all(transport, [*questions, ("GET /models", None)], timeout_s)
    manages = any(one.info is not None and one.info.is_management_key for one in answers)
    if not mgmt_key and api_key and manages and settings.base_url.may_see_mgmt_key:
        answers += _ask_all(transport, [(endpoint, api_key) for endpoint in _MANAGED], timeout_s)
    return answers


def _ask_all(transport: Transport, questions: list[tuple[str, ApiKey | None]], timeout_s: float) -> list[Answer]:
    """Ask at the same time; an answer that does not come is one that timed out."""
    asked = [Answer(endpoint, found_key(key) if key else None) for endpoint, key in questions]
    tasks: dict[str, Callable[[], Answer]] = {
        str(number): partial(_ask_one, transport, asked[number], key, timeout_s)
        for number, (_, key) in enumerate(questions)
    }
    answers = []
    for one, end in zip(asked, run_together(tasks, wait_s=timeout_s + 1).values(), strict=True):
        if end.error:
            raise end.error
        # Looking up a name cannot be cut short.
        error = TimedOut(f"no answer within {timeout_s:.0f} s", hint="check the network connection")
        answers.append(end.value or one._replace(error=error))
    return answers


def _ask_one(transport: Transport, asked: Answer, key: ApiKey | None, timeout_s: float) -> Answer:
    """Ask once: what a second try would hide is just what is looked for."""
    path = asked.endpoint.partition(" ")[2]
    found = _timed(transport, asked, path, key, timeout_s)
    if path == "/key" and isinstance(found.error, NotFound):
        return _timed(transport, asked, "/auth/key", key, timeout_s)
    return found


def _timed(transport: Transport, asked: Answer, path: str, key: ApiKey | None, timeout_s: float) -> Answer:
    from openrouter_usage.openrouter.endpoints import parsed
    from openrouter_usage.openrouter.refusals import refusal
    from openrouter_usage.openrouter.transport import Request

    begun = time.monotonic()
    try:
        answer = transport.send(Request("GET", path, key, _PARAMS.get(path, ())), timeout_s)
        ms = int((time.monotonic() - begun) * 1000)
        asked = asked._replace(ms=ms, ahead_s=answer.clock_ahead_s)
        if answer.status >= 300:
            raise refusal(answer.status, answer.body, path, key, answer.limit)
        read = _READERS[asked.endpoint](parsed(answer, path))
        asked = asked._replace(info=read) if isinstance(read, KeyInfo) else asked
        if left_out_of(read):
            raise BadAnswer(
                left_out_words(left_out_of(read), "row or figure"),
                hint="the rest is used; look for a newer version of the skill",
            )
    except OpenRouterUsageError as error:
        return asked._replace(error=error)
    return asked


def _read_meta(answer: Json) -> None:
    """Read what the analytics API can be asked; BadAnswer when it names nothing."""
    fields = Fields(answer, "/analytics/meta").within("data")
    for name in ("metrics", "dimensions"):
        for one in fields.each(name):
            one.text("name")


# An answer that no figure could be taken from is as bad as none.
_READERS: dict[str, Callable[[Json], object]] = {
    "GET /key": read_key,
    "GET /credits": read_credits,
    "GET /activity": read_activity,
    "GET /analytics/meta": _read_meta,
    "GET /models": read_models,
}


# A large ledger whose index is gone is read whole.
_LONGEST_LOOK_S = 120.0
# Longer than anybody holds the lock to write a call.
_LOCK_WAIT_S = 2.0
_MOST_FILES = 5_000
_MODULES = {"python-dotenv": "dotenv"}
_NOWHERE = Path(os.devnull) / "nowhere"
T = TypeVar("T")


def check_up(now: datetime, *, is_offline: bool, timeout_s: float, skill_folder: Path = SKILL_FOLDER) -> list[Finding]:
    """Check everything and return what was found; nothing is changed or raised, and with `is_offline` nothing asked."""
    environ, home = declared(), find_home()
    ledger = _tried(lambda: ledger_file(environ), [])

    def network() -> list[Finding]:
        credentials, _ = _keys_of(environ, home, skill_folder)
        return look_at_network(environ, home, credentials, now=now, is_offline=is_offline, timeout_s=timeout_s)

    # By the area that they belong to, and what tells them apart.
    looks: dict[str, Callable[[], list[Finding]]] = {
        "versions": lambda: look_at_versions(skill_folder),
        "settings": lambda: look_at_settings(environ, home),
        "keys": lambda: look_at_keys(environ, home, skill_folder),
        "network": network,
        "ledger": lambda: look_at_books(environ, now, is_offline=is_offline, timeout_s=timeout_s),
        "ledger archive": lambda: look_at_archive(ledger) if ledger else [],
        "files modes": lambda: look_at_files(home, ledger, skill_folder),
        "files disk": lambda: look_at_disk(ledger) if ledger else [],
    }
    # Asked twice at most: what a key turns out to be decides what else it can be asked.
    wait_s = max(_LONGEST_LOOK_S, 0 if is_offline else 2 * timeout_s + 5)
    ended = run_together(looks, wait_s=wait_s)
    return ordered(finding for name, end in ended.items() for finding in _findings(name.split()[0], end, wait_s))


def _findings(area: str, end: Ended[list[Finding]], waited_s: float) -> list[Finding]:
    """Return the findings of a look, or the one that it became by failing."""
    error = end.error
    if end.value is not None:
        return end.value
    if error is None:
        return [too_slow(area, waited_s)]
    if isinstance(error, OpenRouterUsageError):
        return [of_error(area, error)]
    if isinstance(error, ModuleNotFoundError):
        return [problem(area, f"not checked: the Python package {error.name} is missing", "see versions above")]
    refused = refused_by_system(error)
    if refused:
        return [of_error(area, refused)]
    # Its words may hold anything, and stay away.
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return [of_bug(area, type(error).__name__ + where)]


def look_at_versions(skill_folder: Path) -> list[Finding]:
    """Check the versions of the skill, Python, SQLite and the packages."""
    command = safe(sys.executable or "python3", 300)
    system = f"{platform.system()} {platform.release()} ({platform.machine()})"
    requirements = safe(str(skill_folder / "requirements.txt"), 300)
    return version_findings(
        {name: _installed(name) for name in FLOORS},
        sqlite=sqlite3.sqlite_version,
        rest=f"openrouter-usage {VERSION} on {system}, Python {platform.python_version()} ({command})",
        install=f'run: {command} -m pip install -r "{requirements}"   or: uv run',
    )


def _installed(name: str) -> str:
    try:
        return version(name) or UNKNOWN
    except PackageNotFoundError:
        # Copied to where Python finds it, without the papers that come with an installation.
        return UNKNOWN if find_spec(_MODULES.get(name, name)) else ""


def look_at_settings(environ: Mapping[str, str], home: Path | None) -> list[Finding]:
    """Read every setting that a run would read, and collect what it would end with."""
    path = home / ".openrouter" / "settings.json" if home else None
    errors: list[OpenRouterUsageError] = []
    exists, alerts = True, 0
    caps: Caps | None = None
    if _tried(load_preferences, errors) is not None:
        budgets = _tried(lambda: load_budgets(environ), errors)
        caps = budgets[0].caps if budgets else None
        if caps and not caps.any and _tried(shared_ledger, errors) is not None:
            caps = None  # the caps of all are those of the shared ledger
        wanted = _tried(lambda: load_preference("alerts"), errors) or {}
        rules = _tried(lambda: read_rules(wanted), errors)
        alerts = rules.number if rules else 0
        _tried(lambda: load_preference("routing"), errors)
        addresses = [
            environ.get("OPENROUTER_ALERT_WEBHOOK", "").strip(),
            wanted.get("webhook"),
            wanted.get("pagerduty"),
        ]
        for url in filter(None, addresses):
            _tried(partial(parse_webhook, str(url)), errors)
        exists = path is not None and os.path.lexists(path)
    return settings_findings(str(path or ""), exists=exists, caps=caps, alerts=alerts, errors=errors)


def _tried(read: Callable[[], T], errors: list[OpenRouterUsageError]) -> T | None:
    try:
        return read()
    except OpenRouterUsageError as error:
        errors.append(error)
        return None


def look_at_keys(environ: Mapping[str, str], home: Path | None, skill_folder: Path) -> list[Finding]:
    """Find the keys that a program would use, then check what each place holds by itself."""
    in_force, error = _keys_of(environ, home, skill_folder)
    alone = {KEYRING: "0"}  # the keyring was asked for what is in no other place
    places = (
        _keys_of({**environ, **alone}, None, _NOWHERE),
        _keys_of(alone, home, _NOWHERE),
        _keys_of(alone, None, skill_folder),
    )
    used = {(key.name, key.secret) for key in _both(in_force)}
    hidden = [key for found, _ in places for key in _both(found) if (key.name, key.secret) not in used]
    base_url = _tried(lambda: base_url_of(environ), [])
    withheld = in_force.mgmt_key and base_url and not base_url.may_see_mgmt_key
    told = key_findings(
        [found_key(key) for key in _both(in_force)],
        hidden=[found_key(key) for key in hidden],
        error=error,
        withheld_from=base_url.host if base_url and withheld else "",
        home=str(home or ""),
    )
    if in_force.keyring[0]:
        told.append(warning("keys", *in_force.keyring))
    legacy = skill_folder / "credentials.env"
    if os.path.lexists(legacy):
        text = f"{safe(str(legacy), 300)} is in the skill folder: the next update deletes it"
        told.append(warning("keys", text, how_to_move(legacy, home)))
    return told


def _keys_of(
    environ: Mapping[str, str], home: Path | None, skill_folder: Path
) -> tuple[Credentials, OpenRouterUsageError | None]:
    errors: list[OpenRouterUsageError] = []
    found = _tried(lambda: find_credentials(environ, home, skill_folder), errors)
    return found or Credentials(None, None), errors[0] if errors else None


def _both(found: Credentials) -> list[ApiKey]:
    return [key for key in (found.api_key, found.mgmt_key) if key]


def look_at_books(environ: Mapping[str, str], now: datetime, *, is_offline: bool, timeout_s: float) -> list[Finding]:
    """Check the ledger that calls are written to: the file, or the one that a team shares."""
    address = shared_ledger()
    if address is None:
        return look_at_ledger(ledger_file(environ), now)
    if is_offline:
        return [note("ledger", f"{address.shown} is not asked (--offline)")]
    with closing(open_ledger(lock_timeout_s=timeout_s)) as ledger:
        if not ledger.is_shared:
            return [
                note("ledger", f"{ledger.shown} is in use; the server is not asked"),
                *look_at_ledger(ledger.path, now),
            ]
        member = ledger.whoami()
        health, ahead = ledger.health(), ledger.ahead(dated_ahead_from(now))
        assert member is not None  # noqa: S101  # of a shared ledger
        told = [shared_finding(ledger.shown, str(member), caps=len(ledger.caps()), version=member.version)]
        told += hold_findings(health.holds, health.unsettled, now) + doubtful_findings(health.doubtful)
        told += [ahead_finding(ahead.usage.requests, ahead.usage.cost, ahead.last)] if ahead else []
        return told + _spool(ledger.path, now)


def look_at_ledger(path: Path, now: datetime) -> list[Finding]:
    """Check the ledger and the files that belong to it; no byte is changed."""
    exists = os.path.lexists(path)
    notices: list[str] = []
    with closing(Ledger(path, notice=notices.append)) as ledger:
        try:
            health = ledger.health(untouched=True)
            ahead = ledger.ahead(dated_ahead_from(now), untouched=True)
        except OpenRouterUsageError as error:
            told = [of_error("ledger", error)]
        else:
            told = [size_finding(str(path), health.size if exists else None), *_usable(path, exists=exists)]
            if exists:
                told += link_findings(str(path), other_names(path))
                told += line_findings(health.unread, duplicates=health.duplicates, notices=notices)
                told += hold_findings(health.holds, health.unsettled, now)
                told += doubtful_findings(health.doubtful)
                told += [ahead_finding(ahead.usage.requests, ahead.usage.cost, ahead.last)] if ahead else []
    if exists:
        index = examine(own_files(path)[1])
        told.append(index_finding(index.size, index.why, is_blocked=index.is_blocked))
    return told + _spool(path, now)


def _usable(path: Path, *, exists: bool) -> list[Finding]:
    """Find out who holds the lock for too long, and why the ledger cannot be written."""
    told = []
    if exists:
        try:
            with guarded(path, _LOCK_WAIT_S):
                pass
        except LedgerError as error:
            told.append(of_error("ledger", error))
    folder, why = _nearest_folder(path), ""
    if exists and not os.access(path, os.R_OK | os.W_OK):
        why = "it may not be read and written"
    elif not os.access(folder, os.W_OK | os.X_OK):
        # The index needs the folder as well, and its lock is the ledger's.
        why = f"nothing may be written into {safe(str(folder), 300)}"
    if why:
        remedy = "check its owner and mode and those of its folder, or set OPENROUTER_USAGE_FILE"
        text = f"the ledger {safe(str(path), 300)} cannot be written: {why}"
        told.append(problem("ledger", text, remedy, kind=LedgerError))
    return told


def _nearest_folder(path: Path) -> Path:
    """Return the folder of a file, or the nearest one above it that is there."""
    return next((folder for folder in path.parents if folder.is_dir()), path.parent)


def _spool(path: Path, now: datetime) -> list[Finding]:
    lines = bytes_long = 0
    oldest: float | None = None
    files = waiting(path)
    for file in files:
        with suppress(OSError):  # somebody has just written it to the ledger
            status = file.lstat()
            content = file.read_bytes() if stat.S_ISREG(status.st_mode) else b""
            lines, bytes_long = lines + content.count(b"\n"), bytes_long + len(content)
            oldest = min(oldest or status.st_mtime, status.st_mtime)
    since = datetime.fromtimestamp(oldest, UTC) if oldest else None
    return [spool_finding(lines, bytes_long=bytes_long, oldest=since, now=now)] if files else []


def look_at_archive(ledger: Path) -> list[Finding]:
    """Check the archive beside a ledger; no finding without one, or where the ledger itself has its name."""
    path = archive_beside(ledger)
    if path == ledger or not os.path.lexists(path):
        return []
    contents = Archive(path).read()
    return archive_findings(
        str(path),
        contents.unread,
        days=sum(map(len, contents.accounts.values())),
        accounts=len(contents.accounts),
        is_writable=os.access(path, os.W_OK),
    )


def look_at_files(home: Path | None, ledger: Path | None, skill_folder: Path) -> list[Finding]:
    """Check the files in ~/.openrouter, the ledger wherever it is, and keys in the skill folder."""
    if os.name != "posix":
        return []
    paths = list(_below(home / ".openrouter")) if home else []
    if ledger:
        file, index, archive = own_files(ledger)
        paths += [file, file.with_name(file.name + ".1"), file.with_name("audit.jsonl"), index, archive]
        paths += [index.with_name(index.name + end) for end in ("-wal", "-shm")]
    paths.append(skill_folder / "credentials.env")
    return mode_findings([one for path in dict.fromkeys(paths[:_MOST_FILES]) if (one := _seen(path))])


def _below(folder: Path) -> Iterator[Path]:
    """Name a folder and all that is in it; links are not followed."""
    yield folder
    with suppress(OSError):
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False):
                yield from _below(Path(entry.path))
            else:
                yield Path(entry.path)


def _seen(path: Path) -> Seen | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    is_secret = path.name == "credentials.env" or (path.parent.name == "keys" and path.suffix == ".env")
    is_ours = status.st_uid in (os.geteuid(), 0)
    return Seen(str(path), stat.S_IMODE(status.st_mode), is_ours, stat.S_ISLNK(status.st_mode), is_secret)


def look_at_disk(ledger: Path) -> list[Finding]:
    """Check the disk that the ledger is on, or would be on."""
    folder = _nearest_folder(ledger)
    free: int | None = None
    with suppress(OSError):
        free = shutil.disk_usage(folder).free
    mount = find_mount(ledger if os.path.lexists(ledger) else folder)
    return disk_findings(free, shared=f"{mount.kind}, {mount.point}" if mount and mount.is_shared else "")
