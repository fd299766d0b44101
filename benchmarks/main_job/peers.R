# Measure mean CPU seconds per gene of each installed package: Rscript peers.R genes.csv "cond + (1|sample)"
args <- commandArgs(trailingOnly = TRUE)
data <- read.csv(args[1])
data$sample <- factor(data$sample)
genes <- grep("^gene[0-9]+$", names(data), value = TRUE)
right <- paste(args[2], "+ offset(log_size)")

report <- function(name, fit) {
  seconds <- sapply(genes, function(gene) {
    formula <- as.formula(paste(gene, "~", right))
    used <- system.time(suppressWarnings(suppressMessages(fit(formula))))
    used[["user.self"]] + used[["sys.self"]]
  })
  cat(name, " ", mean(seconds), "\n", sep = "")
}

if (requireNamespace("lme4", quietly = TRUE)) {
  report("glmer Poisson", function(f) lme4::glmer(f, data, family = poisson))
}
if (requireNamespace("glmmTMB", quietly = TRUE)) {
  one <- glmmTMB::glmmTMBControl(parallel = 1)
  report("glmmTMB nbinom2 ML", function(f) glmmTMB::glmmTMB(f, data, family = glmmTMB::nbinom2, control = one))
  report("glmmTMB nbinom2 REML", function(f) {
    glmmTMB::glmmTMB(f, data, family = glmmTMB::nbinom2, REML = TRUE, control = one)
  })
}
