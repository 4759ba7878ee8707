"""What a release is made of: the skill alone, the same as a zip, and a plugin whose command works."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from openrouter_usage.home.settings import VERSION
from release import skill as made
from tests.documents import wrong_links
from tests.running import ROOT
from tests.sandbox import DEMO_KEY, DEMO_MGMT_KEY, Sandbox, demo_account


def test_the_skill_alone_has_what_the_programs_need_and_nothing_else(tmp_path: Path) -> None:
    old = tmp_path / "openrouter-usage" / "scripts" / "gone.py"
    old.parent.mkdir(parents=True)
    old.touch()
    folder = made.write_skill(tmp_path)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {name.partition("/")[0] for name in names} == {
        "SKILL.md", "README.md", "SECURITY.md", "LICENSE", "credentials.env.example", "requirements.txt",
        "scripts", "references",
    }  # fmt: skip
    programs = {path.relative_to(ROOT).as_posix() for path in (ROOT / "scripts").rglob("*.py")}
    absent = {name.removeprefix("scripts/").removeprefix("openrouter_usage/") for name in programs - names}
    room = re.compile(r"gateway/(?!keys|embedded|__init__)\w+|(?:jobs/|ledger/|cli/verbs/)team\w*|(?:cli/(?:verbs/)?)?gateway|__main__")
    assert [name for name in absent if not room.fullmatch(name.removesuffix(".py"))] == [] and len(absent) > 20
    assert old not in folder.rglob("*")
    # Every link of the pages leads somewhere within the skill.
    pages = {name: (folder / name).read_text(encoding="utf-8") for name in names if name.endswith(".md")}
    assert wrong_links(pages, folder) == []
    assert pages["README.md"].count("\n## ") == len(made.README) and len(pages["README.md"]) > 5_000
    for number in ("1", "2"):
        made.write_zip(folder, tmp_path / number)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    assert set(zipfile.ZipFile(tmp_path / "1").namelist()) == {f"openrouter-usage/{name}" for name in names}


@pytest.mark.skipif(os.name == "nt", reason="runs a shell")
def test_the_command_of_the_plugin_shows_the_figures_and_names_itself(tmp_path: Path) -> None:
    plugin = made.write_plugin(tmp_path / "plugin")
    manifest = json.loads((plugin / ".claude-plugin" / "plugin.json").read_text(encoding="utf-8"))
    (listed,) = json.loads((plugin / ".claude-plugin" / "marketplace.json").read_text(encoding="utf-8"))["plugins"]
    assert (manifest["version"], listed["version"], listed["source"]) == (VERSION, VERSION, "./")
    assert (plugin / "skills" / "openrouter-usage" / "SKILL.md").is_file()
    with Sandbox(demo_account()) as sandbox:
        keys = {"OPENROUTER_API_KEY": DEMO_KEY, "OPENROUTER_MGMT_KEY": DEMO_MGMT_KEY, "OPENROUTER_BASE_URL": sandbox.url}
        path = os.pathsep.join([str(plugin / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {"HOME": str(tmp_path), "PATH": path, **keys}
        script = 'openrouter-usage && openrouter-usage budget && openrouter-usage nothing'
        ran = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, encoding="utf-8", timeout=60)
    assert "Today: $4.55*" in ran.stdout and "To set one: openrouter-usage budget set" in ran.stdout
    assert (ran.returncode, ran.stderr) == (2, "openrouter-usage: unknown command: nothing -- see openrouter-usage --help\n")


def test_what_needs_a_package_of_its_own_is_had_from_the_python_package(tmp_path: Path) -> None:
    """Every way to it says so: a verb, the command of the plugin, the library, and a ledger that the environment names."""
    plugin = made.write_plugin(tmp_path / "plugin")
    scripts = plugin / "skills" / "openrouter-usage" / "scripts"
    library = f"import sys; sys.path.insert(0, {str(scripts)!r}); from cost_tracker import Gateway; Gateway().__enter__()"
    tracker = [sys.executable, str(scripts / "cost_tracker.py")]
    gateway = ([*tracker, "gateway", "key", "list"], [sys.executable, str(plugin / "bin" / "openrouter-usage"), "gateway"])
    team = ([*tracker, "team"], [*tracker, "stats"])
    environment = {**os.environ, "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    for extra, commands in (("gateway", gateway), ("team", team)):
        address = {"OPENROUTER_LEDGER": "postgresql://nobody@127.0.0.1:9/x"} if extra == "team" else {}
        for command in commands:
            ran = subprocess.run(command, env=environment | address, capture_output=True, encoding="utf-8", timeout=60)
            assert (ran.returncode, ran.stderr.count("\n")) == (2, 1), ran.stderr
            assert "this install is the skill alone, without the" in ran.stderr
            assert f"uvx --from 'openrouter-usage[{extra}] @ git+URL' openrouter-usage {extra}" in ran.stderr
    ran = subprocess.run([sys.executable, "-c", library], env=environment, capture_output=True, encoding="utf-8", timeout=60)
    assert "NotInstalled: this install is the skill alone, without the gateway" in ran.stderr
    # Looking for where an option belongs passes over the verbs that are not there.
    ran = subprocess.run([*tracker, "--caching"], env=environment, capture_output=True, encoding="utf-8", timeout=60)
    assert "put the command first: cost_tracker.py stats --caching" in ran.stderr


def test_a_tag_of_another_version_is_not_released(capsys: pytest.CaptureFixture[str]) -> None:
    assert made.version() == VERSION
    assert made.main(["--tag", f"v{VERSION}.1"]) == 1
    assert capsys.readouterr().err == f"the tag is v{VERSION}.1, and the version is {VERSION}\n"


@pytest.mark.skipif(os.name == "nt", reason="runs a shell")
def test_the_branch_of_the_skill_gets_a_commit_for_each_release(tmp_path: Path) -> None:
    remote, tree = tmp_path / "remote.git", tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    for name in ("bin/openrouter-usage", "LICENSE"):
        (tree / name).write_text("text\n", encoding="utf-8")
    git = ["git", f"--git-dir={remote}"]
    subprocess.run(["git", "init", "--quiet", "--bare", str(remote)], check=True)
    for tag in ("v1", "v2"):
        command = [str(ROOT / ".ci" / "push-skill"), str(tree), tag]
        subprocess.run(command, env={**os.environ, "REMOTE": str(remote)}, check=True, capture_output=True)
        (tree / "LICENSE").unlink(missing_ok=True)
    told = subprocess.run([*git, "log", "--format=%s", "skill"], capture_output=True, text=True, check=True).stdout
    files = subprocess.run([*git, "ls-tree", "-r", "skill"], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["v2", "v1"]
    assert [line.split()[0] + line.split()[-1] for line in files.splitlines()] == ["100755bin/openrouter-usage"]
