"""GET / of the gateway: the ledger's page, live, for the browser that the user let in and for nobody else."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.booking import Tracker
from tests.gatewaying import HELLO, Got, Running, ask, shared, wait_until
from tests.pages import read_page, read_table
from tests.running import exact_json
from tests.sandbox import INFERENCE_KEY, Fault
from tests.test_report_page import ALLOWED

BROWSER = {"Accept": "text/html,application/xhtml+xml", "Sec_Fetch_Site": "none"}


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from shared(tmp_path_factory.mktemp("gateway"))


@pytest.fixture
def gateway(process: Running) -> Running:
    return process.afresh()


def visit(gateway: Running, path: str = "/", **headers: str) -> Got:
    """What a browser gets."""
    return ask(gateway.url, "GET", path, **{**BROWSER, **headers})


def link(gateway: Running) -> str:
    ran = gateway.tracker("gateway", "page", "--json")
    assert ran.code == 0, ran.err
    url: str = ran.data["url"]
    assert url.startswith(f"{gateway.url}/?once=")
    return url.removeprefix(gateway.url)


def cookie(gateway: Running) -> str:
    got = visit(gateway, link(gateway), Sec_Fetch_Site="cross-site")
    assert got.status == 200 and b'http-equiv="refresh" content="0; url=/"' in got.body
    name, _, rest = got.headers["set-cookie"].partition(";")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {each.strip() for each in rest.split(";")}
    return name


def while_running(gateway: Running, body: dict[str, Any], seen: str) -> Got:
    """The page while a call runs."""
    gate = threading.Event()
    gateway.sandbox.misbehave("POST /chat/completions", Fault("gate", before=lambda wire: gate.wait(30)), times=1)
    running = threading.Thread(target=gateway.post, kwargs={"body": body})
    running.start()
    mine = {"Authorization": f"Bearer {gateway.token}"}
    wait_until(lambda: ask(gateway.url, "GET", "/status", **mine).json["in_flight"] == 1)
    gateway.sandbox.wait_for("POST /chat/completions", len(gateway.entries) + 1)
    got = visit(gateway, Cookie=seen)
    gate.set()
    running.join()
    return got


def test_the_page_has_the_figures_of_stats_and_the_calls_that_run(gateway: Running) -> None:
    assert gateway.post().status == 200
    gateway.wait_for_entries(1)
    seen = cookie(gateway)
    got = while_running(gateway, HELLO, seen)
    assert got.status == 200
    page = read_page(got.body.decode())
    stats = gateway.tracker("stats", "--json", "--days", "30").data["total"]
    assert read_table(page, "Calls that run now") == [
        {"Client": "(no client)", "Model": "openai/gpt-5.2", "Kind": "chat", "Seconds": pytest.approx(1, abs=60)}
    ]
    assert read_table(page, "Credits by model")[-1]["Calls"] == 1 <= stats["requests"]
    assert read_table(page, "Credits per day")[-1]["Credits"] == Decimal(str(gateway.entries[0]["cost"])) > 0
    assert INFERENCE_KEY.encode() not in got.body and gateway.token.encode() not in got.body
    rules = got.headers["content-security-policy"]
    assert "default-src 'none'" in rules and "frame-ancestors 'none'" in rules and "unsafe" not in rules
    assert (got.headers["cache-control"], got.headers["x-frame-options"]) == ("no-store", "DENY")
    assert not any(name.startswith("access-control") for name in got.headers)
    assert {part.tag for part in page.all()} <= ALLOWED | {"header", "nav", "a", "script"}
    assert [a.attributes["href"] for a in page.all("a")] == [f"/?period={each}" for each in ("today", "7d", "30d", "month")]
    assert visit(gateway, "/?period=7d", Cookie=seen).status == 200
    assert visit(gateway, "/?period=<b>", Cookie=seen).status == 400


def test_a_link_lets_one_browser_in_and_only_once(gateway: Running) -> None:
    path = link(gateway)
    assert visit(gateway, path).status == 200
    again = visit(gateway, path)
    assert again.status == 401 and b"has been used, or is too old" in again.body and "set-cookie" not in again.headers
    assert visit(gateway, "/?once=").status == visit(gateway, "/?once=" + "x" * 500).status == 401


@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        ({}, 401, "gateway page"),
        ({"Cookie": "openrouter-usage-PORT="}, 401, "gateway page"),
        ({"Cookie": "openrouter-usage-PORT=xé"}, 401, "gateway page"),
        ({"Cookie": "SEEN", "Origin": "https://evil.example"}, 403, "web pages"),
        ({"Cookie": "SEEN", "Origin": "null"}, 403, "web pages"),
        ({"Cookie": "SEEN", "Host": "evil.example"}, 403, "does not name this machine"),
        ({"Cookie": "SEEN", "Sec_Fetch_Site": "cross-site"}, 403, "not shown to other sites"),
        ({"Cookie": "SEEN", "Sec_Fetch_Site": "same-site"}, 403, "not shown to other sites"),
        ({"Authorization": f"Bearer {INFERENCE_KEY}"}, 401, "gateway page"),
    ],
)
def test_nobody_else_gets_the_page(headers: dict[str, str], status: int, words: str, gateway: Running) -> None:
    gateway.post()
    gateway.wait_for_entries(1)
    seen = cookie(gateway)
    assert b"Credits spent" in visit(gateway, Cookie=seen).body
    given = {name: value.replace("SEEN", seen).replace("PORT", str(gateway.port)) for name, value in headers.items()}
    got = visit(gateway, **given)
    assert got.status == status and words in got.body.decode()
    assert b"Credits spent" not in got.body and b"openai/gpt-5.2" not in got.body


def test_only_who_can_read_the_token_gets_a_link_and_programs_get_what_they_got(gateway: Running) -> None:
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": f"Bearer {INFERENCE_KEY}"}):
        assert ask(gateway.url, "POST", "/page", **headers).status == 401
    mine = {"Authorization": f"Bearer {gateway.token}"}
    assert ask(gateway.url, "POST", "/page", **mine, Origin="https://evil.example").status == 403
    assert ask(gateway.url, "GET", "/page", **mine).status == 404
    for path in ("/", "/api", "/healthz"):
        assert ask(gateway.url, "GET", path).json == {"ok": True, "name": "openrouter-usage gateway"}
    assert ask(gateway.url, "HEAD", "/", **BROWSER).status == 200


def test_the_name_of_a_model_that_a_client_sends_is_only_text(gateway: Running) -> None:
    hostile = {**HELLO, "model": '<img src=x onerror="alert(1)"></script>'}
    got = while_running(gateway, hostile, cookie(gateway))
    (row,) = read_table(read_page(got.body.decode()), "Calls that run now")
    assert "<img src=x onerror=" in row["Model"]
    assert b"<img" not in got.body and len(re.findall(b"</script>", got.body)) == 1


def test_calls_go_on_while_the_page_is_made(gateway: Running) -> None:
    gateway.post()
    gateway.wait_for_entries(1)
    seen, got = cookie(gateway), []
    wait_until(lambda: visit(gateway, Cookie=seen).status == 200)
    index = sqlite3.connect(str(gateway.tracker.ledger) + ".index", isolation_level=None)
    index.execute("BEGIN IMMEDIATE")
    gateway.tracker.write(b"\n")  # so that the page has to take it in, and to wait for the index
    making = threading.Thread(target=lambda: got.append(visit(gateway, "/?period=month", Cookie=seen)))
    making.start()
    assert ask(gateway.url, "GET", "/healthz").status == 200
    assert got == []
    index.execute("ROLLBACK")
    index.close()
    making.join()
    assert got[0].status in (200, 503)


def test_the_verb_opens_the_page_or_says_why_not(gateway: Running, home: Path) -> None:
    nowhere = Tracker(home)("gateway", "page")
    assert nowhere.code == 3 and "no gateway runs here" in nowhere.err
    seen_by, browser = home / "opened", home / "browser"
    browser.write_text(f'#!/bin/sh\nprintf "%s" "$1" > "{seen_by}"\n')
    browser.chmod(0o755)
    ran = gateway.tracker("gateway", "page", "--open", "--json", env={"BROWSER": f"{browser} %s"})
    told: Any = exact_json(ran.out)["data"]
    assert told["opened"] is True and seen_by.read_text() == told["url"]
    blind = gateway.tracker("gateway", "page", "--open", env={"DISPLAY": None, "WAYLAND_DISPLAY": None})
    assert blind.code == 0 and "not opened: there is no display here" in blind.out and "/?once=" in blind.out
