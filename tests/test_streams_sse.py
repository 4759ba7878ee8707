"""Server-sent events come out the same however their bytes are cut, and whatever ends their lines."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openrouter_usage.errors import BadAnswer
from openrouter_usage.openrouter.inference import LONGEST_EVENT, events, lines

ENDS = ("\n", "\r\n", "\r")
TEXTS = st.text(st.characters(exclude_characters="\r\n", exclude_categories=("Cs",)), max_size=12)
CHUNKS = st.builds(lambda text: json.dumps({"delta": text}, ensure_ascii=False), TEXTS)
# One event, as the lines that it is written in, and what it says.
EVENTS = st.one_of(
    st.tuples(CHUNKS.map(lambda chunk: [f"data: {chunk}"]), st.none()),
    st.tuples(CHUNKS.map(lambda chunk: [f"data:{chunk}"]), st.none()),
    st.tuples(TEXTS.map(lambda text: [f": {text}"]), st.just("")),
    st.tuples(st.just([": OPENROUTER PROCESSING"]), st.just("")),
    st.tuples(CHUNKS.map(lambda chunk: ["event: message", "id: 7", f"data: {chunk}", "retry: 5"]), st.none()),
    st.tuples(st.just([""]), st.just("")),
)


def cut(data: bytes, places: list[int]) -> Iterator[bytes]:
    """The bytes in pieces, some of them empty."""
    at = 0
    for place in sorted(place % (len(data) + 1) for place in places):
        yield data[at:place]
        at = place
    yield data[at:]


@given(st.lists(EVENTS, max_size=6), st.sampled_from(ENDS), st.lists(st.integers(0, 10_000), max_size=12))
@example([(["data: {}"], None)], "\r\n", [9, 9, 10, 10, 11])
@example([(["data: é💰"], None)], "\r", [7, 8, 9, 10, 11, 12, 13])
def test_any_split_of_any_stream_gives_the_same_events(written, end, places):
    data = "".join(line + end for event, _ in written for line in [*event, ""]).encode()
    wanted = [
        line.removeprefix("data:").removeprefix(" ")
        for event, said in written
        for line in event
        if said is None and line.startswith("data:")
    ]
    assert list(events([data])) == wanted
    assert list(events(cut(data, places))) == wanted
    assert list(events(bytes([byte]) for byte in data)) == wanted


@given(st.binary(max_size=60), st.lists(st.integers(0, 100), max_size=8))
def test_bytes_that_mean_nothing_give_the_same_lines_however_they_are_cut(data, places):
    assert list(lines(cut(data, places))) == list(lines([data]))


@given(st.lists(TEXTS, min_size=1, max_size=5), st.sampled_from(ENDS))
def test_lines_of_data_of_one_event_are_joined(texts, end):
    data = "".join(f"data: {text}{end}" for text in texts) + end
    assert list(events([data.encode()])) == ["\n".join(texts)]


@pytest.mark.parametrize("end", ENDS)
def test_an_event_is_given_as_soon_as_its_last_byte_is_there(end):
    def pieces() -> Iterator[bytes]:
        yield f"data: first{end}{end}".encode()
        raise AssertionError("more was asked for")

    assert next(events(pieces())) == "first"


@pytest.mark.parametrize("rest", ["data: half", "data: half\n", "data: half\r"])
def test_an_event_that_did_not_arrive_whole_is_not_given(rest):
    assert list(events([b"data: whole\n\n" + rest.encode()])) == ["whole"]


def test_a_byte_order_mark_and_bytes_that_are_no_utf_8_are_survived():
    assert list(events([b"\xef\xbb\xbfdata: a\xff\n\n"])) == ["a\ufffd"]


def test_a_line_without_an_end_is_given_up():
    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * (1024 * 1024)

    with pytest.raises(BadAnswer, match="16 MiB"):
        list(events(endless()))
    assert LONGEST_EVENT == 16 * 1024 * 1024
