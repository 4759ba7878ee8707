"""The gateway of gateway.py: tokens for its clients, their settings, whether one runs, and service files.

`key add` prints a token once and keeps nothing but its hash; only `key add` and `key remove` write anything.
"""

from __future__ import annotations

from argparse import Namespace
from datetime import datetime

from openrouter_usage.budgets import STRICT
from openrouter_usage.called import as_called, own_command
from openrouter_usage.cli.budget_options import add_budget_options, budget_given
from openrouter_usage.cli.opening import open_ledger, where_kept
from openrouter_usage.cli.program import Parser, checked, write
from openrouter_usage.cli.terminal import open_in_browser
from openrouter_usage.errors import LedgerError, Refused, SettingsError
from openrouter_usage.gateway import keys, setup
from openrouter_usage.gateway.status import ask_page, ask_status
from openrouter_usage.home.settings import cap
from openrouter_usage.money import ZERO, Json, format_usd, total, usd
from openrouter_usage.period import iso
from openrouter_usage.render.envelope import envelope
from openrouter_usage.text import named, plural, safe
from openrouter_usage.tracker.booking import is_stuck

PROGRAM = as_called("cost_tracker.py gateway")
EXAMPLES = """examples:
  cost_tracker.py gateway key add laptop --tag project=site --daily 5
  cost_tracker.py gateway key list
  cost_tracker.py gateway key remove laptop --yes
  cost_tracker.py gateway setup claude-code
  cost_tracker.py gateway status
  cost_tracker.py gateway page --open
  cost_tracker.py gateway unit systemd
"""


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument("action", choices=("key", "setup", "status", "page", "unit"), help="what to do")
    parser.add_argument("what", nargs="?", metavar="WHAT", help="add, list or remove; a client; systemd or launchd")
    parser.add_argument("name", nargs="?", metavar="NAME", help="of the key to add or remove")
    parser.add_argument("--tag", action="append", default=[], metavar="K=V", help="key add: a tag of its calls")
    add_budget_options(parser, "key add: ")
    parser.add_argument(
        "--max-cost",
        type=checked(lambda text: cap(text, "--max-cost")),
        metavar="USD",
        help="key add: what is held under a budget for a call that nobody can bound",
    )
    parser.add_argument("--yes", action="store_true", help="key remove: really remove it")
    parser.add_argument("--open", action="store_true", help="page: open it in the browser")


def run(options: Namespace, *, now: datetime) -> int:
    """Do what was asked, and print it."""
    action = {"key": _key, "setup": _setup, "status": _status, "page": _page, "unit": _unit}[options.action]
    kind = {"key": "gateway-keys", "setup": "gateway-setup", "status": "gateway", "unit": "gateway-unit"}
    kind["page"] = "gateway-page"
    text, data = action(options, now)
    write(envelope(kind[options.action], now, data) if options.json else text)
    return 0


def _one_of(options: Namespace, names: tuple[str, ...]) -> str:
    if options.what not in names:
        raise SettingsError(f"gateway {options.action} takes one of: {', '.join(names)}", code="usage",
                            hint=f"gateway {options.action} {names[0]}")  # fmt: skip
    return str(options.what)


def _key(options: Namespace, now: datetime) -> tuple[str, dict[str, Json]]:
    what = _one_of(options, ("add", "list", "remove"))
    if what == "list":
        found = keys.load_keys()
        rows: list[Json] = [
            {
                "name": key.name,
                "created": key.created,
                "tags": dict(key.tags),
                **{f"{name}_usd": amount for name, amount in key.caps._asdict().items()},
                "policy": key.policy,
                "burst": str(key.burst) if key.burst else None,
                "repeats_a_minute": key.repeats,
                "max_cost_usd": key.max_cost,
            }
            for key in found
        ]
        lines = [_listed(key) for key in found] or ["No gateway keys: gateway key add NAME makes one."]
        return "\n".join(lines) + "\n", {"keys": rows}
    if not options.name:
        raise SettingsError("a gateway key has a name", hint=f"gateway key {what} laptop", code="usage")
    if what == "remove":
        keys.require_key(options.name, keys.load_keys())
        if not options.yes:
            raise SettingsError(
                f"the key {named(options.name)} is only removed with --yes",
                hint="its client is refused then",
                code="usage",
            )
        keys.remove_key(options.name)
        return f"The gateway key {named(options.name)} is removed: its token is refused from now on.\n", {
            "removed": options.name
        }
    tags = dict(_tag(text) for text in options.tag)
    token = keys.add_key(options.name, tags, budget_given(options), options.max_cost, iso(now))
    told = "This token is shown once; only the gateway on this machine knows it, and it is worth nothing elsewhere."
    told += "\n" + as_called("What a client has to be told: cost_tracker.py gateway setup CLIENT")
    return f"{token}\n\n{told}\n", {"name": options.name, "token": token}


