"""Writes text where it belongs, whatever the terminal can show."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TextIO

from openrouter_usage.errors import SettingsError
from openrouter_usage.redaction import StreamScrubber, scrubbed
from openrouter_usage.text import safe, safe_lines

_LONGEST_LINE = 4_000
_PROGRESS = 60

# For terminals and code pages without these signs; anything else they lack becomes "?".
_PLAIN = {
    "💰": "$", "🩺": "+", "•": "*", "·": "|", "…": "...", "⚠": "!", "ℹ": "i", "✔": "+", "✘": "x", "⬅": "<-", "–": "-",
    "—": "-", "█": "#",
}  # fmt: skip


class OutputClosed(SettingsError):
    """The text could not be written to where it should go."""

    code = "output"


def write(text: str, stream: TextIO | None = None) -> None:
    """Write and flush text; OutputClosed when the reader has gone or the device is full."""
    stream = sys.stdout if stream is None else stream
    if stream is None:  # started with its output closed, as by `>&-`
        raise OutputClosed("there is no output to write to")
    try:
        # Whatever others have said, and however it came here: no secret of one's own is shown.
        stream.write(shown(scrubbed(text), stream.encoding))
        stream.flush()
    except (OSError, ValueError) as error:
        _silence(stream)
        full = isinstance(error, OSError) and not isinstance(error, BrokenPipeError)
        raise OutputClosed(f"the output could not be written: {error}" if full else "") from None


class AnswerText:
    """A model's own words on their way to standard output, whole or in pieces.

    No secret of one's own is among them. On a terminal what would steer it is shown as an escape; in a pipe or a file
    they are as the model wrote them.
    """

    def __init__(self) -> None:
        """Look where standard output leads."""
        self._scrubber = StreamScrubber()
        self._is_terminal = sys.stdout is not None and sys.stdout.isatty()
        self._held = ""

    def feed(self, piece: str) -> str:
        """Take the next words, and give those that can be shown now."""
        return self._faced(self._scrubber.feed(piece))

    def end(self) -> str:
        """Give what is left: there are no more words."""
        return self._faced(self._scrubber.end(), is_over=True)

    def _faced(self, text: str, *, is_over: bool = False) -> str:
        if not self._is_terminal:
            return text
        text, self._held = self._held + text, ""
        if text.endswith("\r") and not is_over:
            # The line feed behind it may be in the next piece; alone it would overwrite the line.
            text, self._held = text[:-1], "\r"
        return safe_lines(text.replace("\r\n", "\n"))


def shown(text: str, encoding: str | None) -> str:
    """Replace what an encoding cannot express by the plainest sign that it can."""
    encoding = encoding or "utf-8"
    try:
        text.encode(encoding)
        return text
    except (UnicodeEncodeError, LookupError):
        for sign, plain in _PLAIN.items():
            text = text.replace(sign, plain)
        return text.encode(encoding, "replace").decode(encoding)


def terminal_width() -> int:
    """Give the number of columns that a line may have: COLUMNS, or the terminal's, or 80."""
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
    if sys.stderr is None:  # closed by `2>&-`: standard output is not the place for it
        return
    with contextlib.suppress(OutputClosed):
        write(safe(line.replace("\n", " "), _LONGEST_LINE) + "\n", sys.stderr)


def progress(text: str, *, is_over: bool = False) -> None:
    """Show on a terminal how far something long is, each time in place of the last; nothing once it is over."""
    if sys.stderr is None or not sys.stderr.isatty():
        return
    with contextlib.suppress(OutputClosed):
        write(f"\r{text}" + ("\r" + " " * _PROGRESS + "\r" if is_over else ""), sys.stderr)


def _silence(stream: TextIO) -> None:
    """Keep Python's own flush at exit from complaining about the same stream again."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
