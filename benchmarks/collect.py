"""Time `collect` beside ccusage over the same folder: 2,000 transcripts of Claude Code with 1,000,000 records.

All in one run, and peak memory too. Every answer in the transcripts went through OpenRouter and has three blocks.
`collect` reads them with --dry-run, so that no network is in its time; ccusage is its native program, without prices to
fetch, and comes from npm, into .tools.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.timing import Goal, goals_table, interleaved, show_progress, table

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools" / "ccusage"
VERSION = "20.0.24"
COLD, WARM, CCUSAGE = "collect, cold", "collect, nothing new", "ccusage"
# A fiftieth of its own cold time.
GOALS = [Goal(COLD, CCUSAGE, 1.0), Goal(WARM, COLD, 0.02)]
MEMORY_GOAL = 0.2
_MOST_ROUNDS = 5
_BLOCKS = 3


def main() -> int:
    """Run the rounds and print the tables; 2 when ccusage cannot be installed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help=f"timed rounds, {_MOST_ROUNDS} at most (3)")
    parser.add_argument("--files", type=int, default=2_000, metavar="N", help="transcripts (2000)")
    parser.add_argument("--records", type=int, default=1_000_000, metavar="N", help="records in all of them (1000000)")
    options = parser.parse_args()
    program = installed()
    if program is None:
        sys.stderr.write("ccusage could not be installed: npm and a network are needed\n")
        return 2
    rounds = max(1, min(options.rounds, _MOST_ROUNDS))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        show_progress("writing transcripts")
        calls, output = write_transcripts(folder / "claude", options.files, options.records)
        peaks: dict[str, list[int]] = {COLD: [], WARM: [], CCUSAGE: []}
        environment = {
            "HOME": str(folder / "home"),
            "PATH": os.environ["PATH"],
            "CLAUDE_CONFIG_DIR": str(folder / "claude"),
            "OPENROUTER_API_KEY": "sk-or-v1-benchmark-0000000000000000",
        }
        (folder / "home").mkdir()
        ours = [sys.executable, str(ROOT / "scripts/cost_tracker.py"), "collect", "claude-code", "--quiet", "--dry-run"]
        books = folder / "home" / ".openrouter"

        def cold() -> None:
            for path in books.glob("usage.jsonl.logs*"):
                path.unlink()
            peaks[COLD].append(peak_kb(ours, environment))

        contenders = {
            COLD: cold,
            WARM: lambda: peaks[WARM].append(peak_kb(ours, environment)),
            CCUSAGE: lambda: peaks[CCUSAGE].append(peak_kb([*program, "daily", "--offline", "--json"], environment)),
        }
        # Each round begins with another contender, and "warm" has to follow a cold one.
        cold()
        seconds = interleaved(contenders, rounds)
        with contextlib.closing(sqlite3.connect(books / "usage.jsonl.logs")) as db:
            found = db.execute("SELECT count(*), sum(completion) FROM calls").fetchone()
        theirs = total_output(program, environment)
    print(f"\n{rounds} rounds, Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}")
    print(f"{options.records:,} records in {options.files:,} files: {calls:,} answers with {output:,} tokens of output")
    print(f"collect found {found[0]:,} with {found[1]:,}; ccusage {VERSION} {theirs:,}\n")
    print("\n".join([*table(seconds), "", *goals_table(seconds, GOALS), ""]))
    print("| contender | peak memory |\n| --- | --- |")
    for label, kilobytes in peaks.items():
        print(f"| {label} | {median(kilobytes) / 1024:,.0f} MB |")
    share = median(peaks[COLD]) / median(peaks[CCUSAGE])
    verdict = "met" if share <= MEMORY_GOAL else "missed"
    print(f"\nmemory, {COLD} against {CCUSAGE}: {share:.2f} ({verdict}, at most {MEMORY_GOAL})")
    return 0 if found == (calls, output) else 1


