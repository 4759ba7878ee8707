"""Recognises HTTP responses of `requests` and `httpx` by their shape, and reads their bodies."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from openrouter_usage.client.retry import may_be_billed
from openrouter_usage.exactjson import loads

LONGEST_BODY = 64 * 1024 * 1024
READERS = ("iter_content", "iter_bytes", "aiter_bytes")
GENERATION_PREFIX = "gen-"
OFFICIAL_HOST = "openrouter.ai"


def look(value: object, name: str) -> Any:
    """Read a key of a mapping, or an attribute; one that cannot be read is not there."""
    try:
        return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
    except Exception:
        return None


def response_of(value: object) -> Any:
    """Return the HTTP response that a value is, or that the openai package has put into it; None without one."""
    if is_response(value):
        return value
    inner = look(value, "http_response")
    # The openai package's speech and files: bytes that are read by way of their response.
    if inner is None and any(hasattr(type(value), name) for name in READERS):
        inner = look(value, "response")
    return inner if is_response(inner) else None


def is_response(value: object) -> bool:
    """Check whether a value is a response of `requests` or `httpx`."""
    kind = type(value)
    return any(hasattr(kind, name) for name in READERS) and hasattr(kind, "raise_for_status")


def is_from_openrouter(response: Any) -> bool:
    """Check whether a response is OpenRouter's, by its address or its headers; False without a response.

    The address of the settings counts as OpenRouter's: whoever has set it means what answers there.
    """
    if response is None:
        return False
    if generation_of(response):
        return True
    try:
        parts = urlsplit(str(look(response, "url")))
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    if host == OFFICIAL_HOST or host.endswith("." + OFFICIAL_HOST):
        return parts.scheme == "https"
    own = urlsplit(os.environ.get("OPENROUTER_BASE_URL", "").strip())
    try:
        return bool(host) and (parts.scheme, host, port) == (own.scheme, own.hostname, own.port)
    except ValueError:
        return False


def is_question(response: Any) -> bool:
    """Check whether a response answers a GET or the like, which makes no call to a model."""
    method = look(look(response, "request"), "method") or look(response, "method")
    return isinstance(method, str) and method.upper() not in ("POST", "PUT")


def generation_of(value: object) -> str:
    """Read the generation id that OpenRouter's answer to a value's request has in its headers."""
    for response in (value, *(look(value, name) for name in ("response", "_response", "http_response"))):
        headers = look(response, "headers")
        found = headers.get("x-generation-id") if hasattr(headers, "get") else None
        if isinstance(found, str) and found.startswith(GENERATION_PREFIX):
            return found
    return ""


def content_of(response: Any) -> bytes | None:
    """Give the body of a response that has been read; None for one that has not, which stays so."""
    if getattr(response, "_content", None) is False:
        return None  # `requests` would read it now
    try:
        content = response.content
    except Exception:
        return None  # `httpx` says so
    return content if isinstance(content, bytes) else None


def may_have_cost(response: Any) -> bool:
    """Tell whether a response without usage can have cost something; a refusal cannot."""
    status = status_of(response)
    return status is not None and (status < 400 or may_be_billed(status, is_from_openrouter=False))


def is_refusal(response: Any) -> bool:
    """Check whether a response tells of an error, which has come to the program as that already."""
    status = status_of(response)
    return status is not None and status >= 400


def status_of(response: Any) -> int | None:
    """Return the HTTP status of a response, as any of the packages names it."""
    found = (look(response, name) for name in ("status_code", "status"))
    return next((status for status in found if isinstance(status, int)), None)


class Body:
    """The bytes of a response as they pass: one JSON answer, or server-sent events."""

    def __init__(self, response: Any, take: Callable[[object, bool], None]) -> None:
        """Hand each JSON object to `take`, with whether it is the whole answer; bodies of other types have none."""
        content_type = str(response.headers.get("content-type") or "")
        self._hand = take
        self._is_events = "event-stream" in content_type.lower()
        self._is_read = self._is_events or "json" in content_type.lower()
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes | str) -> None:
        """Take some more of the body."""
        if not self._is_read or self._size > LONGEST_BODY:
            return
        data = piece.encode("utf-8", "replace") if isinstance(piece, str) else piece
        self._pieces.append(data)
        self._size += len(data)
        if self._is_events and (b"\n" in data or b"\r" in data):
            *lines, rest = self._text().replace(b"\r", b"\n").split(b"\n")
            for line in lines:
                self._event(line)
            self._pieces, self._size = [rest], len(rest)

    def _text(self) -> bytes:
        text, self._pieces = b"".join(self._pieces), []
        return text

    def _event(self, line: bytes) -> None:
        # OpenRouter's events are one line each, and a JSON object each but for the last, "[DONE]".
        if line.startswith(b"data:"):
            self._take(line[5:], is_whole=False)

    def _take(self, text: bytes, *, is_whole: bool) -> None:
        try:
            value = loads(text)
        except ValueError:
            return
        if isinstance(value, dict):
            self._hand(value, is_whole)

    def end(self) -> None:
        """Read what is left; there is no more of it."""
        rest = self._text()
        if self._is_events:
            self._event(rest)
        elif self._is_read and self._size <= LONGEST_BODY:
            self._take(rest, is_whole=True)
