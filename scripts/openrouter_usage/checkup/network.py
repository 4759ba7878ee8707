"""Asks every endpoint once, with the key that it needs, and measures how long the answer takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from openrouter_usage.answers.account import read_activity, read_credits
from openrouter_usage.answers.fields import Fields
from openrouter_usage.answers.key import read_key
from openrouter_usage.answers.left_out import left_out_of, told
from openrouter_usage.answers.models import read_models
from openrouter_usage.checkup.keys import found_key
from openrouter_usage.credentials import ApiKey
from openrouter_usage.diagnosis.network import Asked, Surroundings
from openrouter_usage.errors import BadAnswer, NotFound, OpenRouterUsageError, TimedOut
from openrouter_usage.exactjson import Json
from openrouter_usage.settings import DEFAULT_BASE_URL, BaseUrl, Settings
from openrouter_usage.together import run_together

if TYPE_CHECKING:
    from openrouter_usage.client.tls import SharedContext
    from openrouter_usage.client.transport import Request, Transport

MANAGED = ("GET /credits", "GET /activity", "GET /analytics/meta")
_NO_KEY, _NO_MGMT_KEY = "there is no key to ask with", "a management key is needed"
# Like all others of the program, so that it measures what they wait for.
_PARAMS = {"/models": (("output_modalities", "all"),)}
CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class Question(NamedTuple):
    """An endpoint and the key that asks it."""

    endpoint: str
    key: ApiKey | None


def surroundings(base_url: BaseUrl, environ: Mapping[str, str], tls: SharedContext) -> Surroundings:
    """Look at the way to OpenRouter, without going it."""
    from openrouter_usage.client.surroundings import proxy_hosts

    named = next((environ[name] for name in CA_VARIABLES if environ.get(name)), "")
    error = None
    try:
        tls.get()
    except OpenRouterUsageError as found:
        error = found
    return Surroundings(
        base_url=base_url.url,
        host=base_url.host,
        is_default=base_url.url == DEFAULT_BASE_URL,
        is_loopback=base_url.is_loopback,
        proxies=tuple(proxy_hosts(base_url)),
        ca_bundle=named,
        ca_error=error,
    )


def ask(settings: Settings, tls: SharedContext, *, timeout_s: float) -> list[Asked]:
    """Ask for each key what it is, for the models, and with a management key for what needs one."""
    from openrouter_usage.client.transport import Transport

    transport = Transport(settings.base_url, timeout_s=timeout_s, tls=tls)
    api_key, mgmt_key = settings.credentials.api_key, settings.mgmt_key
    questions = [Question("GET /key", key) for key in (api_key, mgmt_key) if key]
    questions += [Question(endpoint, mgmt_key) for endpoint in MANAGED if mgmt_key]
    questions.append(Question("GET /models", None))
    asked = _all(transport, questions, timeout_s)
    if not mgmt_key and api_key and _manages(asked) and settings.base_url.may_see_mgmt_key:
        mgmt_key = api_key
        asked += _all(transport, [Question(endpoint, api_key) for endpoint in MANAGED], timeout_s)
    if not api_key and not mgmt_key:
        asked.append(Asked("GET /key", unasked=_NO_KEY))
    if not mgmt_key:
        asked += [Asked(endpoint, unasked=_NO_MGMT_KEY) for endpoint in MANAGED]
    return asked


def _manages(asked: list[Asked]) -> bool:
    return any(one.info is not None and one.info.is_management_key for one in asked)


def _all(transport: Transport, questions: list[Question], timeout_s: float) -> list[Asked]:
    """Ask at the same time; an answer that does not come is one that timed out."""

    def ask(question: Question) -> Callable[[], Asked]:
        return lambda: _one(transport, question, timeout_s)

    tasks = {str(number): ask(question) for number, question in enumerate(questions)}
    ended = run_together(tasks, wait_s=timeout_s + 1)
    asked = []
    for question, end in zip(questions, ended.values(), strict=True):
        if end.error:
            raise end.error
        asked.append(end.value or _no_answer(question, timeout_s))
    return asked


def _no_answer(question: Question, timeout_s: float) -> Asked:
    """Give what is known when even the time limit did not end it: looking up a name cannot be cut short."""
    error = TimedOut(f"no answer within {timeout_s:.0f} s", hint="check the network connection")
    return Asked(question.endpoint, found_key(question.key) if question.key else None, error=error)


def _one(transport: Transport, question: Question, timeout_s: float) -> Asked:
    """Ask once: what a second try would hide is just what is looked for."""
    from openrouter_usage.client.transport import Request

    method, _, path = question.endpoint.partition(" ")
    asked = Asked(question.endpoint, found_key(question.key) if question.key else None)
    request = Request(method, path, question.key, _PARAMS.get(path, ()))
    found = _timed(transport, request, asked, timeout_s)
    if path == "/key" and isinstance(found.error, NotFound):
        return _timed(transport, request._replace(path="/auth/key"), asked, timeout_s)
    return found


def _read_meta(answer: Json) -> None:
    """Take what the analytics API can be asked; BadAnswer when it names nothing."""
    fields = Fields(answer, "/analytics/meta").within("data")
    for name in ("metrics", "dimensions"):
        for one in fields.each(name):
            one.text("name")


# An answer that no figure could be taken from is as bad as none.
_READERS: dict[str, Callable[[Json], object]] = {
    "GET /credits": read_credits,
    "GET /activity": read_activity,
    "GET /analytics/meta": _read_meta,
    "GET /models": read_models,
}


def _timed(transport: Transport, request: Request, asked: Asked, timeout_s: float) -> Asked:
    from openrouter_usage.client.openrouter import parsed
    from openrouter_usage.client.refusals import refusal

    begun = time.monotonic()
    try:
        answer = transport.send(request, timeout_s)
    except OpenRouterUsageError as error:
        return asked._replace(error=error)
    ms = int((time.monotonic() - begun) * 1000)
    asked = asked._replace(ms=ms, status=answer.status, ahead_s=answer.clock_ahead_s)
    try:
        if answer.status >= 300:
            raise refusal(answer.status, answer.body, request.path, request.key, answer.limit)
        value = parsed(answer, request.path)
        info = read_key(value) if asked.endpoint == "GET /key" else None
        found = info or _READERS[asked.endpoint](value)
        asked = asked._replace(info=info)
        if left_out_of(found):
            raise BadAnswer(told(left_out_of(found), "row or figure"), hint="the rest is used; see the newest version")
        return asked
    except OpenRouterUsageError as error:
        return asked._replace(error=error)
