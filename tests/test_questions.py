"""The questions that people ask: one command answers each in its first three lines, with what is true of the account."""

from __future__ import annotations

import os
import re
import shlex
import sys
from datetime import timedelta
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from openrouter_usage.entry import NOTHING
from openrouter_usage.ledger.cross import Call
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.money import format_usd
from openrouter_usage.period import Period, find_zone, parse_moment
from openrouter_usage.vocabulary import LEDGER_NAMES, TIMES, Filter, before, days_of_word, joined
from release.skill import write_skill
from tests import evals
from tests.booking import NOON, TrackerAt, call
from tests.sandbox import DEMO_KEY, DEMO_MGMT_KEY, Sandbox, demo_account
from tests.sandbox.webhook import Webhook
from tests.skill_rules import arguments, split

QUESTIONS: list[dict[str, Any]] = evals.load("questions.json")
MOST_LINES, MOST_LETTERS = 3, 1_000  # a token is about four letters


def books(today: Any) -> bytes:
    """Calls of today by two clients, the first with a cache, and one of last month."""
    last_month = today.replace(day=1) - timedelta(days=1)
    gateway = {"session": "refactor", "tags": {"client": "claude-code"}, "provider": "Anthropic"}
    cached = {"prompt_tokens": 9_000, "cached_tokens": 6_000, "cache_discount": "0.45"}
    lines = [
        call(f"{today}T00:00:0{number}Z", "anthropic/claude-sonnet-4.5", "1.5", id=f"gen-{number}", **gateway, **cached)
        for number in (1, 2)
    ]
    lines.append(call(f"{today}T00:00:03Z", "openai/gpt-5.2", "0.25", id="gen-3", tags={"client": "codex"}))
    lines.append(call(f"{last_month}T12:00:00Z", "openai/gpt-5.2", "2", id="gen-4"))
    return b"".join(lines)


def truths(account: Any) -> dict[str, str]:
    """What the account has really spent, as the answers write it."""
    today = account.today()

    def spent(first: Any, last: Any) -> dict[str, Decimal]:
        sums: dict[str, Decimal] = {}
        for row in account.rows():
            if first <= row.date <= last:
                sums[row.model] = sums.get(row.model, Decimal(0)) + row.usage
        return sums

    week, month = spent(today - timedelta(days=6), today), spent(today.replace(day=1), today)
    told = {"week_total": sum(week.values()), "month_total": sum(month.values())}
    yesterday = today - timedelta(days=1)
    told["yesterday"] = sum(spent(yesterday, yesterday).values())
    found = {name: re.escape(format_usd(amount)) for name, amount in told.items()}
    for name, sums in (("week_model", week), ("month_model", month)):
        dearest = max(sums, key=lambda model: sums[model])
        found[name] = re.escape(f"{dearest}: {format_usd(sums[dearest])}")
    found["last_month"] = str(today.replace(day=1) - timedelta(days=1))
    return found


