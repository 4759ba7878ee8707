"""cost_tracker.py report: the figures of `stats` to the last digit, on a page that loads nothing and starts nothing."""

from __future__ import annotations

import base64
import hashlib
import itertools
import math
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal, localcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_usage.money import format_usd, plain
from openrouter_usage.render.svg import DARK, LIGHT, THEMED, Colours, element, part_of, text, ticks
from tests import booking
from tests.booking import NOON, Booked, Tracker, TrackerAt, call, hold
from tests.engines import Engine
from tests.pages import SIGHTS, Element, Rows, by_heading, contrast, read_page, read_table, seen, shares
from tests.running import Stats
from tests.sandbox import INFERENCE_KEY, Sandbox
from tests.test_hostile_text import ANY_TEXT, FORMULAS, TERMINAL

UTC = timezone.utc
SVG = "{http://www.w3.org/2000/svg}"
TO_STDOUT = ("--html", "-")
COUNTED = {"Credits": "cost_usd", "BYOK": "byok_usd", "Calls": "requests", "Unknown cost": "unknown_cost_calls"}
BY_MODEL = {
    **COUNTED,
    "Input tokens": "prompt_tokens",
    "Output tokens": "completion_tokens",
    "Estimated": "estimated_cost_calls",
}
MARKUP = [
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "' onload='alert(1)", "</style><script>x</script>",
    "</title></svg>", "]]>", "<!--", "--><b>", "&lt;b&gt;&#x41;", "&amp", "javascript:alert(1)", "url(https://evil.invalid)",
    "{{7*7}}", "<?xml?>", "<!DOCTYPE x [<!ENTITY e 'x'>]>&e;", "\ufffe\uffff", "\x00\x0b\x85\u2028", "a" * 900,
]  # fmt: skip


@pytest.fixture
def tracker(home: Path, engine: Engine) -> Tracker:
    found = engine.tracker(home)
    found.write(booking.sample())
    return found


def page_of(ran: Booked) -> Element:
    assert (ran.code, ran.err) == (0, ""), ran.err
    return read_page(ran.out)


def chart_of(ran: Booked) -> ET.Element:
    assert (ran.code, ran.err) == (0, ""), ran.err
    return ET.fromstring(ran.out)


def by_time(page: Element) -> Rows:
    return read_table(page, "Credits per ")


def by_model(page: Element) -> Rows:
    return read_table(page, "Credits by model")


RARE = ("BYOK", "Unknown cost", "Estimated")  # columns that are there only where something stands in them


def picked(row: dict[str, object], names: dict[str, str]) -> dict[str, object]:
    return {name: row.get(name, 0) if name in RARE else row[name] for name in names}


def told(row: dict[str, object], names: dict[str, str]) -> dict[str, object]:
    return {shown: row[name] for shown, name in names.items()}


# -- the same figures as stats ---------------------------------------------------------------------------------------

PERIODS = [
    ("--since", "2026-10-24", "--until", "2026-11-22"),
    ("--since", "2026-11-20", "--until", "2026-11-22", "--tz", "Asia/Kathmandu"),
    ("--since", "2026-10-01"),
    ("--until", "2026-11-21"),
    ("--since", "2026-11-20T09:00:00Z", "--until", "2026-11-22T10:00:01Z", "--tz", "America/New_York"),
    ("--today",),
    ("--today", "--tz", "Asia/Tokyo"),
    ("--week",),
    ("--month", "--tz", "Europe/Amsterdam"),
    ("--since", "2025-11-23", "--until", "2026-11-22"),
    ("--since", "2020-01-01", "--until", "2026-11-22", "--tz", "Europe/Amsterdam"),
    ("--since", "2001-01-01"),
]


@pytest.mark.parametrize("period", PERIODS, ids=" ".join)
def test_every_total_is_that_of_stats_to_the_last_digit(period: tuple[str, ...], at: TrackerAt) -> None:
    stats = at(NOON, "stats", "--json", *period).data
    page = page_of(at(NOON, "report", *TO_STDOUT, *period))
    *rows, last = by_time(page)
    assert picked(last, COUNTED) == told(stats["total"], COUNTED)
    for name in COUNTED:
        assert booking.total(Decimal(picked(row, COUNTED)[name]) for row in rows) == picked(last, COUNTED)[name]
    *models, whole = by_model(page)
    assert picked(whole, BY_MODEL) == told(stats["total"], BY_MODEL)
    assert [picked(row, BY_MODEL) for row in models] == [told(group, BY_MODEL) for group in stats["groups"]]
    assert [row["Model"] for row in models] == [group["name"] for group in stats["groups"]]
    chart = chart_of(at(NOON, "report", "--svg", "-", *period))
    bars = [Decimal(bar.get("data-usd") or "") for bar in chart.iter(f"{SVG}g") if bar.get("class") == "bar"]
    assert Decimal(chart.get("data-usd") or "") == stats["total"]["cost_usd"]
    assert booking.total(bars) == stats["total"]["cost_usd"] + stats["total"]["byok_usd"]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Amsterdam", "Asia/Kathmandu"])
