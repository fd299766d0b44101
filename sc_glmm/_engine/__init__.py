"""One engine for every mixed model: arrays in, arrays out (numpy, scipy, numba).

:mod:`.arrow` lays a design out and factorises it. :mod:`.laplace` (counts, trials) and :mod:`.gaussian` are the
objectives with their exact gradients, :mod:`.optimize` is the outer optimiser, and :mod:`.fit` the door for blocks of
genes.
"""
