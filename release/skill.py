"""Makes what is released from this repository: the skill alone, as a folder, as a zip, and in the layout of a plugin.

The folder is `dist/skills/openrouter-usage`, without tests, benchmarks, evals and CI, and without what needs a
package of its own: the gateway's server and verb, and a team's ledger. Whoever calls those is told how to get them.
`dist/plugin` is a tree of its own, which is also what the branch `skill` has: `skills/openrouter-usage`,
`bin/openrouter-usage`, and Claude Code's manifests.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME = "openrouter-usage"
FILES = ("SKILL.md", "README.md", "SECURITY.md", "LICENSE", "credentials.env.example", "requirements.txt")
FOLDERS = ("scripts/", "references/")
# For an installed package only; and what needs aiohttp or psycopg, which `errors.of_missing_part` has to know. The
# clients' keys stay, as other verbs show their budgets, and the library's own name for the gateway.
NOT_NEEDED = re.compile(
    r"scripts/openrouter_usage/(?:__main__\.py|py\.typed)|scripts/gateway\.py"
    r"|scripts/openrouter_usage/(?:cli/(?:verbs/)?gateway|gateway/(?!(?:__init__|keys|embedded)\.py).*)(?:\.py)?"
    r"|references/summary\.svg"
    r"|scripts/openrouter_usage/(?:cli/verbs/team|jobs/team|ledger/team(?:_\w+)?)\.py"
)
# What README says of how to use it; the rest is about this repository, and what the skill alone has not.
README = ("Keys", "Commands", "What the lines mean", "Budgets", "The ledger", "Limits")
_README_HEAD = """# openrouter-usage

Read this if you want to know what the output means; assistants read [SKILL.md](SKILL.md). This is the skill alone: the
gateway and a team's ledger come with the Python package, as [gateway.md](references/gateway.md) and
[team.md](references/team.md) say.
"""
# The earliest that a zip can say: the same files make the same bytes.
_MOMENT = (1980, 1, 1, 0, 0, 0)


def version() -> str:
    """Return the version, from the one place that has it."""
    text = (ROOT / "scripts" / "openrouter_usage" / "home" / "settings.py").read_text(encoding="utf-8")
    found = re.search(r'^VERSION = "([^"]+)"$', text, re.MULTILINE)
    if not found:
        raise SystemExit("home/settings.py has no VERSION")
    return found[1]


def names() -> list[str]:
    """Return the files of the skill: those that git knows, and new ones that are not ignored."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *FILES, *FOLDERS]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode("utf-8")
    found = {name for name in listed.split("\0") if name and (ROOT / name).is_file()}
    return sorted(name for name in found if not NOT_NEEDED.fullmatch(name))


def readme() -> str:
    """Return the README of the skill alone."""
    sections = dict(
        re.findall(r"^## (.*)\n([\s\S]*?)(?=^## |\Z)", (ROOT / "README.md").read_text(encoding="utf-8"), re.M)
    )
    return _README_HEAD + "".join(f"\n## {name}\n{sections[name].rstrip()}\n" for name in README)


def write_skill(folder: Path) -> Path:
    """Write the skill into a folder of its own name below this one, in place of an older one; return it."""
    skill = folder / NAME
    shutil.rmtree(skill, ignore_errors=True)
    for name in names():
        (skill / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, skill / name)
    (skill / "README.md").write_text(readme(), encoding="utf-8", newline="\n")
    return skill


def write_plugin(folder: Path) -> Path:
    """Write the layout of a plugin, which is also a marketplace with this one plugin, in place of an older one."""
    shutil.rmtree(folder, ignore_errors=True)
    write_skill(folder / "skills")
    (folder / "bin").mkdir()
    shutil.copy2(ROOT / "release" / NAME, folder / "bin" / NAME)
    shutil.copy2(ROOT / "LICENSE", folder / "LICENSE")
    shutil.copy2(ROOT / "release" / "README.md", folder / "README.md")
    market = json.loads((ROOT / ".claude-plugin" / "marketplace.json").read_text(encoding="utf-8"))
    (plugin,) = market["plugins"]
    manifest = {key: value for key, value in plugin.items() if key not in ("source", "strict", "skills", "category")}
    market["plugins"] = [{**manifest, "category": plugin["category"], "source": "./"}]
    (folder / ".claude-plugin").mkdir()
    for name, told in (("plugin.json", {**manifest, "author": market["owner"]}), ("marketplace.json", market)):
        (folder / ".claude-plugin" / name).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8", newline="\n")
    return folder


def write_zip(skill: Path, target: Path) -> None:
    """Pack the folder of the skill."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in skill.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(skill.parent).as_posix(), _MOMENT)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, path.read_bytes())


def main(argv: Sequence[str]) -> int:
    """Write everything below dist/ and print its size; 1 if the tag to be released is not this version."""
    parser = argparse.ArgumentParser(prog="python -m release.skill", description=__doc__)
    parser.add_argument("--tag", help="fail unless this is the tag of the version, such as v0.1.0")
    tag = parser.parse_args(argv).tag
    if tag and tag != f"v{version()}":
        sys.stderr.write(f"the tag is {tag}, and the version is {version()}\n")
        return 1
    dist = ROOT / "dist"
    skill = write_skill(dist / "skills")
    write_plugin(dist / "plugin")
    write_zip(skill, dist / f"{NAME}-skill-{version()}.zip")
    sizes = [path.stat().st_size for path in skill.rglob("*") if path.is_file()]
    print(f"{skill.relative_to(ROOT)}: {len(sizes)} files, {sum(sizes) / 1000:,.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
