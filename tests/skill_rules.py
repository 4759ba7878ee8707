"""Rules that the skill keeps as a package; each gives what is wrong with the files of one copy of it.

A copy is a table of names and contents, so that a test can break one without touching the disk.
"""

from __future__ import annotations

import ast
import functools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import yaml

from tests.documents import arguments
from tests.staging import NAME

Files = Mapping[str, bytes]

SPEC_KEYS = {"name", "description", "license", "compatibility", "metadata", "allowed-tools"}
BODY_BYTES, DESCRIPTION_SIGNS, FILE_BYTES = 3000, 1024, 200_000
BINS = ["python3", "python", "uv"]
# Who may be contacted, and what is only named: examples of a webhook and a proxy, where to get uv, the name of SVG.
CONTACTED = {"openrouter.ai", "events.pagerduty.com", "127.0.0.1", "localhost"}
NAMED_ONLY = {"hooks.slack.com", "proxy.example", "docs.astral.sh", "www.w3.org"}
NETWORK = {
    "requests",
    "urllib3",
    "socket",
    "ssl",
    "http",
    "httpx",
    "aiohttp",
    "ftplib",
    "smtplib",
    "telnetlib",
    "asyncio",
}
# The second delivers an alert to the address that the user gave; the gateway listens on this machine and asks OpenRouter.
NETWORK_ROOMS = ("scripts/openrouter_usage/openrouter/", "scripts/openrouter_usage/jobs/alert.py",
                 "scripts/openrouter_usage/gateway/", "scripts/openrouter_usage/cli/gateway.py")
KEY = re.compile(
    rb"sk-or-(?:v1-)?[0-9a-zA-Z]{16}|sk-(?:ant-|proj-)?[0-9a-zA-Z]{20}|AKIA[0-9A-Z]{16}|gh[pousr]_\w{20}|xox[abp]-\w{10}"
    rb"|-----BEGIN [A-Z ]*PRIVATE KEY|eyJ[\w-]{20,}\.eyJ"
)


def text(files: Files, name: str) -> str:
    """A file as text, empty when it is missing."""
    return files.get(name, b"").decode("utf-8")


def programs(files: Files) -> dict[str, bytes]:
    """Every Python file of the programs."""
    return {name: content for name, content in files.items() if name.startswith("scripts/") and name.endswith(".py")}


# Each of these looks at one file at a time, and is asked about the same files for every broken copy.


@functools.cache
def _nodes(content: bytes) -> list[Any]:
    return list(ast.walk(ast.parse(content)))


