"""An entry is what was put in, exactly, and nothing gets in that could not be read again."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_usage.entry import (
    LONGEST_LINE,
    Caps,
    Entry,
    Hold,
    Release,
    Unread,
    Usage,
    checked_entry,
    checked_hold,
    read_line,
    write_line,
)
from openrouter_usage.errors import InvalidValue
from tests.ledger_model import NOON, an_entry, line_of

MOMENTS = st.datetimes(datetime(2000, 1, 2), datetime(2199, 12, 30), timezones=st.just(timezone.utc))
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
NAMES = st.text(max_size=40)
COSTS = st.decimals(0, 10**6, allow_nan=False, places=27) | st.decimals(0, 10**6, allow_nan=False, places=6)
TOKENS = st.integers(0, 10**12)
VALUES = st.fixed_dictionaries(
    {"ts": MOMENTS, "model": NAMES.filter(bool)},
    optional={
        **dict.fromkeys(("prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens"), TOKENS),
        **dict.fromkeys(("reasoning_tokens", "latency_ms"), TOKENS),
        **dict.fromkeys(("cost", "byok_cost"), COSTS),
        "cache_discount": COSTS | COSTS.map(lambda amount: -amount),
        **dict.fromkeys(("id", "provider", "session", "finish_reason", "hold"), NAMES),
        "cost_source": st.sampled_from(["billed", "late", "estimated", "unknown", ""]),
        "tags": st.dictionaries(NAMES, NAMES, max_size=4),
        "streamed": st.booleans(),
    },
)


def test_what_is_left_out_is_nothing_but_the_cost_which_is_unknown() -> None:
    assert Entry(NOON, "a/b").usage == Usage(requests=1, unknown=1)
    assert checked_entry({"ts": NOON, "model": "a/b"}) == Entry(NOON, "a/b")


@given(VALUES)
def test_an_entry_is_read_as_it_was_written(values: dict[str, Any]) -> None:
    """Every entry survives its line, in every field and to the last decimal."""
    entry = checked_entry(values)
    line = write_line(entry)
    assert read_line(line[:-1]) == entry
    assert line.isascii() and line.endswith(b"\n") and line.count(b"\n") == 1
    assert write_line(read_line(line[:-1])) == line


@given(VALUES)
def test_other_json_readers_find_the_seed_format(values: dict[str, Any]) -> None:
    """The first fields are those of the seed format and in its order, the cost is a plain number."""
    entry = checked_entry(values)
    line = write_line(entry)
    names = list(json.loads(line))
    seed = ["ts", "model", "prompt_tokens", "completion_tokens", *(["cost"] if entry.cost is not None else [])]
    assert names[: len(seed)] == seed
    assert b"e" not in line.partition(b'"cost":')[2].partition(b",")[0].lower().strip(b"}\n")


@given(MOMENTS, NAMES.filter(bool), NAMES, COSTS | st.none(), NAMES, NAMES)
def test_a_hold_is_read_as_it_was_written(
    ts: datetime, hold: str, model: str, max_cost: Decimal | None, generation: str, session: str
) -> None:
    """Every hold and every release survives its line."""
    named = {"hold": hold, "ts": ts, "model": model, "max_cost": max_cost}
    record = checked_hold({**named, "generation": generation, "session": session})
    assert read_line(write_line(record)[:-1]) == record
    assert read_line(write_line(Release(record.id, ts))[:-1]) == Release(record.id, ts)


@given(MOMENTS, OFFSETS)
def test_an_offset_is_converted_and_not_cut_off(ts: datetime, zone: timezone) -> None:
    """A moment written in any zone is the same moment in UTC."""
    assert checked_entry({"ts": ts.astimezone(zone).isoformat(), "model": "m"}).ts == ts
    assert checked_entry({"ts": ts.astimezone(zone), "model": "m"}).ts == ts


REFUSED = [
    ("ts", None), ("ts", ""), ("ts", "yesterday"), ("ts", 1763800000), ("ts", "1999-12-31T23:59:59Z"),
    ("ts", "2200-01-01T00:00:00Z"), ("ts", "2026-02-30T00:00:00Z"), ("ts", datetime(2026, 1, 1)), ("ts", "2" * 41),
    ("ts", datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))),
    ("ts", datetime.max.replace(tzinfo=timezone(timedelta(hours=-14)))),
    ("model", None), ("model", ""), ("model", 5), ("model", "m" * 1001), ("id", ["gen-1"]), ("session", ["s"]),
    ("cost", True), ("cost", -1), ("cost", "free"), ("cost", Decimal("NaN")), ("cost", float("inf")), ("cost", []),
    ("cost", 1_000_001), ("cost", Decimal("1E-28")), ("byok_cost", -1), ("byok_cost", 10**30),
    ("prompt_tokens", True), ("prompt_tokens", -1), ("prompt_tokens", 1.5), ("prompt_tokens", "100"),
    ("prompt_tokens", 10**12 + 1), ("prompt_tokens", Decimal("1E+99999")), ("prompt_tokens", float("nan")),
    ("prompt_tokens", Decimal("sNaN")), ("latency_ms", -5), ("cost_source", "guessed"), ("cost_source", ["billed"]),
    ("tags", "a=b"), ("tags", ["a"]), ("tags", {"a": 1}), ("tags", {1: "a"}), ("tags", {"a": "b" * 201}),
    ("tags", {str(number): "" for number in range(33)}), ("tags", {"b" * 201: "a"}),
    ("ts", f"2026-11-22T10:30:00.{'0' * 20}Z"), ("ts", datetime(1999, 12, 31, 23, 59, 59, tzinfo=timezone.utc)),
    ("ts", datetime(2200, 1, 1, tzinfo=timezone.utc)), ("ts", "2000-01-01T00:00:00+00:01"),
    ("ts", datetime(2200, 1, 1, 1, tzinfo=timezone(timedelta(hours=-1)))),
    *((name, "x" * 1_001) for name in ("id", "provider", "session", "finish_reason", "hold", "told")),
    *((name, 5) for name in ("id", "provider", "session", "finish_reason", "hold", "told")),
    *((name, wrong) for name in ("completion_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens", "latency_ms")
      for wrong in (-1, True, 10**12 + 1, 0.5, -0.5, -1.0, 1e12 + 1, Decimal(10**12) + 1, Decimal("Infinity"))),
    *((name, wrong) for name in ("cost", "byok_cost") for wrong in ("-0.000001", "1000000.000001")),
    *(("cache_discount", wrong) for wrong in (-1_000_001, "-1000000.000001", "1000000.000001", "much")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("ts", f"2026-11-22T10:30:00.{'0' * 19}Z", datetime(2026, 11, 22, 10, 30, tzinfo=timezone.utc)),
        ("ts", "2000-01-01T00:00:00Z", datetime(2000, 1, 1, tzinfo=timezone.utc)),
        ("ts", datetime(2000, 1, 1, tzinfo=timezone.utc), datetime(2000, 1, 1, tzinfo=timezone.utc)),
        ("ts", "2199-12-31T23:59:59Z", datetime(2199, 12, 31, 23, 59, 59, tzinfo=timezone.utc)),
        *((name, value, value) for name in ("prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens",
                                            "reasoning_tokens", "latency_ms") for value in (0, 1, 10**12)),
        *(("prompt_tokens", value, int(value)) for value in (0.0, 1.0, 1e12, Decimal("0.0"), Decimal("1E+12"))),
        *((name, value, value) for name in ("cost", "byok_cost") for value in (Decimal(0), Decimal(10**6))),
        *(("cache_discount", value, value) for value in (Decimal(0), Decimal(10**6), Decimal(-(10**6)))),
        *((name, "x" * 1_000, "x" * 1_000) for name in ("model", "id", "provider", "session", "finish_reason", "hold", "told")),
        ("tags", {"n" * 200: "t" * 200}, (("n" * 200, "t" * 200),)),
        ("tags", {f"{number:02}": "" for number in range(32)}, tuple((f"{number:02}", "") for number in range(32))),
        ("tags", None, ()), ("cost_source", "billed", "billed"), ("cost_source", "unknown", ""), ("cost_source", None, ""),
        ("streamed", True, True), ("streamed", False, False), ("streamed", None, None), ("streamed", "yes", None),
        ("seen", True, True), ("seen", False, False), ("seen", 1, False), ("id", None, ""), ("cost", None, None),
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_what_an_entry_can_just_be(name: str, value: object, kept: object) -> None:
    """The last value before the limits is taken as it is, and survives its line."""
    entry = checked_entry({"ts": NOON, "model": "m", name: value})
    assert getattr(entry, name) == kept and type(getattr(entry, name)) is type(kept)
    assert read_line(write_line(entry)[:-1]) == entry


def test_a_line_says_what_is_known_and_nothing_else() -> None:
    """What is unknown or empty has no field; a count of 0 and a cost of 0 have one."""
    assert json.loads(write_line(Entry(NOON, "m"))) == {
        "ts": "2026-11-22T12:00:00Z", "model": "m", "prompt_tokens": 0, "completion_tokens": 0
    }  # fmt: skip
    full = Entry(NOON, "m", cost=Decimal(0), streamed=False, cached_tokens=0, byok_cost=Decimal(0), told="-1", seen=True)
    more = {"cost": 0, "streamed": False, "cached_tokens": 0, "byok_cost": 0, "told": "-1", "seen": True}
    assert json.loads(write_line(full)).items() >= more.items()
    assert "seen" not in json.loads(write_line(Entry(NOON, "m", told="-1")))
    assert json.loads(write_line(Hold("h", NOON, "m", Decimal(0)))) == {
        "kind": "hold", "hold": "h", "ts": "2026-11-22T12:00:00Z", "model": "m", "max_cost": 0
    }  # fmt: skip
    named = json.loads(write_line(Hold("h", NOON, "m", None, generation="gen-1", session="s")))
    assert (named["generation"], named["session"]) == ("gen-1", "s") and "max_cost" not in named


@pytest.mark.parametrize(
    ("cost", "source", "is_certain"),
    [(None, "", False), (Decimal(1), "estimated", False), (Decimal(0), "", True), (Decimal(1), "late", True)],
)
@pytest.mark.parametrize("identity", ["gen-1", "chatcmpl-1", ""])
def test_only_a_generation_of_uncertain_cost_is_unsettled(
    cost: Decimal | None, source: str, is_certain: bool, identity: str
) -> None:
    """OpenRouter can be asked about its own ids alone."""
    entry = Entry(NOON, "m", cost=cost, cost_source=source, id=identity)
    assert entry.is_certain is is_certain
    assert entry.is_unsettled is (not is_certain and identity == "gen-1")


@pytest.mark.parametrize(
    ("told", "seen", "is_doubtful"), [("", False, False), ("", True, False), ("-1", False, True), ("-1", True, False)]
)
def test_a_bill_is_doubtful_until_somebody_has_looked(told: str, seen: bool, is_doubtful: bool) -> None:
    """A call whose bill can be believed never was doubtful."""
    assert Entry(NOON, "m", told=told, seen=seen).is_doubtful is is_doubtful


def test_the_record_of_a_call_has_the_fields_of_the_guides() -> None:
    """Ten fields, the tokens added up, and the time in UTC wherever the caller is."""
    at = NOON.astimezone(timezone(timedelta(hours=9)))
    entry = Entry(at, "m", 3, 2, Decimal("0.5"), "gen-1", cache_discount=Decimal(-1), provider="P", latency_ms=7)
    assert entry.to_dict() == {
        "generation_id": "gen-1", "model": "m", "timestamp": "2026-11-22T12:00:00+00:00", "prompt_tokens": 3,
        "completion_tokens": 2, "total_tokens": 5, "cost_usd": Decimal("0.5"), "cache_discount": Decimal(-1),
        "provider": "P", "latency_ms": 7,
    }  # fmt: skip
    assert Entry(NOON, "m", tags=(("a", "1"), ("b", "2"))).tag_label == "a=1 b=2"


@pytest.mark.parametrize(("name", "value"), REFUSED, ids=[f"{name}-{n}" for n, (name, _) in enumerate(REFUSED)])
def test_what_an_entry_cannot_be(name: str, value: object) -> None:
    """A wrong value is refused by its name, whoever hands it in."""
    named = {"ts": "ts|a moment", "tags": "tag"}.get(name, name)
    with pytest.raises(InvalidValue, match=named):
        checked_entry({"ts": NOON, "model": "m", name: value})


@pytest.mark.parametrize("value", [1500, 1500.0, Decimal("1500.0"), Decimal("1.5E+3")])
def test_whole_numbers_may_be_written_with_a_point(value: object) -> None:
    """Tools that know of no whole numbers write 1500.0, and mean 1500."""
    assert checked_entry({"ts": NOON, "model": "m", "prompt_tokens": value}).prompt_tokens == 1500


def test_names_that_become_one_are_one_tag() -> None:
    """Two tags whose names differ only in what cannot be written are one when they are read again."""
    entry = checked_entry({"ts": NOON, "model": "m", "tags": {"\ud800": "a", chr(0xDC00): "b"}})
    assert entry.tags == (("?", "b"),)
    assert read_line(write_line(entry)[:-1]) == entry


LINES = [
    (b"", None), (b" \t\r", None), (b"\xef\xbb\xbf", None),
    (b"{}", "ts must be a moment"), (b"null", "not an object"), (b"[]", "not an object"), (b'"x"', "not an object"),
    (b"{", "not JSON"), (b"{}{}", "not JSON"), (b"\xff\xfe{\x00}\x00", "not JSON"), (b"{\x00}\x00", "not JSON"),
    (b"\x00" * 40, "not JSON"), (b'{"cost":NaN}', "not JSON"), (b'{"cost":-Infinity}', "not JSON"),
    (b"[" * 100_000, "not JSON"), (b'{"prompt_tokens":' + b"9" * 5000 + b"}", "not JSON"),
    (b'{"cost":1e99999999999999999999}', "not JSON"), (b'{"cost":01}', "not JSON"), (b"{'ts':1}", "not JSON"),
    (b" " * LONGEST_LINE + b"x", "not JSON"), (b"x" * (LONGEST_LINE + 1), "longer than 1 MiB"),
    (b'{"kind":"hold","ts":"2026-11-22","model":"m"}', "hold is missing"),
    (b'{"kind":"hold","hold":"h","model":"m"}', "ts must be a moment"),
    (b'{"kind":"hold","hold":"h","ts":"2026-11-22","max_cost":"much"}', "max_cost"),
    (b'{"kind":"release","hold":"h"}', "a moment must be written"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "why"), LINES, ids=[f"{n}-{line[:12]!r}" for n, (line, _) in enumerate(LINES)])
def test_lines_that_are_no_entry(line: bytes, why: str | None) -> None:
    """A blank line is nothing, a bad one is damaged and says in what way; none of them is an error."""
    record = read_line(line)
    if why is None:
        assert record is None
    else:
        assert isinstance(record, Unread) and record.is_damaged and why in record.why


@pytest.mark.parametrize("values", [{"kind": "note"}, {"kind": 5}, {"kind": {}}, {"v": 99}, {"v": "2"}, {"v": None}])
def test_lines_from_elsewhere_are_not_damaged(values: dict[str, Any]) -> None:
    """A line of a kind or version that is not known here is told from one that is broken."""
    assert read_line(line_of(**values)[:-1]) == Unread("of a kind from elsewhere", False)


WRITTEN = [
    (b"0.0025", "0.0025"), (b"2.5e-3", "0.0025"), (b'"0.0025"', "0.0025"), (b"0.00022334399999999998",) * 2,
    (b"0", "0"), (b"-0.0", "0"), (b"1E+2", "100"), (b"1.2345678901234567e-07", "0.00000012345678901234567"),
    (b"0.100000000000000005551115123", "0.100000000000000005551115123"), (b"null", None),
]  # fmt: skip


@pytest.mark.parametrize(("written", "cost"), [(w, c.decode() if isinstance(c, bytes) else c) for w, c in WRITTEN])
def test_a_cost_is_the_number_that_was_written(written: bytes, cost: str | None) -> None:
    """Old lines with floats and new ones with exact decimals are read alike: no digit is added or lost."""
    line = line_of(cost=None).replace(b"null", written)
    entry = read_line(line)
    assert isinstance(entry, Entry)
    assert entry.cost == (None if cost is None else Decimal(cost))


@pytest.mark.parametrize("ending", [b"", b"\r", b" ", b"\t\r"])
@pytest.mark.parametrize("beginning", [b"", b"\xef\xbb\xbf", b"  "])
def test_lines_of_other_systems_are_read(beginning: bytes, ending: bytes) -> None:
    """A byte order mark, blanks and a carriage return around a line change nothing."""
    line = line_of(id="gen-1")[:-1]
    assert read_line(beginning + line + ending) == read_line(line)


@pytest.mark.parametrize(
    ("values", "usage"),
    [
        ({}, Usage(1, 100, 10, cost=Decimal("0.0025"))),
        ({"cost": None}, Usage(1, 100, 10, unknown=1)),
        ({"cost_source": "estimated"}, Usage(1, 100, 10, cost=Decimal("0.0025"), estimated=1)),
        ({"byok_cost": Decimal(2), "cached_tokens": 3}, Usage(1, 100, 10, 0, 3, Decimal("0.0025"), Decimal(2))),
        ({"reasoning_tokens": 4, "cache_write_tokens": 5}, Usage(1, 100, 10, 4, 0, Decimal("0.0025"), Decimal(0), 5)),
    ],
)
def test_what_a_call_adds(values: dict[str, Any], usage: Usage) -> None:
    """A call adds its figures once; what is unknown is counted and not taken for nothing."""
    assert an_entry(**values).usage == usage


def test_nothing_of_the_conversation_is_kept() -> None:
    """An entry has no place for what was asked or answered."""
    line = line_of(prompt="a secret", messages=[{"content": "a secret"}], answer="a secret")
    assert b"secret" not in write_line(read_line(line))  # type: ignore[arg-type]


def test_a_hold_may_have_no_bound() -> None:
    """Without a budget nobody asks what a call can cost, and its hold says so by saying nothing."""
    hold = Hold("h1", NOON, "m", None)
    assert b"max_cost" not in write_line(hold)
    assert read_line(write_line(hold)) == hold


def test_any_one_amount_is_a_cap_also_of_nothing() -> None:
    assert not Caps().any
    assert all(Caps(**{name: Decimal(0)}).any for name in Caps._fields)
