"""Adaptive Gauss-Hermite quadrature with theta and phi held: value, gradient in beta, and the information on beta.

The notation is that of :mod:`.quadrature`. With e the average over the nodes of a group, weighted by ``omega_k
exp(h(u_k) + z_k^2)``, and f a row's log likelihood, the information is ``- e(sum f'' x x') - cov(sum f' x)``, summed
over groups (Louis). It is the metric of Newton steps that converge quadratically.

Usually every group has one row. Derivatives in its beta are then derivatives in its predictor times x, and the loops
over groups are vectorised.
"""

from __future__ import annotations

import math

from sc_glmm._families.jit import kernel
from sc_glmm._families.registry import all_parabolas, row_parabola

ROOT_2 = math.sqrt(2.0)
# Smaller weights of nodes, relative to the largest, are rounded up to this: exp(-40).
_LEAST = -40.0
# Number of factors whose product neither overflows nor underflows.
_FACTORS = 8
# Names of the rows of `Work.sums`.
J, SPREAD, TOP, NORM, Z, ZZ, F, FZ, FF, CURVE = range(10)


@kernel
def _exp(x):
    """Compute exp(x) for x between -40 and 0 without a call, so that loops are vectorised: ``exp(x / 64)^64``."""
    y = max(x, _LEAST) * (1.0 / 64.0)
    s = 1.0 + y * (1.0 / 12.0)
    s = 1.0 + y * s * (1.0 / 11.0)
    s = 1.0 + y * s * (1.0 / 10.0)
    s = 1.0 + y * s * (1.0 / 9.0)
    s = 1.0 + y * s * (1.0 / 8.0)
    s = 1.0 + y * s * (1.0 / 7.0)
    s = 1.0 + y * s * (1.0 / 6.0)
    s = 1.0 + y * s * (1.0 / 5.0)
    s = 1.0 + y * s * (1.0 / 4.0)
    s = 1.0 + y * s * (1.0 / 3.0)
    s = 1.0 + y * s * (1.0 / 2.0)
    s = 1.0 + y * s
    s *= s
    s *= s
    s *= s
    s *= s
    s *= s
    s *= s
    return s


@kernel
def _has_one_row_each(ar):
    """Check whether group d has row d and no other."""
    if ar.n_levels[0] != ar.XZ.shape[0]:
        return False
    for d in range(ar.XZ.shape[0]):
        if ar.grp_row[d] != d or ar.grp_ptr[d] != d:
            return False
    return True


@kernel
def _evaluate_nodes(code, ar, nd, ge, phi, gh, v, wk):
    """Evaluate all rows at all nodes: h into ``wk.at_nodes[0]``, slopes and curvatures into the other two.

    Groups have one row each.
    """
    n_rows = wk.eta.shape[0]
    j, spread, top = wk.sums[J], wk.sums[SPREAD], wk.sums[TOP]
    for d in range(n_rows):
        j[d] = wk.J[d, 0]
        top[d] = -1e300
    for d in range(n_rows):
        spread[d] = ROOT_2 / math.sqrt(1.0 + j[d] * j[d] * wk.W[d])
    for k in range(gh.shape[1]):
        z = gh[0, k]
        log_weight = gh[1, k] + z * z
        eta, h = wk.lever, wk.at_nodes[0, k]
        for d in range(n_rows):
            eta[d] = wk.eta[d] + j[d] * spread[d] * z
        slope, curve = wk.at_nodes[1, k], wk.at_nodes[2, k]
        all_parabolas(code, eta, phi, nd.ptr, nd.ec, nd.weight, ge.a, ge.a_sum, h, slope, curve)
        for d in range(n_rows):
            u = v[d] + spread[d] * z
            h[d] += log_weight - 0.5 * u * u
            top[d] = max(top[d], h[d])


