# /// script
# requires-python = ">=3.10"
# dependencies = ["requests>=2.31", "python-dotenv>=1.0"]
# ///
"""Keep the books of what OpenRouter calls cost; see --help. Also the library: from cost_tracker import ..."""

import os
import sys

if sys.version_info < (3, 10):
    sys.stderr.write("cost_tracker.py: Python 3.10 or newer is needed; run: uv run " + os.path.abspath(__file__) + "\n")
    sys.exit(2)

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

from openrouter_usage.tracker.cost_tracker import CostTracker  # the path has to be set first

__all__ = ["CostTracker"]

if __name__ == "__main__":
    from openrouter_usage.cli.run import run
    from openrouter_usage.cli.tracker import main

    sys.exit(run("cost_tracker.py", main))
