"""No secret of one's own is shown, whoever says it in whatever disguise, nor sent where it does not belong."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from openrouter_usage import redaction
from openrouter_usage.errors import Unreachable as NotReached
from openrouter_usage.home.settings import is_metadata, parse_base_url
from openrouter_usage.jobs import alert
from openrouter_usage.openrouter.transport import Request, Transport
from tests.booking import Tracker, TrackerAt
from tests.calling import HELLO
from tests.cases import crossed
from tests.controls import managing
from tests.proxy import Proxy, address_of
from tests.running import Stats, contents
from tests.sandbox import INFERENCE_KEY, MANAGEMENT_KEY, Fault, Reply, Sandbox, Unreachable, Webhook

ROUTING_KEY = "7f3a9c21b5d84e60a1c2d3e4f5061728"
PATH = "/services/T02ABCDEF/B03GHIJKL/aBcDeFgHiJkLmNoPqRsTuVwX"
BOTH = pytest.mark.parametrize("stream", [(), ("--stream",)], ids=["whole", "stream"])


def everything_quoted(text: str) -> str:
    return "".join(f"%{ord(char):02x}" for char in text)


DISGUISES: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in capitals": str.upper,
    "quoted": everything_quoted,
    "quoted twice": lambda key: quote(everything_quoted(key)),
    "quoted three times": lambda key: quote(quote(everything_quoted(key))),
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "base64 behind a scheme": lambda key: base64.b64encode(f"Bearer {key}".encode()).decode(),
    "base64 as a login": lambda key: base64.b64encode(f"user1:{key}".encode()).decode(),
    "base64 for a URL": lambda key: base64.urlsafe_b64encode(b"\xff\xfe\xfd" + key.encode()).decode(),
    "base64 twice": lambda key: base64.b64encode(base64.b64encode(key.encode())).decode(),
    "base64 in lines": lambda key: base64.encodebytes(f"{key} {key}".encode()).decode(),
    "hex": lambda key: key.encode().hex(),
    "in two lines": lambda key: f"{key[:20]}\n    {key[20:]}",
    "in quotes": lambda key: f'"\'{key}\'"',
    "in pieces": lambda key: '" + "'.join([key[:9], key[9:18], key[18:]]),
    "with blanks": " ".join,
    "with what is invisible": "\u200b".join,
    "in a document": lambda key: "".join(f"&#{ord(char)};" for char in key),
}


def shows(text: str, key: str) -> bool:
    """Whether a text has a key in a disguise, or most of it."""
    letters = "".join(char for char in key if char.isalnum()).lower()
    found = "".join(char for char in text if char.isalnum()).lower()
    parts = [letters[start : start + 16] for start in range(0, len(letters) - 15, 4)]
    codes = [DISGUISES[name](key)[8:40] for name in ("quoted", "quoted twice", "base64", "base64 twice", "hex")]
    codes += [DISGUISES["base64 behind a scheme"](key)[14:40], DISGUISES["base64 as a login"](key)[14:40]]
    return any(part in found for part in parts) or any(code in text for code in codes)


def test_the_test_itself_sees_a_key_in_every_disguise() -> None:
    assert all(shows(disguise(INFERENCE_KEY), INFERENCE_KEY) for name, disguise in DISGUISES.items()
               if name not in ("quoted three times", "base64 for a URL", "base64 in lines", "in a document"))  # fmt: skip


# -- what others say -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DISGUISES)
def test_an_error_that_repeats_a_key_shows_nothing_of_it(name: str, at: TrackerAt, sandbox: Sandbox) -> None:
    """In an error's words, its page, and in what is kept."""
    said = f"no such key: {DISGUISES[name](INFERENCE_KEY)} !"
    verbs = (("call", *HELLO), ("call", *HELLO, "--json"), ("query", "--id", "gen-1"))
    for status, argv in crossed((400, 500, 403), verbs):
        sandbox.misbehave("*", Fault.status(status, message=said))
        ran = at(None, *argv)
        assert ran.code != 0
        assert not shows(ran.out + ran.err, INFERENCE_KEY), ran.err
    ran = Stats(at.tracker.home, sandbox.url)("--json", mgmt=MANAGEMENT_KEY)
    assert not shows(ran.out + ran.err, INFERENCE_KEY)


