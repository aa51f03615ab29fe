"""From a case to its results: which plugins serve it, how they are run, and what becomes of what they find."""
