"""cost_tracker.py import: what was exported comes back to the last digit, once, and half a file is none."""

from __future__ import annotations

import json
import tempfile
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openrouter_usage.cli.verbs import import_calls
from openrouter_usage.cli.verbs.import_calls import _without_known
from openrouter_usage.entry import Entry, checked_entry
from openrouter_usage.figures.exchange import COLUMNS, csv_pieces, json_pieces
from openrouter_usage.figures.logs.import_calls import imported
from openrouter_usage.ledger.ledger import Ledger
from tests import booking
from tests.booking import NOON, Tracker, TrackerAt, call, hold, release, written
from tests.test_hostile_text import ANY_TEXT, FORMULAS, TERMINAL, harmless

HEAD = ",".join(COLUMNS) + "\n"
FULL = {"timestamp": "2026-11-22T10:30:00Z", "model": "a/b", "cost_usd": "0.5"}


@pytest.fixture
def tracker(home: Path) -> Tracker:
    return Tracker(home)


def given_file(tracker: Tracker, data: bytes | str) -> str:
    path = tracker.home / "given"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return str(path)


def csv_of(**cells: str) -> str:
    """One record as CSV, with the names of its columns above it."""
    return ",".join(cells) + "\n" + ",".join(cells.values()) + "\n"


# -- there and back --------------------------------------------------------------------------------------------------

TEXTS = st.one_of(st.sampled_from([*FORMULAS, *TERMINAL.values(), "x" * 1_000, "'", '"', "unknown"]), ANY_TEXT)
NAMES = TEXTS.map(lambda text: text[:1_000])
SHORT = TEXTS.map(lambda text: text[:200])
AMOUNTS = st.one_of(
    st.decimals(0, 1_000_000, places=27, allow_nan=False),
    st.floats(1e-9, 1e5, allow_nan=False),
    st.sampled_from(["1E-27", 0, "1000000", 0.1 + 0.2, 1e-7, "0.000000000000000000000000001"]),
)
COUNTS = st.integers(0, 10**12)
OPTIONAL = {
    "id": st.one_of(NAMES.filter(lambda text: text != "unknown"), st.integers(0, 5).map("gen-{}".format)),
    "cost": AMOUNTS, "byok_cost": AMOUNTS, "cache_discount": st.one_of(AMOUNTS, st.just("-0.01")),
    "provider": NAMES, "session": NAMES, "finish_reason": NAMES, "tags": st.dictionaries(SHORT, SHORT, max_size=4),
    "cached_tokens": COUNTS, "cache_write_tokens": COUNTS, "reasoning_tokens": COUNTS, "latency_ms": COUNTS,
    "streamed": st.booleans(), "cost_source": st.sampled_from(["billed", "late", "estimated", "unknown"]),
    "told": NAMES, "seen": st.booleans(), "tool_cost": AMOUNTS, "file_cost": AMOUNTS,
}  # fmt: skip


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    values: dict[str, Any] = {name: draw(texts) for name, texts in OPTIONAL.items() if draw(st.booleans())}
    at = draw(st.datetimes(datetime(2000, 1, 2), datetime(2199, 12, 30), timezones=st.just(timezone.utc)))
    tokens = {"prompt_tokens": draw(COUNTS), "completion_tokens": draw(COUNTS)}
    return checked_entry({**values, **tokens, "ts": at, "model": draw(NAMES.filter(bool))})


@given(st.lists(entries(), max_size=4))
def test_every_field_of_a_call_survives_an_export(calls: list[Entry]) -> None:
    assert list(imported("".join(csv_pieces(calls))).entries) == calls
    assert list(imported("".join(json_pieces(calls))).entries) == calls
    assert list(imported(written(calls).decode() or "[]").entries) == calls