def test_every_day_is_that_of_stats_and_quiet_ones_are_there(zone: str, at: TrackerAt) -> None:
    period = ("--since", "2026-10-24", "--until", "2026-11-22", "--tz", zone)
    groups = at(NOON, "stats", "--json", "--by", "day", *period).data["groups"]
    *rows, _ = by_time(page_of(at(NOON, "report", *TO_STDOUT, *period)))
    found = {row["Day"].partition(" ")[0]: picked(row, COUNTED) for row in rows}
    assert len(found) == 30
    assert {day: row for day, row in found.items() if row["Calls"]} == {
        group["name"]: told(group, COUNTED) for group in groups
    }
    assert all(not any(row.values()) for row in found.values() if not row["Calls"])


def test_who_when_and_the_period_before_are_those_of_stats(tracker: Tracker, at: TrackerAt) -> None:
    tags = {"client": "laptop", "project": "x"}
    tracker.write(call("2026-11-21T10:30:00Z", cost="0.5", tags=tags, session="s"), call("2026-11-14T23:59:00Z", cost="7"))
    period = ("--days", "7", "--tz", "Asia/Kathmandu")
    page = page_of(at(NOON, "report", *TO_STDOUT, *period))
    for kind in ("client", "session", "project", "provider"):
        groups = at(NOON, "stats", "--json", "--by", kind, *period).data["groups"]
        assert shares(by_heading(page, f"By {kind}")) == {row["name"]: row["cost_usd"] for row in groups}
    groups = at(NOON, "stats", "--json", "--by", "weekday,hour", *period).data["groups"]
    (table,) = [each for each in page.all("table") if each.attributes.get("class") == "hours"]
    cells = [cell for cell in table.all("td") if "data-usd" in cell.attributes]
    found = {next(cell.all("i")).attributes["title"].partition(": ")[0]: cell.attributes["data-usd"] for cell in cells}
    assert len(found) == 7 * 24 and sum(map(Decimal, found.values())) == sum(Decimal(row["cost_usd"]) for row in groups) > 0
    for row in groups:
        assert Decimal(found[" ".join(row["names"])]) == row["cost_usd"]
    compared = at(NOON, "stats", "--json", "--compare", "previous", *period).data["compared"]
    changes = {row["name"]: row["difference_usd"] for row in compared["changes"] if row["difference_usd"]}
    assert shares(by_heading(page, "Against the period before")) == changes != {}
    assert "$7.00 in 1 call" in page.text


def test_each_model_of_a_day_is_that_of_stats(at: TrackerAt) -> None:
    *rows, last = by_time(page_of(at(NOON, "report", *TO_STDOUT, "--week")))
    names = [name for name in rows[0] if "/" in name]
    assert len(names) == 2
    for row in rows:
        day = row["Day"].partition(" ")[0]
        stats = at(NOON, "stats", "--json", "--since", day, "--until", day).data
        costs = {group["name"]: group["cost_usd"] for group in stats["groups"]}
        assert {name: row[name] for name in names} == {name: costs.get(name, 0) for name in names}
    assert sum(last[name] for name in names) + last["1 other model"] == last["Credits"]


def test_figures_are_exact_however_large_small_and_many(tracker: Tracker, at: TrackerAt) -> None:
    costs = ["1E-27", "0.30000000000000004", "1000000", "999999.999999999999999999999999999", "0", "0.1", "0.2"]
    tracker.fill(b"".join(call(cost=cost, model=f"a/{n}") for n, cost in enumerate(costs)))
    with localcontext() as context:
        context.prec = 5
        page = page_of(at(NOON, "report", *TO_STDOUT))
    total = booking.total(map(Decimal, costs))
    assert by_time(page)[-1]["Credits"] == by_model(page)[-1]["Credits"] == total
    assert {row["Model"]: row["Credits"] for row in by_model(page)[:-1]} == {
        f"a/{n}": Decimal(cost) for n, cost in enumerate(costs)
    }
    assert plain(total) in {cell.attributes.get("data-usd") for cell in page.all("dd")}


