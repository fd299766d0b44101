"""Run in chunks, for job arrays: each process writes a part into a folder, and `combine` merges the parts."""
