"""Check arguments that users of scanpy and R know (save=, show=, title=), and figures of several contrasts."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import sc_glmm as sg
from sc_glmm import pl
from tests.pl.frames import count_model, facts, grouped_results, one_model

DRAW = {
    "volcano": lambda **k: pl.volcano(grouped_results(), group="B cells", n_labels=0, **k),
    "ma": lambda **k: pl.ma(grouped_results(), group="B cells", n_labels=0, **k),
    "p_values": lambda **k: pl.p_values(grouped_results(), group="B cells", **k),
    "qq panels": lambda **k: pl.qq(grouped_results(), **k),
    "heatmap": lambda **k: pl.heatmap(grouped_results(), n_genes=5, **k),
    "forest": lambda **k: pl.forest(grouped_results(), "GENE23", **k),
    "counts": lambda **k: pl.counts(grouped_results(), **k),
    "dispersion": lambda **k: pl.dispersion(facts(), **k),
    "samples": lambda **k: pl.samples(one_model(), **k),
    "caterpillar": lambda **k: pl.caterpillar(one_model(), **k),
    "residuals": lambda **k: pl.residuals(one_model(), **k),
    "diagnostics": lambda **k: pl.diagnostics(count_model(), **k),
    "influence": lambda **k: pl.influence(one_model(), **k),
}


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.mark.parametrize("name", DRAW)
def test_title_and_file(name: str, tmp_path: Path) -> None:
    out = tmp_path / "figure.png"
    drawn = DRAW[name](title="A title of $5", save=out, show=False)
    assert out.read_bytes().startswith(b"\x89PNG")
    figure = np.ravel(drawn)[0].get_figure()
    titles = [np.ravel(drawn)[0].get_title(loc="left"), figure.get_suptitle()]
    assert r"A title of \$5" in titles


def test_show_displays_and_save_needs_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(True))
    pl.counts(grouped_results(), show=True)
    assert shown == [True]
    with pytest.raises(sg.InputError, match="save=True: must be the name of a file"):
        pl.counts(grouped_results(), save=True)


@pytest.mark.parametrize("name", sorted(pl.__all__))
def test_every_parameter_and_every_exception_is_documented(name: str) -> None:
    function = getattr(pl, name)
    text = inspect.getdoc(function)
    assert not re.search(r"^ *\|\w+\|$", text, re.MULTILINE)
    head = text[: text.index("Returns\n")]
    for parameter in inspect.signature(function).parameters:
        assert f"\n{parameter}\n" in head or f"\n{parameter}," in head or f", {parameter}\n" in head, parameter
    assert "Raises\n------\nInputError" in text
    assert {"title", "save", "show"} <= set(inspect.signature(function).parameters)


def test_figure_without_a_variance_says_so() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"y": np.tile([0.0, 1, 2, 3], 12), "g": np.repeat([f"S{i}" for i in range(12)], 4)})
    frame["y"] += 0.1 * rng.normal(size=48)
    ax = pl.caterpillar(sg.lmer("y ~ 1 + (1|g)", frame))
    assert [text.get_text() for text in ax.texts] == ["no variance between levels of g:\nall 12 effects are zero"]
    assert len(ax.collections) == 0


def test_all_samples_are_named_on_request() -> None:
    ax = pl.samples(one_model(), labels=True)
    assert len({text.get_text() for text in ax.texts} & {f"s{i}" for i in range(10)}) >= 8
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert words[-3:] == ["fitted mean", "95 % interval", "sample effect"]


def test_a_heatmap_of_increases_uses_the_red_half() -> None:
    frame = grouped_results()
    image = pl.heatmap(frame[frame["log_fc"] > 0], n_genes=8).images[0]
    assert image.get_clim()[0] == 0.0
    low, high = pl.heatmap(frame, n_genes=30).images[0].get_clim()
    assert low == -high


def test_panels_share_an_axis_that_contains_all_genes() -> None:
    frame = grouped_results()
    kept = (frame["cell_type"] != "Monocytes") | (np.arange(len(frame)) % 20 == 0)
    axes = pl.qq(frame[kept])
    for ax in axes:
        assert all(c.get_offsets()[:, 0].max() <= ax.get_xlim()[1] for c in ax.collections if len(c.get_offsets()) > 1)


def test_p_value_of_each_contrast_is_above_its_gene() -> None:
    adata = sg.datasets.simulate(n_samples=9, n_cells=500, n_genes=8, seed=1)
    number = adata.obs["sample"].astype("category").cat.codes
    adata.obs["arm"] = np.array(["a", "b", "c"])[number % 3]
    contrasts = {"b": ("arm", "b", "a"), "c": ("arm", "c", "a")}
    sg.tl.test(
        adata, "counts ~ arm + (1|sample)", reference={"arm": "a"}, contrasts=contrasts, test="t", progress=False
    )
    gene = sg.get.results(adata).dropna(subset="p_value")["variable"].iloc[0]
    lines = pl.samples(adata, gene).get_title(loc="right").splitlines()
    assert [line.partition(": adjusted p = ")[0] for line in lines] == ["b", "c"]
