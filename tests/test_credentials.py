"""Keys come from the places that are documented, go to the host that may see them, and are never shown."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openrouter_usage.errors import SettingsError
from openrouter_usage.home.credentials import find_credentials, how_to_move
from openrouter_usage.home.settings import DEFAULT_BASE_URL, find_home, load_settings, parse_base_url
from openrouter_usage.openrouter.endpoints import OpenRouter
from openrouter_usage.openrouter.transport import Transport
from tests.booking import Tracker
from tests.proxy import Proxy, address_of
from tests.running import ROOT, STATS, Ran, Stats, copy_skill
from tests.sandbox import INFERENCE_KEY, MANAGEMENT_KEY, Account, Sandbox

LINE = f"OPENROUTER_API_KEY={INFERENCE_KEY}\n"
needs_posix = pytest.mark.skipif(os.name != "posix", reason="modes and owners as POSIX has them")
needs_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
not_as_root = pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read everything")


def credentials_file(home: Path, content: str | bytes = LINE, mode: int = 0o600) -> Path:
    """Write ~/.openrouter/credentials.env."""
    path = home / ".openrouter" / "credentials.env"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path


def used(sandbox: Sandbox) -> set[str]:
    """The keys that arrived."""
    return {request.headers["Authorization"].removeprefix("Bearer ") for request in sandbox.requests}


def refused(ran: Ran, sandbox: Sandbox, *words: str) -> None:
    """A set-up that is refused: exit code 2, one line, and nothing sent."""
    assert ran.code == 2
    for word in words:
        assert word in ran.error_line
    assert sandbox.connections == 0


# -- no key, and odd keys ------------------------------------------------------------------------------------------


def test_without_a_key_the_way_to_one_is_told_and_nothing_is_sent(stats: Stats, sandbox: Sandbox) -> None:
    ran = stats("--json", key=None)
    refused(ran, sandbox, "no OpenRouter key found", "OPENROUTER_API_KEY", f"{stats.home}/.openrouter/credentials.env")
    assert "https://openrouter.ai/settings/keys" in ran.err
    assert ran.json["error"]["code"] == "missing_key"


@pytest.mark.parametrize("written",
["{}\n", "\r\n {} \t", "'{}'", '"{}"', "\ufeff{}", "Bearer {}", "bearer  {} ", '"Bearer {}"'])  # fmt: skip
def test_what_copying_adds_to_a_key_is_dropped(written: str, stats: Stats, sandbox: Sandbox) -> None:
    assert stats(key=written.format(INFERENCE_KEY), secrets=[INFERENCE_KEY]).code == 0
    assert used(sandbox) == {INFERENCE_KEY}


@pytest.mark.parametrize(
    "written",
    [
        "{}\nX-Evil: 1", "{} {}", "{}'", '"{}', "{}\x1b[2J", "{}é", "{}\u200b", "{}\x7f", "{}:{}",
        "short", "x" * 600, "{},", "${{HOME}}{}", "{}\r\nHost: evil.example", "Token {}",
    ],
    ids=ascii,
)  # fmt: skip
@pytest.mark.parametrize("name", ["OPENROUTER_API_KEY", "OPENROUTER_MGMT_KEY"])
def test_a_key_with_signs_that_no_key_has_is_refused_and_not_repeated(
    name: str, written: str, stats_here: Callable[..., Ran], sandbox: Sandbox
) -> None:
    value = written.format(INFERENCE_KEY, INFERENCE_KEY)
    keys = {"key": value} if name == "OPENROUTER_API_KEY" else {"mgmt": value}
    ran = stats_here("--json", **keys)
    refused(ran, sandbox, f"{name} from the environment does not look like a key", f"{len(value)} characters")
    assert value not in ran.err + ran.out
    assert INFERENCE_KEY not in ran.err + ran.out


@pytest.mark.parametrize("value", ["", " ", "your-key", "YOUR_KEY_HERE", "sk-or-v1-xxxx", "sk-or-v1-...", "sk-or-v1-…"])
def test_a_placeholder_is_no_key(value: str, stats: Stats, sandbox: Sandbox) -> None:
    refused(stats(key=value), sandbox, "no OpenRouter key found")


def test_a_placeholder_leaves_the_place_to_the_next_source(stats: Stats, sandbox: Sandbox) -> None:
    credentials_file(stats.home)
    assert stats(key="your-key", secrets=[INFERENCE_KEY]).code == 0
    assert used(sandbox) == {INFERENCE_KEY}


def test_an_ordinary_key_in_the_place_of_a_management_key_is_told(stats: Stats, sandbox: Sandbox) -> None:
    ran = stats("--json", mgmt=INFERENCE_KEY)
    hints = {gap["part"]: gap["hint"] for gap in ran.data["missing"]}
    assert set(hints) == {"credits", "activity"}
    assert all("OPENROUTER_MGMT_KEY holds an ordinary key" in hint for hint in hints.values())


def test_exchanged_keys_still_show_the_credits_problem_by_name(stats: Stats, sandbox: Sandbox) -> None:
    ran = stats("--json", key=MANAGEMENT_KEY, mgmt=INFERENCE_KEY)
    assert ran.code == 0
    assert "OPENROUTER_MGMT_KEY holds an ordinary key" in ran.data["missing"][0]["hint"]


# -- where keys come from ------------------------------------------------------------------------------------------


def test_the_environment_is_stronger_than_the_file(stats: Stats, sandbox: Sandbox) -> None:
    credentials_file(
        stats.home, "OPENROUTER_API_KEY=test-key-of-the-file\n" + f"OPENROUTER_MGMT_KEY={MANAGEMENT_KEY}\n"
    )
    assert stats(secrets=[MANAGEMENT_KEY, "test-key-of-the-file"]).code == 0
    assert used(sandbox) == {INFERENCE_KEY, MANAGEMENT_KEY}


def test_the_file_in_the_home_is_stronger_than_the_one_in_the_skill(
    stats: Stats, sandbox: Sandbox, tmp_path: Path
) -> None:
    credentials_file(stats.home)
    script = copy_skill(tmp_path / "skill")
    legacy = tmp_path / "skill" / "credentials.env"
    legacy.write_text(f"OPENROUTER_API_KEY=test-key-of-the-skill\nOPENROUTER_MGMT_KEY={MANAGEMENT_KEY}\n")
    legacy.chmod(0o600)
    ran = stats(key=None, script=script, secrets=[INFERENCE_KEY, MANAGEMENT_KEY])
    assert ran.code == 0
    assert used(sandbox) == {INFERENCE_KEY, MANAGEMENT_KEY}
    kept = stats.home / ".openrouter" / "credentials.env"
    assert f"{legacy} is deleted when the skill is updated; {kept} already exists: copy the missing keys" in ran.error_line


def test_a_legacy_file_that_gives_nothing_is_not_mentioned(stats: Stats, sandbox: Sandbox, tmp_path: Path) -> None:
    script = copy_skill(tmp_path / "skill")
    (tmp_path / "skill" / "credentials.env").write_text(LINE)
    (tmp_path / "skill" / "credentials.env").chmod(0o600)
    assert stats(script=script).err == ""


# -- the way out of the skill folder, which is deleted by an update ------------------------------------------------


def in_skill(folder: Path, content: str = LINE) -> Path:
    """Write a credentials file that others can read into the folder of a skill."""
    folder.mkdir(parents=True)
    path = folder / "credentials.env"
    path.write_text(content)
    path.chmod(0o644)
    return path


def pasted(text: str) -> int:
    """Run the commands of a hint as a shell would."""
    assert text.startswith("run: ")
    return subprocess.run(["sh", "-c", text.removeprefix("run: ")], timeout=60, check=False).returncode


@needs_posix
@pytest.mark.parametrize("name", ["plain", "with a blank", "it's \"odd\" $HOME `id` ;&|*?", "-n", "Ünï", "a\\b"])
def test_the_commands_move_the_keys_whatever_the_folders_are_called(name: str, tmp_path: Path) -> None:
    source, home = in_skill(tmp_path / f"skill {name}"), tmp_path / name
    home.mkdir()
    assert pasted(how_to_move(source, home)) == 0
    moved = home / ".openrouter" / "credentials.env"
    assert (moved.read_text(), source.exists()) == (LINE, False)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (moved, moved.parent)] == [0o600, 0o700]


@needs_posix
def test_the_commands_replace_no_keys_that_came_meanwhile(tmp_path: Path) -> None:
    source = in_skill(tmp_path / "skill", "OPENROUTER_API_KEY=another-key-5678\n")
    told = how_to_move(source, tmp_path)
    kept = credentials_file(tmp_path)
    pasted(told)
    assert kept.read_text() == LINE and source.exists()


@pytest.mark.parametrize("there", ["a file", "an empty file", "a folder", "a dangling link"])
def test_where_a_file_is_already_it_is_to_be_merged_by_hand(there: str, tmp_path: Path) -> None:
    source, target = in_skill(tmp_path / "skill"), tmp_path / ".openrouter" / "credentials.env"
    target.parent.mkdir()
    if there == "a folder":
        target.mkdir()
    elif there == "a dangling link":
        target.symlink_to(tmp_path / "nowhere")
    else:
        target.write_text("" if "empty" in there else LINE)
    for is_windows in (False, True):
        told = how_to_move(source, tmp_path, is_windows=is_windows)
        assert f"{target} already exists" in told and "by hand" in told
        assert "mv" not in told and "Move-Item" not in told


@needs_posix
@pytest.mark.parametrize("odd", ["a link", "a folder", "a pipe", "a line break", "a control", "too long"])
def test_what_no_command_moves_safely_is_to_be_moved_by_hand(odd: str, tmp_path: Path) -> None:
    names = {"a line break": "a\nrm b", "a control": "a\x1b[2Jb", "too long": "/".join(["x" * 100] * 3)}
    source = in_skill(tmp_path / names.get(odd, "skill"))
    (source.parent.parent / "elsewhere.env").write_text(LINE)
    if odd not in names:
        source.unlink()
        {"a link": lambda path: path.symlink_to("../elsewhere.env"), "a folder": Path.mkdir, "a pipe": os.mkfifo}[odd](source)
    told = how_to_move(source, tmp_path)
    assert told.startswith("put its keys into ") and told.isprintable() and len(told) < 500


def test_on_windows_the_commands_are_those_of_powershell(tmp_path: Path) -> None:
    source, home = in_skill(tmp_path / "it's here"), tmp_path / "Ann's home"
    quoted_source = str(source).replace("'", "''")
    folder = str(home / ".openrouter").replace("'", "''")
    target = str(home / ".openrouter" / "credentials.env").replace("'", "''")
    assert how_to_move(source, home, is_windows=True) == (
        f"run in PowerShell: New-Item -ItemType Directory -Force '{folder}' | Out-Null; "
        f"Move-Item -LiteralPath '{quoted_source}' '{target}'"
    )


def test_without_a_home_there_is_nowhere_to_move_to(tmp_path: Path) -> None:
    assert how_to_move(in_skill(tmp_path / "skill"), None).startswith("set HOME, and move it")


def test_a_file_is_not_looked_at_when_both_keys_are_in_the_environment(stats: Stats) -> None:
    credentials_file(stats.home, "\0")
    assert stats(mgmt=MANAGEMENT_KEY).code == 0


def test_nothing_but_the_two_names_is_taken_from_a_file(stats: Stats, sandbox: Sandbox) -> None:
    with Sandbox(Account.simple()) as evil, Proxy() as proxy:
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        lines = [LINE, f"OPENROUTER_BASE_URL={evil.url}\n", "REQUESTS_CA_BUNDLE=/dev/null\n", "PYTHONPATH=/evil\n"]
        credentials_file(stats.home, "".join(lines + [f"{name}={proxy.url}\n" for name in names]))
        assert stats(key=None, secrets=[INFERENCE_KEY]).code == 0
        assert used(sandbox) == {INFERENCE_KEY}
        assert evil.connections == 0
        assert proxy.heads == []


def evil_files(folder: Path, url: str) -> None:
    """Put into a folder what a stranger's repository might hold."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = f"OPENROUTER_BASE_URL={url}\nOPENROUTER_API_KEY=test-evil-key-1\nOPENROUTER_MGMT_KEY=test-evil-key-2\n"
    for name in (".env", "credentials.env", ".openrouter/credentials.env"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(lines)
    for name in ("requests", "dotenv", "openrouter_usage", "certifi", "json"):
        (folder / f"{name}.py").write_text("raise SystemExit(77)\n")


RUN = (
    "import runpy, sys\n"
    "sys.path = [p for p in sys.path if p]\n"
    "sys.argv = sys.argv[1:]\n"
    "runpy.run_path(sys.argv[0], run_name='__main__')\n"
)
WAYS = {
    "script": ([sys.executable], {}),
    "python -c": ([sys.executable, "-c", RUN], {}),
    "heredoc": ([sys.executable, "-"], {"input": RUN.encode()}),
    "debugger": ([sys.executable, "-m", "pdb", "-c", "continue"], {}),
    "coverage": ([sys.executable, "-m", "coverage", "run", "--data-file=/dev/null"], {}),
}


@pytest.mark.parametrize("way", WAYS)
def test_files_of_the_current_folder_are_not_read(way: str, stats: Stats, sandbox: Sandbox, tmp_path: Path) -> None:
    python, options = WAYS[way]
    cwd = tmp_path / "repository" / "inner"
    with Sandbox(Account.simple()) as evil:
        for folder in (cwd, cwd.parent):
            evil_files(folder, evil.url)
        if way in ("debugger", "coverage"):  # `python -m` itself takes modules from the current folder
            for path in cwd.glob("*.py"):
                path.unlink()
        credentials_file(stats.home)
        ran = stats(key=None, python=python, cwd=cwd, secrets=[INFERENCE_KEY], **options)
        assert ran.code in ((0,) if way != "debugger" else (0, 1))
        assert "OpenRouter Usage" in ran.out
        assert used(sandbox) == {INFERENCE_KEY}
        assert evil.connections == 0


def test_a_netrc_does_not_replace_the_key(stats: Stats, sandbox: Sandbox) -> None:
    for name in (".netrc", "_netrc"):
        path = stats.home / name
        path.write_text("machine 127.0.0.1 login somebody password test-netrc-password\ndefault login a password b\n")
        path.chmod(0o600)
    assert stats(env={"NETRC": str(stats.home / ".netrc")}, secrets=["test-netrc-password"]).code == 0
    assert used(sandbox) == {INFERENCE_KEY}


# -- kinds of files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        LINE, LINE.strip(), f"export {LINE}", LINE.replace("\n", "\r\n"), f"\ufeff{LINE}", f"  {LINE}",
        f"# keys\n\n{LINE}",
        f"OPENROUTER_API_KEY = '{INFERENCE_KEY}'\n", f'OPENROUTER_API_KEY="{INFERENCE_KEY}"  # mine\n',
        f"OPENROUTER_API_KEY=Bearer {INFERENCE_KEY}\n", f"OPENROUTER_API_KEY=test-old-key-0\n{LINE}",
        f"this is no line of a file\n=\n'\n{LINE}", f"OTHER=${{HOME}}\n{LINE}", f"OPENROUTER_API_KEY=\nX=1\n{LINE}",
    ],
    ids=ascii,
)  # fmt: skip
def test_what_a_credentials_file_may_look_like(content: str, stats: Stats, sandbox: Sandbox) -> None:
    credentials_file(stats.home, content)
    ran = stats(key=None, secrets=[INFERENCE_KEY])
    assert (ran.code, ran.err) == (0, "")
    assert used(sandbox) == {INFERENCE_KEY}


