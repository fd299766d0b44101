# Write the output of R for the models of test_summary.py:  Rscript make_golden.R
suppressPackageStartupMessages({library(lmerTest); library(glmmTMB)})
options(useFancyQuotes = FALSE, width = 100)
contrasts(cake$temperature) <- contr.treatment(levels(cake$temperature))
models <- list(
  sleepstudy_slope = quote(lmer(Reaction ~ Days + (Days | Subject), sleepstudy)),
  sleepstudy_slope_ml = quote(lmer(Reaction ~ Days + (Days | Subject), sleepstudy, REML = FALSE)),
  sleepstudy_independent = quote(lmer(Reaction ~ Days + (Days || Subject), sleepstudy)),
  dyestuff2 = quote(lmer(Yield ~ 1 + (1 | Batch), Dyestuff2)),
  penicillin = quote(lmer(diameter ~ 1 + (1 | plate) + (1 | sample), Penicillin)),
  pastes = quote(lmer(strength ~ 1 + (1 | batch / cask), Pastes)),
  cake = quote(lmer(angle ~ recipe + temperature + (1 | recipe:replicate), cake)),
  cbpp = quote(glmer(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp, family = binomial)),
  cbpp_agq = quote(glmer(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp, family = binomial, nAGQ = 9)),
  grouseticks = quote(glmer(TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | LOCATION), grouseticks, family = poisson)),
  owls_nb = quote(glmmTMB(SiblingNegotiation ~ FoodTreatment * SexParent + offset(logBroodSize) + (1 | Nest), Owls,
                          family = nbinom2)),
  owls_nb_reml = quote(glmmTMB(SiblingNegotiation ~ FoodTreatment * SexParent + offset(logBroodSize) + (1 | Nest), Owls,
                               family = nbinom2, REML = TRUE)),
  epil2_reml = quote(glmmTMB(y ~ Base * trt + Age + Visit + (Visit | subject), epil2, family = poisson, REML = TRUE)))
for (name in names(models)) {
  fit <- eval(models[[name]])
  writeLines(capture.output(print(summary(fit))), paste0(name, ".R.txt"))
}
kr <- lmer(angle ~ recipe * temp + (1 | recipe:replicate), cake)
writeLines(capture.output(print(summary(kr, ddf = "Kenward-Roger"))), "cake_kr.R.txt")
writeLines(capture.output(print(anova(kr))), "anova_cake.R.txt")
writeLines(capture.output(print(ranova(eval(models$sleepstudy_slope)))), "ranova_sleepstudy.R.txt")
days <- eval(models$sleepstudy_slope)
none <- lmer(Reaction ~ 1 + (Days | Subject), sleepstudy)
writeLines(capture.output(print(anova(none, days))), "lrt_sleepstudy.R.txt")
writeLines(capture.output(print(lme4:::drop1.merMod(as(lmer(angle ~ recipe + temp + (1 | recipe:replicate), cake), "lmerMod"),
                                                    test = "Chisq"))), "drop1_cake.R.txt")
