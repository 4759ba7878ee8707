"""Report when spending crosses a threshold, the balance gets low, or a day is unusual; each crossing once."""

from __future__ import annotations

from argparse import Namespace
from datetime import datetime
from decimal import Decimal
from statistics import median

from openrouter_usage.called import as_called
from openrouter_usage.cli.program import Parser, checked, complain, whole_number, write
from openrouter_usage.errors import InvalidValue, OpenRouterUsageError, Refused, SettingsError, Unreachable
from openrouter_usage.figures.alerts import Rules, Spending
from openrouter_usage.gateway.keys import every_budget
from openrouter_usage.home.settings import (
    Settings,
    cap,
    change_preference,
    load_preference,
    load_settings,
    parse_webhook,
    save_preference,
    settings_file,
)
from openrouter_usage.jobs.alert import (
    PAGERDUTY,
    Outcome,
    Target,
    check,
    checked_url,
    forget,
    name_of,
    nothing_but_budgets,
    of_budgets,
    read_rules,
    routing_key,
    saved_target,
    send,
    spending,
)
from openrouter_usage.money import Json, format_usd, plain, usd
from openrouter_usage.period import iso, spoken
from openrouter_usage.render.envelope import envelope
from openrouter_usage.text import safe

EXAMPLES = """examples:
  cost_tracker.py alert --daily-limit 10 --balance-below 5      saves both limits and checks now
  cost_tracker.py alert --quiet                                 checks the saved limits; for cron
  cost_tracker.py alert --daily-limit 10 --webhook https://hooks.slack.com/services/...
  cost_tracker.py alert --budgets                               each budget, and what one refused
  cost_tracker.py alert --list

a limit alerts at 50, 80 and 100 %, once in each UTC window; exit code 3 when an alert was sent
"""
PROGRAM = as_called("cost_tracker.py alert")
_AMOUNTS = {
    "daily_limit": "limit of the UTC day",
    "weekly_limit": "limit of the UTC week",
    "monthly_limit": "limit of the UTC month",
    "balance_below": "alert when the balance is below this",
}


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    for name, meaning in _AMOUNTS.items():
        parser.add_argument("--" + name.replace("_", "-"), type=checked(_amount), metavar="USD", help=meaning)
    parser.add_argument(
        "--runway-days", type=checked(_amount), metavar="N", help="alert when the balance lasts for fewer days"
    )
    parser.add_argument("--spike", type=checked(_times), metavar="3x", help="alert when today is that many usual days")
    parser.add_argument(
        "--budgets",
        nargs="?",
        const=Decimal(50),
        type=checked(_share),
        metavar="PERCENT",
        help="alert when a budget reaches 50 (or PERCENT), 80 and 100 %%, and when one refuses calls",
    )
    target = parser.add_mutually_exclusive_group()
    target.add_argument(
        "--webhook", metavar="URL", help="where to post (OPENROUTER_ALERT_WEBHOOK); works with Slack and Discord"
    )
    target.add_argument(
        "--pagerduty", nargs="?", const=PAGERDUTY, metavar="URL", help="alert PagerDuty, with OPENROUTER_PAGERDUTY_KEY"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing when nothing is new")
    parser.add_argument("--list", action="store_true", help="show the saved limits")
    parser.add_argument("--clear", action="store_true", help="delete the saved limits, and forget sent alerts")
    parser.add_argument("--timeout", type=whole_number(1, 600), default=30, metavar="S", help="seconds to wait (30)")


def _amount(text: str) -> Decimal:
    return cap(text, "the amount")


def _share(text: str) -> Decimal:
    share = usd(text.strip().removesuffix("%"))
    if not 0 < share <= 100:
        raise InvalidValue("a share of a budget must be above 0 and at most 100 percent")
    return share


def _times(text: str) -> Decimal:
    times = usd(text.strip().removesuffix("x"))
    if times < 1:
        raise InvalidValue("a spike must be a number of usual days, such as 3x")
    return times


def run(options: Namespace, *, now: datetime) -> int:
    """Check the alerts; return 3 for a new alert, 5 when one was not delivered or nothing proves that all is well."""
    settings = load_settings()
    amounts, chosen = _amounts(options), _chosen(options, settings)
    if options.clear and (amounts or chosen):
        raise SettingsError(
            "--clear cannot be combined with a limit", hint="run alert --clear first, then set the limit", code="usage"
        )
    if options.clear:
        save_preference("alerts", None)
        forget(settings_file().parent)
    if chosen and chosen.kind == "pagerduty":
        routing_key()  # before anything is saved: a setting that cannot work would fail every later check
    kept = load_preference("alerts")
    if amounts or chosen:
        kept = change_preference("alerts", lambda known: _merged(known, amounts, chosen))
    rules = read_rules({name: value for name, value in kept.items() if name not in amounts})._replace(**amounts)
    target = chosen or saved_target(kept, settings)
    if options.list or options.clear:
        return _list(options, rules, kept, target, now)
    if not rules.number:
        raise SettingsError("no alert is set", hint="set one with: alert --daily-limit 10", code="usage")
    secret = routing_key() if target.kind == "pagerduty" else ""
    asks = rules.asks_openrouter
    standing = spending(settings, now, timeout_s=options.timeout) if asks else nothing_but_budgets(now)
    if rules.budgets is not None:
        standing = of_budgets(standing, every_budget())
    outcome = check(
        settings_file().parent, rules, standing, lambda alert: send(alert, target, secret), name_of(target, secret)
    )
    face = _as_json(outcome, standing, rules, now) if options.json else None
    write(face or _as_text(outcome, standing, rules, quiet=options.quiet))
    _complain(options, outcome, standing)
    if outcome.error:
        return outcome.error.exit_code
    if outcome.told:
        return Refused.exit_code
    if standing.unasked:
        return standing.unasked.exit_code
    return Unreachable.exit_code if len(outcome.unknown) == rules.number else 0


def _as_text(outcome: Outcome, standing: Spending, rules: Rules, *, quiet: bool) -> str:
    lines = [("🚨 " if alert.is_critical else "⚠ ") + alert.text for alert in (*outcome.told, *outcome.undelivered)]
    if not quiet:
        lines += [f"• {each.alert.still} (told {spoken(each.told_at)})" for each in outcome.standing]
    if not lines and not quiet and not outcome.unknown:
        judged = "; ".join([standing.source, *_judged(standing, rules)])
        lines = [f"{'•' if standing.unasked else '✔'} no alert ({judged})"]
    return "".join(line + "\n" for line in lines)


def _judged(standing: Spending, rules: Rules) -> list[str]:
    """Return notes on the figure that replaced the balance, and on rules without a figure."""
    quiet = []
    if rules.spike is not None and standing.today and standing.past_days and not median(standing.past_days):
        quiet = [f"today's {format_usd(standing.today)} is not a spike, because the usual day cost nothing"]
    if not standing.remarks:
        return quiet
    found = []
    if rules.balance_below is not None and standing.balance is not None:
        found.append(f"judged: {standing.balance_of}, {format_usd(standing.balance)}")
    if rules.runway_days is not None and standing.runway_days is not None:
        found.append(f"judged: how long {standing.runway_of} lasts")
    return [*found, *standing.remarks, *quiet] if found else quiet


def _as_json(outcome: Outcome, standing: Spending, rules: Rules, now: datetime) -> str:
    told: list[Json] = [{"text": alert.text, "critical": alert.is_critical} for alert in outcome.told]
    still: list[Json] = [
        {"text": each.alert.still, "critical": each.alert.is_critical, "told_at": iso(each.told_at)}
        for each in outcome.standing
    ]
    notes = [*_judged(standing, rules), *(f"not judged: {what}" for what in outcome.unknown)]
    notes += [f"not delivered: {alert.text}" for alert in outcome.undelivered]
    notes += [error.message for error in standing.troubles]
    data: dict[str, Json] = {"told": told, "standing": still, "source": standing.source}
    return envelope("alert", now, data, notes=notes, error=_error(outcome, standing))


def _error(outcome: Outcome, standing: Spending) -> OpenRouterUsageError | None:
    """Return why an alert was not sent although all may not be well."""
    return outcome.error or (None if outcome.told else standing.unasked)


def _complain(options: Namespace, outcome: Outcome, standing: Spending) -> None:
    """Print what went wrong, except temporary trouble that hid nothing."""
    unproven = _error(outcome, standing) is standing.unasked is not None
    loud = not options.quiet or outcome.told or outcome.unknown or unproven
    for error in standing.troubles:
        if loud or error.exit_code != Unreachable.exit_code:
            proof = "; the ledger shows no alert, which does not prove that all is well" if unproven else ""
            complain(PROGRAM, error.message + proof, error.hint)
    for what in outcome.unknown:
        complain(PROGRAM, f"not judged: {what}", "; ".join(standing.reasons))
    if outcome.error:
        complain(PROGRAM, outcome.error.message, outcome.error.hint)


def _amounts(options: Namespace) -> dict[str, Decimal]:
    """Return the limits that were given, by the names of their rules."""
    return {name: getattr(options, name) for name in Rules._fields if getattr(options, name) is not None}


def _chosen(options: Namespace, settings: Settings) -> Target | None:
    """Return the target that was given, if any, after a check of its address."""
    for kind in ("webhook", "pagerduty"):
        url = getattr(options, kind)
        if url is not None:
            return Target(kind, checked_url(kind, url, settings))
    return None


def _merged(known: dict[str, Json], amounts: dict[str, Decimal], chosen: Target | None) -> dict[str, Json]:
    """Return the settings to save: there is one place to deliver to."""
    kept = known | {name: plain(amount) for name, amount in amounts.items()}
    if chosen:
        kept = {name: value for name, value in kept.items() if name not in ("webhook", "pagerduty")}
        kept[chosen.kind] = chosen.url
    return {name: value for name, value in kept.items() if value is not None}


def _list(options: Namespace, rules: Rules, kept: dict[str, Json], target: Target, now: datetime) -> int:
    amounts: dict[str, Json] = {name: plain(rule) for name, rule in rules._asdict().items() if rule is not None}
    # The path of a webhook is a secret: whoever knows it may post.
    delivers_to = f"{target.kind}: {safe(parse_webhook(target.url).host)}" if target.kind else None
    if options.json:
        write(envelope("alerts", now, {**amounts, "delivers_to": delivers_to}))
    elif not kept:
        write("No alert is set.\n")
    else:
        lines = [f"{name.replace('_', ' ')}: {amount}" for name, amount in amounts.items()]
        write("\n".join([*lines, delivers_to or "alerts are only printed, not delivered"]) + "\n")
    return 0
