"""Who makes a call, for which work: read from the gateway key, the headers and the body; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from openrouter_usage.entry import LONGEST_NAME, MOST_TAGS
from openrouter_usage.gateway.headers import TAG_HEADER
from openrouter_usage.money import Json

_LONGEST = 100
# How programs call themselves in User-Agent, and how people call them.
_FAMILIES = {
    "claude-cli": "claude-code",
    "claude-code": "claude-code",
    "codex_cli_rs": "codex",
    "codex-tui": "codex",
    "codex_exec": "codex",
    "openai": "openai",
    "asyncopenai": "openai",
    "anthropic": "anthropic",
    "asyncanthropic": "anthropic",
    "speakeasy-sdk": "openrouter-sdk",
    "python-requests": "requests",
    "python-httpx": "httpx",
    "ai-sdk": "ai-sdk",
}
_SESSION_OF_USER = re.compile(r"_session_([0-9a-fA-F-]{8,64})$")
_TAG = re.compile(r"\s*([A-Za-z0-9_.-]{1,40})\s*=\s*([^,]{1,100}?)\s*")


class Caller(NamedTuple):
    """The session of a call, and its tags by name."""

    session: str
    tags: dict[str, str]


def find_caller(
    headers: Mapping[str, str], body: Mapping[str, Json], *, path_session: str, client: str, key_tags: Mapping[str, str]
) -> Caller:
    """Find out who makes a call; the gateway key's own name and tags are stronger than what a program says."""
    tags = read_tags(headers.get(TAG_HEADER, ""))
    app = headers.get("X-OpenRouter-Title") or headers.get("X-Title") or headers.get("HTTP-Referer") or ""
    found = {
        "client": client or family(headers.get("User-Agent", "")),
        "agent": headers.get("x-claude-code-agent-id", ""),
        "app": app,
    }
    own = {**{name: _word(value) for name, value in found.items() if value}, **key_tags}
    if client:
        own["client"] = client
    # What says whose money it is stays, however many tags a program names: a budget must not lose sight of a call.
    more = sorted((name, value) for name, value in tags.items() if name not in own)
    return Caller(_session(headers, body, path_session), dict(sorted([*own.items(), *more][:MOST_TAGS])))


def _session(headers: Mapping[str, str], body: Mapping[str, Json], path_session: str) -> str:
    metadata = body.get("metadata")
    user = metadata.get("user_id") if isinstance(metadata, dict) else None
    older = _SESSION_OF_USER.search(user) if isinstance(user, str) else None
    for value in (
        path_session,
        headers.get("X-Claude-Code-Session-Id"),
        body.get("session_id"),
        headers.get("x-session-id"),
        body.get("prompt_cache_key"),
        older[1] if older else None,
    ):
        if isinstance(value, str) and value.strip():
            return value.strip()[:LONGEST_NAME]
    return ""


def family(user_agent: str) -> str:
    """Return the name of the program that a User-Agent begins with."""
    product = user_agent.strip().partition(" ")[0].partition("/")[0]
    return _FAMILIES.get(product.lower(), _word(product.lower()))


def read_tags(text: str) -> dict[str, str]:
    """Read `name=value, name=value`; what is not of that form is passed over."""
    matches = (_TAG.fullmatch(part) for part in text[:2_000].split(","))
    return {match[1]: _word(match[2]) for match in matches if match}


def _word(text: str) -> str:
    """Write a value without blanks and odd signs, so that it is one word in the label of all tags of a call."""
    return re.sub(r"[^\x21-\x7e]+", "_", text.strip())[:_LONGEST].replace('"', "'").replace("\\", "/")
