"""The index can be deleted at any time, also under programs that have it open: the lock holds, and they go on."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path

import pytest

from openrouter_usage.entry import Hold
from openrouter_usage.errors import LedgerError
from openrouter_usage.ledger.ledger import Ledger
from tests.running import HANG_GUARD_S, ROOT

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows deletes no file that is open")
NOW = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
FILES = [("-shm", "-wal", ""), ("",), ("-wal",), ("-shm",), ("-wal", "-shm"), ("", "-wal")]
HOLDER = """
import sys
from pathlib import Path
from openrouter_usage.ledger.ledger import Ledger
from tests.test_index_lock import hold

ledger = Ledger(Path(sys.argv[1]))
for name in iter(sys.stdin.readline, ""):
    hold(ledger, name.strip())
    print(len(ledger.health().holds), flush=True)
"""


def hold(ledger: Ledger, name: str) -> None:
    """Hold a cent."""
    ledger.hold(Hold(name, NOW, "a/model", Decimal("0.01")), lambda books: None)


def delete(ledger: Path, files: tuple[str, ...]) -> None:
    """Take away files of the index."""
    for end in files:
        Path(f"{ledger}.index{end}").unlink(missing_ok=True)


@contextlib.contextmanager
def holders(path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Two programs that keep the ledger open, and hold a cent whenever they are told a name."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    env = {"PYTHONPATH": f"{ROOT / 'scripts'}{os.pathsep}{ROOT}"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    started = [subprocess.Popen(command, env=env, text=True, bufsize=1, **pipes) for _ in range(2)]
    try:
        yield started
    finally:
        for program in started:
            program.communicate(timeout=HANG_GUARD_S)


@pytest.mark.parametrize("files", FILES[:2])
def test_a_ledger_stays_locked_while_its_index_is_deleted_and_the_index_lock_with_it(files, tmp_path):
    path = tmp_path / "usage.jsonl"
    with contextlib.closing(Ledger(path)) as ledger, contextlib.closing(Ledger(path, lock_timeout_s=0.05)) as other:
        hold(ledger, "first")

        def others_try(_: object) -> None:
            delete(path, files)
            with pytest.raises(LedgerError, match="is locked"):
                hold(other, "second")

        ledger.hold(Hold("third", NOW, "a/model", Decimal("0.01")), others_try)
        hold(other, "fourth")
        assert [found.id for found in ledger.health().holds] == ["first", "fourth", "third"]


def test_programs_go_on_whatever_files_of_the_index_are_deleted_under_them(tmp_path):
    path = tmp_path / "usage.jsonl"
    with holders(path) as programs:
        count = 0
        for files in [(), *FILES, *FILES[::-1]]:
            delete(path, files)
            for program in [*programs, *programs]:
                count += 1
                program.stdin.write(f"hold-{count}\n")
                assert program.stdout.readline() == f"{count}\n", files
    with contextlib.closing(Ledger(path)) as ledger:
        assert len(ledger.health().holds) == count
