"""The two engines of a ledger, for tests whose facts hold with each: a file of this machine, and a server of a team.

Tests of the modules in BOTH that ask for `engine`, or for a fixture made of it, run with each; `make team` runs those with
the server that `make test` leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from openrouter_usage.ledger.ledger import Ledger
from tests.booking import NOWHERE, Tracker
from tests.team import Team, TeamTracker

# Where the facts are about calls, sums, budgets and pages, whatever keeps them; and the tests that are about a file.
BOTH: dict[str, set[str]] = {
    "test_budget": set(),
    "test_scopes": set(),
    "test_brakes": {"test_the_list_of_refusals_stays_small_and_keeps_the_newest"},
    # Golden pages have the notes on lines that only a file can have; test_team.py compares the pages of both engines.
    "test_export": {
        "test_an_export_looks_as_it_should",
        "test_a_call_reported_twice_is_exported_once",  # in lines that contradict each other
        "test_a_folder_that_is_read_only_is_left_alone",
        "test_a_ledger_that_cannot_be_read_leaves_no_file",
        "test_the_ledger_itself_is_never_replaced",
    },
    "test_cli_stats": {
        "test_a_page_looks_as_it_should",
        "test_a_terminal_gets_an_aligned_table_with_a_total",
        "test_an_empty_ledger_says_how_calls_come_into_it",
        "test_damaged_and_foreign_lines_are_named_with_their_place",
        "test_a_name_of_a_hundred_thousand_characters_is_damage_and_not_shown",
        "test_the_ledger_may_be_anywhere",
        "test_a_hostile_path_is_only_shown",
        "test_the_root_of_a_disk_is_no_ledger",
        "test_a_ledger_that_is_no_file_is_refused",
    },
    "test_report_page": {
        "test_estimates_holds_and_lines_that_do_not_count_are_told_of",
        "test_the_page_and_the_chart_say_which_period_whose_days_and_where_from",
        "test_no_file_of_the_program_is_replaced_by_a_page",
        "test_the_ledger_itself_is_never_replaced",
        "test_a_ledger_that_cannot_be_read_leaves_no_file",
    },
    "test_what_if": set(),
    "test_calls": {
        "test_a_ledger_that_cannot_be_used_refuses_a_call_under_a_budget_and_else_is_told_of",
        "test_a_disk_that_is_full_at_the_hold_refuses_the_call",
        "test_a_disk_that_is_full_at_the_settling_loses_nothing",
    },
}
# Few and cheap, so that a change of either engine is noticed at once.
ALWAYS = {"test_budget", "test_scopes", "test_brakes"}


@dataclass
class OnFile:
    """The ledger in a file."""

    name = "file"

    def tracker(self, home: Path, url: str = NOWHERE) -> Tracker:
        """cost_tracker.py with such a ledger."""
        return Tracker(home, url)

    def ledger(self, path: Path) -> Ledger:
        """The ledger as the library opens it."""
        return Ledger(path)

    def afresh(self, path: Path) -> None:
        """Begin with an empty one."""
        for each in path.parent.glob(f"{path.name}*"):
            each.unlink()

    def at(self, now: datetime) -> None:
        """Let the engine's own clock have this time; a file has none."""

    def kept(self, text: str) -> str:
        """What is left of a text."""
        return text


@dataclass
class OnServer:
    """The ledger of a team; the path of a file names nothing then."""

    team: Team
    name = "postgresql"

    def tracker(self, home: Path, url: str = NOWHERE) -> Tracker:
        """cost_tracker.py with such a ledger."""
        return TeamTracker(home, url, {"OPENROUTER_LEDGER": self.team.url()}, self.team)

    def ledger(self, path: Path) -> Ledger:
        """The ledger as the library opens it."""
        return self.team.ledger()

    def afresh(self, path: Path) -> None:
        """Begin with an empty one."""
        self.team.close()
        self.team.empty()

    def at(self, now: datetime) -> None:
        """Let the engine's own clock have this time."""
        self.team.at(now)

    def kept(self, text: str) -> str:
        """What is left of a text: PostgreSQL keeps no NUL."""
        return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


Engine = OnFile | OnServer
