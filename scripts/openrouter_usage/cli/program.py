"""Runs a program: parses its arguments, writes its output, and ends with a documented exit code."""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timezone
from importlib import import_module
from typing import Any, NoReturn, TextIO

from openrouter_usage.called import COMMAND, IS_PACKAGE, as_called
from openrouter_usage.errors import InvalidValue, OpenRouterUsageError, SettingsError, of_missing_part
from openrouter_usage.files import refused_by_system
from openrouter_usage.home.settings import VERSION
from openrouter_usage.period import parse_day
from openrouter_usage.redaction import StreamScrubber, scrubbed
from openrouter_usage.text import is_account, safe, safe_lines

# -- Output, whatever the terminal can show.

_LONGEST_LINE = 4_000
_PROGRESS = 60

# For terminals and code pages without these characters; others that they lack become "?".
_PLAIN = {
    "💰": "$", "🩺": "+", "•": "*", "·": "|", "…": "...", "⚠": "!", "ℹ": "i", "✔": "+", "✘": "x", "⬅": "<-", "–": "-",
    "—": "-", "█": "#",
}  # fmt: skip


class OutputClosed(SettingsError):
    """The output could not be written."""

    code = "output"


def write(text: str, stream: TextIO | None = None) -> None:
    """Write and flush text; OutputClosed when the reader is gone or the device is full."""
    stream = sys.stdout if stream is None else stream
    if stream is None:  # started with its output closed, as by `>&-`
        raise OutputClosed("standard output is closed")
    try:
        # Texts from outside may repeat the user's own secrets.
        stream.write(shown(scrubbed(text), stream.encoding))
        stream.flush()
    except (OSError, ValueError) as error:
        _silence(stream)
        full = isinstance(error, OSError) and not isinstance(error, BrokenPipeError)
        raise OutputClosed(f"the output could not be written: {error}" if full else "") from None


class AnswerText:
    """A model's own words on their way to standard output, whole or in pieces.

    The user's own secrets are removed. On a terminal, control characters are shown as escapes; in a pipe or a file the
    words stay as the model wrote them.
    """

    def __init__(self) -> None:
        """Find out whether standard output is a terminal."""
        self._scrubber = StreamScrubber()
        self._is_terminal = sys.stdout is not None and sys.stdout.isatty()
        self._held = ""

    def feed(self, piece: str) -> str:
        """Add the next words and return those that can be shown now."""
        return self._faced(self._scrubber.feed(piece))

    def end(self) -> str:
        """Return what is left: there are no more words."""
        return self._faced(self._scrubber.end(), is_over=True)

    def _faced(self, text: str, *, is_over: bool = False) -> str:
        if not self._is_terminal:
            return text
        text, self._held = self._held + text, ""
        if text.endswith("\r") and not is_over:
            # The line feed may be in the next piece; a carriage return alone would overwrite the line.
            text, self._held = text[:-1], "\r"
        return safe_lines(text.replace("\r\n", "\n"))


def shown(text: str, encoding: str | None) -> str:
    """Return a text with characters that an encoding lacks replaced by plain ones."""
    encoding = encoding or "utf-8"
    try:
        text.encode(encoding)
        return text
    except (UnicodeEncodeError, LookupError):
        for sign, plain in _PLAIN.items():
            text = text.replace(sign, plain)
        return text.encode(encoding, "replace").decode(encoding)


def terminal_width() -> int:
    """Return the number of columns that a line may have: COLUMNS, or the terminal's, or 80."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and len(columns) < 5 and int(columns) > 0:
        return min(int(columns), 200)
    try:
        return min(os.get_terminal_size(sys.__stdout__.fileno() if sys.__stdout__ else 1).columns or 80, 200)
    except (OSError, ValueError):
        return 80


def complain(program: str, message: str, hint: str = "") -> None:
    """Write one line about what went wrong to standard error, if there is one."""
    line = f"{program}: {message}" + (f" -- {hint}" if hint else "")
    if sys.stderr is None:  # closed by `2>&-`: an error does not belong on standard output
        return
    with contextlib.suppress(OutputClosed):
        write(safe(line.replace("\n", " "), _LONGEST_LINE) + "\n", sys.stderr)


def progress(text: str, *, is_over: bool = False) -> None:
    """Show the progress of a long task on a terminal, replacing the last text; clear it once the task is over."""
    if sys.stderr is None or not sys.stderr.isatty():
        return
    with contextlib.suppress(OutputClosed):
        write(f"\r{text}" + ("\r" + " " * _PROGRESS + "\r" if is_over else ""), sys.stderr)


def _silence(stream: TextIO) -> None:
    """Keep Python's own flush at exit from complaining about the same stream again."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


