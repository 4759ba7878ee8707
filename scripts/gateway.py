# /// script
# requires-python = ">=3.10"
# dependencies = ["aiohttp>=3.11", "requests>=2.31", "python-dotenv>=1.0", 'tzdata; sys_platform == "win32"']
# ///
"""Serve a local proxy that records every OpenRouter call that goes through it; see --help."""

import os
import sys

if sys.version_info < (3, 10):
    path = os.path.abspath(__file__)
    sys.stderr.write('gateway.py: Python 3.10 or newer is needed; run: uv run "' + path + '"\n')
    sys.exit(2)

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

try:
    from openrouter_usage.cli.gateway import main
    from openrouter_usage.cli.program import leave, run
except KeyboardInterrupt:  # ^C while this was being loaded
    sys.exit(130)

if __name__ == "__main__":
    leave(run("gateway.py", main))