@pytest.mark.parametrize("name", DISGUISES)
@BOTH
def test_an_answer_that_repeats_a_key_shows_nothing_of_it(
    stream: Any, name: str, home: Path, at: TrackerAt, sandbox: Sandbox
) -> None:
    """A model may say what it was told by a page; the names in the answer are shown and kept as well."""
    said = DISGUISES[name](INFERENCE_KEY)
    sandbox.account.reply = Reply(f"It is {said}, see?", provider=said if len(said) < 190 else "")
    for face in ((), ("--json",)):
        ran = at(None, "call", *HELLO, *stream, *face)
        assert ran.code == 0
        # A stream brings words one by one, so what is in code there comes as a text that nobody can look into.
        if not stream or name in ("as it is", "in capitals", "in two lines", "with blanks"):
            assert not shows(ran.out + ran.err, INFERENCE_KEY), ran.out
    for data in contents(home).values():
        assert INFERENCE_KEY.encode() not in data


def test_a_key_that_a_stream_spells_out_is_not_shown(home: Path, sandbox: Sandbox) -> None:
    """No chunk has more than a letter of it; what only begins like a key is shown whole."""
    sandbox.misbehave("/chat/completions", Fault.raw(_spelt(f"so {INFERENCE_KEY} it sk-or-v1 is"), "text/event-stream"))
    ran = Tracker(home, sandbox.url)("call", *HELLO, "--stream")
    assert ran.out == "so [key] it sk-or-v1 is\n", ran.out


def _spelt(text: str) -> bytes:
    pieces = [{"id": "gen-1", "choices": [{"index": 0, "delta": {"content": char}}]} for char in text]
    pieces.append({"id": "gen-1", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.001}})
    return b"".join(f"data: {json.dumps(piece)}\n\n".encode() for piece in pieces) + b"data: [DONE]\n\n"


def test_what_is_no_secret_is_left_alone() -> None:
    """Words, a masked label, and the last letters that are shown on purpose."""
    redaction.protect("sk-or-" + "v1-0123456789abcdef0123456789abcdef")
    for text in ("sk-or-v1-012...def", "a key sk-or-v1 of (…cdef)", "0123456789abcdef", "100% = 5 \\u00e9", ""):
        assert redaction.scrubbed(text) == text


def test_a_proxys_password_is_shown_by_nobody(stats: Stats) -> None:
    """Nor by a page in the place of a tunnel, nor by a bug's traceback."""
    password = "correct-horse-battery"
    code = base64.b64encode(f"me:{password}".encode()).decode()
    answer = f"HTTP/1.1 407 {password}\r\nX: {code}\r\n\r\n{password} {code}".encode()
    with Proxy(answer=answer) as proxy:
        address = proxy.url.replace("//", f"//me:{password}@")
        env = {"HTTPS_PROXY": address, "OPENROUTER_BASE_URL": None}
        ran = stats("--json", "--timeout", "5", env=env, secrets=[password, code])
        assert ran.code == 5
    assert code in proxy.heads[0].decode()


# -- webhooks --------------------------------------------------------------------------------------------------------


@pytest.fixture
def tracker(home: Path, sandbox: Sandbox) -> Tracker:
    sandbox.account.add_activity("openai/gpt-5.2", days_ago=0, usage=Decimal(9))
    return managing(home, sandbox.url)


