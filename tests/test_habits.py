"""What users of R, scanpy and other packages type: it works, or the error has the right spelling."""

from __future__ import annotations

import re
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import sc_glmm as sg
from sc_glmm._display.habits import _ELSEWHERE
from sc_glmm.models.methods import FitMethods


@pytest.fixture(scope="module")
def adata() -> Any:
    return sg.datasets.simulate(n_samples=8, n_cells=240, n_genes=12, n_cell_types=2, seed=1)


@pytest.fixture(scope="module")
def tested(adata: Any) -> Any:
    return run(adata)


def run(adata: Any, formula: str = "counts ~ disease + (1|sample)", **options: Any) -> Any:
    given: dict[str, Any] = {"reference": {"disease": "ctl"}, "test": "t", "progress": False, "min_counts": 0}
    return sg.tl.test(adata, formula, copy=True, **{**given, **options})


@pytest.fixture(scope="module")
def model() -> Any:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"f": list("abc") * 20, "g": np.repeat(list("uvwxyz"), 10), "x": rng.normal(size=60)})
    frame["y"] = rng.normal(size=60) + frame["g"].map(dict(zip("uvwxyz", range(6), strict=True)))
    return sg.lmer("y ~ f + x + (1|g)", frame, reference={"f": "a"})


@pytest.mark.parametrize(
    ("given", "own"),
    [
        ({"family": "negative.binomial"}, {"family": "nb"}),
        ({"family": "Poisson(link='log')"}, {"family": "poisson"}),
        ({"family": "NB"}, {"family": "nb"}),
        ({"method": "REML"}, {"method": "reml"}),
        ({"nAGQ": 3, "method": "ML"}, {"n_agq": 3, "method": "ml"}),
        ({"test": "Wald"}, {"test": "wald"}),
        ({"groupby": ["cell_type"]}, {"groupby": "cell_type"}),
        ({"contrast": "AD"}, {"contrasts": "AD"}),
    ],
)
def test_other_spellings_of_a_run(adata: Any, given: dict[str, Any], own: dict[str, Any]) -> None:
    there, here = run(adata, **given), run(adata, **own)
    pd.testing.assert_frame_equal(sg.get.results(there), sg.get.results(here))
    assert there.uns["glmm"]["params"]["family"] == here.uns["glmm"]["params"]["family"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layer": "counts"}, "left of the formula"),
        ({"use_raw": True}, "adata.raw is not used"),
        ({"REML": True}, "method='reml'"),
        ({"alpha": 0.05}, "alpha=0.05"),
        ({"ddf": "KR"}, "tests are chosen by test="),
        ({"contrats": "AD"}, "did you mean 'contrasts'"),
        ({"test": "LRT2"}, "did you mean 'lrt'"),
        ({"groupby": ["cell_type", "sample"]}, "add a column that joins"),
        ({"reference": "ctl"}, "reference={'disease': 'ctl'}"),
    ],
)
def test_other_arguments_of_a_run_are_explained(adata: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(sg.InputError, match=re.escape(message)):
        run(adata, **given)


def test_the_formula_before_the_data(adata: Any) -> None:
    with pytest.raises(sg.InputError, match="the data come before the formula"):
        sg.tl.test("counts ~ disease + (1|sample)", adata)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["my col", "my-col"])
def test_names_in_backticks_and_in_q(adata: Any, name: str) -> None:
    other = adata.copy()
    other.obs[name] = other.obs["disease"]
    ticks = run(other, f"counts ~ `{name}` + (1|sample)", reference={name: "ctl"})
    quoted = run(other, f"counts ~ Q({name!r}) + (1|sample)", reference={name: "ctl"})
    pd.testing.assert_frame_equal(sg.get.results(ticks), sg.get.results(quoted))
    with pytest.raises(sg.FormulaError, match="backticks"):
        run(other, f"counts ~ {name} + (1|sample)", reference={})


@pytest.mark.parametrize("sparse", [True, False])
def test_corrected_counts_are_rounded_by_the_line_that_is_shown(adata: Any, sparse: bool) -> None:
    other = adata.copy()
    counts = 30.0 * other.layers["counts"].astype(float) + other.layers["counts"].multiply(0.2)
    other.layers["counts"] = counts.tocsr() if sparse else counts.toarray()
    with pytest.raises(sg.InputError, match="SoupX") as error:
        run(other)
    line = str(error.value).rpartition("DecontX: ")[2]
    exec(line, {"adata": other, "np": np})
    assert sg.get.results(run(other))["tested"].any()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"gene": "nope"}, "no gene 'nope'"),
        ({"sort": ["p_value"]}, "no such column"),
        ({"sort": "padj"}, "did you mean 'adj_p_value'"),
        ({"columns": "logFC"}, "did you mean 'log_fc'"),
        ({"contrast": "ad vs ctl"}, "did you mean 'AD vs ctl'"),
        ({"tested": "yes"}, "allowed are True and False"),
        ({"groupby": "cell_type"}, "group= selects"),
        ({"n": 5}, "head(20)"),
        ({"key": "glm"}, "did you mean 'glmm'"),
    ],
)
def test_wrong_arguments_of_results_are_explained(tested: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(sg.InputError, match=re.escape(message)):
        sg.get.results(tested, **given)


def test_results_are_not_read_from_a_table(tested: Any) -> None:
    with pytest.raises(sg.InputError, match="this is a DataFrame"):
        sg.get.results(sg.get.results(tested))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"return_fig": True}, "ax.figure"),
        ({"figsize": (3, 3)}, "plt.subplots(figsize"),
        ({"dpi": 100}, "300 dpi"),
        ({"groupby": "disease"}, "group="),
        ({"n_label": 3}, "did you mean 'n_labels'"),
        ({"ax": "x"}, "must be one axes"),
    ],
)
def test_other_arguments_of_figures_are_explained(tested: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(sg.InputError, match=re.escape(message)):
        sg.pl.volcano(tested, **given)
    plt.close("all")


def test_other_names_of_a_threshold(tested: Any) -> None:
    assert len(sg.pl.volcano(tested, lfc=1).lines) == len(sg.pl.volcano(tested, min_log_fc=1).lines)
    plt.close("all")


def test_arguments_of_r_in_methods(model: Any) -> None:
    pd.testing.assert_frame_equal(model.ranef(condVar=True)["g"], model.ranef(cond_var=True)["g"])
    with pytest.raises(sg.InputError, match=re.escape(".loc['x']")):
        model.confint(parm="x")
    with pytest.raises(sg.InputError, match="likelihood ratio"):
        model.anova(test="Chisq")
    with pytest.raises(sg.InputError, match="reml=False"):
        sg.lmer("y ~ f + (1|g)", model.data, False)  # type: ignore[call-arg]
    swapped = sg.lmer(model.data, formula="y ~ f + x + (1|g)", reference={"f": "a"})  # type: ignore[arg-type]
    assert swapped.fixef().equals(model.fixef())


def test_functions_of_r_at_the_top_are_explained() -> None:
    with pytest.raises(AttributeError, match=re.escape("write model.fixef()")):
        getattr(sg, "fixef")  # noqa: B009
    assert not hasattr(sg, "nonsense")
    for text in _ELSEWHERE.values():  # what is proposed is there
        if text.startswith("model."):
            assert hasattr(FitMethods, re.match(r"model\.(\w+)", text)[1]), text
        elif text.startswith("sc_glmm."):
            place: Any = sg
            for part in re.match(r"sc_glmm\.([\w.]+)", text)[1].split("."):
                place = getattr(place, part)
