"""cost_tracker.py reconcile: what of the bill the ledger explains, to the last cent, by day and model, and why."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.booking import NOON, Booked, Tracker, TrackerAt, call, hold
from tests.controls import key_named, managing
from tests.sandbox import INFERENCE_KEY, MANAGEMENT_KEY, Account, ActivityRow, Fault, Sandbox

OTHER_KEY = "test-other-key-canary-11aa"
TODAY = NOON.date()
DAY = timedelta(days=1)
ZERO = Decimal(0)
GPT, CLAUDE, GEMINI = "openai/gpt-5.2", "anthropic/claude-sonnet-4.5", "google/gemini-3-flash"


@pytest.fixture
def account() -> Account:
    account = Account.simple(now=lambda: NOON)
    account.add_key(OTHER_KEY, name="ci-bot")
    return account


@pytest.fixture
def sandbox(account: Account) -> Iterator[Sandbox]:
    with Sandbox(account) as running:
        yield running


@pytest.fixture
def tracker(home: Path, sandbox: Sandbox) -> Tracker:
    return managing(home, sandbox.url)


@dataclass
class History:
    """Calls as the account billed them, what of them the ledger has, and what it cannot explain."""

    account: Account
    tracker: Tracker
    lines: list[bytes] = field(default_factory=list)
    missing: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    number: int = 0

    def billed(self, at: datetime, model: str, cost: str, *, byok: str = "0", key: str = INFERENCE_KEY) -> str:
        """A call on the account; gives its id."""
        self.number += 1
        identity, known, owner = f"gen-{self.number}", self.account.model(model), self.account.key(key)
        assert known and owner
        row = ActivityRow(
            at.date(),
            model,
            known.providers[self.number % len(known.providers)],
            usage=Decimal(cost),
            byok_usage_inference=Decimal(byok),
            model_permaslug=known.canonical_slug,
            key_hash=owner.hash,
            generation_id=identity,
            at=at,
        )
        (self.account.today_rows if row.date == TODAY else self.account.activity).append(row)
        return identity

    def booked(self, at: datetime, model: str, cost: str | None, **more: Any) -> None:
        """A call in the ledger."""
        self.lines.append(call(at.isoformat(), model, cost, **more))

    def tracked(self, at: datetime, model: str, cost: str, *, name: str = "", late: timedelta = timedelta()) -> None:
        """A call that both have, the ledger perhaps under another name and a little later."""
        self.booked(at + late, name or model, cost, id=self.billed(at, model, cost))

    def unseen(self, at: datetime, model: str, cost: str, *, key: str = INFERENCE_KEY) -> str:
        """A call that only the account has."""
        where = (at.date().isoformat(), model)
        self.missing[where] = self.missing.get(where, ZERO) + Decimal(cost)
        return self.billed(at, model, cost, key=key)

    def done(self) -> None:
        """Write the ledger."""
        self.tracker.write(*self.lines)


@pytest.fixture
def history(account: Account, tracker: Tracker) -> History:
    return History(account, tracker)


def on(day: date, clock: str = "12:00:00") -> datetime:
    return datetime.fromisoformat(f"{day.isoformat()}T{clock}+00:00")


def unexplained(ran: Booked) -> dict[tuple[str, str], Decimal]:
    return {(line["date"], line["model"]): line["unexplained_usd"] for line in ran.data["lines"]}


def codes(ran: Booked) -> dict[str, Decimal | None]:
    return {cause["code"]: cause["usd"] for cause in ran.data["causes"]}


# -- a month of everything -------------------------------------------------------------------------------------------

NAMES = {GPT: ["", "openai/gpt-5.2:nitro", "~openai/gpt-latest", "openai/gpt-5.2-20251211"], CLAUDE: ["", ""], GEMINI: [""]}


def a_month(history: History, calls: int) -> Decimal:
    """Calls of 30 days: other keys, cut streams, BYOK, aliases, and midnight; gives what the ledger saw."""
    chance = random.Random(42)
    saw = ZERO
    for number in range(calls):
        model = chance.choice([GPT, CLAUDE, GEMINI])
        cost = f"0.{chance.randint(1, 10**chance.randint(5, 12)):012d}"
        moment = on(TODAY - chance.randint(0, 29) * DAY, f"{chance.randint(0, 11):02}:{chance.randint(0, 59):02}:07")
        fate = number % 100
        if fate < 5:
            history.unseen(moment, model, cost, key=OTHER_KEY)
        elif fate == 5:
            generation = history.unseen(moment, model, cost)
            history.lines.append(hold(f"h{number}", moment.isoformat(), "0.5", model=model, generation=generation))
        elif fate == 6:
            identity = history.billed(moment, model, "0", byok=cost)
            history.booked(moment, model, "0", byok_cost=float(cost), id=identity)
        else:
            late = timedelta()
            if fate == 7 and moment.date() != TODAY:
                moment, late = moment.replace(hour=23, minute=59, second=59, microsecond=900_000), timedelta(seconds=0.4)
            history.tracked(moment, model, cost, name=chance.choice(NAMES[model]), late=late)
            saw += Decimal(cost)
    history.done()
    return saw


def test_every_unexplained_cent_of_a_month_is_named_by_day_and_model(history: History, at: TrackerAt) -> None:
    saw = a_month(history, 12_000)
    ran = at(NOON, "reconcile", "--days", "30", "--json")
    assert ran.code == 3
    assert ran.data["attributed_usd"] == saw
    assert ran.data["ledger_alone_usd"] == 0
    assert unexplained(ran) == {where: cost for where, cost in history.missing.items() if cost}
    assert ran.data["account"]["usage_usd"] == history.account.truth.total(29, include_today=True)
    assert ran.data["unexplained_usd"] == sum(history.missing.values())
    by_others = history.account.truth.by("key_hash", 29, include_today=True)[key_named(history.account, "ci-bot").hash]
    assert ran.data["by_other_keys_usd"] == by_others
    assert codes(ran)["unsettled"] == ran.data["unexplained_usd"] - by_others == codes(ran)["not_tracked"]
    assert "ℹ" not in ran.out


def test_a_ledger_that_has_it_all_is_within_any_tolerance(history: History, at: TrackerAt) -> None:
    for number in range(20):
        history.tracked(on(TODAY - number % 8 * DAY, "09:00:00"), GPT, f"0.00{number}1")
    history.done()
    ran = at(NOON, "reconcile", "--tolerance", "0", "--json")
    assert (ran.code, ran.data["lines"], ran.data["causes"]) == (0, [], [])
    assert ran.data["attributed_usd"] == ran.data["account"]["usage_usd"] == ran.data["ledger"]["usage_usd"]
    text = at(NOON, "reconcile").out
    assert "Attributed 100.0% of" in text and "✅ within the tolerance of 1%" in text


# -- one difference after the other ----------------------------------------------------------------------------------

YESTERDAY = TODAY - DAY


def test_a_call_across_midnight_is_no_difference_even_without_ids(history: History, at: TrackerAt) -> None:
    history.billed(on(YESTERDAY, "23:59:59.900000"), GPT, "0.7")
    history.booked(on(TODAY, "00:00:00.300000"), GPT, "0.7")
    history.done()
    ran = at(NOON, "reconcile", "--json")
    assert (ran.code, ran.data["lines"]) == (0, [])
    assert ran.data["attributed_usd"] == Decimal("0.7")


def test_a_call_in_the_middle_of_the_wrong_day_is_one(history: History, at: TrackerAt) -> None:
    history.billed(on(YESTERDAY, "12:00:00"), GPT, "0.7")
    history.booked(on(TODAY, "11:00:00"), GPT, "0.7")
    history.done()
    ran = at(NOON, "reconcile", "--json")
    assert ran.code == 3
    assert (ran.data["unexplained_usd"], ran.data["ledger_alone_usd"]) == (Decimal("0.7"), Decimal("0.7"))


def test_the_first_days_call_from_before_midnight_is_attributed(history: History, at: TrackerAt) -> None:
    first = TODAY - 6 * DAY
    history.tracked(on(first - DAY, "23:59:59.900000"), GPT, "0.2", late=timedelta(seconds=1))
    history.done()
    ran = at(NOON, "reconcile", "--json")
    assert (ran.code, ran.data["lines"]) == (0, [])


def test_a_dated_name_and_a_routing_suffix_are_the_same_model(history: History, at: TrackerAt) -> None:
    history.billed(on(YESTERDAY), GPT, "0.5")
    history.booked(on(YESTERDAY), f"{GPT}:floor", "0.3")
    history.booked(on(YESTERDAY), history.account.model(GPT).canonical_slug, "0.2")  # type: ignore[union-attr]
    history.done()
    ran = at(NOON, "reconcile", "--json")
    assert (ran.code, ran.data["lines"]) == (0, [])
    assert any(f"{GPT}:floor → {GPT}" in note for note in ran.json["notes"])


def test_only_a_proven_name_is_called_billed_under_another(history: History, at: TrackerAt) -> None:
    """The account has no call of the model, or not of these: a name that could be joined is no bill."""
    history.booked(on(YESTERDAY), f"{GPT}:floor", "0.3")
    history.booked(on(YESTERDAY), f"openrouter/{CLAUDE}", "0.2")
    history.billed(on(YESTERDAY), CLAUDE, "0.1")
    history.done()
    ran = at(NOON, "reconcile", "--json")
    assert ran.code == 3
    assert not any("billed under another name" in note for note in ran.json["notes"])


def test_the_routers_prefix_is_the_same_model(history: History, at: TrackerAt) -> None:
    history.billed(on(YESTERDAY), CLAUDE, "0.5")
    history.booked(on(YESTERDAY), f"openrouter/{CLAUDE}", "0.5")
    history.done()
    ran = at(NOON, "reconcile", "--json")
    assert (ran.code, ran.data["lines"]) == (0, [])
    assert any(f"openrouter/{CLAUDE} → {CLAUDE}" in note for note in ran.json["notes"])


def test_a_name_is_joined_by_the_price_list_when_the_account_has_only_todays_slugs(
    history: History, at: TrackerAt
) -> None:
    history.billed(on(TODAY, "08:00:00"), CLAUDE, "0.5")
    history.booked(on(TODAY, "08:00:00"), CLAUDE, "0.5")
    history.done()
    ran = at(NOON, "reconcile", "--json")
    assert (ran.code, ran.data["attributed_usd"]) == (0, Decimal("0.5"))


def test_names_are_never_joined_by_their_prices(history: History, at: TrackerAt) -> None:
    history.billed(on(YESTERDAY), GPT, "0.5")
    history.booked(on(YESTERDAY), "someone/elses-model", "0.5")
    history.done()
    ran = at(NOON, "reconcile", "--json")
    assert (ran.code, ran.data["attributed_usd"]) == (3, 0)
    assert {"unknown_name", "ledger_alone", "not_tracked"} <= set(codes(ran))


def test_an_id_joins_what_no_name_does(history: History, at: TrackerAt) -> None:
    history.tracked(on(YESTERDAY), GPT, "0.5", name="@preset/mine")
    history.done()
    ran = at(NOON, "reconcile", "--json")
    assert (ran.code, ran.data["attributed_usd"]) == (0, Decimal("0.5"))
    assert any(f'"@preset/mine" → {GPT}' in note or f"@preset/mine → {GPT}" in note for note in ran.json["notes"])


def test_a_wrong_cost_is_shown_though_the_sums_agree(history: History, at: TrackerAt) -> None:
    history.booked(on(YESTERDAY), GPT, "0.30", id=history.billed(on(YESTERDAY), GPT, "0.10"))
    history.booked(on(YESTERDAY), GPT, "0.10", id=history.billed(on(YESTERDAY), GPT, "0.40"))
    history.done()
    ran = at(NOON, "reconcile", "--json")
    assert ran.data["attributed_usd"] == Decimal("0.20")
    assert (ran.data["unexplained_usd"], ran.data["ledger_alone_usd"]) == (Decimal("0.30"), Decimal("0.20"))


def test_a_call_of_unknown_cost_is_named_with_what_the_account_has(history: History, at: TrackerAt) -> None:
    history.booked(on(YESTERDAY), GPT, None, id=history.billed(on(YESTERDAY), GPT, "0.4"))
    history.done()
    assert codes(at(NOON, "reconcile", "--json"))["unknown_cost"] == Decimal("0.4")


def test_byok_money_is_its_own_figure_and_named_where_it_was_taken_for_credits(
    history: History, at: TrackerAt
) -> None:
    history.booked(on(YESTERDAY), GEMINI, "2.5", id=history.billed(on(YESTERDAY), GEMINI, "0", byok="2.5"))
    history.done()
    ran = at(NOON, "reconcile", "--json")
    assert ran.data["account"]["byok_usd"] == Decimal("2.5")
    assert (ran.data["unexplained_usd"], ran.data["ledger_alone_usd"]) == (0, Decimal("2.5"))
    assert codes(ran)["byok"] == Decimal("2.5")


def test_what_is_in_the_ledger_alone_today_may_come_yet(history: History, at: TrackerAt) -> None:
    history.booked(on(TODAY, "11:59:59"), GPT, "0.25")
    history.done()
    assert codes(at(NOON, "reconcile", "--json"))["not_yet_billed"] == Decimal("0.25")


def test_with_a_key_that_cannot_be_found_others_are_not_told_apart(history: History, at: TrackerAt) -> None:
    history.unseen(on(YESTERDAY), GPT, "0.5", key=OTHER_KEY)
    key_named(history.account, "ci-bot").label = key_named(history.account, "agent").label
    ran = at(NOON, "reconcile", "--json")
    assert ran.data["by_other_keys_usd"] is None
    assert ran.data["partial"]
    assert codes(ran) == {"elsewhere": Decimal("0.5")}


def test_the_text_names_the_largest_differences_and_adds_the_rest(history: History, at: TrackerAt) -> None:
    for number in range(1, 6):
        history.unseen(on(TODAY - number * DAY), GPT, f"0.{number}")
    history.tracked(on(YESTERDAY), CLAUDE, "1.5")
    history.done()
    ran = at(NOON, "reconcile", "--top", "2")
    assert "Attributed 50.0% of $3.00; unexplained $1.50" in ran.out
    assert f"• {TODAY - 5 * DAY} {GPT}: $0.50 unexplained (account $0.50, ledger $0.00)" in ran.out
    assert "... and 3 more ($0.60 unexplained)" in ran.out


TOLERANCES = [("50%", 0), ("49.99%", 3), ("1.5", 0), ("1.4999", 3), ("0", 3), ("100%", 0)]


@pytest.mark.parametrize(("tolerance", "code"), TOLERANCES)
def test_the_tolerance_is_a_share_or_an_amount(history: History, at: TrackerAt, tolerance: str, code: int) -> None:
    history.tracked(on(YESTERDAY), GPT, "1.5")
    history.unseen(on(YESTERDAY), CLAUDE, "1.5")
    history.done()
    assert at(NOON, "reconcile", "--tolerance", tolerance).code == code


@pytest.mark.parametrize("tolerance", ["-1", "101%", "1e3%", "nan", "", "%", "a lot"])
def test_another_tolerance_is_refused(at: TrackerAt, tolerance: str) -> None:
    assert at(NOON, "reconcile", f"--tolerance={tolerance}").code == 2


SPANS = [
    (("--days", "1"), 1),
    (("--since", "2026-11-20"), 3),
    (("--since", "2026-11-18", "--until", "2026-11-20"), 3),
    (("--until", "2026-11-20", "--days", "7"), None),
    (("--since", "2026-11-23"), None),
    (("--since", "2026-11-20", "--until", "2026-11-19"), None),
    (("--since", "2025-11-01"), None),
    (("--since", "2026-09-01", "--until", "2026-09-02"), 2),
]


@pytest.mark.parametrize(("words", "length"), SPANS)
def test_the_span_is_whole_utc_days(history: History, at: TrackerAt, words: tuple[str, ...], length: int | None) -> None:
    for number in range(90):
        history.unseen(on(TODAY - number * DAY, "06:00:00"), GPT, "0.01")
    ran = at(NOON, "reconcile", *words, "--json")
    if length is None:
        assert ran.code == 2
    else:
        assert ran.data["account"]["usage_usd"] == Decimal("0.01") * length
        assert len(ran.data["lines"]) == length


# -- what is missing -------------------------------------------------------------------------------------------------


def test_without_todays_figures_the_running_day_is_left_out_and_named(
    history: History, at: TrackerAt, sandbox: Sandbox
) -> None:
    history.tracked(on(YESTERDAY), GPT, "0.5")
    history.booked(on(TODAY, "09:00:00"), GPT, "0.25")
    history.done()
    sandbox.misbehave("/analytics/query", Fault.status(404))
    ran = at(NOON, "reconcile", "--json")
    assert (ran.code, ran.data["partial"], ran.data["attributed_usd"]) == (5, True, Decimal("0.5"))
    assert ran.data["within_tolerance"] is None
    assert any("not compared" in note and TODAY.isoformat() in note for note in ran.json["notes"])
    assert at(NOON, "reconcile", "--until", YESTERDAY.isoformat()).code == 0


def test_no_all_clear_is_given_where_most_of_the_account_is_missing(
    history: History, at: TrackerAt, sandbox: Sandbox
) -> None:
    history.tracked(on(YESTERDAY), GPT, "5")
    history.unseen(on(YESTERDAY - DAY), GPT, "50")
    history.done()
    sandbox.misbehave("/activity", Fault.status(500))
    ran = at(NOON, "reconcile")
    assert ran.code == 5
    assert "Nothing was spent by the account in the days that could be read" in ran.out
    assert "the ledger has no calls" not in ran.out and "✅" not in ran.out
    assert ran.out.count("⚠") == 1
    assert f"{TODAY - 6 * DAY} to {YESTERDAY}" in ran.out
    assert at(NOON, "reconcile", "--json").data["by_other_keys_usd"] is None


def test_a_year_back_is_as_far_as_it_goes_and_all_of_it(history: History, at: TrackerAt) -> None:
    history.tracked(on(TODAY - 300 * DAY), GPT, "1")
    history.done()
    ran = at(NOON, "reconcile", "--since", (TODAY - 364 * DAY).isoformat(), "--json")
    assert (ran.code, ran.data["attributed_usd"], ran.data["partial"]) == (0, 1, False)
    ran = at(NOON, "reconcile", "--since", (TODAY - 365 * DAY).isoformat(), "--json")
    assert (ran.code, ran.data["attributed_usd"], ran.data["partial"]) == (0, 1, False)


def test_a_call_that_the_account_does_not_have_is_none_of_it_whatever_the_sums_say(
    history: History, at: TrackerAt
) -> None:
    history.unseen(on(YESTERDAY), GPT, "1", key=OTHER_KEY)
    history.booked(on(YESTERDAY), GPT, "1", id="gen-of-another-account")
    history.done()
    ran = at(NOON, "reconcile", "--json")
    assert (ran.code, ran.data["attributed_usd"]) == (3, 0)
    assert (ran.data["by_other_keys_usd"], ran.data["ledger_alone_usd"]) == (1, 1)


def no_calls(answer: Any) -> Any:
    is_listing = any("generation_id" in row for row in answer["data"]["data"])
    return cut_short(answer) if is_listing else answer


def test_calls_that_cannot_be_listed_are_named_as_missing(
    history: History, at: TrackerAt, sandbox: Sandbox
) -> None:
    history.tracked(on(YESTERDAY), CLAUDE, "2", name="my/alias")
    history.done()
    assert at(NOON, "reconcile", "--json").data["partial"] is False
    sandbox.misbehave("/analytics/query", Fault.mutate(no_calls))
    ran = at(NOON, "reconcile", "--json")
    assert (ran.code, ran.data["partial"]) == (3, True)
    assert any("could not be listed" in gap["message"] for gap in ran.data["missing"])


@pytest.mark.parametrize("column", ["date__week", "date__hour", "when"])
def test_rows_of_no_day_or_of_days_not_asked_for_are_not_believed(
    history: History, at: TrackerAt, sandbox: Sandbox, column: str
) -> None:
    def renamed(answer: Any) -> Any:
        rows = [{(column if name == "date__day" else name): value for name, value in row.items()}
                for row in answer["data"]["data"]]  # fmt: skip
        for row in rows:
            row.update({column: "2001-01-01"} if column.startswith("date") and column in row else {})
        return {"data": {**answer["data"], "data": rows}}

    history.tracked(on(TODAY - 40 * DAY), GPT, "2")
    history.done()
    sandbox.misbehave("/analytics/query", Fault.mutate(renamed))
    ran = at(NOON, "reconcile", "--days", "60", "--json")
    assert (ran.code, ran.data["within_tolerance"]) == (5, None)
    assert ran.data["ledger_alone_usd"] == 0


def test_two_holds_of_one_call_count_it_once(history: History, at: TrackerAt) -> None:
    generation = history.unseen(on(YESTERDAY), GPT, "0.4")
    for name in "ab":
        history.lines.append(hold(name, on(YESTERDAY).isoformat(), "0.5", generation=generation))
    history.done()
    assert codes(at(NOON, "reconcile", "--json"))["unsettled"] == Decimal("0.4")


def test_a_call_that_two_models_answered_is_one_call(history: History, at: TrackerAt) -> None:
    first = history.billed(on(YESTERDAY), GPT, "1")
    history.billed(on(YESTERDAY), CLAUDE, "2")
    history.account.activity[-1].generation_id = first
    history.unseen(on(YESTERDAY), GEMINI, "0.001")
    history.booked(on(YESTERDAY), GPT, "3", id=first)
    history.done()
    ran = at(NOON, "reconcile", "--json")
    assert (ran.data["attributed_usd"], ran.data["ledger_alone_usd"]) == (3, 0)


def test_money_that_was_given_back_is_no_call_of_the_ledger(history: History, at: TrackerAt) -> None:
    history.billed(on(YESTERDAY), GPT, "-0.5")
    ran = at(NOON, "reconcile", "--json")
    assert (ran.data["unexplained_usd"], ran.data["ledger_alone_usd"]) == (Decimal("-0.5"), 0)
    assert ran.code == 3


def test_two_keys_of_one_name_are_said_not_to_be_told_apart(history: History, at: TrackerAt) -> None:
    key_named(history.account, "ci-bot").name = "agent"
    history.unseen(on(YESTERDAY), GPT, "5", key=OTHER_KEY)
    ran = at(NOON, "reconcile")
    assert "2 keys are named agent" in ran.out


def test_the_age_of_kept_figures_and_a_wrong_clock_are_told(history: History, at: TrackerAt, sandbox: Sandbox) -> None:
    history.account.analytics_cached_at = NOON - timedelta(hours=11)
    sandbox.misbehave("/analytics/query", Fault.headers({"Date": "Sun, 22 Nov 2026 11:00:00 GMT"}))
    assert "are from 2026-11-22 01:00 UTC" in at(NOON, "reconcile").out


def test_without_a_management_key_unknown_costs_and_holds_are_named(history: History, at: TrackerAt) -> None:
    history.booked(on(TODAY, "09:00:00"), GPT, None)
    history.lines.append(hold("open", on(TODAY, "09:00:00").isoformat(), "0.7"))
    history.done()
    out = at(NOON, "reconcile", env=ALONE).out
    assert "1 call of unknown cost in the ledger: not in its sum" in out
    assert "1 call running or unsettled" in out


def test_a_refused_management_key_is_an_error(at: TrackerAt, tracker: Tracker) -> None:
    ran = at(NOON, "reconcile", env={"OPENROUTER_MGMT_KEY": INFERENCE_KEY})
    assert ran.code == 4
    assert "management key" in ran.err


def test_without_any_answer_the_exit_code_says_so(tracker: Tracker) -> None:
    ran = tracker("reconcile", "--timeout", "2", env={"OPENROUTER_BASE_URL": "http://127.0.0.1:9"})
    assert ran.code == 5


def cut_short(answer: Any) -> Any:
    return {"data": {**answer["data"], "metadata": {**answer["data"]["metadata"], "truncated": True}}}


def test_a_cut_answer_is_partial(history: History, at: TrackerAt, sandbox: Sandbox) -> None:
    history.tracked(on(TODAY, "08:00:00"), GPT, "0.5")
    history.done()
    sandbox.misbehave("/analytics/query", Fault.mutate(cut_short))
    ran = at(NOON, "reconcile", "--json")
    assert ran.data["partial"]
    assert "truncated" in {gap["code"] for gap in ran.data["missing"]}


# -- with an inference key alone -------------------------------------------------------------------------------------

ALONE = {"OPENROUTER_MGMT_KEY": None}


def test_with_an_inference_key_its_own_counters_are_compared(history: History, at: TrackerAt) -> None:
    key = key_named(history.account, "agent")
    key.usage_daily, key.usage_weekly, key.usage_monthly = Decimal("0.5"), Decimal("2"), Decimal("30")
    history.booked(on(TODAY, "09:00:00"), GPT, "0.5")
    history.booked(on(YESTERDAY), GPT, "0.5")
    history.done()
    ran = at(NOON, "reconcile", "--json", env=ALONE)
    assert (ran.code, ran.data["scope"]) == (3, "key")
    assert (ran.data["attributed_usd"], ran.data["unexplained_usd"]) == (1, 1)
    assert [window["difference_usd"] for window in ran.data["windows"]] == [0, 1, 29]
    assert at(NOON, "reconcile", "--days", "1", env=ALONE).code == 0
    assert "Attributed 3.3% of $30.00" in at(NOON, "reconcile", "--days", "30", env=ALONE).out


def test_without_a_management_key_no_other_span_can_be_compared(at: TrackerAt) -> None:
    ran = at(NOON, "reconcile", "--since", "2026-11-20", env=ALONE)
    assert ran.code == 2
    assert "OPENROUTER_MGMT_KEY" in ran.err


def test_a_management_key_in_the_place_of_the_ordinary_one_is_used_as_what_it_is(
    history: History, at: TrackerAt
) -> None:
    history.tracked(on(YESTERDAY), GPT, "0.5")
    history.done()
    ran = at(NOON, "reconcile", "--json", env={"OPENROUTER_API_KEY": MANAGEMENT_KEY, "OPENROUTER_MGMT_KEY": None})
    assert (ran.code, ran.data["scope"], ran.data["attributed_usd"]) == (0, "account", Decimal("0.5"))
