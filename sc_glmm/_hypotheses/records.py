"""Define the records of a test: its requirements, its input and the functions that compute it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .._arrays import BoolArray, FloatArray, ObjectArray
from .._design import Contrast
from .._families.registry import FAMILIES, Family
from .._fit.gaussian import GaussianParts
from .._fit.genes import TRUSTED, AllFits, GeneModel
from .._fit.moderated import Moderation, Root
from .._fit.totals import GeneTotals
from .._inference.mixture import MixtureTest

COUNTS = tuple(name for name, family in FAMILIES.items() if family.counts)
ALL = (*COUNTS, "gaussian")


@dataclass(frozen=True)
class Needs:
    """Requirements of a test.

    Attributes
    ----------
    profiles
        Profiles of counts over the grid of the variances, shared by all moderated tests.
    every_node
        The profile at all nodes of the grid; otherwise only at nodes with posterior weight.
    prior
        The distribution of the variances over genes. With few genes it cannot be estimated, and another test is used.
    null_fits
        Likelihood ratios against a fit under each null hypothesis.
    sample_rows
        Terms that are constant within samples, because the test uses the residuals between samples.
    simulations
        A parametric bootstrap, for named genes.
    all_genes
        Quantities from all genes beyond the prior. A single gene cannot be tested again without the other genes.
    """

    profiles: bool = False
    every_node: bool = False
    prior: bool = False
    null_fits: bool = False
    sample_rows: bool = False
    simulations: bool = False
    all_genes: bool = False


@dataclass(frozen=True)
class Evidence:
    """Data for the tests of one group of cells.

    Attributes
    ----------
    model
        The model; tests do not use its statistics.
    result, totals
        Fits and totals of all genes.
    status
        ``(n_genes,)`` status of each gene, such as ``"ok"``.
    moderation
        Profiles and prior; None if the test does not need them.
    ratios
        ``(n_genes, n_contrasts)`` likelihood ratios; None if the test does not need them.
    bootstrap
        Function that returns ``(n_genes,)`` bootstrap p-values for a contrast matrix; None if not needed.
    parts
        Quantities for the degrees of freedom of Gaussian genes; None for counts.
    """

    model: GeneModel
    result: AllFits
    totals: GeneTotals
    status: ObjectArray
    moderation: Moderation | None = None
    ratios: FloatArray | None = None
    bootstrap: Callable[[FloatArray], FloatArray] | None = None
    parts: GaussianParts | None = None

    def estimates(self, L: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return coefficients ``(n_genes, p)`` and their covariance ``(n_genes, p, p)``, NaN where `L` is not valid."""
        valid = self.valid(L)
        fits = self.result.fits
        return np.where(valid[:, None], fits.beta, np.nan), np.where(valid[:, None, None], fits.vcov, np.nan)

    def valid(self, L: FloatArray) -> BoolArray:
        """Check whether the fit of a gene determines the contrast `L`; separation may prevent this: ``(n_genes,)``."""
        valid = np.isin(self.status, TRUSTED)
        for gene, separation in self.result.separations.items():
            valid[gene] = self.result.fits.status[gene] == 0 and not separation.touches(L)
        return valid


@dataclass(frozen=True)
class Hypothesis:
    """A contrast with its index in the run.

    Attributes
    ----------
    contrast
        The contrast.
    i
        Its index.
    df
        Its degrees of freedom between samples.
    """

    contrast: Contrast
    i: int
    df: float


Compute = Callable[[Evidence, Hypothesis], MixtureTest]


@dataclass(frozen=True)
class HypothesisTest:
    """A test.

    Attributes
    ----------
    name
        Its name.
    help
        One line of help.
    methods
        Sentences for the methods section of a paper; ``[@key]`` cites an entry of the bibliography.
    families
        Families that support it.
    needs
        Its requirements.
    compute
        Function for contrasts with one row.
    joint
        Function for contrasts with several rows.
    root
        Signed root for shrunken fold changes, so that they agree with the p-value.
    has_minimum
        Whether `compute` returns a confidence function, which minimum effects and one-sided tests need.
    """

    name: str
    help: str
    methods: str
    families: tuple[str, ...]
    compute: Compute
    joint: Compute
    needs: Needs = Needs()
    root: Root = "wald"
    has_minimum: bool = False

    def profiles(self, family: Family) -> bool:
        """Check whether the test needs profiles; only tests of counts do."""
        return family.counts and self.needs.profiles
