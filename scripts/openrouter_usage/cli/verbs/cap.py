"""Set a key's own limit on OpenRouter: the only cap that also binds calls made elsewhere with it."""

from __future__ import annotations

from argparse import Namespace
from datetime import datetime

from openrouter_usage.called import as_called
from openrouter_usage.cli.management import key_named, open_keyring, require_mgmt_key
from openrouter_usage.cli.program import Parser, checked, whole_number, write
from openrouter_usage.cli.verbs.keys import key_data, key_lines
from openrouter_usage.errors import SettingsError
from openrouter_usage.home.settings import cap, load_settings
from openrouter_usage.jobs.summary import connect
from openrouter_usage.money import Json, format_usd
from openrouter_usage.render.envelope import envelope
from openrouter_usage.text import named

EXAMPLES = """examples:
  cost_tracker.py cap --daily 5 --yes              the key of OPENROUTER_API_KEY
  cost_tracker.py cap --monthly 50 --key ci --dry-run

a request that is already running when the limit is reached may still be billed by OpenRouter
"""
PROGRAM = as_called("cost_tracker.py cap")


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    window = parser.add_mutually_exclusive_group(required=True)
    for reset, unit in (("daily", "UTC day"), ("weekly", "UTC week"), ("monthly", "UTC month")):
        amount = checked(lambda text: cap(text, "the cap"))
        window.add_argument(f"--{reset}", type=amount, metavar="USD", help=f"most for a {unit}")
    parser.add_argument("--key", metavar="NAME_OR_HASH", help="a key other than OPENROUTER_API_KEY's")
    parser.add_argument("--yes", action="store_true", help="confirm the change")
    parser.add_argument("--dry-run", action="store_true", help="show the change, and send nothing")
    parser.add_argument("--timeout", type=whole_number(1, 600), default=30, metavar="S", help="seconds to wait (30)")


def run(options: Namespace, *, now: datetime) -> int:
    """Set the limit, and print the key before and after."""
    reset = next(name for name in ("daily", "weekly", "monthly") if getattr(options, name) is not None)
    most = getattr(options, reset)
    fields: dict[str, Json] = {"limit": most, "limit_reset": reset}
    wanted = None if options.key is None else key_named(options.key)
    # Before --yes is asked for, because --yes alone would not help.
    require_mgmt_key(load_settings())
    if not options.yes and not options.dry_run:
        whose = "the key of OPENROUTER_API_KEY" if wanted is None else named(wanted)
        raise SettingsError(
            f"nothing was changed: this would cap {whose} at {format_usd(most)} {reset}",
            hint="add --yes to confirm, or --dry-run to see the change",
            code="unconfirmed",
        )
    keyring = open_keyring(PROGRAM, options.timeout, now)
    change = (
        keyring.plan_by_label(_own_label(options), fields) if wanted is None else keyring.plan("update", wanted, fields)
    )
    after = None if options.dry_run else keyring.make(change)
    if options.json:
        request: dict[str, Json] = {"dry_run": options.dry_run, "request": change.request}
        before_after: dict[str, Json] = {
            "before": key_data(change.key, now),
            "after": key_data(after, now) if after else None,
        }
        write(envelope("cap", now, request | before_after))
        return 0
    lines = ["before:", *key_lines(change.key, now)]
    lines += (
        ["after:", *key_lines(after, now)] if after else [f"would set: {reset} limit of {format_usd(most)} (not sent)"]
    )
    write("\n".join(lines) + "\n")
    return 0


def _own_label(options: Namespace) -> str:
    """Return the masked label of the inference key, by which it is found among the account's keys."""
    settings = load_settings()
    key = settings.credentials.api_key
    if key is None:
        raise SettingsError("OPENROUTER_API_KEY is not set", hint="name a key with --key", code="usage")
    info = connect(settings, timeout_s=options.timeout)(key).key()
    if info.is_management_key:
        raise SettingsError(
            "OPENROUTER_API_KEY holds a management key, which cannot make calls and has no limit",
            hint="name the key that makes the calls with --key",
            code="usage",
        )
    return info.label
