"""Tell when spending crosses a threshold, the balance gets low, or a day is unusual; each crossing once."""

from __future__ import annotations

import os
from argparse import Namespace
from datetime import datetime
from decimal import Decimal

from openrouter_usage.alerting import check, spending
from openrouter_usage.alerts import Alert, Rules, read_rules
from openrouter_usage.cli.output import write
from openrouter_usage.cli.parser import Parser, checked, whole_number
from openrouter_usage.client.webhook import deliver
from openrouter_usage.errors import InvalidValue, SettingsError
from openrouter_usage.exactjson import Json
from openrouter_usage.money import plain, usd
from openrouter_usage.period import UTC
from openrouter_usage.preferences import cap, load_preferences, save_preference, settings_file
from openrouter_usage.render.as_json import envelope
from openrouter_usage.settings import load_settings, parse_webhook

EXAMPLES = """examples:
  cost_tracker.py alert --daily-limit 10 --balance-below 5      remembers both and checks now
  cost_tracker.py alert --quiet                                 checks what is remembered; for cron
  cost_tracker.py alert --daily-limit 10 --webhook https://hooks.slack.com/services/...
  cost_tracker.py alert --list

limits are told at 50, 80 and 100 %, once in each UTC window; exit code 3 when something was told
"""
PAGERDUTY = "https://events.pagerduty.com/v2/enqueue"
_AMOUNTS = {
    "daily_limit": "limit of the UTC day",
    "weekly_limit": "limit of the UTC week",
    "monthly_limit": "limit of the UTC month",
    "balance_below": "tell when the balance is below this",
}


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    for name, meaning in _AMOUNTS.items():
        parser.add_argument("--" + name.replace("_", "-"), type=checked(_amount), metavar="USD", help=meaning)
    parser.add_argument("--runway-days", type=checked(_amount), metavar="N", help="tell when the balance lasts less")
    parser.add_argument("--spike", type=checked(_times), metavar="3x", help="tell when today is that many usual days")
    target = parser.add_mutually_exclusive_group()
    target.add_argument(
        "--webhook", metavar="URL", help="where to post (OPENROUTER_ALERT_WEBHOOK); Slack understands it"
    )
    target.add_argument("--pagerduty", nargs="?", const=PAGERDUTY, metavar="URL", help="use OPENROUTER_PAGERDUTY_KEY")
    parser.add_argument("--quiet", action="store_true", help="say nothing when all is well")
    parser.add_argument("--list", action="store_true", help="show what is remembered")
    parser.add_argument("--clear", action="store_true", help="forget all of it")
    parser.add_argument("--timeout", type=whole_number(1, 600), default=30, metavar="S", help="seconds to wait (30)")


def _amount(text: str) -> Decimal:
    return cap(text, "the amount")


def _times(text: str) -> Decimal:
    times = usd(text.strip().removesuffix("x"))
    if times < 1:
        raise InvalidValue("a spike is some number of usual days, such as 3x")
    return times


def run(options: Namespace) -> int:
    """Check the alerts; 3 when something was told."""
    if options.clear:
        save_preference("alerts", None)
    kept = _remember(options)
    rules = Rules(**{name: usd(value) for name, value in read_rules(kept).items()})
    if options.list or options.clear:
        return _list(options, kept)
    if not rules.any:
        raise SettingsError("no alert is set", hint="alert --daily-limit 10", code="usage")
    target = _target(options, kept)
    now = datetime.now(UTC)
    standing = spending(load_settings(), now, timeout_s=options.timeout)
    outcome = check(settings_file().parent, rules, standing, lambda alert: _tell(alert, target))
    if options.json:
        told: list[Json] = [{"text": alert.text, "critical": alert.is_critical} for alert in outcome.told]
        write(envelope("alert", now, {"told": told, "source": standing.source}, notes=outcome.unknown))
    else:
        lines = [f"🚨 {alert.text}" if alert.is_critical else f"⚠ {alert.text}" for alert in outcome.told]
        lines += [] if options.quiet and not lines else [f"ℹ not judged: {what}" for what in outcome.unknown]
        if not lines and not options.quiet:
            lines = [f"✔ no alert ({standing.source})"]
        write("".join(line + "\n" for line in lines))
    return 3 if outcome.told else 0


def _remember(options: Namespace) -> dict[str, Json]:
    """Keep what is given on the command line beside what is remembered, and give all of it."""
    kept = load_preferences().get("alerts")
    rules: dict[str, Json] = dict(kept) if isinstance(kept, dict) else {}
    given: dict[str, Json] = {
        name: plain(getattr(options, name)) for name in Rules._fields if getattr(options, name) is not None
    }
    if options.webhook:
        parse_webhook(options.webhook)
        given |= {"webhook": options.webhook, "pagerduty": None}
    if options.pagerduty:
        parse_webhook(options.pagerduty)
        given |= {"pagerduty": options.pagerduty, "webhook": None}
    if given and not options.clear:
        rules = {name: value for name, value in (rules | given).items() if value is not None}
        save_preference("alerts", rules)
    return rules


def _list(options: Namespace, kept: dict[str, Json]) -> int:
    shown = {name: value for name, value in kept.items() if name not in ("webhook", "pagerduty")}
    # The path of a webhook is a secret: whoever knows it may post.
    target = next(
        (f"{name}: {parse_webhook(str(kept[name])).host}" for name in ("webhook", "pagerduty") if kept.get(name)), None
    )
    if options.json:
        write(envelope("alerts", datetime.now(UTC), {**shown, "delivers_to": target}))
    elif not kept:
        write("No alert is remembered.\n")
    else:
        lines = [f"{name.replace('_', ' ')}: {value}" for name, value in shown.items()]
        write("\n".join([*lines, target or "delivered nowhere, only shown"]) + "\n")
    return 0


def _target(options: Namespace, kept: dict[str, Json]) -> tuple[str, str]:
    """Give where alerts go: the kind and the address; ("", "") for nowhere but the screen."""
    if kept.get("pagerduty"):
        if not os.environ.get("OPENROUTER_PAGERDUTY_KEY", "").strip():
            raise SettingsError("OPENROUTER_PAGERDUTY_KEY is not set", hint="export it: the integration's routing key")
        return "pagerduty", str(kept["pagerduty"])
    url = str(kept.get("webhook") or os.environ.get("OPENROUTER_ALERT_WEBHOOK", "").strip())
    if url:
        parse_webhook(url)
    return ("webhook", url) if url else ("", "")


def _tell(alert: Alert, target: tuple[str, str]) -> None:
    kind, url = target
    text = f"OpenRouter: {alert.text}"
    if kind == "webhook":
        deliver(url, {"text": text})
    elif kind == "pagerduty":
        event: dict[str, Json] = {"summary": text, "source": "openrouter-usage"}
        event["severity"] = "critical" if alert.is_critical else "warning"
        routing_key = os.environ["OPENROUTER_PAGERDUTY_KEY"].strip()
        head: dict[str, Json] = {"routing_key": routing_key, "event_action": "trigger", "dedup_key": alert.marks[0]}
        deliver(url, head | {"payload": event})