def many(path: Path) -> None:
    path.write_bytes(LINE.encode() + b"#" * 10_000_000)


def make_socket(path: Path) -> None:
    cwd = os.getcwd()
    os.chdir(path.parent)  # a socket's path may only be short
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(path.name)
    finally:
        os.chdir(cwd)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        pytest.param(lambda path: path.write_bytes(b"\x7fELF\0\0\1"), "binary", id="binary"),
        pytest.param(lambda path: path.write_bytes(LINE.encode("utf-16")), "not UTF-8", id="UTF-16"),
        pytest.param(lambda path: path.write_bytes(b"\xff" + LINE.encode()), "not UTF-8", id="no text"),
        pytest.param(many, "larger than 64 KiB", id="10 MB"),
        pytest.param(lambda path: path.mkdir(), "not a regular file", id="directory"),
        pytest.param(lambda path: os.mkfifo(path), "not a regular file", id="FIFO"),
        pytest.param(make_socket, "is not used", id="socket"),
        pytest.param(lambda path: path.symlink_to(path), "is not used", id="link to itself"),
        pytest.param(lambda path: path.symlink_to("/dev/zero"), "not a regular file", id="link to a device"),
        pytest.param(lambda path: path.write_text("OPENROUTER_API_KEY=${HOME}/key\n"), "not look like a key", id="${}"),
        pytest.param(
            lambda path: path.write_text("OPENROUTER_API_KEY='two\nlines-of-text'\n"), "like a key", id="lines"
        ),
    ],
)
@needs_posix
def test_a_credentials_file_that_cannot_be_one_is_refused(
    make: Callable[[Path], Any], why: str, stats: Stats, sandbox: Sandbox
) -> None:
    path = stats.home / ".openrouter" / "credentials.env"
    path.parent.mkdir()
    make(path)
    if path.is_file() and not path.is_symlink():
        path.chmod(0o600)
    ran = stats("--json", key=None, secrets=[INFERENCE_KEY])
    refused(ran, sandbox, why, str(path))
    assert ran.json["error"]["code"] == "settings"


