"""Log likelihoods of one design row as functions of its linear predictor, and their derivatives.

A row holds nodes: node ``k`` stands for ``weight[k]`` cells whose log offset is ``log(ec[k])`` and whose counts add up
to ``a[k]`` (:mod:`sc_glmm._compress`). A cell on its own is a row with one node. The kernels of this package see one
row at a time; what a group, a design or an optimiser is they do not know.

Every family module has the same four functions:

``value(eta, phi, lo, hi, ec, weight, a, a_sum)``
    the row's log likelihood without the terms that no parameter but the dispersion changes.
``newton(eta, phi, lo, hi, ec, weight, a, a_sum)``
    its first and second derivative in ``eta``.
``full(eta, phi, lo, hi, ec, weight, a, a_sum, out)``
    ``out = [f, f', f'', f''', df/dlog(phi), df'/dlog(phi), df''/dlog(phi)]``.
``gene_term(phi, tail, over_value, over_count)``
    what depends on the dispersion and the gene's counts but not on ``eta``: value and derivative in ``log(phi)``.
"""
