"""Gaussian mixed models from cross-products: the profiled criterion of the variances, and its optimum."""