@kernel
def _sum_over_nodes(gh, wk):
    """Sum weights, nodes, slopes and curvatures over the nodes of each group, into ``wk.sums``."""
    n_rows = wk.eta.shape[0]
    for i in range(NORM, CURVE + 1):
        for d in range(n_rows):
            wk.sums[i, d] = 0.0
    top, norm, sum_z, sum_zz = wk.sums[TOP], wk.sums[NORM], wk.sums[Z], wk.sums[ZZ]
    sum_f, sum_fz, sum_ff, sum_curve = wk.sums[F], wk.sums[FZ], wk.sums[FF], wk.sums[CURVE]
    for k in range(gh.shape[1]):
        z = gh[0, k]
        h, slope, curve = wk.at_nodes[0, k], wk.at_nodes[1, k], wk.at_nodes[2, k]
        for d in range(n_rows):
            h[d] = _exp(h[d] - top[d])
        for d in range(n_rows):
            norm[d] += h[d]
            sum_z[d] += h[d] * z
            sum_zz[d] += h[d] * z * z
            sum_curve[d] += h[d] * curve[d]
        for d in range(n_rows):
            f = h[d] * slope[d]
            sum_f[d] += f
            sum_fz[d] += f * z
            sum_ff[d] += f * slope[d]


@kernel
def _integrate_rows(ar, v, wk, grad):
    """Compute value, gradient and information from the sums over the nodes. Groups have one row each."""
    p = ar.p
    sums = wk.sums
    total = 0.0
    product = 1.0
    for d in range(wk.eta.shape[0]):
        u = v[d]
        j = sums[J, d]
        W = wk.W[d]
        dW = -wk.d3[d]
        H = 1.0 + j * j * W
        if not H > 0.0:
            return 0.0, False
        spread = sums[SPREAD, d]
        s = spread * (1.0 / ROOT_2)
        share = 1.0 / sums[NORM, d]
        z = sums[Z, d] * share
        f = sums[F, d] * share
        # the node moves with the predictor: by the mode, and by the change of H
        du = -j * W / H
        dH = j * j * dW + j * j * j * dW * du
        ds = -0.5 * spread * dH / H
        slope = j * f - u - spread * z
        slope_z = j * sums[FZ, d] * share - u * z - spread * sums[ZZ, d] * share
        gradient = f - 0.5 * dH / H + du * slope + ds * slope_z
        information = f * f - (sums[CURVE, d] + sums[FF, d]) * share
        for i in range(p):
            x = wk.J[d, 1 + i]
            grad[i] += gradient * x
            for k in range(i + 1):
                wk.info[i, k] += information * x * wk.J[d, 1 + k]
        total += sums[TOP, d]
        product *= s * sums[NORM, d]
        if d % _FACTORS == _FACTORS - 1:
            total += math.log(product)
            product = 1.0
    return total + math.log(product), True


@kernel
def _evaluate_group(code, g, ar, nd, ge, phi, gh, u, wk):
    """Evaluate the rows of a group at all nodes, and sum over both. Returns (log integral, H, dH / du, e(h'), e(h' z)).

    ``wk.acc[:, 0]`` become the weights of the nodes.
    """
    acc = wk.acc
    H = 1.0
    dH_u = 0.0
    for r in range(ar.grp_ptr[g], ar.grp_ptr[g + 1]):
        d = ar.grp_row[r]
        j = wk.J[d, 0]
        H += j * j * wk.W[d]
        dH_u -= j * j * j * wk.d3[d]
    spread = ROOT_2 / math.sqrt(H) if H > 0.0 else 0.0
    top = -1e300
    for k in range(gh.shape[1]):
        z = gh[0, k]
        uk = u + spread * z
        h = -0.5 * uk * uk + z * z + gh[1, k]
        hu = -uk
        for r in range(ar.grp_ptr[g], ar.grp_ptr[g + 1]):
            d = ar.grp_row[r]
            eta = wk.eta[d] + wk.J[d, 0] * spread * z
            f, slope, curve = row_parabola(
                code, eta, phi, nd.ptr[d], nd.ptr[d + 1], nd.ec, nd.weight, ge.a, ge.a_sum[d]
            )
            h += f
            hu += wk.J[d, 0] * slope
            wk.at_nodes[1, k, d] = slope
            wk.at_nodes[2, k, d] = curve
        acc[k, 0] = h
        acc[k, 1] = hu
        top = max(top, h)
    norm = 0.0
    for k in range(gh.shape[1]):
        acc[k, 0] = math.exp(acc[k, 0] - top)
        norm += acc[k, 0]
    slope = 0.0
    slope_z = 0.0
    for k in range(gh.shape[1]):
        acc[k, 0] /= norm
        slope += acc[k, 0] * acc[k, 1]
        slope_z += acc[k, 0] * acc[k, 1] * gh[0, k]
    return math.log(spread * norm / ROOT_2) + top, H, dH_u, slope, slope_z


