"""Talks to OpenRouter: one method per endpoint over one careful transport."""
