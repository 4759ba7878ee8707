"""Show what the calls in the ledger, or the account's archived days, cost: in total, by group, and day by day."""

from __future__ import annotations

from openrouter_usage.cli.asking import add_compare, add_filters, add_grouping, add_period, add_source
from openrouter_usage.cli.program import Parser, account_name, whole_number
from openrouter_usage.cli.statistics import FORMATS, run
from openrouter_usage.cli.terminal import add_color
from openrouter_usage.figures.options import REPORT_TOP

__all__ = ["EXAMPLES", "describe", "run"]

EXAMPLES = """examples:
  cost_tracker.py stats                       all time, by model
  cost_tracker.py stats --today --by session
  cost_tracker.py stats --month --trend
  cost_tracker.py stats --since 2026-11-01 --until 2026-11-15 --by day
  cost_tracker.py stats --today --tz Europe/Amsterdam
  cost_tracker.py stats --month --compare previous
  cost_tracker.py stats --by day,model --client laptop --days 7
  cost_tracker.py stats --source account --month     all of the account, as archived by sync
"""


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    add_period(parser)
    add_source(parser, "ledger")
    parser.add_argument("--account", type=account_name, metavar="ID", help="the account, if several are archived")
    add_grouping(parser)
    parser.add_argument("--by-model", action="store_const", const="model", dest="by", help="the same as --by model")
    add_filters(parser)
    add_compare(parser)
    parser.add_argument("--trend", action="store_true", help="one bar a day")
    parser.add_argument("--caching", action="store_true", help="what prompt caching saved, by model and client")
    parser.add_argument("--fees", action="store_true", help="web search, file and BYOK fees as parts of the cost")
    parser.add_argument(
        "--top", type=whole_number(0, 100_000), metavar="N", help=f"groups shown ({REPORT_TOP}; all days)"
    )
    parser.add_argument("--format", choices=FORMATS, default="text", help="output format (text; a table on a terminal)")
    add_color(parser)
