# Fit reference models with lme4, lmerTest, pbkrtest and glmmTMB, for the tests of sc_glmm.models.
#   Rscript make_lmer.R FOLDER          all but InstEval (half a minute)
#   Rscript make_lmer.R FOLDER insteval (ten minutes)
# Writes one JSON per model into FOLDER; `python extract.py --take FOLDER NAME...` copies them here.
suppressPackageStartupMessages({library(lme4); library(lmerTest); library(pbkrtest); library(glmmTMB); library(jsonlite)})
arguments <- commandArgs(trailingOnly = TRUE)
folder <- arguments[1]
save_json <- function(name, x)
  writeLines(toJSON(x, digits = NA, auto_unbox = TRUE, null = "null", na = "null", matrix = "rowmajor", force = TRUE),
             file.path(folder, paste0(name, ".json")))
plain <- function(m) unname(as.matrix(m))
table_of <- function(a) { d <- as.data.frame(a); list(rows = I(rownames(d)), cols = I(names(d)), values = plain(d)) }

# lme4's optimiser stops up to 1e-4 in theta before the optimum, which changes the fifth digit of standard errors. This one
# continues by Newton's method with Richardson's derivatives of the same criterion; parameters at a bound stay there.
newton <- function(fn, par, lower, upper, control) {
  first <- nloptwrap(par = par, fn = fn, lower = lower, upper = upper)
  par <- first$par
  free <- par - lower > 1e-6
  at <- function(x) fn(replace(par, free, x))
  if (any(free)) for (i in 1:4) {
    step <- solve(numDeriv::hessian(at, par[free]), numDeriv::grad(at, par[free]))
    par[free] <- par[free] - step
    if (max(abs(step)) < 1e-8) break
  }
  list(par = par, fval = fn(par), conv = 0, message = "Newton")
}
exact <- lmerControl(optimizer = "newton")
# glmer's Laplace value has weights that are one step old, which also affects standard errors from its differences (1 % for
# cbpp). This function updates the weights at the mode first.
fresh <- function(fn) {
  e <- environment(fn)
  function(par) {
    fn(par)
    e$pp$updateXwts(e$resp$sqrtWrkWt())
    e$pp$updateDecomp()
    e$resp$Laplace(e$pp$ldL2(), e$pp$ldRX2(), e$pp$sqrL(1))
  }
}
newton_fresh <- function(fn, par, lower, upper, control) newton(fresh(fn), par, lower, upper, control)
exact_laplace <- glmerControl(optimizer = c("bobyqa", "newton_fresh"), tolPwrss = 1e-10)
exact_agq <- glmerControl(optimizer = c("bobyqa", "newton"), tolPwrss = 1e-13)

blocks_of <- function(f) {
  r <- ranef(f, condVar = TRUE)
  lapply(setNames(names(r), names(r)), function(g) {
    d <- r[[g]]
    pv <- attr(d, "postVar")
    sds <- if (is.list(pv)) do.call(cbind, lapply(pv, function(a) sqrt(a[1, 1, ])))
           else if (dim(pv)[1] == 1) matrix(sqrt(pv[1, 1, ]), ncol = 1)
           else t(apply(pv, 3, function(z) sqrt(diag(z))))
    list(levels = I(rownames(d)), names = I(names(d)), mode = plain(d), condsd = unname(as.matrix(sds)))
  })
}

lmm <- function(name, f, data, subset = NULL, modes = TRUE, kr = TRUE) {
  f <- update(f, control = exact)
  reml <- isREML(f)
  g <- as_lmerModLmerTest(f)
  s <- coef(summary(g, ddf = "Satterthwaite"))
  o <- list(name = name, data = data, subset = subset, formula = deparse1(formula(f)), reml = reml, nobs = nobs(f),
            names = I(names(fixef(f))), estimate = I(unname(fixef(f))), vcov = plain(vcov(f)),
            theta = I(unname(getME(f, "theta"))), sigma = sigma(f),
            criterion = if (reml) REMLcrit(f) else deviance(f), loglik = as.numeric(logLik(f)),
            loglik_ml = as.numeric(logLik(f, REML = FALSE)), aic = AIC(f), bic = BIC(f), df_resid = df.residual(f),
            singular = isSingular(f), varcorr = as.list(as.data.frame(VarCorr(f))), df = I(unname(s[, "df"])),
            p_value = I(unname(s[, "Pr(>|t|)"])), anova = list())
  for (type in c("1", "2", "3"))
    if (length(fixef(f)) > 1) o$anova[[type]] <- table_of(anova(g, ddf = "Satterthwaite", type = type))
  if (reml && kr) {
    k <- coef(summary(g, ddf = "Kenward-Roger"))
    o$df_kr <- I(unname(k[, "df"])); o$vcov_kr <- plain(vcovAdj(f))
    if (length(fixef(f)) > 1) o$anova_kr <- table_of(anova(g, ddf = "Kenward-Roger", type = "3"))
  }
  if (modes) { o$ranef <- blocks_of(f); o$ranova <- table_of(as.data.frame(ranova(g))) }
  save_json(paste0("lmer_", name), o)
}

