"""Every figure of the summary is the account's own, to the last digit, on every face."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests import oracle
from tests.running import Ran, Stats, StatsAt
from tests.sandbox import (
    DEMO_KEY,
    DEMO_MGMT_KEY,
    INFERENCE_KEY,
    MANAGEMENT_KEY,
    MISSING,
    Account,
    ActivityRow,
    ApiKey,
    Budget,
    Fault,
    Raw,
    Sandbox,
    demo_account,
)

UTC = timezone.utc
NOW = datetime(2026, 11, 22, 15, 30, tzinfo=UTC)  # a Sunday
UNDATED = Fault.headers({"Date": ""})  # the sandbox's clock stands still, and the summary would remark on it
UNLOCK = "set OPENROUTER_MGMT_KEY to a management key (openrouter.ai/settings/management-keys)"
NO_BALANCE = f"balance unknown: OpenRouter tells it to management keys only; {UNLOCK}"
NO_MODELS = f"no spend by model: {UNLOCK}"
ZEROS = "balance unknown: OpenRouter answers 0 of 0 to this key, which need not be true"
FACES = (("--format", "text"), ("--format", "csv"), ("--format", "markdown"), ("--format", "line"))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Account.simple(now=lambda: NOW)) as running:
        running.misbehave("*", UNDATED)
        yield running


def spend(account: Account) -> None:
    """A key with counters, and a week of rows whose amounts have many digits."""
    key = account.keys[0]
    key.usage, key.usage_daily = Decimal("1234.567890123456789"), Decimal("0.1")
    key.usage_weekly, key.usage_monthly = Decimal("0.30000000000000004"), Decimal("99.995")
    account.total_credits, account.total_usage = Decimal("600"), Decimal("598.0987654321")
    slugs = ["openai/gpt-5.2", "anthropic/claude-sonnet-4.5", "google/gemini-3-flash", "a/one", "b/two", "c/three"]
    for days_ago in range(10):
        for number, slug in enumerate(slugs, 1):
            account.add_activity(
                slug,
                days_ago=days_ago,
                provider_name=("OpenAI", "Azure")[number % 2],
                usage=Decimal("0.100000000000000001") * number * (days_ago + 1),
                requests=number,
                prompt_tokens=100 * number,
                completion_tokens=10 * number,
                reasoning_tokens=3 * number,
                cached_tokens=7 * number,
            )


@dataclass(frozen=True)
class Case:
    """An account, the keys that are given, and what is expected beyond what the books say."""

    name: str
    prepare: Callable[[Sandbox], Any] = lambda sandbox: None
    key: str | None = INFERENCE_KEY
    mgmt: str | None = None
    notes: tuple[str, ...] = ()
    changed: Callable[[Account], dict[str, Any]] = lambda account: {}
    text: tuple[str, ...] = ()

    def managed(self, account: Account) -> bool:
        """True when one of the keys is a management key."""
        return self.mgmt is not None or bool(self.key and asked(account, self.key).is_management_key)


def asked(account: Account, secret: str) -> ApiKey:
    found = account.key(secret)
    assert found is not None
    return found


def key_of(sandbox: Sandbox) -> ApiKey:
    return sandbox.account.keys[0]


def setting(**fields: Any) -> Callable[[Sandbox], None]:
    """Gives the inference key these fields."""

    def prepare(sandbox: Sandbox) -> None:
        key = key_of(sandbox)
        for name, value in fields.items():
            setattr(key, name, value)
        if key.limit is not None and "limit_remaining" not in fields:
            key.limit_remaining = key.limit - key.spent_in_window()

    return prepare


def account_with(**fields: Any) -> Callable[[Sandbox], None]:
    """Gives the account these fields."""
    return lambda sandbox: [setattr(sandbox.account, name, value) for name, value in fields.items()]  # type: ignore[return-value]


def byok_rows(sandbox: Sandbox) -> None:
    key = key_of(sandbox)
    key.byok_usage_daily, key.byok_usage_weekly, key.byok_usage_monthly = Decimal("0.6"), Decimal("4.2"), Decimal(7)
    for days_ago in range(4):
        paid = {"byok_usage_inference": Decimal("12.3456789"), "usage": Decimal("0.05") * days_ago}
        sandbox.account.add_activity("x-ai/grok-5", days_ago=days_ago, requests=3, **paid)


def free_rows(sandbox: Sandbox) -> None:
    for days_ago in (0, 1, 2):
        sandbox.account.add_activity("meta-llama/llama-3.3-70b-instruct:free", days_ago=days_ago, requests=50)


def no_rows(sandbox: Sandbox) -> None:
    sandbox.account.activity.clear()
    sandbox.account.today_rows.clear()


def tiny_rows(sandbox: Sandbox) -> None:
    no_rows(sandbox)
    key_of(sandbox).usage_daily = Decimal("1e-12")
    for days_ago in range(1, 8):
        sandbox.account.add_activity("a/tiny", days_ago=days_ago, usage=Decimal("1e-12"))
        sandbox.account.add_activity("b/huge", days_ago=days_ago, usage=Decimal("100000000"))
        sandbox.account.add_activity("c/just-seen", days_ago=days_ago, usage=Decimal("0.0000001"))


def tighter_budget(sandbox: Sandbox) -> None:
    setting(limit=Decimal(500), limit_reset="monthly")(sandbox)
    sandbox.account.budgets.append(Budget("workspace", Decimal(10), Decimal("9.999"), "weekly"))


def lapsed_budget(sandbox: Sandbox) -> None:
    sandbox.account.budgets.append(Budget("member", Decimal(10), Decimal("10.5"), None))


def spoiled(change: Callable[[Any], Any]) -> Callable[[Sandbox], None]:
    """Rewrites every answer of the sandbox."""
    return lambda sandbox: sandbox.misbehave("*", Fault.mutate(change) & UNDATED)


def numbers_as(write: Callable[[Decimal | int], Any]) -> Callable[[Any], Any]:
    """Rewrites every number of an answer."""

    def change(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: change(item) for name, item in value.items()}
        if isinstance(value, list):
            return [change(item) for item in value]
        return value if isinstance(value, bool) or not isinstance(value, (int, Decimal)) else write(value)

    return change


def with_news(value: Any) -> Any:
    """Puts fields into every object that nobody knows yet."""
    if isinstance(value, dict):
        news = {"brand_new": {"deep": [1, None, "x"]}, "usage_hourly": Decimal("77.7"), "status": "QUANTUM"}
        return news | {name: with_news(item) for name, item in value.items()}
    return [with_news(item) for item in value] if isinstance(value, list) else value


def budget_data(**fields: Any) -> Callable[[Account], dict[str, Any]]:
    """The expectation about a tighter budget that binds."""
    shown = {"unlimited": False, "reset": None, "resets_at": None, **fields}
    left = max(Decimal(0), shown["remaining_usd"])
    return lambda account: {"tighter_budget": shown, "spendable_usd": left, "spendable_bound_by": "budget"}


def nothing_known(account: Account) -> dict[str, Any]:
    return {"balance": None, "spendable_usd": None, "spendable_bound_by": None}


def free_quota_line(account: Account) -> dict[str, Any]:
    return {"free_models_today": {"used": 1_007, "limit": 1_000}}


MGMT = {"mgmt": MANAGEMENT_KEY}
CASES = [
    Case("an inference key alone", notes=(NO_BALANCE, NO_MODELS)),
    Case("both keys", **MGMT),
    Case("a management key alone", key=None, **MGMT),
    Case("a management key in the place of the inference key", key=MANAGEMENT_KEY),
    Case("the management key in both places", key=MANAGEMENT_KEY, **MGMT),
    Case(
        "credits of 0 and 0 for an inference key",
        account_with(credits_for_inference_key="zeros"),
        notes=(f"{ZEROS}; {UNLOCK}", NO_MODELS),
    ),
    Case(
        "credits of 0 and 0 for a management key of an account that has spent",
        account_with(total_credits=Decimal(0), total_usage=Decimal(0)),
        notes=(ZEROS,),
        changed=nothing_known,
        **MGMT,
    ),
    Case(
        "an account that pays by invoice",
        account_with(total_credits=Decimal(0), total_usage=Decimal("12.5")),
        notes=("no prepaid balance: the account has used $12.50 and bought no credits (it may be invoiced)",),
        changed=nothing_known,
        **MGMT,
    ),
    Case(
        "real credits for an inference key",
        account_with(credits_for_inference_key="real"),
        notes=(NO_MODELS,),
    ),
    Case("an overdrawn account", account_with(total_usage=Decimal("600.5")), **MGMT),
    Case("a key without a limit", setting(limit=None), **MGMT),
    Case("a limit that is smaller than the balance", setting(limit=Decimal("1235")), **MGMT),
    Case("an exhausted key", setting(limit=Decimal(1), limit_remaining=Decimal("-0.25"), limit_reset="daily"), **MGMT),
    Case(
        "an exhausted key whose balance is unknown",
        setting(limit=Decimal(1), limit_remaining=Decimal("-0.25"), limit_reset="daily"),
        notes=(NO_BALANCE, NO_MODELS),
    ),
    Case("a key that is spent to the cent", setting(limit=Decimal(1), limit_remaining=Decimal(0)), **MGMT),
    Case(
        "a resetting key that has spent more than its limit in its life",
        setting(limit=Decimal(500), limit_reset="monthly", usage=Decimal("571.32")),
        **MGMT,
    ),
    Case("a weekly limit", setting(limit=Decimal(5), limit_reset="weekly"), **MGMT),
    Case("BYOK beside credits", byok_rows, **MGMT),
    Case("BYOK of a management key", byok_rows, key=None, **MGMT),
    Case("free models", free_rows, **MGMT),
    Case("no activity at all", no_rows, **MGMT),
    Case("no activity at all for a management key", no_rows, key=None, **MGMT),
    Case("short dates", account_with(activity_date_style="short"), **MGMT),
    Case("rows of the running day", account_with(activity_includes_today=True), **MGMT),
    Case("rows of the running day for a management key", account_with(activity_includes_today=True), key=None, **MGMT),
    Case(
        "a key that expires soon",
        setting(expires_at=NOW + timedelta(days=3)),
        text=("⚠ Key expires 2026-11-25 15:30 UTC",),
        **MGMT,
    ),
    Case("a key that expires some day", setting(expires_at=NOW + timedelta(days=8)), **MGMT),
    Case(
        "free requests that are used up",
        account_with(free_requests_used=1_007),
        changed=free_quota_line,
        text=("Free models: 1,007 of 1,000 requests used today (UTC)",),
        **MGMT,
    ),
    Case(
        "a workspace budget that is tighter than the limit",
        tighter_budget,
        changed=budget_data(
            scope="workspace",
            limit_usd=Decimal(10),
            remaining_usd=Decimal("0.001"),
            reset="weekly",
            resets_at="2026-11-23T00:00:00Z",
        ),
        **MGMT,
    ),
    Case(
        "a lifetime budget that is overspent",
        lapsed_budget,
        changed=budget_data(scope="member", limit_usd=Decimal(10), remaining_usd=Decimal("-0.5")),
        **MGMT,
    ),
    Case("a limit that resets in an unknown way", setting(limit=Decimal(2000), limit_reset="fortnightly"), **MGMT),
    Case("fields and values nobody knows yet", spoiled(with_news), **MGMT),
    Case("fields nobody knows yet, for a management key", spoiled(with_news), key=None, **MGMT),
    Case("an OpenRouter without its newest fields", account_with(newest_key_fields=False), **MGMT),
    Case("numbers as strings", spoiled(numbers_as(oracle.plain)), **MGMT),
    Case("numbers as strings for a management key", spoiled(numbers_as(oracle.plain)), key=None, **MGMT),
    Case("scientific notation", spoiled(numbers_as(lambda n: Raw(f"{Decimal(n):E}"))), **MGMT),
    Case(
        "needless zeros", spoiled(numbers_as(lambda n: Raw(f"{Decimal(n):f}.000"[:40] if n == int(n) else n))), **MGMT
    ),
    Case("tiny and huge amounts", tiny_rows, **MGMT),
]


def check(ran: Ran, expected: dict[str, Any], notes: tuple[str, ...]) -> None:
    """The envelope holds exactly the expected data and notes."""
    assert (ran.code, ran.err) == (0, "")
    assert ran.json["error"] is None
    for name, value in expected.items():
        assert ran.data[name] == value, name
    # Forecasts have an oracle of their own, in test_explain.
    assert ran.data.keys() - expected.keys() == {"zone_today", "forecast", "explanation"}
    assert (ran.data["zone_today"], ran.data["explanation"]) == (None, [])
    assert tuple(ran.json["notes"]) == notes


def check_faces(run: Callable[..., Ran], expected: dict[str, Any]) -> list[str]:
    """Text, CSV, Markdown and line say what the JSON says; gives the lines of the text."""
    text, table, markdown, line = (run(*face) for face in FACES)
    shown = text.out.splitlines()
    assert [row for row in shown if row.startswith(("Today", "Balance", "Key limit", "Budget", "•", "..."))] == (
        oracle.text_figures(expected)
    )
    assert oracle.read_csv(table.out) == oracle.table_rows(expected)
    assert oracle.read_markdown(markdown.out) == oracle.table_rows(expected)
    assert line.out == oracle.line_face(expected)
    return shown


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_face_shows_the_figures_of_the_account(case: Case, sandbox: Sandbox, stats_at: StatsAt) -> None:
    spend(sandbox.account)
    case.prepare(sandbox)
    account, keys = sandbox.account, {"key": case.key, "mgmt": case.mgmt}
    secret = case.key or case.mgmt or ""
    expected = oracle.summary(account, asked(account, secret), managed=case.managed(account)) | case.changed(account)
    check(stats_at(NOW, "--json", **keys), expected, case.notes)
    lines = check_faces(lambda *face: stats_at(NOW, *face, "--max-age", "60", **keys), expected)
    for line in case.text:
        assert line in lines
    assert [line for line in lines if line.startswith("ℹ")] == [f"ℹ {note}" for note in case.notes]
    assert any("Key expires" in line for line in lines) == any("Key expires" in line for line in case.text)
    assert any("Free models" in line for line in lines) == any("Free models" in line for line in case.text)


@pytest.mark.parametrize("face", [(), *FACES], ids=lambda face: "-".join(face))
def test_a_process_of_its_own_shows_the_same(face: tuple[str, ...], sandbox: Sandbox, stats: Stats) -> None:
    sandbox.account = demo_account()
    ran = stats(*face, key=DEMO_KEY, mgmt=DEMO_MGMT_KEY)
    assert ran.code == 0
    for figure in ("4.55", "45.46"):
        assert figure in ran.out
    if "line" not in face:
        for amount in sandbox.account.truth.by_model().values():
            known = oracle.plain(amount) in ran.out or oracle.dollars(amount) in ran.out
            assert known or amount < Decimal("0.31")  # the ones below the first five are summed up as "more"


@pytest.mark.parametrize("by", ["model", "provider", "day"])
@pytest.mark.parametrize("top", [None, 0, 1, 3, 10_000])
def test_rows_and_more_add_up_to_the_total(by: str, top: int | None, sandbox: Sandbox, stats_at: StatsAt) -> None:
    spend(sandbox.account)
    byok_rows(sandbox)
    sandbox.account.add_activity("old/model", days_ago=7, usage=Decimal("0.7"))
    sandbox.account.add_activity("older/model", days_ago=8, usage=Decimal("0.9"))
    cut = () if top is None else ("--top", str(top))
    ran = stats_at(NOW, "--json", "--by", by, *cut, mgmt=MANAGEMENT_KEY)
    found = ran.data["breakdown"]
    assert found == oracle.breakdown(sandbox.account, by=by, top=top)
    for name in oracle.SUMS:
        assert sum(row[name] for row in found["rows"]) + found["more"][name] == found["total"][name]
    expected = ran.data | {"breakdown": oracle.breakdown(sandbox.account, by=by, top=top)}
    options = ("--by", by, *cut, "--max-age", "60")
    check_faces(lambda *face: stats_at(NOW, *face, *options, mgmt=MANAGEMENT_KEY), expected)


@pytest.mark.parametrize("rows", [6_000, pytest.param(50_000, marks=pytest.mark.storm)])
def test_thousands_of_rows_add_up(rows: int, sandbox: Sandbox, stats_at: StatsAt) -> None:
    account = sandbox.account
    for number in range(rows):
        fields = {"usage": Decimal(number) * Decimal("1e-9"), "requests": number % 7, "prompt_tokens": number}
        day = NOW.date() - timedelta(days=1 + number % 30)
        account.activity.append(ActivityRow(day, f"maker/model-{number // 30}", endpoint_id="e", **fields))
    month = ("--json", "--days", "31", "--timeout", "300")
    found = stats_at(NOW, *month, "--top", "10000", mgmt=MANAGEMENT_KEY).data["breakdown"]
    assert len(found["rows"]) == -(-rows // 30)
    assert found["total"]["usage_usd"] == sum(range(rows)) * Decimal("1e-9") == account.truth.total(30)
    assert found["rows"] == oracle.breakdown(account, days=30, top=10_000)["rows"]
    warm = stats_at(NOW, *month, "--by", "day", "--max-age", "60", mgmt=MANAGEMENT_KEY).data["breakdown"]
    today, *completed = warm["rows"]
    assert (today["name"], today["usage_usd"]) == (NOW.date().isoformat(), 0)
    assert completed == oracle.breakdown(account, days=30, by="day")["rows"]
    assert sandbox.calls("/activity") == 1


@pytest.mark.parametrize("name", ["usage_daily", "usage_weekly", "usage_monthly"])
@pytest.mark.parametrize("value", [MISSING, None], ids=["missing", "null"])
def test_a_counter_that_is_not_told_is_unknown_and_not_zero(
    name: str, value: Any, sandbox: Sandbox, stats_at: StatsAt
) -> None:
    key = key_of(sandbox)
    key.usage = Decimal(5)
    key.overrides = {name: value}
    window = {"usage_daily": "today", "usage_weekly": "week", "usage_monthly": "month"}[name]
    ran = stats_at(NOW, "--json")
    assert ran.data[window]["usage_usd"] is None
    text = stats_at(NOW, "--max-age", "60").out
    assert f"{window.capitalize()}: unknown" in text
    assert ("live totals" in text) == (window != "today")
    assert [row["usage_usd"] for row in oracle.read_csv(stats_at(NOW, "--format", "csv").out)].count("") >= 1
    assert f" {window}" not in stats_at(NOW, "--line").out


def test_a_limit_whose_rest_is_not_told_is_said_so(sandbox: Sandbox, stats_at: StatsAt) -> None:
    key_of(sandbox).overrides = {"limit": 30, "limit_remaining": None, "limit_reset": "daily"}
    ran = stats_at(NOW, mgmt=MANAGEMENT_KEY)
    assert "Key limit: $30.00 (what is left is unknown; daily, resets 2026-11-23 UTC)\n" in ran.out
    assert oracle.MARK not in ran.out


def test_an_answer_without_a_limit_says_nothing_of_one(sandbox: Sandbox, stats_at: StatsAt) -> None:
    key_of(sandbox).overrides = {"limit": MISSING, "limit_remaining": MISSING}
    ran = stats_at(NOW, "--json", mgmt=MANAGEMENT_KEY)
    assert ran.data["key_limit"] is None
    assert ran.data["spendable_usd"] is None
    assert "Key limit" not in stats_at(NOW, mgmt=MANAGEMENT_KEY).out


@pytest.mark.parametrize("shape", [[], "x", {}, {"limit_usd": "much", "remaining_usd": 1}, {"limit_usd": 5}, None])
def test_a_budget_of_unknown_shape_is_left_out(shape: Any, sandbox: Sandbox, stats_at: StatsAt) -> None:
    spend(sandbox.account)
    key_of(sandbox).overrides = {"effective_budget": shape, "free_model_daily_requests": shape}
    ran = stats_at(NOW, "--json", mgmt=MANAGEMENT_KEY)
    check(ran, oracle.summary(sandbox.account, key_of(sandbox), managed=True), ())


@pytest.mark.parametrize("moment", ["soon", "", 17, "2026-13-45T99:00:00Z", "0000-00-00", "9999-12-31T23:59:59-23:59"])
def test_an_unreadable_expiry_is_left_out(moment: Any, sandbox: Sandbox, stats_at: StatsAt) -> None:
    key_of(sandbox).overrides = {"expires_at": moment}
    ran = stats_at(NOW, "--json")
    assert (ran.code, ran.data["expires_at"]) == (0, None)


def test_an_expiry_with_an_offset_is_converted(sandbox: Sandbox, stats_at: StatsAt) -> None:
    key_of(sandbox).overrides = {"expires_at": "2026-11-25T08:30:00.5+09:00"}
    assert stats_at(NOW, "--json").data["expires_at"] == "2026-11-24T23:30:00Z"


def test_todays_spend_that_was_cut_short_is_missing_and_not_too_small(sandbox: Sandbox, stats_at: StatsAt) -> None:
    spend(sandbox.account)

    def cut(answer: Any) -> None:
        answer["data"]["metadata"]["truncated"] = True

    sandbox.misbehave("/analytics/query", Fault.mutate(cut) & UNDATED)
    ran = stats_at(NOW, "--json", key=None, mgmt=MANAGEMENT_KEY)
    assert [ran.data[name]["usage_usd"] for name in ("today", "week", "month")] == [None] * 3
    assert ran.data["partial"] is True
    assert [(gap["part"], gap["code"]) for gap in ran.data["missing"]] == [("today", "truncated")]
    assert ran.data["breakdown"] == oracle.breakdown(sandbox.account)
    text = stats_at(NOW, "--max-age", "60", key=None, mgmt=MANAGEMENT_KEY).out
    assert "⚠ Today's account spend unavailable: OpenRouter cut its answer short\n" in text


# -- the calendar --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "week", "month", "resets"),
    [
        # a Monday, in its first and its last moment
        ("2026-11-16T00:00:00", "2026-11-16", "2026-11-01", ("2026-11-17", "2026-11-23", "2026-12-01")),
        ("2026-11-16T23:59:59.999999", "2026-11-16", "2026-11-01", ("2026-11-17", "2026-11-23", "2026-12-01")),
        # the last moment of a Sunday
        ("2026-11-22T23:59:59.999999", "2026-11-16", "2026-11-01", ("2026-11-23", "2026-11-23", "2026-12-01")),
        # the 1st, whose week began in the month before, and the 31st
        ("2026-12-01T00:00:00", "2026-11-30", "2026-12-01", ("2026-12-02", "2026-12-07", "2027-01-01")),
        ("2026-10-31T12:00:00", "2026-10-26", "2026-10-01", ("2026-11-01", "2026-11-02", "2026-11-01")),
        ("2026-08-31T23:59:59", "2026-08-31", "2026-08-01", ("2026-09-01", "2026-09-07", "2026-09-01")),
        # February
        ("2026-02-28T08:00:00", "2026-02-23", "2026-02-01", ("2026-03-01", "2026-03-02", "2026-03-01")),
        ("2028-02-28T08:00:00", "2028-02-28", "2028-02-01", ("2028-02-29", "2028-03-06", "2028-03-01")),
        ("2028-02-29T23:59:59", "2028-02-28", "2028-02-01", ("2028-03-01", "2028-03-06", "2028-03-01")),
        ("2027-03-01T00:00:00", "2027-03-01", "2027-03-01", ("2027-03-02", "2027-03-08", "2027-04-01")),
        # the turn of the year
        ("2026-12-31T23:59:59", "2026-12-28", "2026-12-01", ("2027-01-01", "2027-01-04", "2027-01-01")),
        ("2027-01-01T00:00:00", "2026-12-28", "2027-01-01", ("2027-01-02", "2027-01-04", "2027-02-01")),
    ],
)
def test_windows_are_utc_days_weeks_from_monday_and_calendar_months(
    now: str, week: str, month: str, resets: tuple[str, str, str], sandbox: Sandbox, stats_at: StatsAt
) -> None:
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    account = sandbox.account
    account.now = lambda: moment
    for days_ago in range(31):  # no two sums of these amounts are the same
        account.add_activity("any/model", days_ago=days_ago, usage=Decimal(2) ** days_ago * Decimal("1e-9"))
    data = stats_at(moment, "--json", key=None, mgmt=MANAGEMENT_KEY).data
    starts = {"today": now[:10], "week": week, "month": month}
    for (name, start), end in zip(starts.items(), resets, strict=True):
        assert (data[name]["start"], data[name]["end"]) == (f"{start}T00:00:00Z", f"{end}T00:00:00Z")
        days = (moment.date() - date.fromisoformat(start)).days + 1
        assert data[name]["usage_usd"] == sum(Decimal(2) ** n for n in range(days)) * Decimal("1e-9")
    for reset, end in zip(("daily", "weekly", "monthly"), resets, strict=True):
        setting(limit=Decimal(9), limit_remaining=Decimal(5), limit_reset=reset)(sandbox)
        assert f"$5.00 left of $9.00 ({reset}, resets {end} UTC)" in stats_at(moment).out


@pytest.mark.parametrize(
    "zone",
    [
        "Europe/Amsterdam",
        "America/New_York",
        "Asia/Kathmandu",
        "NPT-5:45",
        "Mars/Phobos",
        "",
        "CET-1CEST,M3.5.0,M10.5.0/3",
    ],
)
@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25", "2026-11-01", "2026-11-22"])
def test_the_local_time_zone_moves_no_window(
    zone: str, day: str, sandbox: Sandbox, stats_at: StatsAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    spend(sandbox.account)
    moment = datetime.fromisoformat(f"{day}T12:00:00+00:00")
    sandbox.account.now = lambda: moment
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        ran = stats_at(moment, "--json", mgmt=MANAGEMENT_KEY)
    finally:
        monkeypatch.undo()
        time.tzset()
    check(ran, oracle.summary(sandbox.account, key_of(sandbox), managed=True), ())


@pytest.mark.parametrize(
    ("zone", "now", "local"),
    [
        ("NPT-5:45", "2026-11-22T18:15:00", "2026-11-23"),
        ("NPT-5:45", "2026-11-22T18:14:59", None),
        ("EST5", "2026-11-22T04:59:59", "2026-11-21"),
        ("EST5", "2026-11-22T05:00:00", None),
        ("UTC", "2026-11-22T23:59:59", None),
    ],
)
def test_today_is_named_when_it_is_another_day_where_the_user_is(
    zone: str, now: str, local: str | None, stats_at: StatsAt, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        ran = stats_at(datetime.fromisoformat(now).replace(tzinfo=UTC), mgmt=MANAGEMENT_KEY)
    finally:
        monkeypatch.undo()
        time.tzset()
    said = f"ℹ Today is OpenRouter's UTC day 2026-11-22; where you are it is {local}\n"
    assert (said in ran.out) == bool(local)
    assert ("where you are" in ran.out) == bool(local)


@pytest.mark.parametrize(
    ("offset_s", "said"),
    [(300, "5 min behind OpenRouter's"), (-300, "5 min ahead of OpenRouter's"), (60, ""), (-60, "")],
)
def test_a_clock_that_is_minutes_off_is_told(offset_s: int, said: str, sandbox: Sandbox, stats: Stats) -> None:
    sandbox.behave()
    sandbox.account.now = lambda: datetime.now(UTC) + timedelta(seconds=offset_s)
    ran = stats()
    assert ran.code == 0
    assert ("computer's clock" in ran.out) == bool(said)
    assert said in ran.out


# -- whole pages ---------------------------------------------------------------------------------------------------


def page_both(sandbox: Sandbox) -> dict[str, str | None]:
    sandbox.account = demo_account(NOW)
    return {"key": DEMO_KEY, "mgmt": DEMO_MGMT_KEY}


def page_inference(sandbox: Sandbox) -> dict[str, str | None]:
    return page_both(sandbox) | {"mgmt": None}


def page_management(sandbox: Sandbox) -> dict[str, str | None]:
    return page_both(sandbox) | {"key": None}


def page_partial(sandbox: Sandbox) -> dict[str, str | None]:
    keys = page_both(sandbox)
    sandbox.misbehave("/activity", Fault.status(403, message="Only management keys can fetch activity") & UNDATED)
    sandbox.misbehave("/credits", Fault.html(200) & UNDATED)
    return keys


@pytest.mark.parametrize(
    ("page", "prepare", "argv"),
    [
        ("both.txt", page_both, ()),
        ("both.json", page_both, ("--json",)),
        ("both.csv", page_both, ("--format", "csv")),
        ("both.md", page_both, ("--format", "markdown")),
        ("both.line", page_both, ("--line",)),
        ("by-provider.txt", page_both, ("--by", "provider", "--top", "3", "--days", "30")),
        ("by-day.md", page_both, ("--by", "day", "--format", "markdown")),
        ("inference.txt", page_inference, ()),
        ("inference.md", page_inference, ("--format", "markdown")),
        ("management.txt", page_management, ()),
        ("partial.txt", page_partial, ()),
        ("partial.json", page_partial, ("--json",)),
        ("partial.csv", page_partial, ("--format", "csv")),
        ("partial.line", page_partial, ("--line",)),
    ],
)
def test_a_whole_page_reads_like_its_golden_file(
    page: str,
    prepare: Callable[[Sandbox], dict[str, str | None]],
    argv: tuple[str, ...],
    sandbox: Sandbox,
    stats_at: StatsAt,
    golden: Callable[[str, str], None],
) -> None:
    ran = stats_at(NOW, *argv, **prepare(sandbox))
    assert (ran.code, ran.err) == (0, "")
    golden(f"summary-{page}", ran.out)


def test_every_golden_file_is_used() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    pages = {path.name for path in (Path(__file__).parent / "golden").glob("summary-*")}
    assert pages
    # A name stands in a test as it is, without its "summary-", or in two pieces.
    known = (lambda name: name, lambda name: name.removeprefix("summary-"), lambda name: name.partition(".")[0] + ".{")
    assert [name for name in sorted(pages) if not any(written(name) in tests for written in known)] == []
