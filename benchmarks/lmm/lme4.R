# Measure times of lme4 for speed.py:  Rscript lme4.R MODEL REPEAT
suppressPackageStartupMessages(library(lme4))
arguments <- commandArgs(trailingOnly = TRUE)
run <- if (arguments[1] == "sleepstudy") function() lmer(Reaction ~ Days + (Days | Subject), sleepstudy) else
  function() lmer(y ~ service + (1 | s) + (1 | d) + (1 | dept), InstEval)
fit <- run()
times <- sapply(seq_len(as.integer(arguments[2])), function(i) {
  # system.time has a resolution of about a millisecond, so small models are fitted several times
  n <- if (arguments[1] == "sleepstudy") 20 else 1
  system.time(for (j in seq_len(n)) run())[c("user.self", "elapsed")] / n
})
cat(sprintf('{"cpu": %.6f, "wall": %.6f, "criterion": %.9f}\n', min(times[1, ]), min(times[2, ]), REMLcrit(fit)))
