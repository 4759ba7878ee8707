"""openrouter-usage: one command for the summary, the verbs of the tracker, and the gateway."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from openrouter_usage.called import COMMAND, as_called, call_by

if TYPE_CHECKING:
    from openrouter_usage.cli.program import Parser

_VERBS_OF_GATEWAY = ("key", "setup", "status", "unit")
_COMPLETION_EXAMPLES = f"""examples:
  {COMMAND} completion bash > ~/.local/share/bash-completion/completions/{COMMAND}
  {COMMAND} completion zsh > ~/.zfunc/_{COMMAND}         with ~/.zfunc in $fpath, before compinit
  {COMMAND} completion fish > ~/.config/fish/completions/{COMMAND}.fish
"""


def start(command: str = COMMAND) -> NoReturn:
    """Run the command with the arguments of this process, and end the process with an exit code."""
    call_by(command)
    try:
        from openrouter_usage.cli.program import leave, run
    except KeyboardInterrupt:  # ^C while this was being loaded
        sys.exit(130)
    leave(run(command, main))


def main(argv: Sequence[str]) -> int:
    """Run the summary, a verb of the tracker, or the gateway, and return the exit code."""
    word = argv[0] if argv else ""
    if word in ("-h", "--help") or list(argv) == ["help"]:
        return _help()
    if word.startswith("-") or not argv:
        from openrouter_usage.cli import summary

        gc.disable()  # a run of a third of a second makes no garbage worth collecting
        return summary.main(argv)
    if list(argv[:1]) == ["completion"] or list(argv[:2]) == ["help", "completion"]:
        return _completion(argv[1:] if word == "completion" else ["--help"])
    if word == "help" and argv[1:2] == ["gateway"]:
        argv = ["gateway", "--help"]
    if argv[0] == "gateway" and not (argv[1:] and argv[1] in _VERBS_OF_GATEWAY):
        from openrouter_usage.cli.gateway import main as serve

        return serve(argv[1:])
    from openrouter_usage.cli import cost_tracker

    gc.set_threshold(100_000)  # reading a ledger makes no garbage, and looking for it takes time
    return cost_tracker.main(argv)


def completion_parser() -> Parser:
    """Describe the arguments of `completion`."""
    from openrouter_usage.cli.program import Parser

    parser = Parser(
        prog=f"{as_called('stats.py')} completion",
        description="Print what completes this command in a shell: verbs, options and their values.",
        epilog=_COMPLETION_EXAMPLES,
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell")
    return parser


def _completion(argv: Sequence[str]) -> int:
    from openrouter_usage.cli.program import write
    from openrouter_usage.errors import SettingsError

    shell = completion_parser().parse_args(list(argv)).shell
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "completion", f"{COMMAND}.{shell}")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        raise SettingsError(
            "the completion comes with the Python package only", hint=f"pip install {COMMAND}"
        ) from None
    write(text)
    return 0


def _help() -> int:
    from openrouter_usage.cli import cost_tracker, summary
    from openrouter_usage.cli.program import EXIT_CODES, write

    parser = summary.parser()
    parser.usage = f"{parser.prog} [options]\n       {parser.prog} VERB [options]"
    examples, more = summary.EXAMPLES.split("\n\n", 1)
    others, ledger = cost_tracker.EXAMPLES.removeprefix("examples:").split("\n\n", 1)
    verbs = f"verbs (help VERB shows more):\n{cost_tracker.listed_verbs()}"
    verbs += "  completion  print what completes this command in bash, zsh or fish\n"
    parser.epilog = as_called(f"{verbs}\n{examples}{others}\n\n{more}{ledger}{EXIT_CODES}")
    write(parser.format_help())
    return 0
