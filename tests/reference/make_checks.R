# Compute reference values for checks of fitted models (tests of sc_glmm.models): leave-one-group-out influence and
# profile intervals of lme4.
#   Rscript make_checks.R tests/reference
# Reads the tables from the folder and writes checks_lme4.json into it (one minute).
suppressPackageStartupMessages({library(lme4); library(jsonlite)})
folder <- commandArgs(trailingOnly = TRUE)[1]
read <- function(name, factors) {
  d <- read.csv(file.path(folder, paste0(name, ".csv")))
  for (x in factors) d[[x]] <- factor(d[[x]])
  d
}
plain <- function(m) unname(as.matrix(m))
out <- list(lme4 = as.character(packageVersion("lme4")))

without_each <- function(fit, group) {
  i <- influence(fit, groups = group)
  list(levels = I(rownames(i[[paste0("fixed.effects[-", group, "]")]])),
       names = I(names(fixef(fit))),
       fixef = plain(i[[paste0("fixed.effects[-", group, "]")]]),
       cooks = I(unname(cooks.distance(i))))
}
sleepstudy <- read("sleepstudy", "Subject")
out$influence_sleepstudy <- without_each(lmer(Reaction ~ Days + (Days | Subject), sleepstudy), "Subject")
cbpp <- read("cbpp", c("herd", "period"))
m <- glmer(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp, binomial)
out$influence_cbpp <- without_each(m, "herd")

intervals <- function(fit) {
  ci <- confint(fit, method = "profile", quiet = TRUE)
  list(rows = I(rownames(ci)), values = plain(ci))
}
out$profile_cbpp <- intervals(m)
ticks <- read("grouseticks", c("YEAR", "BROOD", "LOCATION"))
out$profile_grouseticks <- intervals(glmer(TICKS ~ YEAR + (1 | BROOD) + (1 | LOCATION), ticks, poisson))
epil2 <- read("epil2", c("trt", "subject"))
out$profile_epil2_slope <- intervals(glmer(y ~ trt + Visit + (Visit | subject), epil2, poisson))
writeLines(toJSON(out, digits = NA, auto_unbox = TRUE, na = "null", matrix = "rowmajor"),
           file.path(folder, "checks_lme4.json"))
