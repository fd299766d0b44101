"""Check printed summaries against golden files, each next to the output of R for the same model.

``python -m tests.models.test_summary`` writes our files, ``Rscript make_golden.R`` those of R; compare both before a
commit.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from sc_glmm.models import anova, glmer, lmer
from tests.reference import load

GOLDEN = Path(__file__).parent / "golden"
OWLS = "SiblingNegotiation ~ FoodTreatment * SexParent + offset(logBroodSize) + (1 | Nest)"
CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
MODELS = {
    "sleepstudy_slope": lambda: lmer("Reaction ~ Days + (Days | Subject)", load.frame("sleepstudy")),
    "sleepstudy_slope_ml": lambda: lmer("Reaction ~ Days + (Days | Subject)", load.frame("sleepstudy"), reml=False),
    "sleepstudy_independent": lambda: lmer("Reaction ~ Days + (Days || Subject)", load.frame("sleepstudy")),
    "dyestuff2": lambda: lmer("Yield ~ 1 + (1 | Batch)", load.frame("Dyestuff2")),
    "penicillin": lambda: lmer("diameter ~ 1 + (1 | plate) + (1 | sample)", load.frame("Penicillin")),
    "pastes": lambda: lmer("strength ~ 1 + (1 | batch / cask)", load.frame("Pastes")),
    "cake": lambda: lmer("angle ~ recipe + temperature + (1 | recipe:replicate)", load.frame("cake")),
    "cbpp": lambda: glmer(CBPP, load.frame("cbpp"), family="binomial"),
    "cbpp_agq": lambda: glmer(CBPP, load.frame("cbpp"), family="binomial", n_agq=9),
    "grouseticks": lambda: glmer(
        "TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | LOCATION)", load.frame("grouseticks"), family="poisson"
    ),
    "owls_nb": lambda: glmer(OWLS, load.frame("Owls"), family="nb"),
    "owls_nb_reml": lambda: glmer(OWLS, load.frame("Owls"), family="nb", reml=True),
    "epil2_reml": lambda: glmer(
        "y ~ Base * trt + Age + Visit + (Visit | subject)", load.frame("epil2"), family="poisson", reml=True
    ),
}
PRINTS = {
    **{name: (lambda make=make: str(make().summary())) for name, make in MODELS.items()},
    "cake_kr": lambda: str(_cake().summary(ddf="kenward-roger")),
    "anova_cake": lambda: str(_cake().anova()),
    "lrt_sleepstudy": lambda: str(
        anova(lmer("Reaction ~ 1 + (Days | Subject)", load.frame("sleepstudy")), MODELS["sleepstudy_slope"]())
    ),
    "drop1_cake": lambda: str(lmer("angle ~ recipe + temp + (1 | recipe:replicate)", load.frame("cake")).drop1()),
    "ranova_sleepstudy": lambda: str(MODELS["sleepstudy_slope"]().ranova()),
}
# Allowed differences where lme4's optimum or standard errors are inexact (see test_reference_*.py), in units of the
# last digit that R prints.
LOOSE = {
    "cbpp": 150.0,  # glmer's Laplace standard errors are 1 % too large, so p = 0.001068 becomes 0.001212
    "grouseticks": 25.0,
    "cake_kr": 20.0,  # 254.015763 degrees of freedom
    "sleepstudy_slope_ml": 5.0,
    "sleepstudy_slope": 2.0,
    "penicillin": 6.0,
    "owls_nb": 2.0,  # glmmTMB stops early
    "owls_nb_reml": 2.0,
    "epil2_reml": 2.0,
}


def _cake():
    return lmer("angle ~ recipe * temp + (1 | recipe:replicate)", load.frame("cake"))


@pytest.mark.parametrize("name", PRINTS)
def test_summary_equals_the_golden_file(name):
    assert PRINTS[name]() + "\n" == (GOLDEN / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", PRINTS)
def test_numbers_equal_those_printed_by_r(name):
    ours, theirs = (table_numbers((GOLDEN / f"{name}{end}").read_text()) for end in (".txt", ".R.txt"))
    if name == "cbpp_agq":
        del theirs["head"]  # lme4 omits constants of the likelihood here
    if name.endswith("_reml"):
        theirs["head"] = theirs["head"][3:4]  # glmmTMB calls the criterion a deviance, between AIC, BIC, logLik and df
    assert set(theirs) <= set(ours)
    for place, numbers in theirs.items():
        assert len(ours[place]) >= len(numbers), place
        for (a, digits_a), (b, digits_b) in zip(ours[place], numbers, strict=False):
            unit = 10.0 ** -min(digits_a, digits_b)
            slack = LOOSE.get(name, 1.0) if place != "residuals" else 5.0
            assert abs(a - b) <= 1.01 * slack * max(unit, 5e-3 * abs(b) if digits_b > 8 else 0.0), (place, a, b)


NUMBER = re.compile(r"(?<![\w.])-?\d+\.?\d*(?:e[-+]\d+)?(?![\w.])")


def table_numbers(text: str) -> dict[str, list[tuple[float, int]]]:
    """Extract numbers (with their decimals) by section, without stars, names and R's additional lines."""
    section, out = "head", {}
    for line in text.splitlines():
        start = line.strip()
        for key, words in (
            ("residuals", "Scaled residuals"),
            ("random", "Random effects"),
            ("groups", "Number of obs"),
            ("dispersion", "Dispersion parameter"),
            ("fixed", "Fixed effects"),
            ("correlation", "Correlation of Fixed"),
            ("table", "Sum Sq"),
            ("table", "npar"),
        ):
            if start.startswith(words):
                section = key
        if start.startswith("Conditional model") and section in ("groups", "dispersion"):
            section = "fixed"  # glmmTMB's heading of the fixed effects
        if "R's size" in line:
            out["dispersion"] = [(float(size := line.split()[-1].rstrip(")")), _decimals(size))]
            continue
        if start.startswith(("---", "Signif", "Formula", "Data", "Generalized", "Approximation", "optimizer", "Model")):
            section = "rest" if start.startswith(("---", "optimizer")) else section
            continue
        if section == "rest" or "~" in line or "boundary" in line or re.search(r"\| \w+\)$", line):
            continue
        # names of levels and columns also contain digits
        line = re.sub(r"\S*\[T\.\S*|\bp[a-z]*d\d\b|YEAR\d+|\bt[a-z]*\d+\b", "", line)
        numbers = [(float(m), _decimals(m)) for m in NUMBER.findall(line)]
        if numbers:
            out.setdefault(section, []).extend(numbers)
    return out


