"""One file per test, named after the test."""
