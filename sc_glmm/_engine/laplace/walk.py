"""Profile a gene over the grid of variances: the order of the nodes, and the start of the search at each node."""

from __future__ import annotations

from sc_glmm._engine.arrow.factor import fill_lambda
from sc_glmm._engine.laplace.climb import maximise
from sc_glmm._engine.laplace.integrated import climb_integrated, return_to_start
from sc_glmm._engine.laplace.joint import CLOSE, climb_jointly
from sc_glmm._engine.laplace.notes import fill_hypothesis, fill_walk, note_free_fit, note_hypothesis
from sc_glmm._engine.laplace.profile_records import UNSEEN
from sc_glmm._engine.laplace.starts import predict_maximum, remember, set_places, to_spherical
from sc_glmm._families.jit import kernel

# Hypotheses are not fitted at nodes whose restricted log likelihood is this far below the best: weights below 1e-6.
IRRELEVANT = 14.0
# A walk along the grid ends at a node this far below the best: posterior weights beyond it are below 1e-17.
NEGLIGIBLE = 40.0
# How much less is known about the rate of convergence (`Climb.rate`) at the next node.
FORGET = 3.0
# Returned instead of a node: the stage has ended; this visit is skipped.
END, SKIP = -1, -2
# Indices of `FreeFits.ends`.
UPWARD, DOWNWARD = 0, 1


@kernel
def _likeliest(restricted):
    best = 0
    for node in range(1, restricted.shape[0]):
        if restricted[node] > restricted[best]:
            best = node
    return best


@kernel
def _next_on_walk(visit, start_node, n_grid, ends):
    """Go from the start to larger indices, then from the start to smaller ones."""
    if visit == 0:
        ends[UPWARD] = start_node + 1
        ends[DOWNWARD] = start_node - 1
        return start_node
    if ends[UPWARD] < n_grid:
        ends[UPWARD] += 1
        return ends[UPWARD] - 1
    if ends[DOWNWARD] >= 0:
        ends[DOWNWARD] -= 1
        return ends[DOWNWARD] + 1
    return END


@kernel
def _node_of_visit(visit, stage, best, task, fits):
    """Find the node of a visit. The free fits visit the grid, and hypotheses the nodes with posterior weight.

    If the variances do not affect a hypothesis, it is fitted at the likeliest node only.
    """
    if stage == 0:
        if task.start_node < 0:
            return visit
        return _next_on_walk(visit, task.start_node, task.grid.shape[0], fits.ends)
    if task.idle[stage]:
        return best if visit == 0 else END
    return SKIP if fits.restricted[visit] < fits.restricted[best] - IRRELEVANT else visit


@kernel
def _end_walk_if_negligible(node, task, fits):
    """End the walk in one direction where the likelihood is far below the best. The last node is always visited."""
    restricted = fits.restricted
    peak = UNSEEN
    for other in range(restricted.shape[0]):
        peak = max(peak, restricted[other])
    if not restricted[node] < peak - NEGLIGIBLE:
        return
    if node > task.start_node and restricted[node] < restricted[node - 1]:
        fits.ends[UPWARD] = max(fits.ends[UPWARD], restricted.shape[0] - 1)
    elif node < task.start_node and restricted[node] < restricted[node + 1]:
        fits.ends[DOWNWARD] = -1


