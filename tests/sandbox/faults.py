"""The ways in which the sandbox misbehaves: each fault spoils one answer."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from . import bulk, exact, steps
from .answer import Answer, error_answer, html_answer, phrase
from .steps import Before, Edit, Send
from .wire import Wire


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request, and when.

    `before` runs before the request has any effect, `edit` changes the answer, `send` puts it on the wire.
    Without `effect` the endpoint is never run: nothing is billed, nothing is created.
    """

    name: str
    before: Before | None = None
    effect: bool = True
    edit: Edit | None = None
    send: Send | None = None
    on_accept: bool = False

    def __and__(self, other: Fault) -> Fault:
        """Both faults on one request, this one first."""
        return Fault(
            f"{self.name} and {other.name}",
            before=steps.both(self.before, other.before),
            effect=self.effect and other.effect,
            edit=steps.chain(self.edit, other.edit),
            send=other.send or self.send,
        )

    def after_billing(self) -> Fault:
        """The same fault, with the request's effect (the charge, the new key) already applied."""
        return replace(self, effect=True, edit=steps.settled(self.edit))

    @staticmethod
    def none() -> Fault:
        """A normal answer, for a place in a sequence."""
        return Fault("none")

    @staticmethod
    def status(
        code: int,
        body: Any = None,
        headers: dict[str, str] | None = None,
        *,
        message: str = "",
        metadata: dict[str, Any] | None = None,
    ) -> Fault:
        """An error status; the body is OpenRouter's envelope, `"html"`, given bytes, or any JSON value."""
        if isinstance(body, bytes):
            answer = Answer(status=code, body=body)
        elif body == "html":
            answer = html_answer(code)
        elif body is not None:
            answer = Answer(body, code)
        else:
            answer = error_answer(code, message or phrase(code), metadata=metadata)
        answer.headers.update(headers or {})
        return Fault(f"status {code}", effect=False, edit=lambda wire, _: replace(answer, headers={**answer.headers}))

    @staticmethod
    def payment_required(limit_source: str | None = "openrouter_credits", *, retry_after: int | None = None) -> Fault:
        """402 as OpenRouter words it for one `limit_source`; in-flight ones carry Retry-After and a reason."""
        reasons = {"openrouter_in_flight_budget": "in_flight_budget_exhausted"}
        hints = {"openrouter_credits": "Add credits at https://openrouter.ai/settings/credits"}
        metadata: dict[str, Any] = {"error_type": "payment_required"}
        if limit_source:
            metadata["limit_source"] = limit_source
            metadata["remedy_hint"] = hints.get(limit_source, "See https://openrouter.ai/docs/api-reference/limits")
        if limit_source in reasons:
            metadata["reason"] = reasons[limit_source]
            retry_after = 2 if retry_after is None else retry_after
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        return Fault.status(402, headers=headers, message="Insufficient credits", metadata=metadata)

    @staticmethod
    def delay(seconds: float, after: str = "request") -> Fault:
        """A late answer; `after="billing"` waits when the effect is already there."""
        if after == "billing":
            return Fault("delay", edit=steps.settled(steps.then(lambda wire: wire.sleep(seconds))))
        return Fault("delay", before=lambda wire: wire.sleep(seconds))

    @staticmethod
    def hang(after: str = "request") -> Fault:
        """No answer until the client gives up; `after="billing"`: the effect is there all the same.

        `after="accept"`, on path "*" only, says nothing at all, not even what TLS begins with.
        """
        if after == "billing":
            return Fault("hang", edit=steps.settled(steps.then(Wire.hang)))
        return Fault("hang", before=Wire.hang, on_accept=after == "accept")

    @staticmethod
    def reset(after: str | int = "request") -> Fault:
        """A TCP RST: at "accept", after the "request" is read, after "billing", or after n bytes of the answer.

        "accept" only works on path "*", since nothing is known of a request that was never read.
        """
        if after in ("accept", "request"):
            return Fault("reset", before=Wire.reset, on_accept=after == "accept")
        if after == "billing":
            return Fault("reset", edit=steps.settled(steps.then(Wire.reset)))
        return Fault("reset", before=lambda wire: setattr(wire, "reset_at", int(after)))

    @staticmethod
    def drip(seconds_per_byte: float, *, head: bool = False) -> Fault:
        """The body, or with `head` the headers too, one byte at a time."""

        def send(wire: Wire, answer: Answer) -> None:
            body = answer.encoded()
            start = wire.head(answer, {"Content-Length": str(len(body))})
            if not head:
                wire.send(start)
            for byte in (start + body) if head else body:
                wire.sleep(seconds_per_byte)
                wire.send(bytes([byte]))

        return Fault("drip", send=send)

    @staticmethod
    def truncate(after_bytes: int, mode: str = "content-length") -> Fault:
        """A body that stops short: less than its "content-length", "chunked" without an end, or a bare "close"."""
        framings: dict[str, Callable[[bytes], dict[str, str]]] = {
            "content-length": lambda body: {"Content-Length": str(len(body))},
            "chunked": lambda body: {"Transfer-Encoding": "chunked"},
            "close": lambda body: {"Connection": "close"},
        }
        framing = framings[mode]

        def send(wire: Wire, answer: Answer) -> None:
            body = answer.encoded()
            size = f"{len(body):x}\r\n".encode() if mode == "chunked" else b""
            wire.send(wire.head(answer, framing(body)) + size + body[:after_bytes])
            wire.close()

        return Fault("truncate", send=send)

    @staticmethod
    def html(status: int = 200) -> Fault:
        """A web page where JSON is expected."""
        return Fault("html", effect=False, edit=lambda wire, _: html_answer(status))

    @staticmethod
    def raw(body: bytes, content_type: str = "application/json") -> Fault:
        """A 200 with this body and nothing else."""
        return Fault("raw", effect=False, edit=lambda wire, _: Answer(body=body, content_type=content_type))

    @staticmethod
    def wire(data: bytes) -> Fault:
        """Exactly these bytes in place of an HTTP answer, then the end of the connection."""

        def send(wire: Wire, _: Answer) -> None:
            wire.send(data)
            wire.close()

        return Fault("wire", effect=False, send=send)

    @staticmethod
    def redirect(code: int, location: str) -> Fault:
        """A redirect to another place."""
        moved = Answer(status=code, body=b"", headers={"Location": location})
        return Fault("redirect", effect=False, edit=lambda wire, _: replace(moved, headers={**moved.headers}))

    @staticmethod
    def headers(extra: dict[str, str]) -> Fault:
        """The normal answer with these headers, which replace the usual ones of the same name."""
        return Fault("headers", edit=lambda wire, answer: replace(answer, headers={**answer.headers, **extra}))

    @staticmethod
    def wrong_encoding(name: str = "br") -> Fault:
        """The normal answer, labelled with a compression it does not have."""
        return Fault.headers({"Content-Encoding": name})

    @staticmethod
    def gzipped() -> Fault:
        """The normal answer, properly compressed."""
        packed = {"Content-Encoding": "gzip"}

        def edit(wire: Wire, answer: Answer) -> Answer:
            body = gzip.compress(answer.encoded())
            return replace(answer, body=body, pieces=None, headers={**answer.headers, **packed})

        return Fault("gzipped", edit=edit)

    @staticmethod
    def mutate(change: Callable[[Any], Any]) -> Fault:
        """The normal answer after `change` has edited its JSON value in place, or returned another."""

        def edit(wire: Wire, answer: Answer) -> Answer:
            payload = exact.loads(answer.encoded())
            changed = change(payload)
            return replace(answer, payload=payload if changed is None else changed, body=None, pieces=None)

        return Fault("mutate", edit=edit)

    @staticmethod
    def big(megabytes: int, *, declared: bool = False) -> Fault:
        """A huge JSON body, with its length declared or not."""

        def edit(wire: Wire, _: Answer) -> Answer:
            headers = {"Content-Length": str(bulk.length(megabytes))} if declared else {}
            return Answer(pieces=bulk.padded(megabytes), headers=headers)

        return Fault("big", effect=False, edit=edit)

    @staticmethod
    def gzip_bomb(megabytes: int) -> Fault:
        """A body that is small on the wire and huge when it is unpacked."""
        headers = {"Content-Encoding": "gzip"}
        return Fault("gzip bomb", effect=False, edit=lambda wire, _: Answer(body=bulk.bomb(megabytes), headers=headers))
