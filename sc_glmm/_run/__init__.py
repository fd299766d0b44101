"""A run over all genes: options, plan, stages, results."""
