"""The library: what `from cost_tracker import ...` gives."""
