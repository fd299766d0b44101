"""Write the methods paragraph for a paper, and list the parameters of the run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._hypotheses.registry import get_test
from .references import cite
from .study import Study

_FAMILIES = {
    "nb": "negative binomial mixed model with a log link",
    "poisson": "Poisson mixed model with a log link",
    "gaussian": "linear mixed model",
}
_MINIMA = {
    "two-sided": "an absolute log2 fold change above {tau:g} [@mccarthy2009]",
    "greater": "a log2 fold change above {tau:g}",
    "less": "a log2 fold change below {minus:g}",
    "abs-less": "an absolute log2 fold change below {tau:g} (two one-sided tests)",
}


def methods_text(study: Study, alpha: float) -> tuple[str, list[str]]:
    """Write a paragraph for the methods section, and list the references that it cites."""
    params = study.params
    versions = _plain(params.get("versions", {}))
    model = _FAMILIES.get(str(params["family"]), f"{params['family']} mixed model")
    separately = f" separately in each level of {study.groupby}" if study.groupby is not None else ""
    sentences = [
        f"Differential expression was tested with sc_glmm {versions.get('sc_glmm', '')} [@scglmm] in Python "
        f"{versions.get('python', '')}, on AnnData objects [@anndata2024].",
        f"For each of {int(params['n_vars']):,} genes a {model} was fitted to {len(study.obs):,} cells{separately}, "
        f"with the formula {' '.join(str(params['formula']).split())}.",
        _sizes(params, study.counts),
        _estimation(params),
        get_test(str(params["test"])).methods,
    ]
    tau, side = float(params.get("min_log_fc", 0.0) or 0.0), str(params.get("alternative", "two-sided"))
    if tau > 0.0 or side != "two-sided":
        sentences.append(f"The alternative was {_MINIMA[side].format(tau=tau, minus=0.0 - tau)}.")
    over = "all tests of a contrast" if params.get("adjust") == "global" else "the tested genes of each contrast"
    if study.groupby is not None and params.get("adjust") != "global":
        over += " and group"
    sentences.append(
        f"P-values were adjusted over {over} by the method of Benjamini and Hochberg [@benjamini1995]; the false "
        f"discovery rate was {100 * alpha:g} %."
    )
    if int(params.get("min_counts", 0) or 0) > 0 and study.counts:
        sentences.append(f"Genes with fewer than {int(params['min_counts'])} counts were not tested.")
    if np.isfinite(study.results["log_fc_shrunk"].to_numpy(dtype=np.float64)).any():
        sentences.append("Shrunken fold changes and local false sign rates follow adaptive shrinkage [@stephens2017].")
    return cite(" ".join(part for part in sentences if part))


def _sizes(params: Mapping[str, Any], counts: bool) -> str:
    source = str(params.get("size_factors", ""))
    if not counts or not source or source == "none":
        return ""
    if source == "library size x sample factor":
        return "The size factor of a cell was its library size times a composition factor of its sample."
    return "Size factors were the library sizes." if source == "library size" else f"Size factors: {source}."


def _estimation(params: Mapping[str, Any]) -> str:
    variances = "restricted maximum likelihood" if params["method"] == "reml" else "maximum likelihood"
    if params["family"] == "gaussian":
        return f"Variances were estimated by {variances}."
    nodes = int(params.get("n_agq", 1) or 1)
    how = "the Laplace approximation [@breslow1993]" if nodes == 1 else f"Gauss-Hermite quadrature with {nodes} nodes"
    return f"Random effects were integrated out by {how}, and variances were estimated by {variances}."


def provenance(study: Study) -> list[tuple[str, str]]:
    """List options of the run and versions of packages, as name and value."""
    params = study.params
    shown = (
        *("formula", "family", "test", "method", "response", "size_factors", "cells_grouped_by", "reference"),
        *("min_log_fc", "alternative", "min_cells", "min_samples", "min_counts", "within", "adjust", "n_agq", "seed"),
    )
    pairs = [(name, str(params[name])) for name in shown if params.get(name) not in (None, "")]
    versions = _plain(params.get("versions", {}))
    return [*pairs, ("versions", ", ".join(f"{name} {value}" for name, value in versions.items()))]


def notes_of(study: Study) -> list[str]:
    """Return the warnings of the run."""
    return [str(note) for note in np.atleast_1d(np.asarray(study.params.get("notes", []), dtype=object))]


def _plain(value: Any) -> Mapping[str, Any]:
    result: Mapping[str, Any] = json.loads(value) if isinstance(value, str) else dict(value)
    return result
