# Print reference TMM factors for tests/compress/test_size_factors.py.
# Run: Rscript tests/reference/make_tmm.R      (edgeR 3.40.2, R 4.2.2)
#
# The counts come from integer arithmetic, so that R and Python compute the same values. The ratios of the counts in
# "deep", "zeros" and "sparse" have almost no ties at the cuts; edgeR breaks ties by rounding errors of the totals.
suppressMessages(library(edgeR))

counts <- function(n_genes, n_samples, modulus, zero_below) {
  g <- 0:(n_genes - 1)
  sapply(0:(n_samples - 1), function(s) {
    noise <- (g * 104729 + s * 7919 + g * s * 31 + (g * g) %% 97 * 13) %% modulus
    level <- (g * 7907) %% 509 + 1
    y <- level * (s + 2) + noise
    ifelse(noise < zero_below, 0, y)
  })
}

show <- function(name, y) {
  cat(name, "= [", paste(sprintf("%.15g", calcNormFactors(y, method = "TMM")), collapse = ", "), "]\n")
}

show("deep", counts(400, 6, 1009, 0))
show("zeros", counts(400, 5, 1009, 300))
show("sparse", counts(400, 4, 1009, 850))
show("two", counts(50, 2, 211, 20))
