"""Share one ledger and one budget among machines, on a PostgreSQL server."""

from __future__ import annotations

from argparse import Namespace
from datetime import datetime
from pathlib import Path

from openrouter_usage.called import as_called
from openrouter_usage.cli.opening import open_ledger
from openrouter_usage.cli.program import Parser, whole_number, write
from openrouter_usage.entry import NOTHING, Entry
from openrouter_usage.errors import SettingsError
from openrouter_usage.files import save_output
from openrouter_usage.home.settings import cap
from openrouter_usage.jobs.own_files import is_own
from openrouter_usage.jobs.team import (
    invite,
    pulled,
    push,
    release_allowance,
    require_shared,
    return_allowance,
    set_up,
    take_allowance,
)
from openrouter_usage.ledger import engines
from openrouter_usage.ledger.team import TeamLedger
from openrouter_usage.ledger.team_schema import script
from openrouter_usage.money import Json, format_usd
from openrouter_usage.period import iso, spoken
from openrouter_usage.render.envelope import envelope
from openrouter_usage.text import plural, safe

EXAMPLES = """examples:
  cost_tracker.py team init --dry-run             print the SQL, and connect to nothing
  cost_tracker.py team init                       as an owner of the database
  cost_tracker.py team invite laptop --output laptop.env
  cost_tracker.py team                            who this machine is, and which caps hold
  cost_tracker.py team push                       bring the calls of this machine's file in
  cost_tracker.py team pull --output all.jsonl
  cost_tracker.py team allowance take 1.00        before this machine goes where the server is not
  cost_tracker.py team allowance return           when it is back

the server is named by OPENROUTER_LEDGER=postgresql://... in the environment, which is a secret
"""
PROGRAM = as_called("cost_tracker.py team")
# Whose caps a machine cannot know of its calls, unless they are told.
_OWNERS = ("client", "project", "agent", "session")


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    actions = ("show", "init", "invite", "push", "pull", "allowance")
    parser.add_argument("action", choices=actions, nargs="?", default="show", help="action (show)")
    help_text = "the member to invite; of an allowance: take, return or release, or nothing to list all"
    parser.add_argument("name", metavar="NAME", nargs="?", help=help_text)
    parser.add_argument("value", metavar="VALUE", nargs="?", help="for take: the USD; for release: the id")
    parser.add_argument(
        "--hours", type=whole_number(1, 744), metavar="H", help="for take: how long it may be spent (24)"
    )
    for kind in _OWNERS:
        parser.add_argument(f"--{kind}", metavar="NAME", help=f"for take: also for calls of a {kind} that has caps")
    parser.add_argument("--output", metavar="FILE", type=Path, help="where the invitation, or what is pulled, goes")
    parser.add_argument("--force", action="store_true", help="replace the file of a pull")
    parser.add_argument("--dry-run", action="store_true", help="for init: print the SQL and change nothing")


def run(options: Namespace, *, now: datetime) -> int:
    """Do what was asked for, and print what came of it."""
    _check(options)
    if options.action == "init" and options.dry_run:
        write(script())
        return 0
    ledger = require_shared(open_ledger(PROGRAM))
    if options.action == "allowance":
        text, data = _allowance(ledger, options, now)
    else:
        actions = {"show": _show, "init": _init, "invite": _invite, "push": _push, "pull": _pull}
        text, data = actions[options.action](ledger, options)
    kind = "team" if options.action == "show" else f"team-{options.action}"
    write(envelope(kind, now, data) if options.json else text)
    return 0


def _check(options: Namespace) -> None:
    needs_file = options.action in ("invite", "pull")
    wrong = ""
    is_allowance = options.action == "allowance"
    owners = [kind for kind in _OWNERS if getattr(options, kind) is not None]
    if is_allowance and options.name not in (None, "take", "return", "release"):
        wrong = "`team allowance` takes, returns or releases one"
    elif (options.name in ("take", "release") and is_allowance) != (options.value is not None):
        wrong = "`team allowance take` needs an amount and `release` an id, and nothing else does"
    elif (options.hours or owners) and not (is_allowance and options.name == "take"):
        wrong = "--hours and owners are for `team allowance take`"
    elif not is_allowance and (options.action == "invite") != (options.name is not None):
        wrong = "`team invite` needs the name of a member, and nothing else does"
    elif needs_file != (options.output is not None):
        wrong = "`team invite` and `team pull` need --output, and nothing else does"
    elif options.force and options.action != "pull":
        wrong = "--force is for `team pull`"
    elif options.dry_run and (options.action != "init" or options.json):
        wrong = "--dry-run is for `team init`, without --json"
    if wrong:
        raise SettingsError(wrong, hint=as_called("see: cost_tracker.py team --help"), code="usage")


