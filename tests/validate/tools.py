"""Gets validators and clients from PyPI and npm into `.tools`, each once; says who refused when one cannot be had."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.staging import ROOT

TOOLS = ROOT / ".tools"
WINDOWS = os.name == "nt"
# OpenClaw asks for this one, and the others take it; an older Node of the system is left alone.
NODE_NEEDED = (24, 16)
NPM = {"skills": "skills", "claude": "@anthropic-ai/claude-code", "clawhub": "clawhub", "openclaw": "openclaw"}
# The scanner pins what the others want newer, so it gets an environment of its own.
PYTHON = {
    "agentskills": ("python", "skills-ref"),
    "agnix": ("python", "agnix"),
    "uv": ("python", "uv"),
    "pipx": ("python", "pipx"),
    "skill-scanner": ("scanner", "cisco-ai-skill-scanner"),
}


class NotHadError(Exception):
    """A tool cannot be had here; the text is the refusal."""


def tool(name: str) -> list[str]:
    """The words that start a tool, which is installed if it is not there yet."""
    return _from_npm(name, NPM[name]) if name in NPM else _from_pypi(name, *PYTHON[name])


def node() -> str:
    """A Node.js that is new enough: the system's, or a binary from npm."""
    own = shutil.which("node")
    if own:
        told = subprocess.run([own, "--version"], capture_output=True, text=True, check=False).stdout
        if tuple(map(int, re.findall(r"\d+", told)[:2])) >= NODE_NEEDED:
            return own
    machine = {"x86_64": "x64", "AMD64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    package = f"node-{'win' if WINDOWS else sys.platform}-{machine}"
    binary = TOOLS / "node" / "node_modules" / package / "bin" / ("node.exe" if WINDOWS else "node")
    if not binary.exists():
        _npm_install("node", f"{package}@{NODE_NEEDED[0]}")
    return str(binary)


def _from_npm(name: str, package: str) -> list[str]:
    home = TOOLS / name / "node_modules" / package
    if not home.is_dir():
        _npm_install(name, package)
    programs = json.loads((home / "package.json").read_text(encoding="utf-8"))["bin"]
    # Its program is put in place by a script that runs at installation, and which is not run here.
    program = "cli-wrapper.cjs" if name == "claude" else programs if isinstance(programs, str) else programs[name]
    return [node(), str(home / program)]


def _npm_install(folder: str, package: str) -> None:
    npm = shutil.which("npm")
    if not npm:
        raise NotHadError("npm is not installed")
    (TOOLS / folder).mkdir(parents=True, exist_ok=True)
    # The newer Node goes first, as npm chooses by it among the versions of a package; nothing foreign is run on the way.
    path = os.environ["PATH"] if folder == "node" else f"{Path(node()).parent}{os.pathsep}{os.environ['PATH']}"
    options = ["--prefix", ".", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel", "error"]
    _install([npm, "install", *options, package], TOOLS / folder, {**os.environ, "PATH": path})


def _from_pypi(name: str, folder: str, package: str) -> list[str]:
    home = TOOLS / folder / ("Scripts" if WINDOWS else "bin")
    program = home / (name + (".exe" if WINDOWS else ""))
    if not program.exists():
        python = home / ("python.exe" if WINDOWS else "python")
        if not python.exists():
            _install([sys.executable, "-m", "venv", str(TOOLS / folder)], ROOT)
        options = ["--quiet", "--no-input", "--disable-pip-version-check"]
        _install([str(python), "-m", "pip", "install", *options, package], ROOT)
    return [str(program)]


def _install(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> None:
    print(f"     installing {command[-1]} into .tools (once)", flush=True)
    ended = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    if ended.returncode:
        said = [line for line in (ended.stdout + ended.stderr).splitlines() if line.strip()]
        raise NotHadError(f"{' '.join(command[1:3])} … {command[-1]}: {' / '.join(said[-3:])}")
