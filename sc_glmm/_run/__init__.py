"""Run the models of all genes: options, plan, stages and results."""
