"""Programs that use the library and end, fork or begin many threads in the middle of a call: nothing hangs or is lost.

Every program is a process of its own, and a hang guard stands around it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from tests.booking import Tracker
from tests.cases import crossed
from tests.running import HANG_GUARD_S, ROOT, Ran
from tests.sandbox import Account, Reply, Sandbox, Stream
from tests.storm.audit import audit

CHAT = "POST /chat/completions"
LOOK_UP = "GET /generation"
SLOW = Reply("one " * 400, stream=Stream(token_delay_s=0.02))
FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
HEAD = "import atexit, gc, os, signal, sys, threading, time\nfrom cost_tracker import *\n"
OPEN = HEAD + "stream = CostTracker().stream('Hello?', 'openai/gpt-5.2')\nprint(bool(next(iter(stream))), flush=True)\n"

Run = Callable[..., Ran]


@pytest.fixture
def tracker(home: Path, sandbox: Sandbox) -> Tracker:
    return Tracker(home, sandbox.url)


@pytest.fixture
def run(tracker: Tracker) -> Run:
    """Run a program that uses the library, where every warning of something left open is an error."""

    def program(code: str, *options: str, env: dict[str, str | None] | None = None) -> Ran:
        environment = {**tracker.environment(env or {}), "PYTHONPATH": str(ROOT / "scripts")}
        # Python 3.12 and newer warn of a fork beside threads, which is what is tried here.
        warnings = ["-W", "error::ResourceWarning", "-W", "ignore:This process:DeprecationWarning"]
        command = [sys.executable, *options, *warnings, "-c", code]
        done = subprocess.run(command, env=environment, capture_output=True, timeout=HANG_GUARD_S, check=False)
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    return program


def settles(tracker: Tracker, sandbox: Sandbox, account: Account) -> bool:
    """The only hold is open and names its call; `settle` then books what was billed."""
    sandbox.wait_until(lambda: not account.in_flight)
    found = audit(tracker.ledger)
    (hold,) = found.held
    assert found.generations[hold] in account.generations and found.settled == {}
    assert "1 call settled, 0 left" in tracker("settle").out
    found = audit(tracker.ledger)
    return found.held == {} and found.spent == account.bill


# -- the end of the interpreter ----------------------------------------------------------------------------------------

ENDS: dict[str, tuple[str, int]] = {
    # name: how the program goes on with a stream that it has begun to read, and its exit code
    "the last line": ("", 0),
    "sys.exit": ("sys.exit(7)", 7),
    "an exception": ("raise KeyError('mine')", 1),
    "^C": ("raise KeyboardInterrupt", 130),
    "a cycle": ("cycle = [stream]; cycle.append(cycle); del stream, cycle", 0),
    "a cycle that is collected": ("cycle = [stream]; cycle.append(cycle); del stream, cycle; gc.collect()", 0),
    "forgotten": ("del stream", 0),
    "in a generator": (
        "def words():\n    with stream:\n        yield from stream\ngiven = words(); next(given); del stream",
        0,
    ),
    "in a session": ("session = CostSession('s').__enter__()", 0),
    "read by a thread": ("threading.Thread(target=lambda: list(stream), daemon=True).start(); time.sleep(0.1)", 0),
    "closed by an object's own finalizer": (
        "class Own:\n    def __del__(self): self.stream.close()\nown = Own(); own.stream = stream; del stream",
        0,
    ),
    "closed by an exit handler": ("atexit.register(stream.leave)", 0),
    "held by another module": ("import json; json.stream = stream; del stream", 0),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_stream_that_is_open_at_the_end_of_a_program_is_left_to_settle_without_asking_anybody(
    name: str, run: Run, tracker: Tracker, sandbox: Sandbox, account: Account
) -> None:
    account.reply, account.charge_on_disconnect = SLOW, "partial"
    code, ending = ENDS[name]
    ran = run(OPEN + code)
    ended = -2 if ending == 130 else ending
    assert (ran.code, ran.out) == (ended, "True\n"), ran.err
    assert ("Traceback" in ran.err) is (ending in (1, 130)) and "Exception ignored" not in ran.err, ran.err
    assert sandbox.calls(LOOK_UP) == 0
    assert settles(tracker, sandbox, account)


def test_several_streams_that_are_open_at_the_end_are_all_left(
    run: Run, tracker: Tracker, sandbox: Sandbox, account: Account
) -> None:
    account.reply = SLOW
    many = "streams = [CostTracker().stream('Hello?', 'openai/gpt-5.2') for _ in range(3)]\nlist(map(next, streams))\n"
    assert run(HEAD + many) == Ran(0, "", "")
    found = audit(tracker.ledger)
    assert (len(found.held), len(set(found.generations.values())), sandbox.calls(LOOK_UP)) == (3, 3, 0)


def test_a_stream_that_has_told_its_cost_is_booked_with_it_at_the_end(
    run: Run, tracker: Tracker, sandbox: Sandbox, account: Account
) -> None:
    account.reply = Reply("one two", cost=Decimal("0.0123"))
    read = "\nwhile 'usage' not in (chunk := next(stream)): pass\nprint(chunk['usage']['cost'])"
    ran = run(OPEN + read)
    assert (ran.code, ran.out, ran.err) == (0, "True\n0.0123\n", "")
    found = audit(tracker.ledger)
    assert (found.held, found.spent, sandbox.calls(LOOK_UP)) == ({}, Decimal("0.0123"), 0)


def test_a_stream_without_a_hold_leaves_a_call_of_unknown_cost_with_its_name(
    run: Run, tracker: Tracker, account: Account, tmp_path: Path
) -> None:
    account.reply = SLOW
    ledger = tmp_path / "folder" / "usage.jsonl"
    ledger.mkdir(parents=True)  # a folder in the ledger's place: the hold cannot be written
    code = OPEN + f"os.rmdir({str(ledger)!r})"
    ran = run(code, env={"OPENROUTER_USAGE_FILE": str(ledger)})
    assert (ran.code, ran.out) == (0, "True\n"), ran.err
    (generation,) = account.generations
    assert generation in ledger.read_text() and '"cost"' not in ledger.read_text()


def test_a_session_that_saw_a_stream_left_says_that_a_cost_is_unknown(run: Run, account: Account) -> None:
    account.reply = SLOW
    code = """
