"""Shows the summary of an invented account: the real program, over real HTTP, against the sandbox."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.sandbox import DEMO_KEY, DEMO_MGMT_KEY, Sandbox, demo_account

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = "scripts/stats.py"


def main(argv: Sequence[str]) -> int:
    """Runs stats.py with these arguments on the sandbox account and gives its exit code."""
    with Sandbox(demo_account()) as sandbox, tempfile.TemporaryDirectory(prefix="openrouter-demo-") as home:
        say(f"A sandbox account with invented figures, served at {sandbox.url}.")
        say("None of your keys is used and nothing leaves this machine.\n")
        say("$ " + " ".join([_python(), PROGRAM, *argv]))
        command = [sys.executable, PROGRAM, *argv]
        status = subprocess.run(command, cwd=ROOT, env=environment(sandbox.url, home), check=False).returncode
    say("\nThe sandbox is stopped. To see your own account:\n")
    say("  export OPENROUTER_API_KEY=your-key              # from https://openrouter.ai/settings/keys")
    say("  export OPENROUTER_MGMT_KEY=your-management-key  # optional, for balance and spend by model:")
    say("                                                  # https://openrouter.ai/settings/management-keys")
    say(f"  {_python()} {PROGRAM}")
    return status


def environment(url: str, home: str) -> dict[str, str]:
    """The caller's environment without their OpenRouter settings, and with a home that is thrown away."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENROUTER_")}
    keys = {"OPENROUTER_BASE_URL": url, "OPENROUTER_API_KEY": DEMO_KEY, "OPENROUTER_MGMT_KEY": DEMO_MGMT_KEY}
    return {**kept, **keys, "HOME": home, "USERPROFILE": home}


def say(line: str) -> None:
    """Prints at once, so that the program's own output comes after it."""
    print(line, flush=True)


def _python() -> str:
    """How to call this interpreter from the repository's folder."""
    try:
        return Path(sys.executable).relative_to(ROOT).as_posix()
    except ValueError:
        return "python3"


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # as by `make demo | head`; Python would complain again when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
