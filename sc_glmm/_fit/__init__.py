"""From a design and a response to fits: the pipeline for one model and for all genes of a matrix."""

from .frame import FrameFit, fit_frame
from .genes import GeneModel, fit_all, prepare_genes

__all__ = ["FrameFit", "GeneModel", "fit_all", "fit_frame", "prepare_genes"]
