"""The sandbox in a process of its own, so that serving costs the timed programs nothing."""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from tests.sandbox import Sandbox, demo_account


@dataclass(frozen=True, slots=True)
class Served:
    """Where the sandbox listens, and the file of the authority that signed its certificate."""

    url: str
    ca_file: str


@contextlib.contextmanager
def served(*, delay_s: float) -> Iterator[Served]:
    """Serve the demo account over TLS, each answer delayed, until the block ends."""
    command = [sys.executable, "-m", "benchmarks.served", "--delay", str(delay_s)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin and process.stdout
    try:
        yield Served(**json.loads(process.stdout.readline()))
    finally:
        process.stdin.close()
        process.wait(timeout=10)
        process.stdout.close()


def main() -> None:
    """Serve until stdin is closed, which also happens when the benchmark dies."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, required=True)
    options = parser.parse_args()
    with Sandbox(demo_account(), tls=True, delay_s=options.delay) as sandbox:
        print(json.dumps({"url": sandbox.url, "ca_file": sandbox.ca_file}), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            sys.stdin.read()


if __name__ == "__main__":
    main()
