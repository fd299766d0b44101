"""Define runs of the golden record that test genes: families, designs, tests, contrasts, formats and ways to run."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from data import simulated

import sc_glmm
from sc_glmm import cond

Frames = dict[str, pd.DataFrame]
BETWEEN = "counts ~ disease + (1|sample)"
PAIRED = "counts ~ stim + (1|donor) + (1|sample)"
CTL = {"reference": {"disease": "ctl"}}
FEW = ["g00", "g04", "g07", "g08", "g12", "g20"]

# name -> formula and options of tl.test
TESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "default": (BETWEEN, CTL),
    **{f"test_{test}": (BETWEEN, {**CTL, "test": test}) for test in ("eb_wald", "hk", "ql", "t", "wald", "lrt")},
    **{f"test_{test}": (PAIRED, {"test": test}) for test in ("satterthwaite", "satterthwaite_moderated")},
    "test_bootstrap": (BETWEEN, {**CTL, "test": "bootstrap", "genes": FEW[:3], "n_boot": 19, "seed": 4}),
    "poisson": (BETWEEN, {**CTL, "family": "poisson"}),
    "poisson_ml_t": (BETWEEN, {**CTL, "family": "poisson", "method": "ml", "test": "t"}),
    "shrunken_dispersion": (BETWEEN, {**CTL, "dispersion": "shrunken"}),
    "ml_lrt": (BETWEEN, {**CTL, "method": "ml", "test": "lrt"}),
    "quadrature": (BETWEEN, {**CTL, "method": "ml", "n_agq": 7, "test": "t"}),
    "quadrature_default": (BETWEEN, {**CTL, "method": "ml", "n_agq": 5}),
    "size_factors": (BETWEEN, {**CTL, "size_factors": "size"}),
    "offset": (BETWEEN, {**CTL, "offset": "log_size", "test": "hk"}),
    "adjusted_sample_level": ("counts ~ disease + age + (1|sample)", {**CTL, "contrasts": "disease"}),
    "nested": ("counts ~ disease + (1|donor/sample)", CTL),
    "crossed": ("counts ~ disease + (1|sample) + (1|batch)", {**CTL, "test": "t"}),
    "paired": (PAIRED, {}),
    "paired_t": (PAIRED, {"test": "t"}),
    "paired_interaction": ("counts ~ disease * stim + (1|donor) + (1|sample)", CTL),
    "three_levels": ("counts ~ stage + (1|sample)", {"reference": {"stage": "none"}}),
    "three_levels_named": (
        "counts ~ stage + (1|sample)",
        {"reference": {"stage": "none"}, "contrasts": {"late": "late", "both": ["late", "mild"], "x": "late vs mild"}},
    ),
    "spline": ("counts ~ bs(age, df=3) + (1|sample)", {"test": "t"}),
    "cell_factor": ("counts ~ disease + phase + (1|sample)", {**CTL, "contrasts": "disease"}),
    "cell_factor_tested": ("counts ~ disease + phase + (1|sample)", {"contrasts": ["phase", "S vs G1"]}),
    "cell_factor_homogeneous": ("counts ~ disease + phase + (1|sample)", {**CTL, "within": "homogeneous"}),
    "cell_number": ("counts ~ disease + mito + (1|sample)", {**CTL, "contrasts": "disease", "test": "t"}),
    "cell_number_tested": ("counts ~ disease + mito + (1|sample)", {**CTL, "genes": FEW, "test": "t"}),
    "cell_numbers": ("counts ~ disease + mito + score + (1|sample)", {**CTL, "test": "t", "genes": FEW}),
    "slope": ("counts ~ mito + (mito|sample)", {"genes": FEW, "test": "t"}),
    "independent_slope": ("counts ~ disease * mito + (mito||sample)", {**CTL, "genes": FEW, "test": "wald"}),
    "interaction_cond": (
        "counts ~ disease * phase + (1|sample) + (1|sample:phase)",
        {
            **CTL,
            "test": "t",
            "contrasts": {
                "S": cond(disease="AD", phase="S") - cond(disease="ctl", phase="S"),
                "triple": ("disease", "AD", "ctl"),
                "term": "disease:phase",
            },
        },
    ),
    "weights": (BETWEEN, {**CTL, "contrasts": {"by_name": pd.Series({"disease[T.AD]": 2.0})}, "test": "lrt"}),
    "weights_array": (BETWEEN, {**CTL, "contrasts": np.array([0.0, 1.0]), "test": "wald"}),
    "groupby": (BETWEEN, {**CTL, "groupby": "kind"}),
    "groupby_global": (
        BETWEEN,
        {**CTL, "groupby": "kind", "adjust": "global", "test": "t", "min_cells": 30, "min_samples": 2, "min_counts": 5},
    ),
    "genes_column": (BETWEEN, {**CTL, "genes": "chosen"}),
    "genes_names": (BETWEEN, {**CTL, "genes": FEW}),
    "min_counts": (BETWEEN, {**CTL, "min_counts": 20}),
    "gaussian": ("logs ~ disease + (1|sample)", {**CTL, "family": "gaussian"}),
    "gaussian_lrt": ("logs ~ disease + (1|sample)", {**CTL, "family": "gaussian", "test": "lrt"}),
    "gaussian_wald": ("logs ~ disease + mito + (1|sample)", {**CTL, "family": "gaussian", "test": "wald"}),
    "gaussian_t_ml": (
        "logs ~ stim * disease + (1|donor/sample)",
        {**CTL, "family": "gaussian", "test": "t", "method": "ml"},
    ),
    "gaussian_slope": ("logs ~ mito + phase + (mito|sample)", {"family": "gaussian", "contrasts": ["mito", "phase"]}),
    "gaussian_groupby": ("logs ~ disease + (1|sample)", {**CTL, "family": "gaussian", "groupby": "kind"}),
}


def _tested(adata: Any, formula: str, **options: Any) -> ad.AnnData:
    return sc_glmm.tl.test(adata, formula, copy=True, progress=False, **options)


def _run(formula: str, options: dict[str, Any]) -> Frames:
    adata = _tested(simulated(), formula, **options)
    frames = {"results": sc_glmm.get.results(adata, columns="all")}
    if "groupby" in options:
        frames["details"] = sc_glmm.get.details(adata)
    return frames


def _written(form: str, folder: Path) -> Path:
    adata = simulated().copy()
    if form != "zarr":
        adata.layers["counts"] = adata.layers["counts"].asformat(form)
        adata.write_h5ad(folder / "in.h5ad")
        return folder / "in.h5ad"
    adata.write_zarr(folder / "in.zarr")
    return folder / "in.zarr"


def _from_file(form: str, limit: str | None) -> Frames:
    with tempfile.TemporaryDirectory() as folder:
        path = _written(form, Path(folder))
        adata = _tested(path, BETWEEN, memory_limit=limit, **CTL)
        return {"results": sc_glmm.get.results(adata, columns="all")}


def _dense() -> Frames:
    adata = simulated().copy()
    adata.layers["counts"] = adata.layers["counts"].toarray()
    return {"results": sc_glmm.get.results(_tested(adata, BETWEEN, test="t", **CTL), columns="all")}


def _command(*arguments: object) -> None:
    script = Path(sys.executable).with_name("sc-glmm")
    subprocess.run([str(a) for a in (script, *arguments)], check=True, capture_output=True)


def _chunks(form: str, stages: tuple[str, ...]) -> Frames:
    """Run the command in two chunks, and combine them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = _written(form, folder)
        for stage in stages:
            for chunk in (0, 1):
                options = ("--reference", "disease=ctl", "--n-chunks", 2, "--chunk", chunk, "--stage", stage)
                _command("test", path, BETWEEN, "-o", folder / "parts", *options)
        _command("combine", folder / "parts", "-o", folder / "out.csv")
        return {"results": pd.read_csv(folder / "out.csv")}


