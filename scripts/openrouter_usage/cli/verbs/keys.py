"""List, create, change, disable and delete the account's keys; needs the management key."""

from __future__ import annotations

from argparse import Namespace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from openrouter_usage.called import as_called
from openrouter_usage.cli.management import key_named, load_managing, looks_secret, open_keyring, open_management
from openrouter_usage.cli.program import Parser, checked, complain, read_day, whole_number, write
from openrouter_usage.errors import InvalidValue, SettingsError
from openrouter_usage.home.settings import cap, find_home
from openrouter_usage.jobs.keys import Listing, file_name, list_keys
from openrouter_usage.money import Json, dumps, format_usd
from openrouter_usage.openrouter.answers.key import KeyRecord
from openrouter_usage.period import iso, midnight, spoken
from openrouter_usage.render.envelope import envelope
from openrouter_usage.text import named, plural, safe

EXAMPLES = """examples:
  cost_tracker.py keys list
  cost_tracker.py keys create --name ci --limit 50 --limit-reset monthly --yes
  cost_tracker.py keys update ci --limit 20 --limit-reset weekly --dry-run
  cost_tracker.py keys disable ci --yes              can be undone with: keys enable ci --yes
  cost_tracker.py keys delete ci --yes               cannot be undone; the exact name or the full hash

without --yes nothing is changed; a new key's secret goes to a file (0600) and is never shown
"""
PROGRAM = as_called("cost_tracker.py keys")
_LIMITS = ("name", "limit", "unlimited", "limit_reset")
# Each action and its options: any other option would be ignored silently.
_ACTIONS: dict[str, tuple[str, ...]] = {
    "list": (),
    "create": (*_LIMITS, "expires", "secret_file"),
    "update": _LIMITS,
    "disable": (),
    "enable": (),
    "delete": (),
}
_RESETS = ("daily", "weekly", "monthly")
_LONGEST_NAME = 100
DORMANT = timedelta(days=30)
SOON = timedelta(days=7)


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument("action", choices=tuple(_ACTIONS), nargs="?", default="list", help="action (list)")
    parser.add_argument("key", nargs="?", metavar="NAME_OR_HASH", help="the exact name or the full hash of a key")
    parser.add_argument("--name", type=checked(_name), help="create: the new key's name; update: a new name")
    parser.add_argument(
        "--limit",
        type=checked(lambda text: cap(text, "--limit")),
        metavar="USD",
        help="the most that the key may spend",
    )
    parser.add_argument("--unlimited", action="store_true", help="no limit")
    parser.add_argument("--limit-reset", choices=(*_RESETS, "never"), help="when the limit resets, in UTC")
    parser.add_argument(
        "--expires", metavar="DATE", type=checked(read_day), help="create: the first UTC day without access"
    )
    parser.add_argument(
        "--secret-file", metavar="FILE", type=Path, help="the secret's file (~/.openrouter/keys/NAME.env)"
    )
    parser.add_argument("--yes", action="store_true", help="confirm the change")
    parser.add_argument("--dry-run", action="store_true", help="show the request and send nothing")
    parser.add_argument("--timeout", type=whole_number(1, 600), default=30, metavar="S", help="seconds to wait (30)")


def _name(text: str) -> str:
    """Return a checked name for a key: one printable line that is not itself a key or a hash."""
    if looks_secret(text):
        raise InvalidValue("that is a key itself, which must stay secret; a name is expected")
    if not text.strip() or not text.isprintable() or len(text) > _LONGEST_NAME:
        raise InvalidValue(f"a name must be printable, on one line, and have 1 to {_LONGEST_NAME} characters")
    if len(text) == 64 and not text.strip("0123456789abcdef"):
        raise InvalidValue("a name must not look like the hash of a key")
    return text


