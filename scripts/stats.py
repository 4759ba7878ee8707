# /// script
# requires-python = ">=3.10"
# dependencies = ["requests>=2.31", "python-dotenv>=1.0", 'tzdata; sys_platform == "win32"']
# ///
"""Show what OpenRouter says is spent and left; see --help."""

import gc
import os
import sys

if sys.version_info < (3, 10):
    path = os.path.abspath(__file__)
    sys.stderr.write('stats.py: Python 3.10 or newer is needed; run: uv run "' + path + '"\n')
    sys.exit(2)

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

try:
    from openrouter_usage.cli.program import leave, run
    from openrouter_usage.cli.summary import main
except KeyboardInterrupt:  # ^C while this was being loaded
    sys.exit(130)

if __name__ == "__main__":
    gc.disable()  # a run of a third of a second makes no garbage worth collecting
    leave(run("stats.py", main))