def _decimals(text: str) -> int:
    mantissa, _, exponent = text.partition("e")
    return len(mantissa.partition(".")[2]) - int(exponent or 0)


def test_html_has_the_same_cells():
    summary = MODELS["sleepstudy_slope"]().summary()
    text, page = str(summary), summary._repr_html_()
    cells = re.findall(r"<td>([^<]*)</td>", page)
    assert "&lt; 2e-16" in page
    for cell in (c for c in cells if NUMBER.fullmatch(c)):
        assert cell in text
    assert page.count("<table>") == 4


def test_singular_fit_gives_a_note_and_no_error():
    fit = MODELS["dyestuff2"]()
    assert fit.is_singular()
    assert any("singular" in note for note in fit.summary().notes)
    assert "singular" not in str(MODELS["penicillin"]().summary())


def test_correlations_are_not_printed_for_many_columns(rng):
    import pandas as pd

    n = 120
    frame = pd.DataFrame({f"x{i}": rng.normal(size=n) for i in range(22)})
    frame["g"] = pd.Categorical(np.arange(n) % 6)
    frame["y"] = rng.normal(size=n)
    fit = lmer(f"y ~ {' + '.join(f'x{i}' for i in range(22))} + (1 | g)", frame)
    text = str(fit.summary(ddf="asymptotic"))
    assert "not shown for p = 23" in text
    assert "Correlation of Fixed Effects:" not in text


if __name__ == "__main__":
    for name, make in PRINTS.items():
        (GOLDEN / f"{name}.txt").write_text(make() + "\n")
