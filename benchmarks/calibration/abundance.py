"""Compare methods of differential abundance at known truth: this package, edgeR (as in Milo) and propeller.

    python abundance.py simulate FOLDER [--tables 200] [--first 0] [--only PATTERN]
    python abundance.py real FOLDER kang8.h5ad onek1k_40.h5ad
    python abundance.py report FOLDER

Absolute numbers are simulated, and a sample of cells is drawn from them. A type "does not change" if its absolute
number does not change, even if its share does. An interrupted run continues where it stopped.
"""

from __future__ import annotations

import argparse
import logging
import re
import subprocess
import warnings
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

import sc_glmm

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "abundance.md"
METHODS = {
    "sc_glmm-robust": "sc_glmm (default)",
    "sc_glmm-p_hk": "sc_glmm `p_hk`",
    "sc_glmm-total": 'sc_glmm, `reference="total"`',
    "edgeR": "edgeR (TMM)",
    "propeller-arcsine": "propeller, arcsine",
    "propeller-logit": "propeller, logit",
}
_COLUMNS = "| change | tables | method | unchanged types at 5 / 1 / 0.1 % | FDR at 5 % | power | intervals |"
_LINE = "|---|---|---|---|---|---|---|---|"
# Standard deviations between samples of the log abundance of a type: 0.3 to 1 in OneK1K, 0.2 to 0.45 in Kang 2018.
SPREAD = (0.2, 0.7)


@dataclass(frozen=True)
class Scenario:
    """Tables of one design.

    Attributes
    ----------
    n_types, n_arm
        Types; samples of each arm.
    change
        Types that change.
    paired
        Whether each donor has a sample in both arms.
    noise
        Distribution of absolute abundances: lognormal, or gamma as in the Dirichlet-multinomial model.
    """

    n_types: int
    n_arm: int
    change: str
    paired: bool = False
    noise: str = "lognormal"

    @property
    def name(self) -> str:
        words = [f"{self.n_types}types", f"{self.n_arm}+{self.n_arm}", self.change]
        return "-".join([*words, *(["paired"] if self.paired else []), *(["gamma"] if self.noise == "gamma" else [])])


CHANGES = ("none", "one4x", "quarter", "third-up")
SCENARIOS = [
    *(Scenario(k, n, change) for k in (8, 15) for n in (3, 6, 10) for change in CHANGES),
    *(Scenario(8, 8, change, paired=True) for change in ("none", "quarter")),
    *(Scenario(8, 6, change, noise="gamma") for change in ("none", "quarter")),
]