@needs_posix
@pytest.mark.parametrize(("mode", "why"),
[(0o620, "others can change it"), (0o602, "others can"), (0o666, "others can"), (0o777, "others can")])  # fmt: skip
def test_a_file_that_others_can_change_is_refused(mode: int, why: str, stats: Stats, sandbox: Sandbox) -> None:
    path = credentials_file(stats.home, mode=mode)
    refused(stats(key=None, secrets=[INFERENCE_KEY]), sandbox, why, f"chmod 600 '{path}'")


@needs_posix
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o444])
def test_a_file_that_others_can_read_is_used_with_a_warning(mode: int, stats: Stats, sandbox: Sandbox) -> None:
    path = credentials_file(stats.home, mode=mode)
    ran = stats("--json", key=None, secrets=[INFERENCE_KEY])
    assert (ran.code, ran.data["partial"]) == (0, False)
    assert f"others can read the keys in {path}; run: chmod 600 '{path}'" in ran.error_line


@needs_posix
@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_file_of_ones_own_needs_no_warning(mode: int, stats: Stats) -> None:
    credentials_file(stats.home, mode=mode)
    assert stats(key=None, secrets=[INFERENCE_KEY]).err == ""


@needs_root
def test_a_file_of_another_user_is_refused(stats: Stats, sandbox: Sandbox) -> None:
    os.chown(credentials_file(stats.home), 12345, 12345)
    refused(stats(key=None, secrets=[INFERENCE_KEY]), sandbox, "belongs to another user")


