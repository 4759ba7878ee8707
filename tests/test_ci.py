"""What CI runs, on which Pythons, and with which versions of the tools."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]
SYSTEMS = {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}
# Without what the make that runs these tests was told.
OWN = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name not in ("PYTHON", "ARGS")}
POSIX = pytest.mark.skipif(os.name != "posix", reason="a Makefile is run by a shell of POSIX here")


def requirements(name: str) -> list[Requirement]:
    """The requirements of a file, and of those that it includes."""
    found = []
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if text.startswith("-r "):
            found += requirements(text[3:])
        elif text:
            found.append(Requirement(text))
    return found


def locked(python: str, system: str) -> dict[str, str]:
    """The version of each tool that constraints.txt names for a Python and a system."""
    where = {
        "python_version": python,
        "python_full_version": python + ".1",
        "sys_platform": system,
        "platform_system": SYSTEMS[system],
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    found: dict[str, str] = {}
    for each in requirements("constraints.txt"):
        if each.marker is None or each.marker.evaluate(where):
            (pin,) = each.specifier
            assert pin.operator == "==" and canonicalize_name(each.name) not in found, each
            found[canonicalize_name(each.name)] = pin.version
    return found


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_every_tool_has_one_locked_version_on_every_python_and_system(python: str, system: str) -> None:
    pins = locked(python, system)
    for wanted in requirements("requirements-dev.txt"):
        where = {"python_version": python, "python_full_version": python + ".1", "sys_platform": system}
        if wanted.marker is None or wanted.marker.evaluate(where):
            name = canonicalize_name(wanted.name)
            assert name in pins and wanted.specifier.contains(pins[name], prereleases=True), f"run make lock: {name}"


def test_the_locked_versions_are_named_and_nothing_else() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert "make lock" in "".join(lines[:3])
    assert [line for line in lines if not re.match(r"#|[a-z0-9.-]+(\[[a-z,]+\])?==\S+( ; .+)?$", line)] == []


def test_windows_gets_the_time_zones_that_it_lacks() -> None:
    wanted = 'tzdata; sys_platform == "win32"'
    for name in ("requirements.txt", "scripts/stats.py", "scripts/cost_tracker.py"):
        assert wanted in (ROOT / name).read_text(encoding="utf-8"), name


def test_ci_runs_on_every_python_and_system_with_current_actions() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    job = yaml.safe_load(text)["jobs"]["check"]
    assert job["strategy"]["matrix"]["python"] == PYTHONS
    assert [system.partition("-")[0] for system in job["strategy"]["matrix"]["os"]] == ["ubuntu", "macos", "windows"]
    majors = {name: int(major) for name, major in re.findall(r"uses: (\S+)@v(\d+)", text)}
    assert majors["actions/checkout"] >= 5 and majors["actions/setup-python"] >= 6
    (run,) = [step for step in job["steps"] if "run" in step]
    assert (run["run"], run["env"]) == (".ci/run", {"PYTHON": "python"})
    assert "make check" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def dry_run(*words: str) -> subprocess.CompletedProcess[str]:
    """What make would run, without doing it."""
    command = ["make", "--no-print-directory", "--dry-run", *words]
    return subprocess.run(command, cwd=ROOT, env=OWN, capture_output=True, text=True, timeout=60, check=False)


@POSIX
def test_each_python_that_is_named_has_a_folder_of_its_own() -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    named = dry_run("test", f"PYTHON={sys.executable}").stdout
    assert f".venv-{version}/bin/python" in named and '".venv/' not in named
    assert '".venv/bin/python" -m pytest' in dry_run("test").stdout


@POSIX
def test_a_python_that_cannot_be_run_is_not_passed_over(tmp_path: Path) -> None:
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    for python in (tmp_path / "no python", Path("/bin/false")):
        command = ["make", "test", f"PYTHON={python}"]
        ran = subprocess.run(command, cwd=tmp_path, env=OWN, capture_output=True, text=True, timeout=60, check=False)
        assert ran.returncode != 0 and f'none of these: "{python}"' in ran.stderr
        assert not list(tmp_path.glob(".venv*/bin"))


@POSIX
def test_ci_s_own_script_can_be_read_by_its_shell() -> None:
    subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=True, timeout=60)
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
