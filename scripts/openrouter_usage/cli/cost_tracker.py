"""cost_tracker.py: finds the verb, loads it alone, and runs it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from importlib import import_module

from openrouter_usage.called import as_called
from openrouter_usage.cli.program import EXIT_CODES, Parser, with_version, without_keys, write
from openrouter_usage.errors import SettingsError
from openrouter_usage.period import UTC
from openrouter_usage.text import safe

PROGRAM = as_called("cost_tracker.py")
# The purpose of each verb, in the order of --help; the verb's module has the same name.
VERBS = {
    "stats": "what the tracked calls cost, or the account, by model, day, session, provider or tag",
    "report": "draw what the tracked calls cost: a page, or its chart alone",
    "top": "show live what tracked calls cost, by client, session and model",
    "export": "write the tracked calls as CSV, JSON or Markdown",
    "import": "add the calls of an export, another ledger, or OpenRouter's logs as CSV",
    "query": "look up the bill of one call",
    "call": "make a chat call and record what it cost",
    "collect": "record the bills of calls that Claude Code, OpenClaw and others logged",
    "budget": "set, show or clear what calls may cost at most",
    "team": "share one ledger and one budget among machines, on PostgreSQL",
    "gateway": "tokens, settings and state of the gateway that records all calls",
    "settle": "look up what unsettled calls cost",
    "reconcile": "compare the ledger with the account's bill",
    "credits": "credits used and left, and how long they will last",
    "keys": "list, create, change, disable and delete keys",
    "cap": "set a key's own limit on OpenRouter",
    "models": "find, sort and compare models by price",
    "what-if": "what the ledger's calls would have cost on another model",
    "alert": "report each crossing of a spending threshold once",
    "sync": "archive OpenRouter's figures of completed days",
    "doctor": "check keys, network, clock, ledger and files",
    "clean": "remove old calls from the ledger",
}
EXAMPLES = """examples:
  python3 scripts/cost_tracker.py stats --today
  python3 scripts/cost_tracker.py stats --month --by session --trend
  python3 scripts/cost_tracker.py export --format csv --output report.csv
  python3 scripts/cost_tracker.py query --id gen-... --record

ledger: OPENROUTER_USAGE_FILE, or ~/.openrouter/usage.jsonl; of a team: OPENROUTER_LEDGER

"""


def main(argv: Sequence[str], *, now: datetime | None = None) -> int:
    """Run the verb that the arguments begin with and return its exit code; the clock is read once, here."""
    if argv and argv[0] == "help":
        is_known = not argv[1:] or argv[1] in VERBS or argv[1].startswith("-")
        argv = [*argv[1:2], "--help"] if is_known else argv[1:2]
    verb = argv[0] if argv else "--help"
    if verb not in VERBS:
        return _without_verb(argv)
    module = import_module(f"openrouter_usage.cli.verbs.{_module_name(verb)}")
    options = verb_parser(verb).parse_args(list(argv[1:]))
    try:
        code: int = module.run(options, now=now or datetime.now(UTC))
        return code
    finally:
        # A verb that opened no ledger has not loaded what opens one, which takes longer than many a verb.
        opening = sys.modules.get("openrouter_usage.cli.opening")
        if opening is not None:
            opening.close_ledgers()


def verb_parser(verb: str) -> Parser:
    """Describe the arguments of one verb."""
    module = import_module(f"openrouter_usage.cli.verbs.{_module_name(verb)}")
    # The verb's own docstring is its description, so that the two cannot come apart.
    parser = Parser(
        prog=f"{PROGRAM} {verb}", description=(module.__doc__ or "").strip(), epilog=f"{module.EXAMPLES}\n{EXIT_CODES}"
    )
    parser.add_argument("--json", action="store_true", help="one JSON envelope with exact amounts")
    module.describe(parser)
    return parser


def listed_verbs() -> str:
    """Return a line for each verb with its purpose."""
    width = max(map(len, VERBS))
    return "".join(f"  {verb:<{width}}  {purpose}\n" for verb, purpose in VERBS.items())


def _module_name(verb: str) -> str:
    return {"import": "import_calls"}.get(verb, verb.replace("-", "_"))


def _without_verb(argv: Sequence[str]) -> int:
    """Answer --help and --version; raise SettingsError for an unknown command."""
    parser = with_version(
        Parser(
            prog=PROGRAM,
            usage=f"{PROGRAM} VERB [options]",
            description="Record, report and limit what OpenRouter calls cost.",
            epilog=f"verbs (help VERB shows more):\n{listed_verbs()}\n{EXAMPLES}{EXIT_CODES}",
        )
    )
    if not argv:
        write(parser.format_help())
        return 0
    parser.parse_known_args(list(argv))
    from openrouter_usage.cli.program import nearest, places_of, said_of_places

    word = argv[0].partition("=")[0]
    close, places = nearest(word, VERBS), places_of(word, but=PROGRAM) if word.startswith("-") else []
    own = [place for place in places if place.startswith(PROGRAM)]
    if close:
        hint = f"did you mean {close}?"
    elif own and (len(own) == 1 or own[0].endswith(" stats")):
        hint = f"put the command first: {own[0]} {word}"
    elif places:
        hint = said_of_places(word, places)
    else:
        hint = f"see {PROGRAM} --help"
    raise SettingsError(f"unknown command: {safe(without_keys(argv[0]), 40)}", hint=hint, code="usage")