@not_as_root
def test_a_file_that_cannot_be_read_is_named(stats: Stats, sandbox: Sandbox) -> None:
    path = credentials_file(stats.home, mode=0o000)
    refused(stats(key=None), sandbox, str(path), "Permission denied")


@needs_posix
def test_a_link_to_a_file_of_ones_own_is_followed(stats: Stats, sandbox: Sandbox, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.env"
    real.write_text(LINE)
    real.chmod(0o600)
    path = stats.home / ".openrouter" / "credentials.env"
    path.parent.mkdir()
    path.symlink_to(real)
    assert stats(key=None, secrets=[INFERENCE_KEY]).code == 0
    real.chmod(0o666)
    assert "others can change it" in stats(key=None, secrets=[INFERENCE_KEY]).error_line


@pytest.mark.parametrize(
    "content", ["", "\n# nothing\n", "OTHER=1\n", "OPENROUTER_API_KEY\n", "OPENROUTER_API_KEY=your-key\n"]
)
def test_a_file_without_a_key_is_no_error_of_its_own(content: str, stats: Stats, sandbox: Sandbox) -> None:
    credentials_file(stats.home, content)
    refused(stats(key=None), sandbox, "no OpenRouter key found")


def test_a_dangling_link_and_a_file_in_the_place_of_the_folder_are_no_files(stats: Stats, sandbox: Sandbox) -> None:
    folder = stats.home / ".openrouter"
    folder.write_text("not a folder")
    refused(stats(key=None), sandbox, "no OpenRouter key found")
    folder.unlink()
    folder.mkdir()
    (folder / "credentials.env").symlink_to("nowhere")
    refused(stats(key=None), sandbox, "no OpenRouter key found")


# -- where keys go -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://openrouter.ai/api/v1", "http://example.com", "ftp://openrouter.ai", "openrouter.ai",
        "//openrouter.ai", "https:", "https://",
        "https:///api/v1", "https://user@openrouter.ai", "https://user:word@openrouter.ai", "https://@openrouter.ai",
        "https://openrouter.ai@evil.example",
        "https://openrouter.ai?x=1", "https://openrouter.ai/?", "https://openrouter.ai/#",
        "https://openrouter.ai#@evil.example", "https://openrouter.ai\\@evil.example",
        "https://openrouter.ai:port", "https://openrouter.ai:99999", "https://192.0.2.1/api",
        "https://[2001:db8::1]/api", "https://0x7f000001/", "https://2130706433/",
        "https://1.0x7f/", "https://127.1/", "https://0177.0.0.1/", "https://[::ffff:127.0.0.1]/",
        "http://0.0.0.0:80", "http://127.0.0.1.evil.example", "http://localhost.evil.example",
        "http://127.0.0.256", "http://[::2]/", "https://open router.ai", "https://openrouter.ai/\nX-Evil:1",
        "https://öpenrouter.ai", "https://[::1", "file:///etc/passwd", "javascript:1",
        "https://openrouter.ai/\x00", "http://2130706433/", "http://0x7f.1/",
    ],
)  # fmt: skip
def test_an_address_that_a_key_should_not_go_to_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="OPENROUTER_BASE_URL is not used") as caught:
        parse_base_url(url)
    assert caught.value.hint == f"unset it, or set it to {DEFAULT_BASE_URL}"


