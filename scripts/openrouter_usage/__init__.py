"""openrouter-usage: knows, and controls, what AI agents spend on OpenRouter."""
