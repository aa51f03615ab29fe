"""The page and the HTTP interface: they read the ledger and give a few commands."""
