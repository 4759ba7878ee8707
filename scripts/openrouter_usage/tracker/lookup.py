"""Looks a generation up, patiently: OpenRouter knows it some seconds after the call."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from openrouter_usage.answers.generation import Generation
from openrouter_usage.collect import connect
from openrouter_usage.credentials import ApiKey
from openrouter_usage.errors import NotFound, UnknownId
from openrouter_usage.settings import Settings, load_settings
from openrouter_usage.text import named

if TYPE_CHECKING:
    from openrouter_usage.client.openrouter import OpenRouter

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 8.0


def look_up(generation: str, *, api_key: str | None = None, retries: int = 4, timeout_s: float = 30.0) -> Generation:
    """Ask for a generation up to `retries` times more while the answer is 404; NotFound when it stays that.

    It is an UnknownId where OpenRouter itself says so.
    """
    client = open_client(load_settings(), api_key, timeout_s=timeout_s)
    try:
        return patiently(lambda: client.generation(generation), retries=retries)
    except NotFound as error:
        if not error.is_told:
            raise
        tries = "once" if not retries else f"{retries + 1} times"
        raise UnknownId(
            f"OpenRouter knows no call {named(generation)}, asked {tries}: {error.message}",
            hint="check the id, and that the key is of the account that made the call; a call of a moment ago is known "
            "some seconds later",
        ) from None


def patiently(
    ask: Callable[[], Generation], *, retries: int, sleep: Callable[[float], None] = time.sleep
) -> Generation:
    """Ask again while the answer is 404, after 0.5, 1, 2, ... seconds, at most 8 each time."""
    wait_s = FIRST_WAIT_S
    for _ in range(retries):
        try:
            return ask()
        except NotFound:
            sleep(min(wait_s, LONGEST_WAIT_S))
            wait_s *= 2
    return ask()


def open_client(settings: Settings, api_key: str | None, *, timeout_s: float) -> OpenRouter:
    """Give a client with the key of the caller, or the one that the settings found."""
    key = ApiKey.checked(api_key, "api_key", "the caller") if api_key else settings.require_key()
    return connect(settings, timeout_s=timeout_s)(key)
