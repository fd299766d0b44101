# Test differential abundance with other tools, on the tables of abundance.py: p-values, one row per table and type.
# edgeR: quasi-likelihood with TMM, as in Milo. propeller: arcsine and logit of proportions, moderated t (limma).
suppressPackageStartupMessages({library(edgeR); library(limma)})
folder <- commandArgs(trailingOnly = TRUE)[1]
long <- read.csv(file.path(folder, "tables.csv"))
samples <- read.csv(file.path(folder, "samples.csv"))
out <- list()
for (id in unique(long$table)) {
  part <- long[long$table == id, ]
  y <- xtabs(count ~ type + sample, part)
  y <- matrix(y, nrow(y), dimnames = dimnames(y))
  about <- samples[samples$table == id, ]
  about <- about[match(colnames(y), about$sample), ]
  design <- if (any(duplicated(about$donor))) model.matrix(~ factor(donor) + arm, about) else model.matrix(~ arm, about)
  j <- ncol(design)
  p <- list()
  p[["edgeR"]] <- tryCatch({
    d <- calcNormFactors(DGEList(y), method = "TMM")
    d <- estimateDisp(d, design)
    glmQLFTest(glmQLFit(d, design, robust = TRUE), coef = j)$table$PValue
  }, error = function(e) rep(NA, nrow(y)))
  total <- colSums(y)
  share <- t(t(y) / total)
  logit <- t(t(y + 0.5) / (total + 0.5 * nrow(y)))
  for (how in c("arcsine", "logit")) {
    z <- if (how == "arcsine") asin(sqrt(share)) else log(logit / (1 - logit))
    fit <- tryCatch(eBayes(lmFit(z, design), robust = TRUE), error = function(e) NULL)
    if (is.null(fit)) fit <- eBayes(lmFit(z, design))
    p[[paste0("propeller-", how)]] <- fit$p.value[, j]
  }
  out[[as.character(id)]] <- data.frame(table = id, type = rep(rownames(y), length(p)), method = rep(names(p), each = nrow(y)), p_value = unlist(p))
}
write.csv(do.call(rbind, out), file.path(folder, "others.csv"), row.names = FALSE)
cat("edgeR", as.character(packageVersion("edgeR")), "limma", as.character(packageVersion("limma")), "\n")