def test_models_beyond_the_first_are_added_up_and_counted(tracker: Tracker, at: TrackerAt) -> None:
    tracker.fill(b"".join(call(cost=str(n), model=f"a/{n}") for n in range(1, 41)))
    page = page_of(at(NOON, "report", *TO_STDOUT, "--top", "3"))
    *rows, last = by_model(page)
    assert [row["Model"] for row in rows] == ["a/40", "a/39", "a/38", "and 37 more"]
    assert rows[-1]["Credits"] == sum(range(1, 38)) and last["Credits"] == sum(range(1, 41))
    assert "34 other models" in by_time(page)[0]
    assert by_time(page)[-1]["34 other models"] == sum(range(1, 35))


# -- the period ------------------------------------------------------------------------------------------------------


def test_without_a_period_it_is_the_last_30_days_of_the_zone(at: TrackerAt) -> None:
    late = datetime(2026, 11, 22, 18, 30, tzinfo=UTC)
    for zone, days in (("UTC", "2026-10-24 to 2026-11-22"), ("Asia/Kathmandu", "2026-10-25 to 2026-11-23")):
        page = page_of(at(late, "report", *TO_STDOUT, "--tz", zone))
        assert days in page.text
        assert len(by_time(page)) == 31


def test_the_page_and_the_chart_say_which_period_whose_days_and_where_from(at: TrackerAt) -> None:
    for face in ("--html", "--svg"):
        shown = at(NOON, "report", face, "-", "--month", "--tz", "Europe/Amsterdam").out
        for words in (
            "OpenRouter spend", "2026-11", "Days of Europe/Amsterdam: from 2026-10-31 23:00 UTC until 2026-11-30 23:00 UTC",
            "local ledger ~/.openrouter/usage.jsonl", "tracked calls only", "made 2026-11-22 12:00 UTC",
        ):  # fmt: skip
            assert words in shown, (face, words)


def test_the_users_name_is_not_on_a_page_that_is_shown_around(at: TrackerAt, tracker: Tracker) -> None:
    for face in ("--html", "--svg"):
        assert str(tracker.home) not in at(NOON, "report", face, "-").out


def test_days_to_come_are_no_zeros_and_the_running_one_is_named(at: TrackerAt) -> None:
    page = page_of(at(NOON, "report", *TO_STDOUT, "--month"))
    *rows, _ = by_time(page)
    assert [row["Day"] for row in rows][-2:] == ["2026-11-21", "2026-11-22 (so far)"]
    assert "8 days to come left out" in page.text
    to_come = [bar for bar in page.all("g") if "(to come)" in bar.text]
    assert len(to_come) == 2 * 8  # credits, and BYOK
    shaded = [bar for bar in page.all("g") if any("fill-opacity" in rect.attributes for rect in bar.all("rect"))]
    assert shaded == to_come


def test_a_day_that_is_not_all_in_the_period_says_so(at: TrackerAt) -> None:
    *rows, _ = by_time(page_of(at(NOON, "report", *TO_STDOUT, "--since", "2026-11-20T09:00:00Z", "--until", "2026-11-21")))
    assert [row["Day"] for row in rows] == ["2026-11-20 (in part)", "2026-11-21"]


@pytest.mark.parametrize(
    ("period", "unit", "bars"),
    [
        (("--since", "2026-11-22", "--until", "2026-11-22"), "hour", 24),
        (("--since", "2026-10-25", "--until", "2026-10-25", "--tz", "Europe/Amsterdam"), "hour", 25),
        (("--since", "2026-03-01", "--until", "2026-03-31", "--tz", "Europe/Amsterdam"), "day", 31),
        (("--since", "2024-02-01", "--until", "2024-02-29"), "day", 29),
        (("--since", "2025-11-23", "--until", "2026-11-22"), "week", 53),
        (("--since", "2020-01-01", "--until", "2026-11-22"), "month", 83),
        (("--since", "2026-11-01"), "day", 22),
        (("--until", "2026-11-22"), "day", 23),
        (("--until", "2026-10-01"), "day", 30),
        (("--since", "2030-01-01"), "hour", 24),
    ],
)
def test_a_bar_stands_for_each_piece_of_the_period(
    period: tuple[str, ...], unit: str, bars: int, at: TrackerAt
) -> None:
    chart = chart_of(at(NOON, "report", "--svg", "-", *period))
    found = [group for group in chart.iter(f"{SVG}g") if group.get("class") == "bar"]
    panels = 2 if any("BYOK" in (line.text or "") for line in chart.iter(f"{SVG}text")) else 1
    assert len(found) == bars * panels
    assert f"a bar for each {unit}" in " ".join(line.text or "" for line in chart.iter(f"{SVG}text"))


