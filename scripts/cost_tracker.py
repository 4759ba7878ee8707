# /// script
# requires-python = ">=3.10"
# dependencies = ["requests>=2.31", "python-dotenv>=1.0", 'tzdata; sys_platform == "win32"']
# ///
"""Record what OpenRouter calls cost; see --help. Also the library: from cost_tracker import ..."""

import gc
import os
import sys

if sys.version_info < (3, 10):
    path = os.path.abspath(__file__)
    sys.stderr.write('cost_tracker.py: Python 3.10 or newer is needed; run: uv run "' + path + '"\n')
    sys.exit(2)

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

if __name__ == "__main__":
    try:
        from openrouter_usage.cli.cost_tracker import main
        from openrouter_usage.cli.program import leave, run
    except KeyboardInterrupt:  # ^C while this was being loaded
        sys.exit(130)

    gc.set_threshold(100_000)  # reading a ledger makes no garbage, and looking for it takes time
    leave(run("cost_tracker.py", main))

from openrouter_usage.errors import BudgetExceeded, OpenRouterUsageError
from openrouter_usage.gateway.embedded import Gateway
from openrouter_usage.jobs.price_list import estimate_cost
from openrouter_usage.tracker.cost_tracker import CostRecord, CostTracker, to_json
from openrouter_usage.tracker.decorator import track_cost
from openrouter_usage.tracker.enforcer import BudgetEnforcer
from openrouter_usage.tracker.lookup import check_credits, get_generation_stats, get_key_balance
from openrouter_usage.tracker.routing import ROUTING
from openrouter_usage.tracker.session import CostSession

# The name that the guides use.
OpenRouterCostTracker = CostTracker

__all__ = [
    "ROUTING",
    "BudgetEnforcer",
    "BudgetExceeded",
    "CostRecord",
    "CostSession",
    "CostTracker",
    "Gateway",
    "OpenRouterCostTracker",
    "OpenRouterUsageError",
    "check_credits",
    "estimate_cost",
    "get_generation_stats",
    "get_key_balance",
    "to_json",
    "track_cost",
]
