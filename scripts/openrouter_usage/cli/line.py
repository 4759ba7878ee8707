"""stats.py --line: one line for a status bar, at once and from the last figures, which are renewed beside it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.called import own_command
from openrouter_usage.cli.program import write
from openrouter_usage.entry import LONGEST_NAME
from openrouter_usage.errors import InvalidValue, OpenRouterUsageError
from openrouter_usage.figures.summary import Summary, build_summary
from openrouter_usage.home.settings import Settings
from openrouter_usage.jobs.snapshot import is_fresh, latest, load_snapshot, snapshot_file
from openrouter_usage.money import ZERO, format_usd, loads, usd
from openrouter_usage.openrouter.answers.account import Parts
from openrouter_usage.render.line import as_line, as_own_line, names_in
from openrouter_usage.text import plural

FRESH_S = 60
_WITH_SESSION = "💰 {today} · {session} · {left} · {age}"
# A status bar that gives no input may leave the pipe open for ever.
_INPUT_WAIT_S = 0.1
_LARGEST_INPUT = 256 * 1024
_LOCK_WAIT_S = 0.2
# Claude Code gives its hooks 1.5 seconds at the end of a session; on a busy machine, Python may need half of that.
_HOOK_WAIT_S = 0.7
_HOOKS = ("SessionStart", "SessionEnd")


class Client(NamedTuple):
    """What Claude Code says on standard input: the id of its session, its own estimate in USD, and the hook's event."""

    session: str
    estimate: Decimal | None
    hook: str


def show_line(
    settings: Settings,
    clock: Callable[[], datetime],
    *,
    template: str | None = None,
    timeout_s: float,
) -> int:
    """Print the line from the last figures, whatever their age; old ones are renewed by a process of its own.

    Only where there are none is OpenRouter asked on the spot, at most once a minute; and for `{spent}` in a hook, when
    the session begins or ends.
    """
    names = names_in(template) if template else []
    client = _client()
    if client and template is None:
        template, names = _WITH_SESSION, names_in(_WITH_SESSION)
    is_hook = client is not None and client.hook in _HOOKS and "spent" in names
    parts = _for_hook(settings, clock(), timeout_s) if is_hook else _parts(settings, clock(), timeout_s)
    if parts is None:
        write("💰 no figures yet\n")
        return 0
    now, summary = clock(), build_summary(parts)
    if template is None:
        write(as_line(summary, now))
        return 0
    makers: dict[str, Callable[[], str]] = {
        "session": lambda: _session(client),
        "spent": lambda: _spent(settings, client, parts),
        "budget": lambda: _budget(now),
        "runway": lambda: _runway(parts, summary),
    }
    others = {name: make() for name, make in makers.items() if name in names}
    write(as_own_line(template, summary, now, others))
    return 0


def _parts(settings: Settings, now: datetime, timeout_s: float) -> Parts | None:
    """Return the last figures, however old; or new ones, unless somebody has just asked in vain."""
    path = snapshot_file(settings)
    kept = load_snapshot(path, settings.base_url.url)
    if path is None or (kept is not None and is_fresh(kept, now, FRESH_S)):
        return kept or latest(settings, now, timeout_s=timeout_s).parts
    from openrouter_usage.jobs.refresh import claim, start_refresh

    if kept is not None:
        start_refresh(path, own_command("stats", "--line", "--max-age", "0"))
        return kept
    held = claim(path)
    if held is None:
        return None
    try:
        return latest(settings, now, timeout_s=timeout_s).parts
    finally:
        held.close()


def _for_hook(settings: Settings, now: datetime, timeout_s: float) -> Parts | None:
    """Return the figures of this moment, or the last ones where OpenRouter does not answer in the time of a hook."""
    try:
        return latest(settings, now, timeout_s=min(timeout_s, _HOOK_WAIT_S)).parts
    except OpenRouterUsageError:
        return load_snapshot(snapshot_file(settings), settings.base_url.url)


# -- What the program that shows the line knows of its session.


def _client() -> Client | None:
    """Return what standard input says, if it is JSON of Claude Code's; None without one that comes at once."""
    stream = sys.stdin
    try:
        if stream is None or stream.isatty():
            return None
        handle = stream.fileno()
    except (OSError, ValueError):
        return None
    found: list[Client] = []
    reader = threading.Thread(target=_read_client, args=(handle, found), daemon=True)
    reader.start()
    reader.join(_INPUT_WAIT_S)
    return found[0] if found else None