@settings(max_examples=25)
@given(st.lists(entries(), max_size=6))
def test_importing_what_a_ledger_has_adds_nothing(calls: list[Entry]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        whole, copy = Ledger(Path(folder) / "whole.jsonl"), Ledger(Path(folder) / "copy.jsonl")
        whole.path.write_bytes(written([*calls, *calls]))  # also what looks the same and has no id
        counted = list(whole.entries())
        for pieces in (csv_pieces, json_pieces):
            again = list(imported("".join(pieces(counted))).entries)
            assert whole.append_all(_without_known(whole, again)) == (0, 0)
            added = copy.append_all(_without_known(copy, again))
            assert added == (len(counted) if pieces is csv_pieces else 0, 0)
        assert copy.totals().total == whole.totals().total
        assert copy.totals(by="tag").groups == whole.totals(by="tag").groups
        whole.close()
        copy.close()


@pytest.mark.parametrize("face", ["csv", "json", "jsonl"])
def test_an_export_is_read_back_once(face: str, tracker: Tracker, at: TrackerAt) -> None:
    tracker.write(booking.sample(), *(call(model=text, session=text) for text in [*FORMULAS, *TERMINAL.values()]))
    tracker.write(call(cost="0.7"), call(cost="0.7"))
    if face == "jsonl":
        lines = [line + b"\n" for line in tracker.bytes.splitlines() if b"torn" not in line and b"marker" not in line]
        text = b"".join(lines).decode()
    else:
        text = at(None, "export", "--format", face).out
    path, count = given_file(tracker, text), 9 + len(FORMULAS) + len(TERMINAL) + 2
    assert at(None, "import", path).out == f"0 calls added, {count} already known\n"
    expected = at(NOON, "stats", "--json").data
    tracker.ledger.rename(tracker.home / "kept")
    for added in (count, 0, 0):
        ran = at(None, "import", path, "--json")
        assert (ran.code, ran.err, ran.data) == (0, "", {"added": added, "completed": 0, "known": count - added})
        data = at(NOON, "stats", "--json").data
        assert (data["total"], data["groups"]) == (expected["total"], expected["groups"])


def test_two_calls_that_look_the_same_are_two(tracker: Tracker, at: TrackerAt) -> None:
    twice = given_file(tracker, json.dumps([FULL, FULL]))
    once = tracker.home / "once"
    once.write_text(json.dumps([FULL]))
    for path, added in ((str(once), 1), (twice, 1), (twice, 0), (str(once), 0)):
        assert at(None, "import", path, "--json").data["added"] == added
    assert at(None, "stats", "--json").data["total"]["requests"] == 2


def test_calls_that_differ_in_anything_are_different(tracker: Tracker, at: TrackerAt) -> None:
    other = {"model": "c/d", "timestamp": "2026-11-22T10:30:01Z", "cost_usd": "0.51", "prompt_tokens": 1,
             "completion_tokens": 1, "session": "x", "provider": "x", "tags": {"a": "b"}, "byok_cost_usd": 1,
             "latency_ms": 1, "streamed": True, "cached_tokens": 1, "cost_source": "estimated"}  # fmt: skip
    records = [FULL, *({**FULL, name: value} for name, value in other.items())]
    assert at(None, "import", given_file(tracker, json.dumps(records[:1]))).code == 0
    assert at(None, "import", given_file(tracker, json.dumps(records)), "--json").data == {
        "added": len(other), "completed": 0, "known": 1
    }  # fmt: skip


def test_a_known_cost_replaces_an_unknown_one_and_nothing_else(tracker: Tracker, at: TrackerAt) -> None:
    tracker.write(call(cost=None, id="gen-1"), call(cost="1", id="gen-2"), call(cost="1", id="gen-3"))
    costs = {"gen-1": 3, "gen-2": 9, "gen-3": None}
    records = [{**FULL, "generation_id": name, "cost_usd": cost} for name, cost in costs.items()]
    done = at(None, "import", given_file(tracker, json.dumps(records)), "--json").data
    assert done == {"added": 0, "completed": 1, "known": 2}
    assert at(None, "stats", "--json").data["total"]["cost_usd"] == 5


def test_an_id_that_comes_twice_in_a_file_counts_once(tracker: Tracker, at: TrackerAt) -> None:
    records = [{**FULL, "generation_id": "gen-1"}, {**FULL, "generation_id": "gen-1", "cost_usd": 9}]
    done = at(None, "import", given_file(tracker, json.dumps(records)), "--json").data
    assert done == {"added": 1, "completed": 0, "known": 1}
    assert at(None, "stats", "--json").data["total"]["cost_usd"] == Decimal("0.5")


# -- files of others -------------------------------------------------------------------------------------------------


def test_the_history_of_another_tracker_is_read(tracker: Tracker, at: TrackerAt) -> None:
    record = {
        "generation_id": "unknown", "model": "a/b", "timestamp": "2025-12-01T10:30:00.123456", "prompt_tokens": 10,
        "completion_tokens": 5, "total_tokens": 15, "cost_usd": 0.1 + 0.2, "cache_discount": 0, "provider": "unknown",
        "latency_ms": 0,
    }  # fmt: skip
    path = given_file(tracker, json.dumps([record, {**record, "timestamp": "2025-12-01T10:31:00"}], indent=2))
    assert at(None, "import", path).out == "2 calls added, 0 already known\n"
    assert at(None, "import", path).out == "0 calls added, 2 already known\n"
    data = at(NOON, "stats", "--json").data
    assert data["total"]["cost_usd"] == Decimal("0.60000000000000008")
    assert b'"ts":"2025-12-01T10:30:00.123456Z"' in tracker.bytes


def test_a_ledger_with_holds_leaves_them_where_they_are(tracker: Tracker, at: TrackerAt) -> None:
    lines = [hold("open"), hold("ended"), call(cost="1", hold="ended"), hold("gone"), release("gone"), b"\n"]
    path = given_file(tracker, b"".join(lines))
    assert at(None, "import", path, "--json").data == {"added": 1, "completed": 0, "known": 0}
    assert at(None, "import", path, "--json").data == {"added": 0, "completed": 0, "known": 1}
    data = at(NOON, "stats", "--json").data
    assert (data["total"]["cost_usd"], data["open_holds"]) == (1, 0)


def test_the_ledger_may_be_imported_into_itself(tracker: Tracker, at: TrackerAt) -> None:
    tracker.write(call(cost="1"), call(cost="1"), hold("open"), call(id="gen-1"), hold("a"), call(cost="2", hold="a"))
    before = tracker.bytes
    assert at(None, "import", str(tracker.ledger), "--json").data == {"added": 0, "completed": 0, "known": 4}
    for face in ("csv", "json"):
        exported = given_file(tracker, at(None, "export", "--format", face).out)
        assert at(None, "import", exported, "--json").data == {"added": 0, "completed": 0, "known": 4}
    assert tracker.bytes == before


@pytest.mark.parametrize(("cell", "streamed"), [("true", True), ("TRUE", True), ("False", False), ("", None), ("1", None)])
def test_a_spreadsheet_may_have_written_truth_in_capitals(cell: str, streamed: bool | None) -> None:
    (entry,) = imported(csv_of(**FULL, streamed=cell)).entries
    assert entry.streamed is streamed


SPELLINGS = [
    ("\ufeff" + csv_of(**FULL), "byte order mark"),
    (csv_of(**FULL).replace("\n", "\r\n"), "line ends of Windows"),
    (csv_of(**FULL).replace(",", ";"), "semicolons"),
    ("\n\n" + csv_of(**FULL) + "\n\n", "empty lines"),
    (csv_of(**FULL, note="mine", total_tokens="7"), "columns of their own"),
    (csv_of(**FULL, streamed="TRUE"), "capitals of a spreadsheet"),
    (csv_of(**FULL).replace("a/b", '"a/b"'), "quotes"),
    (json.dumps([FULL]), "JSON"),
    ("\ufeff \n" + json.dumps([{**FULL, "cost_usd": 0.5}], indent=4), "JSON over lines"),
    ('{"ts":"2026-11-22T19:30:00+09:00","model":"a/b","cost":5e-1}', "a ledger line without its end"),
    ('{"ts":"2026-11-22 10:30:00","model":"a/b","cost":0.5,"v":1,"prompt":"x"}\r\n\r\n', "a ledger of Windows"),
]


@pytest.mark.parametrize(("text", "spelling"), SPELLINGS, ids=[spelling for _, spelling in SPELLINGS])
def test_a_call_is_read_however_it_is_spelled(text: str, spelling: str, tracker: Tracker, at: TrackerAt) -> None:
    ran = at(None, "import", given_file(tracker, text))
    assert (ran.code, ran.out) == (0, "1 call added, 0 already known\n"), ran.err
    assert tracker.bytes.startswith(b'{"ts":"2026-11-22T10:30:00Z","model":"a/b","prompt_tokens":0,')
    assert at(None, "stats", "--json").data["total"]["cost_usd"] == Decimal("0.5")


OWN_NAMES = {"ts": "2026-11-22T10:30:00Z", "model": "a/b", "cost": "0.5", "id": "gen-1", "byok_cost": "0.25"}


@pytest.mark.parametrize("face", [csv_of(**OWN_NAMES), json.dumps([OWN_NAMES])], ids=["csv", "json"])
def test_a_column_may_be_called_what_the_ledger_calls_it(face: str, tracker: Tracker, at: TrackerAt) -> None:
    ran = at(None, "import", given_file(tracker, face))
    assert (ran.code, ran.out, ran.err) == (0, "1 call added, 0 already known\n", "")
    (entry,) = imported(face).entries
    assert (entry.id, entry.cost, entry.byok_cost) == ("gen-1", Decimal("0.5"), Decimal("0.25"))
    assert at(None, "stats", "--json").data["total"]["cost_usd"] == Decimal("0.5")


@pytest.mark.parametrize("as_csv", [True, False])
def test_columns_that_are_not_read_are_named(as_csv: bool, tracker: Tracker, at: TrackerAt) -> None:
    record = {**FULL, "cost": "7", "price": "8", "total_tokens": "9"}
    path = given_file(tracker, csv_of(**record) if as_csv else json.dumps([record]))
    ran = at(None, "import", path)
    assert (ran.code, ran.error_line.strip().rpartition(": ")[2]) == (0, "cost, price")
    # The export's own name is the stronger, and what was not taken is said.
    assert at(None, "stats", "--json").data["total"]["cost_usd"] == Decimal("0.5")
    (note,) = at(None, "import", path, "--json").json["notes"]
    assert note.endswith(": cost, price")


def test_the_names_of_very_many_columns_are_cut_and_safe_to_print(tracker: Tracker, at: TrackerAt) -> None:
    record = {**FULL, "\x1b[2J": 1, **{f"column {number}" * 50: 1 for number in range(500)}}
    ran = at(None, "import", given_file(tracker, json.dumps([record])))
    assert ran.code == 0 and ran.error_line.endswith(", ...\n")
    harmless(ran.err)


NO_CALLS = ["[]", "[\n]\n", HEAD, "timestamp,model", release("a").decode()]


@pytest.mark.parametrize("text", NO_CALLS, ids=ascii)
def test_a_file_without_calls_adds_none(text: str, tracker: Tracker, at: TrackerAt) -> None:
    assert at(None, "import", given_file(tracker, text)).out == "0 calls added, 0 already known\n"


def test_a_file_comes_through_standard_input(tracker: Tracker) -> None:
    ran = tracker("import", "-", input=json.dumps([FULL]).encode())
    assert (ran.code, ran.out) == (0, "1 call added, 0 already known\n")
    assert tracker("import", "-", shell="<&-").code == 2


# -- what is no export -----------------------------------------------------------------------------------------------

NEITHER = "this is neither JSON nor CSV with the columns timestamp and model"
GARBAGE: list[tuple[Any, str]] = [
    ("", NEITHER),
    (" \n\n", NEITHER),
    ("hello", NEITHER),
    ("garbage\n" + csv_of(**FULL), NEITHER),
    ("time,model\n2026-11-22,a/b\n", NEITHER),
    ("timestamp,model,model\n2026-11-22,a/b,c/d\n", NEITHER),
    ("timestamp\tmodel\n2026-11-22\ta/b\n", NEITHER),
    (b"\xff\xfe[\x00]\x00", "is not UTF-8 text"),
    (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is not UTF-8 text"),
    (b"\0" * 10_000, NEITHER),
    ("[", "this is no JSON"),
    (json.dumps([FULL])[:-1], "this is no JSON"),
    (json.dumps([FULL]) + "x", "this is no JSON"),
    ("[" * 100_000, "this is no JSON: the JSON is nested too deeply"),
    ("[NaN]", "this is no JSON"),
    ('[{"timestamp":"2026-11-22","model":"a","cost_usd":1e999999999999999999999}]', "this is no JSON"),
    ("[1]", "a list of objects was expected"),
    ("[[]]", "a list of objects was expected"),
    ('{"schema_version":1,"data":[]}', "line 1 is not a call: ts must be a moment"),
    ('\n\n{"ts":"2026-11-22","model":"a"}\n\n{"ts":"2026-11-22"}', "line 5 is not a call: model is missing"),
    ('{"kind":"later","ts":"2026-11-22"}', "line 1 is not a call: of a kind from elsewhere"),
    ('{"ts":"2026-11-22","model":"a"}\n{"ts":"2026-11-22","mod', "line 2 is not a call: not JSON"),
    ("timestamp,model,cost_usd\n2026-11-22,a/b,0,0025\n", "record 1 is not a call: 4 cells for 3 columns"),
    ("timestamp,model,cost_usd\n2026-11-22,a/b,1\n2026-11-22,a/b\n", "record 2 is not a call: 2 cells for 3 columns"),
    ("timestamp;model;cost_usd\n2026-11-22;a/b;0,0025\n", "record 1 is not a call: cost: an amount in USD must be a plain"),
    ('timestamp,model\n2026-11-22,"a/b', "this CSV cannot be read"),
    (f"timestamp,model\n2026-11-22,{'x' * 200_000}\n", "this CSV cannot be read"),
    (csv_of(**FULL, tags="{bad"), "record 1 is not a call: tags must be"),
    (csv_of(**FULL, tags="[]"), "record 1 is not a call: tags must be"),
    (csv_of(**FULL, prompt_tokens="9" * 5_000), "record 1 is not a call: prompt_tokens must be a whole number"),
    (csv_of(**FULL, prompt_tokens="-1"), "record 1 is not a call: prompt_tokens must be a whole number"),
    (csv_of(**FULL, prompt_tokens="1.5"), "record 1 is not a call: prompt_tokens must be a whole number"),
    (csv_of(**FULL, prompt_tokens="٣"), "record 1 is not a call: prompt_tokens must be a whole number"),
    (csv_of(**FULL, byok_cost_usd="-1"), "record 1 is not a call: byok_cost must be an amount from 0"),
    (csv_of(**{**FULL, "cost_usd": "$0.50"}), "record 1 is not a call: cost: an amount in USD must be a plain number"),
    (csv_of(**{**FULL, "cost_usd": "NaN"}), "record 1 is not a call: cost: an amount in USD must be a plain number"),
    (csv_of(**{**FULL, "cost_usd": "1000000.01"}), "record 1 is not a call: cost must be an amount from 0"),
    (csv_of(**{**FULL, "cost_usd": "1e-28"}), "record 1 is not a call: cost: an amount in USD must have at most 27"),
    (csv_of(**{**FULL, "timestamp": "22.11.2026"}), "record 1 is not a call: a moment must be written like"),
    (csv_of(**{**FULL, "timestamp": "1999-12-31"}), "record 1 is not a call: ts must be in the years"),
    (csv_of(**{**FULL, "model": ""}), "record 1 is not a call: model is missing"),
    (csv_of(**{**FULL, "model": "x" * 1_001}), "record 1 is not a call: model must be a text of at most"),
    (json.dumps([{**FULL, "cost_usd": True}]), "record 1 is not a call: cost: an amount in USD must be a number, not bool"),
    (json.dumps([FULL, {**FULL, "cost_usd": "-1"}]), "record 2 is not a call: cost must be an amount from 0"),
    (json.dumps([{**FULL, "prompt_tokens": True}]), "record 1 is not a call: prompt_tokens must be a whole number"),
    (json.dumps([{**FULL, "model": ["a"]}]), "record 1 is not a call: model must be a text"),
    (json.dumps([{**FULL, "generation_id": 7}]), "record 1 is not a call: id must be a text"),
    (json.dumps([{**FULL, "cost_source": "\x1b[2J"}]), "record 1 is not a call: cost_source must be one of"),
    (json.dumps([{**FULL, "tags": {"a": 1}}]), "record 1 is not a call: a tag must be a text"),
]


@pytest.mark.parametrize(("data", "message"), GARBAGE, ids=[ascii(data)[:50] for data, _ in GARBAGE])
def test_what_is_no_export_is_named_and_nothing_is_written(
    data: Any, message: str, tracker: Tracker, at: TrackerAt
) -> None:
    tracker.write(call(cost="1"))
    before = tracker.bytes
    path = given_file(tracker, data)
    ran = at(None, "import", path)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.error_line
    harmless(ran.err)
    assert len(ran.err) < 500
    assert tracker.bytes == before
    failed = at(None, "import", path, "--json")
    assert message in failed.json["error"]["message"]


@pytest.mark.parametrize("face", ["csv", "json", "jsonl"])
def test_of_a_file_that_is_half_bad_nothing_is_written(face: str, tracker: Tracker, at: TrackerAt) -> None:
    good = [checked_entry({"ts": NOON + timedelta(seconds=n), "model": "a/b", "cost": n}) for n in range(50)]
    text = {"csv": csv_pieces, "json": json_pieces, "jsonl": lambda calls: [written(calls).decode()]}[face](good)
    whole = "".join(text).replace("0:49Z", "0:99Z")
    for bad in (whole, whole[:-30]):
        assert at(None, "import", given_file(tracker, bad)).code == 2
        assert not tracker.ledger.exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [(".", "Is a directory"), ("missing", "No such file"), ("a\x1b[2J\nb", "No such file"), ("x" * 5_000, "too long")],
    ids=["folder", "missing", "hostile", "long"],
)
def test_a_file_that_cannot_be_read_is_named(name: str, message: str, tracker: Tracker, at: TrackerAt) -> None:
    ran = at(None, "import", str(tracker.home / name))
    assert ran.code == 2
    assert message in ran.error_line
    harmless(ran.err)
    assert len(ran.err) < 500


def test_a_file_beyond_all_measure_is_not_read(
    tracker: Tracker, at: TrackerAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_calls, "_LARGEST_FILE", 100)
    path = given_file(tracker, "[" + " " * 98 + "]")
    assert at(None, "import", path).code == 0
    refused = at(None, "import", given_file(tracker, "[" + " " * 99 + "]"))
    assert (refused.code, refused.out) == (2, "")
    assert "is larger than 1 GiB -- split the file" in refused.error_line


def test_a_full_disk_leaves_the_ledger_as_it_was(tracker: Tracker) -> None:
    tracker.write(*(call(session="x" * 900) for _ in range(100)))
    tracker("stats")
    before = tracker.bytes
    records = [{**FULL, "session": "y" * 900, "generation_id": str(number)} for number in range(300)]
    path = given_file(tracker, json.dumps(records))
    ran = tracker("import", path, room=200_000)
    assert (ran.code, ran.out) == (6, "")
    assert "cannot be written: File too large" in ran.error_line
    assert tracker.bytes == before
    assert tracker("import", path).out == "300 calls added, 0 already known\n"


def test_a_ledger_that_cannot_be_written_is_named(tracker: Tracker, at: TrackerAt) -> None:
    path = given_file(tracker, json.dumps([FULL]))
    ran = at(None, "import", path, env={"OPENROUTER_USAGE_FILE": str(tracker.home)})
    assert (ran.code, ran.out) == (6, "")
    assert "is not a regular file" in ran.error_line


@pytest.mark.parametrize("argv", [(), ("a", "b"), ("--all", "a")])
def test_one_file_is_named(argv: tuple[str, ...], at: TrackerAt) -> None:
    assert at(None, "import", *argv).code == 2
