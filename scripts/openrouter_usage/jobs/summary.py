"""Asks OpenRouter for all parts of a summary at the same time; each part fails on its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from openrouter_usage.errors import OpenRouterUsageError, TimedOut
from openrouter_usage.home.credentials import ApiKey
from openrouter_usage.home.settings import Settings
from openrouter_usage.jobs.together import Ended, nothing, run_together

if TYPE_CHECKING:
    from openrouter_usage.openrouter.answers.account import ActivityRow, Parts
    from openrouter_usage.openrouter.endpoints import OpenRouter

Connect = Callable[[ApiKey], "OpenRouter"]


def connect(settings: Settings, *, timeout_s: float) -> Connect:
    """Prepare connections; the certificates are read while `requests`, the slow import, is loaded."""
    from openrouter_usage.openrouter.network import SharedContext

    tls = SharedContext()
    from openrouter_usage.openrouter.endpoints import OpenRouter
    from openrouter_usage.openrouter.transport import Transport

    transport = Transport(settings.base_url, timeout_s=timeout_s, tls=tls)
    return lambda key: OpenRouter(transport, key)


def collect(
    settings: Settings, now: datetime, *, timeout_s: float = 30.0, meanwhile: Callable[[], None] = nothing
) -> Parts:
    """Ask for every part that the keys allow; what fails becomes a Gap and leaves the others alone.

    `meanwhile` is done once while the answers are awaited.
    """
    first_key = settings.require_key()
    mgmt_key = settings.mgmt_key
    client = connect(settings, timeout_s=timeout_s)
    asked = client(first_key)
    tasks: dict[str, Callable[[], Any]] = {"key": asked.key, "credits": client(mgmt_key or first_key).credits}
    if mgmt_key:
        tasks["activity"] = _activity(client(mgmt_key))
    if mgmt_key is first_key:
        tasks["today"] = lambda: client(first_key).today(now)
    deadline = time.monotonic() + timeout_s
    answers = at_once(tasks, timeout_s=timeout_s, meanwhile=meanwhile)
    mgmt_key = mgmt_key or _turned_out_to_manage(answers["key"], first_key, settings)
    missing = _account_tasks(answers, mgmt_key, client, now)
    if missing:
        answers |= at_once(missing, timeout_s=max(0.001, deadline - time.monotonic()))
    from openrouter_usage.openrouter.answers.account import Parts

    return Parts(now, **answers, managed=mgmt_key is not None, clock_ahead_s=asked.clock_ahead_s)


def collect_funds(settings: Settings, now: datetime, *, timeout_s: float) -> Parts:
    """Ask how the key and the account's balance stand, and nothing else."""
    from openrouter_usage.openrouter.answers.account import Parts

    first_key, mgmt_key = settings.require_key(), settings.mgmt_key
    client = connect(settings, timeout_s=timeout_s)
    answers = at_once(
        {"key": client(first_key).key, "credits": client(mgmt_key or first_key).credits}, timeout_s=timeout_s
    )
    mgmt_key = mgmt_key or _turned_out_to_manage(answers["key"], first_key, settings)
    return Parts(now, **answers, managed=mgmt_key is not None)


def managing_key(settings: Settings, parts: Parts) -> ApiKey | None:
    """Return the management key, which the ordinary key may have turned out to be; None for none."""
    if settings.mgmt_key is not None:
        return settings.mgmt_key
    return _turned_out_to_manage(parts.key, settings.require_key(), settings)


def _turned_out_to_manage(key: object, asked_with: ApiKey, settings: Settings) -> ApiKey | None:
    """Return the ordinary key when OpenRouter says that it is a management key: no string shows that."""
    from openrouter_usage.openrouter.answers.key import KeyInfo

    manages = isinstance(key, KeyInfo) and key.is_management_key
    return asked_with if manages and settings.base_url.may_see_mgmt_key else None


def _account_tasks(
    answers: Mapping[str, object], mgmt_key: ApiKey | None, client: Connect, now: datetime
) -> dict[str, Callable[[], Any]]:
    """Return what is still to be asked when the only usable totals are the account's."""
    if mgmt_key is None or not getattr(answers["key"], "is_management_key", False):
        return {}
    wanted = {"activity": _activity(client(mgmt_key)), "today": lambda: client(mgmt_key).today(now)}
    return {part: task for part, task in wanted.items() if part not in answers}


def _activity(client: OpenRouter) -> Callable[[], tuple[ActivityRow, ...]]:
    return client.activity


def at_once(
    tasks: Mapping[str, Callable[[], Any]], *, timeout_s: float, meanwhile: Callable[[], None] = nothing
) -> dict[str, Any]:
    """Run tasks at the same time and return each one's result, or the Gap it left; bugs are raised."""
    # A second more: a request that ends with its time limit says more than "no answer in time".
    ended = run_together(tasks, wait_s=timeout_s + 1, meanwhile=meanwhile)
    return {part: _found(part, end) for part, end in ended.items()}


def _found(part: str, end: Ended[Any]) -> object:
    """Turn what a task left behind into a result or a Gap."""
    from openrouter_usage.openrouter.answers.account import Gap

    error = end.error
    if end.value is None and error is None:
        error = TimedOut("no answer in time", hint="check the network connection")
    if isinstance(error, OpenRouterUsageError):
        return Gap.of(part, error)
    if error is not None:
        raise error
    return end.value
