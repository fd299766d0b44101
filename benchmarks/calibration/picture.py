"""Draw the figure at the top of the page on calibration, from results/summary.csv: ``python picture.py``."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
METHODS = {
    "eb_lr": "sc_glmm",
    "edger_ql": "edgeR, pseudobulk",
    "limma_voom": "limma-voom, pseudobulk",
    "deseq2": "DESeq2, pseudobulk",
    "nebula": "nebula",
    "ml_wald": "mixed model, ML, z test",
}
PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
PANELS = [
    (
        "grid-S6-phi0.5",
        "rate_0.001",
        1000.0,
        1.0,
        "False alarms",
        "of 1,000 genes without a difference,\np < 0.001, 6 samples",
    ),
    ("power-S6", "fdr", 100.0, 5.0, "False hits", "in a list of 100 at FDR 5 %,\n6 samples"),
    (
        "power-confounded",
        "fdr",
        100.0,
        5.0,
        "False hits, unequal samples",
        "in a list of 100 at FDR 5 %,\n8 controls, 4 cases with few cells",
    ),
]


def main() -> None:
    """Draw three panels with one bar per method; the line is the nominal value."""
    summary = pd.read_csv(HERE / "results" / "summary.csv").set_index(["scenario", "method"])
    with plt.rc_context({"font.size": 9}):
        figure, axes = plt.subplots(1, 3, figsize=(9.2, 2.9), layout="constrained", sharey=True)
        for ax, (scenario, column, times, promised, title, words) in zip(axes, PANELS, strict=True):
            gap = 0.02 * times * float(summary.loc[scenario, column].max())
            for place, method in enumerate(METHODS):
                if (scenario, method) not in summary.index:
                    ax.text(0, place, " not run", va="center", color="0.5", fontsize=8, bbox=PAPER, zorder=4)
                    continue
                value = times * float(summary.loc[(scenario, method), column])
                ours = method == "eb_lr"
                ax.barh(place, value, height=0.62, color="#009E73" if ours else "#9A9A9A")
                weight = "bold" if ours else "normal"
                ax.text(
                    value + gap, place, f"{value:.2g}", va="center", fontsize=8, fontweight=weight, bbox=PAPER, zorder=4
                )
            ax.axvline(promised, color="#D55E00", linewidth=1.2)
            ax.set_title(title, fontsize=10, fontweight="bold", loc="left")
            ax.set_xlabel(words, fontsize=8.5)
            ax.set_xlim(0, 1.18 * ax.get_xlim()[1])
            ax.spines[["top", "right", "left"]].set_visible(False)
            ax.tick_params(left=False)
        axes[0].text(1.3, -0.75, "promised", color="#D55E00", fontsize=8.5, va="center")
        axes[0].set_yticks(range(len(METHODS)), METHODS.values())
        axes[0].set_ylim(len(METHODS) - 0.5, -1.1)
        figure.savefig(HERE.parents[1] / "docs" / "figures" / "calibration.png", dpi=150, facecolor="white")


if __name__ == "__main__":
    main()
