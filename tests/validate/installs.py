"""Installs the skill in every way that README names, each into a new home, and asks it what was spent."""

from __future__ import annotations

import json
import os
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from openrouter_usage.home.settings import VERSION
from tests.documents import fallback_script
from tests.sandbox import DEMO_KEY, DEMO_MGMT_KEY
from tests.staging import NAME
from tests.validate.bench import Bench, FailedError
from tests.validate.registry import Registry
from tests.validate.tools import tool

PYTHON = [sys.executable]
NEXT = f"{int(VERSION.split('.')[0]) + 1}.0.0"
CLIENTS = {"claude-code": ".claude/skills", "openclaw": ".openclaw/skills", "codex": ".agents/skills"}


def skills_add(bench: Bench) -> str:
    """`npx skills add`, for three clients at once; the same again as an update; and `npx skills remove`."""
    home = bench.home("skills-add")
    add = [*tool("skills"), "add", str(bench.skill), "--global", "--yes", "--agent", *CLIENTS]
    bench.run(add, home)
    folders = [home / place / NAME for place in CLIENTS.values()]
    _becomes_old(folders[0])
    bench.run(add, home)
    _is_new(folders[0])
    shown = {bench.shows_the_account(PYTHON, folder, home) for folder in folders}
    bench.run([*tool("skills"), "remove", NAME, "--global", "--yes"], home)
    _is_gone(*folders)
    return f"{', '.join(CLIENTS)}: {shown.pop()}"


def claude_marketplace(bench: Bench) -> str:
    """Claude Code adds the marketplace, installs and updates the plugin from it, and takes it away again."""
    home, plugin = bench.home("marketplace"), [*tool("claude"), "plugin"]
    bench.run([*plugin, "marketplace", "add", str(bench.staged)], home)
    bench.run([*plugin, "install", f"{NAME}@{NAME}"], home)
    (document,) = (home / ".claude" / "plugins" / "cache").rglob("SKILL.md")
    shown = bench.shows_the_account(PYTHON, document.parent, home)
    told = bench.run([*plugin, "details", f"{NAME}@{NAME}"], home)
    cost = " ".join(
        next(line for line in told.splitlines() if line.strip().startswith(NAME + " ") and "~" in line).split()
    )
    bench.run([*plugin, "marketplace", "update", NAME], home)
    bench.run([*plugin, "update", f"{NAME}@{NAME}"], home)
    bench.run([*plugin, "uninstall", f"{NAME}@{NAME}"], home)
    if NAME in bench.run([*plugin, "list"], home):
        raise FailedError("the plugin is still listed")
    return f"{shown}; tokens always and on use: {cost.removeprefix(NAME).strip()}"


