"""The library: what `from cost_tracker import ...` gives, from a prompt to its ledger line."""
