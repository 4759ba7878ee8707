"""Reads documents for what can be checked in them; every checker gives a list of what is wrong.

A checker that found nothing to look at says so: it would otherwise pass for ever once its pattern no longer fits.
"""

from __future__ import annotations

import ast
import itertools
import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

OFFICIAL = "https://openrouter.ai/api/v1"
Documents = Mapping[str, str]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]\n]*\]\(([^()\s]+)\)")
_PATH = re.compile(
    r"(?<![\w./~-])((?:scripts|references|tests|benchmarks|evals|\.ci|\.github)/[\w./-]*"
    r"|[A-Z]{3,}\.md|requirements(?:-dev)?\.txt|constraints\.txt|credentials\.env\.example)"
)
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
_TABLE = re.compile(r"^<!-- fields: ([\w -]+) -->\n(.*?)^<!-- end -->$", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \|", re.MULTILINE)
_REDIRECTION = re.compile(r"\d?(?:<|>>?)&?")


# -- what a document holds --


def fences(text: str, *languages: str) -> list[str]:
    """The fenced blocks of these languages."""
    return [body for language, body in _FENCE.findall(text) if language in languages]


def without_fences(text: str) -> str:
    """Return a document without its fenced blocks."""
    return _FENCE.sub("", text)


def code(text: str) -> list[str]:
    """The code spans between the fenced blocks."""
    return _CODE.findall(without_fences(text))


def transcripts(text: str) -> list[list[tuple[str, list[str]]]]:
    """The console blocks: each command, which stands behind a dollar sign, with the lines it is said to print."""
    found = []
    for block in fences(text, "console"):
        steps: list[tuple[str, list[str]]] = []
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append((line.removeprefix("$ "), []))
            elif steps:
                steps[-1][1].append(line)
        found.append(steps)
    return found


def commands(text: str) -> Iterator[list[str]]:
    """Every single command of the shell and console blocks, and every code span that runs a Python file, as words."""
    typed = [command for steps in transcripts(text) for command, _ in steps]
    for script in [*fences(text, "sh"), *typed, *(span for span in code(text) if re.search(r"\.py[\" ]", span + " "))]:
        lexer = shlex.shlex(script.replace("\\\n", " "), posix=True, punctuation_chars="|;&\n")
        lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, "#"
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word.strip("|;&\n"):
                words.append(word)
            elif words:
                yield words
                words = []


def arguments(text: str, program: str) -> list[list[str]]:
    """What follows a program's name, for every command that runs it."""
    found = []
    for words in commands(text):
        at = [number for number, word in enumerate(words) if word.endswith("/" + program) or word == program]
        found += [list(_without_redirections(words[number + 1 :])) for number in at[:1]]
    return found


def _without_redirections(words: list[str]) -> Iterator[str]:
    following = iter(words)
    for word in following:
        if _REDIRECTION.fullmatch(word):
            next(following, None)
        elif not re.match(r"\d?[<>]", word):
            yield word


def first_cells(table: str) -> list[str]:
    """The names in the first column of a table; a cell may hold several."""
    return [name for cell in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", table, re.MULTILINE) for name in code(cell)]


def fallback_script(text: str, url: str = OFFICIAL, *, with_jq: bool = True) -> str:
    """The document's curl commands, asking another address; without jq its filters are taken off."""
    blocks = [block for block in fences(text, "sh") if OFFICIAL in block]
    piped = [block for block in blocks if "| jq" in re.sub(r"\|\s+jq", "| jq", block)]
    plain = [block for block in blocks if block not in piped]
    if not with_jq and not plain:
        plain = [re.sub(r"\s*\|\s+jq '[^']*'", "", block) for block in piped]
    chosen = piped if with_jq else plain
    if len(chosen) != 1 or chosen[0].count(OFFICIAL) != 2:
        raise ValueError(f"one block with two curl commands was expected, not {chosen}")
    return chosen[0].replace(OFFICIAL, url)


# -- what can be wrong with it --


def _checked(problems: list[str], looked_at: int, what: str) -> list[str]:
    return problems if looked_at else [f"found no {what} to check"]


def wrong_flags(documents: Documents, flags: set[str], *programs: str) -> list[str]:
    """Options that no program has, and those that no document tells of."""
    told: dict[str, str] = {}
    for name, text in documents.items():
        used = [word for program in programs for words in arguments(text, program) for word in words]
        alone = [span.split()[0] for span in code(text) if span.startswith("--")]
        shown = re.findall(r"(?<![\w-])--[a-z][a-z-]+", "\n".join(fences(text, "text")))
        told |= {word.partition("=")[0]: name for word in [*used, *alone, *shown] if word.startswith("--")}
    who = " and ".join(programs)
    unknown = [f"{name}: {who} has no {flag}" for flag, name in told.items() if flag not in flags]
    untold = [f"no document tells of {flag}" for flag in sorted(flags) if flag not in told]
    return _checked(unknown + untold, len(told), "options")


def wrong_commands(documents: Documents, parse: Callable[[list[str]], object], program: str) -> list[str]:
    """Commands that the program's own parser turns down."""
    problems, looked_at = [], 0
    for name, text in documents.items():
        for words in arguments(text, program):
            looked_at += 1
            try:
                parse(words)
            except Exception as error:
                problems.append(f"{name}: {program} {' '.join(words)}: {error}")
    return _checked(problems, looked_at, f"commands of {program}")


def wrong_scripts(documents: Documents, is_valid: Callable[[str], bool]) -> list[str]:
    """Shell blocks that a shell cannot parse, and JSON blocks that are none."""
    shell = [(name, block) for name, text in documents.items() for block in fences(text, "sh")]
    shell += [(name, line) for name, text in documents.items() for steps in transcripts(text) for line, _ in steps]
    problems = [f"{name}: no shell can read: {block[:60]}" for name, block in shell if not is_valid(block)]
    for name, text in documents.items():
        for block in fences(text, "json"):
            try:
                json.loads(block)
            except ValueError as error:
                problems.append(f"{name}: {error} in: {block[:60]}")
    return _checked(problems, len(shell), "shell blocks")


def wrong_paths(documents: Documents, root: Path) -> list[str]:
    """Links and paths that lead nowhere; a link starts from its document, a path from the repository."""
    problems, looked_at = [], 0
    for name, text in documents.items():
        links = [link for link in _LINK.findall(_FENCE.sub("", text)) if "://" not in link]
        paths = _PATH.findall("\n".join([*code(text), *fences(text, "sh", "console")]).replace("{baseDir}/", " "))
        looked_at += len(links) + len(paths)
        problems += [f"{name}: no {path}" for path in paths if not (root / path.rstrip(".")).exists()]
        problems += [f"{name}: no {link}" for link in links if not _leads_somewhere(root / name, link)]
    return _checked(problems, looked_at, "links or paths")


def wrong_links(documents: Documents, root: Path) -> list[str]:
    """Links that lead nowhere in this folder; paths of the repository are not looked at."""
    links = [(name, link) for name, text in documents.items() for link in _LINK.findall(_FENCE.sub("", text))]
    return _checked([f"{name}: no {link}" for name, link in links if "://" not in link and not _leads_somewhere(root / name, link)],
                    len(links), "links")  # fmt: skip


def _leads_somewhere(document: Path, link: str) -> bool:
    file, _, anchor = link.partition("#")
    target = document.parent / file if file else document
    if not target.exists():
        return False
    headings = _HEADING.findall(target.read_text(encoding="utf-8")) if anchor else []
    return not anchor or anchor in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


def wrong_targets(documents: Documents, makefile: str) -> list[str]:
    """Make targets that do not exist, and those that no document tells of."""
    targets = set(re.findall(r"^(\w+):.*## ", makefile, re.MULTILINE))
    told: dict[str, str] = {}
    for name, text in documents.items():
        for span in [*code(text), *"\n".join(fences(text, "sh")).splitlines()]:
            told |= dict.fromkeys(re.findall(r"^make ([a-z]+)", span), name)
    problems = [f"{name}: no target {target}" for target, name in told.items() if target not in targets]
    problems += [f"no document tells of make {target}" for target in sorted(targets - set(told))]
    return _checked(problems, len(told), "targets")


def wrong_versions(version: str, changelog: str, skill: str, marketplace: str) -> list[str]:
    """Places that name another version than the program does, or none."""
    named = {
        "CHANGELOG.md": re.findall(r"^## \[(\d[^\]]*)\]", changelog, re.MULTILINE)[:1],
        "SKILL.md": re.findall(r'^\s*version: "?([^"\n]+)"?$', skill, re.MULTILINE),
        "marketplace.json": re.findall(r'"version": "([^"]*)"', marketplace),
    }
    return [f"{place}: version {found}, not {version}" for place, found in named.items() if {*found} != {version}]


# -- messages --


def messages_in(source: str) -> Iterator[str]:
    """Every text in a Python source; what is filled in is its last word, as a counted noun is, or …."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            yield "".join(_shown(part) for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _shown(part: ast.expr) -> str:
    words = [node.value for node in ast.walk(part) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return words[-1] if words and (isinstance(part, ast.Constant) or len(words) == 1) else "…"


def wrong_quotations(text: str, sources: Sequence[str]) -> list[str]:
    """Messages that a document quotes in bold and that no source says; … stands for anything."""
    quoted = re.findall(r'^- \*\*[^"*\n]*"([^"]+)"', text, re.MULTILINE)
    said = "\n".join(itertools.chain.from_iterable(map(messages_in, sources)))
    wanted = {quote: ".*".join(map(re.escape, quote.split("…"))) for quote in quoted}
    problems = [f"nobody says: {quote}" for quote, pattern in wanted.items() if not re.search(pattern, said)]
    return _checked(problems, len(quoted), "quoted messages")


# -- the fields of the JSON answer --


Fields = dict[str, tuple[str, bool]]


def documented_fields(text: str, wanted: str) -> Fields:
    """Each field of a table with its type and whether it may be null; a type may be another table of the document."""
    return _fields(dict(_TABLE.findall(text)), wanted)


def documented_kinds(text: str) -> list[str]:
    """The names of the tables of fields; ValueError when one stands twice."""
    names = [name for name, _ in _TABLE.findall(text)]
    if len(set(names)) < len(names):
        raise ValueError(f"a table stands twice among {names}")
    return names


def _fields(tables: Mapping[str, str], wanted: str) -> Fields:
    found: Fields = {}
    for pattern, kind, null in _FIELD.findall(tables.get(wanted, "")):
        pieces = [piece.split(",") for piece in re.split(r"[{}]", pattern)]
        for name in map("".join, itertools.product(*pieces)):
            if name in found:
                raise ValueError(f"{name} stands twice in the table of {wanted}")
            is_table = kind.strip() in tables
            found[name] = ("object" if is_table else kind.strip(), null.strip() == "yes")
            members = _fields(tables, kind.strip()) if is_table else {}
            found |= {f"{name}.{member}": told for member, told in members.items()}
    return found


def fields_of(answer: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every field of an answer with its value, lists as `name[]`."""
    if name:
        yield name, answer
    if isinstance(answer, dict):
        for member, value in answer.items():
            yield from fields_of(value, f"{name}.{member}" if name else member)
    for item in answer if isinstance(answer, list) else []:
        yield from fields_of(item, f"{name}[]")


def _is(kind: str, value: Any) -> bool:
    if kind == "moment":
        return isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", value) is not None
    if kind == "as sent":
        return True
    numbers = {"integer": int, "number": (int, float), "USD": (int, float)}
    types = {"text": str, "object": dict, "list": list, "true/false": bool, **numbers}
    return isinstance(value, types[kind]) and (kind == "true/false" or not isinstance(value, bool))


def wrong_fields(documented: Mapping[str, tuple[str, bool]], answers: Sequence[Any]) -> list[str]:
    """Fields that only one side knows, or knows as something else; each null has to be seen once as well."""
    problems: dict[str, None] = {}
    seen, nulls = set(), set()
    # What is passed on as it came has members of its own, which may be anything.
    as_sent = {name for name, (kind, _) in documented.items() if kind == "as sent"}
    for name, value in itertools.chain.from_iterable(map(fields_of, answers)):
        if re.split(r"[.\[]", name)[0] in as_sent and name not in as_sent:
            continue
        seen.add(name)
        kind, may_be_null = documented.get(name, (None, True))
        if kind is None:
            problems[f"{name} is not documented"] = None
        elif value is None:
            nulls.add(name)
            problems |= {} if may_be_null else {f"{name} can be null": None}
        elif not _is(kind, value):
            problems[f"{name} is no {kind}: {value!r}"] = None
    nullable = {name for name, (_, may_be_null) in documented.items() if may_be_null} - as_sent
    problems |= {f"{name} is in no answer": None for name in documented if name not in seen}
    problems |= {f"{name} was never null": None for name in sorted((nullable & seen) - nulls)}
    return _checked(list(problems), len(documented), "documented fields")
