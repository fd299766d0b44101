"""Check `sc-glmm plot`: every figure from every kind of file, or one line with the reason for an error."""

from __future__ import annotations

from pathlib import Path

import anndata
import matplotlib.pyplot as plt
import pytest
from typer.testing import CliRunner

import sc_glmm
from sc_glmm import cli, pl

FORMULA = "counts ~ disease + (1|sample)"
# Arguments of a figure besides the file, and the error for a table that is not enough: for figures that refit a gene,
# and for figures of results that are not in the table.
TABLE, MODEL, RUN = "", "has no counts: use the .h5ad file or zarr store", "are not fractions that sum to one"
FIGURES = {
    "caterpillar": (["--gene", "gene_01", "--group", "B"], MODEL),
    "counts": (["--group", "B"], TABLE),
    "diagnostics": (["--gene", "gene_01", "--group", "B"], MODEL),
    "dispersion": (["--group", "B", "--what", "sample"], TABLE),
    "forest": (["--gene", "gene_01"], TABLE),
    "heatmap": (["--genes", "gene_01", "--genes", "gene_02", "--alpha", "0.2"], TABLE),
    "influence": (["--gene", "gene_01", "--group", "B"], MODEL),
    "ma": (["--group", "B", "--n-labels", "2"], TABLE),
    "p_values": (["--group", "B"], TABLE),
    "qq": ([], TABLE),
    "random_effect_qq": (["--gene", "gene_01", "--group", "B"], MODEL),
    "residual_histogram": (["--gene", "gene_01", "--group", "B"], MODEL),
    "residual_qq": (["--gene", "gene_01", "--group", "B"], MODEL),
    "residuals": (["--gene", "gene_01", "--group", "B"], MODEL),
    "samples": (["--gene", "gene_01", "--group", "B"], MODEL),
    "variance_fractions": (["--group", "B", "--genes", "gene_01"], RUN),
    "volcano": (["--group", "B", "--alpha", "0.1", "--min-log-fc", "1", "--label", "gene_01"], TABLE),
}
FORMATS = ("h5ad", "zarr", "csv", "csv.gz", "tsv", "parquet")


def run(*arguments: object):
    return CliRunner().invoke(cli.app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write a run over two cell types to each kind of file."""
    adata = sc_glmm.datasets.simulate(n_samples=6, n_cells=500, n_genes=30, frac_de=0.5, log_fc=(1.0, 2.0), seed=3)
    adata.obs["kind"] = ["B" if i % 2 else "1" for i in range(adata.n_obs)]
    adata.var["symbol"] = [f"SYM{i}" for i in range(adata.n_vars)]
    sc_glmm.tl.test(adata, FORMULA, reference={"disease": "ctl"}, test="t", groupby="kind", progress=False)
    folder = tmp_path_factory.mktemp("plot")
    result = {form: folder / f"results.{form}" for form in FORMATS}
    adata.write_h5ad(result["h5ad"])
    adata.write_zarr(result["zarr"])
    table = sc_glmm.get.results(adata, columns="all")
    table.to_csv(result["csv"], index=False)
    table.to_csv(result["csv.gz"], index=False)
    table.to_csv(result["tsv"], index=False, sep="\t")
    table.to_parquet(result["parquet"], index=False)
    return result


def test_every_figure_is_tried() -> None:
    # other figures need special files
    assert set(FIGURES) >= set(pl.__all__) - {"abundance", "latent_factors", "power"}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_figure_from_every_file(files: dict[str, Path], tmp_path: Path, figure: str, form: str) -> None:
    options, refusal = FIGURES[figure]
    out, before = tmp_path / "a.png", plt.get_fignums()
    result = run("plot", files[form], figure, "-o", out, "--dpi", 40, "--title", "A title", *options)
    assert plt.get_fignums() == before
    if refusal and form not in ("h5ad", "zarr"):
        assert result.exit_code == 2
        assert refusal in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert not out.exists()
        return
    assert result.exit_code == 0, result.output
    assert out.read_bytes().startswith(b"\x89PNG")


def test_symbols_from_the_file_and_from_the_table(files: dict[str, Path], tmp_path: Path) -> None:
    for figure in ("volcano", "samples"):
        options = ["--gene", "SYM1"] if figure == "samples" else ["--label", "SYM1"]
        result = run(
            "plot",
            files["h5ad"],
            figure,
            "-o",
            tmp_path / "a.png",
            "--group",
            "B",
            "--gene-symbols",
            "symbol",
            *options,
        )
        assert result.exit_code == 0, result.output
    table = sc_glmm.get.results(anndata.read_h5ad(files["h5ad"]), columns="all").assign(symbol="S")
    table.to_csv(tmp_path / "t.csv", index=False)
    options = ["--group", "B", "--gene-symbols", "symbol", "-o", tmp_path / "b.png", "--label", "S (gene_01)"]
    assert run("plot", tmp_path / "t.csv", "volcano", *options).exit_code == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [("a,b\n1,2\n", "no column 'variable'"), ("", "cannot be read as a table")],
    ids=["other", "empty"],
)
def test_a_table_of_something_else(tmp_path: Path, text: str, words: str) -> None:
    source = tmp_path / "t.csv"
    source.write_text(text)
    result = run("plot", source, "volcano", "-o", tmp_path / "a.png")
    assert result.exit_code == 2
    assert words in result.stderr
