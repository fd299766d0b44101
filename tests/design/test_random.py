"""Check the random part: codes, levels and Z against tables by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sc_glmm
from sc_glmm._design import ReTerm, build_design
from sc_glmm._formula import parse_formula

DATA = pd.DataFrame(
    {
        "x": [0.5, 1.0, -2.0, 3.0, 0.0, 1.5, 2.0, -1.0],
        "z": [1.0, 4.0, 2.0, 8.0, 5.0, 7.0, 1.0, 3.0],
        "f": list("uvwuvwuv"),
        "a": list("qqppqqpp"),
        "b": list("mnmnnmmn"),
    }
)
X, Z = DATA["x"].to_numpy(), DATA["z"].to_numpy()
ONE = np.ones(8)
U, V, W = ((DATA["f"] == level).to_numpy(dtype=float) for level in "uvw")


def random_of(bars: str, data: pd.DataFrame = DATA) -> tuple[ReTerm, ...]:
    return build_design(parse_formula(f"~ 1 + {bars}"), data).random


@pytest.mark.parametrize(
    ("bar", "names", "columns"),
    [
        ("(1 | a)", ["Intercept"], [ONE]),
        ("(x | a)", ["Intercept", "x"], [ONE, X]),
        ("(1 + x | a)", ["Intercept", "x"], [ONE, X]),
        ("(0 + x | a)", ["x"], [X]),
        ("(x - 1 | a)", ["x"], [X]),
        ("(x + z | a)", ["Intercept", "x", "z"], [ONE, X, Z]),
        ("(x*z | a)", ["Intercept", "x", "z", "x:z"], [ONE, X, Z, X * Z]),
        ("(0 + x:z | a)", ["x:z"], [X * Z]),
        ("(f | a)", ["Intercept", "f[T.v]", "f[T.w]"], [ONE, V, W]),
        ("(0 + f | a)", ["f[u]", "f[v]", "f[w]"], [U, V, W]),
        ("(0 + f:x | a)", ["f[u]:x", "f[v]:x", "f[w]:x"], [U * X, V * X, W * X]),
        ("(log(z) | a)", ["Intercept", "log(z)"], [ONE, np.log(Z)]),
        ("(0 + C(f, contr.treatment('w')) | a)", None, [U, V, W]),
        ("(C(f, contr.treatment('w')) | a)", None, [ONE, U, V]),
    ],
)
def test_basis(bar: str, names: list[str] | None, columns: list[np.ndarray]) -> None:
    (term,) = random_of(bar)
    if names is not None:
        assert list(term.names) == names
    np.testing.assert_allclose(term.Z, np.column_stack(columns), atol=1e-14)
    assert term.Z.flags.c_contiguous
    assert term.Z.dtype == np.float64
    assert term.group == "a"
    assert term.levels == ("p", "q")
    np.testing.assert_array_equal(term.codes, [1, 1, 0, 0, 1, 1, 0, 0])


def test_no_correlation_is_one_term_for_each_effect() -> None:
    terms = random_of("(x*f || a)")
    assert [term.label for term in terms] == ["(1 | a)", "(0 + x | a)", "(0 + f | a)", "(0 + x:f | a)"]
    assert [term.names for term in terms] == [
        ("Intercept",),
        ("x",),
        ("f[u]", "f[v]", "f[w]"),  # as in lme4, a factor keeps the correlations among its levels
        ("x:f[u]", "x:f[v]", "x:f[w]"),
    ]


def test_interaction_of_groups() -> None:
    (term,) = random_of("(1 | a:b)")
    assert term.group == "a:b"
    assert term.levels == ("p:m", "p:n", "q:m", "q:n")
    np.testing.assert_array_equal(term.codes, [2, 3, 0, 1, 3, 2, 0, 1])


def test_nested_groups_have_the_names_of_lme4() -> None:
    outer, inner = random_of("(1 | a/b)")
    assert (outer.label, outer.group, outer.levels) == ("(1 | a)", "a", ("p", "q"))
    assert (inner.label, inner.group) == ("(1 | a:b)", "b:a")
    assert inner.levels == ("m:p", "m:q", "n:p", "n:q")
    np.testing.assert_array_equal(inner.codes, [1, 3, 0, 2, 3, 1, 0, 2])


def test_only_combinations_that_occur_are_levels() -> None:
    data = pd.DataFrame({"a": list("ppqqrr"), "b": list("112233"), "c": list("xyxyxy")})
    (term,) = random_of("(1 | a:b)", data)
    assert term.levels == ("p:1", "q:2", "r:3")
    (three,) = random_of("(1 | c:b:a)", pd.concat([data, data]))
    assert three.levels == ("x:1:p", "x:2:q", "x:3:r", "y:1:p", "y:2:q", "y:3:r")
    assert three.group == "c:b:a"


def test_several_terms_keep_their_order_and_are_independent() -> None:
    terms = random_of("(1 | b) + (x | a) + (0 + z | b)")
    assert [term.label for term in terms] == ["(1 | b)", "(x | a)", "(0 + z | b)"]
    assert [term.group for term in terms] == ["b", "a", "b"]


def test_categories_keep_their_order_without_unused_ones() -> None:
    data = DATA.assign(a=pd.Categorical(DATA["a"], categories=["q", "none", "p"]))
    (term,) = random_of("(1 | a)", data)
    assert term.levels == ("q", "p")
    np.testing.assert_array_equal(term.codes, [0, 0, 1, 1, 0, 0, 1, 1])


@given(st.integers(0, 10**6), st.integers(2, 40))
@settings(max_examples=30, deadline=None)
def test_relabelled_and_permuted_groups_partition_the_rows_alike(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    codes = np.concatenate([[0, 1, 0, 1], rng.integers(0, 4, n)])
    labels = rng.permutation([f"s{i}" for i in range(4)])
    data = pd.DataFrame({"k": codes, "s": labels[codes], "h": rng.integers(0, 2, n + 4)})
    data.loc[:1, "h"] = [0, 1]
    one, two = (
        build_design(parse_formula(f"~ 1 + (1 | {group})"), data, check_replication=False).random[0].codes
        for group in ("k:h", "h:s")
    )
    assert len(set(zip(one, two, strict=True))) == len(set(one)) == len(set(two))


@pytest.mark.parametrize("second", ["(0 + x | a:b)", "(0 + x | b:a)"])
@pytest.mark.parametrize("first", ["(1 | a/b)", "(1 | a) + (1 | a:b)", "(1 | b:a)"])
def test_one_grouping_factor_has_one_name(first: str, second: str) -> None:
    """However its columns are ordered: with (1 | a/b), a slope for a:b was refused as another factor."""
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"a": np.repeat(list("uvw"), 20), "b": np.tile(np.repeat(list("kl"), 5), 6)})
    data["x"] = rng.normal(size=60)
    design = build_design(parse_formula(f"~ x + {first} + {second}"), data)
    *_, one, two = design.random
    assert one.group == two.group and one.levels == two.levels and one.keys == two.keys
    np.testing.assert_array_equal(one.codes, two.codes)
    np.testing.assert_array_equal(two.codes_at(data), two.codes)
    fit = sc_glmm.lmer(f"y ~ x + {first} + {second}", data.assign(y=data["x"] + rng.normal(size=60)))
    assert len(fit.ranef()) == len({term.group for term in design.random})
