"""OpenRouter's answers are read into values, and written so that they are read back the same."""

from __future__ import annotations

import math
import tempfile
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openrouter_usage.entry import NOTHING
from openrouter_usage.errors import BadAnswer
from openrouter_usage.jobs.snapshot import load_snapshot, save_snapshot
from openrouter_usage.money import dumps, loads
from openrouter_usage.openrouter.answers.account import (
    Gap,
    Parts,
    read_activity,
    read_credits,
    read_today,
    write_activity,
    write_credits,
    write_today,
)
from openrouter_usage.openrouter.answers.fields import Fields
from openrouter_usage.openrouter.answers.key import read_key, write_key

NOW = datetime(2026, 11, 22, 15, 30, 1, 234567, tzinfo=timezone.utc)
AMOUNTS = st.builds(
    lambda digits, exponent: Decimal(digits).scaleb(exponent), st.integers(0, 10**8), st.integers(-27, 0)
)
AMOUNT_SHAPES = AMOUNTS | AMOUNTS.map(str) | st.integers(0, 10**8)
COUNTS = st.integers(0, 10**14) | st.integers(0, 10**14).map(str)
WORDS = st.text(max_size=30)
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(timezone.utc)).map(str)
DAYS = st.dates().map(str) | st.dates().map(lambda day: f"{day} 00:00:00")


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


BUDGETS = st.fixed_dictionaries(
    {"limit_usd": AMOUNT_SHAPES, "remaining_usd": AMOUNT_SHAPES},
    optional={"scope": WORDS, "reset_interval": maybe(WORDS), "resets_at": maybe(MOMENTS), "new": WORDS},
)
KEYS = st.fixed_dictionaries(
    {"usage": AMOUNT_SHAPES},
    optional={
        **{f"usage_{window}": maybe(AMOUNT_SHAPES) for window in ("daily", "weekly", "monthly")},
        **{f"byok_usage{window}": maybe(AMOUNT_SHAPES) for window in ("", "_daily", "_weekly", "_monthly")},
        "label": maybe(WORDS),
        "limit": maybe(AMOUNT_SHAPES),
        "limit_remaining": maybe(AMOUNT_SHAPES),
        "limit_reset": maybe(WORDS),
        "is_free_tier": st.booleans(),
        "is_management_key": st.booleans(),
        "is_provisioning_key": st.booleans(),
        "expires_at": maybe(MOMENTS | WORDS),
        "effective_budget": maybe(BUDGETS),
        "free_model_daily_requests": maybe(st.fixed_dictionaries({"used": COUNTS, "limit": COUNTS})),
        "something_new": WORDS,
    },
).map(lambda data: {"data": data})
CREDITS = st.fixed_dictionaries({"total_credits": AMOUNT_SHAPES, "total_usage": AMOUNT_SHAPES}).map(
    lambda data: {"data": data}
)
ROWS = st.fixed_dictionaries(
    {"date": DAYS, "usage": AMOUNT_SHAPES, "byok_usage_inference": AMOUNT_SHAPES},
    optional={
        "model": WORDS,
        "model_permaslug": WORDS,
        "provider_name": WORDS,
        "requests": COUNTS,
        "prompt_tokens": COUNTS,
        "endpoint_id": WORDS,
    },
)
ACTIVITY = st.lists(ROWS, max_size=8).map(lambda rows: {"data": rows})
TODAY = st.builds(
    lambda rows, metadata: {"data": {"data": rows, "metadata": metadata}},
    st.lists(
        st.fixed_dictionaries(
            {"credits_usage": AMOUNT_SHAPES, "byok_usage": AMOUNT_SHAPES, "request_count": COUNTS},
            optional={"tokens_prompt": COUNTS, "tokens_completion": COUNTS, "cached_tokens": COUNTS},
        )
    ),
    maybe(st.fixed_dictionaries({"truncated": st.booleans()})),
)  # fmt: skip


def on_disk(value: Any) -> Any:
    """A value after it has been written as JSON and read again."""
    return loads(dumps(value))


@given(KEYS)
def test_a_key_is_written_as_it_was_read(answer: Any) -> None:
    info = read_key(on_disk(answer))
    # What was left out is kept beside it.
    assert read_key(on_disk(write_key(info)))._replace(left_out=info.left_out) == info


@given(CREDITS)
def test_credits_are_written_as_they_were_read(answer: Any) -> None:
    credits = read_credits(on_disk(answer))
    assert read_credits(on_disk(write_credits(credits))) == credits


@given(TODAY)
def test_todays_spend_is_written_as_it_was_read(answer: Any) -> None:
    spend = read_today(on_disk(answer))
    assert read_today(on_disk(write_today(spend))) == spend


