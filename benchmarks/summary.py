"""Times stats.py beside what a user would run instead: two curl calls with jq, and the official SDK.

Every contender is a fresh process that asks the same sandbox over TLS, and every answer is held back by
150 ms. Curl and the SDK ask /key and /activity. With both keys stats.py asks /credits as well, so it makes three
requests; with the ordinary key alone it makes two, /key and /credits.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.served import Served, served
from benchmarks.timing import Contender, Goal, goals_table, interleaved, show_progress, table
from tests.documents import fallback_script
from tests.sandbox import DEMO_KEY, DEMO_MGMT_KEY

ROOT = Path(__file__).resolve().parent.parent
DELAY_S = 0.15
CURL, SDK = "curl, twice, with jq", "official SDK"
COLD, ONE_KEY = "stats.py, both keys", "stats.py, ordinary key"
UNCACHED, FRESH = "stats.py, no bytecode cache", "stats.py --max-age 600"
GOALS = [
    Goal(COLD, CURL, 1.0, aim=0.8),
    Goal(COLD, SDK, 0.5, aim=0.4),
    Goal(ONE_KEY, CURL, 1.0, aim=0.8),
    Goal(ONE_KEY, SDK, 0.5, aim=0.4),
    Goal(FRESH, CURL, 0.2),
]
_TODAY = "4.55"  # in every contender's output: a contender that fails is fast


def main() -> int:
    """Run the rounds and print the tables; 2 when a contender is not installed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="timed rounds (15)")
    options = parser.parse_args()
    missing = [program for program in ("sh", "curl", "jq") if not shutil.which(program)]
    if missing:
        sys.stderr.write(f"this benchmark needs {' and '.join(missing)}\n")
        return 2
    with served(delay_s=DELAY_S) as server, scratch() as folder:
        environment = surroundings(server, folder)
        seconds = interleaved(contenders(server, environment, folder), max(1, options.rounds))
        show_progress("reading import times")
        imports = import_times(environment)
        show_progress("")
    print(f"\n{options.rounds} rounds, Python {platform.python_version()}, {os.cpu_count()} cores, load {load()}\n")
    print("\n".join([*table(seconds), "", *goals_table(seconds, GOALS), "", *imports]))
    return 0


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Give a home for the programs, which holds the snapshot too, and delete it."""
    with tempfile.TemporaryDirectory(prefix="openrouter-bench-") as folder:
        yield Path(folder)


def surroundings(server: Served, home: Path) -> dict[str, str]:
    """Give the environment of every contender; each reads the certificate under a name of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENROUTER_", "PYTHON"))}
    keys = {"OPENROUTER_BASE_URL": server.url, "OPENROUTER_API_KEY": DEMO_KEY, "OPENROUTER_MGMT_KEY": DEMO_MGMT_KEY}
    certificates = dict.fromkeys(("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"), server.ca_file)
    return {**kept, **keys, **certificates, "HOME": str(home)}


def contenders(server: Served, environment: dict[str, str], folder: Path) -> dict[str, Contender]:
    """Give what is timed, by name."""
    script = fallback_script((ROOT / "references" / "curl.md").read_text(encoding="utf-8"), server.url)
    copy = shutil.copytree(ROOT / "scripts", folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    door = "scripts/stats.py"
    one_key = {name: value for name, value in environment.items() if name != "OPENROUTER_MGMT_KEY"}
    return {
        CURL: lambda: timed(["sh", "-c", script], environment),
        SDK: lambda: timed([sys.executable, "-m", "benchmarks.with_sdk"], environment),
        COLD: lambda: timed([sys.executable, door], environment),
        ONE_KEY: lambda: timed([sys.executable, door], one_key),
        UNCACHED: lambda: timed([sys.executable, "-B", str(copy / "stats.py")], environment),
        FRESH: lambda: timed([sys.executable, door, "--max-age", "600"], environment),
    }


def timed(command: list[str], environment: dict[str, str]) -> None:
    """Run a command to its end; RuntimeError unless it shows today's spend."""
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode or _TODAY not in ended.stdout:
        raise RuntimeError(f"{command[:3]} ended with {ended.returncode}: {ended.stderr[-500:]}")


def import_times(environment: dict[str, str], most: int = 12) -> list[str]:
    """Give the packages that cost stats.py the most import time, as the lines of a Markdown table."""
    command = [sys.executable, "-X", "importtime", "scripts/stats.py"]
    told = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stderr
    spent = Counter[str]()
    for line in told.splitlines():
        own, _, rest = line.removeprefix("import time:").partition("|")
        if own.strip().isdigit():
            spent[rest.partition("|")[2].strip().partition(".")[0]] += int(own)
    lines = [f"Imports of stats.py: {sum(spent.values()) / 1000:.0f} ms under -X importtime, which slows them", ""]
    lines += ["| package | own time |", "| --- | --- |"]
    lines += [f"| {package} | {micro / 1000:.1f} ms |" for package, micro in spent.most_common(most)]
    rest_ms = sum(micro for _, micro in spent.most_common()[most:]) / 1000
    return [*lines, f"| {len(spent) - most} others | {rest_ms:.1f} ms |"]


def load() -> str:
    """Give the machine's load average, where there is one."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


if __name__ == "__main__":
    sys.exit(main())
