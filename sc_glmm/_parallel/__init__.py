"""Run work in parallel: on threads, with joblib's active backend, or on the workers of a Dask client."""
