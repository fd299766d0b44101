"""The likelihood of one gene of counts or trials: Laplace, or adaptive quadrature, with exact gradients.

``records`` holds the records that the kernels exchange. ``mode`` finds the mode of the random effects, ``gradient`` and
``quadrature`` compute the log likelihood there, and ``objective`` combines them for the optimiser. ``search`` fits one
gene. ``walk`` and ``notes`` profile it over a grid of variances, on the rows that ``tabulate`` prepares. At each node
``joint`` (Laplace) or ``integrated`` (quadrature) maximises the likelihood over beta in few steps, and ``climb`` does
where these steps fail. The compiled entry points are :mod:`sc_glmm._engine.entry` and :mod:`sc_glmm._engine.profile`.
"""
