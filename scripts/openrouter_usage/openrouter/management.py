"""The keys API: one method per endpoint; a request that changes something is sent only once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from openrouter_usage.errors import BadAnswer
from openrouter_usage.home.credentials import ApiKey
from openrouter_usage.money import Json, dumps
from openrouter_usage.openrouter.answers.key import (
    CreatedKey,
    KeyPage,
    KeyRecord,
    read_created,
    read_deleted,
    read_keys,
    read_one,
    read_workspaces,
)
from openrouter_usage.openrouter.endpoints import parsed
from openrouter_usage.openrouter.refusals import refusal
from openrouter_usage.text import quoted

if TYPE_CHECKING:
    from openrouter_usage.openrouter.transport import Transport

_MOST_WORKSPACES = 10_000
_HASH = re.compile(r"[0-9A-Za-z_-]{1,128}", re.ASCII)


class Management:
    """The account's keys, as a management key sees and changes them."""

    def __init__(self, transport: Transport, key: ApiKey) -> None:
        """Ask through `transport` with a management key."""
        self._transport = transport
        self._key = key

    def workspaces(self) -> tuple[list[str], bool]:
        """Ask GET /workspaces, page by page; return the ids of the workspaces, and whether those are all."""
        found: dict[str, None] = {}
        while len(found) < _MOST_WORKSPACES:
            page, count = read_workspaces(self._read("/workspaces", ("offset", str(len(found))), ("limit", "100")))
            known = len(found)
            found |= dict.fromkeys(page)
            if len(found) == known or len(found) == count:
                return list(found), True
        return list(found), False

    def keys(self, workspace: str, offset: int) -> KeyPage:
        """Ask GET /keys for the keys of one workspace, "" for the default one, starting at `offset`."""
        params = [("include_disabled", "true"), ("include_expired", "true"), ("offset", str(offset))]
        if workspace:
            params.append(("workspace_id", workspace))
        return read_keys(self._read("/keys", *params))

    def create(self, fields: dict[str, Json]) -> CreatedKey:
        """Send POST /keys, once; when it fails with `may_have_arrived`, the key may exist all the same."""
        return read_created(self._change("POST", "/keys", fields))

    def update(self, key_hash: str, fields: dict[str, Json]) -> KeyRecord:
        """Send PATCH /keys/{hash}, once."""
        return read_one(self._change("PATCH", key_path(key_hash), fields))

    def get(self, key_hash: str) -> KeyRecord:
        """Ask GET /keys/{hash}."""
        return read_one(self._read(key_path(key_hash)))

    def delete(self, key_hash: str) -> None:
        """Send DELETE /keys/{hash}, once."""
        read_deleted(self._change("DELETE", key_path(key_hash), None))

    def _read(self, path: str, *params: tuple[str, str]) -> Json:
        from openrouter_usage.openrouter.transport import Request

        answer = self._transport.get(Request("GET", path, self._key, params))
        if answer.status >= 300:
            raise refusal(answer.status, answer.body, path, self._key, answer.limit)
        return parsed(answer, path)

    def _change(self, method: str, path: str, fields: dict[str, Json] | None) -> Json:
        from openrouter_usage.openrouter.transport import Request

        request = Request(method, path, self._key, body=None if fields is None else dumps(fields))
        answer = self._transport.send(request, self._transport.timeout_s)
        if answer.status >= 300:
            error = refusal(answer.status, answer.body, path, self._key, answer.limit)
            error.may_have_arrived = answer.status == 408 or answer.status >= 500
            raise error
        return parsed(answer, path)


def key_path(key_hash: str) -> str:
    """Return the path of a key; BadAnswer for a hash that would lead somewhere else."""
    if not _HASH.fullmatch(key_hash):
        raise BadAnswer(
            f"OpenRouter names a key by {quoted(key_hash, 100)}, which is not a hash, so the key is left alone"
        )
    return f"/keys/{key_hash}"
