"""The engine of all mixed models, which works on arrays (numpy, scipy, numba).

:mod:`.arrow` lays out a design and factorises its system. :mod:`.laplace` (counts, trials) and :mod:`.gaussian` are the
objectives with their exact gradients, :mod:`.optimize` is the outer optimiser, and :mod:`.fit` fits blocks of genes.
"""
