"""`python3 -m openrouter_usage`: the command, for an environment whose programs are not on the PATH."""

from __future__ import annotations

from openrouter_usage.cli.command import start

if __name__ == "__main__":
    start("python3 -m openrouter_usage")
