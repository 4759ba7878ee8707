"""The JSONL ledger, which is the truth, and the index made from it, behind six verbs."""
