"""Runs a program: one place catches, and every way to end has its own exit code."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import NoReturn

from openrouter_usage.cli.output import OutputClosed, complain, write
from openrouter_usage.errors import OpenRouterUsageError, SettingsError
from openrouter_usage.files import refused_by_system

INTERRUPTED = 130
BUG = 1
_PACKAGES = {"requests", "dotenv", "urllib3", "certifi", "idna", "charset_normalizer"}
Program = Callable[[Sequence[str]], int]


def run(name: str, program: Program, argv: Sequence[str] | None = None) -> int:
    """Run a program with its arguments and give its exit code; errors become one line on stderr."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        return _ended(name, program, argv)
    except KeyboardInterrupt:  # a second ^C, in the midst of dealing with an error or with the first
        return _interrupted(name, argv)


def _ended(name: str, program: Program, argv: Sequence[str]) -> int:
    try:
        return program(argv)
    except OpenRouterUsageError as error:
        return _failed(name, argv, error)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _PACKAGES:
            return _bug(name, argv)
        return _failed(name, argv, _missing_package(error.name or ""))
    except KeyboardInterrupt:
        return _interrupted(name, argv)
    except (OSError, ImportError, MemoryError) as error:
        refused = refused_by_system(error)
        if refused is None:
            return _bug(name, argv)
        # What is held in cycles keeps files open, of which the answer itself may need one.
        gc.collect()
        return _failed(name, argv, refused)
    except Exception:
        return _bug(name, argv)


def leave(code: int) -> NoReturn:
    """End the process at once with an exit code: taking a whole interpreter down takes a tenth of the time of a run."""
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
        from openrouter_usage.render.as_json import envelope

        return envelope("error", now, None, error=error)
    except OSError:
        # Not even a module can be read. What is said then is in plain words, without anything that JSON would escape.
        told = ", ".join(
            f'"{name}": "{value}"'
            for name, value in (("code", error.code), ("message", error.message), ("hint", error.hint))
        )
        return (
            f'{{"schema_version": 1, "kind": "error", "generated_at": "{now:%Y-%m-%dT%H:%M:%SZ}", "data": null, '
            f'"notes": [], "error": {{{told}}}}}\n'
        )


def _wants_json(argv: Sequence[str]) -> bool:
    """Tell whether JSON was asked for; from the words themselves, as they may not have been understood."""
    return "--json" in argv or "--format=json" in argv or "\n--format\njson\n" in "\n".join(["", *argv, ""])


def _missing_package(package: str) -> SettingsError:
    folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    requirements = os.path.join(folder, "requirements.txt")
    script = os.path.abspath(sys.argv[0])
    return SettingsError(
        f"the Python package {package.partition('.')[0]} is missing",
        hint=f'run: {sys.executable or "python3"} -m pip install -r "{requirements}"   or: uv run "{script}"',
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
        "this is a bug", hint="please report it to the skill's maintainers, with the lines above", code="bug"
    )
    if sys.stderr is not None:
        with contextlib.suppress(OutputClosed):
            write(shown, sys.stderr)
    _failed(name, argv, error)
    return BUG
