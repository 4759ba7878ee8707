"""What the public validators say about the staged copy; an exception stands here with its reason."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from openrouter_usage.home.settings import VERSION
from tests.staging import NAME
from tests.validate.bench import Bench, FailedError
from tests.validate.registry import Registry
from tests.validate.tools import tool

POLICY = Path(__file__).with_name("scanner-policy.yaml")


def agentskills(bench: Bench) -> str:
    """The reference validator of the specification."""
    return bench.run([*tool("agentskills"), "validate", str(bench.skill)], bench.home("agentskills"))


def skills_list(bench: Bench) -> str:
    """`npx skills add FOLDER --list` finds the one skill."""
    shown = bench.run([*tool("skills"), "add", str(bench.skill), "--list"], bench.home("skills-list"))
    if "Found 1 skill" not in shown or NAME not in shown:
        raise FailedError(shown)
    return "Found 1 skill"


def claude_plugin(bench: Bench) -> str:
    """Claude Code's validator of the marketplace, warnings being errors."""
    return bench.run(
        [*tool("claude"), "plugin", "validate", "--strict", str(bench.staged)], bench.home("claude-validate")
    )


def plugin_validate(bench: Bench) -> str:
    """The same of the plugin layout, which is the branch of every release."""
    home = bench.home("plugin-validate")
    return bench.run([*tool("claude"), "plugin", "validate", "--strict", str(bench.plugin)], home)


def clawhub_dry_run(bench: Bench) -> str:
    """`clawhub skill publish --dry-run` against a registry on this machine, which must not be sent anything."""
    home = bench.home("clawhub-dry-run")
    with Registry() as registry:
        options = ["--version", VERSION, "--dry-run", "--json"]
        command = [*tool("clawhub"), "--no-input", "skill", "publish", str(bench.staged), *options]
        told = json.loads(bench.run(command, home, registry.environment(home)))
        posted = [line for line in registry.asked if line.startswith("POST")]
    if posted or (told["status"], told["slug"]) != ("would-publish", NAME):
        raise FailedError(f"{posted} {told}")
    return f"{told['status']} {NAME}@{told['version']}, {told['fileCount']} files"


def agnix(bench: Bench) -> str:
    """The linter agnix, warnings being errors, on the skill alone, with metadata as flat as the linter wants it.

    AS-016: the specification has metadata map strings to strings; OpenClaw takes its requirements from a map
    named `openclaw` inside it and from nowhere else, so that map is what the copy leaves out.
    """
    home = bench.home("agnix")
    copy = home / NAME
    shutil.copytree(bench.skill, copy)
    told = bench.run([*tool("agnix"), "--format", "json", str(copy)], home, accept=(1,))
    rules = [found["rule"] for found in json.loads(told)["diagnostics"] if found["level"] != "info"]
    if rules != ["AS-016"]:
        raise FailedError(told)
    document = copy / "SKILL.md"
    flat, cut = re.subn(r"^  openclaw:\n(?: {4,}.*\n)+", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
    if cut != 1:
        raise FailedError("SKILL.md has no metadata.openclaw to leave out")
    document.write_text(flat, encoding="utf-8")
    for target in ("generic", "claude-code", "codex"):
        shown = bench.run([*tool("agnix"), "--strict", "--target", target, str(copy)], home)
    found = next(line for line in shown.splitlines() if line.startswith("Found "))
    return f"{found}; AS-016 set aside for metadata.openclaw"


def skill_scanner(bench: Bench) -> str:
    """Cisco's scanner with all that needs no network; findings that are set aside stand in its policy with a reason."""
    home = bench.home("scanner")
    options = ["--use-behavioral", "--policy", str(POLICY), "--format", "json", "--fail-on-severity", "info"]
    report = home / "report.json"
    command = [*tool("skill-scanner"), "scan", str(bench.skill), *options, "--output", str(report)]
    try:
        bench.run(command, home)
    except FailedError as failed:
        found = json.loads(report.read_text(encoding="utf-8"))["findings"] if report.exists() else []
        lines = [
            f"{one['severity']} {one['rule_id']} {one['file_path']}:{one['line_number']} {one['title']}"
            for one in found
        ]
        raise FailedError("\n".join(lines) or str(failed)) from None
    told = json.loads(report.read_text(encoding="utf-8"))
    return f"{told['findings_count']} findings; {len(set_aside(POLICY))} set aside with their reasons in {POLICY.name}"


def set_aside(policy: Path) -> set[str]:
    """The rules that a policy has exceptions for."""
    return set(re.findall(r"^ +- rule_id: (\w+)$", policy.read_text(encoding="utf-8"), re.MULTILINE))


VALIDATORS: dict[str, Callable[[Bench], str]] = {
    "agentskills validate": agentskills,
    "skills add --list": skills_list,
    "claude plugin validate --strict": claude_plugin,
    "claude plugin validate --strict, the plugin layout": plugin_validate,
    "clawhub skill publish --dry-run": clawhub_dry_run,
    "agnix --strict": agnix,
    "skill-scanner scan": skill_scanner,
}
