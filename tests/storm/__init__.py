"""Many processes on one budget: what they run, and how their ledger is held against the bill."""
