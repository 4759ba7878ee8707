"""Makes logs as other programs write them, both eras and all traps, from calls whose figures a test knows.

Shapes alone: every text in them is invented, and `SAID` stands wherever a prompt or an answer would.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

SAID = "words of a prompt that nobody may keep"
WRITTEN = 1_790_000_000


@dataclass(frozen=True)
class Made:
    """One call as its program knows it; the cost is what the program thinks."""

    number: int
    id: str = ""
    model: str = "openai/gpt-5.2"
    prompt: int = 1000
    completion: int = 50
    cached: int = 300
    written: int = 0
    cost: str = "0.0125"
    at_s: int = WRITTEN

    @property
    def iso(self) -> str:
        """Its moment as text."""
        return datetime.fromtimestamp(self.at_s, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.250Z")

    @property
    def plain(self) -> int:
        """The prompt without what came from, or went into, a cache."""
        return self.prompt - self.cached - self.written


def some(count: int, *, at_s: int = WRITTEN) -> list[Made]:
    """Calls that differ in everything."""
    return [
        Made(n, prompt=1000 + 7 * n, completion=50 + n, cached=n, cost=f"0.0{n + 1}25", at_s=at_s + 90 * n)
        for n in range(count)
    ]


def lines(records: Iterable[Any]) -> str:
    """JSON Lines."""
    return "".join(json.dumps(record) + "\n" for record in records)


def put(path: Path, text: str) -> Path:
    """Write a file and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


# -- Claude Code: a line per content block, in which the output grows.


def claude_lines(calls: Sequence[Made], *, session: str = "s-1", cwd: str = "/home/u/site", agent: str = "") -> Iterator[Any]:
    """A transcript with prompts, blocks, a call of another provider, and a snapshot."""
    base = {"sessionId": session, "cwd": cwd, "version": "2.1.0", "isSidechain": bool(agent), "userType": "external"}
    base |= {"agentId": agent} if agent else {}
    yield {"type": "summary", "summary": SAID, "leafUuid": "x"}
    for call in calls:
        yield {**base, "type": "user", "timestamp": call.iso, "message": {"role": "user", "content": SAID + ' "usage": gen-0'}}
        for block in range(3):
            usage = {
                "input_tokens": call.plain, "cache_read_input_tokens": call.cached,
                "cache_creation_input_tokens": call.written, "output_tokens": (1, call.completion // 2, call.completion)[block],
                "cache_creation": {"ephemeral_5m_input_tokens": call.written, "ephemeral_1h_input_tokens": 0},
            }  # fmt: skip
            message = {"id": call.id, "type": "message", "role": "assistant", "model": call.model, "usage": usage,
                       "content": [{"type": "tool_use", "id": "toolu_1", "input": {"text": SAID}}]}  # fmt: skip
            yield {**base, "type": "assistant", "timestamp": call.iso, "requestId": None, "message": message}
    usage = {"input_tokens": 5, "output_tokens": 6}
    yield {**base, "type": "assistant", "timestamp": "2026-09-21T10:00:00Z", "message": {"id": "msg_1", "usage": usage}}
    yield {"type": "file-history-snapshot", "snapshot": {"text": SAID}}


def claude(home: Path, calls: Sequence[Made], *, name: str = "s-1", **more: Any) -> Path:
    """A transcript where Claude Code keeps it."""
    return put(home / ".claude/projects/-home-u-site" / f"{name}.jsonl", lines(claude_lines(calls, **more)))


# -- pi and OpenClaw.


def pi_lines(calls: Sequence[Made], *, session: str = "s-1", parent: str = "") -> Iterator[Any]:
    """A session with a header, a change of the model, messages, and placeholders."""
    header = {"type": "session", "version": 3, "id": session, "timestamp": "2026-09-21T10:00:00Z", "cwd": "/home/u/site"}
    yield header | ({"parentSession": parent} if parent else {})
    yield {"type": "model_change", "id": "m1", "provider": "openrouter", "modelId": "openai/gpt-5.2"}
    for call in calls:
        yield {"type": "message", "id": f"u{call.number}", "message": {"role": "user", "content": SAID}}
        parts = {"input": call.plain, "output": call.completion, "cacheRead": call.cached, "cacheWrite": call.written}
        usage = {**parts, "totalTokens": call.prompt + call.completion, "cost": {"total": float(call.cost)}}
        message = {"role": "assistant", "provider": "openrouter", "model": call.model, "usage": usage,
                   "content": [{"type": "text", "text": SAID}], "stopReason": "stop", "timestamp": call.at_s * 1000 + 250}  # fmt: skip
        if call.id:
            message["responseId"] = call.id
        yield {"type": "message", "id": f"a{call.number}", "timestamp": call.iso, "message": message}
    other = {"role": "assistant", "provider": "openclaw", "model": "delivery-mirror", "usage": {"input": 9, "output": 9}}
    yield {"type": "message", "id": "mirror", "timestamp": "2026-09-21T10:00:00Z", "message": other}


def pi(home: Path, calls: Sequence[Made], *, name: str = "s-1", **more: Any) -> Path:
    """A session where pi keeps it."""
    return put(home / ".pi/agent/sessions/--home-u-site--" / f"{name}.jsonl", lines(pi_lines(calls, session=name, **more)))


def openclaw_file(home: Path, calls: Sequence[Made], *, name: str = "s-1", end: str = ".jsonl", **more: Any) -> Path:
    """A session of the first era."""
    path = home / ".openclaw/agents/main/sessions" / f"{name}{end}"
    return put(path, lines(pi_lines(calls, session=name, **more)))


def openclaw_store(home: Path, sessions: dict[str, Sequence[Made]], *, zipped: Any = None, agent: str = "main") -> Path:
    """The store of the second era; `zipped` compresses every third event, as newer ones do."""
    path = home / f".openclaw/agents/{agent}/agent/openclaw-agent.sqlite"
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path)
    extra = ", event_zstd BLOB" if zipped else ""
    db.execute(
        f"CREATE TABLE IF NOT EXISTS transcript_events (session_id TEXT NOT NULL, seq INTEGER NOT NULL, event_json TEXT,"
        f" created_at INTEGER{extra}, PRIMARY KEY (session_id, seq))"
    )
    for session, calls in sessions.items():
        for seq, record in enumerate(pi_lines(calls, session=session), 1):
            event = json.dumps(record)
            row = [session, seq, event, WRITTEN * 1000]
            if zipped:
                row = [session, seq, None, WRITTEN * 1000, zipped(event.encode())] if seq % 3 == 1 else [*row, None]
            db.execute(f"INSERT OR REPLACE INTO transcript_events VALUES ({', '.join('?' * len(row))})", row)
    db.commit()
    db.close()
    return path


