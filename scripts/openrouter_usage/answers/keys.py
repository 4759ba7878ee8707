"""GET /keys and GET /workspaces: the account's keys as a management key sees them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.answers.fields import Fields
from openrouter_usage.answers.key import Limit
from openrouter_usage.errors import BadAnswer
from openrouter_usage.exactjson import Json
from openrouter_usage.money import subtract


class KeyRecord(NamedTuple):
    """One key: amounts in USD, `usage` ever and in the running UTC day, week and month; no secret is ever in it."""

    hash: str
    name: str
    label: str
    is_disabled: bool
    limit: Limit
    usage: Decimal | None
    daily: Decimal | None
    weekly: Decimal | None
    monthly: Decimal | None
    byok_usage: Decimal | None
    created_at: datetime | None
    expires_at: datetime | None
    last_used_at: datetime | None
    workspace: str

    @property
    def spent_in_window(self) -> Decimal | None:
        """What counts against the limit: limit minus what remains, for `usage` is the key's whole life."""
        if self.limit.amount is None:
            return self.usage
        return None if self.limit.remaining is None else subtract(self.limit.amount, self.limit.remaining)


class KeyPage(NamedTuple):
    """The keys of one page, how many stand on it, and what of them is not understood."""

    keys: tuple[KeyRecord, ...]
    size: int
    problems: tuple[str, ...]


class CreatedKey(NamedTuple):
    """A key that was just made, and its secret, which OpenRouter shows this once."""

    record: KeyRecord
    secret: str

    def __repr__(self) -> str:
        """Name the key without its secret."""
        return f"CreatedKey({self.record.name!r})"


def read_keys(answer: Json) -> KeyPage:
    """Read one page of GET /keys; a key that is not understood must not hide the others."""
    keys, problems = [], []
    page = Fields(answer, "/keys").get("data")
    if not isinstance(page, list):
        raise Fields(answer, "/keys").wrong("data", "a list was expected")
    for data in page:
        try:
            keys.append(_record(Fields(data, "/keys (data)")))
        except BadAnswer as error:
            problems.append(error.message)
    return KeyPage(tuple(keys), len(page), tuple(problems))


def read_one(answer: Json) -> KeyRecord:
    """Read an answer about one key."""
    return _record(Fields(answer, "/keys").within("data"))


def read_created(answer: Json) -> CreatedKey:
    """Read the answer of POST /keys; the secret stands beside `data`, not in it."""
    fields = Fields(answer, "/keys")
    secret = fields.text("key")
    if not secret:
        raise fields.wrong("key", "the new key's secret was expected")
    return CreatedKey(_record(fields.within("data")), secret)


def read_deleted(answer: Json) -> None:
    """Read the answer of DELETE /keys/{hash}; BadAnswer unless it says that the key is deleted."""
    fields = Fields(answer, "/keys")
    if not fields.flag("deleted"):
        raise fields.wrong("deleted", "true was expected")


def read_workspaces(answer: Json) -> tuple[list[str], int]:
    """Read a page of GET /workspaces: ids, and how many workspaces there are in all, 0 when it does not say."""
    fields = Fields(answer, "/workspaces")
    ids = [data.text("id") for data in fields.each("data") if data.text("id")]
    return ids, fields.count("total_count")


def _record(data: Fields) -> KeyRecord:
    return KeyRecord(
        hash=data.text("hash"),
        name=data.text("name"),
        label=data.text("label"),
        is_disabled=data.flag("disabled"),
        limit=Limit(data.optional_usd("limit"), data.optional_usd("limit_remaining"), data.text("limit_reset") or None),
        usage=data.optional_usd("usage"),
        daily=data.optional_usd("usage_daily"),
        weekly=data.optional_usd("usage_weekly"),
        monthly=data.optional_usd("usage_monthly"),
        byok_usage=data.optional_usd("byok_usage"),
        created_at=data.moment("created_at"),
        expires_at=data.moment("expires_at"),
        last_used_at=data.moment("last_used_at"),
        workspace=data.text("workspace_id"),
    )
