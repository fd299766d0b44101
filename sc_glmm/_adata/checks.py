"""Check the kind, shape and range of the stored results of a run before they are used.

The results may come from any program. Elements that are never read are not checked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._errors import FormulaError
from .._families.registry import FAMILIES
from .._formula import parse_formula
from .schema import from_json, member, number, numbers, refuse, table, text, words
from .seal import SEALED, seal
from .table_checks import check_long_table, check_tables

# Largest allowed number of nodes of a grid of variances; the grid of a run has at most 125.
_MOST_NODES = 10_000
_SIDES = ("two-sided", "greater", "less", "abs-less")


def has_results(entry: Any) -> bool:
    """Check whether an entry of ``uns`` is from a run, even if one of its elements is missing."""
    if not isinstance(entry, Mapping) or "params" not in entry:
        return False
    params = entry["params"]
    inside = set(params) if isinstance(params, Mapping) else set()
    return (
        len({"contrast_keys", "contrast_words", "varm"} & inside) > 1
        or len({"contrasts", "variances"} & set(entry)) > 1
    )


def check_run(uns: Mapping[str, Any], varm: Mapping[str, Any], key: str) -> None:
    """Raise an error for the first element of the results under `key` that is missing or of the wrong kind.

    Parameters
    ----------
    uns, varm
        The entries of an AnnData; ``uns[key]["params"]`` exists.
    key
        `key_added` of the run.
    """
    place = f"uns/{key}"
    entry = table(uns[key], place)
    params = table(entry["params"], f"{place}/params")
    groups = _check_params(params, f"{place}/params")
    _check_seal(entry, params, place)
    counts = params["family"] != "gaussian"
    contrasts = words(params["contrast_words"], f"{place}/params/contrast_words")
    if params.get("cells_grouped_by") is not None:
        columns = check_long_table(uns, key, params, list(groups), contrasts, counts)
    else:
        columns = check_tables(varm, key, params, contrasts, counts)
    for i, (group, own) in enumerate(groups.items()):
        _check_group(own, f"{place}/params" + (f"/groups/{group}" if group else ""), int(params["n_obs"]))
        _check_moderation(entry, own, i, group, place)
        _check_variances(entry, i, group, columns, place)
    for part in ("grids", "priors", "variances"):
        odd = [str(name) for name in table(entry.get(part, {}), f"{place}/{part}") if str(name) not in _places(groups)]
        if odd:
            refuse(f"{place}/{part}/{odd[0]}", f"belongs to none of the {len(groups)} groups of the run")
    if "log_sizes" in entry:
        numbers(entry["log_sizes"], f"{place}/log_sizes", (int(params["n_obs"]),))


def _places(groups: Mapping[str, Any]) -> set[str]:
    return {str(i) for i in range(len(groups))}


def _check_seal(entry: Mapping[str, Any], params: Mapping[str, Any], place: str) -> None:
    if "checksums" not in params:
        return
    wanted = from_json(params["checksums"], f"{place}/params/checksums")
    found = seal(entry)
    for part in SEALED:
        if wanted.get(part) != found.get(part):
            refuse(f"{place}/{part}", "was changed after the run: it does not match its checksum")


def _check_params(params: Mapping[str, Any], place: str) -> Mapping[str, Mapping[str, Any]]:
    """Check the parameters that all groups share; return those of each group (with an empty name without groups)."""
    for name in ("formula", "family", "test", "method", "contrast_keys", "contrast_words", "varm", "n_obs", "n_vars"):
        member(params, name, place)
    _formula(params["formula"], f"{place}/formula")
    text(params["family"], f"{place}/family", tuple(FAMILIES))
    text(params["test"], f"{place}/test")
    text(params["method"], f"{place}/method", ("reml", "ml"))
    n_contrasts = len(words(params["contrast_keys"], f"{place}/contrast_keys"))
    words(params["contrast_words"], f"{place}/contrast_words", n_contrasts)
    for name in ("n_obs", "n_vars"):
        number(params[name], f"{place}/{name}", least=1, whole=True)
    for name in ("min_counts", "min_cells", "min_samples", "seed"):
        number(params.get(name, 0), f"{place}/{name}", least=0, whole=True)
    for name in ("n_agq", "n_boot"):
        number(params.get(name, 1), f"{place}/{name}", least=1, whole=True)
    number(params.get("min_log_fc", 0.0), f"{place}/min_log_fc", least=0.0)
    text(params.get("alternative", "two-sided"), f"{place}/alternative", _SIDES)
    text(params.get("adjust", "group"), f"{place}/adjust", ("group", "global"))
    text(params.get("within", "heterogeneous"), f"{place}/within", ("heterogeneous", "homogeneous"))
    text(params.get("dispersion", "ml"), f"{place}/dispersion", ("ml", "shrunken"))
    for name in ("notes", "attention"):
        words(params.get(name, []), f"{place}/{name}")
    from_json(params.get("given_reference"), f"{place}/given_reference")
    if "versions" in params:
        from_json(params["versions"], f"{place}/versions")
    groupby = params.get("cells_grouped_by")
    if groupby is None:
        # anndata before 0.12 does not write values of None; only a run without groups has a list of tables here
        words(params["varm"], f"{place}/varm", n_contrasts)
        return {"": params}
    text(groupby, f"{place}/cells_grouped_by")
    groups = from_json(member(params, "groups", place), f"{place}/groups")
    if not groups:
        refuse(f"{place}/groups", "is empty")
    return {str(name): {**params, **table(own, f"{place}/groups/{name}")} for name, own in groups.items()}


def _formula(value: Any, place: str) -> None:
    try:
        parse_formula(text(value, place))
    except FormulaError as error:
        raise FormulaError(f"{place} cannot be used: {error.message}", error.source, error.span) from None
    except RecursionError:
        refuse(place, "is nested too deeply for a formula")


def _check_group(own: Mapping[str, Any], place: str, n_obs: int) -> None:
    """Check the elements that are needed to test a gene again; older versions stored fewer of them."""
    if "contrast_rows" not in own:
        return
    for name in ("formula_fitted", "columns", "n_cells"):
        member(own, name, place)
    _formula(own["formula_fitted"], f"{place}/formula_fitted")
    n_columns = len(words(own["columns"], f"{place}/columns"))
    number(own["n_cells"], f"{place}/n_cells", least=1, most=n_obs, whole=True)
    _check_facts(from_json(own.get("contrast_facts"), f"{place}/contrast_facts"), f"{place}/contrast_facts")
    rows = from_json(own["contrast_rows"], f"{place}/contrast_rows")
    for name, row in rows.items():
        numbers(
            np.atleast_2d(np.asarray(row, dtype=object)).tolist(), f"{place}/contrast_rows/{name}", (None, n_columns)
        )
    for name in ("log_sample_factors", "df"):
        for each, value in from_json(own.get(name), f"{place}/{name}").items():
            if value is not None and not (name == "df" and value in (np.inf,)):
                number(value, f"{place}/{name}/{each}")
    if own.get("eigen_ratio") is not None and not _is_nan(own["eigen_ratio"]):
        number(own["eigen_ratio"], f"{place}/eigen_ratio", least=0.0)
    if "pilot" in own:
        _check_pilot(from_json(own["pilot"], f"{place}/pilot"), list(rows), own, f"{place}/pilot")


def _check_facts(facts: Mapping[str, Any], place: str) -> None:
    """Check the names and meanings of the contrasts."""
    for label, fact in facts.items():
        inside = f"{place}/{label}"
        for name in ("name", "meaning", "asked"):
            text(member(table(fact, inside), name, inside), f"{inside}/{name}")
        if member(fact, "levels", inside) is not None:
            words(fact["levels"], f"{inside}/levels", 3)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float | np.floating) and math.isnan(value)


def _check_pilot(pilot: Mapping[str, Any], contrasts: Sequence[str], own: Mapping[str, Any], place: str) -> None:
    sizes = numbers(member(pilot, "cells_per_sample", place), f"{place}/cells_per_sample", (None,), least=0.0)
    if not sizes.sum() > 0.0:
        refuse(f"{place}/cells_per_sample", "adds up to 0 cells")
    number(member(pilot, "log_size_sd", place), f"{place}/log_size_sd", least=0.0)
    n_variances = len(words(own.get("variances_on_grid", []), place))
    for name, facts in table(member(pilot, "contrasts", place), f"{place}/contrasts").items():
        inside = f"{place}/contrasts/{name}"
        if name not in contrasts:
            refuse(inside, "is not a contrast of the run")
        for part in ("kind", "adds", "simple", "pair_variance"):
            member(table(facts, inside), part, inside)
        text(facts["kind"], f"{inside}/kind", ("between", "paired", "cells"))
        numbers(facts["adds"], f"{inside}/adds", (n_variances,), 0.0, 1.0)
        if not isinstance(facts["simple"], bool):
            refuse(f"{inside}/simple", "must be true or false")
        if facts["pair_variance"] is not None:
            number(facts["pair_variance"], f"{inside}/pair_variance", least=0.0)


def _check_moderation(entry: Mapping[str, Any], own: Mapping[str, Any], i: int, group: str, place: str) -> None:
    """Check the grid of variances and the prior on it."""
    grid = table(entry.get("grids", {}), f"{place}/grids").get(str(i))
    prior = table(entry.get("priors", {}), f"{place}/priors").get(str(i))
    names, inside = words(own.get("variances_on_grid", []), f"{place}/params/variances_on_grid"), f"{place}/grids/{i}"
    if grid is None:
        if prior is not None:
            refuse(inside, "is missing")
        return
    grid = table(grid, inside)
    for name in ("names", "theta", "variance", "shape", "unit", "idle", "centre"):
        member(grid, name, inside)
    if words(grid["names"], f"{inside}/names") != names or not names:
        refuse(f"{inside}/names", f"does not match the variances {names} of the run")
    shape = numbers(np.atleast_1d(grid["shape"]), f"{inside}/shape", (len(names),), 1.0, _MOST_NODES)
    n_grid = int(np.prod(shape))
    if n_grid > _MOST_NODES or (shape != np.round(shape)).any():
        refuse(f"{inside}/shape", f"has {n_grid} nodes")
    variance = numbers(grid["variance"], f"{inside}/variance", (n_grid, len(names)), least=0.0)
    theta = numbers(grid["theta"], f"{inside}/theta", (n_grid, None))
    numbers(grid["unit"], f"{inside}/unit", (len(names),), least=0.0)
    if np.size(grid.get("place", ())):  # runs of older versions have none
        numbers(grid["place"], f"{inside}/place", (len(names), 2), 0.0, _MOST_NODES)
    number(grid["centre"], f"{inside}/centre", 0, n_grid - 1, whole=True)
    n_contrasts = len(from_json(own.get("contrast_rows"), place)) or None
    numbers(np.atleast_1d(grid["idle"]), f"{inside}/idle", (n_contrasts,), 0.0, 1.0)
    for k in range(len(names)):
        if len(np.unique(variance[:, k])) != int(shape[k]):
            refuse(
                f"{inside}/variance", f"has {len(np.unique(variance[:, k]))} values of {names[k]!r}, not {shape[k]:g}"
            )
    if prior is not None:
        _check_prior(table(prior, f"{place}/priors/{i}"), group, shape, variance, theta, f"{place}/priors/{i}")


def _check_prior(
    prior: Mapping[str, Any], group: str, shape: np.ndarray, variance: np.ndarray, theta: np.ndarray, inside: str
) -> None:
    if text(member(prior, "group", inside), f"{inside}/group") != group:
        refuse(f"{inside}/group", f"is {prior['group']!r}, but must be {group!r}")
    for name, wanted in (("variance", variance), ("theta", theta)):
        found = numbers(member(prior, name, inside), f"{inside}/{name}", (None, None))
        if not np.array_equal(found, wanted):
            refuse(f"{inside}/{name}", f"differs from {inside.replace('/priors/', '/grids/')}/{name}")
    anchors = numbers(member(prior, "anchors", inside), f"{inside}/anchors", (None,), 0.0, 1.0)
    if len(anchors) == 0 or (np.diff(anchors) <= 0.0).any():
        refuse(f"{inside}/anchors", "must be increasing numbers")
    for k, n_nodes in enumerate(shape.astype(np.int64).tolist()):
        name = f"{inside}/marginal_{k}"
        mass = numbers(member(prior, f"marginal_{k}", inside), name, (len(anchors), n_nodes), 0.0)
        if not np.allclose(mass.sum(axis=1), 1.0, atol=1e-4):
            refuse(name, "contains probabilities that do not add up to 1")


def _check_variances(entry: Mapping[str, Any], i: int, group: str, columns: Sequence[str], place: str) -> None:
    """Check the decomposition of the variance of the linear predictor."""
    if "variances" not in entry:
        return
    inside = f"{place}/variances/{i}"
    forms = table(member(table(entry["variances"], f"{place}/variances"), str(i), f"{place}/variances"), inside)
    for name in ("group", "total", "coef", "random_labels"):
        member(forms, name, inside)
    if text(forms["group"], f"{inside}/group") != group:
        refuse(f"{inside}/group", f"is {forms['group']!r}, but must be {group!r}")
    n = len(_columns(forms["coef"], f"{inside}/coef", columns))
    numbers(forms["total"], f"{inside}/total", (None, n))
    labels = words(forms.get("fixed_labels", []), f"{inside}/fixed_labels")
    if labels:
        sizes = numbers(
            np.atleast_1d(member(forms, "fixed_sizes", inside)), f"{inside}/fixed_sizes", (len(labels),), 0.0
        )
        n_rows = int(sizes.sum()) if sizes.sum() < _MOST_NODES else -1
        numbers(member(forms, "fixed_rows", inside), f"{inside}/fixed_rows", (n_rows, n))
    for j, _ in enumerate(words(forms["random_labels"], f"{inside}/random_labels")):
        k = len(_columns(member(forms, f"sd_{j}", inside), f"{inside}/sd_{j}", columns))
        numbers(member(forms, f"random_{j}", inside), f"{inside}/random_{j}", (k, k))
        corr = _columns(forms.get(f"corr_{j}", []), f"{inside}/corr_{j}", columns)
        if len(corr) not in (0, k * (k - 1) // 2):
            refuse(f"{inside}/corr_{j}", f"has {len(corr)} entries, but must have {k * (k - 1) // 2}")


def _columns(value: Any, place: str, columns: Sequence[str]) -> list[str]:
    names = words(value, place)
    missing = [name for name in names if name not in columns]
    if missing:
        refuse(place, f"names {missing[0]!r}, which is not a column of the results")
    return names
