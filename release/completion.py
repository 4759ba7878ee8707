"""Makes what completes `openrouter-usage` in bash, zsh and fish, from the parsers themselves, while a wheel is built.

The files are in the package only: nothing that is made from the code is kept beside it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent.parent
TARGET = "openrouter_usage/cli/completion"
SHELLS = ("bash", "zsh", "fish")


def whole_parser() -> argparse.ArgumentParser:
    """Return one parser that has the options of the summary and every verb."""
    from openrouter_usage.called import COMMAND, call_by

    call_by(COMMAND)
    from openrouter_usage.cli import command, cost_tracker, summary

    whole = summary.parser()
    verbs: Any = whole.add_subparsers(dest="verb")
    parsers = {verb: cost_tracker.verb_parser(verb) for verb in cost_tracker.VERBS}
    purposes = dict(cost_tracker.VERBS)
    helper = argparse.ArgumentParser(prog=f"{COMMAND} help", add_help=False)
    helper.add_argument("command", choices=list(parsers), help="the verb to explain")
    parsers |= {"help": helper, "completion": command.completion_parser()}
    purposes |= {"help": "explain a verb", "completion": "print what completes this command in a shell"}
    for verb, parser in parsers.items():
        verbs._name_parser_map[verb] = parser
        verbs._choices_actions.append(verbs._ChoicesPseudoAction(verb, [], purposes[verb]))
    return whole


def texts() -> dict[str, str]:
    """Return the completion for each shell."""
    import shtab

    parser = whole_parser()
    return {shell: shtab.complete(parser, shell=shell).rstrip() + "\n" for shell in SHELLS}


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the files to a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the files where nobody looks, and name them."""
        sys.path.insert(0, str(ROOT / "scripts"))
        self._folder = tempfile.TemporaryDirectory()
        for shell, text in texts().items():
            path = Path(self._folder.name) / f"openrouter-usage.{shell}"
            path.write_text(text, encoding="utf-8", newline="\n")
            build_data["force_include"][str(path)] = f"{TARGET}/{path.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Clean up."""
        self._folder.cleanup()
