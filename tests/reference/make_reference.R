# Fit the reference models with lme4 and glmmTMB, and write one JSON per model, in the layout of extract.py.
#
#   Rscript make_reference.R FOLDER        (FOLDER is created; run it beside the CSV files)
#
# Debian 12: apt-get install r-cran-lme4 r-cran-glmmtmb r-cran-jsonlite r-cran-numderiv; versions of the stored numbers: VERSIONS.
# `python extract.py --check FOLDER` compares the output with the stored files.

suppressPackageStartupMessages({library(lme4); library(glmmTMB); library(jsonlite); library(numDeriv)})
out <- commandArgs(trailingOnly = TRUE)[1]
dir.create(out, showWarnings = FALSE, recursive = TRUE)

# --- data: factors with the levels of SCHEMA.json, in R's order
schema <- fromJSON("SCHEMA.json", simplifyVector = TRUE)
read <- function(name) {
  d <- read.csv(paste0(name, ".csv"), colClasses = "character")
  for (column in names(d)) {
    levels <- schema[[name]][[column]]$levels
    d[[column]] <- if (is.null(levels)) as.numeric(d[[column]]) else factor(d[[column]], levels = levels)
  }
  d
}
data <- lapply(setNames(nm = c("grouseticks", "Owls", "Salamanders", "epil2")), read)

write_fit <- function(name, x) {
  json <- toJSON(x, digits = NA, auto_unbox = TRUE, null = "null", na = "null", matrix = "rowmajor", pretty = FALSE)
  writeLines(json, file.path(out, paste0(name, ".json")))
  cat(sprintf("%-42s logLik %.9f\n", name, if (is.null(x$loglik)) NA else x$loglik))
}
vec <- function(v) I(as.numeric(v))
blocks <- function(vc, ranef) lapply(names(ranef), function(g) {
  b <- vc[[g]]; modes <- ranef[[g]]
  list(group = g, names = I(names(modes)), sd = vec(attr(b, "stddev")), corr = unname(as.matrix(attr(b, "correlation"))),
       levels = I(rownames(modes)), mode = unname(as.matrix(modes)))
})
collect <- function(expr) {
  warnings <- character()
  fit <- withCallingHandlers(expr, warning = function(w) { warnings <<- c(warnings, conditionMessage(w)); invokeRestart("muffleWarning") })
  list(fit = fit, warnings = warnings)
}

# --- lme4: Poisson, Laplace and adaptive Gauss-Hermite
mer <- function(name, dataset, formula, n_agq = 1) {
  r <- collect(glmer(formula, data[[dataset]], family = poisson, nAGQ = n_agq)); f <- r$fit
  coef <- coef(summary(f))
  # With nAGQ > 1 logLik() is relative to the saturated model: add the saturated log likelihood.
  y <- model.response(model.frame(f))
  saturated <- if (n_agq > 1) sum(dpois(y, y, log = TRUE)) else 0
  write_fit(name, list(name = name, data = dataset, formula = deparse1(formula), family = "poisson", method = "ml", n_agq = n_agq,
    nobs = nobs(f), fixef = list(names = I(rownames(coef)), estimate = vec(coef[, 1]), se = vec(coef[, 2])),
    vcov = unname(as.matrix(vcov(f))), vcov_given_variances = suppressWarnings(unname(as.matrix(vcov(f, use.hessian = FALSE)))),
    re = blocks(VarCorr(f), ranef(f)), log_dispersion = NULL, log_dispersion_se = NULL,
    loglik = as.numeric(logLik(f)) + saturated, warnings = I(r$warnings)))
}
mer("glmer_grouseticks", "grouseticks", TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | INDEX) + (1 | LOCATION))
mer("glmer_grouseticks_2re", "grouseticks", TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | LOCATION))
owls <- SiblingNegotiation ~ FoodTreatment * SexParent + offset(logBroodSize) + (1 | Nest)
mer("glmer_owls_poisson_offset", "Owls", owls)
mer("glmer_owls_poisson_offset_nAGQ9", "Owls", owls, 9)
epil2 <- y ~ Base * trt + Age + Visit + (1 | subject)
mer("glmer_epil2_poisson", "epil2", epil2)
mer("glmer_epil2_poisson_nAGQ9", "epil2", epil2, 9)
mer("glmer_epil2_poisson_slope", "epil2", y ~ Base * trt + Age + Visit + (Visit | subject))

# --- glmmTMB: Poisson and nbinom2, ML and REML. log_dispersion is log phi with var = mu + phi mu^2, so phi = 1 / sigma(fit).
tmb <- function(name, dataset, formula, family, reml = FALSE) {
  r <- collect(glmmTMB(formula, data[[dataset]], family = family, REML = reml)); f <- r$fit
  coef <- summary(f)$coefficients$cond; nb <- family$family == "nbinom2"
  V <- vcov(f, full = TRUE)
  write_fit(name, list(name = name, data = dataset, formula = deparse1(formula), family = if (nb) "nb" else "poisson",
    method = if (reml) "reml" else "ml", n_agq = 1, nobs = nobs(f),
    fixef = list(names = I(rownames(coef)), estimate = vec(coef[, 1]), se = vec(coef[, 2])), vcov = unname(vcov(f)$cond),
    vcov_given_variances = NULL, re = blocks(VarCorr(f)$cond, ranef(f)$cond),
    log_dispersion = if (nb) -log(sigma(f)) else NULL, log_dispersion_se = if (nb) sqrt(V["d~(Intercept)", "d~(Intercept)"]) else NULL,
    loglik = -f$fit$objective, warnings = I(r$warnings)))
}
salamanders <- count ~ mined + spp + (1 | site)
models <- list(salamanders = list("Salamanders", salamanders), owls = list("Owls", owls), epil2 = list("epil2", epil2))
families <- list(poisson = poisson(), nbinom2 = nbinom2())
for (m in names(models)) for (f in names(families)) for (reml in c(FALSE, TRUE))
  tmb(paste("glmmTMB", m, f, if (reml) "REML" else "ML", sep = "_"), models[[m]][[1]], models[[m]][[2]], families[[f]], reml)