def test_one_command_answers_each_question_in_its_first_lines(tmp_path: Path) -> None:
    """Each command is started once, from the skill alone, on one account and one ledger, in the order of the questions."""
    assert len(QUESTIONS) == 24
    skill = write_skill(tmp_path / "skills")
    account = demo_account()
    (tmp_path / ".openrouter").mkdir(mode=0o700)
    (tmp_path / ".openrouter" / "usage.jsonl").write_bytes(books(account.today()))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENROUTER_")}
    keys = {"OPENROUTER_API_KEY": DEMO_KEY, "OPENROUTER_MGMT_KEY": DEMO_MGMT_KEY}
    wrong = []
    with Sandbox(account) as sandbox, Webhook() as webhook:
        environment = {**kept, **keys, "HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "COLUMNS": "80"}
        environment |= {"OPENROUTER_BASE_URL": sandbox.url, "PYTHONIOENCODING": "utf-8"}
        told = truths(account) | {"webhook": webhook.slack_url}

        def filled(text: str) -> str:
            return re.sub(r"\{([a-z_]+)\}", lambda name: told[name[1]], text)

        def said(command: str) -> tuple[int, str]:
            program, *words = shlex.split(filled(command))
            script = skill / "scripts" / program
            return evals.said([sys.executable, str(script), *words], environment, str(tmp_path))

        for one in QUESTIONS:
            for command in one.get("before", []):
                said(command)
            code, printed = said(one["run"])
            answer = "\n".join(printed.splitlines()[:MOST_LINES])
            missing = [each for each in one["holds"] if not re.search(filled(each), answer, re.MULTILINE)]
            if code != one.get("exit_code", 0) or missing or len(answer) > MOST_LETTERS:
                wrong.append((one["question"], code, missing, printed[:600]))
    assert wrong == []


def test_skill_md_leads_to_every_one_of_the_commands() -> None:
    """The words that a user chooses, such as a name or an amount, may be others."""
    document = split((evals.ROOT / "SKILL.md").read_text(encoding="utf-8"))[1]
    for one in QUESTIONS:
        program, *words = shlex.split(one["run"])
        wanted = {word for word in words if word.startswith("--")} | set(words[:1] if program != "stats.py" else [])
        known = [set(run) for run in arguments(document, program)]
        assert any(wanted - set(one.get("or", [])) <= each for each in known), one["run"]


# -- every grouping and filter adds up -------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "b c", ""])
CALLS = st.lists(
    st.tuples(st.integers(0, 40 * 86_400), st.integers(0, 10**6), NAMES, NAMES, NAMES, NAMES, NAMES, st.integers(0, 8)),
    max_size=25,
)
GROUPINGS = (*LEDGER_NAMES, *TIMES)
PAIRS = (
    ("day", "model"), ("session", "model"), ("weekday", "hour"), ("client", "project"), ("month", "session"), ("hour", "tag"),
    ("model", "provider"), ("model", "client"),
)  # fmt: skip
WHERES = ((), (("model", "b*"),), (("session", "a"),), (("client", "B C"), ("provider", "")), (("tag", "project=a"),))
FIRST = parse_moment("2026-10-14T00:00:00Z")
# In each of some days, a call of every filter and one of none.
EACH = [
    (day * 86_400 + 3_600 * hour, 7 * number + day, *names, number)
    for day, hour in ((1, 0), (1, 9), (2, 23))
    for number, names in enumerate(
        [("b", "a", "a", "b c", "a"), ("a", "", "b", "b c", ""), ("b c", "b", "", "", "b"), ("", "", "", "", "a")]
    )
]


@settings(max_examples=5, deadline=None)
@given(CALLS, st.integers(0, 40 * 96), st.integers(1, 33 * 96), st.sampled_from(["UTC", "Asia/Kathmandu", "America/New_York"]))
@example(calls=EACH, start=0, length=4 * 96, zone_name="UTC")
def test_every_grouping_of_what_filters_take_is_the_sum_of_its_calls(
    tmp_path_factory: Any, calls: Any, start: int, length: int, zone_name: str
) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("cross") / "usage.jsonl")
    lines = []
    for second, cost, model, provider, session, client, project, identity in calls:
        tags = {name: value for name, value in (("client", client), ("project", project)) if value}
        named = {"provider": provider, "session": session, "tags": tags}
        # Few ids, so that some calls have further lines.
        more = {name: value for name, value in named.items() if value} | ({"id": f"gen-{identity}"} if identity else {})
        moment = (FIRST + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ")
        lines.append(call(moment, model or "m", f"0.{cost:06d}", **more))
    ledger.path.write_bytes(b"".join(lines))
    begin = FIRST + timedelta(minutes=15 * start + (start % 3) * 5)
    period, zone = Period(begin, begin + timedelta(minutes=15 * length), "some"), find_zone(zone_name)
    seen = []
    for entry in ledger.entries(period):
        at = entry.ts.astimezone(zone)
        seen.append((Call(at.date(), at.hour, entry.model, entry.provider, entry.session, entry.tags), entry.usage))
    for filters, parts in product(WHERES, [*((one,) for one in GROUPINGS), *PAIRS]):
        where = tuple(Filter(kind, (pattern,)) for kind, pattern in filters)
        found = ledger.totals(period, ",".join(parts), zone, where)
        expected: dict[str, Any] = {}
        for one, usage in seen:
            if all(one.is_asked(each) for each in where):
                name = joined(map(one.name, parts))
                expected[name] = expected.get(name, NOTHING) + usage
        assert (found.groups, found.total) == (expected, sum(expected.values(), NOTHING)), (parts, filters)
    ledger.close()


def test_a_period_may_be_named_in_words_and_the_one_before_it_is_of_its_kind() -> None:
    running = NOON.date()
    words = {
        "today": ("2026-11-22", "2026-11-22", "2026-11-21", "2026-11-21"),
        "week": ("2026-11-16", "2026-11-22", "2026-11-09", "2026-11-15"),
        "last-week": ("2026-11-09", "2026-11-15", "2026-11-02", "2026-11-08"),
        "last-month": ("2026-10-01", "2026-10-31", "2026-09-01", "2026-09-30"),
        "7d": ("2026-11-16", "2026-11-22", "2026-11-09", "2026-11-15"),
        "2w": ("2026-11-09", "2026-11-22", "2026-10-26", "2026-11-08"),
        "2024-02": ("2024-02-01", "2024-02-29", "2024-01-01", "2024-01-31"),
        "2025": ("2025-01-01", "2025-12-31", "2024-01-01", "2024-12-31"),
    }
    for word, expected in words.items():
        found = days_of_word(word, running)
        earlier = before(found, word)
        assert tuple(map(str, (*found, *earlier))) == expected, word


def test_weekdays_and_hours_stand_by_the_clock_and_are_all_shown(at: TrackerAt) -> None:
    at.tracker.write(*(call(f"2026-11-{16 + hour // 4:02}T{hour:02}:30:00Z", cost=f"{hour + 1}") for hour in range(24)))
    hours = [row["name"] for row in at(NOON, "stats", "--by", "hour", "--json").data["groups"]]
    assert hours == [f"{hour:02}:00" for hour in range(24)]
    pairs = at(NOON, "stats", "--by", "weekday,hour", "--json", "--top", "3").data
    assert [row["name"] for row in pairs["groups"]] == ["Saturday · 21:00", "Saturday · 22:00", "Saturday · 23:00"]
    text = at(NOON, "stats", "--by", "weekday").out
    assert text.index("  Monday") < text.index("  Tuesday") < text.index("  Saturday")


def test_help_of_an_unknown_command_is_an_error_with_a_suggestion(at: TrackerAt) -> None:
    ran = at(NOON, "help", "stast")
    assert (ran.code, ran.out, ran.error_line) == (2, "", "cost_tracker.py: unknown command: stast -- did you mean stats?\n")


def test_the_days_before_are_named_from_the_first_to_the_last_one(at: TrackerAt) -> None:
    at.tracker.write(call("2026-10-31T23:59:59Z", cost="1.5"), call("2026-09-30T23:59:59Z", cost="0.5"))
    ran = at(NOON, "stats", "--last-month", "--compare", "previous")
    assert "Before (2026-09-01 to 2026-09-30 UTC): $0.50 (1), now +$1.00 (+200%)" in ran.out.splitlines()
    assert "Total $1.50 in 1 call" in at(NOON, "stats", "--since", "last-month", "--until", "last-month").out
    refused = at(NOON, "stats", "--model", " ")
    assert (refused.code, refused.out) == (2, "")
    assert "a name is empty" in refused.err
