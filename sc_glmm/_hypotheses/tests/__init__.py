"""Define the tests, one file per test, named after the test."""
