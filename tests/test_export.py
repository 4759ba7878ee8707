"""cost_tracker.py export: exact figures, harmless cells, and a file that is written whole, or not at all."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import socket
import stat
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given

from openrouter_usage.figures.exchange import COLUMNS, shielded, unshielded
from tests import booking, oracle
from tests.booking import Tracker, TrackerAt, call, hold
from tests.disk import without_power
from tests.engines import Engine
from tests.running import exact_json
from tests.test_hostile_text import ANY_TEXT, FORMULAS, TERMINAL, harmless

FORMATS = {"csv": "csv", "json": "json", "markdown": "md"}
Golden = Callable[[str, str], None]
needs_posix = pytest.mark.skipif(os.name != "posix", reason="limits and links are those of POSIX")


@pytest.fixture
def tracker(home: Path, engine: Engine) -> Tracker:
    found = engine.tracker(home)
    found.write(booking.sample())
    return found


@pytest.mark.parametrize("face", FORMATS)
def test_an_export_looks_as_it_should(face: str, at: TrackerAt, golden: Golden) -> None:
    ran = at(None, "export", "--format", face)
    assert (ran.code, ran.err) == (0, "")
    golden(f"export.{FORMATS[face]}", ran.out)


@pytest.mark.parametrize("face", FORMATS)
def test_a_file_holds_what_standard_output_would(face: str, tracker: Tracker, at: TrackerAt) -> None:
    before, target = tracker.bytes, tracker.home / "my report"
    printed = at(None, "export", "--format", face, "--output", "-").out
    ran = at(None, "export", "--format", face, "--output", str(target))
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"9 calls written to {target}\n"
    assert target.read_text(encoding="utf-8") == printed
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert tracker.bytes == before


def test_json_has_the_fields_that_other_programs_expect(at: TrackerAt) -> None:
    records = exact_json(at(None, "export", "--format", "json").out)
    assert all(list(record) == list(COLUMNS) for record in records)
    assert list(COLUMNS)[:10] == [
        "generation_id", "model", "timestamp", "prompt_tokens", "completion_tokens", "total_tokens", "cost_usd",
        "cache_discount", "provider", "latency_ms",
    ]  # fmt: skip
    assert [record["total_tokens"] for record in records] == [2000] * 9


def test_figures_are_exact(tracker: Tracker, at: TrackerAt) -> None:
    costs = ["1E-27", "0.30000000000000004", "1000000", "999999.999999999999999999999999999", "0", "1E+3"]
    tracker.fill(b"".join(call(cost=cost) for cost in costs))
    records = exact_json(at(None, "export", "--format", "json").out)
    rows = oracle.read_csv(at(None, "export", "--format", "csv").out)
    marked = oracle.read_markdown(at(None, "export", "--format", "markdown").out)
    for found in (records, rows, marked):
        assert [Decimal(record["cost_usd"]) for record in found] == [Decimal(cost) for cost in costs]
    assert not any("e" in row["cost_usd"].lower() for row in [*rows, *marked])


@pytest.mark.parametrize(
    ("argv", "requests"),
    [
        ((), 9),
        (("--since", "2026-11-21"), 5),
        (("--until", "2026-11-01"), 2),
        (("--since", "2026-11-20T09:00:00Z", "--until", "2026-11-21"), 2),
        (("--since", "2026-11-22", "--until", "2026-11-22", "--tz", "Asia/Kathmandu"), 5),
        (("--since", "2030-01-01"), 0),
    ],
)
def test_a_span_is_exported_as_stats_counts_it(argv: tuple[str, ...], requests: int, at: TrackerAt) -> None:
    records = exact_json(at(None, "export", "--format", "json", *argv).out)
    total = at(None, "stats", "--json", *argv).data["total"]
    assert len(records) == requests == total["requests"]
    assert sum((record["cost_usd"] or Decimal(0) for record in records), Decimal(0)) == total["cost_usd"]


def test_a_call_reported_twice_is_exported_once(tracker: Tracker, at: TrackerAt) -> None:
    tracker.fill(call(cost=None, id="gen-1") + call(cost="1", id="gen-1") + call(cost="2", id="gen-1"))
    (record,) = exact_json(at(None, "export", "--format", "json").out)
    assert record["cost_usd"] == 2  # of two bills that contradict each other the larger one counts


@pytest.mark.parametrize("face", FORMATS)
def test_an_empty_ledger_gives_an_empty_table(face: str, tracker: Tracker, at: TrackerAt) -> None:
    tracker.fill()
    text = at(None, "export", "--format", face).out
    empty = {"csv": ",".join(COLUMNS) + "\n", "json": "[\n]\n"}
    assert text == empty.get(face, text)
    assert text.count("\n") == (1 if face == "csv" else 2)


# -- cells -----------------------------------------------------------------------------------------------------------


@given(ANY_TEXT)
@example('"')
@example("'=1")
@example("'' =1")
@example("a;=1;'=1; '=2;  =3")
@example('"a"')
@example('"a"\x7f')
@example("\x7f\ud800")
def test_a_cell_is_harmless_and_gives_its_text_back(text: str) -> None:
    cell = shielded(text)
    harmless(cell)
    assert "\n" not in cell
    assert not re.match(r"\s*[=+@＝＋－＠]|\s*-(?!\d+(\.\d+)?$)", cell)
    assert not re.search(r";\s*[=+\-@＝＋－＠]", cell)
    assert unshielded(cell) == text


@given(ANY_TEXT)
def test_a_cell_of_another_program_is_read_somehow(text: str) -> None:
    assert isinstance(unshielded(text), str)
    if re.match(r"[\w/:. -]*$", text) and not text.startswith("-"):
        assert unshielded(text) == text


@pytest.mark.parametrize("text", [*FORMULAS, *TERMINAL.values(), "a|b", "a,b", 'say "x"', "x" * 1_000], ids=ascii)
def test_a_hostile_name_stays_in_its_cell(text: str, tracker: Tracker, at: TrackerAt, engine: Engine) -> None:
    tracker.fill(call(model=text, session=text, provider=text, tags={text[:200]: text[:200]}))
    kept = engine.kept(text.encode("utf-8", "replace").decode())
    pages = {face: at(None, "export", "--format", face).out for face in FORMATS}
    for page in pages.values():
        harmless(page)
    (record,) = json.loads(pages["json"])
    assert (record["model"], record["session"], record["tags"]) == (kept, kept, {kept[:200]: kept[:200]})
    (row,) = csv.DictReader(io.StringIO(pages["csv"]))
    for name in ("model", "session", "provider"):
        assert unshielded(row[name]) == kept
        assert not re.match(r"\s*[=+\-@＝＋－＠\t\r\n]", row[name])
    assert json.loads(unshielded(row["tags"])) == {kept[:200]: kept[:200]}
    (marked,) = oracle.read_markdown(pages["markdown"])
    assert marked["cost_usd"] == "0.0025"


def test_neither_keys_nor_prompts_are_in_an_export(tracker: Tracker, at: TrackerAt) -> None:
    tracker.write(call(prompt="a secret prompt", messages=[{"content": "a secret prompt"}], key="a secret key"))
    for face in FORMATS:
        assert "secret" not in at(None, "export", "--format", face).out


# -- where to --------------------------------------------------------------------------------------------------------


def leftovers(folder: Path) -> list[str]:
    """What lies in a folder, hidden files included, besides the ledger's own folder."""
    return sorted(path.name for path in folder.iterdir() if path.name != ".openrouter")


