# Compute R squared and intra-class correlations from the definitions of Nakagawa and others (2017), with lme4's and glmmTMB's
# estimates of the model and of its null model. In this folder: Rscript make_r2.R > r2_lme4.json
suppressMessages({library(lme4); library(glmmTMB); library(jsonlite)})

random <- function(fit, vc, group, Z) {
  sum(diag(Z %*% vc %*% t(Z))) / nrow(Z)
}
shares <- function(f, r, e) list(marginal = f / (f + r + e), conditional = (f + r) / (f + r + e),
                                 adjusted = r / (r + e), unadjusted = r / (f + r + e))
out <- list()

sleep <- read.csv("sleepstudy.csv")
m <- lmer(Reaction ~ Days + (Days | Subject), sleep)
Z <- model.matrix(~ Days, sleep)
out$sleepstudy <- shares(var(as.vector(model.matrix(m) %*% fixef(m))),
                         random(m, as.matrix(VarCorr(m)$Subject)[1:2, 1:2], "Subject", Z), sigma(m)^2)

# the example of the package performance, with the published values 0.658 and 0.969
m <- lmer(Sepal.Length ~ Petal.Length + (1 | Species), iris)
out$iris <- shares(var(as.vector(model.matrix(m) %*% fixef(m))), as.numeric(VarCorr(m)$Species), sigma(m)^2)
out$iris_data <- list(Sepal_Length = iris$Sepal.Length, Petal_Length = iris$Petal.Length,
                      Species = as.character(iris$Species))

cbpp <- read.csv("cbpp.csv")
cbpp$period <- factor(cbpp$period)
m <- glmer(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp, family = binomial)
null <- glmer(cbind(incidence, size - incidence) ~ 1 + (1 | herd), cbpp, family = binomial)
f <- var(as.vector(model.matrix(m) %*% fixef(m))); r <- as.numeric(VarCorr(m)$herd)
p <- plogis(fixef(null)[[1]])
out$cbpp <- list(lognormal = shares(f, r, pi^2 / 3), delta = shares(f, r, 1 / (p * (1 - p))))

counts <- function(m, null, f, r, between, phi) {
  mean_of <- mean(exp(fixef(null)$cond[[1]] + 0.5 * between))
  a <- 1 / mean_of + phi
  list(lognormal = shares(f, r, log1p(a)), trigamma = shares(f, r, trigamma(1 / a)), delta = shares(f, r, a))
}
sal <- read.csv("Salamanders.csv")
for (family in c("poisson", "nbinom2")) {
  m <- glmmTMB(count ~ mined + (1 | site), sal, family = family)
  null <- glmmTMB(count ~ 1 + (1 | site), sal, family = family)
  X <- model.matrix(~ mined, sal)
  phi <- if (family == "nbinom2") 1 / sigma(m) else 0
  out[[paste0("salamanders_", family)]] <- counts(m, null, var(as.vector(X %*% fixef(m)$cond)),
    as.numeric(VarCorr(m)$cond$site), as.numeric(VarCorr(null)$cond$site), phi)
}
cat(toJSON(out, auto_unbox = TRUE, digits = 10))
