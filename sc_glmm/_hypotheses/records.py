"""Records of a test: what it needs, and the functions that compute it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._arrays import FloatArray
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
        The whole likelihood curve of a gene; otherwise only nodes with posterior weight.
    prior
        The distribution of the variances over genes. Few genes are not enough for it; another test is then used.
    null_fits
        Likelihood ratios against a fit under each hypothesis.
    sample_rows
        Terms that are constant within samples: a contrast of one row is compared with the residuals between samples.
    simulations
        A parametric bootstrap, for named genes.
    all_genes
        More of the other genes than a prior, so that a single gene cannot be tested again without them.
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
        The model; its statistics are not looked at.
    result, totals
        Fits and totals of all genes.
    words
        ``(n_genes,)`` their statuses.
    moderation
        Profiles and prior; None without.
    ratios
        ``(n_genes, n_contrasts)`` likelihood ratios; None without.
    bootstrap
        Returns ``(n_genes,)`` bootstrap p-values for a contrast matrix; None without.
    parts
        Quantities for the degrees of freedom of Gaussian genes; None for counts.
    """

    model: GeneModel
    result: AllFits
    totals: GeneTotals
    words: NDArray[np.object_]
    moderation: Moderation | None = None
    ratios: FloatArray | None = None
    bootstrap: Callable[[FloatArray], FloatArray] | None = None
    parts: GaussianParts | None = None

    def estimates(self, L: FloatArray) -> tuple[FloatArray, FloatArray]:
        """``(n_genes, p)`` coefficients and ``(n_genes, p, p)`` their covariance, NaN if they are not valid."""
        shown = self.shown(L)
        fits = self.result.fits
        return np.where(shown[:, None], fits.beta, np.nan), np.where(shown[:, None, None], fits.vcov, np.nan)

    def shown(self, L: FloatArray) -> NDArray[np.bool_]:
        """``(n_genes,)`` whether a gene's fit determines the contrast, which separation may not affect."""
        shown = np.isin(self.words, TRUSTED)
        for gene, separation in self.result.separations.items():
            shown[gene] = self.result.fits.status[gene] == 0 and not separation.touches(L)
        return shown


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
        What it needs.
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
        """Whether profiles are needed; only for counts."""
        return family.counts and self.needs.profiles