def _tag(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise SettingsError("a tag is written name=value", hint="--tag project=site", code="usage")
    return name, value


def _listed(key: keys.GatewayKey) -> str:
    parts = [f"{name}={value}" for name, value in key.tags]
    parts += [f"{name} {format_usd(amount)}" for name, amount in key.caps._asdict().items() if amount is not None]
    parts += [key.policy] if key.policy != STRICT else []
    parts += [f"brake {key.burst}"] if key.burst else []
    parts += [f"repeats {key.repeats}"] if key.repeats else []
    parts += [f"max-cost {format_usd(key.max_cost)}"] if key.max_cost is not None else []
    return f"• {safe(key.name)} ({safe(key.created[:10])}){': ' if parts else ''}{safe(', '.join(parts), 300)}"


def _setup(options: Namespace, now: datetime) -> tuple[str, dict[str, Json]]:
    client = _one_of(options, setup.NAMES)
    text = setup.settings_for(client, _url())
    note = (
        ""
        if client == "cursor"
        else f"# {setup.TOKEN} is what `{as_called('cost_tracker.py gateway')} key add {client}` prints; "
    )
    note += "" if client == "cursor" else as_called("with gateway.py --no-keys it is your OpenRouter key\n")
    return note + text, {"client": client, "settings": text}


def _url() -> str:
    """Return the address of the gateway that runs, or the usual one."""
    told = ask_status()
    return str(told["url"]) if told and told.get("url") else "http://127.0.0.1:8788"


def _unit(options: Namespace, now: datetime) -> tuple[str, dict[str, Json]]:
    kind = _one_of(options, ("systemd", "launchd"))
    make = setup.systemd_unit if kind == "systemd" else setup.launchd_unit
    text = make(own_command("gateway"))
    return text, {"for": kind, "unit": text}


def _page(options: Namespace, now: datetime) -> tuple[str, dict[str, Json]]:
    """Get a link to the page of the gateway that runs; Refused when none answers."""
    link = ask_page()
    if link is None:
        raise _none_runs()
    why_not = open_in_browser(link) if options.open else ""
    is_opened = options.open and not why_not
    text = f"{link}\n\nThe link lets one browser in, once, within two minutes; the page only shows figures.\n"
    if is_opened:
        text = "The gateway's page is opened in the browser.\n"
    elif options.open:
        text = f"not opened: {why_not}; open this yourself:\n{text}"
    return text, {"url": link, "opened": is_opened}


def _none_runs() -> Refused:
    return Refused("no gateway runs here", hint=as_called("start one: python3 scripts/gateway.py"), code="no_gateway")


def _status(options: Namespace, now: datetime) -> tuple[str, dict[str, Json]]:
    """Ask the gateway that wrote down where it runs; Refused when none answers."""
    told = ask_status()
    if told is None:
        raise _none_runs()
    ledger = open_ledger(PROGRAM)
    try:
        health, (place, about) = ledger.health(), where_kept(ledger)
    except LedgerError as error:
        raise LedgerError(
            f"a gateway runs at {safe(str(told.get('url')))}, but {error.message}", hint=error.hint
        ) from None
    held = total(hold.max_cost for hold in health.holds if hold.max_cost is not None)
    stuck = sum(is_stuck(hold, now) for hold in health.holds)
    spent = usd(told["spent_usd"]) if told.get("spent_usd") is not None else ZERO
    data: dict[str, Json] = {
        **{name: told.get(name) for name in ("url", "since", "in_flight", "calls", "looking_up")},
        "spent_usd": spent,
        "held_usd": held,
        "open_holds": len(health.holds),
        "unsettled_calls": health.unsettled,
        "stuck_holds": stuck,
        "ledger": about,
    }
    text = (
        f"The gateway listens on {safe(str(told.get('url')))} since {safe(str(told.get('since')))}.\n"
        f"In flight: {safe(str(told.get('in_flight')))} | since its start: "
        f"{plural(int(str(told.get('calls') or 0)), 'call')}, "
        f"{format_usd(spent)} spent | looking up: {safe(str(told.get('looking_up')))}\n"
        f"In {place}: {format_usd(held)} held for {plural(len(health.holds), 'running or unsettled call')}, "
        f"{plural(health.unsettled, 'recorded call')} without a certain cost\n"
    )
    if stuck:
        text += as_called(
            f"{plural(stuck, 'hold')} without an id to ask about: `cost_tracker.py settle` says how to end each\n"
        )
    return text, data
