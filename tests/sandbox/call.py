"""One request as an endpoint sees it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from . import exact
from .account import Account
from .answer import ApiError
from .apikey import ApiKey
from .wire import Wire

MANAGEMENT_ONLY = "Only management keys can perform this operation"


class Headers(dict[str, str]):
    """Header names in any case."""

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return super().__contains__(str(name).lower())

    def get(self, name: str, default: Any = None) -> Any:
        """The header, or the default."""
        return super().get(name.lower(), default)


@dataclass
class Received:
    """A request as it arrived; `finished` once its answer has been sent in full."""

    method: str
    path: str
    query: dict[str, str]
    headers: Headers
    body: bytes = b""
    arrived: float = field(default_factory=time.monotonic)
    status: int | None = None
    finished: bool = False

    def json(self) -> Any:
        """The body as JSON."""
        return exact.loads(self.body)


@dataclass
class Call:
    """A request, the account it is about, and the wire its answer goes to."""

    account: Account
    request: Received
    wire: Wire
    parts: dict[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """The JSON object that was sent."""
        try:
            body = self.request.json()
        except (json.JSONDecodeError, UnicodeDecodeError):
            body = None
        if not isinstance(body, dict):
            raise ApiError(400, "Invalid JSON in request body")
        return body

    def key(self) -> ApiKey:
        """The key that makes the call; 401 as OpenRouter words it when there is none that works."""
        header = self.request.headers.get("Authorization", "")
        if not header:
            raise ApiError(401, "Missing Authentication header")
        scheme, _, secret = header.partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise ApiError(401, "No auth credentials found")
        key = self.account.key(secret.strip())
        if key is None or key.disabled or key.secret != secret.strip():
            raise ApiError(401, "User not found.")
        if key.expired(self.account.now()):
            raise ApiError(401, "API key has expired")
        key.roll(self.account.today())
        return key

    def management_key(self, refusal: str = MANAGEMENT_ONLY) -> ApiKey:
        """The calling key, which has to be a management key."""
        key = self.key()
        if not key.is_management_key:
            raise ApiError(403, refusal)
        return key