def simulate(scenario: Scenario, n_tables: int, first: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Simulate counts in long form, with the true changes (natural log), and the samples."""
    rng = np.random.default_rng([hash_of(scenario.name), first])
    k, n = scenario.n_types, scenario.n_arm
    arm = np.repeat([0, 1], n)
    donor = np.tile(np.arange(n), 2) if scenario.paired else np.arange(2 * n)
    tables, samples = [], []
    for i in range(first, first + n_tables):
        level, spread = rng.normal(0.0, 1.0, k), rng.uniform(*SPREAD, k)
        beta = np.zeros(k)
        if scenario.change == "one4x":
            beta[np.argsort(level)[-1 - rng.integers(3)]] = np.log(4.0)
        elif scenario.change == "quarter":
            beta[rng.choice(k, k // 4, replace=False)] = rng.choice([-1.0, 1.0], k // 4)
        elif scenario.change == "third-up":
            beta[rng.choice(k, round(k / 3), replace=False)] = 1.0
        if scenario.noise == "gamma":
            shape = 1.0 / np.expm1(spread**2)
            scatter = np.log(rng.gamma(shape, 1.0 / shape, (2 * n, k)))
        else:
            scatter = rng.normal(size=(2 * n, k)) * spread
        if scenario.paired:
            scatter = 0.7 * scatter + 0.7 * (rng.normal(size=(n, k)) * spread)[donor]
        absolute = np.exp(level + np.outer(arm, beta) + scatter)
        total = np.round(1000.0 * np.exp(rng.normal(0.0, 0.5, 2 * n))).astype(int)
        y = np.stack([rng.multinomial(total[s], absolute[s] / absolute[s].sum()) for s in range(2 * n)])
        s, t = np.indices(y.shape)
        tables.append(
            pd.DataFrame(
                {"table": i, "sample": s.ravel(), "type": t.ravel(), "count": y.ravel(), "beta": beta[t.ravel()]}
            )
        )
        samples.append(pd.DataFrame({"table": i, "sample": np.arange(2 * n), "arm": arm, "donor": donor}))
    return pd.concat(tables, ignore_index=True), pd.concat(samples, ignore_index=True)


def hash_of(text: str) -> int:
    """Compute a number that is the same in every process."""
    return sum((i + 1) * ord(c) for i, c in enumerate(text))


def run_ours(tables: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """Compute p-values and intervals of this package, with the robust reference and with all cells as reference.

    All tables are tested in one call, each as a separate group. The results equal those of separate calls.
    """
    logging.getLogger("sc_glmm").setLevel(logging.WARNING)
    wide = tables.pivot(index=["table", "sample"], columns="type", values="count")
    about = samples.set_index(["table", "sample"]).loc[wide.index]
    names = [f"t{i}s{s}" for i, s in wide.index]
    obs = pd.DataFrame(
        {
            "sample": names,
            "table": [f"{i:05d}" for i, _ in wide.index],
            "arm": pd.Categorical(np.where(about["arm"] == 1, "b", "a")),
            "donor": [f"t{i}d{d}" for (i, _), d in zip(wide.index, about["donor"], strict=True)],
        },
        index=names,
    )
    table = ad.AnnData(wide.to_numpy(float), obs=obs, var=pd.DataFrame(index=[str(name) for name in wide.columns]))
    formula = "X ~ arm + (1|donor)" if obs["donor"].duplicated().any() else "X ~ arm"
    parts = []
    for reference in ("robust", "total"):
        counts = sc_glmm.pp.abundance(table, groupby=None, reference=reference)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sc_glmm.tl.test(counts, formula, groupby="table", n_jobs=1, progress=False)
        found = sc_glmm.get.results(counts, columns="all").reset_index(drop=True)
        part = pd.DataFrame({"table": found["table"].astype(int), "type": found["variable"].astype(int)})
        values = found[["p_value", "ci_low", "ci_high"]]
        parts.append(pd.concat([part.assign(method=f"sc_glmm-{reference}"), values], axis=1))
        if reference == "robust":
            parts.append(part.assign(method="sc_glmm-p_hk", p_value=found["p_hk"]))
    return pd.concat(parts, ignore_index=True)


def run_all(folder: Path, name: str, tables: pd.DataFrame, samples: pd.DataFrame) -> None:
    """Run all methods on the tables of one scenario; results are stored by the number of the first table."""
    place = folder / name / f"{tables['table'].min():05d}"
    if (place / "ours.csv").exists() and (place / "others.csv").exists():
        return
    place.mkdir(parents=True, exist_ok=True)
    tables.to_csv(place / "tables.csv", index=False)
    samples.to_csv(place / "samples.csv", index=False)
    run_ours(tables, samples).to_csv(place / "ours.csv", index=False)
    subprocess.run(["Rscript", str(HERE / "abundance.R"), str(place)], check=True)
    print(name, flush=True)


def real_tables(path: Path, n_splits: int, planted: bool, first: int) -> list[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """Draw random arms of real donors, unchanged or with one type drawn more often in one arm."""
    obs = ad.read_h5ad(path, backed="r").obs
    if "stim" in obs:
        obs, donor, sizes = obs[obs["stim"].astype(str) == "ctrl"], "donor", (4,)
    else:
        donor, sizes = "indiv", (6, 10, 20)
    types = list(pd.Categorical(obs["cell_type"]).categories)
    cells = {d: part["cell_type"].astype(str).to_numpy() for d, part in obs.groupby(donor, observed=True)}
    donors = np.array(sorted(cells))
    results = []
    for n in sizes:
        rng = np.random.default_rng([n, first])
        tables, samples = [], []
        for i in range(first, first + n_splits):
            chosen = rng.permutation(donors)[: 2 * n]
            beta = np.zeros(len(types))
            if planted:
                beta[rng.integers(len(types))] = rng.choice([-1.0, 1.0]) * np.log(2.5)
            for s, d in enumerate(chosen):
                arm, own_cells = int(s >= n), cells[d]
                if planted:
                    weight = np.exp(beta * arm)[[types.index(t) for t in own_cells]]
                    own_cells = rng.choice(own_cells, len(own_cells), p=weight / weight.sum())
                counts = [int((own_cells == t).sum()) for t in types]
                tables.append(
                    pd.DataFrame({"table": i, "sample": s, "type": range(len(types)), "count": counts, "beta": beta})
                )
                samples.append(pd.DataFrame({"table": [i], "sample": [s], "arm": [arm], "donor": [s]}))
        word = "planted" if planted else "null"
        name = f"real-{path.stem}-{n}+{n}-{word}"
        results.append((name, pd.concat(tables, ignore_index=True), pd.concat(samples, ignore_index=True)))
    return results


def summary(folder: Path) -> pd.DataFrame:
    """Compute the rates of all methods in all scenarios."""
    rows = []
    for place in sorted(folder.iterdir()):
        parts = [part for part in sorted(place.iterdir()) if (part / "others.csv").exists()]
        if not parts:
            continue
        read = {
            name: pd.concat([pd.read_csv(part / f"{name}.csv") for part in parts], ignore_index=True)
            for name in ("tables", "ours", "others")
        }
        truth = read["tables"].drop_duplicates(["table", "type"])[["table", "type", "beta"]]
        found = pd.concat([read["ours"], read["others"]], ignore_index=True).merge(truth, on=["table", "type"])
        for method, part in found.groupby("method", sort=False):
            null = part["beta"] == 0.0
            p = part.loc[null, "p_value"].dropna()
            false, power = [], []
            for _, one in part.groupby("table"):
                hit = adjust(one["p_value"].to_numpy()) < 0.05
                change = (one["beta"] != 0.0).to_numpy()
                false.append((hit & ~change).sum() / max(hit.sum(), 1))
                power += list(hit[change])
            log2 = part["beta"] / np.log(2.0)
            inside = ((part["ci_low"] <= log2) & (log2 <= part["ci_high"]))[part["ci_low"].notna()]
            rows.append(
                {
                    "scenario": place.name,
                    "method": method,
                    "tables": len(false),
                    **{f"p<{a:g}": 100 * (p < a).mean() for a in (0.05, 0.01, 0.001)},
                    "fdr": 100 * np.mean(false),
                    "fdr_se": 100 * np.std(false) / np.sqrt(len(false)),
                    "power": 100 * np.mean(power) if power else np.nan,
                    "coverage": 100 * inside.mean() if len(inside) else np.nan,
                }
            )
    return pd.DataFrame(rows)


def simulated_table(result: pd.DataFrame) -> str:
    """Format the rates of the simulated designs as Markdown."""
    words = {
        "none": "none",
        "one4x": "one type × 4",
        "quarter": "a quarter, × 2.7 or / 2.7",
        "third-up": "a third, × 2.7",
    }
    lines = [f"| types, samples {_COLUMNS}", _LINE]
    for scenario in SCENARIOS:
        noise = ", paired" if scenario.paired else ", gamma" if scenario.noise == "gamma" else ""
        design = f"{scenario.n_types}, {scenario.n_arm}+{scenario.n_arm}{noise}"
        lines += _rows(result, scenario.name, [design, words[scenario.change]])
    return "\n".join(lines)


def real_table(result: pd.DataFrame) -> str:
    """Format the rates on tables of real donors as Markdown."""
    lines = [f"| data, donors {_COLUMNS}", _LINE]
    for name in result["scenario"].unique():
        found = re.fullmatch(r"real-(\w+)-(\d+\+\d+)-(null|planted)", name)
        if found:
            change = "none" if found[3] == "null" else "one type × 2.5 or / 2.5"
            lines += _rows(result, name, [f"{found[1]}, {found[2]}", change])
    return "\n".join(lines)


def _rows(result: pd.DataFrame, name: str, first: list[str]) -> list[str]:
    """One row per method; the first row names the design."""
    lines = []
    for row in result[result["scenario"] == name].to_dict("records"):
        rates = " / ".join(f"{row[f'p<{a:g}']:.1f}" for a in (0.05, 0.01, 0.001))
        power = "" if np.isnan(row["power"]) else f"{row['power']:.0f}"
        coverage = "" if np.isnan(row["coverage"]) else f"{row['coverage']:.1f}"
        fdr = f"{row['fdr']:.1f} ± {row['fdr_se']:.1f}"
        label = [*first, str(row["tables"])] if not lines else ["", "", ""]
        lines.append(f"| {' | '.join([*label, METHODS[row['method']], rates, fdr, power, coverage])} |")
    return lines


def write_page(result: pd.DataFrame) -> None:
    """Write both tables between their marks in the documentation."""
    text = PAGE.read_text()
    for name, table in (("simulated", simulated_table(result)), ("real", real_table(result))):
        pattern = rf"(<!-- abundance: {name} -->\n).*?(<!-- end -->)"
        text = re.sub(pattern, lambda found, table=table: f"{found[1]}\n{table}\n\n{found[2]}", text, flags=re.DOTALL)
    PAGE.write_text(text)


def adjust(p: np.ndarray) -> np.ndarray:
    """Adjust p-values by Benjamini and Hochberg."""
    out, good = np.ones(len(p)), np.flatnonzero(np.isfinite(p))
    order = good[np.argsort(p[good])]
    ranked = p[order] * len(order) / np.arange(1, len(order) + 1)
    out[order] = np.minimum.accumulate(ranked[::-1])[::-1]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["simulate", "real", "report"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("data", type=Path, nargs="*")
    parser.add_argument("--tables", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="number of the first table, which determines the seeds")
    parser.add_argument("--only", default="*")
    given = parser.parse_args()
    if given.what == "simulate":
        for scenario in SCENARIOS:
            if fnmatch(scenario.name, given.only):
                run_all(given.folder, scenario.name, *simulate(scenario, given.tables, given.first))
    elif given.what == "real":
        for path in given.data:
            for planted in (False, True):
                for name, tables, samples in real_tables(path, given.tables, planted, given.first):
                    if fnmatch(name, given.only):
                        run_all(given.folder, name, tables, samples)
    else:
        result = summary(given.folder)
        result.to_csv(HERE / "results" / "abundance.csv", index=False, float_format="%.3f")
        write_page(result)
        print(result.round(2).to_string())


if __name__ == "__main__":
    main()