if (length(arguments) > 1) {
  lmm("insteval", lme4::lmer(y ~ service + (1 | s) + (1 | d) + (1 | dept), InstEval), "InstEval", modes = FALSE, kr = FALSE)
  quit()
}

seven <- function(d) d[seq_len(nrow(d)) %% 7 != 0, ]
cake7 <- seven(cake)
weights <- 0.5 + (seq_len(180) %% 4) / 2
for (reml in c(TRUE, FALSE)) {
  tag <- if (reml) "reml" else "ml"
  n <- function(x) paste0(x, "_", tag)
  lmm(n("sleepstudy_int"), lme4::lmer(Reaction ~ Days + (1 | Subject), sleepstudy, REML = reml), "sleepstudy")
  lmm(n("sleepstudy_slope"), lme4::lmer(Reaction ~ Days + (Days | Subject), sleepstudy, REML = reml), "sleepstudy")
  lmm(n("sleepstudy_slopeonly"), lme4::lmer(Reaction ~ Days + (0 + Days | Subject), sleepstudy, REML = reml), "sleepstudy")
  lmm(n("sleepstudy_independent"), lme4::lmer(Reaction ~ Days + (Days || Subject), sleepstudy, REML = reml), "sleepstudy")
  lmm(n("dyestuff"), lme4::lmer(Yield ~ 1 + (1 | Batch), Dyestuff, REML = reml), "Dyestuff")
  lmm(n("dyestuff2"), lme4::lmer(Yield ~ 1 + (1 | Batch), Dyestuff2, REML = reml), "Dyestuff2")
  lmm(n("penicillin"), lme4::lmer(diameter ~ 1 + (1 | plate) + (1 | sample), Penicillin, REML = reml), "Penicillin")
  lmm(n("pastes"), lme4::lmer(strength ~ 1 + (1 | batch / cask), Pastes, REML = reml), "Pastes")
  lmm(n("cake"), lme4::lmer(angle ~ recipe * temp + (1 | recipe:replicate), cake, REML = reml), "cake")
  lmm(n("cake_two"), lme4::lmer(angle ~ recipe + temp + (1 | replicate) + (1 | recipe:replicate), cake, REML = reml), "cake")
}
lmm("sleepstudy_quadratic", lme4::lmer(Reaction ~ Days + I(Days^2) + (Days | Subject), sleepstudy), "sleepstudy")
lmm("cake_unbalanced", lme4::lmer(angle ~ recipe * temp + (1 | recipe:replicate), cake7), "cake", "seven")
contrasts(cake7$temperature) <- contr.treatment(levels(cake7$temperature))
lmm("cake_factors", lme4::lmer(angle ~ recipe * temperature + (1 | recipe:replicate), cake7), "cake", "seven")
sleepstudy$w <- weights
fw <- lme4::lmer(Reaction ~ Days + (Days | Subject), sleepstudy, weights = w, offset = 0.5 * Days)
lmm("sleepstudy_weights", fw, "sleepstudy", kr = FALSE)

# --- comparisons, intervals, predictions
m0 <- lme4::lmer(Reaction ~ 1 + (Days | Subject), sleepstudy, control = exact)
m1 <- lme4::lmer(Reaction ~ Days + (Days | Subject), sleepstudy, control = exact)
mi <- lme4::lmer(Reaction ~ Days + (1 | Subject), sleepstudy, control = exact)
md <- lme4::lmer(Reaction ~ Days + (Days || Subject), sleepstudy, control = exact)
ml <- refitML(m1)
new <- data.frame(Days = c(0, 12, 3), Subject = c("308", "999", "372"))
c0 <- lmerTest::lmer(angle ~ recipe + temp + (1 | recipe:replicate), cake7, control = exact)
means <- ls_means(c0, which = "recipe")
pairs <- ls_means(c0, which = "recipe", pairwise = TRUE)
owls1 <- glmer(SiblingNegotiation ~ FoodTreatment * SexParent + offset(logBroodSize) + (1 | Nest), Owls, family = poisson, nAGQ = 9,
               control = exact_agq)