# -- Suggestions for unknown words, after an error.
#
# A misleading guess is worse than none, so only close misspellings of words that exist right there are suggested. For
# a correct word of another command, the suggestion names that command.

_MOST_PLACES = 3


def nearest(word: str, known: Iterable[str], *, is_elsewhere: bool = False) -> str:
    """Return the one known word that `word` misspells or begins; "" without one.

    A word that another command knows is spelt well: `--last` is no misspelling of `--list`.
    """
    wanted = word.casefold()
    found = [(_distance(wanted, name), name) for name in known if name.strip("-")]
    close = [(distance, name) for distance, name in found if distance <= _allowed(wanted, name)]
    if close and not is_elsewhere:
        return min(close, key=lambda pair: pair[0])[1]
    begun = [name for _, name in found if len(wanted.strip("-")) > 2 and name.startswith(wanted)]
    return begun[0] if len(begun) == 1 else ""


def _allowed(word: str, name: str) -> int:
    """Return how many letters may be wrong: one in a short word, two in a longer one.

    `session` and `version` are two letters apart, so seven letters are not long.
    """
    length = min(len(word.strip("-")), len(name.strip("-")))
    return 0 if length < 2 else 1 if length < 8 else 2


def _distance(word: str, name: str) -> int:
    """Return the edit distance of two words: letters to add, leave out, replace or swap with a neighbour."""
    before: list[int] = []
    row = list(range(len(name) + 1))
    for at, letter in enumerate(word, 1):
        before, above, row = row, before, [at]
        for to, other in enumerate(name, 1):
            least = min(before[to] + 1, row[to - 1] + 1, before[to - 1] + (letter != other))
            if at > 1 and to > 1 and letter == name[to - 2] and word[at - 2] == other:
                least = min(least, above[to - 2] + 1)
            row.append(least)
    return row[-1]


def places_of(option: str, *, but: str, value: str | None = None) -> list[str]:
    """Return the commands that have an option, or this value of it, except `but`."""
    summary, tracker = _program("summary"), _program("cost_tracker")
    parsers = [summary.parser()]
    for verb in tracker.VERBS:
        with contextlib.suppress(ModuleNotFoundError):  # the skill alone has not all verbs
            parsers.append(tracker.verb_parser(verb))
    return [parser.prog for parser in parsers if parser.prog != but and parser.takes(option, value)]


def is_command(word: str) -> bool:
    """Check whether a word is a command of cost_tracker.py."""
    return word in _program("cost_tracker").VERBS


def _program(name: str) -> Any:
    # Imported by name, as verbs are, because the programs are above this module.
    return import_module(f"openrouter_usage.cli.{name}")


def said_of_places(option: str, places: list[str]) -> str:
    """Return in words to which commands an option belongs."""
    named = places[:_MOST_PLACES]
    more = [f"{len(places) - len(named)} more"] if len(places) > len(named) else []
    *first, last = [*named, *more]
    return f"{option} is an option of {', '.join(first) + ' and ' if first else ''}{last}"


# -- The argument parser: errors are one line with a suggestion, and exit code 2.

_KEY = re.compile(r"sk-or-[\w-]+")
EXIT_CODES = """exit codes:
  0 done   2 wrong usage or settings, missing packages   3 refused, see the verb
  4 OpenRouter refused (401, 402, 403)   5 OpenRouter could not be reached
  6 the ledger cannot be read or written   130 interrupted   1 a bug
"""


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal, without the import of shutil that argparse needs on every run."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=terminal_width() - 2)


