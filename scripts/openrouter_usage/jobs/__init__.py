"""What asks OpenRouter, the disk and the ledger together and writes something down."""
