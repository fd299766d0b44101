"""Compile (or load) the two large entries, by fitting and profiling four cells of one gene."""

from __future__ import annotations

import numpy as np

from sc_glmm._engine.arrow.layout import Block
from sc_glmm._engine.fit import fit_genes
from sc_glmm._engine.genes import GeneStats, Structure, build_structure
from sc_glmm._engine.grid_profiles import profile_genes
from sc_glmm._engine.laplace.records import Nodes
from sc_glmm._families.nb import N_TAIL
from sc_glmm._families.registry import FAMILIES


def compile_fits() -> None:
    """Compile the fits."""
    structure, nodes, stats = four_cells()
    fit_genes(structure, nodes, stats, FAMILIES["nb"], reml=True)


def compile_profiles() -> None:
    """Compile the profiles."""
    structure, nodes, stats = four_cells()
    profile_genes(
        structure,
        nodes,
        stats,
        FAMILIES["nb"],
        log_dispersion=np.zeros(1),
        beta=np.array([[0.5, 0.3]]),
        grid=np.array([[0.3], [0.0]]),
        contrasts=[np.array([[0.0, 1.0]])],
    )


def four_cells() -> tuple[Structure, Nodes, GeneStats]:
    """Create the smallest data that can be fitted."""
    X = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    block = Block(np.arange(4, dtype=np.int64), 4, np.ones((4, 1)), (1,))
    nodes = Nodes(np.arange(5, dtype=np.int64), np.ones(4), np.ones(4))
    stats = GeneStats(
        A=np.array([[2.0, 3.0, 1.0, 4.0]]),
        tail=np.zeros((1, N_TAIL)),
        over_ptr=np.zeros(2, dtype=np.int64),
        over_value=np.zeros(0),
        over_count=np.zeros(0),
        extra=np.zeros((1, 4)),
        const=np.zeros(1),
    )
    return build_structure(X, (block,), np.ones(4)), nodes, stats
