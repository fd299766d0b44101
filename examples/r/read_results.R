# Read the table of results in R, without any package: Rscript read_results.R results.csv
arguments <- commandArgs(trailingOnly = TRUE)
results <- read.csv(arguments[1], check.names = FALSE)

# Python writes True and False, which read.csv reads as text
flags <- sapply(results, function(x) is.character(x) && all(x %in% c("True", "False")))
results[flags] <- lapply(results[flags], as.logical)

hits <- subset(results, tested & adj_p_value < 0.05)
hits <- hits[order(hits$p_value), ]
cat(nrow(hits), "of", sum(results$tested), "tested genes at FDR 5 %\n")
print(head(hits[, c("variable", "contrast", "log_fc", "adj_p_value")], 10), row.names = FALSE)
