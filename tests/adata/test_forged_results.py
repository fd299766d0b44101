"""A file with results by a stranger: what does not fit is refused with file and element, and no number changes."""

from __future__ import annotations

import shutil
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

import sc_glmm
from sc_glmm import InputError
from sc_glmm.cli import app
from tests.adata import forge

OPTIONS = {"reference": {"disease": "ctl"}, "progress": False}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "data.h5ad"
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=600, n_genes=70, seed=3)
    adata.obs["half"] = np.where(np.arange(600) % 2 == 0, "a", "b")
    adata.write_h5ad(path)
    sc_glmm.tl.test(path, "counts ~ disease + (1|sample)", **OPTIONS)
    sc_glmm.tl.test(path, "counts ~ disease + (1|sample)", groupby="half", key_added="by", **OPTIONS)
    return path


def read_all(path: Path, key: str, group: str | None) -> None:
    sc_glmm.get.results(path, key)
    sc_glmm.get.variance_fractions(path, key)
    sc_glmm.tl.refit(path, "gene_01", key=key, group=group)
    sc_glmm.power(path, key=key, group=group, n_samples=4, cells_per_sample=50)


@pytest.fixture(scope="module")
def expected(whole) -> dict[str, object]:
    """What each reader makes of the intact file."""
    return {name: reader(whole) for name, reader in forge.readers("gene_01", "glmm", None).items()}


@pytest.mark.parametrize("number", range(len(forge.KINDS)))
def test_every_forged_element_is_refused_by_name_or_changes_nothing(whole, expected, number):
    """Each kind forges a fifth of the elements; ``python tests/adata/forge.py`` forges all of them."""
    read, kind = forge.readers("gene_01", "glmm", None), list(forge.KINDS)[number]
    tried = 0
    every = 1 if kind == "json_of_others" else 5  # few elements are of this form
    for i, name in enumerate(forge.elements(whole, "glmm")[number % every :: every]):
        # half of them without checksums; all readers for a few elements, the one that reads most for the others
        chosen = read if i % 7 == 0 else {"fractions": read["fractions"]}
        for label, what in forge.outcomes(whole, name, kind, chosen, expected, sealed=i % 2 == 0):
            assert what in ("error", "same"), f"{name}, {kind}, {label}: {what}"
            tried += 1
    assert tried > 0


@pytest.mark.parametrize("kind", ["missing", "another_kind", "negative", "longer"])
def test_forged_elements_of_a_run_with_groups(whole, kind):
    read = {"fractions": forge.readers("gene_01", "by", "b")["fractions"]}
    for name in forge.elements(whole, "by")[len(kind) % 4 :: 4]:
        for label, what in forge.outcomes(whole, name, kind, read, {}, sealed=False):
            assert what in ("error", "same"), f"{name}, {kind}, {label}: {what}"


def test_the_whole_file_is_read(whole):
    read_all(whole, "glmm", None)
    read_all(whole, "by", "a")


@pytest.mark.parametrize(
    ("element", "value"),
    [
        ("grids/0/theta", np.full((15, 2), 0.5)),
        ("priors/0/marginal_0", np.full((1, 15), 0.5)),
        ("priors/0/anchors", np.array([np.nan])),
        ("params/n_obs", 599.5),
        ("params/family", "cauchy"),
        ("params/contrast_rows", '{"disease": [[0.0, 1.0, 0.0]]}'),
        ("params/log_sample_factors", '{"s01": "x"}'),
        ("params/formula_fitted", "counts ~ I(disease.tofile('x')) + (1|sample)"),
        ("params/pilot", "[" * 10**5),
        ("variances/0/total", np.full((3, 2, 1), 1.0)),
    ],
)
@pytest.mark.parametrize("door", ["info", "plot", "report", "power"])
def test_a_command_ends_with_code_2_and_names_the_element(whole, tmp_path, element, value, door):
    path = Path(shutil.copy(whole, tmp_path / "forged.h5ad"))
    with h5py.File(path, "r+") as file:
        del file["uns/glmm/params/checksums"]  # a forger computes new ones
        forge.put(file, f"uns/glmm/{element}", value)
    words = {
        "info": ["info", path],
        "plot": ["plot", path, "volcano", "-o", tmp_path / "out.png"],
        "report": ["report", path, "-o", tmp_path / "out.html"],
        "power": ["power", path, "--samples", "4", "--cells", "50"],
    }[door]
    made = CliRunner().invoke(app, [str(word) for word in words])
    assert made.exit_code == 2, made.output
    assert "forged.h5ad" in made.stderr and f"uns/glmm/{element}" in made.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["forged.h5ad"]


def test_a_grid_with_other_parameters_than_the_model(whole, tmp_path):
    path = Path(shutil.copy(whole, tmp_path / "forged.h5ad"))
    with h5py.File(path, "r+") as file:
        del file["uns/glmm/params/checksums"]
        for place in ("grids", "priors"):
            forge.put(file, f"uns/glmm/{place}/0/theta", np.full((15, 2), 0.5))
    with pytest.raises(InputError, match="has 2 covariance parameters, but the model has 1"):
        sc_glmm.tl.refit(path, "gene_01")


def test_a_changed_number_is_found_by_the_checksum(whole, tmp_path):
    path = Path(shutil.copy(whole, tmp_path / "forged.h5ad"))
    with h5py.File(path, "r+") as file:
        mass = file["uns/glmm/priors/0/marginal_0"][()]
        file["uns/glmm/priors/0/marginal_0"][...] = mass[:, ::-1]
    with pytest.raises(InputError, match=r"forged\.h5ad: uns/glmm/priors was changed after the run"):
        sc_glmm.tl.refit(path, "gene_01")


def test_checksums_do_not_depend_on_the_form_of_a_file(whole, tmp_path):
    adata = ad.read_h5ad(whole)
    expected = sc_glmm.get.results(adata, columns="all")
    adata[:, ::2].copy().write_zarr(tmp_path / "other.zarr")
    found = sc_glmm.get.results(tmp_path / "other.zarr", columns="all")
    np.testing.assert_array_equal(found["p_value"], expected["p_value"][::2])
    adata.uns["glmm"]["params"]["contrast_keys"] = "disease"  # R has no lists of one word
    assert len(sc_glmm.get.results(adata)) == 70