tmb("glmmTMB_owls_nbinom2_slope", "Owls",
    SiblingNegotiation ~ FoodTreatment * SexParent + offset(logBroodSize) + (FoodTreatment | Nest), nbinom2())
# Two of glmer's models again, because glmer's Laplace value is up to 8e-4 too low at its own estimates (see test_oracle.py).
tmb("glmmTMB_grouseticks_poisson_ML", "grouseticks", TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | INDEX) + (1 | LOCATION), poisson())
tmb("glmmTMB_epil2_poisson_slope", "epil2", y ~ Base * trt + Age + Visit + (Visit | subject), poisson())

# --- "exact" maximum likelihood of a random intercept: 61-node adaptive Gauss-Hermite in plain R, and Laplace with the observed
# Hessian. Independent of lme4 and TMB.
hermite <- function(n) { # Golub-Welsch
  i <- seq_len(n - 1); J <- diag(0, n); J[cbind(i, i + 1)] <- J[cbind(i + 1, i)] <- sqrt(i / 2)
  e <- eigen(J, symmetric = TRUE); list(x = e$values, w = sqrt(pi) * e$vectors[1, ]^2)
}
negative <- function(par, y, X, offset, g, nb, nodes) {
  p <- ncol(X); s <- exp(par[p + 1]); r <- if (nb) exp(par[p + 2]) else Inf
  fixed <- as.numeric(X %*% par[1:p]) + offset; gi <- as.integer(g)
  density <- function(mu) if (nb) dnbinom(y, size = r, mu = mu, log = TRUE) else dpois(y, mu, log = TRUE)
  d1 <- function(mu) if (nb) (y - mu) * r / (r + mu) else y - mu
  info <- function(mu) if (nb) mu * r * (r + y) / (r + mu)^2 else mu
  by <- function(v) as.numeric(rowsum(v, gi))
  u <- numeric(nlevels(g))
  for (iteration in 1:100) {
    mu <- exp(fixed + s * u[gi])
    step <- (s * by(d1(mu)) - u) / (s^2 * by(info(mu)) + 1); step <- pmax(pmin(step, 2), -2); u <- u + step
    if (max(abs(step)) < 1e-12) break
  }
  H <- s^2 * by(info(exp(fixed + s * u[gi]))) + 1
  if (is.null(nodes)) return(-sum(by(density(exp(fixed + s * u[gi]))) - u^2 / 2 - log(H) / 2))
  a <- sapply(seq_along(nodes$x), function(k) {
    uk <- u + sqrt(2 / H) * nodes$x[k]
    by(density(exp(fixed + s * uk[gi]))) - uk^2 / 2 + log(nodes$w[k]) + nodes$x[k]^2
  })
  m <- apply(a, 1, max)
  -sum(m + log(rowSums(exp(a - m))) + log(2 / H) / 2 - log(2 * pi) / 2)
}
exact <- function(name, dataset, formula, group, offset, nb) {
  d <- data[[dataset]]; d$.offset <- offset
  X <- model.matrix(formula, d); y <- model.response(model.frame(formula, d)); g <- factor(d[[group]]); p <- ncol(X)
  par <- c(coef(glm(formula, data = d, family = poisson, offset = .offset)), -1, if (nb) 0); x <- list()
  for (method in c("laplace", "agq61")) {
    f <- function(q) negative(q, y, X, offset, g, nb, if (method == "agq61") hermite(61))
    par <- nlminb(par, f, control = list(eval.max = 4000, iter.max = 2000, rel.tol = 1e-14))$par
    par <- optim(par, f, method = "BFGS", control = list(reltol = 1e-15, maxit = 500))$par
    x[[method]] <- list(loglik = -f(par), estimate = vec(par[1:p]), se = vec(sqrt(diag(solve(hessian(f, par))))[1:p]),
                        re_sd = exp(par[[p + 1]]), log_dispersion = if (nb) -par[[p + 2]] else NULL)
  }
  write_fit(name, c(list(name = name, data = dataset, formula = paste0(deparse1(formula),
    if (any(offset != 0)) " + offset(logBroodSize)", sprintf(" + (1 | %s)", group)), family = if (nb) "nb" else "poisson", names = I(colnames(X))), x))
}
for (nb in c(FALSE, TRUE)) {
  tag <- if (nb) "nb" else "pois"
  exact(paste0("exact_owls_", tag), "Owls", SiblingNegotiation ~ FoodTreatment * SexParent, "Nest", data$Owls$logBroodSize, nb)
  exact(paste0("exact_epil2_", tag), "epil2", y ~ Base * trt + Age + Visit, "subject", rep(0, nrow(data$epil2)), nb)
}
