"""Check the registry of tests: a test is one record in one file, and all functions use it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import sc_glmm
from sc_glmm import _hypotheses
from sc_glmm._errors import InputError
from sc_glmm._families.registry import FAMILIES
from sc_glmm._hypotheses.records import ALL, HypothesisTest
from sc_glmm._hypotheses.registry import choose_test, get_test
from sc_glmm._inference.mixture import MixtureTest
from sc_glmm._run.options import allowed_words

FORMULA = "counts ~ disease + (1|sample)"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "contributing.md"


def example() -> str:
    """Write the file of the example on the page for contributors."""
    if not PAGE.exists():
        pytest.skip("the tests lie beside a wheel, not in the project")
    section = PAGE.read_text().split("### A new test")[1].split("\n### ")[0]
    return str(re.search(r"```python\n(.*?)```", section, re.DOTALL)[1])  # type: ignore[index]


@pytest.fixture
def added() -> Iterator[HypothesisTest]:
    """Register the test of the example during a test."""
    place = {"__package__": "sc_glmm._hypotheses.tests", "__name__": "sc_glmm._hypotheses.tests.greater"}
    exec(compile(ast.parse(example()), "greater.py", "exec"), place)
    test = place["TEST"]
    assert isinstance(test, HypothesisTest)
    _hypotheses.register(test)
    yield test
    _hypotheses.unregister(test.name)


@pytest.mark.parametrize("name", _hypotheses.names())
def test_every_file_defines_the_test_of_its_name(name: str) -> None:
    test = get_test(name)
    assert test.name == name
    assert set(test.families) <= set(ALL) <= set(FAMILIES)
    assert test.help.endswith(".")
    assert f'``"{name}"``' in str(sc_glmm.tl.test.__doc__)
    assert name in allowed_words()["test"]


def test_families_support_the_listed_tests() -> None:
    gaussian = {name for name in _hypotheses.names() if "gaussian" in get_test(name).families}
    assert gaussian == {"satterthwaite", "t", "wald", "lrt"}
    with pytest.raises(InputError, match="allowed with family='gaussian' are 'lrt', 'satterthwaite', 't', 'wald'"):
        choose_test("eb_lr", FAMILIES["gaussian"])
    assert choose_test(None, FAMILIES["gaussian"]).name == "satterthwaite"
    assert choose_test(None, FAMILIES["nb"]).name == "eb_lr"


def test_the_example_runs_through_the_front_door(added: HypothesisTest) -> None:
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=240, n_genes=30, seed=3)
    sc_glmm.tl.test(adata, FORMULA, reference={"disease": "ctl"}, test=added.name)
    table = sc_glmm.get.results(adata, columns="all")
    assert adata.uns["glmm"]["params"]["test"] == added.name
    sc_glmm.tl.test(adata, FORMULA, reference={"disease": "ctl"}, test="wald")
    wald = sc_glmm.get.results(adata, columns="all")
    ok = wald["p_value"].notna()
    assert ok.sum() > 20
    one_sided = stats.norm.sf(wald.loc[ok, "stat"])
    np.testing.assert_allclose(table.loc[ok, "p_value"], one_sided, rtol=1e-12)
    np.testing.assert_allclose(table["log_fc"], wald["log_fc"])
    assert added.name in allowed_words()["test"]


def test_example_is_unknown_after_removal() -> None:
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=80, n_genes=4, seed=3)
    with pytest.raises(InputError, match="test='greater': allowed are"):
        sc_glmm.tl.test(adata, FORMULA, test="greater")


def test_result_of_a_test_has_the_columns_of_the_table() -> None:
    assert set(MixtureTest.__dataclass_fields__) == {"coef", "se", "low", "high", "stat", "p_value", "df", "confidence"}
