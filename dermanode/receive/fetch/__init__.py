"""Fetching: what is asked for at a source, by whichever protocol, until it is here."""
