"""Check the artists of each figure: numbers of the table, readable text, no missing marks."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import same_color
from matplotlib.patches import Rectangle

import sc_glmm as sg
from sc_glmm import pl
from sc_glmm.pl._ma import effect_bound
from sc_glmm.pl._style import DOWN, UP, italic
from tests.pl.frames import TYPES, facts, grouped_results


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def results():
    return grouped_results()


def _marks(ax):
    return np.vstack([c.get_offsets() for c in ax.collections if isinstance(c, PathCollection)])


def _of(results, group):
    return results[results["cell_type"] == group]


def _no_overlap(ax, texts):
    """Check that texts do not overlap and are inside the canvas."""
    figure = ax.get_figure(root=True)
    figure.draw_without_rendering()
    boxes = [t.get_window_extent() for t in texts if t.get_visible() and t.get_text()]
    for i, box in enumerate(boxes):
        assert box.x0 >= -1 and box.y0 >= -1
        assert box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1
        assert not any(box.overlaps(other) for other in boxes[:i])


# --- ma --------------------------------------------------------------------------------------------------------------


def test_ma_draws_every_tested_gene(results):
    ax = pl.ma(results, group="B cells")
    drawn = _of(results, "B cells").dropna(subset="p_value")
    marks = _marks(ax)
    assert len(marks) == len(drawn)
    np.testing.assert_allclose(np.sort(marks[:, 0]), np.sort(drawn["baseMean"]))
    well = (drawn["status"] == "ok").to_numpy()
    log_fc = drawn["log_fc"].to_numpy()
    bound = effect_bound(log_fc, well & (drawn["adj_p_value"] < 0.05).to_numpy(), well)
    np.testing.assert_allclose(np.sort(marks[:, 1]), np.sort(np.clip(log_fc, -bound, bound)))
    # significant genes are not moved to the border
    hits = drawn[(drawn["adj_p_value"] < 0.05) & (drawn["status"] == "ok")]
    assert ax.get_ylim()[0] < hits["log_fc"].min()
    assert hits["log_fc"].max() < ax.get_ylim()[1]
    assert ax.get_title(loc="left") == "B cells, stim: stim vs ctrl"


def test_ma_shrunken(results):
    ax = pl.ma(results, group="B cells", shrunken=True)
    drawn = _of(results, "B cells").dropna(subset="p_value")
    assert _marks(ax)[:, 1].max() <= drawn["log_fc_shrunk"].max()
    assert ax.get_ylabel().startswith("shrunken")


def test_ma_needs_means(results):
    with pytest.raises(sg.InputError, match="ma needs.*lacks .'baseMean'"):
        pl.ma(_of(results, "B cells").drop(columns="baseMean"))
    with pytest.raises(sg.InputError, match="one cell_type.*'B cells'.*group="):
        pl.ma(results)


# --- p-values --------------------------------------------------------------------------------------------------------


def test_histogram_counts_the_p_values(results):
    ax = pl.p_values(results, group="NK cells", bins=10)
    p = _of(results, "NK cells")["p_value"].dropna()
    expected, _ = np.histogram(p, bins=10, range=(0, 1))
    np.testing.assert_array_equal(ax.patches[0].get_data().values, expected)
    assert ax.texts[0].get_text().startswith(f"{len(p)} genes")


def test_panels_are_the_groups(results):
    for plot in (pl.p_values, pl.qq):
        axes = plot(results)
        assert [ax.get_title(loc="left") for ax in axes] == list(TYPES)
        with pytest.raises(sg.InputError, match="ax is one panel, but the results have 4"):
            plot(results, ax=plt.figure().add_subplot())


def test_qq_shows_the_sorted_p_values(results):
    ax = pl.qq(results, group="NK cells")
    p = np.sort(_of(results, "NK cells")["p_value"].dropna())
    marks = _marks(ax)
    np.testing.assert_allclose(10 ** -marks[:, 1], p)
    np.testing.assert_allclose(10 ** -marks[:, 0], (np.arange(len(p)) + 0.5) / len(p))
    frame = _of(results, "NK cells").copy()
    frame.iloc[5, frame.columns.get_loc("p_value")] = 0.0
    assert np.isfinite(_marks(pl.qq(frame))).all()


# --- across cell types -----------------------------------------------------------------------------------------------


def test_heatmap_shows_the_table(results):
    ax = pl.heatmap(results, n_genes=12)
    genes = [label.get_text() for label in ax.get_yticklabels()]
    sets = [label.get_text() for label in ax.get_xticklabels()]
    assert len(genes) == 12 and sets == list(TYPES)
    table = results.pivot(index="variable", columns="cell_type", values="log_fc").loc[genes, sets]
    shown = ax.images[0].get_array()
    np.testing.assert_array_equal(np.ma.filled(shown.astype(float), np.nan), table.to_numpy())
    hits = results.pivot(index="variable", columns="cell_type", values="adj_p_value").loc[genes, sets].to_numpy() < 0.05
    dots = _marks(ax).astype(int)
    assert {(y, x) for x, y in dots} == set(zip(*np.nonzero(hits), strict=True))
    low, high = ax.images[0].get_clim()
    assert low == -high
    _no_overlap(ax, ax.get_yticklabels())


def test_heatmap_of_named_genes_and_limit(results):
    ax = pl.heatmap(results, genes=["GENE5", "GENE2"], limit=1.5)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["GENE5", "GENE2"]
    assert ax.images[0].get_clim() == (-1.5, 1.5)


def test_heatmap_of_contrasts(results):
    frame = _of(results, "B cells").drop(columns="cell_type")
    both = pd.concat([frame, frame.assign(contrast="sex: M vs F")])
    ax = pl.heatmap(both, genes=["GENE5"])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["stim: stim vs ctrl", "sex: M vs F"]


def test_forest_rows(results):
    gene = results[(results["adj_p_value"] < 1e-4)]["variable"].iloc[0]
    ax = pl.forest(results, gene)
    rows = results[results["variable"] == gene].dropna(subset="p_value")
    marks = {int(line.get_ydata()[0]): line for line in ax.lines if line.get_marker() == "o"}
    place = {name: i for i, name in enumerate(TYPES)}
    assert [label.get_text() for label in ax.get_yticklabels()] == list(TYPES)
    assert len(marks) == len(rows)
    for row in rows.itertuples():
        mark = marks[place[row.cell_type]]
        assert mark.get_xdata()[0] == row.log_fc
        color = (UP if row.log_fc > 0 else DOWN) if row.adj_p_value < 0.05 else "white"
        assert same_color(mark.get_markerfacecolor(), color)
    assert ax.get_title(loc="left") == italic(gene)
    _no_overlap(ax, ax.get_yticklabels())


def test_forest_of_infinite_intervals(results):
    frame = results[results["variable"] == "GENE1"].copy()
    frame["status"], frame["log_fc"], frame["p_value"], frame["adj_p_value"] = "separated", 2.0, 0.01, 0.02
    frame["ci_low"], frame["ci_high"] = 1.0, np.inf
    ax = pl.forest(frame, "GENE1")
    assert np.isfinite(ax.get_xlim()).all()
    assert sum(line.get_marker() == ">" for line in ax.lines) == 4
    assert [t.get_text() for t in ax.texts] == ["separated"] * 4
    frame["log_fc"] = np.nan
    assert [t.get_text().strip() for t in pl.forest(frame, "GENE1").texts] == ["separated"] * 4


def test_forest_sorted(results):
    gene = results[(results["adj_p_value"] < 1e-4)]["variable"].iloc[0]
    ax = pl.forest(results, gene, sort=True)
    marks = {line.get_ydata()[0]: line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o"}
    drawn = [marks[row] for row in sorted(marks)]
    assert drawn == sorted(drawn, reverse=True)


def test_counts_are_bars(results):
    ax = pl.counts(results, alpha=0.01)
    hit = results[results["adj_p_value"] < 0.01]
    bars = [p for p in ax.patches if isinstance(p, Rectangle)]
    for i, name in enumerate(TYPES):
        mine = hit[hit["cell_type"] == name]["log_fc"]
        widths = {p.get_width() for p in bars if round(p.get_y() + p.get_height() / 2) == i}
        assert widths == {float((mine > 0).sum()), -float((mine < 0).sum()), 0.0}
    assert "FDR 1 %" in ax.get_xlabel()
    tested = results.dropna(subset="p_value")["cell_type"].value_counts()
    assert ax.get_yticklabels()[0].get_text() == f"B cells ({tested['B cells']})"
    _no_overlap(ax, [*ax.texts, *ax.get_yticklabels()])


# --- spread ----------------------------------------------------------------------------------------------------------


def test_dispersion_draws_all_genes():
    info = facts()
    ax = pl.dispersion(info)
    marks = _marks(ax)
    np.testing.assert_allclose(np.sort(marks[:, 1]), np.sort(info["dispersion"]))
    words = [t.get_text() for t in ax.get_legend().get_texts()]
    assert f"from the trend ({int(info['phi_from_trend'].sum())})" in words
    ax = pl.dispersion(info, what="sample")
    assert f"more variable ({int(info['more_variable'].sum())})" in [t.get_text() for t in ax.get_legend().get_texts()]
    assert "sample" in ax.get_ylabel()


def test_dispersion_needs_one_group():
    info = facts()
    info.insert(0, "cell_type", np.where(np.arange(len(info)) % 2, "B", "T"))
    with pytest.raises(sg.InputError, match="one cell_type: group=None"):
        pl.dispersion(info)
    assert pl.dispersion(info, group="B").get_title(loc="left") == "B"


# --- all -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["volcano", "ma", "p_values", "qq", "heatmap", "forest", "counts", "dispersion"])
def test_given_axes_are_used_and_no_figure_is_created(results, name):
    figure, axes = plt.subplots(1, 2, figsize=(8, 4))
    frame = _of(results, "B cells")
    arguments = {"forest": ["GENE5"], "dispersion": []}.get(name, [])
    data = facts() if name == "dispersion" else results if name in ("heatmap", "forest", "counts") else frame
    assert getattr(pl, name)(data, *arguments, ax=axes[1]) is axes[1]
    assert not axes[0].has_data()
    assert plt.get_fignums() == [figure.number]


@pytest.mark.parametrize("name", ["volcano", "ma", "heatmap", "forest", "counts"])
def test_alpha_is_a_level(results, name):
    with pytest.raises(sg.InputError, match="alpha=5"):
        getattr(pl, name)(results, *(["GENE5"] if name == "forest" else []), alpha=5)


# --- one gene --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(1)
    n = rng.integers(10, 90, 10)
    sample = np.repeat(np.arange(10), n)
    effect = 0.2 * rng.standard_normal(10)
    effect[7] = 2.0
    y = rng.poisson(np.exp(0.4 * (sample >= 5) + effect[sample] - 0.5)).astype(float)
    y[sample == 2] = 0.0
    frame = pd.DataFrame({"y": y, "arm": np.where(sample < 5, "ctl", "AD"), "sample": [f"s{i}" for i in sample]})
    return sg.glmer("y ~ arm + (1|sample)", frame, family="poisson", reference={"arm": "ctl"}), frame


def test_samples_shows_the_outlier_and_the_sample_without_counts(model):
    fit, frame = model
    ax = pl.samples(fit, labels=["s7"])
    assert ax.get_yscale() == "log"
    dots = [c for c in ax.collections if isinstance(c, PathCollection)]
    means = frame.groupby("sample")["y"].mean()
    hollow = [c for c in dots if len(c.get_facecolors()) == 0]
    assert len(dots) == 10 and len(hollow) == 1
    drawn = np.array([c.get_offsets()[0, 1] for c in dots if c not in hollow])
    np.testing.assert_allclose(np.sort(drawn), np.sort(means[means > 0]))
    assert hollow[0].get_offsets()[0, 1] > ax.get_ylim()[0]
    # the larger sample has the larger dot
    sizes = {round(float(c.get_offsets()[0, 1]), 9): c.get_sizes()[0] for c in dots}
    cells = frame.groupby("sample").size()[means > 0]
    by_cells = [sizes[round(float(means[name]), 9)] for name in cells.sort_values().index]
    assert by_cells == sorted(by_cells)
    assert "s7" in [t.get_text() for t in ax.texts]
    arrows = [t for t in ax.texts if getattr(t, "arrow_patch", None) is not None]
    assert len(arrows) == 10
    with pytest.raises(sg.InputError, match="labels= contains samples.*'s99'"):
        pl.samples(fit, labels=["s99"])


def test_caterpillar_rows(model):
    fit, _ = model
    ax = pl.caterpillar(fit)
    frame = fit.ranef(cond_var=True)["sample"].sort_values("Intercept")
    np.testing.assert_array_equal(_marks(ax)[:, 0], frame["Intercept"])
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == list(frame.index) and names[-1] == "s7"
    [bars] = [c for c in ax.collections if not isinstance(c, PathCollection)]
    widths = [np.ptp(path.vertices[:, 0]) for path in bars.get_paths()]
    np.testing.assert_allclose(widths, 2 * 1.959964 * frame["sd(Intercept)"], rtol=1e-6)
    _no_overlap(ax, ax.get_yticklabels())


def test_one_gene_must_be_named(model):
    adata = sg.datasets.simulate(n_samples=4, n_cells=40, n_genes=5)
    for plot in (pl.samples, pl.caterpillar):
        with pytest.raises(sg.InputError, match="one gene of an AnnData: name it"):
            plot(adata)
        with pytest.raises(sg.InputError, match="data is a fitted model: omit them"):
            plot(model[0], "GENE1")