@pytest.fixture
def at(tracker: Tracker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> TrackerAt:
    return TrackerAt(tracker, monkeypatch, capsys)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with Webhook() as running:
        yield running


SAID = {
    "its address": "no such hook: {url}",
    "its path": "Cannot POST {path}",
    "its path in capitals": "CANNOT POST {upper}",
    "its path quoted": "Cannot POST {quoted}",
    "its end": "unknown hook {end}",
    "each part": "T {team} B {bot} X {end}",
    "its query": "bad token {token}",
    "JSON": '{{"message": "Unknown Webhook", "path": "{path}"}}',
}


@pytest.mark.parametrize(("name", "status"), crossed(SAID, [404, 403, 410, 500, 302]))
def test_a_webhooks_address_is_not_shown_when_its_server_repeats_it(
    name: str, status: int, at: TrackerAt, webhook: Webhook
) -> None:
    """Whoever knows the path may post: only the host is shown."""
    _, _, team, bot, end = PATH.split("/")
    token = "t0k3n-of-the-query"
    url = f"{webhook.url}{PATH}?token={token}"
    words = {"url": url, "path": PATH, "upper": PATH.upper(), "quoted": quote(PATH, safe=""), "end": end, "team": team}
    said = SAID[name].format(**words, bot=bot, token=token)
    webhook.misbehave("*", Fault.status(status, said.encode()))
    for face in ((), ("--json",)):
        ran = at(None, "alert", "--daily-limit", "10", "--webhook", url, *face)
        assert ran.code == 5
        shown = (ran.out + ran.err).casefold()
        assert not [part for part in (end, team, bot, token) if part.casefold() in shown], shown
        assert f"127.0.0.1 answered {status}" in ran.err


def test_a_refused_connection_is_told_once_and_without_empty_brackets(at: TrackerAt) -> None:
    """One host, one cause, and no path where there is none."""
    with Unreachable() as nobody:
        url = f"http://127.0.0.1:{nobody.port}{PATH}"
        ran = at(None, "alert", "--daily-limit", "10", "--webhook", url)
    assert ran.code == 5
    assert "the alert was not delivered: 127.0.0.1: the connection was refused -- " in ran.error_line


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Fault.reset("request"), "127.0.0.1: the connection broke before the answer was complete -- "),
        (Fault.status(404, b""), "127.0.0.1 answered 404 -- "),
        (Fault.status(404, b" \n"), "127.0.0.1 answered 404 -- "),
        (Fault.hang(), "127.0.0.1 sent no complete answer within "),
        (Fault.status(200, b"x") & Fault.wrong_encoding(), "127.0.0.1: the answer is compressed"),
    ],
    ids=["reset", "nothing said", "blanks said", "hang", "not understood"],
)
def test_every_failed_delivery_names_the_host_once(
    fault: Fault, told: str, at: TrackerAt, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No doubled name and nothing in brackets that holds nothing."""
    monkeypatch.setattr("openrouter_usage.jobs.alert.TIMEOUT_S", 2.0)
    webhook.misbehave("*", fault)
    ran = at(None, "alert", "--daily-limit", "10", "--webhook", webhook.slack_url)
    assert ran.code == 5 and told in ran.error_line
    assert ran.err.count("127.0.0.1") == 1 and "()" not in ran.err and '""' not in ran.err


@pytest.mark.parametrize("name", [name for name in DISGUISES if name not in ("with what is invisible", "in two lines")])
def test_a_webhook_that_holds_a_key_in_any_disguise_is_refused(name: str, at: TrackerAt, webhook: Webhook) -> None:
    """A key that is quoted twice, or in base64, is as good as the key to whoever gets it."""
    for key in (INFERENCE_KEY, MANAGEMENT_KEY):
        said = DISGUISES[name](key).replace(" ", "%20").replace("\n", "%0a").replace('"', "%22").replace("#", "%23")
        for form in ("/{}", "/hook?k={}", "/hook#{}", "/a/{}/b"):
            refused(at, webhook, webhook.url + form.format(said), key)


def refused(at: TrackerAt, webhook: Webhook, url: str, key: str) -> None:
    """Whether the address comes from the environment or from the settings, nothing is sent to it."""
    kept = at.tracker.folder / "settings.json"
    for where in ("environment", "webhook", "pagerduty"):
        at.tracker.folder.mkdir(mode=0o700, exist_ok=True)
        kept.write_text(json.dumps({"alerts": {"daily_limit": "1", **({} if where == "environment" else {where: url})}}))
        kept.chmod(0o600)
        env = {"OPENROUTER_PAGERDUTY_KEY": ROUTING_KEY}
        ran = at(None, "alert", env={**env, "OPENROUTER_ALERT_WEBHOOK": url if where == "environment" else None})
        assert (ran.code, webhook.connections) == (2, 0), ran.err
        assert "contains OPENROUTER_" in ran.error_line and not shows(ran.err, key)


@pytest.mark.parametrize("option", ["--webhook", "--pagerduty"])
def test_an_address_with_a_disguised_key_is_not_kept(option: str, tracker: Tracker, webhook: Webhook) -> None:
    """As given on the command line: refused, and forgotten."""
    said = DISGUISES["base64"](MANAGEMENT_KEY)
    env = {"OPENROUTER_PAGERDUTY_KEY": ROUTING_KEY}
    ran = tracker("alert", "--daily-limit", "1", option, f"{webhook.url}/{said}", env=env, secrets=[said])
    assert (ran.code, webhook.connections) == (2, 0) and "contains OPENROUTER_MGMT_KEY" in ran.error_line
    assert not (tracker.folder / "settings.json").exists()


METADATA = [
    "https://169.254.169.254/latest", "https://169.254.170.2/", "https://169.254.0.1:8443/", "https://2852039166/",
    "https://0xa9fea9fe/", "https://0XA9.0xFE.0xA9.0xFE/", "https://0251.0376.0251.0376/", "https://169.254.43518/",
    "https://169.16689662/", "https://0251.254.0xa9.254/", "https://169.254.169.254./", "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/", "https://[febf:ffff::1]/", "https://[::ffff:169.254.169.254]/",
    "https://[::ffff:a9fe:a9fe]/", "https://[::169.254.169.254]/", "https://[64:ff9b::a9fe:a9fe]/",
    "https://[2002:a9fe:a9fe::1]/", "https://[fd00:ec2::254]/", "https://100.100.100.200/", "https://1684301000/",
    "https://[::ffff:100.100.100.200]/", "https://metadata.google.internal/", "https://METADATA.google.internal./",
    "https://metadata/", "https://metadata.goog/", "https://instance-data.ec2.internal/", "https://168.63.129.16/",
    "http://169.254.169.254/", "https://169%2e254.169.254/", "https://169。254。169。254/",
]  # fmt: skip


@pytest.mark.parametrize("url", METADATA)
@pytest.mark.parametrize("where", ["given", "environment", "kept", "pagerduty"])
def test_no_alert_goes_to_where_clouds_keep_secrets(where: str, url: str, at: TrackerAt, sandbox: Sandbox) -> None:
    """Link-local and metadata addresses in any way of writing them, wherever the address comes from."""
    env = {"OPENROUTER_PAGERDUTY_KEY": ROUTING_KEY}
    argv: tuple[str, ...] = ("alert", "--daily-limit", "1")
    if where == "given":
        argv += ("--webhook", url)
    elif where == "pagerduty":
        argv += ("--pagerduty", url)
    elif where == "environment":
        env["OPENROUTER_ALERT_WEBHOOK"] = url
    else:
        at.tracker.folder.mkdir(mode=0o700)
        (at.tracker.folder / "settings.json").write_text(json.dumps({"alerts": {"daily_limit": "1", "webhook": url}}))
        (at.tracker.folder / "settings.json").chmod(0o600)
    ran = at(None, *argv, env=env)
    assert (ran.code, sandbox.connections) == (2, 0), ran.err
    assert ran.error_line.count("\n") == 1


@pytest.mark.parametrize(
    "host", ["10.0.0.5", "192.168.1.2", "127.0.0.1", "::1", "hooks.slack.com", "8.8.8.8", "fd12::1", "mymetadata.com",
             "170.254.1.1", "169.253.1.1", "100.100.100.201", "64:ff9b::808:808", "a.b.c.d.e", "1.2.3.4.5", ""]
)  # fmt: skip
def test_other_addresses_are_no_metadata(host: str) -> None:
    """A chat of one's own may run on a private address."""
    assert not is_metadata(host)


def test_a_name_that_leads_to_metadata_is_refused_when_it_is_sent_to(
    sandbox: Sandbox, at: TrackerAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a name leads to is known at the moment of sending only; here, to this machine, as a cloud's metadata has none."""
    real, port = socket.getaddrinfo, urlsplit(sandbox.url).port

    def resolve(host: Any, *args: Any, **more: Any) -> Any:
        return real("127.0.0.1", port, *args[1:], **more) if host == "hooks.example.com" else real(host, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(alert, "is_metadata", lambda address: address == "127.0.0.1")
    ran = at(None, "alert", "--daily-limit", "1", "--webhook", "https://hooks.example.com/x")
    assert ran.code == 5
    assert "hooks.example.com: the name leads to a link-local or metadata address, to which no alert is sent" in ran.error_line


def test_a_connection_to_where_nothing_may_be_sent_is_ended_before_a_byte(sandbox: Sandbox) -> None:
    """Should the name lead elsewhere a moment later, the connection itself is looked at."""
    asked: list[str] = []

    def forbids(address: str) -> bool:
        asked.append(address)
        return True

    transport = Transport(parse_base_url(sandbox.url), timeout_s=5, forbids=forbids, sleep=lambda seconds: None)
    with pytest.raises(NotReached, match="metadata address") as caught:
        transport.get(Request("POST", "/key", None, body="{}"))
    assert set(asked) == {"127.0.0.1"} and not caught.value.may_have_arrived
    assert sandbox.received() == []


# -- PagerDuty -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    ["https://events.pagerduty.com.evil.example/v2/enqueue", "https://evil.example/v2/enqueue",
     "https://pagerduty.com/v2/enqueue", "https://events.pagerduty.com:8443/v2/enqueue", "https://10.0.0.1/v2/enqueue",
     "https://xevents.pagerduty.com/", "https://events.pagerduty.co/"],
)  # fmt: skip
@pytest.mark.parametrize("where", ["given", "kept"])
def test_a_routing_key_goes_to_pagerduty_alone(where: str, url: str, at: TrackerAt, sandbox: Sandbox) -> None:
    """No option sends it elsewhere."""
    env = {"OPENROUTER_PAGERDUTY_KEY": ROUTING_KEY}
    argv: tuple[str, ...] = ("alert", "--daily-limit", "1")
    if where == "kept":
        at.tracker.folder.mkdir(mode=0o700)
        (at.tracker.folder / "settings.json").write_text(json.dumps({"alerts": {"daily_limit": "1", "pagerduty": url}}))
        (at.tracker.folder / "settings.json").chmod(0o600)
    else:
        argv += ("--pagerduty", url)
    ran = at(None, *argv, env=env)
    assert (ran.code, sandbox.connections) == (2, 0)
    assert "the routing key is sent only to PagerDuty" in ran.error_line
    assert ROUTING_KEY not in ran.err


def by_name(host: str, at: TrackerAt, *argv: str, env: dict[str, str] | None = None) -> tuple[Any, Webhook]:
    """Run an alert whose webhook is reached under a public name, over TLS and through a proxy."""
    with Webhook(tls=host) as far, Proxy(address_of(far.url)) as proxy:
        surroundings = {"HTTPS_PROXY": proxy.url, "REQUESTS_CA_BUNDLE": str(far.ca_file), **(env or {})}
        ran = at.tracker("alert", "--daily-limit", "10", *argv, env=surroundings)
        assert all(head.startswith(f"CONNECT {host}:443 ".encode()) for head in proxy.heads)
        return ran, far


@pytest.mark.parametrize("host", ["events.pagerduty.com", "events.eu.pagerduty.com"])
def test_pagerduty_itself_gets_its_key(host: str, at: TrackerAt) -> None:
    """In America and in Europe."""
    env = {"OPENROUTER_PAGERDUTY_KEY": ROUTING_KEY}
    ran, far = by_name(host, at, "--pagerduty", f"https://{host}/v2/enqueue", env=env)
    assert ran.code == 3, ran.err
    assert [event["routing_key"] for event in far.messages()] == [ROUTING_KEY]


def test_a_routing_key_that_is_repeated_is_not_shown(at: TrackerAt, webhook: Webhook) -> None:
    """PagerDuty's own words are shown, the key in them is not."""
    for said in (ROUTING_KEY, ROUTING_KEY.upper(), base64.b64encode(ROUTING_KEY.encode()).decode()):
        webhook.misbehave("*", Fault.status(400, {"status": "invalid", "errors": [f"routing key {said} is unknown"]}))
        env = {"OPENROUTER_PAGERDUTY_KEY": ROUTING_KEY}
        ran = at(None, "alert", "--daily-limit", "10", "--pagerduty", webhook.pagerduty_url, env=env)
        assert ran.code == 5 and "is unknown" in ran.err
        assert said not in ran.err and ROUTING_KEY not in ran.err.lower()


# -- Discord ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "field"),
    [
        ("https://discord.com/api/webhooks/123/abc-token", "content"),
        ("https://discordapp.com/api/webhooks/123/abc-token", "content"),
        ("https://ptb.discord.com/api/v10/webhooks/123/abc-token", "content"),
        ("https://canary.discord.com/api/webhooks/123/abc-token?thread_id=5", "content"),
        ("https://discord.com/api/webhooks/123/abc-token/slack", "text"),
        ("https://notdiscord.com/api/webhooks/123/abc-token", "text"),
        ("https://discord.com.example.org/api/webhooks/123/abc-token", "text"),
        ("https://hooks.slack.com/services/T0/B0/xyz", "text"),
    ],
)
def test_discord_gets_its_own_field_and_everybody_else_slacks(url: str, field: str, at: TrackerAt) -> None:
    """Discord turns down a message without `content`."""
    with Webhook(tls=url.split("/")[2]) as far, Proxy(address_of(far.url)) as proxy:
        far.misbehave("*", Fault.status(204, b""))
        env = {"HTTPS_PROXY": proxy.url, "REQUESTS_CA_BUNDLE": str(far.ca_file)}
        ran = at.tracker("alert", "--daily-limit", "10", "--webhook", url, env=env)
        assert ran.code == 3, ran.err
        (request,) = far.received()
        assert set(request.json()) == {field} and "of the daily $10.00" in request.json()[field]


