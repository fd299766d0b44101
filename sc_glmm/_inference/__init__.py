"""Compute tests, intervals and priors from arrays of estimates, with genes along the first axis."""
