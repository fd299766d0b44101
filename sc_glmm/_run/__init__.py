"""A run over all genes: its options, its plan, its stages, and what becomes of their results."""
