"""What an endpoint answers, before it is put on the wire."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from . import exact


@dataclass
class Answer:
    """A status, headers, and a body: a JSON value, or bytes, or pieces that are sent one by one."""

    payload: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    pieces: Iterable[bytes] | None = None
    content_type: str = "application/json"

    def encoded(self) -> bytes:
        """The whole body; pieces are put together."""
        if self.pieces is not None:
            return b"".join(self.pieces)
        return exact.dumps(self.payload) if self.body is None else self.body


class ApiError(Exception):
    """A refusal in OpenRouter's error envelope."""

    def __init__(self, status: int, message: str, *, metadata: dict[str, Any] | None = None, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.metadata = metadata
        self.headers: dict[str, str] = more.pop("headers", {})
        self.more = more

    def answer(self) -> Answer:
        """The refusal as an answer."""
        return error_answer(self.status, str(self), metadata=self.metadata, headers=self.headers, **self.more)


def phrase(status: int) -> str:
    """The reason phrase of a status, also of those that are Cloudflare's."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return {524: "A Timeout Occurred", 529: "Site is overloaded"}.get(status, "Unknown")


def error_answer(
    status: int,
    message: str,
    *,
    metadata: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
    **more: Any,
) -> Answer:
    """`{"error": {"code", "message", "metadata"?, ...}}` under its status."""
    error: dict[str, Any] = {"code": status, "message": message}
    if metadata is not None:
        error["metadata"] = metadata
    return Answer({"error": {**error, **more}}, status, dict(headers or {}))


def html_answer(status: int, title: str = "") -> Answer:
    """The page that a proxy or a load balancer puts in OpenRouter's place."""
    title = title or f"{status} {phrase(status)}"
    page = f"<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
    return Answer(status=status, body=page.encode(), content_type="text/html; charset=UTF-8")
