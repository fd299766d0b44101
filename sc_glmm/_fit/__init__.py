"""What is done with the genes of one design: compressed, fitted, and profiled over the variances."""
