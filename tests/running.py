"""Runs stats.py for the tests: as a process of its own, or in this one when a clock has to be set."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests import warm
from tests.sandbox import INFERENCE_KEY, Sandbox

ROOT = Path(__file__).resolve().parent.parent
STATS = ROOT / "scripts" / "stats.py"
HANG_GUARD_S = 60.0
KEY_NAMES = ("OPENROUTER_API_KEY", "OPENROUTER_MGMT_KEY")


def exact_json(text: str) -> Any:
    """JSON with every fraction as a Decimal; a test fails on anything that is not JSON."""
    return json.loads(text, parse_float=Decimal)


def copy_skill(folder: Path) -> Path:
    """Install the skill's programs into a folder, and give the path of stats.py there."""
    shutil.copytree(ROOT / "scripts", folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    return folder / "scripts" / "stats.py"


@dataclass(frozen=True)
class Ran:
    """How one run of a program ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The envelope on standard output."""
        return exact_json(self.out)

    @property
    def data(self) -> Any:
        """The data within the envelope."""
        return self.json["data"]

    @property
    def error_line(self) -> str:
        """What went wrong: exactly one line on standard error, and no traceback."""
        assert self.err.endswith("\n") and self.err.count("\n") == 1, self.err
        assert self.err.startswith("stats.py: "), self.err
        return self.err


def run_program(
    command: Sequence[str], environment: Mapping[str, str], *, warm_words: Sequence[str] | None, **options: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run a command and capture its output; by the words of a script alone, where it may start warm."""
    if "input" not in options:
        options.setdefault("stdin", subprocess.DEVNULL)
    if warm_words and warm.can_start(warm_words[0], environment, options):
        return warm.run(warm_words, environment, HANG_GUARD_S, **options)
    return subprocess.run(
        command, env=environment, capture_output=True, timeout=HANG_GUARD_S, check=False, **options
    )


def contents(folder: Path) -> dict[Path, bytes]:
    """Every regular file below a folder that can be read; root reads them all."""
    found = (path for path in folder.rglob("*") if os.access(path, os.R_OK))
    return {path: path.read_bytes() for path in found if path.is_file() and not path.is_symlink()}


def assert_no_secret(
    secrets: Iterable[str], ran: Ran, home: Path, before: Mapping[Path, bytes], argv: Sequence[str]
) -> None:
    """No key occurs in the output, in the arguments, or in a file that the program wrote."""
    written = {path: data for path, data in contents(home).items() if before.get(path) != data}
    for secret in secrets:
        if len(secret.strip()) <= len("your-key"):  # that is no key, and may stand in a hint
            continue
        assert secret not in ran.out, "a key on standard output"
        assert secret not in ran.err, "a key on standard error"
        assert not any(secret in word for word in argv), "a key among the arguments"
        for path, data in written.items():
            assert secret.encode() not in data, f"a key in {path}"
            assert secret not in path.name, f"a key in the name of {path}"


@dataclass
class Stats:
    """Runs stats.py under a home of its own; every run is searched for the keys that were given to it."""

    home: Path
    url: str
    env: dict[str, str] = field(default_factory=dict)

    def environment(self, *, key: str | None, mgmt: str | None, env: Mapping[str, str | None]) -> dict[str, str]:
        """The whole environment of a run: nothing is inherited but PATH."""
        wanted: dict[str, str | None] = {
            "HOME": str(self.home),
            "PATH": os.environ["PATH"],
            "OPENROUTER_BASE_URL": self.url,
            "OPENROUTER_API_KEY": key,
            "OPENROUTER_MGMT_KEY": mgmt,
            **{name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")},
            **self.env,
            **env,
        }
        return {name: value for name, value in wanted.items() if value is not None}

    def command(self, *argv: str, python: Sequence[str] = (sys.executable,), script: Path = STATS) -> list[str]:
        """The words of a command line."""
        return [*python, str(script), *argv]

    def __call__(
        self,
        *argv: str,
        key: str | None = INFERENCE_KEY,
        mgmt: str | None = None,
        env: Mapping[str, str | None] | None = None,
        secrets: Sequence[str] = (),
        python: Sequence[str] = (sys.executable,),
        script: Path = STATS,
        shell: str = "",
        encoding: str = "utf-8",
        **options: Any,
    ) -> Ran:
        """Run the program; with `shell` behind a redirection such as `>&-`."""
        environment = self.environment(key=key, mgmt=mgmt, env=env or {})
        command = self.command(*argv, python=python, script=script)
        before = contents(self.home)
        if shell:
            command = ["/bin/sh", "-c", f'"$@" {shell}', "sh", *command]
        ordinary = not shell and tuple(python) == (sys.executable,)
        done = run_program(command, environment, warm_words=command[1:] if ordinary else None, **options)
        ran = Ran(done.returncode, done.stdout.decode(encoding), done.stderr.decode(encoding))
        given = [environment.get(name, "") for name in KEY_NAMES]
        assert_no_secret([*given, *secrets], ran, self.home, before, argv)
        if ran.code != 1:
            assert "Traceback" not in ran.err, ran.err
        return ran

    def start(self, *argv: str, key: str | None = INFERENCE_KEY, mgmt: str | None = None) -> subprocess.Popen[bytes]:
        """Start the program and leave it running."""
        return subprocess.Popen(
            self.command(*argv),
            env=self.environment(key=key, mgmt=mgmt, env={}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )


@dataclass
class StatsAt:
    """Runs stats.py in this process: for a moment of the test's choice, or for a long table of cases."""

    home: Path
    sandbox: Sandbox
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def __call__(
        self, now: datetime | None, *argv: str, key: str | None = INFERENCE_KEY, mgmt: str | None = None
    ) -> Ran:
        """Run with a clock that stands at `now`, or with the real one."""
        from openrouter_usage.cli.program import run
        from openrouter_usage.cli.summary import main

        given = {"OPENROUTER_API_KEY": key, "OPENROUTER_MGMT_KEY": mgmt, "HOME": str(self.home)}
        for name, value in {**given, "OPENROUTER_BASE_URL": self.sandbox.url}.items():
            if value is None:
                self.monkeypatch.delenv(name, raising=False)
            else:
                self.monkeypatch.setenv(name, value)
        before = contents(self.home)
        self.capsys.readouterr()
        clock = {"clock": lambda: now} if now else {}
        code = run("stats.py", lambda words: main(words, **clock), list(argv))
        captured = self.capsys.readouterr()
        ran = Ran(code, captured.out, captured.err)
        assert_no_secret([key or "", mgmt or ""], ran, self.home, before, argv)
        return ran