@pytest.mark.parametrize(
    "url", ["http://openrouter.ai/api/v1", "https://user:test-url-password@openrouter.ai", "https://10.0.0.1"]
)
def test_a_refused_address_ends_the_program_before_anything_is_sent(url: str, stats: Stats, sandbox: Sandbox) -> None:
    stats.url = url
    ran = stats("--json", secrets=["test-url-password"])
    refused(ran, sandbox, "OPENROUTER_BASE_URL is not used")
    assert ran.json["error"]["code"] == "settings"


@pytest.mark.parametrize(
    ("url", "host", "may_see"),
    [
        ("https://openrouter.ai/api/v1", "openrouter.ai", True),
        ("https://openrouter.ai/api/v1/", "openrouter.ai", True),
        ("https://eu.openrouter.ai/api/v1", "eu.openrouter.ai", True),
        ("HTTPS://OpenRouter.AI/api/v1", "openrouter.ai", True), ("https://openrouter.ai.", "openrouter.ai", True),
        (" https://openrouter.ai:443 ", "openrouter.ai", True),
        ("https://evilopenrouter.ai", "evilopenrouter.ai", False),
        ("https://openrouter.ai.evil.example", "openrouter.ai.evil.example", False),
        ("https://gateway.example/v1", "gateway.example", False),
        ("https://openrouter.aix", "openrouter.aix", False), ("http://localhost:8080", "localhost", True),
        ("http://127.0.0.1:1", "127.0.0.1", True), ("http://127.9.9.9", "127.9.9.9", True),
        ("http://[::1]:8080/api/v1", "::1", True), ("https://localhost", "localhost", True),
        ("https://localhost.evil.example", "localhost.evil.example", False),
    ],
)  # fmt: skip
def test_only_openrouter_and_this_machine_may_see_a_management_key(url: str, host: str, may_see: bool) -> None:
    address = parse_base_url(url)
    assert (address.host, address.may_see_mgmt_key) == (host, may_see)
    assert address.url == url.strip().rstrip("/")