@kernel
def _enter(g, stage, node, started, ar, task, fits, climb):
    """Set the start of the search at a node. Returns whether it was predicted from the maxima at other nodes.

    At the first node of the free fits it is the given values, and at that of a hypothesis the free fit there.
    """
    p = climb.info.shape[0]
    for t in range(task.grid.shape[1]):
        climb.psi[p + t] = task.grid[node, t]
    fill_lambda(ar, climb.psi, p, climb.lam)
    if started:
        if stage == 0 and task.start_node >= 0 and node == task.start_node - 1:
            _turn(task.start_node, fits)
        used = predict_maximum(ar, stage, node, task, climb, fits)
        if stage > 0:
            _drop_tested(stage, task, ar, climb)
        climb.rate[0] = min(1.0, FORGET * climb.rate[0])
        return stage > 0 or used > 1
    climb.rate[0] = 1.0
    for i in range(fits.recent.shape[0]):
        fits.recent[i] = -1
    for i in range(p):
        climb.psi[i] = fits.v[0, node, ar.q + i] if stage > 0 else task.beta_start[g, i]
        climb.tilt[i] = fits.tilt[0, node, i] if stage > 0 else 0.0
        climb.shift[i] = 0.0
    for i in range(climb.v.shape[0]):
        climb.v[i] = fits.v[0, node, i] if stage > 0 else task.v_start[g, i]
    if stage > 0:
        to_spherical(ar, climb.lam, climb.v)
        _drop_tested(stage, task, ar, climb)
    return False


@kernel
def _turn(start_node, fits):
    """Return to the start node, to go in the other direction."""
    for i in range(fits.recent.shape[0]):
        node = start_node + i
        seen = node < fits.restricted.shape[0] and fits.restricted[node] != UNSEEN
        fits.recent[i] = node if seen else -1


@kernel
def _drop_tested(stage, task, ar, climb):
    """Set the tested coordinates of beta to zero."""
    p = climb.info.shape[0]
    for i in range(p):
        s = 0.0
        for j in range(p):
            s += task.inverses[stage, i, j] * climb.psi[j]
        climb.coord_grad[i] = s if i >= task.n_tested[stage] else 0.0
    for i in range(p):
        s = 0.0
        for j in range(p):
            s += task.bases[stage, i, j] * climb.coord_grad[j]
        climb.psi[i] = s


@kernel
def _maximise(like, ar, nd, ge, gh, B, m, predicted, wk, climb):
    """Find the maximum at a node by few Newton steps or, where these fail, by the search that can halve its steps."""
    for i in range(climb.v.shape[0]):
        climb.start[i] = climb.v[i]
    for j in range(ar.p):
        climb.start[ar.q + j] = climb.psi[j]
    if gh.shape[1] == 1:
        f, found = climb_jointly(like, ar, nd, ge, B, m, CLOSE, True, wk, climb)
    else:
        f, found = climb_integrated(like, ar, nd, ge, gh, B, m, predicted, wk, climb)
    if found:
        return f, True
    return_to_start(ar, climb)
    return maximise(like, ar, nd, ge, gh, B, m, wk, climb)


@kernel
def profile_gene(g, like, ar, nd, ge, gh, task, wk, climb, fits, out):
    """Profile gene `g`: first all free fits, then each hypothesis. Returns whether all maxima were found."""
    n_grid = task.grid.shape[0]
    for node in range(n_grid):
        fits.restricted[node] = UNSEEN
    for stage in range(task.bases.shape[0]):
        best = _likeliest(fits.restricted)
        B = task.bases[stage]
        m = task.n_tested[stage]
        started = False
        for visit in range(n_grid):
            node = _node_of_visit(visit, stage, best, task, fits)
            if node == END:
                break
            if node == SKIP:
                continue
            predicted = _enter(g, stage, node, started, ar, task, fits, climb)
            f, found = _maximise(like, ar, nd, ge, gh, B, m, predicted, wk, climb)
            if not found:
                return False
            if not started and stage == 0:
                set_places(ar, task.grid, wk.W, fits.place)
            started = True
            remember(ar, stage, node, climb, fits)
            if stage > 0:
                note_hypothesis(g, stage, node, f, task, climb, out)
            else:
                note_free_fit(g, node, f, task, wk, climb, fits, out)
                if task.start_node >= 0:
                    _end_walk_if_negligible(node, task, fits)
        if stage > 0:
            fill_hypothesis(best, out.root[g, stage - 1], out.star[g, stage - 1])
        elif task.start_node >= 0:
            fill_walk(g, task.start_node, fits, out)
    return True
