"""The ways out: each destination on its own, until it has acknowledged."""