# -- programs whose logs have no id.


def codex_lines(calls: Sequence[Made], *, session: str = "c-1", provider: str = "openrouter", forked: bool = False) -> Iterator[Any]:
    """A rollout with repeated counts, and in a fork its parent's events in a burst."""
    began = "2026-09-21T10:00:00.000Z"
    meta = {"id": session, "cwd": "C:\\work\\site", "model_provider": provider, "git": {"branch": "main"}}
    meta |= {"parent_thread_id": "c-1"} if forked else {}
    yield {"timestamp": began, "type": "session_meta", "payload": meta}
    sums = {"input_tokens": 0, "cached_input_tokens": 0, "output_tokens": 0, "reasoning_output_tokens": 0}
    yield {"timestamp": began, "type": "turn_context", "payload": {"model": "openai/gpt-5.2", "cwd": "/x"}}
    for call in calls:
        last = {"input_tokens": call.prompt, "cached_input_tokens": call.cached, "output_tokens": call.completion, "reasoning_output_tokens": 1}
        sums = {name: value + last[name] for name, value in sums.items()}
        info = {"last_token_usage": last, "total_token_usage": sums, "model_context_window": 400_000}
        at = began if forked else call.iso
        yield {"timestamp": at, "type": "response_item", "payload": {"type": "message", "content": [{"text": SAID}]}}
        for _ in range(2):
            yield {"timestamp": at, "type": "event_msg", "payload": {"type": "token_count", "info": info, "rate_limits": None}}
    yield {"timestamp": began, "type": "event_msg", "payload": {"type": "token_count", "info": None}}


