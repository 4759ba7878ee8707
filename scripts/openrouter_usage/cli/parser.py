"""An argument parser whose errors are ours: one line, a suggestion, exit code 2."""

from __future__ import annotations

import argparse
import re
from datetime import date
from typing import Any, NoReturn

from openrouter_usage.cli.output import terminal_width, write
from openrouter_usage.errors import InvalidValue, OpenRouterUsageError, SettingsError
from openrouter_usage.period import parse_day
from openrouter_usage.text import is_account, safe
from openrouter_usage.version import VERSION

_KEY = re.compile(r"sk-or-[\w-]+")
EXIT_CODES = """exit codes:
  0 done   2 wrong usage or settings, missing packages   3 the answer is no
  4 OpenRouter said no (401, 402, 403)   5 OpenRouter could not be reached
  6 the ledger cannot be read or written   130 interrupted   1 a bug
"""


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal; argparse would import shutil to find that out, on every run."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=terminal_width() - 2)


class Parser(argparse.ArgumentParser):
    """argparse without abbreviations, without exits, and with a guess at what was meant."""

    def __init__(self, **kwargs: Any) -> None:
        """Make a parser that shows its epilog as it is written."""
        super().__init__(allow_abbrev=False, formatter_class=_Formatter, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Raise SettingsError, with what may have been meant."""
        hint = self._hint(message) or f"see {self.prog} --help"
        raise SettingsError(safe(without_keys(message), 300), hint=hint, code="usage")

    @property
    def option_names(self) -> list[str]:
        """Every option as it is written."""
        return [name for action in self._actions for name in action.option_strings]

    def takes(self, option: str, value: str | None = None) -> bool:
        """Check whether there is an option, and whether `value` is one of those that it offers."""
        actions = [action for action in self._actions if option in action.option_strings]
        return bool(actions) and (value is None or value in (actions[0].choices or ()))

    def _print_message(self, message: str, file: Any = None) -> None:
        # argparse would write around what `write` knows of closed, full and narrow outputs.
        if message:
            write(message, file)

    def _hint(self, message: str) -> str:
        """Return what may have been meant by a word that is not known; "" for any other mistake, and for no idea."""
        if message.startswith("unrecognized arguments:"):
            return self._hint_of(message.partition(":")[2].split())
        if ": invalid choice:" not in message:
            return ""
        from openrouter_usage.cli.suggest import nearest, places_of, said_of_places

        wrong = message.partition(":")[0].removeprefix("argument ")
        names = {"/".join(each.option_strings) or each.metavar or each.dest: each for each in self._actions}
        choices = map(str, names[wrong].choices or ()) if wrong in names else ()
        word = message.partition("invalid choice:")[2].partition("(choose from")[0].strip().strip("'\"")
        meant = nearest(word, choices)
        if meant:
            return f"did you mean {meant}?"
        option = wrong.rpartition("/")[2]
        places = places_of(option, but=self.prog, value=word) if option.startswith("-") else []
        return said_of_places(f"{option} {word}", places) if places else ""

    def _hint_of(self, words: list[str]) -> str:
        """Return what may have been meant by an argument that is not known; what follows an option is its value."""
        from openrouter_usage.cli.suggest import is_command, nearest, places_of, said_of_places

        option = next((word.partition("=")[0] for word in words if word.startswith("-")), "")
        if not option:
            first = words[0] if words else ""
            if first and f"--{first}" in self.option_names:
                return f"did you mean --{first}?"
            return f"{first} is a command of cost_tracker.py" if is_command(first) else ""
        meant, places = nearest(option, self.option_names), places_of(option, but=self.prog)
        told = [f"did you mean {meant}?"] if meant else []
        return " ".join([*told, said_of_places(option, places)] if places else told)


def without_keys(text: str) -> str:
    """Take out of a text what looks like a key: given as an argument by mistake, it is not to be repeated."""
    return _KEY.sub("[key]", text)


def with_version(parser: Parser) -> Parser:
    """Add `--version` to a program's parser."""
    parser.add_argument("--version", action="version", version=f"openrouter-usage {VERSION}")
    return parser


def whole_number(lowest: int, highest: int) -> Any:
    """Make an argument type: a whole number within bounds."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 10 and lowest <= int(text) <= highest):
            raise argparse.ArgumentTypeError(f"{safe(text, 40)!r} is not a whole number from {lowest} to {highest}")
        return int(text)

    return read


def account_name(text: str) -> str:
    """Read the name of an archived account; ArgumentTypeError when it is none, or a key by mistake."""
    if not is_account(text):
        raise argparse.ArgumentTypeError("an account has up to 40 letters, digits, dots and dashes, as sync shows it")
    return text


def read_day(text: str) -> date:
    """Read a day of the years that the ledger covers, and nothing but a day; InvalidValue when it is none."""
    if not is_day(text) or not 2000 <= parse_day(text).year < 2200:
        raise InvalidValue("a day is written like 2026-11-22, and lies in the years 2000 to 2199")
    return parse_day(text)


def is_day(text: str) -> bool:
    """Check whether a text is as long as a day, and so no moment."""
    return len(text) == len("2026-11-22")


def checked(read: Any) -> Any:
    """Make an argument type of a function that raises InvalidValue."""

    def convert(text: str) -> Any:
        try:
            return read(text)
        except (InvalidValue, OpenRouterUsageError) as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert
