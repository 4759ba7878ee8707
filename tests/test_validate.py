"""What `make validate` is made of tells a failure from a success, and a tool that cannot be had from both."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import pytest
import requests

from tests.validate import __main__ as validate
from tests.validate import tools
from tests.validate.bench import Bench, FailedError
from tests.validate.registry import Registry


def raising(error: Exception):
    def check(bench: Bench) -> str:
        raise error

    return check


@pytest.mark.parametrize(
    ("check", "code", "line"),
    [
        (lambda bench: f"first\n{(bench.staged / 'SKILL.md').is_file()}", 0, "ok   one: True\n1 of 1 hold\n"),
        (raising(FailedError("it says no")), 1, "FAIL one: it says no\n0 of 1 hold\n"),
        (raising(tools.NotHadError("404")), 1, "NONE one: cannot be had here: 404\n0 of 1 hold\n"),
    ],
    ids=["holds", "fails", "not had"],
)
def test_each_outcome_has_its_line_and_its_exit_code(check, code, line, monkeypatch, capsys) -> None:
    monkeypatch.setattr(validate, "CHECKS", {"one": check, "other": raising(AssertionError("not chosen"))})
    assert validate.main(["one"]) == code
    assert capsys.readouterr().out == line


def test_a_word_that_no_check_has_is_an_error() -> None:
    with pytest.raises(SystemExit, match="2"):
        validate.main(["nonsense"])


def test_a_tool_that_the_registry_refuses_is_named_with_the_refusal(tmp_path: Path, capsys) -> None:
    command = [sys.executable, "-c", "print('E404'); print('no such package'); raise SystemExit(1)", "a-validator"]
    with pytest.raises(tools.NotHadError, match=r"… a-validator: E404 / no such package$"):
        tools._install(command, tmp_path)


def test_a_program_that_fails_fails_its_check(tmp_path: Path) -> None:
    bench = Bench(*[tmp_path] * 4, "")
    with pytest.raises(FailedError, match="exit code 1 of"):
        bench.run([sys.executable, "-c", "raise SystemExit(1)"], bench.home("one"))


def test_an_installed_folder_without_the_skill_is_no_install(tmp_path: Path) -> None:
    bench = Bench(*[tmp_path] * 4, "")
    with pytest.raises(FailedError, match="there is no skill at"):
        bench.shows_the_account([sys.executable], tmp_path / "openrouter-usage", bench.home("one"))


def test_the_registry_gives_what_was_published() -> None:
    content = b"name: x\r\n\xff"
    with Registry() as registry:
        told = {"path": "a b/SKILL.md", "size": len(content), "sha256": "0"}
        place = requests.post(f"{registry.url}/api/v1/skills/-/upload-url", json=told, timeout=30).json()
        requests.post(place["uploadUrl"], data=content, timeout=30).raise_for_status()
        about = {"slug": "x", "version": "1.0.0"}
        assert requests.post(f"{registry.url}/api/v1/skills", json=about, timeout=30).json()["ok"] is True
        packed = requests.get(f"{registry.url}/api/v1/download?slug=x&version=1.0.0", timeout=30).content
        assert requests.get(f"{registry.url}/api/v1/download?slug=y", timeout=30).status_code == 404
    archive = zipfile.ZipFile(io.BytesIO(packed))
    assert {name: archive.read(name) for name in archive.namelist()} == {"a b/SKILL.md": content}
