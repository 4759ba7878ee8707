"""The gateway: a local proxy that books every call with the cost that OpenRouter tells."""
