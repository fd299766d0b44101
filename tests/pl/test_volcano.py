"""Check volcano plots: marks, positions and readable labels."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection

import sc_glmm
from sc_glmm import pl


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def frame(rng):
    """Make 2,000 genes with effects in both directions, and some failures of every kind."""
    n = 2_000
    log_fc = np.where(rng.random(n) < 0.1, rng.normal(0.5, 1.5, n), 0) + 0.3 * rng.standard_normal(n)
    p = np.exp(-5 * log_fc**2) * rng.uniform(0.2, 1, n)
    status = np.where(rng.random(n) < 0.2, "singular", "ok").astype(object)
    status[:20], log_fc[:20], p[:20] = "separated", 15.0, rng.uniform(0.1, 1, 20)
    p[20:25], status[20:25] = np.nan, "not_converged"
    return pd.DataFrame(
        {
            "variable": [f"GENE{i}" for i in range(n)],
            "contrast": "stim: stim vs ctrl",
            "log_fc": log_fc,
            "p_value": p,
            "adj_p_value": np.minimum(1, 20 * p),
            "status": status,
        }
    )


def _marks(ax):
    """Return all marks as (x, y), and the face colours of the filled ones."""
    return np.vstack([c.get_offsets() for c in ax.collections if isinstance(c, PathCollection)])


def _names(ax):
    return [t.get_text() for t in ax.texts if t.get_text().startswith("GENE")]


def test_every_gene_with_a_p_value_is_one_mark(frame):
    ax = pl.volcano(frame)
    marks = _marks(ax)
    assert len(marks) == np.isfinite(frame["p_value"]).sum() == 1_995
    expected = frame[np.isfinite(frame["p_value"]) & (frame["status"] != "separated")]
    found = marks[np.abs(marks[:, 0]) <= expected["log_fc"].abs().max()]
    np.testing.assert_allclose(np.sort(found[:, 0]), np.sort(expected["log_fc"]))
    np.testing.assert_allclose(np.sort(found[:, 1]), np.sort(-np.log10(expected["p_value"])), atol=1e-12)


def test_counts_and_axis_in_words(frame):
    ax = pl.volcano(frame, alpha=0.01)
    words = [t.get_text() for t in ax.texts]
    hit = frame["adj_p_value"] < 0.01
    assert f"{int((hit & (frame['log_fc'] < 0)).sum()):,} down" in words
    assert f"{int((hit & (frame['log_fc'] > 0)).sum()):,} up" in words
    assert "FDR 1 %" in words
    assert ax.get_xlabel() == "log$_2$ fold change, stim: stim vs ctrl"


def test_line_separates_significant_genes(frame):
    ax = pl.volcano(frame)
    [height] = [line.get_ydata()[0] for line in ax.lines if line.get_linestyle() == "--"]
    hit = frame["adj_p_value"] < 0.05
    y = -np.log10(frame["p_value"])
    assert y[hit].min() >= height >= y[~hit].max()


def test_failed_genes_have_their_own_mark_and_are_counted(frame):
    frame.loc[frame.index[:7], ["status", "log_fc", "p_value"]] = ["not_converged", 0.3, 0.5]
    ax = pl.volcano(frame)
    legend = [t.get_text() for t in ax.get_legend().get_texts()]
    separated = int((frame["status"] == "separated").sum())
    assert legend == ["not converged (7)", f"separated ({separated})", f"beyond the axis ({separated})"]
    # an extreme estimate is drawn on the border and does not compress the others
    assert ax.get_xlim()[1] < 15
    assert _marks(ax)[:, 0].max() < ax.get_xlim()[1]
    # a variance of zero is a valid estimate, so its genes are drawn like all others
    hollow = [c for c in ax.collections if len(c.get_facecolors()) == 0 and len(c.get_offsets())]
    assert sum(len(c.get_offsets()) for c in hollow) == 7


def test_no_legend_without_failed_genes(frame):
    ax = pl.volcano(frame[frame["status"] == "ok"].drop(columns="status"))
    assert ax.get_legend() is None


def test_p_of_zero_is_drawn_on_top(frame):
    frame.loc[100, ["p_value", "adj_p_value"]] = 0.0
    ax = pl.volcano(frame)
    marks = _marks(ax)
    assert np.isfinite(marks).all()
    smallest = frame.loc[frame["p_value"] > 0, "p_value"].min()
    assert marks[:, 1].max() > -np.log10(smallest)
    assert _names(ax)[0] == "GENE100"


def test_labels_are_the_top_genes_and_do_not_overlap(frame):
    ax = pl.volcano(frame, n_labels=25)
    names = _names(ax)
    # the best genes, with at least a third on each side
    hits = frame[frame["adj_p_value"] < 0.05].sort_values("p_value")
    sides = [hits[hits["log_fc"] > 0], hits[hits["log_fc"] < 0]]
    top = [*hits["variable"][:25], *sides[0]["variable"][:8], *sides[1]["variable"][:8]]
    assert all(set(names) & set(side["variable"][:8]) for side in sides)
    # a label without a free place is left out, but most must have one
    assert set(names) <= set(top)
    assert len(names) >= 15
    ax.figure.canvas.draw()
    boxes = [t.get_window_extent() for t in ax.texts]
    inside = ax.get_window_extent()
    for i, box in enumerate(boxes):
        assert inside.x0 - 1 <= box.x0
        assert box.x1 <= inside.x1 + 1
        assert box.y1 <= inside.y1 + 1
        for other in boxes[:i]:
            assert not box.overlaps(other)


def test_chosen_labels(frame):
    ax = pl.volcano(frame, labels=["GENE50", "GENE51"])
    assert set(_names(ax)) == {"GENE50", "GENE51"}
    with pytest.raises(sc_glmm.InputError, match="GENE20.*no p-value"):
        pl.volcano(frame, labels=["GENE20"])


def test_given_axes_are_used(frame):
    figure, axes = plt.subplots(1, 2, figsize=(8, 4))
    assert pl.volcano(frame, ax=axes[1]) is axes[1]
    assert len(axes[0].collections) == 0
    assert plt.get_fignums() == [figure.number]


def test_nothing_significant(frame):
    ax = pl.volcano(frame.assign(adj_p_value=1.0))
    words = [t.get_text() for t in ax.texts]
    assert "0 up" in words
    assert not _names(ax)
    assert not any(word.startswith("FDR") for word in words)


def test_several_contrasts(frame):
    both = pd.concat([frame, frame.assign(contrast="sex: M vs F", log_fc=0.5)])
    with pytest.raises(sc_glmm.InputError, match="stim: stim vs ctrl.*sex: M vs F.*contrast="):
        pl.volcano(both)
    ax = pl.volcano(both, contrast="sex: M vs F")
    assert ax.get_xlabel().endswith("sex: M vs F")
    with pytest.raises(sc_glmm.InputError, match="'sex: M vs f'.*did you mean 'sex: M vs F'"):
        pl.volcano(both, contrast="sex: M vs f")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.drop(columns="log_fc"), "lacks .'log_fc'."),
        (lambda f: f.assign(log_fc=np.nan), "joint contrast"),
        (lambda f: f[:0], "no rows"),
        (lambda f: pd.concat([f, f]), "each gene once; 'GENE0' has 2 rows"),
    ],
)
def test_invalid_tables(frame, change, words):
    with pytest.raises(sc_glmm.InputError, match=words):
        pl.volcano(change(frame))


def test_alpha_is_a_level(frame):
    with pytest.raises(sc_glmm.InputError, match="alpha=5"):
        pl.volcano(frame, alpha=5)


def test_dollar_in_a_level_is_not_mathematics(frame, tmp_path):
    ax = pl.volcano(frame.assign(contrast="income: $$ vs $"))
    ax.figure.savefig(tmp_path / "volcano.pdf")
    assert (tmp_path / "volcano.pdf").stat().st_size > 1_000