# -- what is not known -----------------------------------------------------------------------------------------------


def test_unknown_costs_are_counted_named_and_marked_and_never_zero(at: TrackerAt) -> None:
    page = page_of(at(NOON, "report", *TO_STDOUT, "--today"))
    assert "Unknown cost1 callcounted, and in no sum" in [div.text for div in page.all("div")]
    (marked,) = [bar for bar in page.all("g") if any(rect.attributes.get("stroke") for rect in bar.all("rect"))]
    assert marked.text.startswith("2026-11-22 09:00 UTC: $0.00 + 1 call of unknown cost")
    assert "calls of unknown cost, in no sum" in page.text


def test_only_unknown_costs_are_no_spend_of_zero(tracker: Tracker, at: TrackerAt) -> None:
    tracker.fill(call(cost=None) + call(cost=None, ts="2026-11-02T00:00:00Z"))
    page = page_of(at(NOON, "report", *TO_STDOUT))
    assert "No cost is known: $0.00 + 2 calls of unknown cost." in page.text
    assert "Credits spentunknownno call says what it cost" in page.text
    assert "$0.00 + 2 calls of unknown cost" in page.text and "·  –" not in page.text
    shown = at(NOON, "report", "--svg", "-").out
    assert "$0.00 in 2 calls, 2 of unknown cost" in shown
    assert "2 calls of unknown cost (marked below the bars) are in no sum." in shown


def test_byok_stands_apart_and_is_in_no_credits(tracker: Tracker, at: TrackerAt) -> None:
    tracker.fill(call(cost="0", byok_cost=4.2) + call(cost="1.5"))
    page = page_of(at(NOON, "report", *TO_STDOUT))
    assert (by_time(page)[-1]["Credits"], by_time(page)[-1]["BYOK"]) == (Decimal("1.5"), Decimal("4.2"))
    assert "5.7" not in page.text
    assert "BYOK per day: $4.20, paid to providers directly; not in the credits" in page.text
    without = page_of(at(NOON, "report", *TO_STDOUT, "--since", "2026-11-01", "--until", "2026-11-02"))
    assert "BYOK per day" not in without.text


def test_estimates_holds_and_lines_that_do_not_count_are_told_of(at: TrackerAt) -> None:
    page = page_of(at(NOON, "report", *TO_STDOUT))
    for words in ("in the credits, not billed figures", "up to $0.25", "1 call running or unsettled", "1 damaged line"):
        assert words in page.text
    chart = at(NOON, "report", "--svg", "-").out
    assert "1 call estimated" in chart and "1 call running or unsettled, up to $0.25, not in these." in chart


def test_a_hold_of_unknown_size_is_not_known(tracker: Tracker, at: TrackerAt) -> None:
    tracker.write(hold("open", most=None))
    assert "2 calls running or unsettled, at a cost not known yet" in at(NOON, "report", "--svg", "-").out
    assert "not known" in page_of(at(NOON, "report", *TO_STDOUT)).text


@pytest.mark.parametrize("face", ["--html", "--svg"])
def test_an_empty_ledger_says_so(face: str, tracker: Tracker, at: TrackerAt) -> None:
    tracker.fill()
    ran = at(NOON, "report", face, "-")
    assert (ran.code, ran.err) == (0, "")
    assert "No calls in this period." in ran.out
    assert face == "--svg" or "no calls yet: `call`, CostTracker" in ran.out


def test_a_period_without_calls_says_so(at: TrackerAt) -> None:
    page = page_of(at(NOON, "report", *TO_STDOUT, "--since", "2020-01-01", "--until", "2020-01-05"))
    assert "No calls in this period." in page.text
    assert list(page.all("table")) == []


# -- budget, and OpenRouter's own figures ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("daily", "words"),
    [
        ("10", "$0.065 spent + $0.25 held of $10.00 (3%), $9.69 left"),
        ("0.1", "$0.065 spent + $0.25 held of $0.10 (315%), overrun by $0.215"),
        ("0", "$0.065 spent + $0.25 held of $0.00 (–), overrun by $0.315"),
    ],
)
def test_a_budget_is_shown_as_the_verb_shows_it(daily: str, words: str, at: TrackerAt) -> None:
    env = {"OPENROUTER_DAILY_LIMIT": daily, "OPENROUTER_REQUEST_LIMIT": "0.5"}
    assert words in at(NOON, "budget", env=env).out
    page = page_of(at(NOON, "report", *TO_STDOUT, "--since", "2026-11-01", "--until", "2026-11-02", env=env))
    assert words in page.text
    assert "per-request: at most $0.50 a call" in page.text
    (bar,) = [svg for item in page.all("li") if words in item.text for svg in item.all("svg")]
    filled = sum(float(rect.attributes["width"].rstrip("%")) for rect in list(bar.all("rect"))[1:])
    assert filled == pytest.approx(min(100, 31.5 / float(daily)) if float(daily) else 100, abs=0.4)
    assert "resets 2026-11-23 UTC, strict; not counted: 1 call of unknown cost" in page.text
    for rect in page.all("rect"):
        assert all(float(rect.attributes[n].rstrip("%")) >= 0 for n in ("width", "height", "x") if n in rect.attributes)
        assert float(rect.attributes["width"].rstrip("%")) <= 100


