"""Arithmetic on what was said and what is true: arrays in, figures with their intervals out."""
