"""Looks at the way to OpenRouter, and asks every endpoint once, with the key that it needs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from openrouter_usage.answers.account import read_activity, read_credits
from openrouter_usage.answers.fields import Fields
from openrouter_usage.answers.key import KeyInfo, read_key
from openrouter_usage.answers.left_out import left_out_of, told
from openrouter_usage.answers.models import read_models
from openrouter_usage.credentials import ApiKey, Credentials
from openrouter_usage.diagnosis.findings import Answer, Finding, FoundKey, answer_findings, note, of_error, ok
from openrouter_usage.errors import BadAnswer, NotFound, OpenRouterUsageError, TimedOut
from openrouter_usage.exactjson import Json
from openrouter_usage.settings import DEFAULT_BASE_URL, BaseUrl, Settings, parse_base_url
from openrouter_usage.text import safe
from openrouter_usage.together import run_together

if TYPE_CHECKING:
    from openrouter_usage.client.tls import SharedContext
    from openrouter_usage.client.transport import Transport

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
    """Look at the way to OpenRouter, and go it unless `is_offline`; what goes wrong on it is a finding."""
    try:
        base_url = parse_base_url(environ.get("OPENROUTER_BASE_URL") or DEFAULT_BASE_URL)
    except OpenRouterUsageError as error:
        return [of_error("settings", error), note("network", "not asked: no address can be used")]
    from openrouter_usage.client.tls import SharedContext

    tls = SharedContext()
    told = _look_at_way(base_url, environ)
    try:
        tls.get()
    except OpenRouterUsageError as error:
        told.append(of_error("network", error))
        if not is_offline:
            return told
    if is_offline:
        return [*told, note("network", "OpenRouter is not asked (--offline): what keys are, endpoints, the clock")]
    answers = _ask(Settings(credentials, base_url, home), tls, timeout_s)
    told += answer_findings(answers, now)
    asked = {one.endpoint for one in answers}
    unasked = [endpoint for endpoint in ("GET /key", *_MANAGED) if endpoint not in asked]
    if unasked:
        needed = "a management key is needed" if "GET /key" in asked else "there is no key to ask with"
        told.append(note("network", f"not asked: {', '.join(unasked)}; {needed}"))
    return told


def _look_at_way(base_url: BaseUrl, environ: Mapping[str, str]) -> list[Finding]:
    """Look at what the environment says: the address, the proxy, the certificates that are trusted."""
    from openrouter_usage.client.surroundings import proxy_hosts
    from openrouter_usage.client.tls import CA_VARIABLES

    asked = f"OpenRouter is asked at {base_url.url}"
    told = [ok("network", asked)]
    if base_url.url != DEFAULT_BASE_URL:
        here = ", which is this machine" if base_url.is_loopback else ""
        remedy = "unset OPENROUTER_BASE_URL unless you meant it"
        told = [note("network", f"{asked}{here}, by OPENROUTER_BASE_URL", remedy)]
    for proxy in proxy_hosts(base_url):
        told.append(note("network", f"requests go through the proxy {safe(proxy)}", "set NO_PROXY to go without it"))
    bundle = next((environ[name] for name in CA_VARIABLES if environ.get(name)), "")
    if bundle:
        told.append(note("network", f"certificates are those in {safe(bundle, 300)}, by the environment"))
    return told


def _ask(settings: Settings, tls: SharedContext, timeout_s: float) -> list[Answer]:
    """Ask for each key what it is, for the models, and with a management key for what needs one."""
    from openrouter_usage.client.transport import Transport

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
    from openrouter_usage.client.openrouter import parsed
    from openrouter_usage.client.refusals import refusal
    from openrouter_usage.client.transport import Request

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
            raise BadAnswer(told(left_out_of(read), "row or figure"), hint="the rest is used; see the newest version")
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
