"""Starts the programs from a Python that has loaded what they need: a process each, without the time of the imports.

A warm start is a fork of a process that has loaded our modules and the packages, and has run nothing. The program has
its own arguments, environment, folder, standard streams and exit code. What depends on how Python begins (its options,
its encoding, closed streams) is started the ordinary way, as is an installed copy of the skill, everything with
COLD_STARTS=1 in the environment, and everything anywhere but on Linux.
"""

from __future__ import annotations

import array
import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
LOADED = ("requests", "dotenv", "sqlite3", "concurrent.futures.thread", "zoneinfo", "uuid", "csv", "html", "difflib")
# Read by Python itself, the C library or the tools before the first line of a program.
EARLY = ("PYTHON", "LANG", "LC_", "LD_", "COVERAGE_", "MALLOC_")


def can_start(script: str, environment: Mapping[str, str], options: Mapping[str, Any]) -> bool:
    """Check whether a script may start warm with this environment and these options of `subprocess.run`."""
    return (
        sys.platform == "linux"
        and Path(script).parent == SCRIPTS
        and "COLD_STARTS" not in os.environ
        and not any(name.startswith(EARLY) and name != "PYTHONDONTWRITEBYTECODE" for name in environment)
        and set(options) <= {"input", "cwd", "stdin"}
        and options.get("stdin") in (None, subprocess.DEVNULL)
    )


def run(
    words: Sequence[str], environment: Mapping[str, str], timeout: float, *, cwd: Any = None,
    input: bytes | None = None, **_: Any,
) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
    """Run a script with its arguments, as `subprocess.run` with captured output does.

    Raises subprocess.TimeoutExpired, after the program was killed.
    """
    asked = json.dumps({"words": list(words), "environment": dict(environment), "cwd": os.fspath(cwd or os.getcwd())})
    stdin, typed = os.pipe()
    out, out_end = os.pipe()
    err, err_end = os.pipe()
    told, told_end = os.pipe()
    theirs = [stdin, out_end, err_end, told_end]
    try:
        _server().ask(asked.encode("utf-8", "surrogateescape"), theirs)
    finally:
        for end in theirs:
            os.close(end)
    heard: dict[int, bytes] = {}
    threads = [threading.Thread(target=_type, args=(typed, input or b""), daemon=True)]
    threads += [threading.Thread(target=_hear, args=(end, heard), daemon=True) for end in (out, err)]
    for thread in threads:
        thread.start()
    outcome = open(told, "rb")  # noqa: SIM115 - read as the program begins and ends
    program = int(outcome.readline())
    until = time.monotonic() + timeout
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
        if thread.is_alive():
            os.kill(program, signal.SIGKILL)
            outcome.close()
            raise subprocess.TimeoutExpired(list(words), timeout)
    with outcome:
        code = int(outcome.readline())
    return subprocess.CompletedProcess(list(words), code, heard[out], heard[err])


def _type(end: int, data: bytes) -> None:
    with suppress(BrokenPipeError), open(end, "wb") as file:  # broken if the program did not read it
        file.write(data)


def _hear(end: int, heard: dict[int, bytes]) -> None:
    with open(end, "rb") as file:
        heard[end] = file.read()


# -- the warm process ------------------------------------------------------------------------------------------------


class _Server:
    """The warm process of this one, and the socket on which it is asked for programs."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            env={"PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        atexit.register(self._end)

    def _end(self) -> None:
        if self.owner == os.getpid():
            self._socket.close()
            self._process.wait()

    def ask(self, asked: bytes, ends: Sequence[int]) -> None:
        with self._lock:
            socket.send_fds(self._socket, [len(asked).to_bytes(4, "big")], list(ends))
            self._socket.sendall(asked)


_servers: list[_Server] = []
_starting = threading.Lock()


def _server() -> _Server:
    with _starting:
        if not _servers or _servers[-1].owner != os.getpid():
            _servers[:] = [_Server()]
        return _servers[-1]


def _serve(asking: socket.socket) -> list[str]:
    """Fork a program for every question, until nobody can ask any more; return in the program, with its words."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait for a program
    while True:
        ends = array.array("i")
        size, found, _, _ = asking.recvmsg(4, socket.CMSG_SPACE(4 * ends.itemsize))
        if not size:
            os._exit(0)
        ends.frombytes(found[0][2])
        asked = b""
        while len(asked) < int.from_bytes(size, "big"):
            asked += asking.recv(1 << 16)
        if os.fork():
            for end in ends:
                os.close(end)
            continue
        asking.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if program := os.fork():
            _wait_for(program, ends)
        return _become(json.loads(asked.decode("utf-8", "surrogateescape")), ends)


def _wait_for(program: int, ends: Sequence[int]) -> None:
    for end in ends[:3]:
        os.close(end)
    os.write(ends[3], b"%d\n" % program)
    code = os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])
    os.write(ends[3], b"%d\n" % code)
    os._exit(0)


def _become(asked: Mapping[str, Any], ends: Sequence[int]) -> list[str]:
    for number, end in enumerate(ends[:3]):
        os.dup2(end, number)
    os.closerange(3, max(ends) + 1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    kept = os.environ.get("LC_CTYPE")  # set by Python when it begins without a locale
    os.environ.clear()
    os.environ.update(asked["environment"])
    if kept:
        os.environ["LC_CTYPE"] = kept
    time.tzset()
    os.chdir(asked["cwd"])
    words: list[str] = asked["words"]
    return words


def _load() -> None:
    sys.path.insert(0, str(SCRIPTS))
    for name in LOADED:
        importlib.import_module(name)
    for module in pkgutil.walk_packages([str(SCRIPTS / "openrouter_usage")], "openrouter_usage."):
        if "gateway" not in module.name:  # which needs one more package, and is started cold
            importlib.import_module(module.name)
    sys.path.pop(0)
    gc.freeze()


if __name__ == "__main__":
    _load()
    sys.argv = _serve(socket.socket(fileno=int(sys.argv[1])))
    sys.path[0] = os.path.dirname(sys.argv[0])
    runpy.run_path(sys.argv[0], run_name="__main__")
