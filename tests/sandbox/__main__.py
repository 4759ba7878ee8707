"""Serves the demo account until it is interrupted."""

from __future__ import annotations

import argparse
import threading

from . import DEMO_KEY, DEMO_MGMT_KEY, Sandbox, demo_account


def main() -> int:
    """Prints what to export, and serves."""
    parser = argparse.ArgumentParser(prog="python -m tests.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: any free one)")
    parser.add_argument("--tls", action="store_true", help="speak https with a certificate made for this run")
    arguments = parser.parse_args()
    with Sandbox(demo_account(), port=arguments.port, tls=arguments.tls) as sandbox:
        print(f"# a local OpenRouter at {sandbox.url}; stop it with ^C")
        print(f"export OPENROUTER_BASE_URL={sandbox.url}")
        print(f"export OPENROUTER_API_KEY={DEMO_KEY}")
        print(f"export OPENROUTER_MGMT_KEY={DEMO_MGMT_KEY}")
        if sandbox.ca_file:
            print(f"export REQUESTS_CA_BUNDLE={sandbox.ca_file}")
        print(end="", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
