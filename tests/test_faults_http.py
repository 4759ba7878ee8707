"""Whatever HTTP does, stats.py ends with the documented exit code and one line that says what happened."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

import pytest

from openrouter_usage.errors import Unreachable
from openrouter_usage.home.settings import parse_base_url
from openrouter_usage.openrouter.retry import parse_retry_after, wait_before_retry
from openrouter_usage.openrouter.transport import Request, Transport
from tests.proxy import Proxy, address_of
from tests.running import Ran, Stats
from tests.sandbox import INFERENCE_KEY, MANAGEMENT_KEY, Account, Fault, Sandbox

AT_ONCE = {"Retry-After": "0"}
RETRIED = (408, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529)


def failed(ran: Ran, code: int, *, error: str = "") -> str:
    """The one line of a run that failed cleanly; with --json the same stands on standard output."""
    assert ran.code == code, ran
    line = ran.error_line
    if ran.out:
        envelope = ran.json
        assert envelope["data"] is None
        assert envelope["error"]["message"] in line
        assert not error or envelope["error"]["code"] == error
    return line


# -- no connection -------------------------------------------------------------------------------------------------


def test_a_name_that_does_not_resolve_is_named(stats: Stats) -> None:
    stats.url = "https://nowhere.invalid/api/v1"
    line = failed(stats("--json", "--timeout", "5", env={"RES_OPTIONS": "attempts:1 timeout:1"}), 5)
    assert "nowhere.invalid: the name cannot be resolved" in line


def test_a_refused_connection_is_tried_three_times(stats: Stats, sandbox: Sandbox) -> None:
    sandbox.misbehave("*", Fault.reset("accept"))
    line = failed(stats("--json"), 5)
    assert "127.0.0.1" in line
    assert sandbox.connections == 2 * 3  # /key and /credits


def test_nobody_who_listens_is_a_clean_error(stats: Stats) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stats.url = f"http://127.0.0.1:{server.getsockname()[1]}"
    assert "127.0.0.1: the connection was refused" in failed(stats("--timeout", "5"), 5)


@pytest.fixture
def full_queue() -> Iterator[str]:
    """The address of a socket that lets nobody in any more."""
    with socket.socket() as server, contextlib.ExitStack() as waiting:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_connection_that_is_never_made_ends_with_the_deadline(stats: Stats, full_queue: str) -> None:
    stats.url = full_queue
    assert "127.0.0.1" in failed(stats("--json", "--timeout", "1"), 5)


# -- TLS -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["good", "wrong_host", "expired"])
@pytest.mark.parametrize("trusted", [True, False])
def test_only_a_valid_certificate_gets_the_key(kind: str, trusted: bool, stats: Stats) -> None:
    with Sandbox(Account.simple(), tls=kind) as secure:
        stats.url = secure.url
        ran = stats("--json", env={"REQUESTS_CA_BUNDLE": secure.ca_file if trusted else None})
        if trusted and kind == "good":
            assert ran.code == 0
            return
        line = failed(ran, 5, error="tls")
        assert "certificate of 127.0.0.1 is not trusted" in line
        assert "verify" not in line.lower()
        assert secure.requests == []
        assert secure.connections == 2  # one for /key, one for /credits, and no second try


def test_a_server_that_speaks_no_tls_is_not_called_untrusted(stats: Stats, sandbox: Sandbox) -> None:
    stats.url = sandbox.url.replace("http:", "https:")
    line = failed(stats("--timeout", "5"), 5)
    assert "no TLS connection could be made" in line
    assert "certificate" not in line
    assert sandbox.requests == []


@pytest.mark.parametrize("content", [None, b"", b"no certificate\n"], ids=["missing", "empty", "not PEM"])
def test_a_certificate_file_that_cannot_be_read_is_named(content: bytes | None, stats: Stats) -> None:
    bundle = stats.home / "bundle.pem"
    if content is not None:
        bundle.write_bytes(content)
    with Sandbox(Account.simple(), tls=True) as secure:
        stats.url = secure.url
        line = failed(stats("--json", env={"REQUESTS_CA_BUNDLE": str(bundle)}), 2)
        assert str(bundle) in line
        assert secure.requests == []


def test_a_run_that_needs_no_certificates_does_not_crash_over_them(stats: Stats) -> None:
    import certifi

    bundle = stats.home / "long.pem"
    with open(certifi.where(), "rb") as file:
        bundle.write_bytes(file.read() * 20)  # long enough to be read still when the program has ended
    for _ in range(3):
        assert stats(env={"REQUESTS_CA_BUNDLE": str(bundle)}).code == 0


def test_an_authority_is_also_taken_from_a_variable_of_curl(stats: Stats) -> None:
    with Sandbox(Account.simple(), tls=True) as secure:
        stats.url = secure.url
        assert stats(env={"CURL_CA_BUNDLE": secure.ca_file}).code == 0


# -- silence, drips and cuts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(
    "fault",
    [Fault.hang(), Fault.drip(0.2), Fault.drip(0.2, head=True)],
    ids=["silence", "a dripping body", "dripping headers"],
)
def test_the_deadline_ends_what_does_not_end_by_itself(fault: Fault, tls: bool, stats: Stats) -> None:
    with Sandbox(Account.simple(), tls=tls) as slow:
        slow.misbehave("*", fault)
        stats.url = slow.url
        line = failed(stats("--json", "--timeout", "1", env={"REQUESTS_CA_BUNDLE": slow.ca_file}), 5, error="timeout")
        assert "127.0.0.1" in line or "no answer in time" in line
        assert "--timeout" in line or "network" in line


def test_one_part_that_hangs_does_not_hold_up_the_others(stats: Stats, sandbox: Sandbox) -> None:
    sandbox.misbehave("/activity", Fault.hang())
    ran = stats("--json", "--timeout", "1", mgmt=MANAGEMENT_KEY)
    assert ran.code == 0
    assert ran.data["today"]["usage_usd"] == 0
    assert ran.data["balance"] is not None
    assert [(gap["part"], gap["code"]) for gap in ran.data["missing"]] == [("activity", "timeout")]


@pytest.mark.parametrize(
    "fault",
    [
        Fault.reset("request"),
        Fault.reset(10),
        Fault.reset(300),
        Fault.truncate(20),
        Fault.truncate(20, "chunked"),
        Fault.truncate(0),
    ],
    ids=["reset", "reset in the head", "reset in the body", "too short", "chunks without an end", "no body"],
)
def test_an_answer_that_breaks_off_is_asked_for_again(fault: Fault, stats: Stats, sandbox: Sandbox) -> None:
    sandbox.account.keys[0].usage_daily = Decimal("0.123456789")
    sandbox.misbehave("/key", fault, Fault.none())
    ran = stats("--json")
    assert (ran.code, ran.data["today"]["usage_usd"]) == (0, Decimal("0.123456789"))
    assert sandbox.calls("/key") == 2


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault.reset("request"), "the connection broke before the answer was complete"),
        (Fault.truncate(20), "the answer is incomplete because the connection ended early"),
        (Fault.truncate(20, "chunked"), "the answer is incomplete because the connection ended early"),
    ],
    ids=["reset", "too short", "chunks without an end"],
)
def test_an_answer_that_always_breaks_off_is_incomplete(
    fault: Fault, said: str, stats: Stats, sandbox: Sandbox
) -> None:
    sandbox.misbehave("*", fault)
    assert said in failed(stats("--json"), 5)
    assert sandbox.calls("/key") == 3


def test_half_an_answer_without_a_length_is_not_taken_for_a_whole_one(stats: Stats, sandbox: Sandbox) -> None:
    sandbox.misbehave("*", Fault.truncate(20, "close"))
    assert "the answer to /key is not JSON" in failed(stats("--json"), 5, error="bad_answer")


# -- too much ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [Fault.big(200), Fault.big(200, declared=True), Fault.gzip_bomb(200)],
    ids=["chunks", "a declared length", "a gzip bomb"],
)
def test_an_answer_of_200_megabytes_is_not_read_to_its_end(fault: Fault, stats: Stats, sandbox: Sandbox) -> None:
    sandbox.misbehave("/key", fault)
    line = failed(stats("--json"), 5, error="bad_answer")
    assert "larger than 64 MiB" in line
    assert sandbox.calls("/key") == 1


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, br", "gzip"])
def test_a_compression_nobody_asked_for_is_refused(encoding: str, stats: Stats, sandbox: Sandbox) -> None:
    sandbox.misbehave("*", Fault.wrong_encoding(encoding))
    line = failed(stats("--json"), 5, error="bad_answer")
    assert "compress" in line


# -- statuses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", [RETRIED[n : n + 2] for n in range(0, len(RETRIED), 2)])
def test_a_passing_fault_is_waited_out(pair: tuple[int, int], stats: Stats, sandbox: Sandbox) -> None:
    sandbox.misbehave("/key", *[Fault.status(status, "html", AT_ONCE) for status in pair], Fault.none())
    ran = stats("--json")
    assert (ran.code, ran.data["partial"]) == (0, False)
    assert sandbox.calls("/key") == 3


@pytest.mark.parametrize(("status", "headers"), [(429, {}), (429, AT_ONCE), (500, {}), (503, AT_ONCE), (529, AT_ONCE)])
def test_a_fault_that_stays_is_given_up_after_three_attempts(
    status: int, headers: dict[str, str], stats: Stats, sandbox: Sandbox
) -> None:
    sandbox.misbehave("*", Fault.status(status, "html" if status == 503 else None, headers))
    line = failed(stats("--json"), 5, error="rate_limited" if status == 429 else "unreachable")
    assert f"/key answered {status}" in line
    assert "<" not in line
    assert sandbox.calls("/key") == sandbox.calls("/credits") == 3


@pytest.mark.parametrize("status", [400, 404, 409, 410, 413, 418, 422, 451, 501, 505])
def test_an_answer_that_will_not_change_is_not_asked_for_again(status: int, stats: Stats, sandbox: Sandbox) -> None:
    sandbox.misbehave("*", Fault.status(status, message="No such luck"))
    line = failed(stats("--json"), 2 if status in (400, 409, 413, 422) else 5)
    assert f'answered {status}; OpenRouter said "No such luck"' in line
    assert sandbox.calls("/key") == sandbox.calls("/credits") == 1


@pytest.mark.parametrize("status", [100, 204, 304])
def test_a_status_without_a_body_is_no_answer(status: int, stats: Stats, sandbox: Sandbox) -> None:
    sandbox.misbehave("*", Fault.status(status, b""))
    assert failed(stats("--timeout", "1"), 5)


def test_retry_after_is_waited_for(stats: Stats, sandbox: Sandbox) -> None:
    sandbox.misbehave("/key", Fault.status(429, headers={"Retry-After": "1"}), Fault.none())
    assert stats().code == 0
    first, second = (request.arrived for request in sandbox.received("/key"))
    assert second - first >= 1


@pytest.mark.parametrize("header", ["31", "3600", "99999999999", "Wed, 21 Oct 2099 07:28:00 GMT"])
def test_a_wait_that_is_too_long_is_not_begun(header: str, stats: Stats, sandbox: Sandbox) -> None:
    sandbox.misbehave("*", Fault.status(429, headers={"Retry-After": header}))
    line = failed(stats("--json"), 5, error="rate_limited")
    assert "wait a minute" in line
    assert sandbox.calls("/key") == (3 if len(header) == 11 else 1)  # a number nobody means is no number


@pytest.mark.parametrize("header", ["soon", "-1"])
def test_a_senseless_retry_after_is_overlooked(header: str, stats: Stats, sandbox: Sandbox) -> None:
    sandbox.misbehave("/key", Fault.status(503, headers={"Retry-After": header}), Fault.none())
    assert stats().code == 0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("2", 2.0), (" 30 ", 30.0), ("0", 0.0), ("Sun, 22 Nov 2026 10:00:09 GMT", 9.0),
    ("Sun, 22 Nov 2026 09:00:00 GMT", 0.0),
     ("", None), (None, None), ("1.5", None), ("-3", None), ("x" * 1000, None)],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header, datetime(2026, 11, 22, 10, tzinfo=timezone.utc)) == seconds


@pytest.mark.parametrize(
    ("attempt", "status", "asked", "least", "most"),
    [
        (1, None, None, 0.25, 0.5), (2, None, None, 0.5, 1.0), (1, 500, None, 0.25, 0.5), (2, 529, None, 0.5, 1.0),
        (1, 429, 30.0, 30.0, 30.0), (2, 503, 0.0, 0.0, 0.0),
    ],
)  # fmt: skip
def test_waits_grow_and_are_spread(
    attempt: int, status: int | None, asked: float | None, least: float, most: float
) -> None:
    assert wait_before_retry(attempt, status, asked, 0.0) == least
    assert wait_before_retry(attempt, status, asked, 1.0) == most


@pytest.mark.parametrize(
    ("attempt", "status", "asked"),
    [(3, None, None), (3, 500, None), (9, 429, 1.0), (1, 200, None), (1, 401, None), (1, 404, 1.0), (1, 429, 30.5)],
)
def test_some_failures_are_final(attempt: int, status: int | None, asked: float | None) -> None:
    assert wait_before_retry(attempt, status, asked, 0.5) is None


def test_a_wait_that_ends_after_the_deadline_is_no_bug(sandbox: Sandbox) -> None:
    sandbox.misbehave("*", Fault.status(500))
    transport = Transport(parse_base_url(sandbox.url), timeout_s=1, sleep=lambda _: time.sleep(1.1))
    with contextlib.suppress(Unreachable):
        assert transport.get(Request("GET", "/key", None)).status == 500


# -- redirects -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "same_host"), [(301, False), (302, False), (303, False), (307, False), (308, False), (307, True)]
)
def test_no_redirect_is_followed(status: int, same_host: bool, stats: Stats, sandbox: Sandbox) -> None:
    with Sandbox(Account.simple()) as other:
        target = f"{sandbox.url if same_host else other.url}/elsewhere"
        sandbox.misbehave("*", Fault.redirect(status, target))
        line = failed(stats("--json"), 5)
        assert f"/key answered {status}, a redirect" in line
        assert other.connections == 0
        assert sandbox.calls("/elsewhere") == 0


# -- OpenRouter says no --------------------------------------------------------------------------------------------


def test_a_key_that_is_not_accepted_is_told_by_its_name_and_last_characters(stats: Stats, sandbox: Sandbox) -> None:
    ran = stats("--json", key="wrong-key-0000000000-1234")
    line = failed(ran, 4, error="unauthorized")
    assert "OPENROUTER_API_KEY (…1234, from the environment)" in line
    assert 'OpenRouter said "User not found."' in line
    assert sandbox.calls("/key") == 1


def test_each_key_that_is_not_accepted_is_told_apart(stats: Stats, sandbox: Sandbox) -> None:
    ran = stats("--json", mgmt="wrong-mgmt-0000000000-1234")
    assert ran.code == 0
    gaps = {gap["part"]: gap["message"] for gap in ran.data["missing"]}
    assert set(gaps) == {"credits", "activity"}
    assert all("OPENROUTER_MGMT_KEY (…1234, from the environment)" in message for message in gaps.values())
    line = failed(stats(key="wrong-key-0000000000-5678", mgmt="wrong-mgmt-0000000000-1234"), 4)
    assert "OPENROUTER_API_KEY (…5678" in line


@pytest.mark.parametrize("secret", ["disabled", "expired"])
def test_a_disabled_and_an_expired_key_are_refused(secret: str, stats: Stats, sandbox: Sandbox) -> None:
    key = sandbox.account.keys[0]
    if secret == "disabled":
        key.disabled = True
    else:
        key.expires_at = datetime.now(timezone.utc) - timedelta(hours=1)
    assert "disabled, expired or deleted" in failed(stats("--json"), 4, error="unauthorized")


@pytest.mark.parametrize(
    ("source", "remedy"),
    [
        ("openrouter_credits", "https://openrouter.ai/settings/credits"),
        ("openrouter_key_limit", "limit"),
        ("openrouter_in_flight_budget", "try again"),
        ("made\x1b[2Jup\nsource", "https://openrouter.ai/settings/credits"),
        (None, "https://openrouter.ai/settings/credits"),
    ],
)
def test_payment_required_is_told_with_a_remedy(
    source: str | None, remedy: str, stats: Stats, sandbox: Sandbox
) -> None:
    sandbox.misbehave("*", Fault.payment_required(source))
    line = failed(stats("--json"), 4, error="payment")
    assert '402; OpenRouter said "Insufficient credits"' in line
    assert remedy in line.partition(" -- ")[2]
    assert "\x1b" not in line
    assert sandbox.calls("/key") == 1


@pytest.mark.parametrize(
    "message", ["Key limit exceeded (daily limit). Manage it", "Workspace monthly budget of $500.00 exceeded."]
)
def test_a_forbidden_key_is_told_what_openrouter_said(message: str, stats: Stats, sandbox: Sandbox) -> None:
    sandbox.misbehave("*", Fault.status(403, message=message))
    line = failed(stats("--json"), 4, error="forbidden")
    assert f'"{message}"' in line


@pytest.mark.parametrize(
    ("path", "part", "words"),
    [
        ("/activity", "activity", "Spend by model unavailable"),
        ("/credits", "credits", "Balance unavailable"),
        ("/key", "key", "Totals and key limit unavailable"),
    ],
)
@pytest.mark.parametrize("fault", [Fault.status(403), Fault.status(404), Fault.html(), Fault.status(405)])
def test_a_part_that_is_missing_is_named_and_the_others_are_shown(
    path: str, part: str, words: str, fault: Fault, stats: Stats, sandbox: Sandbox
) -> None:
    sandbox.account.keys[0].usage_daily = Decimal("1.25")
    sandbox.account.add_activity("openai/gpt-5.2", usage=Decimal("2.5"))
    sandbox.misbehave(path, fault)
    sandbox.misbehave("/auth/key", fault)
    ran = stats("--json", mgmt=MANAGEMENT_KEY)
    assert (ran.code, ran.data["partial"]) == (0, True)
    assert [gap["part"] for gap in ran.data["missing"]] == [part]
    assert (ran.data["balance"] is None) == (part == "credits")
    assert (ran.data["breakdown"] is None) == (part == "activity")
    assert (ran.data["today"]["usage_usd"] is None) == (part == "key")
    if fault.name == "status 403":
        kept = {"mgmt": MANAGEMENT_KEY}
        assert f"\n⚠ {words}: " in stats("--max-age", "60", **kept).out
        assert "⚠ partial" in stats("--line", **kept).out
        assert f"\nmissing,{part}," in stats("--format", "csv", "--max-age", "60", **kept).out


@pytest.mark.parametrize("status", [404, 405, 400])
def test_an_account_without_the_analytics_api_still_shows_the_rest(status: int, stats: Stats, sandbox: Sandbox) -> None:
    sandbox.account.add_activity("openai/gpt-5.2", usage=Decimal("2.5"))
    sandbox.misbehave("/analytics/query", Fault.status(status))
    ran = stats("--json", key=None, mgmt=MANAGEMENT_KEY)
    assert ran.code == 0
    assert ran.data["today"]["usage_usd"] is None
    assert ran.data["breakdown"]["total"]["usage_usd"] == Decimal("2.5")
    assert [gap["part"] for gap in ran.data["missing"]] == ["today"]


def test_the_older_name_of_the_key_endpoint_is_tried(stats: Stats, sandbox: Sandbox) -> None:
    sandbox.account.key_paths = ("/auth/key",)
    sandbox.account.keys[0].usage_daily = Decimal("1.25")
    ran = stats("--json")
    assert (ran.code, ran.data["today"]["usage_usd"]) == (0, Decimal("1.25"))
    assert (sandbox.calls("/key"), sandbox.calls("/auth/key")) == (1, 1)


@pytest.mark.parametrize("fault", [Fault.status(401), Fault.status(500), Fault.html()])
def test_the_older_name_is_not_tried_for_other_reasons(fault: Fault, stats: Stats, sandbox: Sandbox) -> None:
    sandbox.misbehave("/key", fault)
    stats("--timeout", "1")
    assert sandbox.calls("/auth/key") == 0


# -- proxies -------------------------------------------------------------------------------------------------------

PAGE = b"<html><h1>Welcome to the hotel</h1></html>"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 42\r\n\r\n" + PAGE,
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 42\r\n\r\n" + PAGE,
        b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
    ],
    ids=["407", "403", "502"],
)
def test_a_proxy_that_lets_nothing_through_is_named(answer: bytes, stats: Stats) -> None:
    stats.url = "https://openrouter.ai/api/v1"
    with Proxy(answer=answer) as proxy:
        secret = "test-proxy-password-canary"
        address = proxy.url.replace("//", f"//somebody:{secret}@")
        ran = stats("--json", "--timeout", "5", env={"HTTPS_PROXY": address}, secrets=[secret])
        assert "the proxy 127.0.0.1 did not let the request through to openrouter.ai" in failed(ran, 5, error="proxy")
        assert proxy.heads
        assert all(head.startswith(b"CONNECT openrouter.ai:443 ") for head in proxy.heads)
        assert not any(INFERENCE_KEY.encode() in head for head in proxy.heads)


def test_a_page_in_the_place_of_tls_is_no_answer(stats: Stats) -> None:
    stats.url = "https://openrouter.ai/api/v1"
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 42\r\n\r\n" + PAGE
    with Proxy(answer=page) as proxy:
        line = failed(stats("--json", "--timeout", "2", env={"HTTPS_PROXY": proxy.url}), 5)
        assert "openrouter.ai" in line
        assert not any(INFERENCE_KEY.encode() in head for head in proxy.heads)


def test_a_proxy_that_hangs_up_is_a_clean_error(stats: Stats) -> None:
    stats.url = "https://openrouter.ai/api/v1"
    with Proxy() as proxy:
        line = failed(stats("--json", "--timeout", "5", env={"HTTPS_PROXY": proxy.url}), 5)
        assert "openrouter.ai: the connection broke" in line


def test_a_proxy_that_is_not_there_is_named(stats: Stats) -> None:
    stats.url = "https://openrouter.ai/api/v1"
    with Proxy() as proxy:
        address = proxy.url
    line = failed(stats("--json", "--timeout", "5", env={"HTTPS_PROXY": address}), 5, error="proxy")
    assert "the proxy 127.0.0.1 did not let the request through" in line


def test_a_proxy_that_works_is_used(stats: Stats) -> None:
    with Sandbox(Account.simple(), tls="wrong_host") as far, Proxy(address_of(far.url)) as proxy:
        stats.url = "https://elsewhere.example/api/v1"
        ran = stats("--json", env={"HTTPS_PROXY": proxy.url, "REQUESTS_CA_BUNDLE": far.ca_file})
        assert ran.code == 0
        assert far.received("/key")[0].headers["Authorization"] == f"Bearer {INFERENCE_KEY}"
        assert not any(INFERENCE_KEY.encode() in head for head in proxy.heads)


def test_nothing_for_this_machine_goes_through_a_proxy(stats: Stats) -> None:
    with Proxy() as proxy:
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
        assert stats(env=dict.fromkeys(names, proxy.url)).code == 0
        assert proxy.heads == []


def test_no_proxy_is_respected(stats: Stats) -> None:
    stats.url = "https://nowhere.invalid/api/v1"
    with Proxy() as proxy:
        env: dict[str, str | None] = {"HTTPS_PROXY": proxy.url, "NO_PROXY": "nowhere.invalid"}
        failed(stats("--timeout", "2", env=env | {"RES_OPTIONS": "attempts:1 timeout:1"}), 5)
        assert proxy.heads == []


# -- what is sent --------------------------------------------------------------------------------------------------


def test_requests_carry_what_is_needed_and_no_more(stats: Stats, sandbox: Sandbox) -> None:
    sandbox.misbehave("/key", Fault.headers({"Set-Cookie": "session=1; Path=/"}), Fault.status(500), Fault.none())
    assert stats(key=MANAGEMENT_KEY).code == 0
    names = {name for request in sandbox.requests for name in request.headers}
    assert names - {"connection"} == {
        "host", "accept", "accept-encoding", "user-agent", "authorization", "content-type", "content-length",
    }  # fmt: skip
    for request in sandbox.requests:
        assert request.headers["Authorization"] == f"Bearer {MANAGEMENT_KEY}"
        assert request.headers["User-Agent"].startswith("openrouter-usage/")
        assert request.headers["Accept-Encoding"] == "gzip"
        assert "cookie" not in request.headers


def test_parts_are_asked_for_at_the_same_time(stats: Stats, sandbox: Sandbox) -> None:
    def until_all_are_there(wire: Any) -> None:
        sandbox.wait_until(lambda: len(sandbox.requests) == 3, timeout=20)

    sandbox.misbehave("*", Fault("nobody is answered before the last has asked", before=until_all_are_there))
    assert stats("--json", mgmt=MANAGEMENT_KEY).data["partial"] is False
    assert sorted(request.path for request in sandbox.requests) == ["/activity", "/credits", "/key"]


def test_an_answer_in_gzip_is_read(stats: Stats, sandbox: Sandbox) -> None:
    import gzip
    import json

    body: Any = {"data": {"usage": 1, "usage_daily": 0.25}}
    packed = gzip.compress(json.dumps(body).encode())
    sandbox.misbehave("/key", Fault.raw(packed) & Fault.headers({"Content-Encoding": "gzip"}))
    assert stats("--json").data["today"]["usage_usd"] == Decimal("0.25")


def test_a_date_far_away_is_told_once(stats: Stats, sandbox: Sandbox) -> None:
    sandbox.misbehave("/key", Fault.headers({"Date": format_datetime(datetime(2030, 1, 1, tzinfo=timezone.utc), True)}))
    assert stats().out.count("computer's clock is") == 1
    sandbox.misbehave("/key", Fault.headers({"Date": "yesterday"}))
    assert "clock" not in stats().out
