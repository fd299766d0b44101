"""One engine for every mixed model: penalised Newton on the arrow, Laplace or adaptive Gauss-Hermite, ML or REML.

Arrays only: numpy, scipy, numba. :mod:`.structure` turns a design into the arrow, :mod:`.arrow` factorises it,
:mod:`.laplace` and :mod:`.agq` are the objective with its exact gradient, :mod:`.optimize` is the outer optimiser and
:mod:`.entry` holds the only compiled functions that are called from Python.
"""