@pytest.mark.parametrize("keys",
[{"mgmt": MANAGEMENT_KEY}, {"key": MANAGEMENT_KEY, "mgmt": MANAGEMENT_KEY},
{"key": None, "mgmt": MANAGEMENT_KEY}])  # fmt: skip
def test_a_management_key_goes_to_no_foreign_host(keys: dict[str, str | None], stats: Stats) -> None:
    with Sandbox(Account.simple(), tls="wrong_host") as foreign, Proxy(address_of(foreign.url)) as proxy:
        stats.url = "https://elsewhere.example/api/v1"
        env: dict[str, str | None] = {"HTTPS_PROXY": proxy.url, "REQUESTS_CA_BUNDLE": foreign.ca_file}
        ran = stats("--json", env=env, **keys)
        if keys.get("key", INFERENCE_KEY) is None:
            refused(ran, foreign, "no OpenRouter key found")
            assert proxy.heads == []
            return
        assert ran.code == 0
        assert "the management key is not sent to elsewhere.example, only to openrouter.ai" in ran.err
        # Given as the inference key it is one, for all that can be known before the answer.
        assert used(foreign) == {keys.get("key", INFERENCE_KEY)}
        assert {request.path for request in foreign.requests} == {"/key", "/credits"}


def test_a_management_key_in_the_wrong_place_asks_a_foreign_host_for_no_more(stats: Stats) -> None:
    with Sandbox(Account.simple(), tls="wrong_host") as foreign, Proxy(address_of(foreign.url)) as proxy:
        stats.url = "https://elsewhere.example/api/v1"
        stats("--json", key=MANAGEMENT_KEY, env={"HTTPS_PROXY": proxy.url, "REQUESTS_CA_BUNDLE": foreign.ca_file})
        assert {request.path for request in foreign.requests} == {"/key", "/credits"}


