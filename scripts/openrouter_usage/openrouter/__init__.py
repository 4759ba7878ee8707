"""Everything that crosses the wire to OpenRouter: one method per endpoint over one transport."""