def _show(ledger: TeamLedger, options: Namespace) -> tuple[str, dict[str, Json]]:
    member, caps = ledger.whoami(), ledger.caps()
    rows: list[Json] = []
    lines = [f"👥 {ledger.shown[0].upper()}{ledger.shown[1:]}, as {member} on {safe(ledger.machine)}"]
    for budget in caps:
        kind, name = budget.owner
        whose = "" if kind == "machine" and not name else f"{kind} {safe(name)}, "
        for window, amount in budget.caps._asdict().items():
            if amount is not None:
                shown = window.replace("_", "-")
                lines.append(f"{whose}{shown}: at most {format_usd(amount)} ({budget.policy})")
                rows.append(
                    {"kind": kind, "name": name or None, "window": shown, "cap_usd": amount, "policy": budget.policy}
                )
    if not rows:
        lines.append(
            as_called("No cap is set in it. As an administrator: cost_tracker.py budget set --team --daily 10")
        )
    data: dict[str, Json] = {"member": member.name, "machine": ledger.machine, "version": member.version}
    return "\n".join(lines) + "\n", {**data, "is_administrator": member.is_administrator, "caps": rows}


def _init(ledger: TeamLedger, options: Namespace) -> tuple[str, dict[str, Json]]:
    before, version = set_up(ledger)
    state = "is set up" if not before else "is up to date" if before == version else f"was upgraded from {before}"
    following = as_called("cost_tracker.py team invite NAME --output FILE")
    text = f"{ledger.shown} {state} (version {version}); next: {following}\n"
    return text, {"version_before": before, "version": version}


def _invite(ledger: TeamLedger, options: Namespace) -> tuple[str, dict[str, Json]]:
    invite(ledger, options.name, options.output)
    shown = safe(str(options.output), 300)
    text = (
        f"{options.name} may spend now. Its address, with a password, is in {shown} (mode 600): bring the file to its\n"
        f"machine over a safe way, and run there: set -a; . {shown}; set +a\n"
    )
    return text, {"member": options.name, "file": str(options.output)}


def _allowance(ledger: TeamLedger, options: Namespace, now: datetime) -> tuple[str, dict[str, Json]]:
    if options.name == "take":
        amount = cap(options.value, "the allowance")
        if not amount:
            raise SettingsError("an allowance of nothing pays for nothing", hint="write it like 1.00", code="usage")
        tags = {kind: getattr(options, kind) for kind in _OWNERS if getattr(options, kind) is not None}
        taken = take_allowance(ledger, amount, hours=options.hours or 24, tags=tags, now=now)
        until = spoken(taken.until) if taken.until else "it is returned"
        text = as_called(
            f"{format_usd(taken.amount)} of {ledger.shown} is held for this machine until {until}: calls of programs"
            " that begin now\nare paid with it and need no server. When the server is there again:"
            " cost_tracker.py team allowance return\n"
        )
        return text, {"id": taken.id, "usd": taken.amount, "until": iso(taken.until) if taken.until else None}
    if options.name == "return":
        done = return_allowance(ledger)
        usage, new = done.pushed.usage, done.pushed.new
        rest = "nothing was left to give back" if done.rest is None else f"{format_usd(done.rest)} given back"
        text = f"{plural(usage.requests, 'call')}, {format_usd(usage.cost)}, brought in ({new:,} new); {rest}\n"
        return text, {"calls": usage.requests, "added": new, "usd": usage.cost, "rest_usd": done.rest}
    if options.name == "release":
        left = release_allowance(ledger, options.value)
        text = f"{format_usd(left)} released; calls that its machine still brings in count all the same\n"
        return text, {"id": options.value, "rest_usd": left}
    rows: list[Json] = []
    lines = []
    for each in ledger.allowances():
        lines.append(
            f"{each.id}: {format_usd(each.left)} of {format_usd(each.amount)} held for {safe(each.member)} on"
            f" {safe(each.machine)}, taken {spoken(each.at)}, until {spoken(each.until)}"
        )
        names: dict[str, Json] = {"id": each.id, "member": each.member, "machine": each.machine}
        rows.append({**names, "usd": each.amount, "left_usd": each.left, "at": iso(each.at), "until": iso(each.until)})
    return "\n".join(lines or ["No allowance is taken."]) + "\n", {"allowances": rows}


def _push(ledger: TeamLedger, options: Namespace) -> tuple[str, dict[str, Json]]:
    own = engines.own_ledger()
    try:
        done = push(own, ledger)
    finally:
        own.close()
    known = done.usage.requests - done.new - done.completed
    text = (
        f"{plural(done.new, 'call')} added to {ledger.shown}, {done.completed:,} completed, {known:,} already known; "
        f"the file {safe(own.source, 300)} has {plural(done.usage.requests, 'call')}: {format_usd(done.usage.cost)}\n"
    )
    figures: dict[str, Json] = {"added": done.new, "completed": done.completed, "known": known}
    return text, {**figures, "file": own.source, "calls": done.usage.requests, "usd": done.usage.cost}


def _pull(ledger: TeamLedger, options: Namespace) -> tuple[str, dict[str, Json]]:
    total = NOTHING

    def count(entry: Entry) -> None:
        nonlocal total
        total += entry.usage

    lines = pulled(ledger, count)
    save_output(options.output, lines, force=options.force, is_own=lambda path: is_own(path, ledger.path))
    text = f"{plural(total.requests, 'call')}, {format_usd(total.cost)}, in {safe(str(options.output), 300)}\n"
    return text, {"file": str(options.output), "calls": total.requests, "usd": total.cost}