def run(options: Namespace, *, now: datetime) -> int:
    """Run one action; a change without --yes sends nothing and returns 2."""
    given = [name for name in _ACTIONS["create"] if not _is_left_out(getattr(options, name))]
    strange = [name for name in given if name not in _ACTIONS[options.action]]
    if strange:
        option = "--" + strange[0].replace("_", "-")
        raise SettingsError(f"keys {options.action} does not accept {option}", hint="leave it out", code="usage")
    asked = _Asked(options.json, options.yes, options.dry_run, options.timeout, now)
    if options.action == "list":
        if options.key:
            raise SettingsError(
                "keys list does not accept a name", hint="leave the name out to list all keys", code="usage"
            )
        return _list(asked)
    if options.action == "create":
        if not options.name or options.key:
            raise SettingsError("a new key needs a name", hint="run: keys create --name ci --limit 50", code="usage")
        return create(
            asked,
            name=options.name,
            limit=options.limit,
            unlimited=options.unlimited,
            limit_reset=options.limit_reset,
            expires=options.expires,
            secret_file=options.secret_file,
        )
    if not options.key:
        raise SettingsError(
            f"no key to {options.action} was named", hint="add the key's exact name or full hash", code="usage"
        )
    fields: dict[str, Json] = {}
    if options.action == "update":
        fields = _limit(options.limit, unlimited=options.unlimited, limit_reset=options.limit_reset)
        fields |= {"name": options.name} if options.name else {}
        if not fields:
            raise SettingsError(
                "no change was given", hint="add --limit, --limit-reset, --unlimited or --name", code="usage"
            )
    elif options.action != "delete":
        fields = {"disabled": options.action == "disable"}
    return change(asked, options.action, key_named(options.key), fields)


class _Asked(NamedTuple):
    """How any change was asked for."""

    as_json: bool
    is_confirmed: bool
    is_dry: bool
    timeout_s: float
    now: datetime


def _is_left_out(value: object) -> bool:
    return value is None or value is False


def _list(asked: _Asked) -> int:
    listing, now = list_keys(open_management(load_managing(PROGRAM), asked.timeout_s)), asked.now
    if asked.as_json:
        notes = (*listing.gaps, *listing.figures)
        data: dict[str, Json] = {"keys": [key_data(key, now) for key in listing.keys]}
        write(envelope("keys", now, {**data, "partial": bool(notes), "left_out": len(notes)}, notes=notes))
    else:
        write(_listed(listing, now))
    return 0


def _listed(listing: Listing, now: datetime) -> str:
    lines = [f"🔑 {plural(len(listing.keys), 'key')} (spent by each key; windows are UTC)"]
    lines += [line for key in listing.keys for line in key_lines(key, now)]
    lines += [f"⚠ not read: {safe(gap, 300)}" for gap in listing.gaps]
    lines += [f"⚠ left out, and unknown: {safe(figure, 300)}" for figure in listing.figures]
    return "\n".join(lines) + "\n"


def create(
    asked: _Asked,
    *,
    name: str,
    limit: Decimal | None,
    unlimited: bool,
    limit_reset: str | None,
    expires: date | None,
    secret_file: Path | None,
) -> int:
    """Create a key of a checked name; its secret goes into the file, or into one of the key's name in the home."""
    if limit is None and not unlimited:
        raise SettingsError(
            "a new key needs a limit",
            hint="add --limit 50 [--limit-reset monthly], or --unlimited",
            code="usage",
        )
    fields: dict[str, Json] = {"name": name, **_limit(limit, unlimited=unlimited, limit_reset=limit_reset)}
    if expires:
        if midnight(expires) <= asked.now:
            raise SettingsError(
                f"a key that expires on {expires} would expire at once", hint="choose a later day", code="usage"
            )
        fields["expires_at"] = iso(midnight(expires))
    path = secret_file or _default_file(name)
    if not _is_to_be_sent(asked, {"method": "POST", "path": "/keys", "body": fields}):
        return 0
    created = open_keyring(PROGRAM, asked.timeout_s, asked.now).create(fields, path)
    _show(asked, "created", created, secret_file=str(path))
    return 0


def _default_file(name: str) -> Path:
    home = find_home()
    if home is None:
        raise SettingsError("no home folder is known for the secret", hint="name a file with --secret-file")
    return home / ".openrouter" / "keys" / file_name(name)


def _limit(limit: Decimal | None, *, unlimited: bool, limit_reset: str | None) -> dict[str, Json]:
    """Return the fields of a limit in USD; a reset of "never" takes the reset away."""
    if unlimited:
        if limit is not None or limit_reset:
            raise SettingsError("--unlimited cannot be combined with a limit", hint="use either one", code="usage")
        return {"limit": None, "limit_reset": None}
    fields: dict[str, Json] = {} if limit is None else {"limit": limit}
    if limit_reset:
        fields["limit_reset"] = None if limit_reset == "never" else limit_reset
    return fields