def codex(home: Path, calls: Sequence[Made], *, name: str = "c-1", **more: Any) -> Path:
    """A rollout where Codex keeps it."""
    path = home / ".codex/sessions/2026/09/21" / f"rollout-2026-09-21T10-00-00-{name}.jsonl"
    return put(path, lines(codex_lines(calls, session=name, **more)))


def opencode_message(call: Made, *, session: str = "o-1", copy: int = 0) -> dict[str, Any]:
    """One message; a copy has another id and the same figures."""
    tokens = {"input": call.plain, "output": call.completion - 1, "reasoning": 1, "cache": {"read": call.cached, "write": call.written}}
    return {"id": f"msg_{call.number}_{copy}", "sessionID": session, "role": "assistant", "providerID": "openrouter",
            "modelID": call.model, "cost": float(call.cost), "tokens": tokens, "time": {"created": call.at_s * 1000 + 7},
            "path": {"cwd": "/home/u/site"}}  # fmt: skip


def opencode(home: Path, calls: Sequence[Made], *, forks: int = 3, keep_open: bool = False) -> sqlite3.Connection | None:
    """The database with forks, and the older tree of files with the same messages."""
    root = home / ".local/share/opencode"
    root.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(root / "opencode.db")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE session (id TEXT PRIMARY KEY, parent_id TEXT, directory TEXT, cost REAL)")
    db.execute("CREATE TABLE message (id TEXT PRIMARY KEY, session_id TEXT, data TEXT)")
    for copy in range(forks):
        db.execute("INSERT INTO session VALUES (?, NULL, '/home/u/site', 99)", (f"o-{copy}",))
        for call in calls:
            record = opencode_message(call, session=f"o-{copy}", copy=copy)
            db.execute("INSERT INTO message VALUES (?, ?, ?)", (record["id"], f"o-{copy}", json.dumps(record)))
        for role in ("user", "assistant"):
            data = {"role": role, "providerID": "anthropic", "tokens": {"input": 9, "output": 9}, "time": {"created": 1}}
            db.execute("INSERT INTO message VALUES (?, ?, ?)", (f"{role}{copy}", f"o-{copy}", json.dumps(data)))
    db.commit()
    for call in calls:
        put(root / "storage/message/o-0" / f"msg_{call.number}.json", json.dumps(opencode_message(call)))
    if keep_open:
        return db
    db.close()
    return None


def cline(home: Path, calls: Sequence[Made], *, name: str = "saoudrizwan.claude-dev", roo: bool = False) -> Path:
    """A task of Cline or Roo; the second call is under way, and then is rewritten in place."""
    root = home / ".config/Code/User/globalStorage" / ("rooveterinaryinc.roo-cline" if roo else name)
    messages: list[Any] = [{"ts": WRITTEN * 1000, "type": "say", "say": "text", "text": SAID}]
    for call in calls:
        told = {"request": SAID, "tokensIn": call.plain, "tokensOut": call.completion, "cacheReads": call.cached,
                "cacheWrites": call.written, "cost": float(call.cost)}  # fmt: skip
        messages.append({"ts": call.at_s * 1000, "type": "say", "say": "api_req_started", "text": json.dumps(told)})
    messages.append({"ts": 1, "type": "say", "say": "api_req_started", "text": json.dumps({"request": SAID})})
    item = {"id": "t-1", "ts": WRITTEN * 1000, "modelId": "openai/gpt-5.2", "totalCost": 99, "workspace": "/home/u/site"}
    if roo:
        put(root / "tasks/t-1/history_item.json", json.dumps(item))
    else:
        put(root / "state/taskHistory.json", json.dumps([item]))
    return put(root / "tasks/t-1/ui_messages.json", json.dumps(messages))


