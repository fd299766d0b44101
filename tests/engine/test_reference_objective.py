"""Check the engine's objective away from its optimum: value against the arbiter, gradient against differences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from sc_glmm._compress import chebyshev_nodes, compress_counts, poisson_nodes, unique_rows
from sc_glmm._design import build_design
from sc_glmm._engine import entry, genes
from sc_glmm._engine.fit import gauss_hermite
from sc_glmm._engine.laplace.records import Likelihood, Nodes
from sc_glmm._families.registry import FAMILIES
from sc_glmm._fit.model import count_stats, engine_nodes, merge_terms
from sc_glmm._formula import parse_formula
from tests import oracle
from tests.oracle import Family, Floats, Method, Model
from tests.reference.grammar import RANDOM, Problem, fixed_matrix, make_data, random_terms


@dataclass(frozen=True)
class Compiled:
    """The engine's objective as a function of its own parameters, with the conversion to those of the arbiter."""

    structure: genes.Structure
    nodes: Nodes
    stats: genes.GeneStats
    problem: Problem

    def evaluate(self, psi: Floats) -> tuple[float, Floats]:
        """Compute minus log likelihood and gradient at the engine's (scaled) parameters."""
        family, arrow = FAMILIES[self.problem.family], self.structure.arrow
        gradient, v = np.empty(len(psi)), np.zeros(arrow.q + self.structure.n_beta)
        value, ok = entry.evaluate(
            Likelihood(family.code, family.has_dispersion, self.problem.method == "reml"),
            arrow,
            self.nodes,
            self.stats.gene(0, self.nodes),
            gauss_hermite(self.problem.n_agq),
            psi,
            v,
            gradient,
        )
        assert ok
        return value, gradient

    def arbiters(self, psi: Floats) -> tuple[float, Model, Floats]:
        """Compute the distance of the engine's value to a log likelihood, the arbiter's model and parameters."""
        arrow, scaling = self.structure.arrow, self.structure.scaling
        joint = self.problem.method == "reml"
        p = 0 if joint else self.structure.n_beta
        out = [] if joint else list(scaling.beta(psi[:p]))
        data = self.problem.data
        terms = random_terms(self.problem.random, data)
        names = list(dict.fromkeys(group for group, *_ in terms))
        for group, columns, _ in terms:
            f = scaling.order.index(names.index(group))
            k = int(arrow.fac_k[f])
            lam = np.zeros((k, k))
            of_factor = np.flatnonzero(arrow.theta_fac == f)
            lam[arrow.theta_row[of_factor], arrow.theta_col[of_factor]] = psi[p + of_factor]
            lam = np.linalg.solve(scaling.basis[f], lam)
            out += [lam[i, j] for j in columns for i in columns if i >= j]
        if self.problem.family == "nb":
            out.append(psi[-1])
        X = fixed_matrix(self.problem.fixed, data)
        model = Model(
            self.problem.family, data["y"].to_numpy(float), X, tuple(t for *_, t in terms), data["o"].to_numpy()
        )
        constant = float(self.stats.const[0]) - (scaling.log_det if joint else 0.0)
        return constant, model, np.array(out)


def compile_problem(problem: Problem) -> Compiled:
    data = problem.data
    design = build_design(parse_formula(problem.formula), data, response=True)
    rows = unique_rows(design.fixed.X, [t.Z for t in design.random], [t.codes for t in design.random])
    blocks, _ = merge_terms(design.random, rows.Z, rows.codes)
    structure = genes.build_structure(rows.X, blocks, rows.n_cells.astype(float))
    make = poisson_nodes if problem.family == "poisson" else chebyshev_nodes
    offset = data["o"].to_numpy(float)
    table = make(rows.row_of, rows.n_rows, offset)
    counts = data[["y"]].to_numpy(float)
    return Compiled(structure, engine_nodes(table), count_stats(compress_counts(counts, table, offset)), problem)


OBJECTIVES = [(random, method, 1) for random in RANDOM for method in ("ml", "reml")]
OBJECTIVES += [("(1 | g)", "ml", 5), ("(0 + x | g)", "ml", 9)]


@pytest.mark.parametrize("family", ["poisson", "nb"])
@pytest.mark.parametrize(("random", "method", "n_agq"), OBJECTIVES)
def test_objective_and_its_gradient(family: Family, random: str, method: Method, n_agq: int) -> None:
    """Check parameters far from the optimum: value against the arbiter, gradient against numerical differences."""
    data = make_data(3, 4, 6, 2, "usual", "binary")
    problem = Problem(f"y ~ x + f + offset(o) + {random}", data, "x + f", random, family, method, n_agq)
    compiled = compile_problem(problem)
    rng = np.random.default_rng(5)
    diagonal = compiled.structure.arrow.theta_row == compiled.structure.arrow.theta_col
    theta = np.where(diagonal, 0.5, -0.3) + 0.1 * rng.normal(size=len(diagonal))
    beta = [] if method == "reml" else list(0.5 + 0.2 * rng.normal(size=compiled.structure.n_beta))
    psi = np.array([*beta, *theta] + [-0.7] * (family == "nb"))
    value, gradient = compiled.evaluate(psi)
    constant, model, theirs = compiled.arbiters(psi)
    assert constant - value == pytest.approx(oracle.objective(model, theirs, method, n_agq), abs=1e-9)
    numerical = oracle.numerical_gradient(lambda x: compiled.evaluate(x)[0], psi, 1e-3)
    np.testing.assert_allclose(gradient, numerical, rtol=1e-7, atol=1e-7)