with CostSession("s") as session:
    stream = CostTracker().stream("Hello?", "openai/gpt-5.2")
    next(stream)
    del stream
print(session.calls, session.unknown)
"""
    assert run(HEAD + code).out == "1 1\n"


def test_a_stream_that_is_closed_is_looked_up_as_before(
    run: Run, tracker: Tracker, sandbox: Sandbox, account: Account
) -> None:
    account.reply, account.charge_on_disconnect = SLOW, "partial"
    assert run(OPEN + "stream.close()").code == 0
    assert sandbox.calls(LOOK_UP) >= 1 and audit(tracker.ledger).spent == account.bill


def test_a_stream_collected_in_the_middle_of_the_ledgers_work_is_left_when_that_has_ended(
    run: Run, tracker: Tracker, sandbox: Sandbox, account: Account
) -> None:
    account.reply, account.charge_on_disconnect = SLOW, "partial"
    code = """
def look(books):
    global stream
    cycle = [stream]
    cycle.append(cycle)
    del stream, cycle
    gc.collect()

tracker = CostTracker()
tracker.ledger.committed(look)
print(len(list(tracker.ledger.health().holds)))
"""
    assert run(OPEN + code).out == "True\n1\n"
    assert settles(tracker, sandbox, account)


# -- forks -------------------------------------------------------------------------------------------------------------

CHILDREN: dict[str, str] = {
    # name: what the child does with the parent's stream, and how it ends
    "ends": "sys.exit(0)",
    "closes it and ends": "stream.close(); sys.exit(0)",
    "forgets it": "del stream; gc.collect(); sys.exit(0)",
    "leaves a with": "with stream: pass\n    sys.exit(0)",
    "reads it": "import pytest\n    with pytest.raises(OpenRouterUsageError, match='forked'): next(stream)\n    sys.exit(0)",
    "makes a call": "CostTracker().chat('Hello?', 'openai/gpt-5.2'); sys.exit(0)",
    "opens one itself": "other = CostTracker().stream('Hi', 'openai/gpt-5.2'); next(other); sys.exit(0)",
    "raises": "raise SystemExit(0)",
}


@FORKS
@pytest.mark.parametrize(("name", "is_read"), crossed(CHILDREN, [False, True]))
def test_a_child_that_is_forked_with_a_stream_open_ends_and_the_parents_stream_goes_on(
    name: str, is_read: bool, run: Run, tracker: Tracker, sandbox: Sandbox, account: Account
) -> None:
    account.reply = Reply("one " * 30, stream=Stream(token_delay_s=0.02))
    code = f"""
words = []
def read():
    words.extend(chunk["choices"][0]["delta"].get("content") or "" for chunk in stream if chunk["choices"])
reader = threading.Thread(target=read)
if {is_read}:
    reader.start()
    time.sleep(0.1)
