"""Check the report: its content, every kind of run, and that names in a file stay text."""

from __future__ import annotations

import re

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import sc_glmm
from sc_glmm import InputError
from sc_glmm.cli import app
from tests.report.studies import HOSTILE, Reader, hostile_run

FORMULA = "counts ~ disease + (1|sample)"


def read(path) -> Reader:
    return Reader(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def run():
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=600, n_genes=80, seed=1, depth=800)
    adata.var["symbol"] = [f"SYM{i}" for i in range(adata.n_vars)]
    sc_glmm.tl.test(adata, FORMULA, reference={"disease": "ctl"}, test="t", progress=False)
    return adata


@pytest.fixture(scope="module")
def page(run, tmp_path_factory):
    return read(sc_glmm.report(run, tmp_path_factory.mktemp("report") / "r.html", n_genes=3))


def test_table_contains_the_results(run, page):
    results = sc_glmm.get.results(run).sort_values("p_value", kind="stable")
    table = page.columns("genes")
    assert table["gene"] == results["variable"].tolist()
    for name in ("log_fc", "ci_low", "ci_high", "p_value", "adj_p_value", "mean", "pct"):
        values = np.array([np.nan if value is None else float(value) for value in table[name]])
        np.testing.assert_allclose(values, results[name].to_numpy(), rtol=1e-5)


def test_the_samples_are_counted(run, page):
    table = page.columns("samples")
    cells = run.obs["sample"].value_counts()
    assert dict(zip(table["sample"], table["cells"], strict=True)) == cells.to_dict()
    totals = np.asarray(run.layers["counts"].sum(1)).ravel()
    for name, median in zip(table["sample"], table["median counts per cell"], strict=True):
        assert median == np.median(totals[(run.obs["sample"] == name).to_numpy()])


def test_text_describes_design_and_result(run, page):
    assert "4 samples in ctl and 4 samples in AD" in page.text
    hits = int((sc_glmm.get.results(run)["adj_p_value"] < 0.05).sum())
    assert f"{hits} of 80 tested genes are significant" in page.text
    assert "Each sample belongs to one arm." in page.text


def test_the_drawing_has_a_circle_for_every_sample(page):
    assert len(page.named("circle")) == 8
    assert {circle["class"] for circle in page.named("circle")} == {"arm-0", "arm-1"}


def test_table_links_to_figures_of_top_genes(run, page):
    top = sc_glmm.get.results(run, sort="p_value")["variable"].head(3)
    ids = {figure["id"] for figure in page.named("figure") if "id" in figure}
    assert ids == {f"gene-{gene}" for gene in top}
    for picture in page.named("img"):
        assert picture["src"].startswith("data:image/svg+xml;base64,")
        assert picture["alt"]


