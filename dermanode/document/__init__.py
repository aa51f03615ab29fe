"""The report for people: from a finished case to the bytes of one PDF."""
