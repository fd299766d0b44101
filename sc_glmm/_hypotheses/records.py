"""What a test of a hypothesis is: a record of what it needs, and a function from that to numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._arrays import FloatArray
from .._design import Contrast
from .._families.registry import Family
from .._fit.gaussian import GaussianParts
from .._fit.genes import TRUSTED, AllFits, GeneModel
from .._fit.moderated import Moderation, Root
from .._fit.totals import GeneTotals
from .._inference.mixture import MixtureTest

COUNTS = ("nb", "poisson")
ALL = (*COUNTS, "gaussian")


@dataclass(frozen=True)
class Needs:
    """What must be there before a test can be computed.

    Attributes
    ----------
    profiles
        Profiles of counts over the grid of the variances, which all moderated tests share.
    every_node
        The whole curve of a gene's likelihood; else the nodes that carry posterior weight are enough.
    prior
        The distribution of the variances over genes, which few genes cannot give: another test is used then.
    null_fits
        Likelihood ratios against a fit under each hypothesis.
    sample_rows
        Terms that are constant within samples: a contrast of one row is compared with the residuals between samples.
    simulations
        A parametric bootstrap, for named genes.
    all_genes
        More of the other genes than a prior: the numbers of one gene cannot be computed again without them.
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
    """All that the tests of one group of cells may look at.

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
        Gives ``(n_genes,)`` bootstrap p-values for a contrast matrix; None without.
    parts
        What the degrees of freedom of Gaussian genes follow from; None for counts.
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
        """``(n_genes, p)`` coefficients and ``(n_genes, p, p)`` their covariance, NaN where they cannot be trusted."""
        shown = self.shown(L)
        fits = self.result.fits
        return np.where(shown[:, None], fits.beta, np.nan), np.where(shown[:, None, None], fits.vcov, np.nan)

    def shown(self, L: FloatArray) -> NDArray[np.bool_]:
        """``(n_genes,)`` whether a gene's fit has numbers for the contrast; separation may not touch it."""
        shown = np.isin(self.words, TRUSTED)
        for gene, separation in self.result.separations.items():
            shown[gene] = self.result.fits.status[gene] == 0 and not separation.touches(L)
        return shown


@dataclass(frozen=True)
class Hypothesis:
    """A contrast with its place among those of the run.

    Attributes
    ----------
    contrast
        The contrast.
    i
        Its number.
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
        How it is asked for.
    help
        One line on what it does.
    methods
        Sentences for the methods section of a paper; ``[@key]`` cites an entry of the bibliography.
    families
        Families that have it.
    needs
        What must be there before.
    compute
        Tests a contrast of one row.
    joint
        Tests a contrast of several rows.
    root
        Signed root that shrunken fold changes follow, so that they agree with the p-value.
    has_minimum
        Whether `compute` gives its confidence at every value, which minimum effects and one-sided tests need.
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
        """Whether profiles are needed, which only counts have."""
        return family.counts and self.needs.profiles