child = os.fork()
if child == 0:
    signal.alarm(20)
    {CHILDREN[name]}
code = os.waitpid(child, 0)[1]
assert code == 0, code
if not {is_read}:
    reader.start()
reader.join()
print("".join(words).count("one"))
"""
    ran = run(OPEN + code)
    assert (ran.code, ran.err) == (0, "") and ran.out.split()[-1] in ("29", "30"), ran.out
    found = audit(tracker.ledger)
    own = "opens" in name
    assert (len(found.held), len(account.generations)) == (int(own), 1 + ("call" in name or own))
    if not own:
        assert found.spent == account.bill


@FORKS
def test_a_child_of_a_program_with_tls_leaves_the_parents_stream_alone(home: Path) -> None:
    account = Account.simple()
    account.reply = Reply("one " * 20, stream=Stream(token_delay_s=0.02))
    with Sandbox(account, tls=True) as sandbox:
        tracker = Tracker(home, sandbox.url)
        code = OPEN + (
            "child = os.fork()\n"
            "if child == 0:\n    signal.alarm(20); sys.exit(0)\n"
            "assert os.waitpid(child, 0)[1] == 0\nprint(sum(1 for _ in stream) > 5)"
        )
        environment = {
            **tracker.environment({"REQUESTS_CA_BUNDLE": str(sandbox.ca_file)}),
            "PYTHONPATH": str(ROOT / "scripts"),
        }
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code], env=environment, capture_output=True, timeout=HANG_GUARD_S, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"True\nTrue\n", b"")
        assert audit(tracker.ledger).spent == account.bill > 0


# -- imports, threads and forks before and during the first call -------------------------------------------------------

STEPS = """
tracker, capped, enforcer = CostTracker(), CostTracker(caps=BudgetEnforcer(9, 1).caps), BudgetEnforcer(9, 1)
def first(steps):
    for step in steps:
        try: step()
        except OpenRouterUsageError as error: yield type(error).__name__
def held():
    with enforcer.hold("openai/gpt-5.2", 10, 10) as held: held.settle({"id": "gen-held", "usage": {"cost": 0.1}})
def ask(): return tracker.chat("Hello?", "openai/gpt-5.2", session="s", tags={"a": "b"})
STEPS = [
    ask, lambda: list(tracker.stream("Hello?", "openai/gpt-5.2")), lambda: next(tracker.stream("Hi", "openai/gpt-5.2")),
    lambda: capped.chat("Hello?", "openai/gpt-5.2"), lambda: capped.chat("Hi", "openai/gpt-5.2", max_tokens=10**7),
    held, lambda: enforcer.check_budget("openai/gpt-5.2", 1, 1), lambda: enforcer.record_cost(ask()["id"]),
    lambda: tracker.record_from_generation(ask()["id"]), lambda: tracker.get_generation_stats("gen-no", retries=0),
    check_credits, get_key_balance, lambda: get_generation_stats("gen-no", max_retries=0), lambda: list(tracker.cost_history),
    lambda: estimate_cost("openai/gpt-5.2", 1, 1), lambda: tracker.chat("", "no/such"),
    track_cost(lambda: {"id": "gen-t", "model": "a/b", "usage": {"cost": 0.1}}),
    tracker.summary, tracker.get_cost_by_model, lambda: tracker.log_usage("a/b", 1, 1, 0.1),
]
"""


def test_everything_that_a_call_needs_is_loaded_before_the_first_one(run: Run) -> None:
    code = STEPS + (
        "from openrouter_usage.jobs.loading import load_client\n"
        "load_client()\nbefore = set(sys.modules)\nprint(list(first(STEPS)))\n"
        "os.environ['OPENROUTER_BASE_URL'] = 'http://127.0.0.1:9'\nprint(list(first([ask])))\n"
        "print(sorted(set(sys.modules) - before))"
    )
    ran = run(HEAD + code)
    said = "['BudgetExceeded', 'BadRequest']\n['ConnectionFailed']\n[]\n"
    assert (ran.out, ran.err) == (said, "")


def test_the_library_is_imported_without_what_only_calls_need(run: Run) -> None:
    code = "CostTracker().log_usage('a/b', 1, 1, 0.1)\nprint([n for n in ('requests', 'ssl', 'dotenv') if n in sys.modules])"
    assert run(HEAD + code).out == "[]\n"


@FORKS
@pytest.mark.parametrize("what", ["ask", "STEPS[3]", "held", "check_credits", "STEPS[9]", "STEPS[-4]"])
def test_children_that_are_forked_while_threads_make_the_first_calls_make_their_own(
    what: str, run: Run, tracker: Tracker, account: Account
) -> None:
    code = STEPS + f"""