def test_page_needs_no_other_files(page):
    for tag, attributes in page.elements:
        for name in ("src", "href", "action", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, value)
    assert not page.named("link")
    policy = next(meta["content"] for meta in page.named("meta") if meta.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_names_of_a_file_stay_text(tmp_path):
    adata = hostile_run()
    evil = "</title><script>window.hit=1</script>"
    path = sc_glmm.report(adata, tmp_path / "r.html", title=evil, genes=HOSTILE, null=1)
    page = read(path)
    assert not page.named("b") and not page.named("i") and not page.named("svg")[1:]
    scripts = page.named("script")
    assert [s for s in scripts if s.get("type") != "application/json"] == [{}]
    assert not [a for _, attributes in page.elements for a in attributes if a.startswith("on") or a == "style"]
    assert page.named("img") and all(image["src"].startswith("data:image/svg+xml") for image in page.named("img"))
    for name in HOSTILE:
        assert name in page.columns("genes")["gene"]
        assert " ".join(name.split()) in page.text
    assert evil in page.text


def test_symbols_title_level_and_genes_are_those_given(run, tmp_path):
    path = sc_glmm.report(
        run, tmp_path / "r.html", title="Our study", gene_symbols="symbol", alpha=0.2, genes=["gene_05"]
    )
    page, symbols = read(path), run.var["symbol"]
    assert page.named("title") and "Our study" in page.text
    assert "FDR 20 %" in page.text
    assert f"{symbols['gene_05']} (gene_05)" in page.text
    table = page.columns("genes")
    assert dict(zip(table["gene"], table["symbol"], strict=True))["gene_07"] == symbols["gene_07"]


def test_a_path_gives_the_report_of_the_object(run, tmp_path):
    run.write_h5ad(tmp_path / "r.h5ad")
    texts = [
        sc_glmm.report(data, tmp_path / "r.html", n_genes=2).read_text() for data in (run, str(tmp_path / "r.h5ad"))
    ]
    assert texts[0] == texts[1]


@pytest.mark.filterwarnings("ignore::sc_glmm.ScGlmmWarning")
def test_unused_cells_do_not_change_figures(run, tmp_path):
    more = ad.concat([run, run[:40]], index_unique="-")
    more.var, more.X = run.var[["symbol"]], more.layers["counts"]
    more.obs["disease"] = more.obs["disease"].where(np.arange(more.n_obs) < run.n_obs)
    for adata in (run, more):
        adata = adata.copy()
        sc_glmm.tl.test(adata, FORMULA, reference={"disease": "ctl"}, test="t", progress=False)
        page = read(sc_glmm.report(adata, tmp_path / "r.html", n_genes=1))
        assert "600 cells" in page.text
        assert sum(page.columns("samples")["cells"]) == 600
        assert "No figure" not in page.text


@pytest.mark.filterwarnings("ignore::sc_glmm.ScGlmmWarning")
def test_groups(tmp_path):
    adata = sc_glmm.datasets.simulate(n_samples=6, n_cells=700, n_genes=60, n_cell_types=2, seed=2, depth=700)
    adata.obs["small"] = adata.obs["cell_type"].astype(str).where(np.arange(adata.n_obs) > 3, "too few")
    sc_glmm.tl.test(
        adata, FORMULA, reference={"disease": "ctl"}, groupby="small", test="t", min_cells=10, progress=False
    )
    page = read(sc_glmm.report(adata, tmp_path / "r.html", n_genes=2))
    groups, details = page.columns("groups"), sc_glmm.get.details(adata)
    assert groups["small"] == details["small"].tolist()
    # headings are the columns of the details without "n_" at the beginning; empty columns are left out
    shown = {name for name in details if details[name].isin([0, ""]).sum() + details[name].isna().sum() < len(details)}
    assert set(groups) == {name.removeprefix("n_") for name in shown} and "sample_factor_shift" in groups
    assert "separately in each level of small" in page.text
    assert set(page.columns("genes")["small"]) == {"type_1", "type_2"}
    assert "Fraction of the cells of each sample" in page.text


@pytest.mark.filterwarnings("ignore::sc_glmm.ScGlmmWarning")
def test_paired_designs_are_drawn_and_shuffled_within_donors(tmp_path):
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=600, n_genes=60, design="paired", seed=2, depth=700)
    sc_glmm.tl.test(adata, "counts ~ stim + (1|donor) + (1|sample)", test="t", progress=False)
    page = read(sc_glmm.report(adata, tmp_path / "r.html", n_genes=1, null=2))
    assert "Each of 4 donors was measured under several levels of stim" in page.text
    assert len(page.named("line")) == 4
    assert "With shuffled labels (2 runs)" in page.text


def test_shuffled_labels_have_the_least_association_with_the_true_ones(run):
    from sc_glmm._report.layout import layout_of
    from sc_glmm._report.shuffled import shuffled_arms
    from sc_glmm._report.study import study_of

    layout = layout_of(study_of(run, "glmm"))
    true = layout.places["arm"].to_numpy()
    for arms in shuffled_arms(layout, 5, 0):
        assert sorted(arms) == sorted(true)
        assert (arms[true == 0] == 0).sum() == 2


@pytest.mark.filterwarnings("ignore::sc_glmm.ScGlmmWarning")
@pytest.mark.parametrize(
    ("formula", "options", "words"),
    [
        # every term is tested, so the page must not call one of them an adjustment
        ("counts ~ disease * batch + (1|sample)", {}, "batch: y vs x (interaction). There are"),
        ("counts ~ disease + batch + (1|sample)", {"contrasts": "disease"}, "The comparison is adjusted for batch."),
        ("counts ~ age + (1|sample)", {}, "There are 600 cells of 8 samples."),
        (
            "counts ~ disease + batch + (1|sample)",
            {"contrasts": {"both": ["disease", "batch"]}},
            "The tested comparison is both",
        ),
        ("counts ~ disease + (1|house/sample)", {}, "4 sample:houses in ctl"),
        ("logs ~ disease + (1|sample)", {"family": "gaussian", "test": "satterthwaite"}, "linear mixed model"),
    ],
)
def test_every_kind_of_run_has_a_report(run, tmp_path, formula, options, words):
    adata = run.copy()
    codes = adata.obs["sample"].cat.codes.to_numpy()
    adata.obs["batch"] = pd.Categorical(np.where(codes % 2 == 0, "x", "y"))
    adata.obs["house"] = [f"h{code // 2}" for code in codes]
    adata.obs["age"] = 30.0 + codes * 1.5
    adata.layers["logs"] = np.log1p(adata.layers["counts"].toarray())
    with np.errstate(all="ignore"):
        sc_glmm.tl.test(adata, formula, **{"test": "t", "progress": False, **options})
    page = read(sc_glmm.report(adata, tmp_path / "r.html", n_genes=1))
    assert words in page.text
    assert "nan" not in re.sub(r"\w*nan\w+|\w+nan\w*", "", page.text.lower()).split()


def test_report_without_counts(run, tmp_path):
    bare = ad.AnnData(obs=run.obs, var=run.var, varm=dict(run.varm), uns=dict(run.uns))
    page = read(sc_glmm.report(bare, tmp_path / "r.html"))
    assert "The counts cannot be read" in page.text
    assert len(page.columns("genes")["gene"]) == run.n_vars