# -- what is shown of keys -----------------------------------------------------------------------------------------


def test_no_repr_shows_a_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environ = {"OPENROUTER_API_KEY": INFERENCE_KEY, "OPENROUTER_MGMT_KEY": MANAGEMENT_KEY}
    settings = load_settings(environ, skill_folder=tmp_path)
    key = settings.require_key()
    client = OpenRouter(Transport(settings.base_url), key)
    for value in (settings, settings.credentials, key, client, [key], {"key": key}, vars(client)["_key"]):
        for text in (repr(value), str(value), f"{value}", f"{value!r}", f"{value!s:>10}"):
            assert INFERENCE_KEY not in text
            assert MANAGEMENT_KEY not in text
    assert repr(key) == f"OPENROUTER_API_KEY (…{INFERENCE_KEY[-4:]}, from the environment)"


def test_a_path_with_control_characters_is_shown_as_text(stats: Stats, sandbox: Sandbox, tmp_path: Path) -> None:
    stats.home = tmp_path / "home\x1b]0;owned\x07"
    stats.home.mkdir()
    assert "\x1b" not in stats(key=None).error_line
    credentials_file(stats.home, mode=0o644)
    ran = stats(key=None, secrets=[INFERENCE_KEY])
    assert ran.code == 0
    assert "\\x1b]0;owned\\x07" in ran.error_line


def test_the_source_of_a_key_is_told(tmp_path: Path) -> None:
    path = credentials_file(tmp_path)
    found = find_credentials({"OPENROUTER_MGMT_KEY": MANAGEMENT_KEY}, tmp_path, tmp_path / "skill")
    assert [(key.secret, key.name, key.source) for key in (found.api_key, found.mgmt_key) if key] == [
        (INFERENCE_KEY, "OPENROUTER_API_KEY", str(path)),
        (MANAGEMENT_KEY, "OPENROUTER_MGMT_KEY", "the environment"),
    ]