@given(ACTIVITY)
def test_activity_keeps_every_sum(answer: Any) -> None:
    rows = read_activity(on_disk(answer))
    kept = read_activity(on_disk(write_activity(rows)))
    for group in (lambda row: row.day, lambda row: row.model, lambda row: (row.provider, row.model, row.day)):
        for name in {group(row) for row in rows}:
            before, after = (sum((r.usage for r in some if group(r) == name), NOTHING) for some in (rows, kept))
            assert before == after
    assert len({(row.day, row.model, row.slug, row.provider) for row in kept}) == len(kept)


GAPS = st.builds(Gap, st.just(""), WORDS, WORDS, WORDS, st.sampled_from([2, 4]))


@settings(max_examples=60)
@given(KEYS, CREDITS, maybe(ACTIVITY), maybe(TODAY), st.booleans(), st.sets(st.integers(0, 3)), GAPS)
def test_a_snapshot_gives_back_all_parts(
    key: Any, credits: Any, activity: Any, today: Any, managed: bool, missing: set[int], gap: Gap
) -> None:
    names = ("key", "credits", "activity", "today")
    values: list[Any] = [
        read_key(on_disk(key)),
        read_credits(on_disk(credits)),
        activity and tuple(read_activity(on_disk(write_activity(read_activity(on_disk(activity)))))),
        today and read_today(on_disk(today)),
    ]
    for index in missing:
        values[index] = Gap(names[index], gap.code, gap.message, gap.hint, gap.exit_code)
    parts = Parts(NOW, *values, managed=managed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cache" / "summary.json"
        save_snapshot(path, parts, "https://openrouter.ai/api/v1")
        assert load_snapshot(path, "https://openrouter.ai/api/v1") == parts
        assert load_snapshot(path, "https://example.com/api/v1") is None


# -- what is not what its name promises ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "count"),
    [(0, 0), (7, 7), ("7", 7), ("0", 0), (Decimal("7.0"), 7), (Decimal("1E+3"), 1000), (None, 0), (10**14, 10**14),
     (15.0, 15), (0.0, 0), (1e3, 1000), ("15.0", 15)],
)  # fmt: skip
def test_what_is_a_count(value: Any, count: int) -> None:
    assert Fields({"n": value}, "x").count("n") == count


@pytest.mark.parametrize(
    "value",
    [
        True, False, "", "x", "-1", "1.5", "1e3", "٣", Decimal("1.5"), Decimal("1E+999999999"), Decimal("1E-999999999"),
        Decimal("NaN"), Decimal("Infinity"), 10**15, -(10**15), "1" * 16, [], {}, 1.5, 1e300, math.nan, math.inf,
        "15.01", ".0", "1.0.0",
    ],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_what_is_no_count(value: Any) -> None:
    with pytest.raises(BadAnswer, match="a whole number was expected"):
        Fields({"n": value}, "x").count("n")


@pytest.mark.parametrize("value", [True, False, "free", [], {}, "NaN", Decimal("1E+10"), 10**12])
@pytest.mark.parametrize("name", ["usage", "usage_daily", "byok_usage_monthly", "limit", "limit_remaining"])
def test_an_amount_that_is_none_is_unknown_and_named_and_the_others_are_known(name: str, value: Any) -> None:
    whole = {"usage": 1, "usage_daily": 1, "usage_weekly": 1, "usage_monthly": 1, "limit": 1, "limit_remaining": 0}
    info = read_key({"data": {**whole, name: value}})
    assert [f"field {name}: " in one.why for one in info.left_out] == [True]
    known = [window.usage for window in (info.all_time, info.daily, info.weekly, info.monthly)]
    assert known.count(None) == (name in ("usage", "usage_daily"))
    assert (info.limit is None) == (name == "limit")


def test_a_key_without_any_usage_is_no_answer() -> None:
    for data in ({}, {"usage": None, "usage_daily": None}, {"label": "x", "limit": 5}):
        with pytest.raises(BadAnswer, match="field usage"):
            read_key({"data": data})  # type: ignore[arg-type]


def test_only_the_json_value_true_makes_a_management_key() -> None:
    for value in ("true", 1, "false", None, [1]):
        assert read_key({"data": {"usage": 0, "is_management_key": value}}).is_management_key is False  # type: ignore[dict-item]
    assert read_key({"data": {"usage": 0, "is_provisioning_key": True}}).is_management_key is True


def test_a_message_names_the_whole_path_of_a_field() -> None:
    answer = Fields({"data": {"data": [5]}}, "/analytics/query")
    with pytest.raises(BadAnswer, match=r"answer to /analytics/query \(data\.data\) is not understood: an object was expected"):
        list(answer.within("data").each("data"))
