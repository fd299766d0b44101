"""A run cut into chunks for job arrays: parts that processes leave in a folder, and what puts them together."""
