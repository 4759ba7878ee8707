"""The gateway's own answers that say no, in the error shape of the API that was asked; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from openrouter_usage.called import as_called
from openrouter_usage.errors import InvalidValue, OpenRouterUsageError, Refused
from openrouter_usage.figures.pricing import NoSuchModel
from openrouter_usage.gateway import paths
from openrouter_usage.money import Json, dumps

_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
}
# Agents repeat what ends with 429 or 5xx for ever; both of the usual packages keep to this header.
NO_RETRY = {"x-should-retry": "false"}


class No(NamedTuple):
    """A status, a body and headers."""

    status: int
    body: bytes
    headers: Mapping[str, str]


def refuse(shape: str, status: int, message: str, *, code: str = "", may_retry: bool = False) -> No:
    """Write a refusal of a call of some shape."""
    error: dict[str, Json] = {"code": status, "message": message}
    whole: dict[str, Json] = {"error": error}
    if shape == paths.MESSAGES:
        error = {"type": _ANTHROPIC_TYPES.get(status, "api_error"), "message": message}
        whole = {"type": "error", "error": error}
    if code:
        error["metadata"] = {"error_type": code, "source": "openrouter-usage gateway"}
    headers = {"Content-Type": "application/json", **({} if may_retry else NO_RETRY)}
    return No(status, dumps(whole).encode("ascii"), headers)


def refused_by(shape: str, error: OpenRouterUsageError, *, user_agent: str = "") -> No:
    """Write the refusal for a budget that does not allow a call, or a ledger or a setting that cannot be used.

    It is 402, which OpenRouter itself answers where money is short: clients stop then, and do not try again. Codex
    makes such a call five times more, whatever the headers say, and stops at 400.
    """
    status = 400 if user_agent.lower().startswith("codex") else 402
    if isinstance(error, NoSuchModel) or type(error) is InvalidValue:
        status = 400
    # The client of a gateway has no options of ours: what it can change is its request.
    message = f"{error.message}; {error.hint}".replace("--max-tokens", "max_tokens") if error.hint else error.message
    if isinstance(error, Refused):
        message += as_called("; `cost_tracker.py budget log` lists what was refused")
    return refuse(shape, status, message, code=error.code)
