"""The arrow: a head of nested grouping factors that eliminates without fill, and a dense border.

:mod:`.layout` turns a design into the arrow and :mod:`.scaling` takes results back to the user's columns. :mod:`.rows`
adds up ``J' W J`` over rows, :mod:`.factor` factorises and solves, and :mod:`.inverse` inverts on the arrow's own
pattern. :mod:`.star` does the same faster for a single random intercept.

The system is held in two flat arrays. ``piv`` has, for each level of each head factor, its k pivot rows: own block,
couplings to the coarser levels that contain it, the list of its couplings to random effects of the border, and `tail`
dense columns (the fixed effects where they are in the border, and the response of a Gaussian model). ``S`` is the
border: its random effects, then the same dense columns. Pivot rows are in the order of their coefficients.
"""
