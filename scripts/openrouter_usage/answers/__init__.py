"""OpenRouter's answers, read from JSON into plain values; no I/O."""
