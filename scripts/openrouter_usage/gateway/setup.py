"""How each client is pointed at the gateway: the exact settings, as text; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from openrouter_usage.called import as_called

_OPENAI = """export OPENAI_BASE_URL={url}/api/v1
export OPENAI_API_KEY={token}"""
_CLIENTS: Mapping[str, str] = {
    "claude-code": """# in the shell, or as "env" in ~/.claude/settings.json; run /logout once if you were logged in
export ANTHROPIC_BASE_URL={url}/api
export ANTHROPIC_AUTH_TOKEN={token}
export ANTHROPIC_API_KEY=""
# then, with a model of OpenRouter: claude --model anthropic/claude-sonnet-4.5""",
    "codex": """# in ~/.codex/config.toml (a project's own file does not count for these)
model_provider = "openrouter-gateway"
model = "openai/gpt-5.2"
web_search = "disabled"   # a search on the server cannot be bounded, and is refused under a budget

[model_providers.openrouter-gateway]
name = "OpenRouter through the gateway"
base_url = "{url}/api/v1"
env_key = "GATEWAY_TOKEN"
wire_api = "responses"

# and in the shell: export GATEWAY_TOKEN={token}""",
    "openclaw": """// in ~/.openclaw/openclaw.json; each model that you use has to be listed
{{
  "models": {{"mode": "merge", "providers": {{"or-gateway": {{
    "baseUrl": "{url}/api/v1", "apiKey": "{token}", "api": "openai-completions",
    "models": [{{"id": "openai/gpt-5.2", "name": "GPT-5.2", "contextWindow": 400000, "maxTokens": 32000}}]
  }}}}}},
  "agents": {{"defaults": {{"model": {{"primary": "or-gateway/openai/gpt-5.2"}}}}}}
}}""",
    "opencode": """// in opencode.json of the project, or ~/.config/opencode/opencode.json
{{"provider": {{"openrouter": {{"options": {{"baseURL": "{url}/api/v1", "apiKey": "{token}"}}}}}}}}""",
    "cline": """# its provider "OpenRouter" has no base URL: choose "OpenAI Compatible" instead
Base URL: {url}/api/v1
API Key:  {token}
Model ID: anthropic/claude-sonnet-4.5""",
    "roo": """# provider "OpenRouter", with "Use custom base URL" (openRouterBaseUrl)
Base URL: {url}/api/v1
API Key:  {token}""",
    "aider": """export OPENAI_API_BASE={url}/api/v1
export OPENAI_API_KEY={token}
# then: aider --model openai/anthropic/claude-sonnet-4.5""",
    "goose": """export GOOSE_PROVIDER=openai
export OPENAI_HOST={url}
export OPENAI_BASE_PATH=api/v1/chat/completions
export OPENAI_API_KEY={token}""",
    "openai": _OPENAI
    + """
# or in Python: OpenAI(base_url="{url}/api/v1", api_key="{token}")""",
    "anthropic": """export ANTHROPIC_BASE_URL={url}/api
export ANTHROPIC_AUTH_TOKEN={token}
# or in Python: Anthropic(base_url="{url}/api", auth_token="{token}")""",
    "langchain": """from langchain_openai import ChatOpenAI

ChatOpenAI(base_url="{url}/api/v1", api_key="{token}", model="openai/gpt-5.2")""",
    "litellm": """from litellm import completion

completion(model="openai/anthropic/claude-sonnet-4.5", api_base="{url}/api/v1", api_key="{token}", messages=[...])""",
    "cursor": as_called("""Cursor cannot use a gateway on this machine: its calls come from Cursor's own servers.
What helps instead: cost_tracker.py cap --daily 5 sets a limit on the key itself, and cost_tracker.py reconcile
shows what was spent elsewhere."""),
}
NAMES = tuple(_CLIENTS)
TOKEN = "gw-..."  # noqa: S105  # stands for the user's own


def settings_for(client: str, url: str) -> str:
    """Write the settings of a client; the token stays a placeholder, which only its owner can fill in."""
    return _CLIENTS[client].format(url=url, token=TOKEN) + "\n"


def systemd_unit(command: Sequence[str]) -> str:
    """Write a service file for systemd, of the user's own."""
    return f"""# ~/.config/systemd/user/openrouter-gateway.service
# then: systemctl --user enable --now openrouter-gateway
[Unit]
Description=OpenRouter gateway that records every call

[Service]
ExecStart={" ".join(f'"{_escaped(word)}"' for word in command)}
Restart=on-failure
TimeoutStopSec=30
LimitNOFILE=65536

[Install]
WantedBy=default.target
"""


def _escaped(path: str) -> str:
    return path.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')


def launchd_unit(command: Sequence[str]) -> str:
    """Write a service file for launchd, of the user's own."""
    from xml.sax.saxutils import escape  # late: only this needs it

    return f"""<?xml version="1.0" encoding="UTF-8"?>
<!-- ~/Library/LaunchAgents/openrouter-gateway.plist, then: launchctl load -w that file -->
<plist version="1.0"><dict>
  <key>Label</key><string>openrouter-gateway</string>
  <key>ProgramArguments</key><array>{"".join(f"<string>{escape(word)}</string>" for word in command)}</array>
  <key>RunAtLoad</key><true/>
  <key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict>
  <key>ExitTimeOut</key><integer>30</integer>
</dict></plist>
"""