def installed() -> list[str] | None:
    """Return the command of ccusage's native program, installed if need be; None when that fails."""
    found = sorted(TOOLS.glob("node_modules/@ccusage/*/bin/ccusage*"))
    if not found and shutil.which("npm"):
        show_progress("installing ccusage into .tools")
        TOOLS.mkdir(parents=True, exist_ok=True)
        words = ["npm", "install", "--prefix", str(TOOLS), "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        subprocess.run([*words, f"ccusage@{VERSION}"], check=False, stdout=subprocess.DEVNULL)
        found = sorted(TOOLS.glob("node_modules/@ccusage/*/bin/ccusage*"))
    for path in found[:1]:
        path.chmod(0o755)  # npm does that in a script, which is not run
    return [str(found[0])] if found else None


def write_transcripts(root: Path, files: int, records: int) -> tuple[int, int]:
    """Write transcripts; return the number of answers and of their tokens of output."""
    per_file, number, output = records // files, 0, 0
    for file in range(files):
        folder = root / "projects" / f"-home-u-project-{file % 40}"
        folder.mkdir(parents=True, exist_ok=True)
        session = f"{file:08x}-0000-4000-8000-000000000000"
        lines: list[str] = []
        while len(lines) + 1 + _BLOCKS <= per_file:
            final = 100 + number * 7 % 900
            lines += _turn(number, session, file, final)
            number, output = number + 1, output + final
        rest = per_file - len(lines)
        lines += [json.dumps({"type": "summary", "summary": "text", "leafUuid": str(each)}) for each in range(rest)]
        (folder / f"{session}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return number, output


def _turn(number: int, session: str, file: int, output: int) -> list[str]:
    """Return the lines of a prompt and of its answer, in which the output grows."""
    day, second = divmod(number * 7, 86_400)
    ts = f"2026-10-{1 + day % 28:02}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.250Z"
    base = (
        f'{{"parentUuid":"{number:032x}","isSidechain":false,"userType":"external","cwd":"/home/u/project-{file % 40}",'
        f'"sessionId":"{session}","version":"2.1.0","gitBranch":"main","timestamp":"{ts}",'
    )
    prompt = f'{base}"type":"user","message":{{"role":"user","content":"{"a prompt " * 20}"}},"uuid":"u{number}"}}'
    lines = [prompt]
    for block in range(_BLOCKS):
        tokens = output if block == _BLOCKS - 1 else 1 + block
        usage = (
            f'{{"input_tokens":{1200 + number % 97},"cache_creation_input_tokens":3,"cache_read_input_tokens":12000,'
            f'"cache_creation":{{"ephemeral_5m_input_tokens":3,"ephemeral_1h_input_tokens":0}},"output_tokens":{tokens}}}'
        )
        message = (
            f'{{"id":"gen-{1_790_000_000 + number * 7}-{number:020d}","type":"message","role":"assistant",'
            f'"model":"anthropic/claude-sonnet-4.5","content":[{{"type":"text","text":"{"an answer " * 18}"}}],'
            f'"stop_reason":null,"usage":{usage}}}'
        )
        lines.append(
            f'{base}"type":"assistant","message":{message},"requestId":"req_{number}","uuid":"a{number}-{block}"}}'
        )
    return lines


def peak_kb(command: list[str], environment: dict[str, str]) -> int:
    """Run a program and return the most memory that it, or a program of its own, has used, in KiB."""
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as running:
        _, status, used = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        raise RuntimeError(f"{command[0]} ended with {running.returncode}")
    return used.ru_maxrss


def total_output(program: list[str], environment: dict[str, str]) -> int:
    """Return the tokens of output that ccusage counts."""
    done = subprocess.run([*program, "daily", "--offline", "--json"], env=environment, capture_output=True, check=True)
    return int(json.loads(done.stdout)["totals"]["outputTokens"])


if __name__ == "__main__":
    sys.exit(main())