def aider(home: Path, calls: Sequence[Made]) -> Path:
    """An analytics log with other events and a call of another provider."""
    total = Decimal(0)
    records: list[Any] = [{"event": "launched", "properties": {}, "user_id": "u", "time": WRITTEN}]
    for call in calls:
        total += Decimal(call.cost)
        sent = {"main_model": f"openrouter/{call.model}", "prompt_tokens": call.prompt, "completion_tokens": call.completion,
                "total_tokens": call.prompt + call.completion, "cost": float(call.cost), "total_cost": float(total)}  # fmt: skip
        records.append({"event": "message_send", "properties": sent, "user_id": "u", "time": call.at_s})
    records.append({"event": "message_send", "properties": {"main_model": "gpt-5"}, "user_id": "u", "time": WRITTEN})
    return put(home / "aider.jsonl", lines(records))


def goose(home: Path, calls: Sequence[Made]) -> Path:
    """Sessions with sums of their calls."""
    path = home / ".local/share/goose/sessions/sessions.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path)
    db.execute(
        "CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY, description TEXT, provider_name TEXT, model_config_json TEXT,"
        " working_dir TEXT, created_at TIMESTAMP, updated_at TIMESTAMP, accumulated_input_tokens INTEGER,"
        " accumulated_output_tokens INTEGER, accumulated_cost REAL)"
    )
    for number, part in enumerate((calls[::2], calls[1::2])):
        row = (f"g-{number}", SAID, "openrouter", '{"model_name": "openai/gpt-5.2"}', "/home/u/site", "2026-09-21 10:00:00",
               "2026-09-21 11:00:00", sum(c.prompt for c in part), sum(c.completion for c in part),
               float(sum(Decimal(c.cost) for c in part)))  # fmt: skip
        db.execute("INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    db.execute("INSERT OR REPLACE INTO sessions VALUES ('other', '', 'anthropic', NULL, '', '', '', 9, 9, 9)")
    db.commit()
    db.close()
    return path


def hermes(home: Path, calls: Sequence[Made]) -> Path:
    """Sessions with sums of their calls, one of them with the actual cost."""
    path = home / ".hermes/state.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path)
    db.execute(
        "CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY, source TEXT, model TEXT, billing_provider TEXT, billing_base_url TEXT,"
        " started_at REAL, ended_at REAL, input_tokens INTEGER, output_tokens INTEGER, cache_read_tokens INTEGER,"
        " cache_write_tokens INTEGER, estimated_cost_usd REAL, actual_cost_usd REAL, system_prompt TEXT)"
    )
    for number, part in enumerate((calls[::2], calls[1::2])):
        cost = float(sum(Decimal(c.cost) for c in part))
        row = (f"h-{number}", "cli", "openai/gpt-5.2", "openrouter" if number else "custom", "https://openrouter.ai/api/v1",
               WRITTEN + 0.5, None, sum(c.plain for c in part), sum(c.completion for c in part), sum(c.cached for c in part), 0,
               99.0 if number else cost, cost if number else None, SAID)  # fmt: skip
        db.execute(f"INSERT OR REPLACE INTO sessions VALUES ({', '.join('?' * 14)})", row)
    db.execute("INSERT OR REPLACE INTO sessions (id, billing_provider, input_tokens) VALUES ('other', 'anthropic', 9)")
    db.commit()
    db.close()
    return path


def litellm(home: Path, calls: Sequence[Made], *, face: str = "csv") -> Path:
    """An export of the table of spend logs, with a failure, another provider, and columns that nobody may keep."""
    rows: list[dict[str, Any]] = [
        {"request_id": call.id or f"chatcmpl-{call.number}", "call_type": "acompletion", "api_key": "hash", "spend": float(call.cost),
         "prompt_tokens": call.prompt, "completion_tokens": call.completion, "startTime": call.iso.replace("T", " ").rstrip("Z"),
         "model": call.model, "custom_llm_provider": "openrouter", "api_base": "", "messages": SAID, "status": "success",
         "session_id": "l-1", "team_id": "team"}
        for call in calls
    ]  # fmt: skip
    rows.append({**rows[0], "request_id": "failed", "spend": 0, "status": "failure"})
    rows.append({**rows[0], "request_id": "other", "custom_llm_provider": "openai", "model": "gpt-5"})
    path = home / f"spend.{face}"
    if face == "csv":
        import csv
        import io

        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        return put(path, text.getvalue())
    return put(path, lines(rows) if face == "jsonl" else json.dumps(rows))
