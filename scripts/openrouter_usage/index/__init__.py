"""The SQLite index beside the ledger: derived from it, and the lock under which it is written."""
