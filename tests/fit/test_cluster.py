"""Check that a Dask cluster of two processes gives the results of one process."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
import pandas as pd
import pytest

import sc_glmm
from sc_glmm._compress import add_counts, chebyshev_nodes, compress_counts, source
from sc_glmm._compress.centred import centred_rows
from sc_glmm._compress.nodes import restrict_table
from sc_glmm._fit import cluster
from sc_glmm._parallel import dask as _dask
from sc_glmm._parallel.blocks import run_blocks
from sc_glmm._parallel.dask import dask_client

FORMULA = "counts ~ disease + (1|sample)"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=900, n_genes=130, seed=5)
    adata.layers["dense"] = adata.layers["counts"].toarray()
    adata.obs["half"] = np.where(np.arange(900) % 3 == 0, "a", "b")
    path = tmp_path_factory.mktemp("cluster") / "data.h5ad"
    adata.write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def client():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as ours,
    ):
        yield ours


@pytest.fixture(autouse=True)
def small_tasks(monkeypatch):
    monkeypatch.setattr(source, "CHUNK_VALUES", 4000)
    monkeypatch.setattr(cluster, "MOST_VALUES", 9000)


def results(path, formula=FORMULA, **options):
    tested = sc_glmm.tl.test(path, formula, copy=True, progress=False, **options)
    return sc_glmm.get.results(tested, columns="all")


@pytest.mark.parametrize(
    ("formula", "options"),
    [
        (FORMULA, {}),
        ("dense ~ disease + (1|sample)", {"groupby": "half", "test": "hk"}),
        (FORMULA, {"family": "gaussian"}),
    ],
)
def test_a_cluster_gives_the_numbers_of_one_process(file, client, formula, options):
    with client.as_current():
        assert dask_client() is client
        ours = results(file, formula, **options)
    # the client of the fixture is also active here
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sc_glmm._parallel.blocks.dask_client", lambda: None)
        patch.setattr("sc_glmm._fit.cluster.dask_client", lambda: None)
        alone = results(file, formula, **options)
    # computed from differences of the likelihood, which enlarge rounding errors
    enlarged = [column for column in alone if column.startswith("log_dispersion_se")]
    pd.testing.assert_frame_equal(ours[enlarged], alone[enlarged], rtol=1e-5)
    pd.testing.assert_frame_equal(ours.drop(columns=enlarged), alone.drop(columns=enlarged), rtol=1e-8, atol=1e-12)


def _square(shared, x):
    time.sleep(0.05)
    return shared + x**2, os.getpid()


def test_blocks_come_in_order_and_survive_the_death_of_a_worker(client):
    victim = client.run(os.getpid)
    pid = next(iter(victim.values()))
    timer = threading.Timer(0.3, os.kill, (pid, signal.SIGKILL))
    timer.start()
    result = list(run_blocks(_square, (10,), ((x,) for x in range(40)), 1))
    timer.join()
    assert [value for value, _ in result] == [10 + x**2 for x in range(40)]
    assert os.getpid() not in {worker for _, worker in result}


def test_a_run_survives_the_death_of_workers(file, client, monkeypatch):
    """Kill one worker while cells are added up, and one while genes are fitted."""
    real, seen, killed = _dask._submit, set(), []

    def submit(client, work, *block):
        future = real(client, work, *block)
        if work.__name__ in ("_count_part", "_fit_block") and work.__name__ not in seen:
            seen.add(work.__name__)
            killed.append(next(iter(client.run(os.getpid).values())))
            os.kill(killed[-1], signal.SIGKILL)
        return future

    monkeypatch.setattr(_dask, "_submit", submit)
    with client.as_current():
        ours = results(file)
    assert len(set(killed)) == 2
    monkeypatch.setattr("sc_glmm._parallel.blocks.dask_client", lambda: None)
    monkeypatch.setattr("sc_glmm._fit.cluster.dask_client", lambda: None)
    alone = results(file)
    pd.testing.assert_series_equal(ours["p_value"], alone["p_value"], rtol=1e-8)
    pd.testing.assert_series_equal(ours["coef"], alone["coef"], rtol=1e-8, atol=1e-12)


def _another_version(number):
    from sc_glmm._parallel import dask as _dask

    found = {**_dask.package_versions(), "sc_glmm": number}
    _dask.package_versions = lambda: found


def test_worker_with_another_version_is_rejected(file, client):
    ours = _dask.package_versions()["sc_glmm"]
    client.run(_another_version, "0.0.1")
    try:
        with (
            client.as_current(),
            pytest.raises(sc_glmm.InputError, match=f"has sc_glmm 0.0.1 instead of {ours}.*Start the workers in the"),
        ):
            results(file)
    finally:
        client.run(_another_version, ours)


def _fail(x):
    raise sc_glmm.InputError(f"block {x} cannot be read")


def test_errors_of_workers_reach_the_user(client):
    with pytest.raises(sc_glmm.InputError, match="block 3 cannot be read"):
        list(run_blocks(_fail, (), [(3,)], 1))


@pytest.mark.parametrize("kind", ["chebyshev", "centred"])
def test_a_table_of_some_cells_gives_their_statistics(rng, kind):
    y = rng.poisson(0.8, (600, 7)).astype(float)
    row_of, offset = rng.integers(-1 if kind == "chebyshev" else 0, 5, 600), rng.normal(0, 0.5, 600)
    x = rng.normal(0, 1, (600, 1))
    table = chebyshev_nodes(row_of, 5, offset) if kind == "chebyshev" else centred_rows(row_of, x, offset).table
    whole = compress_counts(y, table, offset)
    total = None
    for cells in (np.flatnonzero(row_of == 2), np.flatnonzero(row_of != 2)[:100], np.flatnonzero(row_of != 2)[100:]):
        part, nodes = restrict_table(table, cells)
        assert part.n_nodes == len(nodes) and part.n_obs == len(cells)
        np.testing.assert_array_equal(part.ec, table.ec[nodes])
        some = cluster.PartialStats(compress_counts(y[cells], part, offset[cells]), nodes)
        total = some if total is None else cluster.add_partial(total, some)
    assert (
        len(total.nodes) == table.n_nodes or not whole.A[:, np.setdiff1d(np.arange(table.n_nodes), total.nodes)].any()
    )
    np.testing.assert_allclose(total.stats.A, whole.A[:, total.nodes], rtol=1e-12, atol=1e-10)
    np.testing.assert_array_equal(total.stats.tail, whole.tail)
    assert add_counts(whole, whole).total.sum() == 2 * whole.total.sum()
