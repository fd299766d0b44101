"""Test real data without a difference: donors of one condition are split at random into two groups.

    python real_null.py kang8.h5ad --donor donor --where stim=ctrl --cell-type cell_type --cells 3
    python real_null.py kang8.h5ad --donor donor --where stim=ctrl --cell-type cell_type --without-each-donor
    python real_null.py kang8.h5ad --donor donor --where stim=ctrl --cell-type cell_type --simulated --splits 20
    python real_null.py onek1k_40.h5ad --donor indiv --cell-type cell_type --samples 6,8,12,20 --splits 12 --cells 10

Without --samples all donors are used, and with 8 of them all 35 splits in halves. Every method is given the same size
factors: library size times the pooled factor of the donor (``sc_glmm.pp.size_factors``). The data are not part of the
project: Kang 2018 is GSE96583, OneK1K is GSE196830.

--without-each-donor runs the default test on every split without each of the donors (``donor_jackknife.py``), from
which the interval of the mean rate follows. --simulated replaces the counts by draws from what was fitted to them
(``simulate_like.py``): every split has new counts then.
"""

from __future__ import annotations

import itertools
import json
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import anndata as ad
import numpy as np
import typer
from donor_jackknife import run_without_each
from measures import measure
from methods import OTHERS, Tested, run_ours, versions
from others import run_others
from real_splits import FORMULA, abundance_strata, donors_with, draw_split, prepare
from run import line, warm_up, write
from scipy import sparse
from simulate_like import draw, fit_null


@dataclass(frozen=True)
class Plan:
    """Options of the run for every split."""

    donor: str
    cells: int
    seed: int
    methods: list[str]
    target: Path


def main(
    path: Annotated[Path, typer.Argument(help="AnnData with counts in X or layers['counts'].")],
    donor: Annotated[str, typer.Option(help="Column of the donors.")],
    cell_type: Annotated[str, typer.Option(help="Column of the cell types; each is tested separately.")],
    where: Annotated[str, typer.Option(help="Keep these cells: column=value.")] = "",
    cells: Annotated[int, typer.Option(help="Smallest number of cells of the type per donor.")] = 3,
    samples: Annotated[str, typer.Option(help="Numbers of donors to draw, separated by commas; default all.")] = "",
    splits: Annotated[int, typer.Option(help="Splits for each number of donors.")] = 35,
    methods: Annotated[
        str, typer.Option(help="Methods, separated by commas.")
    ] = "eb_lr,ml_wald,edger_ql,limma_voom,deseq2",
    name: Annotated[str, typer.Option(help="Name of the results; default: name of the file.")] = "",
    seed: Annotated[int, typer.Option(help="Seed of the splits.")] = 2026,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path(__file__).parent / "results",
    until: Annotated[str, typer.Option(help="Start no new split after this time of day, HH:MM.")] = "",
    without_each_donor: Annotated[bool, typer.Option(help="Leave out each donor in turn.")] = False,
    simulated: Annotated[bool, typer.Option(help="Draw new counts from the fitted model.")] = False,
) -> None:
    """Test splits of real data; stored results are not computed again."""
    adata = ad.read_h5ad(path)
    adata.X = sparse.csr_matrix(adata.layers["counts"] if "counts" in adata.layers else adata.X)
    if where:
        column, value = where.split("=")
        adata = adata[adata.obs[column].astype(str) == value].copy()
    out.mkdir(parents=True, exist_ok=True)
    name = name or path.stem
    target = out / (f"jackknife-{name}.csv" if without_each_donor else f"real-{name}{'-simulated' * simulated}.json")
    plan = Plan(donor, cells, seed, methods.split(","), target)
    warm_up(plan.methods)
    kinds = {str(kind): adata[adata.obs[cell_type] == kind] for kind in sorted(adata.obs[cell_type].unique())}
    kinds = {kind: data for kind, data in kinds.items() if len(donors_with(data, donor, cells)) >= 6}
    fitted = {kind: fit_null(data, donor, donors_with(data, donor, cells)) for kind, data in kinds.items() if simulated}
    for split, kind, size in itertools.product(
        range(splits), kinds, [int(s) for s in samples.split(",") if s] or [None]
    ):
        if until and time.strftime("%H:%M") >= until:
            return
        data = kinds[kind]
        if simulated:
            data = draw(fitted[kind], donor, np.random.default_rng([seed, split, zlib.crc32(kind.encode()), 1]))
        run_split(data, kind, size, split, plan, without_each_donor)


def run_split(adata: ad.AnnData, kind: str, size: int | None, split: int, plan: Plan, without_each: bool) -> None:
    """Test one split of one cell type by the methods without a stored result."""
    donors = donors_with(adata, plan.donor, plan.cells)
    if len(donors) < (size or 6):
        return
    rng = np.random.default_rng([plan.seed, split, size or 0, zlib.crc32(kind.encode())])
    drawn, second = draw_split(donors, size, split, rng)
    if second and without_each:
        run_without_each(adata, plan.donor, kind, drawn, second, split, plan.target)
    elif second:
        run_methods(adata, kind, drawn, second, split, plan)


def run_methods(adata: ad.AnnData, kind: str, drawn: list[str], second: set[str], split: int, plan: Plan) -> None:
    """Test one split by every method that is not stored."""
    target = plan.target
    empty = {"scenario": target.stem, "seed": plan.seed, "sets": []}
    stored = json.loads(target.read_text()) if target.exists() else empty
    key = {"cell_type": kind, "samples": len(drawn), "rep": split}
    entry = next((e for e in stored["sets"] if all(e[k] == v for k, v in key.items())), None)
    todo = [m for m in plan.methods if entry is None or m not in entry["methods"]]
    if not todo:
        return
    data = prepare(adata, plan.donor, drawn, second)
    results: dict[str, Tested] = {}
    for method in [m for m in todo if m not in OTHERS]:
        results[method] = run_ours(method, data, FORMULA, "cond")
        if results[method].p_hk is not None:
            results["p_hk"] = Tested(results[method].p_hk, results[method].seconds)
    others, found = run_others(todo, data, "donor", "1 + cond", "cond")
    results |= others
    if entry is None:
        entry = {**key, "genes": data.n_vars, "b": sorted(second), "donors": sorted(drawn), "methods": {}}
        stored["sets"].append(entry)
    entry["versions"] = {**entry.get("versions", {}), **versions(), **found}
    effect, strata = np.zeros(data.n_vars), abundance_strata(data)
    for method, result in results.items():
        values = measure(result.p, effect, strata)
        values["ms_per_gene"] = round(1e3 * result.seconds / data.n_vars, 4)
        entry["methods"][method] = {**values, **(result.notes or {})}
        print(line(f"{kind} S={len(drawn)}", split, method, values), flush=True)
    write(target, stored)


if __name__ == "__main__":
    typer.run(main)
