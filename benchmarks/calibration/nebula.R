# Run nebula (He and others 2021) on cells, with its defaults (LN): Rscript nebula.R FOLDER TESTED. Reads pointers.bin and rows.bin (int32),
# values.bin (double) of the counts by cell, genes.txt (their number), design.csv (cells x columns), size.csv, sample.csv (codes); writes
# p.csv (NA for genes that it does not fit), seconds.csv and versions.csv.
arguments <- commandArgs(TRUE)
folder <- arguments[1]
if (!requireNamespace("nebula", quietly = TRUE)) quit()
suppressMessages({library(Matrix); library(nebula)})
binary <- function(name, what, size) {
  path <- file.path(folder, name)
  readBin(path, what, file.size(path) / size, size = size)
}
n_genes <- scan(file.path(folder, "genes.txt"), quiet = TRUE)
pointers <- binary("pointers.bin", "integer", 4)
counts <- new("dgCMatrix", i = binary("rows.bin", "integer", 4), p = pointers, x = binary("values.bin", "double", 8),
              Dim = as.integer(c(n_genes, length(pointers) - 1)))
rownames(counts) <- seq_len(n_genes)
design <- as.matrix(read.csv(file.path(folder, "design.csv"), check.names = FALSE))
column <- match(arguments[2], colnames(design))
colnames(design) <- paste0("x", seq_len(ncol(design)))
size <- as.vector(as.matrix(read.csv(file.path(folder, "size.csv"))))
sample <- as.vector(as.matrix(read.csv(file.path(folder, "sample.csv"))))
start <- proc.time()
# No filter by counts per cell, so that all methods use the same genes.
fit <- suppressWarnings(nebula(counts, sample, pred = design, offset = size, cpc = 0, ncore = 1, verbose = FALSE))
seconds <- sum((proc.time() - start)[c(1, 2, 4, 5)], na.rm = TRUE)
p <- rep(NA_real_, n_genes)
# According to its manual, codes of -20 and below are failures.
fine <- fit$convergence > -20
p[fit$summary$gene_id[fine]] <- fit$summary[[paste0("p_x", column)]][fine]
write.csv(data.frame(nebula = p), file.path(folder, "p.csv"), row.names = FALSE)
write.csv(data.frame(nebula = seconds), file.path(folder, "seconds.csv"), row.names = FALSE)
write.csv(list(nebula = as.character(packageVersion("nebula"))), file.path(folder, "versions.csv"), row.names = FALSE)
