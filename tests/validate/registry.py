"""A ClawHub on this machine: takes what is published, and gives it to whoever installs it."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

TOKEN = "token-of-nobody"


class Registry:
    """Serves the few paths that `clawhub` asks for; `files` is what was published last."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self._about: dict[str, Any] = {}
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.answer(self)

            def do_POST(self) -> None:
                registry.take(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Registry:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def environment(self, folder: Path) -> dict[str, str]:
        """What makes `clawhub` talk to this place alone."""
        config = folder / "clawhub.json"
        config.write_text(json.dumps({"registry": self.url, "token": TOKEN}), encoding="utf-8")
        names = ("CLAWHUB_REGISTRY", "CLAWHUB_SITE")
        return {**dict.fromkeys(names, self.url), "CLAWHUB_CONFIG_PATH": str(config), "CLAWHUB_DISABLE_TELEMETRY": "1"}

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Who asks, what is known of a skill, and the skill itself."""
        self.asked.append(f"GET {request.path}")
        url = urlsplit(request.path)
        if url.path == "/api/v1/whoami":
            self._send(request, {"user": {"handle": "nobody"}})
        elif url.path == "/api/v1/resolve":
            latest = {"version": self._about["version"]} if self._about else None
            self._send(request, {"match": None, "latestVersion": latest})
        elif url.path == "/api/v1/download" and parse_qs(url.query).get("slug") == [self._about.get("slug")]:
            self._send(request, self._archive())
        elif self._about and url.path == f"/api/v1/skills/{self._about['slug']}":
            self._send(request, self._described())
        else:
            self._send(request, {"error": "not found"}, status=404)

    def take(self, request: BaseHTTPRequestHandler) -> None:
        """A publication: for each file a place to put it and the file itself, at last the list of them."""
        self.asked.append(f"POST {request.path}")
        body = request.rfile.read(int(request.headers["Content-Length"]))
        if request.path == "/api/v1/skills/-/upload-url":
            name = json.loads(body)["path"]
            self._send(request, {"uploadUrl": f"{self.url}/put/{quote(name)}", "uploadTicket": name})
        elif request.path.startswith("/put/"):
            self.files[unquote(request.path.removeprefix("/put/"))] = body
            self._send(request, {"storageId": request.path})
        elif request.path == "/api/v1/skills":
            self._about = json.loads(body)
            self._send(request, {"ok": True, "skillId": "skill-1", "versionId": "version-1"})
        else:
            self._send(request, {"error": "not found"}, status=404)

    def _described(self) -> dict[str, Any]:
        name, version = self._about["slug"], self._about["version"]
        skill = {"slug": name, "displayName": name, "tags": {}, "stats": {}, "createdAt": 1, "updatedAt": 1}
        latest = {"version": version, "createdAt": 1, "changelog": ""}
        return {"skill": skill, "latestVersion": latest, "owner": {"handle": "nobody"}, "moderation": None}

    def _archive(self) -> bytes:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name, content in self.files.items():
                archive.writestr(name, content)
        return packed.getvalue()

    @staticmethod
    def _send(request: BaseHTTPRequestHandler, answer: dict[str, Any] | bytes, status: int = 200) -> None:
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/zip" if isinstance(answer, bytes) else "application/json")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)
