"""Check the messages during a run."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
from contextlib import contextmanager

import pytest

import sc_glmm
from sc_glmm._display import bar_of_pass, by_note, counted, logger, progress_of_run, progress_over


class Terminal(io.StringIO):
    """A stream that counts as a terminal."""

    def isatty(self) -> bool:
        return True


def draw(monkeypatch, stream: io.StringIO, progress: bool | None) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert list(progress_over([(64, "a"), (36, "b")], 100, "genes", progress)) == ["a", "b"]
    return stream.getvalue()


def test_a_bar_counts_genes_with_rate_and_time_left(monkeypatch) -> None:
    message = draw(monkeypatch, Terminal(), None)
    assert re.search(r"genes: 100%.*\| 100/100 \[\d\d:\d\d<\d\d:\d\d, .*gene/s\]", message)


def test_no_bar_without_a_terminal(monkeypatch) -> None:
    assert draw(monkeypatch, io.StringIO(), None) == ""
    assert draw(monkeypatch, Terminal(), False) == ""
    assert "gene" in draw(monkeypatch, io.StringIO(), True)
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        assert draw(monkeypatch, Terminal(), None) == ""
    finally:
        logger.setLevel(level)


@pytest.mark.filterwarnings("ignore::sc_glmm.ScGlmmWarning")
@pytest.mark.parametrize("groupby", [None, "kind"])
def test_summary_counts_genes_by_status(caplog, groupby: str | None) -> None:
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=400, n_genes=12, seed=2)
    adata.obs["kind"] = ["a", "b"] * 200
    counts = adata.layers["counts"].tolil()
    counts[:, 3] = 0
    counts[(adata.obs["disease"] == "AD").to_numpy().nonzero()[0], 4] = 0
    adata.layers["counts"] = counts.tocsr()
    with caplog.at_level(logging.INFO, "sc_glmm"):
        sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", reference={"disease": "ctl"}, test="t", groupby=groupby)
    # a set, because handlers of earlier tests may show a record twice
    (message,) = {record.getMessage() for record in caplog.records if record.getMessage().startswith("tested ")}
    assert "\n" not in message
    table = sc_glmm.get.results(adata, columns="all")
    n_all = 12 if groupby is None else 24
    where = "" if groupby is None else " in 2 levels of 'kind'"
    assert re.match(rf"tested {table['p_value'].notna().sum()} of {n_all} genes{where} in \d+\.\d s \(", message)
    for word in ("singular", "separated", "all_zero"):
        assert f"{(table['status'] == word).sum()} {word.replace('_', ' ')}" in message
    assert message.endswith("0 failed): sc_glmm.get.results(adata)")


@contextmanager
def run_on(monkeypatch, stream: io.StringIO, progress: bool | None):
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    with progress_of_run(progress, reading=True) as run:
        yield run


def two_groups(run) -> list[str]:
    """Run two groups, and record the bar after each stage."""
    messages = []
    for i, name in enumerate(("B cells", "T cells")):
        for fits in (True, False):
            run.stage(f"{name}, {i + 1} of 2 cell types", i, 2, fits=fits, only=False)
            assert list(progress_over([(60, 1), (40, 2)], 100, "genes", None)) == [1, 2]
            messages.append(sys.stderr.getvalue())
    return messages


def test_one_bar_covers_all_groups_and_stages_and_never_goes_back(monkeypatch) -> None:
    stream = Terminal()
    with run_on(monkeypatch, stream, None) as run:
        bar = bar_of_pass(100, "reading the matrix", "cell", None)
        bar.update(100)
        bar.close()
        two_groups(run)
        run.at(1.0)
        run.close()
    message = stream.getvalue()
    shares = [int(share) for share in re.findall(r"(\d+)%\|", message)]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] >= 60
    assert "reading the matrix" in message and "T cells, 2 of 2 cell types" in message
    assert message.count("\n") <= 1  # a bar, and no second one


def test_lines_of_progress_without_a_terminal(monkeypatch, caplog) -> None:
    now = [0.0]
    monkeypatch.setattr("sc_glmm._display.progress.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    with caplog.at_level(logging.INFO, "sc_glmm"), run_on(monkeypatch, stream, None) as run:
        for _ in range(100):
            now[0] += 1.0
            run.stage("T cells, 1 of 2 cell types, fits", 0, 2, fits=True, only=True)
            run.at(now[0] / 100)
    messages = [record.getMessage() for record in caplog.records if record.name == "sc_glmm.progress"]
    assert len(set(messages)) == 3
    assert messages[0] == "32 % after 30 s: T cells, 1 of 2 cell types, fits"
    for progress in (False, True):
        caplog.clear()
        with caplog.at_level(logging.INFO, "sc_glmm"), run_on(monkeypatch, io.StringIO(), progress) as run:
            now[0] += 100.0
            run.at(0.5)
        assert not [record for record in caplog.records if record.name == "sc_glmm.progress"]


def test_equal_notes_of_groups_are_merged() -> None:
    notes = [("a", "same"), ("b", "same"), ("c", "same"), ("a", "own"), ("", "all of it"), ("b", "two"), ("c", "two")]
    assert by_note(notes, 3, "kind") == ["all 3 levels of 'kind': same", "a: own", "all of it", "b, c: two"]
    assert by_note([(str(i), "x") for i in range(6)], 9, "kind") == ["0, 1, 2, 3 and 2 more: x"]
    assert by_note([("", "x")], 1, None) == ["x"]


@pytest.mark.parametrize(
    ("groupby", "words"),
    [
        ("cell_type", "5 cell types"),
        ("louvain", "5 louvains"),
        ("leiden_r1", "5 levels of 'leiden_r1'"),
        ("X", "5 levels of 'X'"),
    ],
)
def test_levels_of_a_column_are_counted_in_words(groupby: str, words: str) -> None:
    assert counted(5, groupby) == words


def test_last_lines_name_the_comparison_and_genes_to_check(caplog) -> None:
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=400, n_genes=12, seed=2)
    adata.obs["kind"] = ["a", "b"] * 200
    adata.obs.loc[adata.obs["disease"] == "AD", "kind"] = "a"
    with caplog.at_level(logging.INFO, "sc_glmm"), pytest.warns(sc_glmm.ScGlmmWarning) as warned:
        sc_glmm.tl.test(
            adata,
            "counts ~ disease + (1|sample)",
            reference={"disease": "ctl"},
            test="t",
            groupby="kind",
            progress=False,
        )
    message = next(record.getMessage() for record in caplog.records if record.getMessage().startswith("  compared"))
    assert message.splitlines()[0] == "  compared: disease: AD vs ctl"
    assert "1 of 2 levels of 'kind' could not be tested (b); sc_glmm.get.details lists the reasons" in message
    assert "size factors were computed from only 12 genes" in message and "size_factors=" in message
    assert [str(each.message) for each in warned if "skipped" in str(each.message)]
    assert list(adata.uns["glmm"]["params"]["attention"]) == [line.strip() for line in message.splitlines()]
    details = sc_glmm.get.details(adata)
    assert list(details["kind"]) == ["a", "b"] and details["skipped"][1]


def test_a_bar_that_is_switched_off_does_not_stop_the_run() -> None:
    program = "from sc_glmm._display import progress_of_run\n"
    program += "with progress_of_run(True, True) as run:\n    run.read('reading')\n    run.at(0.5)\nprint('done')"
    # tqdm reads the variable when it is imported
    environment = {**os.environ, "TQDM_DISABLE": "1"}
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert run.stdout == "done\n", run.stderr
