"""Which path of the gateway is what: a call that spends, a question that is passed on, or nothing of its own.

The paths are OpenRouter's, and may have a prefix that names the work: /s/SESSION/api/v1/...; pure.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

from openrouter_usage.entry import LONGEST_NAME
from openrouter_usage.text import safe

CHAT, RESPONSES, MESSAGES, COMPLETIONS = "chat", "responses", "messages", "completions"
EMBEDDINGS, RERANK, IMAGES, SPEECH, TRANSCRIPTION = "embeddings", "rerank", "images", "speech", "transcription"
VIDEOS = "videos"
# What may spend. Everything else that may is refused: what passes unread passes every budget.
SPENDING = {
    "/chat/completions": CHAT,
    "/responses": RESPONSES,
    "/messages": MESSAGES,
    "/completions": COMPLETIONS,
    "/embeddings": EMBEDDINGS,
    "/rerank": RERANK,
    "/images": IMAGES,
    "/audio/speech": SPEECH,
    "/audio/transcriptions": TRANSCRIPTION,
    "/videos": VIDEOS,
}
# What has messages, of which the next call repeats the beginning.
CONVERSATIONS = (CHAT, RESPONSES, MESSAGES)
# A POST that costs nothing: Claude Code counts tokens with it.
_FREE_POSTS = ("/messages/count_tokens",)
_PREFIX = re.compile(r"(?:/s/(?P<session>[^/?#]{1,3000}))?/api/v1(?P<path>/[^?#]*)")
_PART = r"[A-Za-z0-9~@][A-Za-z0-9._:~@%+-]{0,199}"
_PASSED = re.compile(
    rf"/(?:models|models/user|models/count|embeddings/models|key|auth/key|credits|generation|model/{_PART}/{_PART}"
    rf"|models/{_PART}/{_PART}|models/{_PART}/{_PART}/endpoints)"
)
_VIDEO = re.compile(rf"/videos/(?P<job>{_PART})(?:/content)?")


class Route(NamedTuple):
    """Where a request goes: its path below the base URL, its shape if it spends, and the session that it names.

    `refused` says why it goes nowhere, `status` under which status.
    """

    path: str = ""
    shape: str = ""
    session: str = ""
    job: str = ""
    status: int = 0
    refused: str = ""


def find_route(method: str, raw_path: str) -> Route:
    """Find what a request is for by its method and its path, without the query."""
    match = _PREFIX.fullmatch(raw_path)
    if match is None:
        return Route(status=404, refused=f"no such path: the base URL ends in /api/v1 (for Anthropic clients in /api)"
                     f", and not {safe(raw_path, 60)}")  # fmt: skip
    path, session = match["path"], unquote(match["session"] or "", errors="replace")[:LONGEST_NAME]
    if method == "POST":
        if path in SPENDING:
            return Route(path, SPENDING[path], session)
        if path in _FREE_POSTS:
            return Route(path, session=session)
    video = _VIDEO.fullmatch(path) if method == "GET" else None
    if video or (method in ("GET", "HEAD") and _PASSED.fullmatch(path)):
        return Route(path, session=session, job=video["job"] if video and not path.endswith("/content") else "")
    if path in SPENDING or path in _FREE_POSTS or _PASSED.fullmatch(path):
        return Route(path, status=405, refused=f"{safe(method, 10)} is not used on {safe(path, 60)}")
    return Route(path, status=403, refused=f"{safe(path, 60)} is not passed on: the gateway does not understand what "
                 "it may spend or change; call OpenRouter itself for it")  # fmt: skip
