"""Checks alerts and delivers each one exactly once, however many processes check at the same time."""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from openrouter_usage.budgets import EVERY, KINDS, Budget, Owner
from openrouter_usage.called import as_called
from openrouter_usage.errors import InvalidValue, OpenRouterUsageError, SettingsError, Unreachable
from openrouter_usage.figures.alerts import Alert, Refusals, Rules, Spending, Told, judge
from openrouter_usage.figures.forecast import PACE_DAYS, forecast, said_of_pace
from openrouter_usage.figures.limits import Scope, standings
from openrouter_usage.figures.summary import Outlook, build_summary
from openrouter_usage.files import Distrusted, how_to_own, locked, make_private_folder, read_own, replace_file
from openrouter_usage.home.settings import (
    BaseUrl,
    Settings,
    cap,
    is_metadata,
    load_preference,
    parse_webhook,
    settings_file,
)
from openrouter_usage.jobs.snapshot import latest
from openrouter_usage.ledger.engines import open_ledger
from openrouter_usage.ledger.refused import remembered
from openrouter_usage.money import ZERO, Json, add, dumps, loads
from openrouter_usage.openrouter.answers.account import ActivityRow, Gap
from openrouter_usage.openrouter.answers.fields import left_out_of
from openrouter_usage.period import UTC, Period, completed_days, month, parse_moment, today, week
from openrouter_usage.redaction import ROUTING_KEY, WEBHOOK, holds, protect
from openrouter_usage.text import named, plural, quoted, safe

# -- Delivers an alert: one JSON post to the address that the user gave, and nowhere else.

TIMEOUT_S = 15.0
# Of an address's own words, shorter ones are too common to be taken out of what a server says.
_SHORTEST_PART = 4


def deliver(url: str, payload: Json) -> None:
    """Post JSON, at most three times; Unreachable when it was not taken. No key and no redirect is involved."""
    from openrouter_usage.openrouter.network import proxies_for
    from openrouter_usage.openrouter.transport import Request, Transport

    address = parse_webhook(url)
    host = safe(address.host)
    # What a name leads to is judged by the connection itself, so that no second look-up can say otherwise. Behind a
    # proxy it is the proxy that looks the name up.
    transport = Transport(address, timeout_s=TIMEOUT_S, forbids=None if proxies_for(address) else is_metadata)
    try:
        answer = transport.get(Request("POST", "", None, body=dumps(payload)))
    except OpenRouterUsageError as error:
        # Most failures name the host themselves.
        raise _undelivered(error.message if host in error.message else f"{host}: {error.message}") from None
    if answer.status >= 300:
        said = without_address(answer.body.decode("utf-8", "replace"), address.url)[:200]
        raise _undelivered(f"{host} answered {answer.status}" + (f" {quoted(said)}" if said.strip() else ""))


def without_address(text: str, url: str) -> str:
    """Remove a webhook's address from what its server says: whoever knows its path and query can post."""
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


# -- Where alerts go.

PAGERDUTY = "https://events.pagerduty.com/v2/enqueue"
_PAGERDUTY_HOSTS = ("events.pagerduty.com", "events.eu.pagerduty.com")
_DISCORD_HOSTS, _DISCORD_BRANCHES = ("discord.com", "discordapp.com"), ("ptb", "canary", "www")
_DISCORD_PATH = re.compile(r"/api(?:/v\d+)?/webhooks/[^/]+/[^/]+/?")


class Target(NamedTuple):
    """Where alerts are delivered to: "webhook" or "pagerduty" and its address; "" is nowhere but the screen."""

    kind: str
    url: str


def checked_url(kind: str, url: str, settings: Settings) -> str:
    """Return the address of a webhook; SettingsError for one that is not safe, or that contains a key."""
    address = parse_webhook(url)
    for key in (settings.credentials.api_key, settings.credentials.mgmt_key):
        # Quoted or in base64 too: the receiver could decode it.
        if key and holds(url, key.secret):
            raise SettingsError(
                f"the webhook's address contains {key.name}", hint="remove the key: a webhook needs no OpenRouter key"
            )
    if kind == "pagerduty" and not (address.is_loopback or _is_pagerduty(address)):
        raise SettingsError(
            f"the routing key is sent only to PagerDuty ({' and '.join(_PAGERDUTY_HOSTS)}), but {safe(address.host)} "
            "is another host",
            hint=f"leave the address out, or use {PAGERDUTY}; for a service of your own use --webhook",
        )
    return url


def _is_pagerduty(address: BaseUrl) -> bool:
    return address.host.lower() in _PAGERDUTY_HOSTS and urlsplit(address.url).port in (None, 443)


