"""Parallel work on threads, by joblib's backend, or on the workers of a Dask client."""
