"""How work is done at the same time: on threads, by joblib's backend, or on the workers of a Dask client."""
