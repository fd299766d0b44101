"""Simulate multi-sample data sets with a known truth, for learning and testing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from ._arrays import FloatArray, IntArray
from ._display.arguments import check_choice
from ._errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["simulate"]


# Number of values in a dense block of genes: 16 MB in double precision.
_BLOCK_VALUES = 2_000_000
# Spread over genes, on the log scale, around the medians in the arguments. 15 % of the genes do not vary between
# samples. The mean and spread of expression are those of 10x data of blood (Kang 2018).
_SPREAD_MEAN, _SPREAD_SD, _SPREAD_DISPERSION, _FRAC_INVARIANT = 1.6, 0.5, 0.7, 0.15
_COUNTS_PER_GENE = 0.12
# With few genes, some cells would have no counts at a smaller depth.
_MIN_DEPTH = 50.0


class _Layout(NamedTuple):
    """Names in a design: the tested column, its levels (base first), and the formula that generates the counts."""

    column: str
    levels: tuple[str, str]
    random: str


_LAYOUTS = {
    "unpaired": _Layout("disease", ("ctl", "AD"), "(1|sample)"),
    "paired": _Layout("stim", ("ctrl", "stim"), "(1|donor) + (1|sample)"),
}


@dataclass(frozen=True)
class _Truth:
    """Parameters that generate the counts, per gene and per row (a row is one cell type of one sample).

    Attributes
    ----------
    eta
        ``(n_genes, n_rows)`` natural log of the expected count of a cell with size factor one.
    mean, sd_sample, sd_donor, dispersion
        ``(n_genes,)`` expected count of such a cell without effects, standard deviations, and NB dispersion.
    coef
        ``(n_genes, n_types)`` tested effect, natural log.
    slopes
        ``(n_genes, n_covariates)`` effects of the covariates of cells.
    """

    eta: FloatArray
    mean: FloatArray
    coef: FloatArray
    sd_sample: FloatArray
    sd_donor: FloatArray
    dispersion: FloatArray
    slopes: FloatArray


def simulate(
    n_samples: int = 12,
    n_cells: int = 6000,
    n_genes: int = 2000,
    *,
    design: Literal["unpaired", "paired"] = "unpaired",
    n_cell_types: int = 1,
    covariates: Mapping[str, float] | None = None,
    frac_de: float = 0.1,
    log_fc: tuple[float, float] = (0.5, 1.5),
    sample_sd: float = 0.22,
    donor_sd: float = 0.3,
    dispersion: float = 0.5,
    depth: float | None = None,
    depth_sd: float = 0.45,
    imbalance: float = 0.5,
    seed: int | np.random.Generator = 0,
) -> AnnData:
    r"""Simulate multi-sample single-cell counts with a known truth.

    Cell :math:`i` of sample :math:`s` has size factor :math:`f_i` and counts

    .. math::
        y_{ig} \sim \mathrm{NB}(\mu_{ig}, \phi_g), \qquad
        \log \mu_{ig} = \log f_i + \alpha_g + x_s \beta_g + z_i^\top \gamma_g + d_{g,\mathrm{donor}(s)} + b_{gs},

    with variance :math:`\mu + \phi \mu^2`, normal sample effects :math:`b` and, in a paired design, normal donor
    effects :math:`d`. With several cell types, sample and donor effects are drawn separately for each type, and so is
    the mean expression of every fifth gene.

    Parameters
    ----------
    n_samples
        Number of samples. Unpaired: one per donor, and the first half are controls. Paired: two per donor.
    n_cells
        Total number of cells.
    n_genes
        Number of genes.
    design
        ``"unpaired"``: ``.obs["disease"]`` with the levels ``ctl`` and ``AD`` differs between donors.
        ``"paired"``: ``.obs["stim"]`` with the levels ``ctrl`` and ``stim`` differs within donors.
    n_cell_types
        Number of cell types. Their proportions vary between samples.
    covariates
        Names of numeric covariates of cells, each with the standard deviation of its effects over genes (natural log,
        per unit). The values are normal with unit variance; a tenth of the variance is between samples.
    frac_de
        Fraction of genes with an effect. Half of the effects are positive. With several cell types, the effect of a
        gene is present in a random half of them, and in at least one.
    log_fc
        Range of the absolute log2 fold changes.
    sample_sd, donor_sd
        Median over genes of the standard deviation of sample and donor effects (natural log); 15 % of the genes have
        none. `donor_sd` is only used in paired designs.
    dispersion
        Median over genes of the negative binomial dispersion; 0 gives Poisson counts.
    depth
        Median total count of a cell. Default: 0.12 per gene, which gives about 8 % non-zero counts, but at least 50.
    depth_sd
        Standard deviation of the log size factors.
    imbalance
        Standard deviation of the log number of cells per sample; 0 gives samples of equal size.
    seed
        Seed or generator. The same seed gives the same counts.

    Returns
    -------
    AnnData
        The counts are in `.X` (float32) and in ``.layers["counts"]`` (int32), both CSR. Other contents are

        ``.obs``
            ``sample``, ``donor``, ``disease`` or ``stim`` (categorical, base level first), ``cell_type`` if there are
            several, the covariates, and ``true_size_factor`` (median 1).
        ``.var``
            ``is_de``, ``true_coef`` (:math:`\beta_g`, natural log, in the cell types where the effect is present),
            ``true_log_fc`` (log2), ``true_mean`` (:math:`e^{\alpha_g}`), ``true_dispersion``, ``true_sd_sample``,
            ``true_sd_donor`` (paired), and ``true_coef_NAME`` for each covariate.
        ``.varm["true_coef"]``
            :math:`\beta_g` per cell type, if there are several.
        ``.uns["truth"]``
            The formula that generated the counts, the label of the tested contrast, and the settings.

    Examples
    --------
    >>> import sc_glmm
    >>> adata = sc_glmm.datasets.simulate(n_samples=6, n_cells=300, n_genes=50)
    >>> adata.shape
    (300, 50)
    >>> adata.uns["truth"]["formula"]
    'counts ~ disease + (1|sample)'
    """
    covariates = dict(covariates or {})
    _check_sizes(n_samples, n_cells, n_genes, n_cell_types, design)
    _check_ranges(
        frac_de=frac_de,
        log_fc=log_fc,
        covariates=covariates,
        non_negative={
            "sample_sd": sample_sd,
            "donor_sd": donor_sd,
            "dispersion": dispersion,
            "depth_sd": depth_sd,
            "imbalance": imbalance,
        },
        depth=depth,
    )
    rng = np.random.default_rng(seed)
    layout = _LAYOUTS[design]
    depth = max(_COUNTS_PER_GENE * n_genes, _MIN_DEPTH) if depth is None else float(depth)

    samples = _sample_table(n_samples, design, layout)
    obs, row_of = _cells(rng, samples, n_cells, n_cell_types, covariates, depth_sd, imbalance)
    truth = _draw_truth(
        rng,
        samples,
        layout,
        n_genes=n_genes,
        n_types=n_cell_types,
        frac_de=frac_de,
        log_fc=log_fc,
        sample_sd=sample_sd,
        donor_sd=donor_sd if design == "paired" else 0.0,
        dispersion=dispersion,
        depth=depth,
        slope_sd=np.array(list(covariates.values()), dtype=np.float64),
    )
    counts = _draw_counts(rng, truth, row_of, obs["true_size_factor"].to_numpy(), obs[list(covariates)].to_numpy(float))

    from anndata import AnnData

    adata = AnnData(counts.astype(np.float32), obs=obs, var=_truth_frame(truth, design, list(covariates)))
    # The layer is a separate copy, so that normalising X in place does not change the counts.
    adata.layers["counts"] = counts
    if n_cell_types > 1:
        adata.varm["true_coef"] = pd.DataFrame(
            truth.coef, index=adata.var_names, columns=list(obs["cell_type"].cat.categories)
        )
    fixed = " + ".join([layout.column, *covariates])
    adata.uns["truth"] = {
        "formula": f"counts ~ {fixed} + {layout.random}",
        "contrast": f"{layout.column}: {layout.levels[1]} vs {layout.levels[0]}",
        "design": design,
        "n_samples": n_samples,
        "frac_de": float(frac_de),
        "log_fc": [float(log_fc[0]), float(log_fc[1])],
        "sample_sd": float(sample_sd),
        "donor_sd": float(donor_sd) if design == "paired" else 0.0,
        "dispersion": float(dispersion),
        "depth": depth,
        "depth_sd": float(depth_sd),
        "imbalance": float(imbalance),
        "seed": int(seed) if isinstance(seed, int | np.integer) else None,
    }
    return adata


def _check_sizes(n_samples: int, n_cells: int, n_genes: int, n_types: int, design: str) -> None:
    check_choice("design", design, _LAYOUTS)
    if n_samples < 4:
        raise InputError(
            f"n_samples={n_samples}: must be at least 4, because a comparison needs two samples in each arm."
        )
    if design == "paired" and n_samples % 2:
        raise InputError(f"n_samples={n_samples}: must be even, because a paired design has two samples per donor.")
    if n_types < 1:
        raise InputError(f"n_cell_types={n_types}: must be at least 1.")
    if n_cells < 2 * n_samples:
        raise InputError(
            f"n_cells={n_cells} is too few for {n_samples} samples; there must be at least two cells per sample."
        )
    if n_genes < 1:
        raise InputError(f"n_genes={n_genes}: must be at least 1.")


def _check_ranges(
    *,
    frac_de: float,
    log_fc: tuple[float, float],
    covariates: Mapping[str, float],
    non_negative: Mapping[str, float],
    depth: float | None,
) -> None:
    if not 0.0 <= frac_de <= 1.0:
        raise InputError(f"frac_de={frac_de} must lie between 0 and 1: it is a fraction of genes.")
    if not 0.0 <= log_fc[0] <= log_fc[1]:
        raise InputError(f"log_fc={log_fc} must be a range of absolute log2 fold changes with 0 <= low <= high.")
    if depth is not None and not depth > 0.0:
        raise InputError(f"depth={depth} must be positive: it is the median total count of a cell.")
    for name, value in non_negative.items():
        if not 0.0 <= value < np.inf:
            raise InputError(f"{name}={value} must be a finite number of at least 0.")
    other_columns = {"sample", "donor", "cell_type", "true_size_factor"}
    other_columns |= {layout.column for layout in _LAYOUTS.values()}
    for name, value in covariates.items():
        if name in other_columns:
            raise InputError(f"The covariate name {name!r} is the name of another column; choose a different one.")
        if not 0.0 <= value < np.inf:
            raise InputError(f"covariates[{name!r}]={value} must be finite and at least 0: it is a standard deviation.")


def _sample_table(n_samples: int, design: str, layout: _Layout) -> pd.DataFrame:
    """Build a table with one row per sample: its name, donor and level of the tested column."""
    base, other = layout.levels
    width = max(2, len(str(n_samples)))
    if design == "paired":
        donors = [f"d{i // 2 + 1:0{width}d}" for i in range(n_samples)]
        level = [layout.levels[i % 2] for i in range(n_samples)]
        names = [f"{donor}_{x}" for donor, x in zip(donors, level, strict=True)]
    else:
        donors = [f"d{i + 1:0{width}d}" for i in range(n_samples)]
        level = [base if i < (n_samples + 1) // 2 else other for i in range(n_samples)]
        names = [f"s{i + 1:0{width}d}" for i in range(n_samples)]
    return pd.DataFrame(
        {
            "sample": pd.Categorical(names, categories=names),
            "donor": pd.Categorical(donors, categories=list(dict.fromkeys(donors))),
            layout.column: pd.Categorical(level, categories=list(layout.levels)),
        }
    )


def _cells(
    rng: np.random.Generator,
    samples: pd.DataFrame,
    n_cells: int,
    n_types: int,
    covariates: Mapping[str, float],
    depth_sd: float,
    imbalance: float,
) -> tuple[pd.DataFrame, IntArray]:
    """Build the obs table, and find the row (sample x cell type) of each cell."""
    n_samples = len(samples)
    weight = np.exp(imbalance * rng.standard_normal(n_samples))
    # Every sample has at least two cells; the others follow the weights.
    size = 2 + np.floor(weight / weight.sum() * (n_cells - 2 * n_samples)).astype(np.int64)
    size[np.argsort(-weight, kind="stable")[: n_cells - size.sum()]] += 1
    sample_of = np.repeat(np.arange(n_samples), size)

    obs = samples.iloc[sample_of].reset_index(drop=True)
    obs.index = pd.Index([f"cell_{i + 1:0{len(str(n_cells))}d}" for i in range(n_cells)])
    row_of = sample_of
    if n_types > 1:
        names = [f"type_{i + 1}" for i in range(n_types)]
        share = rng.dirichlet(40.0 / n_types * 0.8 ** np.arange(n_types), size=n_samples)
        bound = np.cumsum(share, axis=1)[sample_of, :-1]
        type_of = (rng.random(n_cells)[:, None] > bound).sum(axis=1)
        obs["cell_type"] = pd.Categorical.from_codes(type_of, categories=pd.Index(names))
        row_of = sample_of * n_types + type_of
    for name in covariates:
        between = rng.standard_normal(n_samples)[sample_of]
        obs[name] = np.sqrt(0.1) * between + np.sqrt(0.9) * rng.standard_normal(n_cells)
    log_size = depth_sd * rng.standard_normal(n_cells)
    obs["true_size_factor"] = np.exp(log_size - np.median(log_size))
    return obs, row_of


def _draw_truth(
    rng: np.random.Generator,
    samples: pd.DataFrame,
    layout: _Layout,
    *,
    n_genes: int,
    n_types: int,
    frac_de: float,
    log_fc: tuple[float, float],
    sample_sd: float,
    donor_sd: float,
    dispersion: float,
    depth: float,
    slope_sd: FloatArray,
) -> _Truth:
    n_samples = len(samples)
    donor_of = samples["donor"].cat.codes.to_numpy(np.int64)
    x = samples[layout.column].cat.codes.to_numpy(np.float64)

    mean = np.exp(_SPREAD_MEAN * rng.standard_normal(n_genes))
    mean *= depth / mean.sum()

    n_de = round(frac_de * n_genes)
    effect = np.zeros(n_genes)
    # The signs alternate. If all effects were positive, the share of all other genes in the library would decrease.
    sign = np.where(np.arange(n_de) % 2 == 0, 1.0, -1.0)
    effect[rng.permutation(n_genes)[:n_de]] = sign * rng.uniform(*log_fc, size=n_de) * np.log(2.0)
    present = rng.random((n_genes, n_types)) < 0.5
    present[np.arange(n_genes), rng.integers(n_types, size=n_genes)] = True
    coef = np.where(present, effect[:, None], 0.0)

    alpha = np.repeat(np.log(mean)[:, None], n_types, axis=1)
    if n_types > 1:
        alpha += rng.standard_normal((n_genes, n_types)) * (np.arange(n_genes) % 5 == 0)[:, None]

    sd_sample = _spread_sd(rng, n_genes, sample_sd)
    sd_donor = _spread_sd(rng, n_genes, donor_sd)
    by_sample = sd_sample[:, None, None] * rng.standard_normal((n_genes, n_samples, n_types))
    n_donors = samples["donor"].nunique()
    by_donor = sd_donor[:, None, None] * rng.standard_normal((n_genes, n_donors, n_types))
    eta = alpha[:, None, :] + x[None, :, None] * coef[:, None, :] + by_donor[:, donor_of] + by_sample
    return _Truth(
        eta=eta.reshape(n_genes, n_samples * n_types),
        mean=mean,
        coef=coef,
        sd_sample=sd_sample,
        sd_donor=sd_donor,
        dispersion=dispersion * np.exp(_SPREAD_DISPERSION * rng.standard_normal(n_genes)),
        slopes=slope_sd * rng.standard_normal((n_genes, len(slope_sd))),
    )


def _spread_sd(rng: np.random.Generator, n_genes: int, median: float) -> FloatArray:
    """Draw standard deviations of the genes: log-normal around the median, some exactly zero."""
    sd = median * np.exp(_SPREAD_SD * rng.standard_normal(n_genes))
    return np.where(rng.random(n_genes) < _FRAC_INVARIANT, 0.0, sd)


def _draw_counts(
    rng: np.random.Generator, truth: _Truth, row_of: IntArray, size_factor: FloatArray, z: FloatArray
) -> sparse.csr_matrix:
    """Draw counts ``(n_cells, n_genes)`` in blocks of genes, to avoid a dense matrix of full size."""
    n_cells, n_genes = len(row_of), len(truth.mean)
    width = max(1, _BLOCK_VALUES // n_cells)
    starts = range(0, n_genes, width)
    data, indices, per_gene = [], [], []
    for start, block_rng in zip(starts, rng.spawn(len(starts)), strict=True):
        genes = slice(start, start + width)
        rate = np.exp(truth.eta[genes])[:, row_of] * size_factor
        if z.shape[1]:
            rate *= np.exp(truth.slopes[genes] @ z.T)
        phi = truth.dispersion[genes, None]
        if np.any(phi > 0.0):
            # A negative binomial is a Poisson with a gamma rate. Its limit for phi -> 0 is the Poisson.
            shape = 1.0 / np.where(phi > 0.0, phi, 1.0)
            rate *= np.where(phi > 0.0, block_rng.standard_gamma(shape, size=rate.shape) / shape, 1.0)
        y = block_rng.poisson(rate)
        gene, cell = np.nonzero(y)
        data.append(y[gene, cell].astype(np.int32))
        indices.append(cell.astype(np.int32))
        per_gene.append(np.bincount(gene, minlength=y.shape[0]))
    indptr = np.concatenate([[0], np.cumsum(np.concatenate(per_gene))])
    by_gene = sparse.csc_matrix((np.concatenate(data), np.concatenate(indices), indptr), shape=(n_cells, n_genes))
    return by_gene.tocsr()


def _truth_frame(truth: _Truth, design: str, covariates: list[str]) -> pd.DataFrame:
    n_genes = len(truth.mean)
    # The effect in the cell types where it is present: the entry with the largest absolute value.
    effect = truth.coef[np.arange(n_genes), np.abs(truth.coef).argmax(axis=1)]
    columns = {
        "is_de": effect != 0.0,
        "true_coef": effect,
        "true_log_fc": effect / np.log(2.0),
        "true_mean": truth.mean,
        "true_dispersion": truth.dispersion,
        "true_sd_sample": truth.sd_sample,
    }
    if design == "paired":
        columns["true_sd_donor"] = truth.sd_donor
    for j, name in enumerate(covariates):
        columns[f"true_coef_{name}"] = truth.slopes[:, j]
    width = len(str(n_genes))
    return pd.DataFrame(columns, index=pd.Index([f"gene_{i + 1:0{width}d}" for i in range(n_genes)]))