class Parser(argparse.ArgumentParser):
    """argparse without abbreviations and exits, but with suggestions; the help names programs as they were called."""

    def __init__(self, **kwargs: Any) -> None:
        """Create a parser that shows its epilog unchanged."""
        texts = {name: as_called(text) for name, text in kwargs.items() if name in ("description", "epilog")}
        super().__init__(allow_abbrev=False, formatter_class=_Formatter, **{**kwargs, **texts})

    def error(self, message: str) -> NoReturn:
        """Raise SettingsError with a suggestion."""
        hint = self._hint(message) or f"see {self.prog} --help"
        raise SettingsError(safe(without_keys(message), 300), hint=hint, code="usage")

    @property
    def option_names(self) -> list[str]:
        """Every option as it is written on the command line."""
        return [name for action in self._actions for name in action.option_strings]

    def takes(self, option: str, value: str | None = None) -> bool:
        """Check whether an option exists, and whether `value` is one of its choices."""
        actions = [action for action in self._actions if option in action.option_strings]
        return bool(actions) and (value is None or value in (actions[0].choices or ()))

    def _print_message(self, message: str, file: Any = None) -> None:
        # argparse would bypass `write`, which handles closed, full and narrow outputs.
        if message:
            write(message, file)

    def _hint(self, message: str) -> str:
        """Return a suggestion for an unknown word; "" for any other mistake, and without a suggestion."""
        if message.startswith("unrecognized arguments:"):
            return self._hint_of(message.partition(":")[2].split())
        if ": invalid choice:" not in message:
            return ""

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
        """Return a suggestion for an unknown argument; the word after an option is its value."""

        option = next((word.partition("=")[0] for word in words if word.startswith("-")), "")
        if not option:
            first = words[0] if words else ""
            if first and f"--{first}" in self.option_names:
                return f"did you mean --{first}?"
            return f"{first} is a command of {as_called('cost_tracker.py')}" if is_command(first) else ""
        places = places_of(option, but=self.prog)
        meant = nearest(option, self.option_names, is_elsewhere=bool(places))
        told = [f"did you mean {meant}?"] if meant else []
        return " ".join([*told, said_of_places(option, places)] if places else told)


def without_keys(text: str) -> str:
    """Return a text without what looks like a key, which may be an argument by mistake and must not be shown."""
    return _KEY.sub("[key]", text)


def with_version(parser: Parser) -> Parser:
    """Add `--version` to a program's parser."""
    parser.add_argument("-V", "--version", action="version", version=f"openrouter-usage {VERSION}")
    return parser


def whole_number(lowest: int, highest: int) -> Any:
    """Return an argument type: a whole number within bounds."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 10 and lowest <= int(text) <= highest):
            raise argparse.ArgumentTypeError(f"{safe(text, 40)!r} is not a whole number from {lowest} to {highest}")
        return int(text)

    return read


def account_name(text: str) -> str:
    """Return the name of an archived account; ArgumentTypeError for an invalid name, or a key by mistake."""
    if not is_account(text):
        raise argparse.ArgumentTypeError(
            "an account's name has up to 40 letters, digits, dots and dashes, as sync shows it"
        )
    return text


def read_day(text: str) -> date:
    """Return a day of the years that the ledger covers; InvalidValue for anything else."""
    if not is_day(text) or not 2000 <= parse_day(text).year < 2200:
        raise InvalidValue("a day must be written like 2026-11-22, in the years 2000 to 2199")
    return parse_day(text)


def is_day(text: str) -> bool:
    """Check whether a text has the length of a day, and so is not a moment."""
    return len(text) == len("2026-11-22")


def checked(read: Any) -> Any:
    """Return an argument type made of a function that raises InvalidValue."""

    def convert(text: str) -> Any:
        try:
            return read(text)
        except (InvalidValue, OpenRouterUsageError) as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


# -- Running a program: one place catches errors, and every outcome has its own exit code.

INTERRUPTED = 130
BUG = 1
_PACKAGES = {"requests", "dotenv", "urllib3", "certifi", "idna", "charset_normalizer"}
_PACKAGES_OF_GATEWAY = {
    "aiohttp",
    "multidict",
    "yarl",
    "aiosignal",
    "frozenlist",
    "aiohappyeyeballs",
    "attr",
    "propcache",
}
Program = Callable[[Sequence[str]], int]


def run(name: str, program: Program, argv: Sequence[str] | None = None) -> int:
    """Run a program with its arguments and return its exit code; errors become one line on stderr."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        return _ended(name, program, argv)
    except KeyboardInterrupt:  # a second ^C, while an error or the first ^C is handled
        return _interrupted(name, argv)


