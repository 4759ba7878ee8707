"""Runs the whole check-up: every check on its own, all at the same time, and each failure a finding."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from openrouter_usage.checkup import archive, books, files, keys, limits, network, versions
from openrouter_usage.credentials import Credentials, find_credentials
from openrouter_usage.diagnosis import archive as judged_archive
from openrouter_usage.diagnosis import books as judged_books
from openrouter_usage.diagnosis import files as judged_files
from openrouter_usage.diagnosis import keys as judged_keys
from openrouter_usage.diagnosis import limits as judged_limits
from openrouter_usage.diagnosis import network as judged_network
from openrouter_usage.diagnosis import versions as judged_versions
from openrouter_usage.diagnosis.finding import Finding, note, of_bug, of_error, ordered, problem, too_slow
from openrouter_usage.diagnosis.network import Asked
from openrouter_usage.diagnosis.words import Words
from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.settings import DEFAULT_BASE_URL, Settings, find_home, ledger_file, parse_base_url
from openrouter_usage.skill import SKILL_FOLDER
from openrouter_usage.together import Ended, run_together

# A large ledger whose index is gone is read whole.
_LONGEST_LOOK_S = 120.0
Look = Callable[[], list[Finding]]


class Checkup(NamedTuple):
    """What was found, and what each endpoint answered."""

    findings: list[Finding]
    asked: list[Asked]


class _Place(NamedTuple):
    """Whose check-up it is, and how it is written."""

    environ: Mapping[str, str]
    home: Path | None
    skill_folder: Path
    words: Words
    now: datetime


def check_up(
    now: datetime, *, is_shared: bool, is_offline: bool, timeout_s: float, skill_folder: Path = SKILL_FOLDER
) -> Checkup:
    """Check everything; nothing is changed, nothing raised, and with `is_offline` nothing is asked."""
    environ, home = dict(os.environ), find_home()
    place = _Place(environ, home, skill_folder, words_for(environ, home, is_shared=is_shared), now)
    asked: list[Asked] = []
    checks = _local(place)
    checks["network"] = lambda: _network(place, asked, is_offline=is_offline, timeout_s=timeout_s)
    # Asked twice at most: what a key turns out to be decides what else it can be asked.
    wait_s = max(_LONGEST_LOOK_S, 0 if is_offline else 2 * timeout_s + 5)
    ended = run_together(checks, wait_s=wait_s)
    told = [finding for name, end in ended.items() for finding in _told(name, end, wait_s, place.words)]
    return Checkup(ordered(told), list(asked))


def words_for(environ: Mapping[str, str], home: Path | None, *, is_shared: bool) -> Words:
    """Give what writes for this user; when shared it has to know what is to be hidden."""
    if not is_shared:
        return Words()
    homes = {str(home), os.path.realpath(home)} if home else set()
    names = {environ.get(name, "") for name in ("USER", "LOGNAME", "USERNAME")} | {home.name if home else ""}
    hosts: list[str] = []
    with suppress(Exception):  # what is wrong with them is told by the check of the network
        from openrouter_usage.client.surroundings import proxy_hosts

        base_url = parse_base_url(environ.get("OPENROUTER_BASE_URL") or DEFAULT_BASE_URL)
        proxies = [name for host in proxy_hosts(base_url) for name in (host, host.rpartition(":")[0])]
        hosts = [*proxies, *([] if base_url.url == DEFAULT_BASE_URL else [base_url.host])]
    return Words(is_shared=True, homes=homes, names=names, hosts=hosts, folders=_folders(environ))


def _folders(environ: Mapping[str, str]) -> set[str]:
    """Give the folders above what the environment names: a company's or a project's name may be in them."""
    named = [environ.get(name, "") for name in ("OPENROUTER_USAGE_FILE", *network.CA_VARIABLES)]
    paths = [Path(os.path.expanduser(name)).absolute() for name in named if name]
    return {str(folder) for path in paths for folder in (*path.parents, *Path(os.path.realpath(path)).parents)}


def _local(place: _Place) -> dict[str, Look]:
    """Give the checks that ask nobody, by the area that they belong to and what tells them apart."""
    environ, home, skill, words, now = place
    ledger = _ledger(environ)
    return {
        "versions": lambda: judged_versions.findings(versions.look(skill), words),
        "settings": lambda: judged_limits.findings(limits.look(environ, home), words),
        "keys": lambda: judged_keys.findings(keys.look(environ, home, skill), words),
        "ledger": lambda: judged_books.findings(books.look(ledger_file(environ), now), now, words),
        "ledger archive": lambda: judged_archive.findings(archive.look(ledger) if ledger else None, words),
        "files modes": lambda: judged_files.modes(files.look(home, ledger, skill), words),
        "files disk": lambda: judged_files.disk(files.disk(ledger), words) if ledger else [],
    }


def _ledger(environ: Mapping[str, str]) -> Path | None:
    try:
        return ledger_file(environ)
    except OpenRouterUsageError:
        return None


def _network(place: _Place, asked: list[Asked], *, is_offline: bool, timeout_s: float) -> list[Finding]:
    try:
        base_url = parse_base_url(place.environ.get("OPENROUTER_BASE_URL") or DEFAULT_BASE_URL)
    except OpenRouterUsageError as error:
        return [of_error("settings", error, place.words), note("network", "not asked: no address can be used")]
    from openrouter_usage.client.tls import SharedContext

    tls = SharedContext()
    way = network.surroundings(base_url, place.environ, tls)
    told = judged_network.way(way, place.words)
    if is_offline:
        return [*told, note("network", "OpenRouter is not asked (--offline): what keys are, endpoints, the clock")]
    if way.ca_error:
        return told
    settings = Settings(_credentials(place), base_url, place.home)
    asked += network.ask(settings, tls, timeout_s=timeout_s)
    return told + judged_network.answers(asked, place.now, place.words)


def _credentials(place: _Place) -> Credentials:
    """Give the keys to ask with; none where a program would not start, and the check of the keys says why."""
    try:
        return find_credentials(place.environ, place.home, place.skill_folder)
    except OpenRouterUsageError:
        return Credentials(None, None)


def _told(name: str, ended: Ended[list[Finding]], waited_s: float, words: Words) -> list[Finding]:
    """Give the findings of a check, or the one that it became by failing."""
    area = name.partition(" ")[0]
    if ended.value is not None:
        return ended.value
    if ended.error is None:
        return [too_slow(area, waited_s)]
    if isinstance(ended.error, OpenRouterUsageError):
        return [of_error(area, ended.error, words)]
    if isinstance(ended.error, ModuleNotFoundError):
        return [problem(area, f"not checked: the Python package {ended.error.name} is missing", "see versions above")]
    return [of_bug(area, _where(ended.error))]


def _where(error: BaseException) -> str:
    """Name the kind of an error and the place it was raised; its words may hold anything, and stay away."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"
