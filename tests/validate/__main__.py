"""Runs every validator and every install, or those whose name has one of the words in it; ends with 1 if one fails."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from release.skill import write_plugin, write_skill
from tests.sandbox import Sandbox, demo_account
from tests.staging import stage
from tests.validate.bench import Bench, FailedError
from tests.validate.installs import INSTALLS
from tests.validate.tools import NotHadError
from tests.validate.validators import VALIDATORS

CHECKS = {**VALIDATORS, **INSTALLS}


def main(argv: list[str]) -> int:
    """Prints a line for each check: what was said, or who refused."""
    parser = argparse.ArgumentParser(prog="python -m tests.validate", description=__doc__)
    parser.add_argument("words", nargs="*", help="run only the checks with one of these in their name")
    words = parser.parse_args(argv).words
    chosen = {name: check for name, check in CHECKS.items() if not words or any(word in name for word in words)}
    if not chosen:
        parser.error(f"no check has {' or '.join(words)} in its name; there are: {', '.join(CHECKS)}")
    wrong = 0
    with Sandbox(demo_account()) as sandbox, tempfile.TemporaryDirectory(prefix="openrouter-validate-") as scratch:
        made = Path(scratch) / "made"
        skill, plugin = write_skill(made / "skills"), write_plugin(made / "plugin")
        bench = Bench(stage(Path(scratch) / "staged"), skill, plugin, Path(scratch), sandbox.url)
        for name, check in chosen.items():
            try:
                said = check(bench).strip().splitlines()
                print(f"ok   {name}: {said[-1] if said else 'said nothing'}", flush=True)
            except NotHadError as refusal:
                wrong += 1
                print(f"NONE {name}: cannot be had here: {refusal}", flush=True)
            except FailedError as failed:
                wrong += 1
                print(f"FAIL {name}: {failed}", flush=True)
    print(f"{len(chosen) - wrong} of {len(chosen)} hold")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
