"""Compare every figure with a stored picture.

The comparison is about geometry: marks, bars, lines, colours. Text is removed and the axes put in a fixed place first,
because shapes and widths of letters depend on the version of the font library. Tests of the artists check the text.
To store new pictures after an intended change, look at them, and run

    SC_GLMM_NEW_PICTURES=1 python -m pytest tests/pl/test_images.py
"""

from __future__ import annotations

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.testing.compare import compare_images
from matplotlib.text import Text

from sc_glmm import pl
from tests.pl.frames import count_model, facts, grouped_results, one_model, slope_model

BASELINE = Path(__file__).parent / "baseline"
# Root mean square of the differences of the colours, of 255. Antialiasing differs between versions by less than 1.
TOLERANCE = 4.0
# borders between fields of an image may differ by one pixel
WIDER = {"heatmap": 8.0}
DPI = 80

FIGURES = {
    "volcano": lambda r: pl.volcano(r, group="B cells", n_labels=0),
    "ma": lambda r: pl.ma(r, group="B cells", n_labels=0),
    "ma_shrunken": lambda r: pl.ma(r, group="B cells", shrunken=True, n_labels=0),
    "p_values": lambda r: pl.p_values(r, group="NK cells"),
    "p_values_panels": lambda r: pl.p_values(r),
    "qq": lambda r: pl.qq(r, group="NK cells"),
    "heatmap": lambda r: pl.heatmap(r, n_genes=15),
    "forest": lambda r: pl.forest(r, "GENE23"),
    "counts": lambda r: pl.counts(r),
    "samples": lambda r: pl.samples(one_model()),
    "caterpillar": lambda r: pl.caterpillar(one_model()),
    "caterpillar_slopes": lambda r: pl.caterpillar(slope_model()),
    "residuals": lambda r: pl.residuals(one_model()),
    "residuals_quantile": lambda r: pl.residuals(count_model()),
    "residual_histogram": lambda r: pl.residual_histogram(one_model()),
    "residual_qq": lambda r: pl.residual_qq(count_model()),
    "random_effect_qq": lambda r: pl.random_effect_qq(slope_model()),
    "influence": lambda r: pl.influence(one_model()),
    "influence_effect": lambda r: pl.influence(one_model(), effect="arm[T.AD]"),
    "diagnostics": lambda r: pl.diagnostics(slope_model()),
    "diagnostics_counts": lambda r: pl.diagnostics(count_model()),
    "dispersion": lambda r: pl.dispersion(facts()),
    "dispersion_sample": lambda r: pl.dispersion(facts(), what="sample"),
}


def wordless(figure: plt.Figure) -> None:
    """Remove everything that depends on the font, and put the axes in a fixed place."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for word in figure.findobj(Text):
        word.set_visible(False)
    axes = figure.axes
    for ax in axes:
        if ax.get_legend() is not None:
            ax.get_legend().set_visible(False)
    if len(axes) == 1:
        axes[0].set_position((0.15, 0.15, 0.8, 0.8))
        return
    columns = int(np.ceil(np.sqrt(len(axes))))
    rows = int(np.ceil(len(axes) / columns))
    for i, ax in enumerate(axes):
        ax.set_axes_locator(None)
        ax.set_position(
            ((i % columns) / columns + 0.03, 1 - (i // columns + 1) / rows + 0.03, 0.9 / columns, 0.9 / rows)
        )


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_as_stored(name, tmp_path):
    with plt.rc_context(), plt.style.context("default"):
        result = FIGURES[name](grouped_results())
        first = result.ravel()[0] if isinstance(result, np.ndarray) else result
        figure = first.get_figure(root=True)
        wordless(figure)
        stored = BASELINE / f"{name}.png"
        if os.environ.get("SC_GLMM_NEW_PICTURES"):
            BASELINE.mkdir(exist_ok=True)
            figure.savefig(stored, dpi=DPI, metadata={"Software": None})
        path = tmp_path / f"{name}.png"
        figure.savefig(path, dpi=DPI)
        plt.close("all")
    # compare_images writes a picture of the difference beside the new one, in tmp_path
    assert compare_images(str(stored), str(path), tol=WIDER.get(name, TOLERANCE)) is None


def test_no_stored_picture_is_unused():
    assert {path.stem for path in BASELINE.glob("*.png")} == set(FIGURES)


def test_different_figures_are_distinguished(tmp_path):
    """Check that a missing or moved set of marks exceeds the tolerance."""
    results = grouped_results()
    hits = results["adj_p_value"] < 0.05
    figure = pl.volcano(results[~hits], group="B cells", n_labels=0).get_figure(root=True)
    figure.axes[0].set_xlim(-3, 3)
    wordless(figure)
    path = tmp_path / "volcano.png"
    figure.savefig(path, dpi=DPI)
    plt.close("all")
    assert compare_images(str(BASELINE / "volcano.png"), str(path), tol=TOLERANCE) is not None