def saved_target(kept: dict[str, Json], settings: Settings) -> Target:
    """Return where alerts go when no option says so: OPENROUTER_ALERT_WEBHOOK, else the saved target."""
    named_by_environment = os.environ.get("OPENROUTER_ALERT_WEBHOOK", "").strip()
    if named_by_environment:
        return Target("webhook", checked_url("webhook", named_by_environment, settings))
    for kind in ("webhook", "pagerduty"):
        if kept.get(kind):
            return Target(kind, checked_url(kind, str(kept[kind]), settings))
    return Target("", "")


def routing_key() -> str:
    """Return PagerDuty's key for this integration, from OPENROUTER_PAGERDUTY_KEY; SettingsError without it."""
    key = os.environ.get("OPENROUTER_PAGERDUTY_KEY", "").strip()
    if not key:
        raise SettingsError("OPENROUTER_PAGERDUTY_KEY is not set", hint="set it to the integration's routing key")
    protect(key, ROUTING_KEY)
    return key


def _is_discord(url: str) -> bool:
    """Check whether a webhook uses Discord's own format, which has no `text`; its Slack-compatible paths have."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".").lower()
    branch, _, rest = host.partition(".")
    is_theirs = host in _DISCORD_HOSTS or (branch in _DISCORD_BRANCHES and rest in _DISCORD_HOSTS)
    return is_theirs and _DISCORD_PATH.fullmatch(parts.path) is not None


def send(alert: Alert, target: Target, secret: str) -> None:
    """Deliver one alert, if it goes anywhere but to the screen; `secret` is PagerDuty's routing key."""
    text = f"OpenRouter: {alert.text}"
    if target.kind == "webhook":
        deliver(target.url, {"content" if _is_discord(target.url) else "text": text})
    elif target.kind == "pagerduty":
        event: dict[str, Json] = {"summary": text, "source": "openrouter-usage"}
        event["severity"] = "critical" if alert.is_critical else "warning"
        head: dict[str, Json] = {"routing_key": secret, "event_action": "trigger"}
        deliver(target.url, head | {"dedup_key": f"openrouter-usage:{alert.marks[0]}", "payload": event})


def name_of(target: Target, secret: str) -> str:
    """Return a target's name in the record of sent alerts; its address is secret, but the checksum is not."""
    if not target.kind:
        return SCREEN
    return f"{target.kind}:{sha256(f'{target.url} {secret}'.encode()).hexdigest()[:16]}"


# -- Checks alerts and delivers each one exactly once, however many processes check at the same time.

ACCOUNT = "the account, from OpenRouter"
_MOST_KEPT = 1_000
_LARGEST_FILE = 1024 * 1024
_FOR_EVER = Decimal("Infinity")
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
# Where alerts go that are delivered nowhere.
SCREEN = "screen"
_LEFT = {
    "balance": "the balance",
    "key_limit": "what this key's limit leaves",
    "budget": "what this key's budget leaves",
}
_LASTS = {"balance": "the balance", "key limit": "this key's limit", "budget": "this key's budget"}
# Of each mark, where it was told and when: what was on the screen only is not told to a webhook.
Fired = dict[str, dict[str, datetime]]


class Outcome(NamedTuple):
    """What was told, what was due and could not be delivered, why, what could not be judged, and what still holds."""

    told: tuple[Alert, ...]
    undelivered: tuple[Alert, ...]
    error: OpenRouterUsageError | None
    unknown: tuple[str, ...]
    standing: tuple[Told, ...] = ()


def read_rules(kept: dict[str, Json]) -> Rules:
    """Read the remembered rules; SettingsError for one that cannot be kept, or that only a newer version knows."""
    strange = [name for name in kept if name not in (*Rules._fields, "webhook", "pagerduty")]
    if strange:
        raise SettingsError(
            f"the settings have an alert that this version does not know: {named(strange[0])}",
            hint=as_called("update the skill, or run: cost_tracker.py alert --clear"),
        )
    return Rules(
        **{name: cap(kept[name], f"the {name} alert in the settings") for name in Rules._fields if name in kept}
    )


def spending(settings: Settings, now: datetime, *, timeout_s: float) -> Spending:
    """Ask OpenRouter how the account stands, or else this key; where it cannot be asked, the local ledger.

    The source says which it was; raises what OpenRouter's silence was due to when there is no ledger either.
    """
    troubles: list[OpenRouterUsageError] = []
    keys = settings.credentials
    partial = None
    if settings.mgmt_key:
        # Asked with the management key alone, the figures are the whole account's.
        account = settings._replace(credentials=keys._replace(api_key=None))
        partial = _asked(account, now, timeout_s, troubles)
        if partial and partial.source == ACCOUNT and partial.today is not None:
            return partial
    # Where nobody answers one key, nobody would answer the other.
    if keys.api_key and not any(trouble.exit_code == Unreachable.exit_code for trouble in troubles):
        found = _asked(settings, now, timeout_s, troubles)
        if found:
            return found._replace(troubles=tuple(troubles))
    return partial or _from_ledger(settings, now, troubles)


