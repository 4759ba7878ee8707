"""What a model says is only ever shown by a terminal, and comes through a pipe as it was said."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from openrouter_usage.text import safe_lines
from tests.booking import TRACKER, Tracker
from tests.calling import HELLO
from tests.running import HANG_GUARD_S
from tests.sandbox import Fault, Reply, Sandbox
from tests.terminals import on_a_terminal
from tests.test_hostile_text import TERMINAL, harmless

BOTH = pytest.mark.parametrize("stream", [(), ("--stream",)], ids=["whole", "stream"])
WORDS = "".join(TERMINAL.values()).replace("\ud800", "").replace("\n", "") + "\x1b[31mred\x1b[0m \x1bP1$r\x1b\\ \x05 \x18"


def chunked(*pieces: str) -> Fault:
    said: list[Any] = [{"id": "gen-1", "choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces]
    said.append({"id": "gen-1", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.001}})
    body = b"".join(f"data: {json.dumps(piece)}\n\n".encode() for piece in said) + b"data: [DONE]\n\n"
    return Fault.raw(body, "text/event-stream")


@BOTH
def test_a_model_s_words_steer_no_terminal(stream: Any, home: Path, sandbox: Sandbox) -> None:
    """Escapes, the clipboard, bidi and what is invisible are seen, and do nothing; lines and tabs stay."""
    sandbox.account.reply = Reply(f"one\n\ttwo {WORDS} three\nGrüße, 世界 💰.")
    code, out, err = on_a_terminal(Tracker(home, sandbox.url), "call", *HELLO, *stream)
    assert code == 0
    harmless(out.replace("\t", ""))
    harmless(err)
    assert out.startswith("one\n\ttwo ") and out.endswith(" three\nGrüße, 世界 💰.\n")
    assert "\\x1b]52;c;cm0gLXJmIH4=\\x07" in out and "\\u202e" in out and "\\x9b2J" in out


@BOTH
def test_a_pipe_gets_a_model_s_words_as_they_are(stream: Any, home: Path, sandbox: Sandbox) -> None:
    """What goes into a file may be a program's source, with every sign in it."""
    said = f"one\r\ntwo {WORDS} three"
    sandbox.account.reply = Reply(said)
    done = subprocess.run(
        [sys.executable, str(TRACKER), "call", *HELLO, *stream],
        env=Tracker(home, sandbox.url).environment({}),
        capture_output=True,
        timeout=HANG_GUARD_S,
        check=False,
    )
    assert (done.returncode, done.stdout.decode()) == (0, said + "\n")
    harmless(done.stderr.decode())


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        (["a\x1b", "[2J", "b"], "a\\x1b[2Jb\n"),
        (["a\r", "\nb"], "a\nb\n"),
        (["a\r\n", "b\r"], "a\nb\\r\n"),
        (["fine\r", "gone"], "fine\\rgone\n"),
        (["\u202e", "\u202d"], "\\u202e\\u202d\n"),
        (["\x9b", "31m"], "\\x9b31m\n"),
        (["\ud83d", "\ude00"], "\\ud83d\\ude00\n"),
    ],
    ids=ascii,
)
def test_no_escape_is_made_of_pieces(pieces: list[str], shown: str, home: Path, sandbox: Sandbox) -> None:
    """Each chunk is shown when it comes, whatever the next one brings."""
    sandbox.misbehave("/chat/completions", chunked(*pieces))
    code, out, _ = on_a_terminal(Tracker(home, sandbox.url), "call", *HELLO, "--stream")
    assert (code, out) == (0, shown)


def test_an_answer_that_breaks_off_steers_no_terminal_either(home: Path, sandbox: Sandbox) -> None:
    """What was said so far, and the error's own words."""
    said = {"id": "gen-1", "choices": [{"index": 0, "delta": {"content": "a\x1b]52;c;eA==\x07"}}]}
    error = {"id": "gen-1", "choices": [], "error": {"code": 502, "message": "gone \x1b[2J\u202e"}}
    body = b"".join(f"data: {json.dumps(piece)}\n\n".encode() for piece in (said, error))
    sandbox.misbehave("/chat/completions", Fault.raw(body, "text/event-stream"))
    code, out, err = on_a_terminal(Tracker(home, sandbox.url), "call", *HELLO, "--stream")
    assert code == 5
    harmless(out)
    harmless(err)
    assert out == "a\\x1b]52;c;eA==\\x07\n"


@pytest.mark.parametrize("argv", [("--json",), ("--json", "--stream")], ids=["whole", "stream"])
def test_json_and_names_steer_no_terminal(argv: Any, home: Path, sandbox: Sandbox) -> None:
    """Provider, model, finish reason and label come from outside as well."""
    sandbox.account.reply = Reply(WORDS, provider=f"P{WORDS}", finish_reason=f"stop{WORDS}")
    for key in sandbox.account.keys:
        key.label = f"sk{WORDS}"
    tracker = Tracker(home, sandbox.url)
    code, out, err = on_a_terminal(tracker, "call", *HELLO, *argv)
    assert code == 0
    harmless(out)
    harmless(err)
    (generation,) = sandbox.account.generations
    for verb in (("query", "--id", generation), ("stats", "--by", "provider"), ("stats",)):
        code, out, err = on_a_terminal(tracker, *verb)
        assert code == 0
        harmless(out)
        harmless(err)


def test_a_text_that_is_fine_stays_as_it_is() -> None:
    """Marks on letters and wide signs are no controls."""
    text = "a\u0301 e\u0308 \U0001f4b0\ufe0f 世界\n\tx\n"
    assert safe_lines(text) is text
