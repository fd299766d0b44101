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

if (requireNamespace("nebula", quietly = TRUE)) {
  counts <- Matrix::Matrix(t(as.matrix(data[genes])), sparse = TRUE)
  fixed <- lme4::nobars(as.formula(paste("~", args[2])))
  pred <- model.matrix(fixed, data)
  for (model in c("NBGMM", "NBLMM")) {
    used <- system.time(capture.output(suppressWarnings(suppressMessages(
      nebula::nebula(counts, data$sample, pred, exp(data$log_size), model = model, ncore = 1, cpc = 0, verbose = FALSE)
    ))))
    cat("nebula ", model, " LN ", (used[["user.self"]] + used[["sys.self"]]) / length(genes), "\n", sep = "")
  }
}
if (requireNamespace("glmmTMB", quietly = TRUE)) {
  one <- glmmTMB::glmmTMBControl(parallel = 1)
  report("glmmTMB ML", function(f) glmmTMB::glmmTMB(f, data, family = glmmTMB::nbinom2, control = one))
}