def test_a_budget_as_long_as_a_bar_is_a_line_in_the_chart(at: TrackerAt) -> None:
    def lines(*words: str, daily: str = "3") -> list[str]:
        page = page_of(at(NOON, "report", *TO_STDOUT, *words, env={"OPENROUTER_DAILY_LIMIT": daily}))
        return [line.attributes["data-usd"] for line in page.all("line") if line.attributes.get("class") == "cap"]

    assert lines() == lines("--since", "2026-11-01", "--until", "2026-11-22") == ["3"]
    # A line far above the bars would make them too low to be compared; other days are not the budget's.
    assert lines(daily="30") == lines("--tz", "Asia/Tokyo") == lines("--model", "openai/*") == lines("--today") == []
    far = at(NOON, "report", *TO_STDOUT, env={"OPENROUTER_DAILY_LIMIT": "30"}).out
    assert "daily budget $30.00, above the chart" in far


def test_without_a_budget_the_page_says_that_none_is_set(at: TrackerAt) -> None:
    assert "No budget is set." in page_of(at(NOON, "report", *TO_STDOUT)).text


def test_what_the_ledger_has_not_seen_of_openrouters_last_word_is_named(
    home: Path, sandbox: Sandbox, stats: Stats
) -> None:
    for key in sandbox.account.keys:
        key.usage_daily, key.usage_weekly, key.usage_monthly = Decimal("4"), Decimal("9"), Decimal("20")
    tracker = Tracker(home, sandbox.url)
    soon = (datetime.now(UTC) - timedelta(microseconds=1)).isoformat().replace("+00:00", "Z")
    tracker.write(call(soon, cost="2.5"), call("2020-01-01T00:00:00Z", cost="7"))
    unknown = page_of(tracker("report", *TO_STDOUT))
    assert "Not known: no figures of OpenRouter are kept here; stats.py asks for them." in unknown.text
    assert stats(key=INFERENCE_KEY).code == 0
    asked = len(sandbox.requests)
    page = page_of(tracker("report", *TO_STDOUT))
    assert len(sandbox.requests) == asked > 0
    rows = {row["Window"].partition(",")[0]: row for row in read_table(page, "What OpenRouter said")}
    assert {name: row["OpenRouter"] for name, row in rows.items()} == {"today": 4, "week": 9, "month": 20}
    assert {name: row["In the ledger"] for name, row in rows.items()} == dict.fromkeys(rows, Decimal("2.5"))
    assert {name: row["Not attributed"] for name, row in rows.items()} == {
        "today": Decimal("1.5"), "week": Decimal("6.5"), "month": Decimal("17.5")
    }  # fmt: skip
    assert "$6.50 of $9.00 not attributed" in page.text
    assert "OpenRouter's figures of one key, as of" in page.text
    tracker.write(call(datetime.now(UTC).isoformat().replace("+00:00", "Z"), cost="1"))
    later = read_table(page_of(tracker("report", *TO_STDOUT)), "What OpenRouter said")
    assert [row["In the ledger"] for row in later] == [Decimal("2.5")] * 3


def test_what_the_ledger_has_more_than_openrouter_is_no_negative_amount(
    home: Path, sandbox: Sandbox, stats: Stats
) -> None:
    tracker = Tracker(home, sandbox.url)
    tracker.write(call((datetime.now(UTC) - timedelta(microseconds=1)).isoformat().replace("+00:00", "Z"), cost="2.5"))
    stats(key=INFERENCE_KEY)
    page = page_of(tracker("report", *TO_STDOUT))
    (row, *_) = read_table(page, "What OpenRouter said")
    assert (row["OpenRouter"], row["Not attributed"], row["More in the ledger"]) == (0, 0, Decimal("2.5"))
    assert not re.search(r"-\$|-<", page.text)