def _read_client(handle: int, found: list[Client]) -> None:
    text = b""
    while len(text) < _LARGEST_INPUT:
        try:
            piece = os.read(handle, 65_536)
        except OSError:
            return
        text += piece
        try:
            told = loads(text)
        except ValueError:
            if not piece:
                return
            continue
        session = told.get("session_id") if isinstance(told, dict) else None
        if isinstance(told, dict) and isinstance(session, str) and 0 < len(session) <= LONGEST_NAME:
            found.append(Client(session, _estimate(told.get("cost")), str(told.get("hook_event_name"))))
        return


def _estimate(cost: object) -> Decimal | None:
    amount = cost.get("total_cost_usd") if isinstance(cost, dict) else None
    try:
        found = None if amount is None else usd(amount)
    except InvalidValue:
        return None
    return found if found is not None and found >= ZERO else None


def _session(client: Client | None) -> str:
    """Write what the ledger has of this session, which is OpenRouter's own bill, or else the client's estimate."""
    if client is None:
        return ""
    try:
        from openrouter_usage.cli.opening import open_ledger_quietly

        ledger = open_ledger_quietly(_LOCK_WAIT_S)
        usage = ledger.totals(None, "session").groups.get(client.session) if ledger else None
        if ledger:
            ledger.close()
    except OpenRouterUsageError:
        return "? session"
    if usage is not None and usage.unknown == usage.requests:
        return "? session"
    if usage is not None:
        unknown = f" + {plural(usage.unknown, 'call')} of unknown cost" if usage.unknown else ""
        return f"{format_usd(usage.cost)}{unknown} session"
    return "" if client.estimate is None else f"~{format_usd(client.estimate)} session"


def _spent(settings: Settings, client: Client | None, parts: Parts) -> str:
    """Write what this key spent since the session began, whoever used it; "" where that is unknown."""
    path = snapshot_file(settings)
    if client is None or path is None:
        return ""
    from openrouter_usage.jobs.session_spend import session_spend

    found = session_spend(path, client.session, parts)
    if found is None:
        return ""
    byok = f" + {format_usd(found.byok)} BYOK" if found.byok else ""
    day = "" if found.since.date() == parts.taken_at.date() else f"{found.since:%Y-%m-%d} "
    return f"{format_usd(found.usage)}{byok} of this key since {day}{found.since:%H:%M} UTC"


# -- What the budget leaves, and for how long the rest will last.


def _budget(now: datetime) -> str:
    """Write what the tightest budget of this machine, or of a team and its member here, leaves; "" without one."""
    from openrouter_usage.budgets import MACHINE, Owner
    from openrouter_usage.cli.opening import open_ledger_quietly
    from openrouter_usage.figures.limits import Scope, standings
    from openrouter_usage.home.settings import load_budgets, shared_ledger
    from openrouter_usage.ledger.ledger import Committed

    budgets = [load_budgets()[0]]  # the machine's
    if not budgets[0].caps.any and shared_ledger() is None:
        return ""
    found: list[Scope] = []

    def look(books: Committed) -> None:
        found.extend(scope for scope in standings(budgets, books, now) if scope.period)

    try:
        ledger = open_ledger_quietly(_LOCK_WAIT_S, may_be_new=True)
        if ledger:
            here = {MACHINE, *(Owner(kind, name) for kind, name in ledger.names().items())}
            budgets += [budget for budget in ledger.caps() if budget.owner in here]
            ledger.committed(look)
            ledger.close()
    except OpenRouterUsageError:
        return "? of budget left"
    if not found:
        return ""
    least = min(found, key=lambda scope: scope.left)
    return f"{format_usd(max(least.left, ZERO))} of {least.name} budget left"


def _runway(parts: Parts, summary: Summary) -> str:
    """Write for how long the first thing that runs out will last at the usual pace; "" where that is unknown."""
    from openrouter_usage.figures.forecast import forecast, lasting

    ahead = forecast(parts, summary).outlooks
    lasts = [each.days for each in ahead if each.days is not None and not each.outlasts_its_window(summary.taken_at)]
    return f"lasts {lasting(min(lasts))}" if lasts else ""
