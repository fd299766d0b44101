"""Runs in chunks for job arrays: processes write parts into a folder, and `combine` merges them."""