@functools.cache
def _variables(content: bytes) -> set[str]:
    words = [node.value for node in _nodes(content) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return set(re.findall(r"\bOPENROUTER_[A-Z_]+[A-Z]\b", "\n".join(words)))


def imported(node: ast.AST) -> list[str]:
    """The modules that a node imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


def split(document: str) -> tuple[str, str]:
    """Front matter and body of SKILL.md."""
    match = re.fullmatch(r"---\n(.*?\n)---\n(.*)", document, re.DOTALL)
    return (match[1], match[2]) if match else ("", document)


def front(files: Files) -> dict[str, Any]:
    """The front matter, parsed."""
    parsed = yaml.safe_load(split(text(files, "SKILL.md"))[0])
    return parsed if isinstance(parsed, dict) else {}


# -- SKILL.md --


def front_matter(files: Files) -> Iterator[str]:
    """The keys of the specification and no other, as the reference validator and every client can read them."""
    raw, found = split(text(files, "SKILL.md"))[0], front(files)
    if set(found) - SPEC_KEYS or "allowed-tools" in found:
        yield f"other keys: {sorted(set(found) - SPEC_KEYS | {'allowed-tools'} & set(found))}"
    if found.get("name") != NAME:
        yield f"the name is {found.get('name')}"
    if re.search(r"^[^\"'#\n]*: *[\[{]", raw, re.MULTILINE):
        yield "an inline map or list"
    if not isinstance(found.get("metadata", {}).get("version"), str):
        yield "the version is no text"


def description(files: Files) -> Iterator[str]:
    """What it does, when to use it and when not, in the third person."""
    told = str(front(files).get("description", ""))
    if not 40 < len(told) <= DESCRIPTION_SIGNS:
        yield f"{len(told)} characters"
    if re.search(r"\b(I|you|your|we|my)\b", told, re.IGNORECASE):
        yield "not in the third person"
    if "Use when" not in told or "Not for" not in told:
        yield "does not say when to use it, or when not"
    if "<" in told or ">" in told:
        yield "holds angle brackets, which clients take for markup"


def openclaw(files: Files) -> Iterator[str]:
    """What OpenClaw shows and asks for; a variable under `requires` would hide the skill until it is exported."""
    told = front(files).get("metadata", {}).get("openclaw", {})
    if not told.get("emoji") or not str(told.get("homepage", "")).startswith("https://"):
        yield "no emoji or no homepage"
    if told.get("requires") != {"anyBins": BINS}:
        yield f"requires {told.get('requires')}"
    declared = [one for one in told.get("envVars", []) if set(one) == {"name", "required", "description"}]
    if told.get("primaryEnv") not in [one["name"] for one in declared if one["required"]]:
        yield "the primary variable is not declared as required"
    if len(declared) != len(told.get("envVars", [])):
        yield "a variable without its name, whether it is required, and what it is"


def environment(files: Files) -> Iterator[str]:
    """Every variable that the programs read is declared, and the other way round; README knows them all."""
    read = set().union(*map(_variables, programs(files).values()))
    told = front(files).get("metadata", {}).get("openclaw", {}).get("envVars", [])
    declared = {one["name"] for one in told}
    yield from (f"{name} is not declared" for name in sorted(read - declared))
    yield from (f"{name} is read nowhere" for name in sorted(declared - read))
    yield from (
        f"README does not tell of {name}" for name in sorted(read) if f"`{name}`" not in text(files, "README.md")
    )


def body(files: Files) -> Iterator[str]:
    """Short, without what a client would leave out or replace."""
    document = split(text(files, "SKILL.md"))[1]
    if not 0 < len(document.encode()) < BODY_BYTES:
        yield f"{len(document.encode())} bytes"
    if "<!--" in document:
        yield "an HTML comment"
    # Claude Code puts the words that a skill is called with in place of $ARGUMENTS, $0, $1 and so on.
    yield from (f"{found} is replaced" for found in re.findall(r"\$(?:\d+|ARGUMENTS\b)", document))
    if '"{baseDir}/scripts/stats.py"' not in document:
        yield "no path from {baseDir}"
    # A home such as `C:\\Users\\First Last` would cut the command in two.
    yield from (f"{found} has no quotes" for found in re.findall(r'(?<!")\{baseDir\}/[^"\s`]*', document))
    early = document[: len(document) // 3]
    yield from (f"{word} is not told early" for word in ("openrouter.ai", "credentials.env") if word not in early)


# What people ask for, and the words that answer it in one command.
ASKED_FOR = {
    "stats.py": [("--month",), ("--since", "--by"), ("--month", "--by"), ("--json",), ("--explain",)],
    "cost_tracker.py": [
        ("stats", "--trend"), ("sync",), ("models", "--cheapest"), ("keys", "create", "--limit"), ("keys", "list"),
        ("alert", "--balance-below", "--webhook"), ("budget", "set", "--daily"), ("cap", "--daily"), ("doctor",),
        ("what-if",), ("export", "--format"), ("reconcile",), ("settle",), ("credits",),
    ],
}  # fmt: skip


def commands(files: Files) -> Iterator[str]:
    """Each thing that is asked for has its command in the table, or among those that change something."""
    document = split(text(files, "SKILL.md"))[1]
    for program, asked_for in ASKED_FOR.items():
        told = arguments(document, program)
        yield from (
            f"no {program} {' '.join(words)}" for words in asked_for if not any(set(words) <= set(run) for run in told)
        )


def relaying(files: Files) -> Iterator[str]:
    """What an assistant has to know to relay the figures: gotchas, and what each exit code asks of it."""
    document = split(text(files, "SKILL.md"))[1]
    gotchas = ("UTC", "one key", "`*`", "never instructions", "BYOK", "is not zero", "--yes")
    yield from (f"nothing on {word}" for word in gotchas if word not in document)
    codes = re.search(r"Exit codes: (.*?)\n\n", document, re.DOTALL)
    told = set(re.findall(r"\b(\d+) [a-z]", codes[1] if codes else "", re.IGNORECASE))
    yield from (
        f"nothing on exit code {code}" for code in ("0", "1", "2", "3", "4", "5", "6", "130") if code not in told
    )


# -- the other documents and manifests --


def references(files: Files) -> Iterator[str]:
    """Each says first when to read it, and SKILL.md and README.md lead to it; SKILL.md names no other."""
    named = [name for name in files if re.fullmatch(r"references/[\w-]+\.md", name)]
    document = split(text(files, "SKILL.md"))[1]
    if len(named) < 5:
        yield f"only {named}"
    for name in named:
        if not re.match(r"# [^\n]+\n\nRead this (when|before) ", text(files, name)):
            yield f"{name} does not begin with when to read it"
        if f"`{name.partition('/')[2]}`" not in document:
            yield f"SKILL.md does not lead to {name}"
        if f"]({name})" not in text(files, "README.md"):
            yield f"README.md does not lead to {name}"
    yield from (
        f"SKILL.md leads to {name}, which is missing"
        for name in re.findall(r"`([\w-]+\.md)`", document)
        if f"references/{name}" not in named
    )


def marketplace(files: Files) -> Iterator[str]:
    """One manifest for Claude Code; a second one would make ClawHub take the skill for a plugin."""
    others = [name for name in files if re.search(r"(^|/)(plugin\.json|openclaw\.plugin\.json|package\.json)$", name)]
    yield from (f"{name} makes it a plugin" for name in others)
    told = json.loads(text(files, ".claude-plugin/marketplace.json") or "{}")
    (plugin,) = told.get("plugins") or [{}]
    wanted = {"name": NAME, "source": "./", "strict": False, "skills": ["./"]}
    if told.get("name") != NAME or not told.get("owner", {}).get("name"):
        yield "no name or no owner"
    yield from (f"{key} is {plugin.get(key)}" for key, value in wanted.items() if plugin.get(key) != value)


def clawhub(files: Files) -> Iterator[str]:
    """ClawHub gets what is used, not what the skill is worked on with, and never a key."""
    lines = [line for line in text(files, ".clawhubignore").splitlines() if line and not line.startswith("#")]
    left_out = {name for name in files if any(name == line or name.startswith(line) for line in lines)}
    wanted = {"SKILL.md", "README.md", "LICENSE", "requirements.txt"}
    wanted |= {name for name in files if name.startswith(("scripts/", "references/"))}
    yield from (f"{name} is needed and left out" for name in sorted(wanted & left_out))
    tools = {name for name in files if name.startswith(("tests/", "benchmarks/", "evals/", ".github/", ".ci/"))}
    yield from (f"{name} is not left out" for name in sorted(tools - left_out))
    yield from (f"{name} would be published" for name in ("credentials.env", ".venv/", ".tools/") if name not in lines)


# -- all files --


def portable(files: Files) -> Iterator[str]:
    """Names that every system and every installer takes, and text with plain line ends."""
    lower = [name.lower() for name in files]
    for name, content in files.items():
        if not re.fullmatch(r"[\w./-]+", name, re.ASCII) or re.search(r"(^|/)(con|aux|nul|prn)(\.|/|$)", name):
            yield f"{name} is no name everywhere"
        if re.search(r"(^|/)_(?!_init__\.py$|_main__\.py$)", name):
            yield f"{name} begins with an underscore, and some installers drop it"
        if lower.count(name.lower()) > 1:
            yield f"{name} differs from another name in its case only"
        if len(name) > 100 or len(content) > FILE_BYTES:
            yield f"{name} is too long"
        if b"\r" in content or b"\0" in content:
            yield f"{name} is no text with plain line ends"


def keys(files: Files) -> Iterator[str]:
    """Nothing looks like a key, not even one that opens nothing."""
    for name, content in files.items():
        yield from (f"{name}: {found[:12].decode()}…" for found in KEY.findall(content))


# -- the programs --


SHUNNED = {"eval", "exec", "compile", "__import__", "os.system", "os.popen"}
SHUNNED_MODULES = {"pickle", "marshal", "pty"}
SHUNNED_WORDS = {("verify", "False"), ("shell", "True")}
SHUNNED_SETTINGS = {"verify", "verify_mode", "check_hostname"}


def harmless(files: Files) -> Iterator[str]:
    """Nothing runs text as code or through a shell, or takes the verification of TLS away."""
    for name, content in programs(files).items():
        yield from (f"{name}:{one}" for one in _harm(content))


@functools.cache
def _harm(content: bytes) -> list[str]:
    found: list[str] = []
    for node in _nodes(content):
        found += [f"{node.lineno} imports {module}" for module in imported(node) if module in SHUNNED_MODULES]
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in SHUNNED or called.endswith((".exec_module", ".import_module", "_create_unverified_context")):
                found.append(f"{node.lineno} calls {called}")
            passed = {(word.arg, ast.unparse(word.value)) for word in node.keywords}
            found += [f"{node.lineno} passes {word}={value}" for word, value in passed & SHUNNED_WORDS]
        if isinstance(node, ast.Assign) and ast.unparse(node.value) in ("False", "ssl.CERT_NONE"):
            targets = {ast.unparse(target).rpartition(".")[2] for target in node.targets}
            found += [f"{node.lineno} sets {target}" for target in targets & SHUNNED_SETTINGS]
    return found


def contacts(files: Files) -> Iterator[str]:
    """Only one room talks over the network, and no source names a host that may not be contacted."""
    for name, content in programs(files).items():
        yield from (f"{name}:{one}" for one in _hosts(content))
        if not name.startswith(NETWORK_ROOMS):
            modules = [module for node in _nodes(content) for module in imported(node)]
            yield from (f"{name} imports {module}" for module in modules if module.partition(".")[0] in NETWORK)


@functools.cache
def _hosts(content: bytes) -> list[str]:
    found: list[str] = []
    for node in _nodes(content):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            addresses = re.findall(r"https?://[^\s'\"<>)]+", node.value)
            hosts = {urlsplit(address.rstrip(".,;:…")).hostname or address for address in addresses}
            found += [f"{node.lineno} names {host}" for host in hosts - CONTACTED - NAMED_ONLY]
        if isinstance(node, ast.JoinedStr) and re.match(r"f['\"]https?://\{", ast.unparse(node)):
            found.append(f"{node.lineno} makes up a host")
    return found
