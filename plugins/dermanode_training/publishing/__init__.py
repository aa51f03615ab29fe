"""What a bundle says beside its weights: where they come from, how they were rounded, and their figures."""
