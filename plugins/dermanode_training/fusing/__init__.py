"""The fusion of picture and geometry: its table, its features, its fit, and whether it serves."""
