"""Make results in the format of get.results, with every kind of failure, without fitting."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd

import sc_glmm as sg

TYPES = ("B cells", "CD4 T cells", "NK cells", "Monocytes")


def grouped_results(n_genes: int = 600, seed: int = 5) -> pd.DataFrame:
    """Make four cell types with shared effects; some genes are untested, separated or not converged."""
    rng = np.random.default_rng(seed)
    shared = np.where(rng.random(n_genes) < 0.1, rng.normal(0.6, 1.6, n_genes), 0.0)
    mean = np.exp(rng.normal(-2.0, 1.5, n_genes))
    parts = []
    for i, name in enumerate(TYPES):
        true = shared * (rng.random(n_genes) < 0.7)
        se = 0.15 * (1.0 + 0.3 / np.sqrt(mean)) * (1.0 + 0.2 * i)
        log_fc = true + se * rng.standard_normal(n_genes)
        p = np.exp(-0.7 * (log_fc / se) ** 2) * rng.uniform(0.3, 1.0, n_genes)
        part = pd.DataFrame(
            {
                "variable": [f"GENE{j}" for j in range(n_genes)],
                "contrast": "stim: stim vs ctrl",
                "log_fc": log_fc,
                "ci_low": log_fc - 2.1 * se,
                "ci_high": log_fc + 2.1 * se,
                "p_value": p,
                "adj_p_value": np.minimum(1.0, 8 * p),
                "status": "ok",
                "baseMean": mean,
                "log_fc_shrunk": 0.8 * log_fc,
            }
        )
        untested, separated = rng.random(n_genes) < 0.1, rng.random(n_genes) < 0.02
        part.loc[separated, ["status", "ci_high"]] = ["separated", np.inf]
        part.loc[untested, ["log_fc", "log_fc_shrunk", "ci_low", "ci_high", "p_value", "adj_p_value"]] = np.nan
        part.loc[untested, "status"] = "all_zero"
        part.loc[0, ["status", "log_fc", "p_value", "adj_p_value"]] = ["not_converged", 0.3, 0.4, 0.8]
        part.insert(0, "cell_type", name)
        parts.append(part)
    out = pd.concat(parts, ignore_index=True)
    out["cell_type"] = pd.Categorical(out["cell_type"], categories=list(TYPES))
    return out


def facts(n_genes: int = 600, seed: int = 6) -> pd.DataFrame:
    """Make gene information in the format of get.fit_info."""
    rng = np.random.default_rng(seed)
    mean = np.exp(rng.normal(-1.0, 1.5, n_genes))
    return pd.DataFrame(
        {
            "variable": [f"GENE{j}" for j in range(n_genes)],
            "status": "ok",
            "mean": mean,
            "dispersion": 0.4 * mean**-0.5 * np.exp(0.6 * rng.standard_normal(n_genes)),
            "phi_from_trend": mean < 0.08,
            "sd_sample": 0.3 * rng.random(n_genes),
            "sd_sample_eb": 0.15 + 0.2 * rng.beta(1.5, 6.0, n_genes),
            "more_variable": rng.random(n_genes) < 0.03,
        }
    )


@cache
def one_model() -> sg.models.LmmFit:
    """Make ten samples of two arms, with one outlier."""
    rng = np.random.default_rng(2)
    sample = np.repeat(np.arange(10), rng.integers(5, 60, 10))
    effect = 0.4 * rng.standard_normal(10)
    effect[7] = 3.0
    frame = pd.DataFrame(
        {
            "y": effect[sample] + 0.8 * (sample >= 5) + rng.standard_normal(len(sample)),
            "arm": np.where(sample < 5, "ctl", "AD"),
            "sample": [f"s{i}" for i in sample],
        }
    )
    return sg.lmer("y ~ arm + (1|sample)", frame, reference={"arm": "ctl"})


@cache
def slope_model() -> sg.models.LmmFit:
    """Make twelve groups with their own intercepts and slopes."""
    rng = np.random.default_rng(3)
    group, x = np.repeat(np.arange(12), 10), np.tile(np.arange(10.0), 12)
    intercept, slope = 2.0 * rng.standard_normal(12), 0.3 * rng.standard_normal(12)
    y = intercept[group] + (0.5 + slope[group]) * x + rng.standard_normal(120)
    return sg.lmer("y ~ x + (x|g)", pd.DataFrame({"y": y, "x": x, "g": [f"g{i:02d}" for i in group]}))


@cache
def count_model() -> sg.models.GlmmFit:
    """Make counts in eight samples of two arms."""
    rng = np.random.default_rng(4)
    sample = np.repeat(np.arange(8), 40)
    mean = np.exp(0.5 + 0.5 * (sample >= 4) + 0.4 * rng.standard_normal(8)[sample])
    y = rng.poisson(mean * rng.gamma(2.0, 0.5, len(mean)))
    frame = pd.DataFrame({"y": y, "arm": np.where(sample < 4, "ctl", "AD"), "sample": [f"s{i}" for i in sample]})
    return sg.glmer("y ~ arm + (1|sample)", frame, family="nb", reference={"arm": "ctl"})
