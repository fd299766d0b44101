"""Check figures of a gene without counts in one arm: they show no estimate for this arm."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

import sc_glmm
from sc_glmm import pl
from sc_glmm.tl._refit import refit_in_limit

FORMULA = "counts ~ disease + (1|sample)"


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def tested():
    """Make genes with counts in patients only (0), in controls only (1), and in both arms but only one sex (2)."""
    adata = sc_glmm.datasets.simulate(n_samples=10, n_cells=900, n_genes=70, frac_de=0, seed=8)
    counts = adata.layers["counts"].toarray()
    sick = (adata.obs["disease"] == "AD").to_numpy()
    busy = np.argsort(counts.sum(axis=0))[-3:]
    for place, gene in enumerate(busy):
        counts[:, [place, gene]] = counts[:, [gene, place]]
    counts[~sick, 0] = 0
    counts[sick, 1] = 0
    adata.layers["counts"] = counts
    sc_glmm.tl.test(adata, FORMULA, reference={"disease": "ctl"})
    return adata


def test_the_limit_of_a_gene(tested):
    gene = refit_in_limit(tested, tested.var_names[0], "glmm", None)
    control = (tested.obs["disease"] == "ctl").to_numpy()
    assert gene.separated
    np.testing.assert_array_equal(gene.zero, control)
    # the remaining likelihood is that of the patients alone, with the same size factors
    row = sc_glmm.get.fit_info(tested).iloc[0]
    assert gene.fit.loglik() == pytest.approx(row["loglik"], rel=1e-9)
    frame = tested.obs[~control].assign(y=tested.layers["counts"][~control, 0], size=gene.offset[~control])
    alone = sc_glmm.glmer("y ~ 1 + offset(size) + (1|sample)", frame, family="nb", reml=True)
    L = np.array([[1.0, 1.0]])
    assert not gene.undetermined(L).any() and gene.undetermined(np.eye(2)).all()
    assert (L @ gene.fit.beta)[0] == pytest.approx(alone.beta[0], abs=1e-4)
    effects = gene.fit.ranef()["sample"]["Intercept"]
    assert (effects[sorted(set(tested.obs["sample"][control]))] == 0).all()


@pytest.mark.parametrize(("place", "empty", "sign"), [(0, "ctl", ">"), (1, "AD", "<")])
def test_samples_of_a_separated_gene(tested, place, empty, sign):
    row = sc_glmm.get.results(tested, columns="all").iloc[place]
    assert row["status"] == "separated"
    ax = pl.samples(tested, tested.var_names[place])
    end = row["ci_low"] if sign == ">" else row["ci_high"]
    assert (
        ax.get_title(loc="right").replace("\n", " ")
        == f"log$_2$ FC {sign} {end:.1f} (95 %), adjusted p = {row['adj_p_value']:.2g}"
    )
    levels = [text.get_text() for text in ax.get_xticklabels()]
    broken = [line for line in ax.lines if line.get_linestyle() != "-"]
    assert [round(float(np.mean(line.get_xdata()))) for line in broken] == [levels.index(empty)]
    # only the arm with counts has an interval
    assert len(ax.patches) + len([c for c in ax.collections if c.get_alpha() == 0.15]) == 1


def test_caterpillar_of_a_separated_gene(tested):
    ax = pl.caterpillar(tested, tested.var_names[0])
    hollow = [tuple(color[:3]) == (1.0, 1.0, 1.0) for color in ax.collections[-1].get_facecolor()]
    names = np.array([text.get_text() for text in ax.get_yticklabels()])
    silent = set(tested.obs.loc[tested.obs["disease"] == "ctl", "sample"])
    assert set(names[hollow]) == silent
    widths = [float(np.ptp(path.vertices[:, 0])) for path in ax.collections[0].get_paths()]
    sd = float(sc_glmm.get.fit_info(tested)["sd_sample"].iloc[0])
    np.testing.assert_allclose(np.array(widths)[hollow], 2 * 1.959964 * sd, rtol=1e-5)
    assert (np.array(widths)[~np.array(hollow)] < 2 * 1.96 * sd).all()
