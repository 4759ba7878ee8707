"""The drawn report in a real browser: no finding of axe, nothing loaded, readable in light, in dark and on a phone.

`make page` installs what this needs and keeps screenshots; without a Chromium or axe these tests are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from openrouter_usage.money import format_usd
from openrouter_usage.render.svg import DARK, LIGHT
from tests.booking import NOON, Tracker, TrackerAt, call, hold
from tests.gatewaying import ask, running
from tests.running import ROOT, exact_json
from tests.sandbox import DEMO_KEY, DEMO_MGMT_KEY, INFERENCE_KEY, Sandbox, demo_account
from tests.test_report_page import MARKUP

UTC = timezone.utc
TOOLS = ROOT / ".tools"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SHOTS = os.environ.get("PAGE_SHOTS", "")  # set by `make page`: where screenshots go; then nothing is skipped
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), "")
NODE = shutil.which("node") or ""
MISSING = [
    name
    for name, there in {
        "Chromium": CHROMIUM,
        "node": NODE,
        "axe-core": (TOOLS / "node_modules" / "axe-core" / "axe.min.js").exists(),
        "playwright-core": (TOOLS / "node_modules" / "playwright-core").exists(),
    }.items()
    if not there
]
pytestmark = pytest.mark.skipif(bool(MISSING) and not SHOTS, reason=f"run: make page ({', '.join(MISSING)} missing)")
needs_time = pytest.mark.skipif(not SHOTS, reason="run: make page (some ten seconds more)")
VIEWS = ("light", "dark", "phone", "dark phone")
MODELS = [
    ("anthropic/claude-sonnet-4.5", 90), ("openai/gpt-5.2", 60), ("google/gemini-3-flash", 25), ("deepseek/deepseek-v3.2", 12),
    ("openai/gpt-5-mini", 9), ("x-ai/grok-4-fast", 7), ("mistralai/mistral-large-2512", 5), ("z-ai/glm-4.6", 2),
]  # fmt: skip


def invented(days: int) -> bytes:
    """Calls of many days, quiet Saturdays, some BYOK, some of unknown cost, some estimated."""
    lines = []
    for back in range(days):
        day = NOON - timedelta(days=back, hours=back % 11)
        for number, (model, cents) in enumerate(MODELS):
            if day.weekday() != 5 and (back + number) % (number + 1) == 0:
                price = f"{cents * (3 + (back * 7 + number * 5) % 11) / 1000:.6f}"
                byok = {"byok_cost": 0.25} if number == 2 and back % 3 == 1 else {}
                source = {"cost_source": "estimated"} if number == 1 and back % 7 == 0 else {}
                cost = None if number == 0 and back % 13 == 5 else price
                lines.append(call(f"{day:%Y-%m-%dT%H:%M:%SZ}", model, cost, **byok, **source))
    return b"".join([*lines, hold("open", "2026-11-22T11:00:00Z", "0.75")])


HOSTILE = b"".join(call(f"2026-11-{day:02}T10:00:00Z", name, str(day)) for day, name in enumerate(MARKUP, 1))
LEDGERS = {
    "usual": (invented(60), ()),
    "year": (invented(400), ("--since", "2025-11-23", "--until", "2026-11-22")),
    "today": (invented(3), ("--today", "--tz", "Asia/Kathmandu")),
    "month": (invented(30), ("--month",)),
    "unknown": (call(cost=None) + call("2026-11-20T00:00:00Z", cost=None), ()),
    "tiny": (call(cost="1E-27") + call("2026-11-20T00:00:00Z", cost="0.0000004"), ()),
    "huge": (b"".join(call(f"2026-11-{n:02}T00:00:00Z", cost="1000000") for n in range(1, 20) for _ in range(n)), ()),
    "hostile": (HOSTILE, ()),
    "empty": (b"", ()),
}


@pytest.fixture
def at(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> TrackerAt:
    return TrackerAt(Tracker(home), monkeypatch, capsys)


def look(*files: Path | str) -> list[dict[str, Any]]:
    """What a browser shows of some pages, in each view; a page that is served is "name|address|cookie"."""
    assert not MISSING, f"{', '.join(MISSING)} missing"
    shots = str(Path(SHOTS).resolve()) if SHOTS else ""
    if shots:
        Path(shots).mkdir(parents=True, exist_ok=True)
    words = [NODE, str(ROOT / "tests" / "browser" / "look.mjs"), CHROMIUM, str(TOOLS), shots, *map(str, files)]
    # Not the test's own folder: Chromium puts a socket there, whose name has to be short.
    with tempfile.TemporaryDirectory(prefix="look") as home:
        own = {"PATH": os.environ["PATH"], "HOME": home, "TMPDIR": home}
        ended = subprocess.run(words, env=own, capture_output=True, encoding="utf-8", timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    found: list[dict[str, Any]] = exact_json(ended.stdout)
    assert len(found) == len(VIEWS) * len(files)
    return found


def drawn(at: TrackerAt, names: list[str], face: str, **env: str) -> dict[str, str]:
    """Draw some ledgers into the home, and give what each one cost as `stats` has it."""
    totals = {}
    for name in names:
        data, period = LEDGERS[name]
        shutil.rmtree(at.tracker.folder, ignore_errors=True)
        at.tracker.write(data)
        stats = at(NOON, "stats", "--json", *(period or ("--since", "2026-10-24", "--until", "2026-11-22"))).data
        totals[name] = format_usd(Decimal(stats["total"]["cost_usd"]))
        target = at.tracker.home / f"{name}.{face}"
        ran = at(NOON, "report", f"--{face}", str(target), *period, env=env)
        assert ran.code == 0, ran.err
    return totals


def wrong(found: list[dict[str, Any]], *kinds: str) -> list[tuple[str, ...]]:
    return [(view["file"], view["view"], kind, str(view[kind])) for view in found for kind in kinds if view[kind]]


def rgb(colour: str) -> str:
    return "rgb({}, {}, {})".format(*(int(colour[at : at + 2], 16) for at in (1, 3, 5)))


def test_a_page_has_no_fault_that_axe_finds_and_reads_in_every_view(at: TrackerAt) -> None:
    limits = {"OPENROUTER_DAILY_LIMIT": "0.5", "OPENROUTER_MONTHLY_LIMIT": "50", "OPENROUTER_REQUEST_LIMIT": "1"}
    names = list(LEDGERS) if SHOTS else ["usual", "hostile"]
    totals = drawn(at, names, "html", **limits)
    found = look(*(at.tracker.home / f"{name}.html" for name in names))
    assert wrong(found, "violations", "noise", "overlaps", "outside", "wider") == []
    assert [view for view in found if any(card.startswith("wrong") for card in view["cards"])] == []
    for view in found:
        if view["file"].startswith("usual"):
            assert len(view["cards"]) == 3 and "2026-10-24" in view["cards"][0] and "(so far)" in view["cards"][2]
        assert view["passes"] > 15
        assert view["ground"] == rgb((DARK if "dark" in view["view"] else LIGHT).ground)
        name = view["file"].partition(".")[0]
        assert view["figure"] == ("unknown" if name == "unknown" else totals[name])
        assert all(width > (150 if "phone" in view["view"] else 800) for width in view["plots"])


@needs_time
def test_the_chart_alone_reads_wherever_it_is_shown(at: TrackerAt) -> None:
    drawn(at, list(LEDGERS), "svg")
    found = [view for view in look(*(at.tracker.home / f"{name}.svg" for name in LEDGERS)) if "phone" not in view["view"]]
    assert wrong(found, "noise", "overlaps", "outside") == []


@needs_time
def test_a_page_with_openrouters_own_figures_has_no_fault_either(home: Path, sandbox: Sandbox) -> None:
    from tests.running import Stats

    for key in sandbox.account.keys:
        key.usage_daily, key.usage_weekly, key.usage_monthly = map(Decimal, ("4", "9", "20"))
    tracker = Tracker(home, sandbox.url)
    tracker.write(call((datetime.now(UTC) - timedelta(microseconds=1)).isoformat().replace("+00:00", "Z"), cost="2.5"))
    Stats(home, sandbox.url)(key=INFERENCE_KEY)
    tracker("report", "--html", str(home / "compared.html"))
    assert wrong(look(home / "compared.html"), "violations", "noise", "overlaps", "outside", "wider") == []


@needs_time
def test_the_pages_of_an_account_of_a_key_and_of_a_gateway_have_no_fault_either(home: Path) -> None:
    with Sandbox(demo_account()) as sandbox:
        tracker = Tracker(home, sandbox.url, {"OPENROUTER_API_KEY": DEMO_KEY})
        managing = {"OPENROUTER_MGMT_KEY": DEMO_MGMT_KEY}
        assert tracker("report", "--html", str(home / "key.html")).code == 0
        assert tracker("report", "--html", str(home / "account.html"), env=managing).code == 0
        assert tracker("report", "--html", str(home / "nothing.html"), "--source", "ledger").code == 0
        tracker.write(invented(30))
        with running(home, sandbox, env={**tracker.env, **managing, "OPENROUTER_DAILY_LIMIT": "5"}, key=DEMO_KEY) as gateway:
            gateway.post()
            link = tracker("gateway", "page", "--json").data["url"]
            cookie = ask(gateway.url, "GET", link.removeprefix(gateway.url)).headers["set-cookie"].partition(";")[0]
            files = [home / f"{name}.html" for name in ("key", "account", "nothing")]
            found = look(*files, f"live.html|{gateway.url}/|{cookie}")
    assert wrong(found, "violations", "noise", "overlaps", "outside", "wider") == []
    assert [view for view in found if any(card.startswith("wrong") for card in view["cards"])] == []
    assert {view["file"] for view in found if view["cards"]} == {"account.html", "live.html"}


@needs_time
def test_a_page_with_faults_is_found_out(tmp_path: Path) -> None:
    page = tmp_path / "faulty.html"
    page.write_text(
        "<!doctype html><html><head><title>x</title></head><body style='background:#fff'><p style='color:#ccc'>pale</p>"
        "<img src='https://loads.invalid/x.png'><div style='width:2000px'>wide</div>"
        "<svg width='90'><text x='1' y='20'>one</text><text x='5' y='20'>two</text><text x='-9' y='60'>cut</text></svg>"
        "<script>console.log('runs')</script></body></html>"
    )
    found = look(page)[2]
    assert {fault.partition(":")[0] for fault in found["violations"]} >= {"color-contrast", "html-has-lang", "image-alt"}
    assert found["wider"] > 1_000 and found["overlaps"] == [["one", "two"]] and "cut" in found["outside"]
    assert any("loads.invalid" in line for line in found["noise"]) and "runs" in found["noise"]
