# Test one column in pseudobulk sums: edgeR quasi-likelihood, limma-voom, DESeq2 (Wald, no filtering, no replacement of outliers).
# Rscript comparators.R FOLDER METHODS TESTED: reads counts.csv (genes x units), design.csv (units x columns), library.csv (size
# factor sums); writes p.csv (a column per method), seconds.csv and versions.csv.
arguments <- commandArgs(TRUE)
folder <- arguments[1]
methods <- strsplit(arguments[2], ",")[[1]]
tested <- arguments[3]
read <- function(name) as.matrix(read.csv(file.path(folder, name), check.names = FALSE))
counts <- read("counts.csv")
design <- read("design.csv")
size <- as.vector(read("library.csv"))
rownames(counts) <- seq_len(nrow(counts))
column <- match(tested, colnames(design))
colnames(design) <- paste0("x", seq_len(ncol(design)))
# edgeR and limma expect library sizes on the scale of the counts.
library_size <- size * sum(counts) / sum(size)

run <- list(
  edger_ql = function() {
    suppressMessages(library(edgeR))
    y <- estimateDisp(DGEList(counts, lib.size = library_size), design)
    glmQLFTest(glmQLFit(y, design), coef = column)$table$PValue
  },
  limma_voom = function() {
    suppressMessages({library(edgeR); library(limma)})
    fit <- lmFit(voom(DGEList(counts, lib.size = library_size), design), design)
    eBayes(fit)$p.value[, column]
  },
  deseq2 = function() {
    suppressMessages(library(DESeq2))
    whole <- counts
    storage.mode(whole) <- "integer"
    data <- DESeqDataSetFromMatrix(whole, data.frame(unit = factor(seq_len(ncol(whole)))), ~1)
    design(data) <- design
    sizeFactors(data) <- size / exp(mean(log(size)))
    data <- suppressMessages(DESeq(data, quiet = TRUE, full = design, betaPrior = FALSE, minReplicatesForReplace = Inf))
    results(data, name = colnames(design)[column], independentFiltering = FALSE, cooksCutoff = FALSE)$pvalue
  }
)
package <- c(edger_ql = "edgeR", limma_voom = "limma", deseq2 = "DESeq2")
p <- list()
seconds <- list()
for (method in methods) {
  if (!requireNamespace(package[[method]], quietly = TRUE)) next
  start <- proc.time()
  value <- tryCatch(suppressWarnings(suppressMessages(run[[method]]())), error = function(e) {message(method, ": ", conditionMessage(e)); NULL})
  if (is.null(value)) next
  p[[method]] <- value
  # processor seconds, including child processes
  seconds[[method]] <- sum((proc.time() - start)[c(1, 2, 4, 5)], na.rm = TRUE)
}
if (length(p)) {
  write.csv(as.data.frame(p), file.path(folder, "p.csv"), row.names = FALSE)
  write.csv(as.data.frame(seconds), file.path(folder, "seconds.csv"), row.names = FALSE)
  version <- vapply(package[names(p)], function(name) as.character(packageVersion(name)), "")
  write.csv(as.list(version), file.path(folder, "versions.csv"), row.names = FALSE)
}
