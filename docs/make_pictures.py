"""Pictures of the README, the start page and the gallery: ``python docs/make_pictures.py``.

They are kept in ``docs/figures``, so that the README shows them wherever it is read.
Run this after a figure has changed.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")
import drawings
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from anndata import AnnData
from PIL import Image, ImageOps

import sc_glmm

FIGURES = Path(__file__).parent / "figures"
FORMULA = "counts ~ disease + (1|sample)"


def example() -> AnnData:
    """The data of the README."""
    adata = sc_glmm.datasets.simulate(n_samples=12, n_cells=6000, n_genes=500, seed=0)
    sc_glmm.tl.test(adata, FORMULA, reference={"disease": "ctl"}, progress=False)
    return adata


def readme(adata: AnnData) -> None:
    """A volcano plot and the samples of one of its genes."""
    top = sc_glmm.get.results(adata, alpha=0.05, sort="p_value")["variable"].iloc[1]
    with plt.rc_context({"font.size": 8}):
        figure, axes = plt.subplots(1, 2, figsize=(7.4, 2.9), dpi=200, layout="constrained")
        sc_glmm.pl.volcano(adata, n_labels=5, ax=axes[0])
        sc_glmm.pl.samples(adata, top, ax=axes[1])
        figure.savefig(FIGURES / "readme.png", facecolor="white")
        plt.close(figure)


def several() -> AnnData:
    """Data with cell types, for the figures across them."""
    adata = sc_glmm.datasets.simulate(
        n_samples=12, n_cells=6000, n_genes=500, n_cell_types=3, log_fc=(0.8, 2.0), seed=3
    )
    sc_glmm.tl.test(adata, FORMULA, reference={"disease": "ctl"}, groupby="cell_type", progress=False)
    return adata


def hidden() -> AnnData:
    """Data with a batch that nobody wrote down."""
    adata = sc_glmm.datasets.simulate(n_samples=12, n_cells=3000, n_genes=500, seed=5, depth=400)
    sc_glmm.pp.latent_factors(adata, FORMULA, n_factors=1, reference={"disease": "ctl"})
    return adata


def composition() -> AnnData:
    """Twelve samples of six cell types, one of which grows in the patients."""
    rng = np.random.default_rng(1)
    change = np.log([1.0, 1.0, 1.0, 4.0, 1.0, 1.0])
    names = [f"s{i}" for i in range(12)]
    level = np.array([0.0, 1.2, 0.8, 0.5, 0.2, -1.0]) + np.outer(np.arange(12) >= 6, change)
    cells = rng.poisson(100 * np.exp(level + rng.normal(0, 0.3, level.shape)))
    sample, kind = np.repeat(np.indices(cells.shape).reshape(2, -1), cells.ravel(), axis=1)
    obs = pd.DataFrame(
        {
            "sample": np.array(names)[sample],
            "disease": np.where(sample >= 6, "AD", "ctl"),
            "cell_type": np.array(["B", "CD4 T", "CD8 T", "Mono", "NK", "DC"])[kind],
        },
        index=[f"c{i}" for i in range(len(sample))],
    )
    counts = sc_glmm.pp.abundance(AnnData(obs=obs), sample="sample", groupby="cell_type")
    sc_glmm.tl.test(counts, "X ~ disease", reference={"disease": "ctl"}, progress=False)
    return counts


def planned(pilot: AnnData) -> Any:
    """Power of larger studies like this one."""
    return sc_glmm.power(pilot, n_samples=[8, 12, 20, 40], cells_per_sample=[50, 150, 500], log_fc=1, method="analytic")


def gallery(one: AnnData, types: AnnData) -> None:
    """A thumbnail of every figure."""
    pl = sc_glmm.pl
    hits = sc_glmm.get.results(one, alpha=0.05, sort="p_value")
    gene = hits.loc[hits["status"] == "ok", "variable"].iloc[0]  # samples of the others do not vary
    wide = sc_glmm.get.results(types, alpha=0.05, sort="p_value")["variable"].iloc[0]
    model = sc_glmm.tl.refit(one, gene)
    drawn: dict[str, Callable[[], Any]] = {
        "volcano": lambda: pl.volcano(one, n_labels=5),
        "ma": lambda: pl.ma(one, n_labels=5),
        "p_values": lambda: pl.p_values(one),
        "qq": lambda: pl.qq(one),
        "dispersion": lambda: pl.dispersion(one, what="sample"),
        "samples": lambda: pl.samples(one, gene),
        "caterpillar": lambda: pl.caterpillar(one, gene),
        "influence": lambda: pl.influence(one, gene),
        "counts": lambda: pl.counts(types),
        "heatmap": lambda: pl.heatmap(types, n_genes=15),
        "forest": lambda: pl.forest(types, wide),
        "residuals": lambda: pl.residuals(model),
        "residual_histogram": lambda: pl.residual_histogram(model),
        "residual_qq": lambda: pl.residual_qq(model),
        "random_effect_qq": lambda: pl.random_effect_qq(model),
        "diagnostics": lambda: pl.diagnostics(model),
        "variance_fractions": lambda: pl.variance_fractions(one),
        "latent_factors": lambda: pl.latent_factors(hidden()),
        "abundance": lambda: pl.abundance(composition()),
        "power": lambda: pl.power(planned(one)),
    }
    missing = set(pl.__all__) - set(drawn)
    if missing:
        raise SystemExit(f"no thumbnail is made of {sorted(missing)}")
    for name, draw in drawn.items():
        draw()
        held = io.BytesIO()
        plt.gcf().savefig(held, dpi=110, facecolor="white", bbox_inches="tight")
        plt.close("all")
        thumbnail(Image.open(held)).save(FIGURES / "gallery" / f"{name}.png", optimize=True)
    thumbnail(Image.open(FIGURES / "scaling.png")).save(FIGURES / "gallery" / "scaling.png", optimize=True)


def thumbnail(picture: Image.Image, size: tuple[int, int] = (400, 300)) -> Image.Image:
    """The picture in the middle of a sheet; all sheets are alike, so that the cards of the gallery line up."""
    small = ImageOps.contain(picture.convert("RGB"), (size[0] - 24, size[1] - 24), Image.Resampling.LANCZOS)
    return ImageOps.pad(ImageOps.expand(small, 12, "white"), size, Image.Resampling.LANCZOS, color="white")


def main() -> None:
    """Make all of them."""
    (FIGURES / "gallery").mkdir(exist_ok=True)
    (FIGURES / "workflow.svg").write_text(drawings.workflow(page=True))
    (FIGURES / "workflow_inline.svg").write_text(drawings.scrolling(drawings.workflow()))
    (FIGURES / "which_effect.svg").write_text(drawings.scrolling(drawings.which_effect()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sc_glmm.ScGlmmWarning)
        one = example()
        readme(one)
        gallery(one, several())


if __name__ == "__main__":
    main()