def work(): list(first([{what}]))
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
children = []
for pause in (0, 0.01, 0.03):
    time.sleep(pause)
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # a hang guard: it kills
        work()
        os._exit(0)
    children.append(child)
print([os.waitpid(child, 0)[1] for child in children])
for thread in threads: thread.join()
"""
    ran = run(HEAD + code)
    assert (ran.code, ran.out, ran.err) == (0, "[0, 0, 0]\n", "")
    if what == "ask":
        assert len(account.generations) == 11 and audit(tracker.ledger).spent == account.bill


AT_THE_END: dict[str, tuple[str, str]] = {
    # name: what is done at the very end of a program, and what it says
    "an exit handler makes a call": ("atexit.register(lambda: print(bool(ask())))", "True"),
    "an exit handler asks for the balance": ("atexit.register(lambda: print('error' in get_key_balance()))", "False"),
    "a finalizer makes a call": (
        "class Own:\n    def __del__(self, print=print, first=first, ask=ask): print(list(first([ask])))\n"
        "sys.modules['own'] = Own()",
        "['SettingsError']",
    ),
    "no thread can begin": ("threading.Thread.start = lambda self: exec('raise RuntimeError')\nprint(bool(ask()))", "True"),
}


@pytest.mark.parametrize("name", AT_THE_END)
def test_a_call_at_the_end_of_a_program_is_made_or_refused_and_never_hangs(name: str, run: Run) -> None:
    code, said = AT_THE_END[name]
    ran = run(HEAD + STEPS + code)
    assert (ran.code, ran.out, ran.err) == (0, said + "\n", "")


# -- what is left open -------------------------------------------------------------------------------------------------

LEFT_OPEN: dict[str, str] = {
    # name: a program that opens the ledger, and at most closes it
    "nothing is closed": "ask()",
    "close": "ask(); tracker.close(); ask(); tracker.close(); tracker.close()",
    "with": "with CostTracker() as other:\n    other.log_usage('a/b', 1, 1, 0.1)\nother.summary()",
    "an enforcer": "held(); enforcer.close()",
    "an enforcer's with": "with BudgetEnforcer(9, 1) as other:\n    other.check_budget('openai/gpt-5.2', 1, 1)",
    "a local variable": "def f():\n    t = CostTracker(); t.log_usage('a/b', 1, 1, 0.1)\nf()",
    "a cycle": "t = CostTracker(); t.me = t; t.log_usage('a/b', 1, 1, 0.1); del t; gc.collect()",
    "a cycle at the end": "t = CostTracker(); t.me = t; t.log_usage('a/b', 1, 1, 0.1); del t",
    "a module of its own": "import json; json.kept = tracker; json.kept.log_usage('a/b', 1, 1, 0.1)",
    "track_cost": "STEPS[-4]()",
    "a stream of track_cost that is open": (
        "given = track_cost(lambda: iter([{'id': 'gen-t', 'model': 'a/b', 'choices': []}]))(); next(given)"
    ),
    "a stream that is open": "given = tracker.stream('Hello?', 'openai/gpt-5.2'); next(given)",
    "an exception": "tracker.log_usage('a/b', 1, 1, 0.1)\ntry: raise KeyError\nexcept KeyError: kept = sys.exc_info()",
    "an export half read": "[tracker.log_usage('a/b', 1, 1, n) for n in range(9)]; given = iter(tracker.cost_history); next(given)",
    "an exit handler": "atexit.register(lambda: tracker.log_usage('a/b', 1, 1, 0.1))",
    "a daemon thread": (
        "def work():\n    while True: tracker.log_usage('a/b', 1, 1, 0.1)\n"
        "threading.Thread(target=work, daemon=True).start(); time.sleep(0.3)"
    ),
    "everything": "list(first(STEPS))",
    "a child": (
        "ask()\nif hasattr(os, 'fork'):\n    child = os.fork()\n    if child == 0:\n        ask(); sys.exit(0)\n"
        "    assert os.waitpid(child, 0)[1] == 0"
    ),
}


@pytest.mark.parametrize("name", LEFT_OPEN)
def test_the_interpreter_ends_cleanly_whatever_is_left_open(name: str, run: Run, tracker: Tracker) -> None:
    ran = run(HEAD + STEPS + LEFT_OPEN[name], "-X", "dev")
    # Without the packages' own: on some versions of Python they warn of themselves.
    assert (ran.code, ran.err) == (0, ""), ran.err
    assert "1 damaged" not in tracker("stats").out
