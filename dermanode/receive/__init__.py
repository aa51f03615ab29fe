"""The ways in: what comes is on disk and in the ledger before it is acknowledged."""