def test_a_file_that_is_there_is_replaced_only_by_force(tracker: Tracker, at: TrackerAt) -> None:
    target = tracker.home / "report.csv"
    target.write_text("mine")
    refused = at(None, "export", "--format", "csv", "--output", str(target))
    assert (refused.code, refused.out) == (2, "")
    assert f"{target} already exists -- name another file, or add --force to replace it" in refused.error_line
    assert target.read_text() == "mine"
    done = at(None, "export", "--format", "csv", "--output", str(target), "--force", "--json")
    assert done.json["kind"] == "export"
    assert done.data == {"calls": 9, "format": "csv", "file": str(target)}
    assert target.read_text(encoding="utf-8") == at(None, "export", "--format", "csv").out
    assert leftovers(tracker.home) == ["report.csv"]


@needs_posix
@pytest.mark.parametrize("kind", ["link", "dangling link", "folder", "fifo", "socket", "nowhere", "too long", "empty"])
@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_regular_file_is_not_written_to(
    kind: str, force: bool, tracker: Tracker, at: TrackerAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing here is a device: were it replaced after all, root would lose it for the whole machine.
    target, other = tracker.home / "target", tracker.home / "other"
    match kind:
        case "link":
            other.write_text("mine")
            target.symlink_to(other)
        case "dangling link":
            target.symlink_to(other)
        case "folder":
            target.mkdir()
        case "fifo":
            os.mkfifo(target)
        case "socket":
            monkeypatch.chdir(tracker.home)  # the name of a socket has to be short
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind("target")
        case "nowhere":
            target = tracker.home / "no folder" / "report"
        case "too long":
            target = tracker.home / ("x" * 300)
        case "empty":
            target = Path("")
    before = leftovers(tracker.home)
    name = "" if kind == "empty" else str(target)
    ran = at(None, "export", "--format", "csv", "--output", name, *(["--force"] if force else []))
    assert (ran.code, ran.out) == (2, "")
    assert "is not written: it is not a regular file" in ran.error_line or "cannot be written" in ran.error_line
    assert leftovers(tracker.home) == before
    assert not other.exists() or other.read_text() == "mine"


OWN = ["usage.jsonl", "usage.jsonl.index", "../.openrouter/usage.jsonl", "linked/usage.jsonl", "credentials.env"]


@pytest.mark.parametrize("name", OWN)
def test_the_ledger_itself_is_never_replaced(name: str, tracker: Tracker, at: TrackerAt) -> None:
    tracker.write(hold("open"))
    (tracker.folder / "linked").symlink_to(tracker.folder)
    before = tracker.bytes
    ran = at(None, "export", "--format", "json", "--force", "--output", str(tracker.folder / name))
    assert ran.code == 2
    assert "is not written: it is this program's own file" in ran.error_line
    assert tracker.bytes == before
    assert at(None, "stats", "--json").data["total"]["requests"] == 9


@needs_posix
def test_a_folder_that_is_read_only_is_left_alone(tracker: Tracker) -> None:
    folder = tracker.home / "read only"
    folder.mkdir()
    folder.chmod(0o500)
    ran = tracker("export", "--format", "csv", "--output", str(folder / "report.csv"), **without_power())
    folder.chmod(0o700)
    assert ran.code == 2
    assert "cannot be written: Permission denied" in ran.error_line
    assert leftovers(folder) == []


@needs_posix
@pytest.mark.parametrize("force", [(), ("--force",)])
def test_a_full_device_leaves_what_was_there(force: tuple[str, ...], tracker: Tracker) -> None:
    target = tracker.home / "report.csv"
    if force:
        target.write_text("mine")
    tracker.write(*(call(session="x" * 900) for _ in range(300)))
    tracker("stats")  # the index has to be there: the limit holds for it as well
    ran = tracker("export", "--format", "csv", "--output", str(target), *force, room=200_000)
    assert (ran.code, ran.out) == (2, "")
    assert "cannot be written: File too large" in ran.error_line
    assert leftovers(tracker.home) == (["report.csv"] if force else [])
    assert not force or target.read_text() == "mine"


@pytest.mark.parametrize(("shell", "error"), [(">&-", "standard output is closed"), ("> /dev/full", "No space left")])
def test_standard_output_that_takes_nothing_is_no_success(shell: str, error: str, tracker: Tracker) -> None:
    ran = tracker("export", "--format", "csv", shell=shell)
    assert ran.code == 2
    assert error in ran.error_line


def test_a_reader_that_goes_away_is_no_crash(tracker: Tracker) -> None:
    tracker.write(*(call(id=f"gen-{number}") for number in range(3_000)))
    ran = tracker("export", "--format", "csv", shell="| head -n 1")
    assert ran.out == ",".join(COLUMNS) + "\n"
    assert ran.err == ""


def test_of_two_exports_to_one_new_file_one_is_refused(tracker: Tracker) -> None:
    target = tracker.home / "report.json"
    running = [tracker.start("export", "--format", "json", "--output", str(target)) for _ in range(4)]
    codes = sorted([process.communicate() and process.returncode for process in running])
    assert codes == [0, 2, 2, 2]
    assert len(json.loads(target.read_text())) == 9
    assert leftovers(tracker.home) == ["report.json"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--output", "x.csv"), "the following arguments are required: --format"),
        (("--format", "xlsx"), "invalid choice: 'xlsx'"),
        (("--format", "csv", "--json"), "--json describes a written file, but none is named"),
        (("--format", "csv", "--until", "2026-13-01"), "a day must be written like 2026-11-22"),
    ],
)
def test_a_wrong_argument_writes_nothing(
    argv: tuple[str, ...], message: str, tracker: Tracker, at: TrackerAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tracker.home)
    ran = at(None, "export", *argv)
    assert ran.code == 2
    assert message in ran.error_line
    assert leftovers(tracker.home) == []


def test_a_ledger_that_cannot_be_read_leaves_no_file(tracker: Tracker, at: TrackerAt) -> None:
    target = tracker.home / "report.csv"
    ran = at(None, "export", "--format", "csv", "--output", str(target), env={"OPENROUTER_USAGE_FILE": "/dev/full"})
    assert ran.code == 6
    assert "is not a regular file" in ran.error_line
    assert leftovers(tracker.home) == []


def test_an_interrupted_export_leaves_no_file(tracker: Tracker, at: TrackerAt, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.link", interrupted)
    ran = at(None, "export", "--format", "csv", "--output", str(tracker.home / "report.csv"))
    assert ran.code == 130
    assert leftovers(tracker.home) == []


def test_without_links_a_file_is_written_all_the_same(
    tracker: Tracker, at: TrackerAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: Any) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("os.link", unsupported)
    assert at(None, "export", "--format", "csv", "--output", str(tracker.home / "report.csv")).code == 0
    assert leftovers(tracker.home) == ["report.csv"]
