"""Fit the genes of one design: compress the cells, fit, and profile over the variances."""
