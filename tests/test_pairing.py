"""Check the note about a column that pairs the samples of two arms; its structure matters, not its name."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest

import sc_glmm
from sc_glmm._fit.pairing import pairing_note
from sc_glmm._formula import parse_formula

FORMULA = parse_formula("counts ~ arm + (1|library)")
N_DONORS = 6


def cells(paired: int = N_DONORS, per_library: int = 3) -> pd.DataFrame:
    """Make donors; the first `paired` have samples in both arms, the others in one."""
    rows = []
    for donor in range(N_DONORS):
        for arm in ("x", "y") if donor < paired else (("x", "y")[donor % 2],):
            rows += [{"arm": arm, "library": f"{donor}{arm}", "who": f"d{donor}"}] * per_library
    frame = pd.DataFrame(rows)
    return frame.set_axis(pd.Index([f"c{i}" for i in range(len(frame))]))


def note(frame: pd.DataFrame, formula=FORMULA, **labels) -> str | None:
    return pairing_note(formula, frame, pd.DataFrame(labels, index=frame.index))


@pytest.mark.parametrize("name", ["donor", "Größe", "x1", "my column", "batch"])
@pytest.mark.parametrize("kind", [str, "category", int])
def test_name_and_type_of_the_column_do_not_matter(name, kind) -> None:
    frame = cells()
    who = pd.factorize(frame["who"])[0] if kind is int else frame["who"].astype(kind)
    message = note(frame, **{name: who})
    text = name if name.isidentifier() else f"`{name}`"
    assert message is not None and message.endswith(f"counts ~ arm + (1|library) + (1|{text})")
    assert parse_formula(message.rpartition(": ")[2]).random  # the proposed formula can be parsed
    assert f"6 of 6 levels of {name!r}" in message


def test_some_pairs_are_enough_and_few_are_not() -> None:
    assert note(cells(4), who=cells(4)["who"]) is not None
    assert note(cells(2), who=cells(2)["who"]) is None
    assert note(cells(0), who=cells(0)["who"]) is None


def test_other_columns_are_not_reported() -> None:
    frame = cells()
    n = len(frame)
    others = {
        "library again": frame["library"].map(lambda name: f"s{name}"),
        "arm again": frame["arm"].str.upper(),
        "cell": [f"b{i}" for i in range(n)],
        "within libraries": np.arange(n) % 3,
        "two batches": frame["who"].isin(["d0", "d1", "d2"]).astype(str),
        "one": "x",
        "mostly missing": pd.Series(np.where(frame["who"] == "d0", "d0", None), index=frame.index),
    }
    for name, values in others.items():
        assert note(frame, **{name: values}) is None, name


def test_no_note_if_the_formula_already_pairs() -> None:
    frame = cells()
    frame["same"] = frame["who"].str.upper()
    for formula in ("y ~ arm + (1|who)", "y ~ arm + (1|who/library)", "y ~ arm + who + (1|library)"):
        assert pairing_note(parse_formula(formula), frame, frame[["same", "who"]]) is None, formula
    # there is no comparison between samples
    assert pairing_note(parse_formula("y ~ 1 + (1|library)"), frame, frame[["who"]]) is None


@pytest.mark.parametrize("order", list(itertools.permutations(range(3)))[:4])
def test_column_with_the_most_levels_is_named_in_any_order(order) -> None:
    frame = cells()
    options = {"who": frame["who"], "centre": frame["who"].map(lambda w: f"centre {int(w[1]) // 2}"), "age": 50}
    note = pairing_note(FORMULA, frame, pd.DataFrame(options).iloc[:, list(order)])
    assert note is not None and "'who'" in note


@pytest.mark.parametrize("where", ["memory", "h5ad", "zarr"])
def test_run_gives_the_note_once_from_memory_and_from_files(where, tmp_path) -> None:
    adata = sc_glmm.datasets.simulate(n_samples=12, n_cells=720, n_genes=12, seed=2)
    frame = adata.obs
    samples = {arm: list(dict.fromkeys(frame.loc[frame["disease"] == arm, "sample"])) for arm in ("ctl", "AD")}
    pair = {sample: f"p{i}" for names in samples.values() for i, sample in enumerate(names)}
    adata.obs["who"] = pd.Categorical(frame["sample"].astype(str).map(pair))
    adata.obs["kind"] = pd.Categorical(["a", "b"] * 360)
    data = adata
    if where != "memory":
        data = tmp_path / f"data.{where}"
        (adata.write_h5ad if where == "h5ad" else adata.write_zarr)(data)

    def notes_of(formula: str) -> list[str]:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            sc_glmm.tl.test(
                data, formula, reference={"disease": "ctl"}, test="t", groupby="kind", copy=True, progress=False
            )
        return [str(each.message) for each in found if "as if they were independent" in str(each.message)]

    (once,) = notes_of("counts ~ disease + (1|sample)")
    assert "6 of 6 levels of 'who'" in once
    assert notes_of("counts ~ disease + (1|sample) + (1|who)") == []


def ages(n: int, span: int, n_arms: int, rng: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray]:
    """Samples whose ages have nothing to do with their arms."""
    arm = rng.permutation(np.arange(n) % n_arms)
    frame = pd.DataFrame({"arm": [f"a{a}" for a in arm], "library": [f"s{i}" for i in range(n)]})
    return frame, rng.integers(30, 30 + span, n)


@pytest.mark.parametrize("as_text", [False, True], ids=["integers", "text of integers"])
def test_ages_that_samples_share_by_chance_do_not_pair(as_text, rng) -> None:
    said = 0
    for _ in range(400):
        frame, age = ages(int(rng.integers(6, 60)), int(rng.integers(4, 50)), int(rng.integers(2, 4)), rng)
        said += note(frame, age=age.astype(str) if as_text else age) is not None
    assert said <= 8  # before numbers needed more evidence, about 60


@pytest.mark.parametrize("kind", [int, str, "category"])
@pytest.mark.parametrize(("donors", "paired"), [(6, 6), (8, 7), (20, 12), (40, 25)])
def test_numbers_of_donors_pair(kind, donors, paired, rng) -> None:
    numbers = rng.choice(np.arange(100, 2000), donors, replace=False)
    rows = [
        {"arm": arm, "library": f"{i}{arm}", "donor": number}
        for i, number in enumerate(numbers)
        for arm in (("x", "y") if i < paired else ("xy"[i % 2],))
    ]
    frame = pd.DataFrame(rows)
    said = note(frame, donor=frame["donor"].astype(kind))
    assert said is not None and f"{paired} of {donors} levels of 'donor'" in said