def test_a_credentials_file_that_cannot_be_used_leaves_the_page_whole(tracker: Tracker, at: TrackerAt) -> None:
    (tracker.folder / "credentials.env").mkdir()
    page = page_of(at(NOON, "report", *TO_STDOUT, env={"OPENROUTER_API_KEY": None}))
    assert "Not known: " in page.text and by_time(page)


# -- hostile names ---------------------------------------------------------------------------------------------------

ALLOWED = {
    "", "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "p", "dl", "div", "dt", "dd", "ul", "li",
    "section", "figure", "svg", "text", "line", "rect", "g", "span", "table", "caption", "thead", "tbody", "tfoot", "tr",
    "th", "td", "footer", "code", "input", "label", "strong", "i", "wbr",
}  # fmt: skip


def assert_inert(shown: str, page: Element) -> None:
    """Nothing in a page loads or starts anything, and nothing is on it but what it is made of."""
    parts = [page, *page.all()]
    assert {part.tag for part in parts} <= ALLOWED
    for part in parts:
        for name, value in part.attributes.items():
            assert not name.startswith("on") and name not in ("href", "src", "style", "xlink:href", "srcset"), name
            assert "url(" not in value or part.tag != "rect"
    (style,) = page.all("style")
    assert "url(" not in style.text and "@import" not in style.text
    assert all(char.isprintable() or char == "\n" for char in shown)


@pytest.mark.parametrize("name", [*MARKUP, *FORMULAS, *TERMINAL.values()], ids=ascii)
def test_a_hostile_name_is_only_text(name: str, tracker: Tracker, at: TrackerAt) -> None:
    tracker.fill(
        call(model=name, session=name, provider=name, tags={"a": name[:200]}) + call(model=name + "2", cost=None)
    )
    ran = at(NOON, "report", *TO_STDOUT)
    page = page_of(ran)
    assert_inert(ran.out, page)
    assert len({row["Model"] for row in by_model(page)}) <= 3
    shown = at(NOON, "report", "--svg", "-").out
    chart = ET.fromstring(shown)
    assert {part.tag.removeprefix(SVG) for part in chart.iter()} <= {"svg", "title", "desc", "g", "rect", "line", "text"}
    assert all(char.isprintable() or char == "\n" for char in shown)
    if name.isprintable() and len(name) < 40:
        assert any(name in (line.text or "") for line in chart.iter(f"{SVG}text"))


@given(ANY_TEXT)
def test_any_text_is_one_line_that_xml_gives_back(words: str) -> None:
    written = text(words)
    assert not re.search("[<>\"']", written)
    (read,) = [ET.fromstring(f"<a>{written}</a>").text or ""]
    assert read.isprintable()
    assert read == words or not words.isprintable() or len(words) > 1_000


@given(ANY_TEXT)
def test_any_value_of_an_attribute_stays_in_it(value: str) -> None:
    printable = "".join(char for char in value if char.isprintable())
    written = element("a", "b", data_x=printable)
    assert ET.fromstring(written).attrib == {"data-x": printable}
    (read,) = read_page(written).children
    assert isinstance(read, Element) and read.attributes == {"data-x": printable}


