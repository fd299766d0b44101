"""Check degrees of freedom between samples: known designs and invariances."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sc_glmm._design import build_contrasts, build_design, residual_df
from sc_glmm._formula import parse_formula


def cells(n_donors: int = 8, per_donor: int = 2, n_cells: int = 6) -> pd.DataFrame:
    """Make donors with a disease, samples of different treatments for each donor, and cells for each sample."""
    rng = np.random.default_rng(0)
    donor = np.repeat(np.arange(n_donors), per_donor * n_cells)
    visit = np.tile(np.repeat(np.arange(per_donor), n_cells), n_donors)
    n = donor.size
    return pd.DataFrame(
        {
            "donor": [f"d{i}" for i in donor],
            "sample": [f"d{i}_{j}" for i, j in zip(donor, visit, strict=True)],
            "stim": np.where(visit == 0, "a_ctrl", "stim"),
            "visit": visit,
            "disease": np.where(donor < n_donors // 2, "a_ctl", "sick"),
            "age": (donor * 7 % 5).astype(float),
            "batch": donor % 4,
            "twin": 7 - donor,
            "plate": rng.integers(0, 5, n),
            "x": rng.normal(size=n),
            "kind": rng.choice(["t", "u", "v"], n),
        }
    )


def df_of(source: str, contrast: object = None, data: pd.DataFrame | None = None) -> float:
    data = cells() if data is None else data
    design = build_design(parse_formula(source), data, check_replication=False)
    contrasts = build_contrasts(design, contrast)
    return residual_df(contrasts[0].L, design.fixed.X, design.random)


@pytest.mark.parametrize(
    ("source", "contrast", "df"),
    [
        # factor that is constant within donors: donors minus groups
        ("~ disease + (1 | donor)", "disease", 8 - 2),
        ("~ disease + (1 | donor) + (1 | sample)", "disease", 8 - 2),
        ("~ disease + (1 | donor/sample)", "disease", 8 - 2),
        ("~ disease + age + (1 | donor) + (1 | sample)", "disease", 8 - 3),
        ("~ disease + stim + (1 | donor) + (1 | sample)", "disease", 8 - 2),
        # the same with samples only: the model assumes independent samples
        ("~ disease + (1 | sample)", "disease", 16 - 2),
        ("~ disease + stim + (1 | sample)", "disease", 16 - 3),
        # treatment within donors: the paired t-test
        ("~ stim + (1 | donor) + (1 | sample)", "stim", 16 - 8 - 1),
        ("~ donor + stim + (1 | sample)", "stim", 16 - 9),
        ("~ stim + (1 | donor/sample)", "stim", 7),
        ("~ stim + (1 | sample)", "stim", 14),
        ("~ disease*stim + (1 | donor) + (1 | sample)", "disease:stim", 16 - 8 - 2),
        ("~ disease*stim + (1 | donor) + (1 | sample)", "stim", 16 - 8 - 2),
        # treatment without a sample effect: it varies within every group, like a covariate of cells
        ("~ stim + (1 | donor)", "stim", 8 - 1),
        # covariates of cells: levels of the finest factor
        ("~ disease + x + (1 | donor)", "x", 7),
        ("~ disease + x + (1 | donor) + (1 | sample)", "x", 15),
        ("~ kind + (1 | sample)", "kind", 15),
        ("~ kind*disease + (1 | sample)", "kind:disease", 15),
        # slopes do not change the degrees of freedom
        ("~ stim + (1 + stim | donor) + (1 | sample)", "stim", 7),
        ("~ disease + x + (x || donor)", "disease", 6),
        # donors nested in batches
        ("~ disease + (1 | batch) + (1 | donor)", "disease", 8 - (1 + 4)),
        # a crossed factor without nested levels
        ("~ disease + (1 | plate) + (1 | sample)", "disease", 14),
        ("~ stim + (1 | plate) + (1 | donor) + (1 | sample)", "stim", 7),
        # two names for one partition
        ("~ disease + (1 | donor) + (1 | twin)", "disease", 8 - 2),
        # without an intercept
        ("~ 0 + disease + (1 | donor)", ("disease", "sick", "a_ctl"), 6),
        ("~ 0 + disease + (1 | donor)", "disease", 6),
        # several columns: the smallest counts
        ("~ disease + stim + (1 | donor) + (1 | sample)", {"k": ["disease", "stim"]}, 6),
        ("~ disease*x + (1 | donor)", ("disease", "sick", "a_ctl"), 6),
        # the intercept counts only on its own
        ("~ 1 + (1 | donor)", "Intercept", 7),
        ("~ 1 + (1 | donor) + (1 | sample)", "Intercept", 7),
        ("~ stim + (1 | batch) + (1 | donor) + (1 | sample)", {"k": [1, 1]}, 16 - 8 - 1),
        ("~ stim + (1 | batch) + (1 | donor) + (1 | sample)", "Intercept", 4 - 1),
        # confounded
        ("~ donor + (1 | donor)", "donor", 0),
        ("~ donor + stim + (1 | donor) + (1 | sample)", "donor", 0),
        ("~ C(visit):donor + (1 | sample)", None, 0),
        ("~ donor + (1 | sample)", "donor", 16 - 8),
    ],
)
def test_known_designs(source: str, contrast: object, df: float) -> None:
    assert df_of(source, contrast) == df


def test_twelve_samples_in_two_groups() -> None:
    assert df_of("~ disease + (1 | sample)", data=cells(12, 1)) == 10


def test_unbalanced_and_unpaired() -> None:
    data = cells()
    data = data[~data["sample"].isin(["d0_1", "d3_0"])]
    assert df_of("~ stim + (1 | donor) + (1 | sample)", data=data) == 14 - 8 - 1
    assert df_of("~ stim + (1 | sample)", data=data) == 12


def test_one_sample_in_an_arm_is_enough_but_saturation_is_not() -> None:
    data = cells(3, 1)
    assert df_of("~ disease + (1 | sample)", data=data) == 1
    assert df_of("~ disease + age + (1 | sample)", data=data) == 0
    assert df_of("~ disease + (1 | sample)", data=cells(2, 1)) == 0


def test_without_random_effects_rows_are_the_units() -> None:
    assert df_of("~ disease + x") == len(cells()) - 3


def test_number_of_cells_does_not_matter() -> None:
    for n_cells in (1, 2, 50):
        assert df_of("~ stim + (1 | donor) + (1 | sample)", data=cells(n_cells=n_cells)) == 7
        assert df_of("~ disease + x + (1 | sample)", "x", data=cells(n_cells=max(n_cells, 2))) == 15


def test_units_do_not_matter() -> None:
    for scale in (1e-9, 1.0, 1e9):
        data = cells()
        data["age"] *= scale
        assert df_of("~ disease + age + (1 | donor)", "age", data) == 5


def test_accepts_a_single_row() -> None:
    design = build_design(parse_formula("~ disease + (1 | donor)"), cells())
    assert residual_df([0, 1], design.fixed.X, design.random) == 6
    assert residual_df([0, 0], design.fixed.X, design.random) == 0


@given(st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_order_of_rows_terms_and_labels_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = cells().sample(frac=1, random_state=seed)
    relabel = dict(zip(data["donor"].unique(), rng.permutation(100)[:8], strict=True))
    data["donor"] = data["donor"].map(relabel)
    assert df_of("~ stim + disease + (1 | sample) + (1 | donor)", "stim", data) == 7
    assert df_of("~ stim + disease + (1 | donor) + (1 | sample)", "disease", data) == 6