def of_budgets(standing: Spending, budgets: Iterable[Budget]) -> Spending:
    """Return how things stand with budgets added, also a shared ledger's: each cap, and what was refused today."""
    now = standing.taken_at
    found: list[Scope] = []
    ledger = open_ledger()
    try:
        wanted = [budget for budget in (*ledger.caps(), *budgets) if budget.owner.name != EVERY]
        ledger.committed(lambda books: found.extend(standings(wanted, books, now)))
    finally:
        ledger.close()
    counts: Counter[tuple[Owner, str]] = Counter()
    with contextlib.suppress(OSError):
        for row in remembered(ledger.path):
            scope, kind, name = (str(row.get(part) or "") for part in ("scope", "kind", "name"))
            if scope and kind in KINDS and str(row.get("ts"))[:10] == now.date().isoformat():
                counts[Owner(kind, name), scope] += 1
    refusals = tuple(Refusals(owner, safe(scope), number) for (owner, scope), number in counts.items())
    books = ledger.shown if ledger.is_shared else standing.books
    return standing._replace(scopes=tuple(found), refusals=refusals, books=books)


def _asked(
    settings: Settings, now: datetime, timeout_s: float, troubles: list[OpenRouterUsageError]
) -> Spending | None:
    """Return what OpenRouter says; None, and the trouble, when it says nothing."""
    try:
        found = latest(settings, now, timeout_s=timeout_s)
        if found.error:
            raise found.error
    except OpenRouterUsageError as error:
        troubles.append(error)
        return None
    parts, summary = found.parts, build_summary(found.parts)
    # Days that are not whole make no usual day, and no pace.
    rows = None if isinstance(parts.activity, Gap) or left_out_of(parts.activity) else parts.activity
    left_of, left = summary.left[0] if summary.left else ("balance", None)
    outlook, runway = _shortest(forecast(parts, summary).outlooks, now)
    return Spending(
        now,
        summary.today.usage,
        summary.week.usage,
        summary.month.usage,
        balance=left,
        runway_days=runway,
        past_days=() if rows is None else _by_day(rows, now),
        source=ACCOUNT if summary.scope == "account" else "this key, from OpenRouter",
        reasons=(*summary.notes, *(gap.message for gap in summary.gaps)),
        balance_of=_LEFT[left_of],
        runway_of=_LASTS[outlook.name] if outlook else "the balance",
        pace=said_of_pace(outlook.pace) if outlook and outlook.pace else "an unknown pace",
        # A key's limit may leave more than the account has; whoever has no management key cannot know.
        remarks=() if summary.balance or left is None else ("the account's balance is not known",),
    )


def _shortest(outlooks: tuple[Outlook, ...], now: datetime) -> tuple[Outlook | None, Decimal | None]:
    """Return what is used up first and in how many days, infinitely many where nothing is; None where none is known."""
    found = None
    shortest: Decimal | None = None
    for outlook in outlooks:
        if outlook.pace is None:
            continue
        never = outlook.days is None or (outlook.left > 0 and outlook.outlasts_its_window(now))
        days = _FOR_EVER if never or outlook.days is None else outlook.days
        if shortest is None or days < shortest:
            found, shortest = outlook, days
    return found, shortest


def _by_day(rows: tuple[ActivityRow, ...], now: datetime) -> tuple[Decimal, ...]:
    """Return the spend of each of the last completed UTC days; zero for one without any."""
    sums = _empty_days(completed_days(now, PACE_DAYS))
    for row in rows:
        day = row.day.isoformat()
        if day in sums:
            sums[day] = add(sums[day], row.usage.cost)
    return tuple(sums.values())


def _empty_days(period: Period) -> dict[str, Decimal]:
    first, count = period.first_day, (period.last_day - period.first_day).days + 1
    return {(first + timedelta(days=number)).isoformat(): ZERO for number in range(count)}


def _from_ledger(settings: Settings, now: datetime, troubles: list[OpenRouterUsageError]) -> Spending:
    ledger = open_ledger()
    if ledger.is_missing:
        settings.require_key()
        raise troubles[-1]
    past = completed_days(now, PACE_DAYS)
    try:
        day, running_week, running_month = (ledger.totals(window(now)).total for window in (today, week, month))
        groups = ledger.totals(past, "day").groups
    finally:
        ledger.close()
    sums = _empty_days(past) | {day: usage.cost for day, usage in groups.items()}
    which = "the shared" if ledger.is_shared else "the local"
    unknown = f"; {plural(running_month.unknown, 'call')} of unknown cost left out" if running_month.unknown else ""
    return Spending(
        now,
        day.cost,
        running_week.cost,
        running_month.cost,
        balance=None,
        runway_days=None,
        past_days=tuple(sums.values()),
        source=f"tracked calls from {which} ledger, because OpenRouter could not be asked{unknown}",
        troubles=tuple(troubles),
        unasked=troubles[-1] if troubles else None,
    )


