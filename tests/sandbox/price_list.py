"""A small but varied price list: every kind of price that OpenRouter quotes is in it once."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from .catalogue import Model

ANTHROPIC = ("Anthropic", "Amazon Bedrock", "Google")
LONG_CONTEXT = [{"min_prompt_tokens": 200_000, "prompt": "0.000006", "completion": "0.0000225"}]
BY_NIGHT = [{"utc_start": 1630, "utc_end": 30, "prompt": "0.00000025"}]


def cache(read: str, write: str | None = None, **more: Any) -> dict[str, Any]:
    """The prices of a prompt cache, and others."""
    return {"input_cache_read": read, **({"input_cache_write": write} if write else {}), **more}


# fmt: off
def default_models() -> list[Model]:
    """The models of an account that does not bring its own."""
    return [
        Model("anthropic/claude-sonnet-4.5", "Anthropic: Claude Sonnet 4.5", "0.000003", "0.000015", 1_000_000, 64_000,
              ANTHROPIC, cache("0.0000003", "0.00000375", input_cache_write_1h="0.000006", overrides=LONG_CONTEXT),
              input=("text", "image"), tokenizer="Claude", permaslug="anthropic/claude-4.5-sonnet-20250929"),
        Model("anthropic/claude-opus-4.5", "Anthropic: Claude Opus 4.5", "0.000005", "0.000025", 200_000, 64_000,
              ANTHROPIC, cache("0.0000005", "0.00000625", web_search="0.01"), tokenizer="Claude"),
        Model("anthropic/claude-haiku-4.5", "Anthropic: Claude Haiku 4.5", "0.000001", "0.000005", 200_000, 64_000,
              ANTHROPIC, cache("0.0000001", "0.00000125"), tokenizer="Claude"),
        Model("openai/gpt-5.2", "OpenAI: GPT-5.2", "0.00000175", "0.000014", 400_000, 128_000, ("OpenAI", "Azure"),
              cache("0.000000175", web_search="0.01"), tokenizer="GPT"),
        Model("openai/gpt-5-mini", "OpenAI: GPT-5 Mini", "0.00000025", "0.000002", 400_000, 128_000,
              ("OpenAI", "Azure"), cache("0.000000025"), tokenizer="GPT"),
        Model("openai/gpt-4o-mini", "OpenAI: GPT-4o-mini", "0.00000015", "0.0000006", providers=("OpenAI", "Azure"),
              more=cache("0.000000075"), tokenizer="GPT", permaslug="openai/gpt-4o-mini"),
        Model("google/gemini-3-flash", "Google: Gemini 3 Flash", "0.0000005", "0.000003", 1_048_576, 65_536,
              ("Google", "Google AI Studio"), cache("0.00000005", audio="0.000001", image="0.000258"),
              input=("text", "image", "audio"), tokenizer="Gemini"),
        Model("google/gemini-2.0-flash-001", "Google: Gemini 2.0 Flash", "0.0000001", "0.0000004", 1_048_576, 8_192,
              ("Google",), cache("0.000000025"), tokenizer="Gemini", permaslug="google/gemini-2.0-flash-001"),
        Model("deepseek/deepseek-v3.2", "DeepSeek: V3.2", "0.00000028", "0.00000042", 163_840, 65_536,
              ("DeepSeek", "DeepInfra"), cache("0.000000028", discount=Decimal("0.25")), tokenizer="DeepSeek"),
        Model("deepseek/deepseek-r1", "DeepSeek: R1", "0.0000005", "0.00000215", 163_840, None, ("DeepSeek",),
              {"internal_reasoning": "0", "overrides": BY_NIGHT}, tokenizer="DeepSeek"),
        Model("x-ai/grok-4.1-fast", "xAI: Grok 4.1 Fast", "0.0000002", "0.0000005", 2_000_000, 30_000, ("xAI",),
              cache("0.00000005"), tokenizer="Grok"),
        Model("mistralai/mistral-small-3.2", "Mistral: Small 3.2", "0.00000006", "0.00000018", providers=("Mistral",),
              tokenizer="Mistral"),
        Model("qwen/qwen3-coder", "Qwen: Qwen3 Coder", "0.00000022", "0.00000095", 262_144, 65_536,
              ("Novita", "DeepInfra"), tokenizer="Qwen3",
              offers={"Novita": {"prompt": "0.0000003", "completion": "0.0000013"}}),
        Model("meta-llama/llama-3.3-70b-instruct", "Meta: Llama 3.3 70B", "0.00000013", "0.00000038", 131_072, None,
              ("DeepInfra", "Groq"), tokenizer="Llama3"),
        Model("meta-llama/llama-3.3-70b-instruct:free", "Meta: Llama 3.3 70B (free)", "0", "0", 131_072, None,
              ("Chutes",), tokenizer="Llama3"),
        Model("perplexity/sonar", "Perplexity: Sonar", "0.000001", "0.000001", 127_072, None, ("Perplexity",),
              {"request": "0.005"}),
        Model("openrouter/auto", "Auto Router", "-1", "-1", 2_000_000, None, ("OpenAI",), tokenizer="Router",
              permaslug="openrouter/auto"),
        Model("openrouter/free", "Free Models Router", "0", "0", 200_000, None, ("Chutes",), tokenizer="Router",
              permaslug="openrouter/free"),
        Model("~openai/gpt-latest", "OpenAI: GPT Latest", "0.00000175", "0.000014", 400_000, 128_000, ("OpenAI",),
              tokenizer="GPT", fields={"alias_target": {"slug": "openai/gpt-5.2", "name": "OpenAI: GPT-5.2"}}),
        # What `call --task` takes unless the user says otherwise; their prices here are invented.
        Model("~openai/gpt-luna-latest", "OpenAI: GPT Luna Latest", "0.00000025", "0.000002", 400_000, 128_000,
              ("OpenAI",), tokenizer="GPT", fields={"alias_target": {"slug": "openai/gpt-5-mini", "name": "OpenAI: GPT-5 Mini"}}),
        Model("~anthropic/claude-sonnet-latest", "Anthropic: Claude Sonnet Latest", "0.000003", "0.000015", 1_000_000,
              64_000, ANTHROPIC, cache("0.0000003", "0.00000375", overrides=LONG_CONTEXT), tokenizer="Claude",
              fields={"alias_target": {"slug": "anthropic/claude-sonnet-4.5", "name": "Claude Sonnet 4.5"}}),
        Model("google/gemini-3.1-flash-lite", "Google: Gemini 3.1 Flash Lite", "0.0000002", "0.0000012", 1_048_576,
              65_536, ("Google",), cache("0.00000002"), tokenizer="Gemini"),
        Model("google/gemini-3.5-flash-lite", "Google: Gemini 3.5 Flash Lite", "0.0000003", "0.0000018", 1_048_576,
              65_536, ("Google",), cache("0.00000003"), tokenizer="Gemini"),
        Model("openai/text-embedding-3-small", "OpenAI: Text Embedding 3 Small", "0.00000002", "0", 8_192, None,
              output=("embeddings",), permaslug="openai/text-embedding-3-small"),
        Model("google/gemini-3-flash-image", "Google: Gemini 3 Flash Image", "0.0000005", "0.000003", 65_536, 32_768,
              ("Google",), {"image_output": "0.00003"}, ("image",), tokenizer="Gemini"),
    ]


def models_of_the_guides() -> list[Model]:
    """Models that guides to OpenRouter name, some of them older than those above, at the prices they had."""
    return [
        Model("anthropic/claude-sonnet-4", "Anthropic: Claude Sonnet 4", "0.000003", "0.000015", 1_000_000, 64_000,
              ANTHROPIC, cache("0.0000003", "0.00000375"), tokenizer="Claude"),
        Model("anthropic/claude-3.5-sonnet", "Anthropic: Claude 3.5 Sonnet", "0.000003", "0.000015", 200_000, 8_192,
              ANTHROPIC, cache("0.0000003", "0.00000375"), tokenizer="Claude"),
        Model("anthropic/claude-3-haiku", "Anthropic: Claude 3 Haiku", "0.00000025", "0.00000125", 200_000, 4_096,
              ANTHROPIC, cache("0.00000003", "0.0000003"), tokenizer="Claude"),
        Model("openai/gpt-4o", "OpenAI: GPT-4o", "0.0000025", "0.00001", providers=("OpenAI", "Azure"),
              more=cache("0.00000125"), tokenizer="GPT"),
        Model("meta-llama/llama-3.1-8b-instruct", "Meta: Llama 3.1 8B", "0.00000006", "0.00000006", 131_072, None,
              ("DeepInfra", "Novita"), tokenizer="Llama3"),
        Model("google/gemma-2-9b-it:free", "Google: Gemma 2 9B (free)", "0", "0", 8_192, None, ("Chutes",),
              tokenizer="Gemini"),
    ]
# fmt: on