def _dask() -> Frames:
    from distributed import Client, LocalCluster

    with tempfile.TemporaryDirectory() as folder:
        path = _written("csr", Path(folder))
        options = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
        with LocalCluster(**options) as cluster, Client(cluster):
            adata = _tested(path, BETWEEN, test="t", **CTL)
        return {"results": sc_glmm.get.results(adata, columns="all")}


def _refits(formula: str, genes: list[str], options: dict[str, Any], group: str | None = None) -> Frames:
    adata = simulated().copy()
    sc_glmm.tl.test(adata, formula, progress=False, **options)
    frames: Frames = {}
    for gene in genes:
        model = sc_glmm.tl.refit(adata, gene, group=group)
        frames[f"{gene}_test"] = model.test
        frames[f"{gene}_tidy"] = model.tidy()
        frames[f"{gene}_glance"] = model.glance()
    return frames


def runs() -> Iterator[tuple[str, Callable[[], Frames]]]:
    """Return every run by name."""
    for name, (formula, options) in TESTS.items():
        yield name, lambda formula=formula, options=options: _run(formula, options)
    for form in ("csr", "csc", "zarr"):
        yield f"file_{form}", lambda form=form: _from_file(form, None)
    yield "file_in_passes", lambda: _from_file("csr", "100 kB")
    yield "dense", _dense
    yield "chunks_csr", lambda: _chunks("csr", ("compress", "fit", "profile"))
    yield "chunks_csc", lambda: _chunks("csc", ("fit", "profile"))
    yield "dask", _dask
    yield "refit", lambda: _refits(BETWEEN, ["g00", "g07", "g20"], CTL)
    yield "refit_paired_hk", lambda: _refits(PAIRED, ["g04", "g20"], {"test": "hk"})
    yield "refit_groupby", lambda: _refits(BETWEEN, ["g04", "g20"], {**CTL, "groupby": "kind"}, "T")
    gaussian = {**CTL, "family": "gaussian"}
    yield "refit_gaussian", lambda: _refits("logs ~ disease + (1|sample)", ["g04", "g20"], gaussian)