owls0 <- update(owls1, . ~ . - FoodTreatment - FoodTreatment:SexParent)
save_json("tests_lmer", list(
  fixed_refit = table_of(anova(m0, m1, refit = TRUE)), fixed_norefit = table_of(anova(m0, m1, refit = FALSE)),
  random_refit = table_of(anova(mi, md, m1, refit = TRUE)), random_norefit = table_of(anova(mi, md, m1, refit = FALSE)),
  drop1 = table_of(lme4:::drop1.merMod(lme4::lmer(angle ~ recipe + temp + (1 | recipe:replicate), cake, control = exact), test = "Chisq")),
  profile_sleepstudy = plain(confint(ml, method = "profile", quiet = TRUE)),
  profile_dyestuff = plain(confint(lme4::lmer(Yield ~ 1 + (1 | Batch), Dyestuff), method = "profile", quiet = TRUE)),
  wald_sleepstudy = plain(confint(m1, method = "Wald")),
  predict_new = I(unname(predict(m1, new, allow.new.levels = TRUE))), predict_fixed = I(unname(predict(m1, new, re.form = NA))),
  means = list(values = plain(as.data.frame(means)[, c("Estimate", "Std. Error", "df", "lower", "upper")])),
  pairs = list(values = plain(as.data.frame(pairs)[, c("Estimate", "Std. Error", "df", "t value", "Pr(>|t|)")])),
  owls = table_of(anova(owls0, owls1))))

# --- trials
trials <- function(name, f, n_agq) {
  tmb <- inherits(f, "glmmTMB")
  y <- cbpp$incidence
  saturated <- if (n_agq > 1) sum(dbinom(y, cbpp$size, y / cbpp$size, log = TRUE)) else 0
  co <- coef(summary(f))
  if (tmb) co <- co$cond
  o <- list(name = name, data = "cbpp", formula = deparse1(formula(f)), n_agq = n_agq, nobs = nobs(f),
            names = I(rownames(co)), estimate = I(unname(co[, 1])), se = I(unname(co[, 2])),
            sd = if (tmb) attr(VarCorr(f)$cond$herd, "stddev")[[1]] else attr(VarCorr(f)$herd, "stddev")[[1]],
            loglik = as.numeric(logLik(f)) + saturated)
  if (!tmb) {
    o$deviance <- deviance(f); o$ranef <- blocks_of(f)
    o$residuals <- lapply(c(deviance = "deviance", pearson = "pearson", response = "response", working = "working"),
                          function(t) I(unname(residuals(f, type = t))))
  }
  save_json(paste0("trials_", name), o)
}
trials("cbpp_laplace", glmmTMB(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp, family = binomial), 1)
trials("cbpp_agq9", glmer(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp, family = binomial, nAGQ = 9), 9)
cbpp$obs <- factor(seq_len(nrow(cbpp)))
trials("cbpp_rows", glmmTMB(cbind(incidence, size - incidence) ~ period + (1 | herd) + (1 | obs), cbpp, family = binomial), 1)

# --- glmer: trials and counts
mer <- function(name, formula, data_name, family, n_agq = 1) {
  d <- get(data_name)
  control <- if (n_agq == 1) exact_laplace else exact_agq
  f <- do.call(glmer, list(formula, quote(d), family = family, nAGQ = n_agq, control = control))
  devfun <- do.call(glmer, list(formula, quote(d), family = family, nAGQ = n_agq, control = control, devFunOnly = TRUE))
  if (n_agq == 1) devfun <- fresh(devfun)
  theta <- getME(f, "theta"); beta <- fixef(f)
  H <- numDeriv::hessian(devfun, c(theta, beta))
  se <- sqrt(diag(2 * solve(H)))[-seq_along(theta)]
  y <- model.response(model.frame(f))
  # with nAGQ > 1 logLik() is relative to the saturated model: add the saturated log likelihood
  saturated <- if (n_agq == 1) 0 else if (family == "poisson") sum(dpois(y, y, log = TRUE)) else
    sum(dbinom(y[, 1], rowSums(y), y[, 1] / rowSums(y), log = TRUE))
  save_json(paste0("mer_", name), list(name = name, data = data_name, formula = deparse1(formula), family = family, n_agq = n_agq,
    nobs = nobs(f), names = I(names(beta)), estimate = I(unname(beta)), se = I(se), theta = I(unname(theta)),
    varcorr = lapply(as.data.frame(VarCorr(f)), I), loglik = as.numeric(logLik(f)) + saturated,
    df_resid = df.residual(f), ranef = blocks_of(f)))
}
herds <- cbind(incidence, size - incidence) ~ period + (1 | herd)
owls <- SiblingNegotiation ~ FoodTreatment * SexParent + offset(logBroodSize) + (1 | Nest)
epil <- y ~ Base * trt + Age + Visit + (1 | subject)
mer("grouseticks", TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | INDEX) + (1 | LOCATION), "grouseticks", "poisson")
mer("cbpp", herds, "cbpp", "binomial")
mer("cbpp_agq9", herds, "cbpp", "binomial", 9)
mer("owls", owls, "Owls", "poisson")
mer("owls_agq9", owls, "Owls", "poisson", 9)
mer("epil2", epil, "epil2", "poisson")
mer("epil2_agq9", epil, "epil2", "poisson", 9)
mer("epil2_slope", y ~ Base * trt + Age + Visit + (Visit | subject), "epil2", "poisson")