def test_the_page_may_load_and_run_nothing(at: TrackerAt) -> None:
    ran = at(NOON, "report", *TO_STDOUT)
    page = page_of(ran)
    assert_inert(ran.out, page)
    (style,) = page.all("style")
    digest = base64.b64encode(hashlib.sha256(style.text.encode()).digest()).decode()
    policies = [meta.attributes["content"] for meta in page.all("meta") if "http-equiv" in meta.attributes]
    assert policies == [f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"]
    assert "http" not in ran.out.replace("http-equiv", "")


def test_the_chart_refers_to_nothing_and_needs_no_style(at: TrackerAt) -> None:
    shown = at(NOON, "report", "--svg", "-").out
    assert shown.count("http") == 1 and shown.startswith("<svg xmlns=\"http://www.w3.org/2000/svg\"")
    assert not re.search(r"var\(|url\(|<style|<image|<use|<foreign|%", shown.partition("<rect")[2].replace("%)", ""))
    chart = ET.fromstring(shown)
    assert [child.tag.removeprefix(SVG) for child in chart][:3] == ["title", "desc", "rect"]
    assert chart[2].get("width") == chart.get("width") and chart[2].get("height") == chart.get("height")


# -- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("face", ["html", "svg"])
def test_a_file_holds_what_standard_output_would(face: str, tracker: Tracker, at: TrackerAt) -> None:
    before, target = tracker.bytes, tracker.home / f"my report.{face}"
    printed = at(NOON, "report", f"--{face}", "-").out
    ran = at(NOON, "report", f"--{face}", str(target))
    assert (ran.code, ran.err, ran.out) == (0, "", f"9 calls drawn in {target}\n")
    assert target.read_text(encoding="utf-8") == printed
    assert os.name == "nt" or target.stat().st_mode & 0o777 == 0o600
    assert tracker.bytes == before


def test_a_file_that_is_there_is_replaced_only_by_force(tracker: Tracker, at: TrackerAt) -> None:
    target = tracker.home / "spend.html"
    target.write_text("mine")
    refused = at(NOON, "report", "--html", str(target))
    assert refused.code == 2
    assert f"{target} already exists -- name another file, or add --force to replace it" in refused.error_line
    assert target.read_text() == "mine"
    done = at(NOON, "report", "--html", str(target), "--force", "--json", "--week")
    assert done.json["kind"] == "report"
    assert done.data == {
        "format": "html", "file": str(target), "source": "ledger", "unit": "day", "calls": 7,
        "start": "2026-11-16T00:00:00Z", "end": "2026-11-23T00:00:00Z", "opened": False,
    }  # fmt: skip
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert sorted(path.name for path in tracker.home.iterdir()) == [".openrouter", "spend.html"]


@pytest.mark.parametrize("name", ["usage.jsonl", "usage.jsonl.index"])
def test_the_ledger_itself_is_never_replaced(name: str, tracker: Tracker, at: TrackerAt) -> None:
    before = tracker.bytes
    ran = at(NOON, "report", "--svg", str(tracker.folder / name), "--force")
    assert ran.code == 2
    assert "is not written: it is this program's own file" in ran.error_line
    assert tracker.bytes == before


def test_a_written_page_is_opened_in_the_browser_or_it_says_why_not(tracker: Tracker) -> None:
    page, seen_by = tracker.home / "openrouter-spend.html", tracker.home / "opened"
    browser = tracker.home / "browser"
    browser.write_text(f'#!/bin/sh\nprintf "%s" "$1" > "{seen_by}"\n')
    browser.chmod(0o755)
    ran = tracker("report", "--open", env={"BROWSER": f"{browser} %s"})
    assert (ran.code, ran.err) == (0, "") and ran.out.endswith(f" drawn in {page}\n")
    assert seen_by.read_text() == page.as_uri()
    blind = tracker("report", "--open", env={"DISPLAY": None, "WAYLAND_DISPLAY": None, "BROWSER": None})
    assert blind.code == 0
    assert blind.out.endswith(f"drawn in {page}\nnot opened: there is no display here; open the file yourself\n")
    page.write_text("not a page of this program")
    refused = tracker("report", "--open", "--json")
    assert refused.code == 2 and "already exists" in refused.json["error"]["message"]
    assert page.read_text() == "not a page of this program"


OWN = [
    *("credentials.env", "settings.json", "settings.lock", "alerts.json", "audit.jsonl", "activity.jsonl"),
    *("usage.jsonl.1", "keys/ci.env", "cache/models.json", "linked/../credentials.env"),
]


@pytest.mark.parametrize("face", ["--html", "--svg"])
@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize("name", OWN)
def test_no_file_of_the_program_is_replaced_by_a_page(
    name: str, is_there: bool, face: str, tracker: Tracker, at: TrackerAt
) -> None:
    (tracker.folder / "keys").mkdir()
    (tracker.folder / "cache").mkdir(exist_ok=True)
    (tracker.folder / "linked").symlink_to(tracker.folder / "keys")
    own = tracker.folder / name
    own.unlink(missing_ok=True)
    if is_there:
        own.write_text("{}" if name == "settings.json" else "")
    ran = at(NOON, "report", face, str(own), "--force")
    assert ran.code == 2 and "is not written: it is this program's own file" in ran.error_line
    assert own.exists() == is_there and (not is_there or own.stat().st_size < 3)


def test_a_page_of_ones_own_may_lie_in_the_programs_folder(tracker: Tracker, at: TrackerAt) -> None:
    assert at(NOON, "report", "--html", str(tracker.folder / "spend.html")).code == 0
    assert at(NOON, "report", "--html", str(tracker.folder / "spend.html"), "--force").code == 0


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), "no file is named -- name one with --html or --svg, or add --open"),
        (("--html", "-", "--open"), "--open opens a written file, but none is named"),
        (("--html", "a.html", "--svg", "b.svg"), "not allowed with argument"),
        (("--html", "-", "--json"), "--json describes a written file, but none is named"),
        (("--html", "a.html", "--today", "--since", "2026-11-01"), "cannot be combined"),
        (("--html", "a.html", "--since", "2026-11-02", "--until", "2026-11-01"), "--since is not before --until"),
        (("--svg", "a.svg", "--tz", "Mars/Olympus"), "this time zone is unknown"),
        (("--svg", "a.svg", "--top", "0"), "is not a whole number from 1"),
    ],
)
def test_a_wrong_argument_writes_nothing(
    argv: tuple[str, ...], message: str, tracker: Tracker, at: TrackerAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tracker.home)
    ran = at(None, "report", *argv)
    assert ran.code == 2
    assert message in ran.error_line
    assert [path.name for path in tracker.home.iterdir()] == [".openrouter"]


