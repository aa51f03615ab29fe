"""The photographs and their truth: tables, sets, packs, and how pictures are varied."""
