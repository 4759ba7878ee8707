"""The ledger: a JSONL file that keeps every call, and the verbs in which it is written and summed."""
