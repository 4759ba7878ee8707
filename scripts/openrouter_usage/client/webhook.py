"""Delivers an alert: one JSON post to the address that the user gave, and nowhere else."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote, urlsplit

from openrouter_usage.errors import OpenRouterUsageError, Unreachable
from openrouter_usage.exactjson import Json, dumps
from openrouter_usage.redaction import WEBHOOK
from openrouter_usage.settings import BaseUrl, is_metadata, parse_webhook
from openrouter_usage.text import quoted, safe

TIMEOUT_S = 15.0
# Of an address's own words, shorter ones are too common to be taken out of what a server says.
_SHORTEST_PART = 4


def deliver(url: str, payload: Json) -> None:
    """Post JSON, at most three times; Unreachable when it was not taken. No key and no redirect is involved."""
    from openrouter_usage.client.surroundings import proxies_for
    from openrouter_usage.client.transport import Request, Transport

    address = parse_webhook(url)
    host = safe(address.host)
    # Behind a proxy it is the proxy that looks the name up; what it resolves to here is looked at all the same.
    _refuse_metadata(address)
    transport = Transport(address, timeout_s=TIMEOUT_S, forbids=None if proxies_for(address) else is_metadata)
    try:
        answer = transport.get(Request("POST", "", None, body=dumps(payload)))
    except OpenRouterUsageError as error:
        # Most failures name the host themselves.
        raise _undelivered(error.message if host in error.message else f"{host}: {error.message}") from None
    if answer.status >= 300:
        said = without_address(answer.body.decode("utf-8", "replace"), address.url)[:200]
        raise _undelivered(f"{host} answered {answer.status}" + (f" {quoted(said)}" if said.strip() else ""))


def _refuse_metadata(address: BaseUrl) -> None:
    """Raise Unreachable for a name that leads to an address at which clouds keep the secrets of their machines."""
    try:
        found = socket.getaddrinfo(address.host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return  # the failure to connect will say so
    for *_, place in found:
        if is_metadata(str(place[0])):
            raise _undelivered(
                f"{safe(address.host)} leads to {safe(str(place[0]))}, a link-local or metadata address, "
                "to which no alert is sent"
            )


def without_address(text: str, url: str) -> str:
    """Take a webhook's address out of what its server says: the path and the query are what lets somebody post."""
    for part in sorted(set(_parts(url)), key=len, reverse=True):
        if len(part) >= _SHORTEST_PART:
            at = text.casefold().find(part.casefold())
            while at >= 0:
                text = text[:at] + WEBHOOK + text[at + len(part) :]
                at = text.casefold().find(part.casefold(), at + len(WEBHOOK))
    return text


def _parts(url: str) -> Iterator[str]:
    parts = urlsplit(url)
    for each in (url, f"{parts.path}?{parts.query}", parts.path, parts.query, parts.fragment):
        yield from (each, unquote(each), each.strip("/"))
    segments = [segment for segment in parts.path.split("/") if segment]
    # A server may repeat the end of a path, or each part of it by itself; its first word is mostly a common one.
    for number, segment in enumerate(segments):
        yield "/".join(segments[number:])
        if number or len(segments) == 1 or any(char.isdigit() for char in segment):
            yield from (segment, unquote(segment))
    for _, value in parse_qsl(parts.query, keep_blank_values=True):
        yield value


def _undelivered(why: str) -> Unreachable:
    return Unreachable(
        f"the alert was not delivered: {why}",
        hint="check the webhook's address; it is tried again at the next check",
        code="not_delivered",
    )
