"""One file a test; the name of the file is the name of the test."""