def check(folder: Path, rules: Rules, now: Spending, tell: Callable[[Alert], None], target: str = SCREEN) -> Outcome:
    """Send what is due and remember that `target` has it; what `tell` raises an error for stays due.

    What is delivered is shown as well, so it counts as told on the screen.
    """
    with _memory(folder) as path:
        fired = _load(path)
        verdict = judge(
            rules,
            now,
            {mark: times[target] for mark, times in fired.items() if target in times},
            {mark: max(times.values()) for mark, times in fired.items() if times},
        )
        for mark in verdict.rearmed:
            del fired[mark]
        if verdict.rearmed:
            _save(path, fired)
        for number, alert in enumerate(verdict.due):
            try:
                tell(alert)
            except OpenRouterUsageError as error:
                return Outcome(verdict.due[:number], verdict.due[number:], error, verdict.unknown, verdict.standing)
            for mark in alert.marks:
                # The first time stands: the lower thresholds of a limit were told before.
                fired[mark] = {target: now.taken_at, SCREEN: now.taken_at} | fired.get(mark, {})
            # After each one: should the next delivery fail, this one is not told again.
            _save(path, fired)
        return Outcome(verdict.due, (), None, verdict.unknown, verdict.standing)


def check_budgets(settings: Settings, budgets: Iterable[Budget], now: datetime) -> Outcome | None:
    """Check the saved alert on budgets alone, for a program that runs on; None where none is saved, or none to tell.

    Raises SettingsError for saved alerts that cannot be used, LedgerError for a ledger that cannot be read.
    """
    kept = load_preference("alerts")
    rules, target = read_rules(kept), saved_target(kept, settings)
    if rules.budgets is None or not target.kind:
        return None
    secret = routing_key() if target.kind == "pagerduty" else ""
    standing = of_budgets(nothing_but_budgets(now), budgets)
    only = Rules(budgets=rules.budgets)
    return check(
        settings_file().parent, only, standing, lambda alert: send(alert, target, secret), name_of(target, secret)
    )


def nothing_but_budgets(now: datetime) -> Spending:
    """Return how things stand where no rule asks OpenRouter."""
    return Spending(now, None, None, None, None, None, (), source="this machine's budgets, from its ledger")


def forget(folder: Path) -> None:
    """Forget what was told, so that whatever holds is told again."""
    with _memory(folder) as path:
        path.unlink(missing_ok=True)


@contextmanager
def _memory(folder: Path) -> Iterator[Path]:
    """Lock the record of sent alerts: other processes wait for the one that sends, so that none is sent twice."""
    path = folder / "alerts.json"
    try:
        make_private_folder(folder)
        with locked(folder / "alerts.lock"):
            yield path
    except Distrusted as error:
        shown = safe(str(path), 300)
        raise SettingsError(
            f"the record of sent alerts is not read from {shown}: {error.strerror}",
            hint=f"delete the file, or run: {how_to_own(shown, error.why)}",
        ) from None
    except OSError as error:
        shown = safe(str(path), 300)
        raise SettingsError(
            f"the record of sent alerts cannot be kept in {shown}: {error.strerror}", hint="check the disk"
        ) from None


def _load(path: Path) -> Fired:
    """Read what was told, where and when; nothing of a file that is not understood: rather told twice than never."""
    try:
        kept = loads(read_own(path, _LARGEST_FILE))
    except (FileNotFoundError, ValueError):
        return {}
    marks: Json = kept.get("fired") if isinstance(kept, dict) else None
    return {mark: _times(when) for mark, when in marks.items()} if isinstance(marks, dict) else {}


def _times(kept: Json) -> dict[str, datetime]:
    """Read where a mark was told; a moment alone is of an older version, which did not say where: on the screen."""
    if not isinstance(kept, dict):
        return {SCREEN: _moment(kept)}
    return {where: _moment(when) for where, when in kept.items()}


def _moment(text: Json) -> datetime:
    try:
        return parse_moment(str(text))
    except InvalidValue:
        return _LONG_AGO


def _save(path: Path, fired: Fired) -> None:
    newest = list(fired.items())[-_MOST_KEPT:]
    values: dict[str, Json] = {
        mark: {where: when.isoformat() for where, when in times.items()} for mark, times in newest
    }
    replace_file(path, [dumps({"fired": values}) + "\n"])
