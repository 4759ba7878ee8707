"""Looks at keys, network, ledger and files, each on its own, and changes nothing."""
