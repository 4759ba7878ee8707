"""Which headers go on, which stay here, and from whom a request is taken at all; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
     "transfer-encoding", "upgrade")
)  # fmt: skip
# Cookies and addresses are nobody's business upstream; an encoding that is not asked for need not be undone.
_NOT_SENT = _HOP_BY_HOP | {
    "host", "content-length", "accept-encoding", "cookie", "expect", "origin", "referer", "forwarded", "via",
}  # fmt: skip
_NOT_ANSWERED = _HOP_BY_HOP | {"set-cookie", "strict-transport-security", "alt-svc", "nel", "report-to"}
_OWN = "x-openrouter-usage-"
KEY_HEADERS = ("authorization", "x-api-key")
TAG_HEADER = "x-openrouter-usage-tag"
Pairs = list[tuple[str, str]]


def sent_on(headers: Iterable[tuple[str, str]], *, connection: str, secret: str | None) -> Pairs:
    """Return the headers of a request as OpenRouter gets them; `secret` takes the place of the client's own key."""
    dropped = _NOT_SENT | _named(connection)
    kept = [
        (name, value)
        for name, value in headers
        if (low := name.lower()) not in dropped
        and not low.startswith((_OWN, "x-forwarded-", "sec-"))
        and not (secret is not None and low in KEY_HEADERS)
    ]
    if secret is not None:
        kept.append(("Authorization", f"Bearer {secret}"))
    return [*kept, ("Accept-Encoding", "identity")]


def answered(headers: Iterable[tuple[str, str]], *, connection: str) -> Pairs:
    """Return the headers of an answer as the client gets them: nothing that lets a web page read it."""
    dropped = _NOT_ANSWERED | _named(connection)
    return [
        (name, value)
        for name, value in headers
        if (low := name.lower()) not in dropped and not low.startswith("access-control-")
    ]


def _named(connection: str) -> frozenset[str]:
    return frozenset(name.strip().lower() for name in connection.split(","))


def bearer(headers: Mapping[str, str]) -> str:
    """Return the key or token that a client presents, "" without one; Anthropic clients may use x-api-key."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "").strip()


def stranger(headers: Mapping[str, str], *, hosts: Iterable[str]) -> str:
    """Return why a request is not taken, "" where it is: it has to name this machine, and must not be a web page's.

    A page can send a simple POST to any address, and a name that it owns can be made to lead here (DNS rebinding).
    """
    if "Origin" in headers:
        return "requests of web pages are not taken (they carry an Origin header)"
    host = headers.get("Host", "")
    name = host.rpartition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
    if name.lower().rstrip(".") not in hosts:
        return "the Host header does not name this machine: use 127.0.0.1 or localhost in the base URL"
    return ""