def claude_plugin_layout(bench: Bench) -> str:
    """Claude Code installs the plugin layout; its `bin/openrouter-usage` is the command that Claude Code's shell finds."""
    home, plugin = bench.home("plugin-layout"), [*tool("claude"), "plugin"]
    bench.run([*plugin, "marketplace", "add", str(bench.plugin)], home)
    bench.run([*plugin, "install", f"{NAME}@{NAME}"], home)
    (command,) = (home / ".claude" / "plugins" / "cache").rglob(f"bin/{NAME}")
    path = {"PATH": f"{command.parent}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    shown = bench.run([shutil.which(NAME, path=path["PATH"]) or NAME], home, {**bench.keys, **path})
    hint = bench.run([str(command), "budget"], home, {**bench.keys, **path})
    bench.run([*plugin, "uninstall", f"{NAME}@{NAME}"], home)
    if "Today: $4.55*" not in shown or f"To set one: {NAME} budget set" not in hint:
        raise FailedError(shown + hint)
    return f"{NAME} on the PATH: {shown.splitlines()[1]}"


def _wheel(bench: Bench) -> Path:
    """Build the package once: the wheel of the tree is that of the sdist."""
    folder = bench.scratch / "dist"
    if not folder.is_dir():
        home = bench.home("build")
        build = [*tool("uv"), "build", "--quiet"]
        bench.run([*build, "--wheel", "--out-dir", str(folder), str(bench.staged)], home)
        bench.run([*build, "--sdist", "--out-dir", str(folder), str(bench.staged)], home)
        (sdist,) = folder.glob("*.tar.gz")
        bench.run([*build, "--wheel", "--out-dir", str(folder / "again"), str(sdist)], home)
        (one,), (other,) = folder.glob("*.whl"), (folder / "again").glob("*.whl")
        contents = [{info.filename: info.CRC for info in zipfile.ZipFile(path).infolist()} for path in (one, other)]
        differ = [name for name in contents[0].keys() | contents[1].keys() if contents[0].get(name) != contents[1].get(name)]
        if differ:
            raise FailedError(f"the wheel of the sdist differs in {sorted(differ)}")
    (wheel,) = folder.glob("*.whl")
    return wheel


def _keeps_the_ledger(bench: Bench, home: Path, command: list[str], update: list[str], uninstall: list[str]) -> str:
    """An installed command shows the figures; an update and an uninstall leave the user's files as they were."""
    shown = bench.shows_figures(command, home)
    budget = bench.run([*command, "budget", "set", "--daily", "5"], home, bench.keys)
    kept = {path: path.read_bytes() for path in (home / ".openrouter").rglob("*.json*") if path.is_file()}
    bench.run(update, home)
    if bench.run([*command, "budget"], home, bench.keys) != budget or not kept:
        raise FailedError("the update lost the budget")
    bench.run(uninstall, home)
    lost = [str(path) for path, content in kept.items() if not path.is_file() or path.read_bytes() != content]
    if lost:
        raise FailedError(f"the uninstall lost {lost}")
    return shown


def pip_install(bench: Bench) -> str:
    """`pip install` into a new environment: the command, the library, its types, and the gateway with its extra."""
    home, wheel = bench.home("pip"), _wheel(bench)
    bench.run([*PYTHON, "-m", "venv", str(home / "venv")], home)
    folder = home / "venv" / ("Scripts" if os.name == "nt" else "bin")
    pip = [str(folder / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    bench.run([*pip, "install", str(wheel)], home)
    names = "import openrouter_usage as o; print(o.__version__, [getattr(o, name) for name in o.__all__] and len(o.__all__))"
    told = bench.run([str(folder / "python"), "-c", names], home)
    missing = bench.run([str(folder / NAME), "gateway"], home, accept=(2,))
    for shell, option in (("bash", "--daily"), ("zsh", "--daily"), ("fish", "-l daily")):
        if option not in bench.run([str(folder / NAME), "completion", shell], home):
            raise FailedError(f"no completion for {shell}")
    if not told.startswith(VERSION) or "openrouter-usage[gateway]" not in missing:
        raise FailedError(told + missing)
    command, update = [str(folder / NAME)], [*pip, "install", "--force-reinstall", "--no-deps", str(wheel)]
    return _keeps_the_ledger(bench, home, command, update, [*pip, "uninstall", "--yes", NAME])


def uvx(bench: Bench) -> str:
    """`uvx --from WHEEL` runs the command without an install."""
    home = bench.home("uvx")
    return bench.shows_figures([*tool("uv"), "tool", "run", "--from", str(_wheel(bench)), NAME], home)


def pipx(bench: Bench) -> str:
    """`pipx install`, the same again with --force as an update, and `pipx uninstall`."""
    home, wheel = bench.home("pipx"), str(_wheel(bench))
    install = [*tool("pipx"), "install", "--quiet", wheel]
    bench.run(install, home)
    command = [str(home / ".local" / "bin" / NAME)]
    return _keeps_the_ledger(bench, home, command, [*install, "--force"], [*tool("pipx"), "uninstall", NAME])


def clawhub(bench: Bench) -> str:
    """ClawHub takes the skill without what is not needed, and what it gives to others works."""
    home = bench.home("clawhub")
    with Registry() as registry:
        more = registry.environment(home)
        command = [*tool("clawhub"), "--no-input", "--workdir", str(home / "work")]
        publish = [*command, "skill", "publish", str(bench.staged), "--version"]
        bench.run([*publish, VERSION], home, more)
        wrong = {name for name, content in registry.files.items() if content != (bench.staged / name).read_bytes()}
        extra = {name for name in registry.files if name.split("/")[0] in ("tests", "benchmarks", "evals", "Makefile")}
        if wrong or extra:
            raise FailedError(f"published otherwise: {sorted(wrong)}; not to be published: {sorted(extra)}")
        bench.run([*command, "install", NAME], home, more)
        folder = home / "work" / "skills" / NAME
        _becomes_old(folder)
        bench.run([*publish, NEXT], home, more)
        bench.run([*command, "update", NAME, "--force"], home, more)
        _is_new(folder)
        shown = bench.shows_the_account(PYTHON, folder, home)
        bench.run([*command, "uninstall", NAME, "--yes"], home, more)
        _is_gone(folder)
    return f"{len(registry.files)} files: {shown}"


def openclaw(bench: Bench) -> str:
    """OpenClaw installs the folder, replaces it, and finds it ready without any variable set."""
    home = bench.home("openclaw")
    command = [*tool("openclaw"), "skills"]
    install = [*command, "install", str(bench.skill), "--global"]
    bench.run(install, home)
    folder = home / ".openclaw" / "skills" / NAME
    _becomes_old(folder)
    bench.run([*install, "--force"], home)
    _is_new(folder)
    shown = bench.shows_the_account(PYTHON, folder, home)
    printed = bench.run([*command, "info", NAME, "--json"], home)
    told = json.loads(printed[printed.index("{") :])
    if not (told["eligible"] and told["modelVisible"] and told["primaryEnv"] == "OPENROUTER_API_KEY" and told["emoji"]):
        raise FailedError(str(told))
    return f"eligible, visible to the model: {shown}"


def plain_copy(bench: Bench) -> str:
    """A copied folder, run by plain python3."""
    home = bench.home("copy")
    folder = home / ".claude" / "skills" / NAME
    shutil.copytree(bench.skill, folder)
    return bench.shows_the_account(PYTHON, folder, home)


def uv_run(bench: Bench) -> str:
    """`uv run` gets the packages by itself."""
    home = bench.home("uv")
    folder = home / NAME
    shutil.copytree(bench.skill, folder)
    return bench.shows_the_account([*tool("uv"), "run"], folder, home)


def curl(bench: Bench) -> str:
    """The commands for a machine without Python, as SKILL.md has them."""
    if os.name == "nt" or not shutil.which("curl"):
        return "not tried: no POSIX shell with curl here"
    home = bench.home("curl")
    script = fallback_script((bench.staged / "SKILL.md").read_text(encoding="utf-8"), bench.url, with_jq=False)
    keys = {"OPENROUTER_API_KEY": DEMO_KEY, "OPENROUTER_MGMT_KEY": DEMO_MGMT_KEY, "NO_PROXY": "127.0.0.1"}
    shown = bench.run(["sh", "-c", script], home, keys)
    if '"usage_daily"' not in shown or '"byok_usage_inference"' not in shown:
        raise FailedError(shown)
    return f"{len(shown)} bytes of JSON, usage_daily among them"


def _becomes_old(folder: Path) -> None:
    """Leave a file of an older version behind, and spoil one."""
    (folder / "scripts" / "gone.py").write_text("", encoding="utf-8")
    (folder / "scripts" / "stats.py").write_text("raise SystemExit('an old version')\n", encoding="utf-8")


def _is_new(folder: Path) -> None:
    if (folder / "scripts" / "gone.py").exists() or "an old version" in (folder / "scripts" / "stats.py").read_text():
        raise FailedError(f"the update has left the old version in {folder}")


def _is_gone(*folders: Path) -> None:
    left = [str(folder) for folder in folders if folder.exists()]
    if left:
        raise FailedError(f"left behind: {left}")


INSTALLS: dict[str, Callable[[Bench], str]] = {
    "skills add": skills_add,
    "claude plugin install": claude_marketplace,
    "claude plugin install, the plugin layout": claude_plugin_layout,
    "pip install the wheel": pip_install,
    "uvx --from the wheel": uvx,
    "pipx install the wheel": pipx,
    "clawhub publish and install": clawhub,
    "openclaw skills install": openclaw,
    "a plain copy, python3": plain_copy,
    "uv run": uv_run,
    "curl": curl,
}