def test_a_budget_that_cannot_be_read_is_no_page_without_one(tracker: Tracker, at: TrackerAt) -> None:
    ran = at(NOON, "report", "--html", str(tracker.home / "a.html"), env={"OPENROUTER_DAILY_LIMIT": "ten"})
    assert ran.code == 2
    assert not (tracker.home / "a.html").exists()


def test_a_ledger_that_cannot_be_read_leaves_no_file(tracker: Tracker, at: TrackerAt) -> None:
    ran = at(NOON, "report", "--svg", str(tracker.home / "a.svg"), env={"OPENROUTER_USAGE_FILE": str(tracker.home)})
    assert ran.code == 6
    assert not (tracker.home / "a.svg").exists()


def test_the_program_draws_as_a_process_of_its_own(tracker: Tracker) -> None:
    ran = tracker("report", "--svg", str(tracker.home / "a.svg"), "--since", "2026-10-01", "--until", "2026-11-22")
    assert (ran.code, ran.err, ran.out) == (0, "", f"9 calls drawn in {tracker.home / 'a.svg'}\n")


# -- the scale and the colours ---------------------------------------------------------------------------------------

AMOUNTS = st.decimals("1E-27", "1E+18", places=27) | st.integers(-27, 18).map(lambda power: Decimal(1).scaleb(power))


@given(AMOUNTS)
def test_a_scale_reaches_over_every_bar_and_its_amounts_are_written_without_rounding(most: Decimal) -> None:
    scale = ticks(most)
    assert scale[0] == 0 and scale[-1] >= most and 2 <= len(scale) <= 6
    steps = {after - before for before, after in itertools.pairwise(scale)}
    assert len(steps) == 1 and steps.pop() > 0
    assert scale[-2] < most or len(scale) == 2
    written = [Decimal(format_usd(amount).replace("$", "").replace(",", "")) for amount in scale]
    assert written == list(scale)


def test_a_scale_of_nothing_is_nothing() -> None:
    assert ticks(Decimal(0)) == ticks(Decimal(-1)) == (0,)


@given(AMOUNTS, AMOUNTS)
def test_a_length_is_between_nothing_and_all(part: Decimal, whole: Decimal) -> None:
    assert 0 <= part_of(part, whole) <= 1
    assert part_of(whole, whole) == 1 and part_of(-part, whole) == part_of(part, Decimal(0)) == 0


def painted(colours: Colours) -> Iterator[str]:
    """What is a graphic and has to be seen against the ground."""
    yield from (*colours.models, colours.other, colours.byok, colours.unknown, colours.held, colours.over)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_graphics_stand_out_as_wcag_aa_asks(colours: Colours) -> None:
    for ground in (colours.ground, colours.card):
        assert [ink for ink in (colours.ink, colours.muted) if contrast(ink, ground) < 4.5] == []
        assert [paint for paint in painted(colours) if contrast(paint, ground) < 3] == []


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_models_are_told_apart_by_people_who_see_few_colours(colours: Colours, sight: str) -> None:
    # Two colours begin to look different at some 0.02.
    places = [seen(colour, sight) for colour in (*colours.models, colours.other)]
    assert min(math.dist(one, other) for one, other in itertools.combinations(places, 2)) > 0.09


def test_the_two_sets_of_colours_have_a_property_for_whatever_the_page_paints_with(at: TrackerAt) -> None:
    ran = at(NOON, "report", *TO_STDOUT)
    used = set(re.findall(r"var\((--[a-z0-9]+)\)", ran.out))
    themed = {paint for value in THEMED for paint in ([value] if isinstance(value, str) else value)}
    assert used <= {paint[4:-1] for paint in themed}
    for name in used:
        assert ran.out.count(f"{name}:#") == 2


def test_every_colour_of_the_chart_is_one_of_the_light_ones(at: TrackerAt) -> None:
    paints = set(re.findall(r'(?:fill|stroke)="([^"]+)"', at(NOON, "report", "--svg", "-").out))
    assert paints <= {*LIGHT[:5], *painted(LIGHT), "transparent"}