def _ended(name: str, program: Program, argv: Sequence[str]) -> int:
    try:
        return program(argv)
    except OpenRouterUsageError as error:
        return _failed(name, argv, error)
    except ModuleNotFoundError as error:
        absent = of_missing_part(error)
        if absent:
            return _failed(name, argv, absent)
        if (error.name or "").partition(".")[0] not in _PACKAGES | _PACKAGES_OF_GATEWAY:
            return _bug(name, argv)
        return _failed(name, argv, _missing_package(error.name or ""))
    except KeyboardInterrupt:
        return _interrupted(name, argv)
    except (OSError, ImportError, MemoryError) as error:
        refused = refused_by_system(error)
        if refused is None:
            return _bug(name, argv)
        # Reference cycles keep files open, and the report of the error may need one.
        gc.collect()
        return _failed(name, argv, refused)
    except Exception:
        return _bug(name, argv)


def leave(code: int) -> NoReturn:
    """End the process at once with an exit code, because a normal shutdown takes a tenth of the time of a run."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
    os._exit(code)


def _failed(name: str, argv: Sequence[str], error: OpenRouterUsageError) -> int:
    try:
        if _wants_json(argv) and not isinstance(error, OutputClosed):
            write(_error_envelope(error))
    except OutputClosed as closed:
        error = closed
    if error.message:
        complain(name, error.message, error.hint)
    return error.exit_code


def _error_envelope(error: OpenRouterUsageError) -> str:
    now = datetime.now(timezone.utc)
    try:
        from openrouter_usage.render.envelope import envelope

        return envelope("error", now, None, error=error)
    except OSError:
        # Not even a module can be read. This text is plain, without characters that JSON would escape.
        told = ", ".join(
            f'"{name}": "{value}"'
            for name, value in (("code", error.code), ("message", error.message), ("hint", error.hint))
        )
        return (
            f'{{"schema_version": 1, "kind": "error", "generated_at": "{now:%Y-%m-%dT%H:%M:%SZ}", "data": null, '
            f'"notes": [], "error": {{{told}}}}}\n'
        )


def _wants_json(argv: Sequence[str]) -> bool:
    """Check whether JSON was asked for, from the raw arguments, because parsing them may have failed."""
    return "--json" in argv or "--format=json" in argv or "\n--format\njson\n" in "\n".join(["", *argv, ""])


def _missing_package(package: str) -> SettingsError:
    is_gateways = package.partition(".")[0] in _PACKAGES_OF_GATEWAY
    if IS_PACKAGE:
        wanted = "openrouter-usage[gateway]" if is_gateways else "openrouter-usage"
        return SettingsError(
            f"the Python package {package.partition('.')[0]} is missing",
            hint=f'run: {sys.executable or "python3"} -m pip install "{wanted}"   or: uvx --from "{wanted}" {COMMAND}',
            code="missing_package",
        )
    folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    requirements = os.path.join(folder, "requirements-gateway.txt" if is_gateways else "requirements.txt")
    script = os.path.abspath(sys.argv[0])
    run = "uv run" if script.endswith(".py") else "uv run --script"
    return SettingsError(
        f"the Python package {package.partition('.')[0]} is missing",
        hint=f'run: {sys.executable or "python3"} -m pip install -r "{requirements}"   or: {run} "{script}"',
        code="missing_package",
    )


def _interrupted(name: str, argv: Sequence[str]) -> int:
    # A second ^C must not tear the first one's farewell apart. `_signal` is what `signal` is made of, and is there
    # from the start: a ^C in the midst of an import may be swallowed by it, with a complaint of Python's own.
    while True:
        try:
            from _signal import SIGINT, signal  # type: ignore[import-not-found]  # the stubs know only `signal`

            signal(SIGINT, _deaf)
            break
        except KeyboardInterrupt:
            continue
    _failed(name, argv, OpenRouterUsageError("interrupted", code="interrupted"))
    return INTERRUPTED


def _deaf(number: int, frame: object) -> None:
    pass


def _bug(name: str, argv: Sequence[str]) -> int:
    import traceback

    from openrouter_usage.redaction import scrubbed

    shown = scrubbed(traceback.format_exc())
    error = OpenRouterUsageError(
        "this is a bug", hint="please report the bug to the skill's maintainers, with the lines above", code="bug"
    )
    if sys.stderr is not None:
        with contextlib.suppress(OutputClosed):
            write(shown, sys.stderr)
    _failed(name, argv, error)
    return BUG
