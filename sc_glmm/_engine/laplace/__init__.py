"""The likelihood of one gene of counts or trials: Laplace, or adaptive quadrature, with exact gradients.

``records`` has what the kernels pass around, ``mode`` finds the mode of the random effects, ``gradient`` and
``quadrature`` give the log likelihood there, ``objective`` is what an optimiser asks for. ``search`` fits one gene;
``climb``, ``walk`` and ``notes`` profile it over a grid of variances, on the rows that ``tabulate`` prepares. The
compiled doors are in :mod:`sc_glmm._engine.entry` and :mod:`sc_glmm._engine.profile`.
"""