@pytest.mark.parametrize("value", ["", "relative/home", "."])
def test_a_home_that_is_no_place_is_none(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", value)
    assert find_home() is None


def test_no_file_of_the_skill_is_named_like_a_real_key() -> None:
    pattern = re.compile(rb"sk-or-v1-[0-9a-f]{8}")
    folders = (STATS.parent, Path(__file__).parent)
    found = [p for folder in folders for p in folder.rglob("*") if p.suffix != ".pyc" and p.is_file() and pattern.search(p.read_bytes())]
    assert found == []


# -- the system's keyring --------------------------------------------------------------------------------------------


@pytest.fixture
def in_keyring(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """The environment in which the package keyring finds these secrets, or goes wrong in this way."""

    def environment(held: object, wanted: str | None = "1") -> dict[str, str]:
        path = tmp_path / "keyring.json"
        path.write_text(json.dumps(held), encoding="utf-8")
        found = {"PYTHON_KEYRING_BACKEND": "tests.file_keyring.FileKeyring", "KEYRING_FILE": str(path), "PYTHONPATH": str(ROOT)}
        return found | ({"OPENROUTER_KEYRING": wanted} if wanted else {})

    return environment


HELD = {"openrouter-usage/OPENROUTER_API_KEY": INFERENCE_KEY, "openrouter-usage/OPENROUTER_MGMT_KEY": MANAGEMENT_KEY}


def test_who_wants_it_has_the_keyring_asked_for_what_is_missing(
    in_keyring: Callable[..., dict[str, str]], stats: Stats, sandbox: Sandbox
) -> None:
    refused(stats(key=None, env=in_keyring(HELD, wanted=None)), sandbox, "no OpenRouter key found")
    refused(stats(key=None, env=in_keyring(HELD, wanted="perhaps")), sandbox, "OPENROUTER_KEYRING is neither yes nor no")
    ran = stats(key=None, env=in_keyring(HELD), secrets=[INFERENCE_KEY, MANAGEMENT_KEY])
    assert (ran.code, used(sandbox)) == (0, {INFERENCE_KEY, MANAGEMENT_KEY})
    # The environment and the file come first; the file may also be where somebody wants it.
    sandbox.requests.clear()
    credentials_file(stats.home, f"OPENROUTER_KEYRING=yes\nOPENROUTER_MGMT_KEY={MANAGEMENT_KEY}\n")
    others = {**HELD, "openrouter-usage/OPENROUTER_MGMT_KEY": "sk-or-v1-another-key"}
    assert stats(key=None, env=in_keyring(others, wanted=None), secrets=[INFERENCE_KEY, MANAGEMENT_KEY]).code == 0
    assert used(sandbox) == {INFERENCE_KEY, MANAGEMENT_KEY}
    told = Tracker(stats.home, sandbox.url)("doctor", "--offline", env={**in_keyring(others, wanted=None), "OPENROUTER_API_KEY": None}).out
    assert f"OPENROUTER_API_KEY …{INFERENCE_KEY[-4:]}, from the system's keyring (file)" in told


@pytest.mark.parametrize(
    ("held", "problem"),
    [("asks", "it failed"), ("is locked", "it is locked"), ({}, "the system's keyring (file) has none either")],
    ids=str,
)
def test_a_keyring_that_would_ask_for_a_password_is_left_alone(
    held: object, problem: str, in_keyring: Callable[..., dict[str, str]], stats: Stats, sandbox: Sandbox
) -> None:
    ran = stats(key=None, env=in_keyring(held))
    refused(ran, sandbox, "no OpenRouter key found", problem)
    assert "what-an-error-repeats" not in ran.err
    told = Tracker(stats.home, sandbox.url)("doctor", "--offline", env={**in_keyring(held), "OPENROUTER_API_KEY": None})
    assert told.code == 2 and problem in told.out
    # With a key from elsewhere, it is something to know.
    ran = stats(key=INFERENCE_KEY, env=in_keyring(held))
    assert ran.code == 0 and (problem in ran.err) == bool(held)


def test_without_its_package_a_wanted_keyring_says_what_to_install(
    stats: Stats, sandbox: Sandbox, tmp_path: Path
) -> None:
    (tmp_path / "keyring.py").write_text("raise ModuleNotFoundError(name='keyring')\n", encoding="utf-8")
    ran = stats(key=None, env={"OPENROUTER_KEYRING": "1", "PYTHONPATH": str(tmp_path)})
    refused(ran, sandbox, "the Python package keyring is missing", 'pip install "openrouter-usage[keyring]"')
    # A module of this name in the current folder is nobody's keyring.
    none = {"OPENROUTER_KEYRING": "1", "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"}
    ran = stats(key=INFERENCE_KEY, env=none, cwd=tmp_path)
    assert ran.code == 0 and "keyring is missing" not in ran.err
