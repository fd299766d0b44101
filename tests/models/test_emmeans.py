"""Check marginal means of transformed responses, and of numbers that are also factors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sc_glmm import ScGlmmError
from sc_glmm.models import emmeans, glmer, lmer


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"g": np.repeat(np.arange(10), 12), "dose": np.tile([1.0, 2.0, 4.0], 40)})
    frame["arm"] = pd.Categorical(np.tile(["a", "b"], 60))
    frame["y"] = np.exp(rng.normal(size=120) * 0.4 + rng.normal(size=10)[frame.g] * 0.3 + 0.5 * (frame.arm == "b"))
    return frame


BACK = {
    "log(y)": (np.exp, np.exp, np.e),
    "np.log(`y`)": (np.exp, np.exp, np.e),
    "I(log(y))": (np.exp, np.exp, np.e),
    "log2(y)": (np.exp2, lambda x: np.exp2(x) * np.log(2), 2.0),
    "log10(y)": (lambda x: 10.0**x, lambda x: 10.0**x * np.log(10), 10.0),
    "log(y + 1)": (lambda x: np.exp(x) - 1, np.exp, None),
    "log2(1 + y)": (lambda x: np.exp2(x) - 1, lambda x: np.exp2(x) * np.log(2), None),
    "log1p(y)": (np.expm1, np.exp, None),
    "sqrt(y)": (np.square, lambda x: 2 * x, None),
}


@pytest.mark.parametrize("response", BACK)
def test_a_transformed_response_is_transformed_back(data, response):
    inverse, slope, base = BACK[response]
    fit = lmer(f"{response} ~ arm * C(dose) + (1 | g)", data)
    link, back = emmeans(fit, "arm"), emmeans(fit, "arm", type="response")
    np.testing.assert_allclose(back.means.response, inverse(link.means.emmean))
    np.testing.assert_allclose(back.means.low, inverse(link.means.low))
    np.testing.assert_allclose(back.means.se, link.means.se * slope(link.means.emmean))
    assert "scale, not on the scale of the response" in "".join(link.notes)
    assert "back-transformed from the log" in "".join(back.notes) or response == "sqrt(y)"
    if base is None:
        np.testing.assert_allclose(back.contrasts.estimate, link.contrasts.estimate)
        assert "Contrasts are differences" in "".join(back.notes)
    else:
        np.testing.assert_allclose(back.contrasts.ratio, base**link.contrasts.estimate)
        np.testing.assert_allclose(back.contrasts.se, back.contrasts.ratio * np.log(base) * link.contrasts.se)
    np.testing.assert_allclose(back.contrasts.p_value, link.contrasts.p_value)


def test_ratios_do_not_depend_on_the_base_of_the_logarithm(data):
    result = [emmeans(lmer(f"{f}(y) ~ arm + (1 | g)", data), "arm", type="response") for f in ("log", "log2", "log10")]
    for other in result[1:]:
        np.testing.assert_allclose(other.means.response, result[0].means.response, rtol=1e-6)
        np.testing.assert_allclose(other.contrasts.ratio, result[0].contrasts.ratio, rtol=1e-6)
        np.testing.assert_allclose(other.contrasts.se, result[0].contrasts.se, rtol=1e-5)


def test_note_names_the_scale_if_the_inverse_is_unknown(data):
    fit = lmer("I(y**3) ~ arm + (1 | g)", data)
    assert "inverse is not known" in emmeans(fit, "arm", type="response").notes[1]
    plain = lmer("y ~ arm + (1 | g)", data)
    assert len(emmeans(plain, "arm").notes) == 1
    counts = glmer("n ~ arm + (1 | g)", data.assign(n=np.round(data.y * 3)), family="poisson")
    assert "log scale" in emmeans(counts, "arm").notes[1]


def test_number_that_is_also_a_factor_takes_each_of_its_values(data):
    with pytest.warns(match="was dropped from the design"):
        both = lmer("y ~ arm + dose + C(dose) + (1 | g)", data)
    alone = lmer("y ~ arm + C(dose) + (1 | g)", data)
    for specs in ("arm", "dose", "~ arm * dose"):
        np.testing.assert_allclose(
            emmeans(both, specs).means.emmean.to_numpy(float), emmeans(alone, specs).means.emmean, rtol=1e-8
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"type": "respons"}, "did you mean 'response'"),
        ({"level": 95}, "such as 0.95"),
        ({"specs": []}, "specs is empty"),
        ({"specs": ["arm", "arm"]}, "contains 'arm' twice"),
        ({"specs": None}, "name of a factor"),
        ({"specs": "mean ~ arm"}, "'pairwise'"),
        ({"at": {"arm": []}}, "a value or a list"),
        ({"at": 3}, "must be a dictionary"),
    ],
)
def test_options_are_checked(data, options, message):
    fit = lmer("log(y) ~ arm + (1 | g)", data)
    with pytest.raises(ScGlmmError, match=message):
        emmeans(**{"fit": fit, "specs": "arm", **options})
