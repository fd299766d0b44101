"""Write the tables and figures of the page on calibration from the results of run.py and real_null.py.

    python report.py

Writes results/summary.csv, the figures, and the tables between the marks ``<!-- calibration: NAME -->`` and
``<!-- end -->`` of docs/calibration.md; the text around them is written by hand.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import matplotlib
import numpy as np
import typer
from methods import LABELS
from real_tables import abundance_table, real_names, real_table
from scenarios import GRID, SCENARIOS
from summary import COVERAGE_BOUNDS, Total, flat, load, totals
from tables import COLOURS, ORDER, Stored, errors, label, markdown, ordered, percent, rates

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"


def main(
    results: Annotated[Path, typer.Option(help="Folder of the results.")] = HERE / "results",
    page: Annotated[Path, typer.Option(help="Page whose tables are written.")] = DOCS / "calibration.md",
    figures: Annotated[Path, typer.Option(help="Folder of the figures.")] = DOCS / "figures",
) -> None:
    """Write the summary, the figures and the tables."""
    stored = load(results)
    flat(stored).to_csv(results / "summary.csv", index=False, float_format="%.5g")
    figures.mkdir(parents=True, exist_ok=True)
    draw_grid(stored, figures / "calibration_grid.png")
    draw_real(stored, figures / "calibration_real.png")
    tables = {
        "grid": grid_table(stored),
        "conditional": conditional_table(stored),
        "power": power_table(stored, "power"),
        "robust": power_table(stored, "robust"),
        "design": power_table(stored, "design"),
        "sparse": null_table(stored, "sparse"),
        "minimum": minimum_table(stored),
        "coverage": coverage_table(stored),
        "real": real_table(stored, results),
        "abundance": abundance_table(stored),
        "cost": cost_table(stored),
        "versions": versions_line(stored),
    }
    text = page.read_text()
    for name, table in tables.items():
        text, n = re.subn(
            rf"(<!-- calibration: {name} -->\n).*?(<!-- end -->)",
            lambda found, table=table: f"{found[1]}\n{table}\n\n{found[2]}",
            text,
            flags=re.DOTALL,
        )
        if not n:
            print(f"{page.name} has no mark for the table {name!r}")
    page.write_text(text)


def grid_table(stored: Stored) -> str:
    """Build a table of type-I errors over the whole grid, by number of samples and dispersion."""
    names = [name for name, s in SCENARIOS.items() if s.family == "grid" and name in stored]
    sums = {name: totals(stored[name]) for name in names}
    if not names:
        return "Not run."
    methods = ordered(sums[names[0]])
    head = ["samples, dispersion", "null genes", *[label(m) for m in methods], "Monte Carlo error", "within bounds"]
    rows = [_grid_row(name, sums[name], methods) for name in names]
    for n in sorted({int(re.findall(r"S(\d+)", name)[0]) for name in names}):
        parts = [name for name in names if f"-S{n}-" in name]
        both = totals([entry for name in parts for entry in stored[name]])
        # a method that was run at one dispersion only has no mean over both
        both = {m: total for m, total in both.items() if all(m in sums[name] for name in parts)}
        rows.append(_grid_row(f"grid-S{n}-phiboth", both, methods))
    return markdown(head, rows)


def _grid_row(name: str, found: dict[str, Total], methods: list[str]) -> list[str]:
    ours = found.get("eb_lr", Total())
    sizes = re.fullmatch(r"grid-S(\d+)-phi(.*)", name)
    label_text = f"{sizes[1]}, {sizes[2]}" if sizes else name
    cells = [rates(found[m]) if m in found else "" for m in methods]
    return [label_text, f"{ours.null.get('n', 0):,}", *cells, errors(ours), "yes" if ours.calibrated() else "no"]


def conditional_table(stored: Stored) -> str:
    """Build a table of type-I errors at 5 % for known mean and variance."""
    rows = []
    for n in (6, 12, 20):
        sets = [e for phi in ("0.5", "2") for e in stored.get(f"grid-S{n}-phi{phi}", [])]
        found = totals(sets)
        for method in [m for m in ("eb_lr", "p_hk", "edger_ql", "deseq2", "ml_wald") if m in found]:
            strata = found[method].strata
            cells = []
            for mean, variance in GRID:
                counts = strata.get(f"{mean:g} | {variance:g}", {})
                cells.append(percent(counts["0.05"] / counts["n"]) if counts.get("n") else "")
            rows.append([str(n), label(method), *cells])
    head = ["samples", "method", *[f"{mean:g}, {variance:g}" for mean, variance in GRID]]
    return markdown(head, rows) if rows else "Not run."


def power_table(stored: Stored, family: str) -> str:
    """Build a table of type-I error, realised FDR and power, by design and method."""
    rows = []
    for name in [n for n, s in SCENARIOS.items() if s.family == family and n in stored]:
        # only data sets of the default test, so that all methods are compared on the same data
        found = totals(stored[name], lambda entry: "eb_lr" in entry["methods"])
        found = {m: total for m, total in found.items() if total.null.get("n")}
        for k, method in enumerate(ordered(found)):
            total = found[method]
            with_effects = total.differential > 0
            rows.append(
                [
                    SCENARIOS[name].words if k == 0 else "",
                    label(method),
                    rates(total),
                    f"{percent(total.fdr)} ± {percent(total.fdr_se)}" if with_effects and total.hits else "",
                    percent(total.power) if with_effects else "",
                    f"{percent(total.power_at_true_fdr)} ± {percent(total.power_se)}" if with_effects else "",
                ]
            )
    head = ["design", "method", "rejected at 5 / 1 / 0.1 %", "realised FDR", "power", "power at true FDR 5 %"]
    return markdown(head, rows) if rows else "Not run."


def null_table(stored: Stored, family: str) -> str:
    """Build a table of type-I errors only."""
    rows = []
    for name in [n for n, s in SCENARIOS.items() if s.family == family and n in stored]:
        found = totals(stored[name])
        for k, method in enumerate(ordered(found)):
            total = found[method]
            rows.append([SCENARIOS[name].words if k == 0 else "", label(method), rates(total), errors(total)])
    head = ["design", "method", "rejected at 5 / 1 / 0.1 %", "Monte Carlo error"]
    return markdown(head, rows) if rows else "Not run."


_SIDES = {"two-sided": "beyond ±{:g}", "greater": "above {:g}", "abs-less": "within ±{:g}"}


def minimum_table(stored: Stored) -> str:
    """Build a table of tests against a minimum effect: type-I error of genes exactly at it, realised FDR, power."""
    rows = []
    for name in [n for n, s in SCENARIOS.items() if s.family == "minimum" and n in stored]:
        scenario = SCENARIOS[name]
        for method, total in totals(stored[name]).items():
            rows.append(
                [
                    scenario.words,
                    _SIDES[scenario.alternative].format(scenario.min_log_fc),
                    label(method),
                    f"{total.null['n']:,}",
                    rates(total),
                    errors(total),
                    f"{percent(total.fdr)} ± {percent(total.fdr_se)}",
                    percent(total.power),
                ]
            )
    head = [
        "design",
        "log2 fold change",
        "method",
        "genes at the minimum",
        "rejected at 5 / 1 / 0.1 %",
        "Monte Carlo error",
    ]
    return markdown([*head, "realised FDR", "power"], rows) if rows else "Not run."


def coverage_table(stored: Stored) -> str:
    """Build a table of the share of 95 % intervals of the default test that contain the truth."""
    rows = []
    for name, scenario in SCENARIOS.items():
        total = totals(stored.get(name, [])).get("eb_lr")
        if total is not None and scenario.family in ("power", "design") and total.coverage:
            low, high = COVERAGE_BOUNDS
            fine = all(low <= total.covered(which) <= high for which in ("null", "differential"))
            rows.append(
                [
                    scenario.words,
                    percent(total.covered("null")),
                    percent(total.covered("differential")),
                    "yes" if fine else "no",
                ]
            )
    return (
        markdown(["design", "null genes", "differential genes", "both within 93 to 97 %"], rows) if rows else "Not run."
    )


def cost_table(stored: Stored) -> str:
    """Build a table of processor milliseconds per gene."""
    chosen = [n for n in ("power-S6", "power-S8", "power-S12", "power-S20", "power-paired") if n in stored]
    found = {name: totals(stored[name]) for name in chosen}
    methods = ordered({m: t for sums in found.values() for m, t in sums.items() if m != "p_hk"})
    rows = [
        [label(m), *[f"{np.median(found[name][m].ms):.2f}" if m in found[name] else "" for name in chosen]]
        for m in methods
    ]
    return markdown(["method", *[SCENARIOS[name].words for name in chosen]], rows) if rows else "Not run."


def versions_line(stored: Stored) -> str:
    """Write the versions of the packages."""
    found: dict[str, set[str]] = {}
    for sets in stored.values():
        for entry in sets:
            for name, value in entry.get("versions", {}).items():
                found.setdefault(LABELS.get(name, name), set()).add(value)
    return "; ".join(f"{name} {', '.join(sorted(values))}" for name, values in sorted(found.items()))


def draw_qq(axis: plt.Axes, found: dict[str, Total], title: str) -> None:
    """Draw observed against expected -log10 p; the band is the Monte Carlo error (95 %) of a perfect test."""
    top = 1.0
    for method in [m for m in ORDER if m in found]:
        tail = found[method].tail
        below = tail[::-1].cumsum()[::-1]
        edges = np.arange(len(tail)) * 0.05
        shown = below >= 3
        expected = -np.log10(below[shown] / below[0])
        axis.plot(
            expected,
            edges[shown],
            color=COLOURS[method],
            lw=2.0 if method == "eb_lr" else 1.1,
            label=label(method).replace("`", ""),
        )
        top = max(top, expected.max())
    n = max(total.null["n"] for total in found.values())
    x = np.linspace(0, top, 200)
    spread = 1.96 * np.sqrt(10**x / n) / np.log(10)
    axis.fill_between(x, x - spread, x + spread, color="0.88", zorder=0)
    axis.plot(x, x, color="0.5", lw=0.8, zorder=1)
    axis.set(
        title=title,
        xlabel="expected $-\\log_{10} p$",
        ylabel="observed $-\\log_{10} p$",
        ylim=(0, 1.5 * top),
        xlim=(0, top),
    )


def draw_grid(stored: Stored, path: Path) -> None:
    """Draw one panel per number of samples, both dispersions together."""
    panels = []
    for n in (6, 8, 12, 20):
        found = totals([e for phi in ("0.5", "2") for e in stored.get(f"grid-S{n}-phi{phi}", [])])
        if found:
            panels.append((found, f"{n} samples"))
    save(panels, path)


def draw_real(stored: Stored, path: Path) -> None:
    """Draw one panel per real data set."""
    panels = []
    for name in [f"real-{n}" for n in real_names(stored)]:
        for size in sorted({e["samples"] for e in stored[name]}):
            found = totals(stored[name], lambda e, size=size: e["samples"] == size)
            panels.append((found, f"{name.removeprefix('real-')}, {size} donors"))
    save(panels, path)


def save(panels: list[tuple[dict[str, Total], str]], path: Path) -> None:
    """Save panels side by side with one legend."""
    if not panels:
        return
    columns = min(4, len(panels))
    lines = -(-len(panels) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(3.1 * columns, 3.1 * lines + 0.5), squeeze=False)
    for axis, (found, title) in zip(axes.flat, panels, strict=False):
        draw_qq(axis, found, title)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    found = {name: line for axis in axes.flat for line, name in zip(*axis.get_legend_handles_labels(), strict=True)}
    labels = [name for name in (label(m).replace("`", "") for m in ORDER) if name in found]
    handles = [found[name] for name in labels]
    figure.legend(handles, labels, loc="lower center", ncol=min(4, len(labels)), frameon=False)
    figure.tight_layout(rect=(0, 0.5 / figure.get_figheight(), 1, 1))
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    typer.run(main)