@kernel
def _subtract_covariance(g, ar, n_agq, wk):
    """Subtract the covariance of ``sum f' x`` over the nodes of a group from the information."""
    p = ar.p
    at, mean = wk.dh[0], wk.dh[1]
    for i in range(p):
        mean[i] = 0.0
    for k in range(n_agq):
        weight = wk.acc[k, 0]
        for i in range(p):
            at[i] = 0.0
        for r in range(ar.grp_ptr[g], ar.grp_ptr[g + 1]):
            d = ar.grp_row[r]
            for i in range(p):
                at[i] += wk.at_nodes[1, k, d] * wk.J[d, 1 + i]
        for i in range(p):
            mean[i] += weight * at[i]
            for j in range(i + 1):
                wk.info[i, j] -= weight * at[i] * at[j]
    for i in range(p):
        for j in range(i + 1):
            wk.info[i, j] += mean[i] * mean[j]


@kernel
def _integrate_groups(code, ar, nd, ge, phi, gh, v, wk, grad):
    """Compute value, gradient and information, for groups of any number of rows."""
    p = ar.p
    total = 0.0
    for g in range(ar.n_levels[0]):
        value, H, dH_u, slope, slope_z = _evaluate_group(code, g, ar, nd, ge, phi, gh, v[g], wk)
        if not H > 0.0:
            return 0.0, False
        total += value
        by_H = -0.5 * (1.0 + ROOT_2 / math.sqrt(H) * slope_z) / H
        by_u = slope + dH_u * by_H
        for r in range(ar.grp_ptr[g], ar.grp_ptr[g + 1]):
            d = ar.grp_row[r]
            j = wk.J[d, 0]
            f = 0.0
            curve = 0.0
            for k in range(gh.shape[1]):
                f += wk.acc[k, 0] * wk.at_nodes[1, k, d]
                curve += wk.acc[k, 0] * wk.at_nodes[2, k, d]
            f -= j * wk.W[d] / H * by_u + j * j * wk.d3[d] * by_H
            for i in range(p):
                x = wk.J[d, 1 + i]
                grad[i] += f * x
                for k in range(i + 1):
                    wk.info[i, k] -= curve * x * wk.J[d, 1 + k]
        _subtract_covariance(g, ar, gh.shape[1], wk)
    return total, True


@kernel
def integrate(code, ar, nd, ge, phi, gh, v, wk, grad):
    """Compute the log likelihood without the gene term and, into `grad` and ``wk.info``, gradient and information.

    `v` is close to the mode, and :func:`~sc_glmm._engine.laplace.gradient.curvature_at_mode` was called there. There
    must be one grouping factor with one column. `gh` is ``(2, n_agq)``: nodes and log weights.
    """
    p = ar.p
    for i in range(p):
        grad[i] = 0.0
        for j in range(p):
            wk.info[i, j] = 0.0
    if _has_one_row_each(ar):
        _evaluate_nodes(code, ar, nd, ge, phi, gh, v, wk)
        _sum_over_nodes(gh, wk)
        value, ok = _integrate_rows(ar, v, wk, grad)
    else:
        value, ok = _integrate_groups(code, ar, nd, ge, phi, gh, v, wk, grad)
    for i in range(p):
        for j in range(i):
            wk.info[j, i] = wk.info[i, j]
    return value, ok