def change(asked: _Asked, action: str, wanted: str, fields: dict[str, Json]) -> int:
    """Update, disable, enable or delete the key of an exact name or a full hash."""
    better = "; `keys disable` can be undone" if action == "delete" else ""
    if not asked.is_confirmed and not asked.is_dry:
        raise _unconfirmed(f"{action} the key {named(wanted)}", better)
    keyring = open_keyring(PROGRAM, asked.timeout_s, asked.now)
    planned = keyring.plan(action, wanted, fields)
    if action == "delete":
        complain(
            PROGRAM, "deleting cannot be undone, and removes the key's usage from every list; `disable` can be undone"
        )
    if not _is_to_be_sent(asked, planned.request):
        return 0
    after = keyring.make(planned)
    _show(asked, {"update": "updated"}.get(action, action + "d"), after or planned.key)
    return 0


def _is_to_be_sent(asked: _Asked, request: dict[str, Json]) -> bool:
    """Show the request of a dry run; SettingsError without --yes."""
    shown = f"{request['method']} {request['path']} {dumps(request['body'])}"
    if asked.is_dry:
        if asked.as_json:
            write(envelope("keys", asked.now, {"dry_run": True, "request": request}))
        else:
            write(f"would send {shown}\n")
        return False
    if not asked.is_confirmed:
        raise _unconfirmed(f"send {shown}")
    return True


def _unconfirmed(what: str, better: str = "") -> SettingsError:
    return SettingsError(
        f"nothing was changed: this would {what}", hint=f"add --yes to confirm{better}", code="unconfirmed"
    )


def _show(asked: _Asked, done: str, key: KeyRecord, *, secret_file: str | None = None) -> None:
    if asked.as_json:
        data: dict[str, Json] = {"done": done, "key": key_data(key, asked.now), "secret_file": secret_file}
        write(envelope("keys", asked.now, data))
        return
    lines = [f"✔ {done}", *key_lines(key, asked.now)]
    if secret_file:
        lines.append(f"The secret is in {safe(secret_file, 300)}; it is not shown.")
    write("\n".join(lines) + "\n")


# -- How a key of the account is written; its secret is never known here.


def key_lines(key: KeyRecord, now: datetime) -> list[str]:
    """Write a key in one or two lines: name, masked label, spent against its limit, last use, and remarks."""
    spent = "unknown" if key.spent_in_window is None else format_usd(key.spent_in_window)
    if key.limit.amount is None:
        money = f"{spent} spent ever, no limit"
    else:
        money = f"{spent} of {format_usd(key.limit.amount)} spent {_window(key.limit.reset)}"
    unseen = "last use unknown" if key.usage else "never used"
    used = f"last used {spoken(key.last_used_at)}" if key.last_used_at else unseen
    marks = remarks(key, now)
    tail = f" ⚠ {', '.join(marks)}" if marks else ""
    byok = f" + {format_usd(key.byok_usage)} BYOK ever" if key.byok_usage else ""
    return [f"• {named(key.name)} ({named(key.label)}): {money}{byok}; {used}{tail}"]


def _window(reset: str | None) -> str:
    known = {None: "ever", "daily": "today", "weekly": "this week", "monthly": "this month"}
    return known.get(reset) or f"({safe(reset)})"


def key_data(key: KeyRecord, now: datetime) -> dict[str, Json]:
    """Return a key as JSON: amounts in USD, null where unknown; a limit of null is no limit."""
    return {
        "hash": key.hash,
        "name": key.name,
        "label": key.label,
        "disabled": key.is_disabled,
        "limit_usd": key.limit.amount,
        "limit_remaining_usd": key.limit.remaining,
        "limit_reset": key.limit.reset,
        "spent_in_window_usd": key.spent_in_window,
        "usage_usd": key.usage,
        "usage_daily_usd": key.daily,
        "usage_weekly_usd": key.weekly,
        "usage_monthly_usd": key.monthly,
        "byok_usage_usd": key.byok_usage,
        "created_at": iso(key.created_at) if key.created_at else None,
        "expires_at": iso(key.expires_at) if key.expires_at else None,
        "last_used_at": iso(key.last_used_at) if key.last_used_at else None,
        "workspace_id": key.workspace or None,
        "remarks": list(remarks(key, now)),
    }


def remarks(key: KeyRecord, now: datetime) -> list[str]:
    """Return what is worth a look about a key."""
    found = []
    if key.is_disabled:
        found.append("disabled")
    if key.limit.amount is None:
        found.append("no limit")
    if key.expires_at and key.expires_at <= now + SOON:
        found.append("expired" if key.expires_at <= now else f"expires {key.expires_at:%Y-%m-%d}")
    # A key that spent something was used, though OpenRouter may not say when.
    last = key.last_used_at or (None if key.usage else key.created_at)
    if last and now - last > DORMANT and not key.is_disabled:
        found.append(f"unused since {last:%Y-%m-%d}")
    return found
