"""Serves the demo account until it is interrupted, with a home that has books of it and is thrown away afterwards."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from . import DEMO_KEY, DEMO_MGMT_KEY, Sandbox, demo_account
from .ledger import write_ledger

ROOT = Path(__file__).resolve().parent.parent.parent
# What would lead the programs out of the home, or change what they show.
FOREIGN = (
    "OPENROUTER_LEDGER", "OPENROUTER_USAGE_FILE", "OPENROUTER_DAILY_LIMIT", "OPENROUTER_WEEKLY_LIMIT", "OPENROUTER_MONTHLY_LIMIT", "OPENROUTER_REQUEST_LIMIT",
    "OPENROUTER_ALERT_WEBHOOK", "OPENROUTER_PAGERDUTY_KEY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
)  # fmt: skip


def main() -> int:
    """Prints what to paste, and serves."""
    parser = argparse.ArgumentParser(prog="python -m tests.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: any free one)")
    parser.add_argument("--tls", action="store_true", help="speak https with a certificate made for this run")
    arguments = parser.parse_args()
    # The home is deleted however this ends.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        tempfile.TemporaryDirectory(prefix="openrouter-sandbox-", ignore_cleanup_errors=True) as home,
        Sandbox(demo_account(), port=arguments.port, tls=arguments.tls) as sandbox,
    ):
        variables = {
            "HOME": home,
            **({"USERPROFILE": home} if os.name == "nt" else {}),
            "OPENROUTER_BASE_URL": sandbox.url,
            "OPENROUTER_API_KEY": DEMO_KEY,
            "OPENROUTER_MGMT_KEY": DEMO_MGMT_KEY,
            **({"REQUESTS_CA_BUNDLE": str(sandbox.ca_file)} if sandbox.ca_file else {}),
        }
        try:
            furnish(Path(home), sandbox, variables)
            print(f"# a local OpenRouter at {sandbox.url}, and a home with 60 days of invented calls.")
            print("# Paste this into a new terminal, and try the programs there; ^C here ends it and deletes the home.")
            print(*lines(variables), sep="\n", flush=True)
            threading.Event().wait()
        except KeyboardInterrupt:
            return 0
    return 0


def furnish(home: Path, sandbox: Sandbox, variables: dict[str, str]) -> None:
    """Writes the ledger, and has the program itself set a budget and archive what the account says."""
    write_ledger(home / ".openrouter" / "usage.jsonl", sandbox.account)
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    for words in (["budget", "set", "--daily", "10", "--monthly", "150"], ["sync", "--quiet"]):
        command = [sys.executable, str(ROOT / "scripts" / "cost_tracker.py"), *words]
        subprocess.run(command, env={**kept, **variables}, check=True, stdout=subprocess.DEVNULL)


def lines(variables: dict[str, str]) -> Iterator[str]:
    """The lines to paste into a shell."""
    yield "unset " + " ".join(name for name in FOREIGN if name not in variables)
    yield from (f"export {name}={shlex.quote(value)}" for name, value in variables.items())


if __name__ == "__main__":
    raise SystemExit(main())
