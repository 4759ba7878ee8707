"""Runs what an eval expects to be run, against the sandbox, and checks every assertion that needs no model.

`python -m tests.evals` runs all of them; `--relay ID FILE` judges what an assistant said in a file, as far as words tell.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.sandbox import DEMO_KEY, DEMO_MGMT_KEY, Fault, Sandbox, demo_account

ROOT = Path(__file__).resolve().parent.parent
KEYS = {"OPENROUTER_API_KEY": DEMO_KEY, "OPENROUTER_MGMT_KEY": DEMO_MGMT_KEY}
Eval = dict[str, Any]


def load(name: str) -> Any:
    """A file of the folder evals."""
    return json.loads((ROOT / "evals" / name).read_text(encoding="utf-8"))


def words_of(command: str) -> list[str]:
    """A command line as it is run here: this folder is the skill's, and this Python runs it."""
    python, *words = shlex.split(command.replace("{baseDir}", ROOT.as_posix()))
    if python != "python3":
        raise ValueError(f"not a command of the skill: {command}")
    return [sys.executable, *words]


def holds(assertion: dict[str, str], text: str) -> bool:
    """Whether a text has what it should have, or lacks what it should lack; true where only a model can tell."""
    if "matches" in assertion:
        return re.search(assertion["matches"], text, re.MULTILINE) is not None
    return "lacks" not in assertion or re.search(assertion["lacks"], text, re.MULTILINE) is None


def failed(one: Eval, where: str, text: str) -> list[str]:
    """The assertions about the programs' output, or about the relay, that a text does not meet."""
    return [told["text"] for told in one["assertions"] if told["in"] == where and not holds(told, text)]


def run(one: Eval) -> Iterator[str]:
    """Run an eval's commands in a new home; gives what is not as expected."""
    setup = one["setup"]
    with Sandbox(demo_account()) as sandbox, tempfile.TemporaryDirectory(prefix="openrouter-eval-") as home:
        if "key_named" in setup:
            sandbox.account.add_key("another-key-of-the-account", name=setup["key_named"])
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENROUTER_")}
        environment = {**kept, "HOME": home, "USERPROFILE": home, "PYTHONIOENCODING": "utf-8"}
        environment |= {"OPENROUTER_BASE_URL": sandbox.url, **{name: KEYS[name] for name in setup["keys"]}}
        for command in setup.get("before", []):
            if said(words_of(command), environment, home)[0]:
                yield f"could not be prepared: {command}"
        before = len(sandbox.received())
        if setup.get("offline"):
            sandbox.misbehave("*", Fault.reset())
        output = ""
        for command in one["commands"]:
            code, printed = said(words_of(command["run"]), environment, home)
            output += printed
            if code != command["exit_code"]:
                yield f"exit code {code} in place of {command['exit_code']}: {command['run']}\n{printed}"
        asked = sandbox.received()[before:]
        for wanted in one.get("not_asked", []):
            yield from (f"asked {wanted}" for request in asked if is_request(wanted, request.method, request.path))
    yield from failed(one, "output", output)


def is_request(wanted: str, method: str, path: str) -> bool:
    """Whether a request is one that should not be made; `*` stands for anything."""
    return re.fullmatch(re.escape(wanted).replace(r"\*", ".*").replace(r"\ ", " "), f"{method} {path}") is not None


def said(words: list[str], environment: dict[str, str], folder: str) -> tuple[int, str]:
    """Exit code of a program, and all that it printed."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8"}
    ended = subprocess.run(words, cwd=folder, env=environment, timeout=60, check=False, **streams)
    return ended.returncode, ended.stdout


def main(argv: list[str]) -> int:
    """Prints a line for each eval; ends with 1 if one does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.evals", description=__doc__.splitlines()[0])
    parser.add_argument("--relay", nargs=2, metavar=("ID", "FILE"), help="judge what an assistant said in a file")
    chosen = parser.parse_args(argv).relay
    evals = load("evals.json")["evals"]
    if chosen:
        evals = [one for one in evals if str(one["id"]) == chosen[0]]
        text = Path(chosen[1]).read_text(encoding="utf-8")
    wrong = 0
    for one in evals:
        problems = failed(one, "relay", text) if chosen else list(run(one))
        left = sum(1 for told in one["assertions"] if told["in"] == "relay" and not {"matches", "lacks"} & set(told))
        print(f"{'FAIL' if problems else 'ok  '} {one['id']} {one['name']}; {left} left to a model", *problems, sep="\n     ")
        wrong += bool(problems)
    return 1 if wrong or not evals else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
