"""The gateway: a local proxy that records every call with the cost that OpenRouter names."""