# -- keys that are none ----------------------------------------------------------------------------------------------


DISGUISED_KEYS = {
    "quotes in quotes": lambda key: f"\"'{key}'\"",
    "the same quotes twice": lambda key: f'""{key}""',
    "three times": lambda key: f"'\"'{key}'\"'",
    "curly quotes": lambda key: f"\u201c{key}\u201d",
    "backquotes": lambda key: f"`{key}`",
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "base64 without its end": lambda key: base64.b64encode(key.encode()).decode().rstrip("="),
    "base64 for a URL": lambda key: base64.urlsafe_b64encode(key.encode()).decode(),
    "base64 with its scheme": lambda key: base64.b64encode(f"Bearer {key}".encode()).decode(),
    "base64 twice": lambda key: base64.b64encode(base64.b64encode(key.encode())).decode(),
    "base64 in quotes": lambda key: '"' + base64.b64encode(key.encode()).decode() + '"',
    "hex": lambda key: key.encode().hex(),
    "quoted for a URL": lambda key: quote(key, safe="").replace("-", "%2D"),
    "quoted twice for a URL": lambda key: quote(quote(key, safe="").replace("-", "%2D")),
}
REAL_LOOK = "sk-or-" + "v1-" + "0a1b2c3d" * 8


@pytest.mark.parametrize("name", DISGUISED_KEYS)
@pytest.mark.parametrize("variable", ["OPENROUTER_API_KEY", "OPENROUTER_MGMT_KEY"])
def test_a_key_in_a_disguise_is_refused_before_it_is_sent(
    variable: str, name: str, home: Path, sandbox: Sandbox
) -> None:
    """OpenRouter would not know it, and would repeat it."""
    value = DISGUISED_KEYS[name](REAL_LOOK)
    tracker = Tracker(home, sandbox.url, {variable: value})
    for argv in (("call", *HELLO), ("credits",)):
        ran = tracker(*argv, secrets=[value])
        assert (ran.code, sandbox.connections) == (2, 0)
        assert f"{variable} from the environment does not look like a key" in ran.error_line
        assert not shows(ran.err, REAL_LOOK)


@pytest.mark.parametrize("form", ['"{}"', "'{}'", "  {}  ", "Bearer {}", '"Bearer {}"', "\ufeff{}"])
def test_what_copying_adds_is_still_taken_off(form: str, home: Path, sandbox: Sandbox) -> None:
    """One pair of quotes is no disguise."""
    tracker = Tracker(home, sandbox.url, {"OPENROUTER_API_KEY": form.format(INFERENCE_KEY)})
    assert tracker("call", *HELLO).code == 0
