"""GET /keys and GET /workspaces: the account's keys as a management key sees them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.answers.fields import Fields
from openrouter_usage.answers.key import Limit, moment_or_unknown, spent_or_unknown
from openrouter_usage.answers.left_out import LeftOut
from openrouter_usage.errors import BadAnswer
from openrouter_usage.exactjson import Json
from openrouter_usage.money import subtract
from openrouter_usage.text import named


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
    """The keys of one page, how many stand on it, and what of them is not understood: whole keys, or figures of one."""

    keys: tuple[KeyRecord, ...]
    size: int
    problems: tuple[str, ...]
    figures: tuple[str, ...] = ()


class CreatedKey(NamedTuple):
    """A key that was just made, and its secret, which OpenRouter shows this once."""

    record: KeyRecord
    secret: str

    def __repr__(self) -> str:
        """Name the key without its secret."""
        return f"CreatedKey({self.record.name!r})"


def read_keys(answer: Json) -> KeyPage:
    """Read one page of GET /keys; a key that is not understood must not hide the others."""
    keys: list[KeyRecord] = []
    problems: list[str] = []
    figures: list[str] = []
    page = Fields(answer, "/keys").get("data")
    if not isinstance(page, list):
        raise Fields(answer, "/keys").wrong("data", "a list was expected")
    for data in page:
        try:
            noted: list[LeftOut] = []
            keys.append(_record(Fields(data, "/keys (data)"), noted))
            figures += [f"{named(keys[-1].name)}: {one.why}" for one in noted]
        except BadAnswer as error:
            problems.append(error.message)
    return KeyPage(tuple(keys), len(page), tuple(problems), tuple(figures))


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


def _record(data: Fields, left_out: list[LeftOut] | None = None) -> KeyRecord:
    """Read a key; figures that cannot be are unknown, and noted. Its limit has to be understood: none is no limit."""
    noted = [] if left_out is None else left_out
    return KeyRecord(
        hash=data.text("hash"),
        name=data.text("name"),
        label=data.text("label"),
        is_disabled=data.flag("disabled"),
        limit=Limit(data.optional_usd("limit"), data.optional_usd("limit_remaining"), data.text("limit_reset") or None),
        usage=spent_or_unknown(data, "usage", noted),
        daily=spent_or_unknown(data, "usage_daily", noted),
        weekly=spent_or_unknown(data, "usage_weekly", noted),
        monthly=spent_or_unknown(data, "usage_monthly", noted),
        byok_usage=spent_or_unknown(data, "byok_usage", noted),
        created_at=moment_or_unknown(data, "created_at", noted),
        expires_at=moment_or_unknown(data, "expires_at", noted),
        last_used_at=moment_or_unknown(data, "last_used_at", noted),
        workspace=data.text("workspace_id"),
    )