def test_invalid_arguments_are_rejected(run, tmp_path):
    refused = [
        ({"out": tmp_path / "r.pdf"}, "must end in .html"),
        ({"out": tmp_path / "none" / "r.html"}, "does not exist"),
        ({"key": "other"}, "there are no results under key='other'"),
        ({"alpha": 5}, "alpha=5"),
        ({"n_genes": -1}, "n_genes=-1"),
        ({"null": 1.5}, "null=1.5"),
        ({"genes": ["nothing"]}, "'nothing' is not one of"),
        ({"gene_symbols": "nothing"}, "is not a column of var"),
    ]
    for options, words in refused:
        with pytest.raises(InputError, match=words):
            sc_glmm.report(run, **{"out": tmp_path / "r.html", **options})
    with pytest.raises(InputError, match="use the object that was tested"):
        sc_glmm.report(run[:50].copy(), tmp_path / "r.html")
    assert not list(tmp_path.iterdir())


def test_the_command_writes_it_too(run, tmp_path):
    run.write_h5ad(tmp_path / "r.h5ad")
    out = tmp_path / "page.html"
    arguments = ["report", str(tmp_path / "r.h5ad"), "-o", str(out), "--gene", "gene_05", "--title", "Ours"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert f"Written to {out}" in result.output
    assert read(out).text == read(sc_glmm.report(run, tmp_path / "b.html", genes=["gene_05"], title="Ours")).text
    refused = CliRunner().invoke(app, ["report", str(tmp_path / "r.h5ad"), "-o", str(tmp_path / "r.txt")])
    assert refused.exit_code == 2
    assert "must end in .html" in refused.output


def test_the_accessor_writes_it_too(run, tmp_path):
    if not hasattr(run, "glmm"):
        pytest.skip("this version of anndata has no accessors")
    assert run.glmm.report(tmp_path / "r.html", n_genes=0).is_file()


def test_open_figures_of_the_caller_do_not_change(run, tmp_path):
    import matplotlib.pyplot as plt

    own_figure = plt.figure()
    sc_glmm.report(run, tmp_path / "r.html", n_genes=1)
    assert plt.get_fignums() == [own_figure.number]
    plt.close(own_figure)


def test_named_contrast_shows_the_tested_factor_and_not_the_first(run, tmp_path):
    """Check that the weights of a contrast decide which factor is drawn, shuffled and left out of the adjustments."""
    from sc_glmm._report.layout import layout_of
    from sc_glmm._report.study import study_of

    adata = run.copy()
    adata.obs["sex: F"] = pd.Categorical(np.where(adata.obs["sample"].isin(["s01", "s03", "s05", "s07"]), "F", "M"))
    options = {"reference": {"disease": "ctl", "sex: F": "F"}, "test": "t", "progress": False, "genes": ["gene_01"]}
    for contrasts in ({"ill": "disease"}, {"sex: ill": ("disease", "AD", "ctl")}):
        sc_glmm.tl.test(adata, "counts ~ `sex: F` + disease + (1|sample)", contrasts=contrasts, **options)
        assert layout_of(study_of(adata, "glmm")).factor == "disease"
        page = read(sc_glmm.report(adata, tmp_path / "r.html", n_genes=1))
        assert "4 samples in ctl and 4 samples in AD" in page.text
        assert "The comparison is adjusted for sex: F." in page.text


def test_labels_of_a_factor_that_is_not_tested_are_not_shuffled(run, tmp_path):
    adata = run.copy()
    adata.obs["age"] = 30.0 + adata.obs["sample"].cat.codes.to_numpy() * 1.5
    options = {"test": "t", "progress": False, "genes": ["gene_01"], "reference": {"disease": "ctl"}}
    sc_glmm.tl.test(adata, "counts ~ disease + age + (1|sample)", contrasts="age", **options)
    with pytest.raises(InputError, match="the tested effects are numeric"):
        sc_glmm.report(adata, tmp_path / "r.html", n_genes=1, null=1)
    assert not (tmp_path / "r.html").exists()


@pytest.mark.filterwarnings("ignore::sc_glmm.ScGlmmWarning")
@pytest.mark.parametrize("given", [{"size_factors": "size"}, {}])
def test_cells_without_a_count_are_those_of_the_run(run, tmp_path, given):
    """Check that a cell without a count belongs to the run only with size factors of the user."""
    adata = run.copy()
    counts = adata.layers["counts"].tolil()
    counts[5] = 0
    adata.layers["counts"], adata.obs["size"] = counts.tocsr(), 1.0
    options = {"reference": {"disease": "ctl"}, "test": "t", "progress": False, "genes": ["gene_01"]}
    sc_glmm.tl.test(adata, FORMULA, **given, **options)
    page = read(sc_glmm.report(adata, tmp_path / "r.html", n_genes=1))
    assert f"There are {adata.n_obs if given else adata.n_obs - 1} cells" in page.text
    assert "No figure" not in page.text
