"""The ledger beside the account: what of the bill the ledger explains, and what not."""
