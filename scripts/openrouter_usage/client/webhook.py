"""Delivers an alert: one JSON post to the address that the user gave, and nowhere else."""

from __future__ import annotations

from openrouter_usage.errors import OpenRouterUsageError, Unreachable
from openrouter_usage.exactjson import Json, dumps
from openrouter_usage.settings import parse_webhook
from openrouter_usage.text import quoted, safe

TIMEOUT_S = 15.0


def deliver(url: str, payload: Json) -> None:
    """Post JSON, at most three times; Unreachable when it was not taken. No key and no redirect is involved."""
    from openrouter_usage.client.transport import Request, Transport

    address = parse_webhook(url)
    host = safe(address.host)
    try:
        answer = Transport(address, timeout_s=TIMEOUT_S).get(Request("POST", "", None, body=dumps(payload)))
    except OpenRouterUsageError as error:
        raise _undelivered(f"{host}: {error.message}") from None
    if answer.status >= 300:
        said = quoted(answer.body[:200].decode("utf-8", "replace"))
        raise _undelivered(f"{host} answered {answer.status} {said}")


def _undelivered(why: str) -> Unreachable:
    return Unreachable(
        f"the alert was not delivered: {why}",
        hint="check the webhook's address; it is tried again at the next check",
        code="not_delivered",
    )
