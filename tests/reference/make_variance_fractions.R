# Compute variance fractions for the example of the R package variancePartition, by lme4 and the definitions. The data
# are data/varPartData.rda of its repository (version 1.39.4), a simulation; "published" are the values of its vignette.
# In this folder: Rscript make_variance_fractions.R varPartData.rda > variance_fractions.json
suppressMessages({library(lme4); library(jsonlite)})
load(commandArgs(TRUE)[1])
genes <- c("gene1", "gene2", "gene3", "gene4", "gene5", "gene6", "gene43", "gene151")
Y <- t(geneExpr[genes, ])

of_n <- function(x) var(x) * (length(x) - 1) / length(x)
# the parts of the linear predictor of each fixed term, scaled so that they add up to the variance of all terms
fractions <- function(formula) sapply(genes, function(gene) {
  m <- lmer(update(formula, y ~ .), cbind(y = Y[, gene], info), REML = FALSE,
            control = lmerControl(optCtrl = list(xtol_abs = 1e-10, ftol_abs = 1e-12)))
  X <- getME(m, "X"); assign <- attr(X, "assign"); b <- fixef(m)
  eta <- sapply(seq_len(max(assign)), function(i) X[, assign == i, drop = FALSE] %*% b[assign == i])
  alone <- apply(eta, 2, of_n)
  fixed <- alone / sum(alone) * of_n(rowSums(eta))
  names(fixed) <- attr(terms(m), "term.labels")
  random <- sapply(VarCorr(m), function(v) v[1])
  parts <- c(fixed, random, residual = sigma(m)^2)
  as.list(parts / sum(parts))
}, simplify = FALSE)

published <- list(
  gene1 = c(Batch = 0.000157942, Individual = 0.8903734, Tissue = 0.02468870, Age = 4.528911e-05, residual = 0.08473466),
  gene2 = c(Batch = 0.000000000, Individual = 0.8060315, Tissue = 0.10101913, Age = 3.336681e-04, residual = 0.09261569),
  gene3 = c(Batch = 0.002422410, Individual = 0.8901149, Tissue = 0.03561726, Age = 1.471692e-03, residual = 0.07037370),
  gene4 = c(Batch = 0.000000000, Individual = 0.7688280, Tissue = 0.12531345, Age = 1.014413e-03, residual = 0.10484417),
  gene5 = c(Batch = 0.000000000, Individual = 0.6997242, Tissue = 0.20910145, Age = 3.871487e-05, residual = 0.09113564),
  gene6 = c(Batch = 0.002343666, Individual = 0.7222283, Tissue = 0.16786542, Age = 2.717378e-03, residual = 0.10484521),
  gene43 = c(Batch = 0.000000000, Individual = 0.9143523, Tissue = 0.011737173, Age = 3.776742e-04, residual = 0.07353288),
  gene151 = c(Batch = 0.006079206, Individual = 0.9029393, Tissue = 0.000000000, Age = 1.345019e-05, residual = 0.09096803))

plain <- lapply(info[c("Individual", "Tissue", "Batch")], as.character)
cat(toJSON(list(
  info = c(plain, as.list(info[c("Age", "Height")])),
  expression = as.list(as.data.frame(Y)),
  published = lapply(published, as.list),
  example = fractions(~ Age + (1 | Individual) + (1 | Tissue) + (1 | Batch)),
  height = fractions(~ Age + Height + (1 | Individual) + (1 | Tissue)),
  factor = fractions(~ Batch + Age + (1 | Individual) + (1 | Tissue))), auto_unbox = TRUE, digits = 12))
