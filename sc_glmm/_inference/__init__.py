"""From estimates to tests. Arrays only: genes along the first axis."""
