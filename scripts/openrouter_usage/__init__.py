"""openrouter-usage: knows, and controls, what AI agents spend on OpenRouter.

The names of the library can be imported from here, as from `cost_tracker` in the skill's folder. Each is loaded when it
is first used, so that the import itself costs nothing. Nothing else in the package needs this file: some installers
leave it out.
"""

from __future__ import annotations

# As `typing` has it, which takes longer to load than all of this.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from openrouter_usage.errors import BudgetExceeded as BudgetExceeded
    from openrouter_usage.errors import OpenRouterUsageError as OpenRouterUsageError
    from openrouter_usage.gateway.embedded import Gateway as Gateway
    from openrouter_usage.jobs.price_list import estimate_cost as estimate_cost
    from openrouter_usage.tracker.cost_tracker import CostRecord as CostRecord
    from openrouter_usage.tracker.cost_tracker import CostTracker as CostTracker
    from openrouter_usage.tracker.cost_tracker import to_json as to_json
    from openrouter_usage.tracker.decorator import track_cost as track_cost
    from openrouter_usage.tracker.enforcer import BudgetEnforcer as BudgetEnforcer
    from openrouter_usage.tracker.lookup import check_credits as check_credits
    from openrouter_usage.tracker.lookup import get_generation_stats as get_generation_stats
    from openrouter_usage.tracker.lookup import get_key_balance as get_key_balance
    from openrouter_usage.tracker.routing import ROUTING as ROUTING
    from openrouter_usage.tracker.session import CostSession as CostSession

    OpenRouterCostTracker = CostTracker

_ROOMS = {
    "ROUTING": "tracker.routing",
    "BudgetEnforcer": "tracker.enforcer",
    "BudgetExceeded": "errors",
    "CostRecord": "tracker.cost_tracker",
    "CostSession": "tracker.session",
    "CostTracker": "tracker.cost_tracker",
    "Gateway": "gateway.embedded",
    "OpenRouterCostTracker": "tracker.cost_tracker",
    "OpenRouterUsageError": "errors",
    "check_credits": "tracker.lookup",
    "estimate_cost": "jobs.price_list",
    "get_generation_stats": "tracker.lookup",
    "get_key_balance": "tracker.lookup",
    "to_json": "tracker.cost_tracker",
    "track_cost": "tracker.decorator",
}
__all__ = list(_ROOMS)


def __getattr__(name: str) -> object:
    """Load a name of the library; AttributeError for any other."""
    if name == "__version__":
        from openrouter_usage.home.settings import VERSION

        return VERSION
    if name not in _ROOMS:
        raise AttributeError(f"module 'openrouter_usage' has no attribute {name!r}")
    from importlib import import_module

    room = import_module(f"openrouter_usage.{_ROOMS[name]}")
    return getattr(room, "CostTracker" if name == "OpenRouterCostTracker" else name)


def __dir__() -> list[str]:
    return [*globals(), *_ROOMS]
