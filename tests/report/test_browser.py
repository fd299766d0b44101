"""Check the page in a real browser: every control, malicious names, phone width, dark mode, print."""

from __future__ import annotations

import csv
import shutil

import pytest

import sc_glmm
from tests.report.studies import HOSTILE, hostile_run

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if CHROMIUM is None:
    pytest.skip("needs Chromium", allow_module_level=True)


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def run():
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=500, n_genes=70, n_cell_types=2, seed=1, depth=900)
    sc_glmm.tl.test(
        adata,
        "counts ~ disease + (1|sample)",
        reference={"disease": "ctl"},
        groupby="cell_type",
        test="t",
        progress=False,
    )
    return adata


@pytest.fixture(scope="module")
def path(run, tmp_path_factory):
    return sc_glmm.report(run, tmp_path_factory.mktemp("report") / "r.html", n_genes=3)


@pytest.fixture
def page(browser, path):
    context = browser.new_context(viewport={"width": 1200, "height": 900}, accept_downloads=True)
    page = context.new_page()
    page.trouble = []
    page.on("console", lambda message: page.trouble.append(message.text))
    page.on("pageerror", lambda error: page.trouble.append(str(error)))
    page.on(
        "request", lambda asked: asked.url.startswith(("file:", "data:", "blob:")) or page.trouble.append(asked.url)
    )
    page.goto(path.as_uri())
    yield page
    assert page.trouble == []
    context.close()


def column(page, name, table="genes"):
    """Return the texts of a column in the visible rows."""
    heads = page.locator(f"#{table} th").all_inner_texts()
    place = [head.strip() for head in heads].index(name) + 1
    return page.locator(f"#{table} tbody td:nth-child({place})").all_inner_texts()


def numbers(texts):
    return [float(text.replace("\u2212", "-").replace(",", "")) for text in texts if text]


def test_headings_sort_both_ways(page):
    head = page.locator("#genes th", has_text="p_value").first
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert numbers(column(page, "p_value")) == sorted(numbers(column(page, "p_value")))
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert numbers(column(page, "p_value")) == sorted(numbers(column(page, "p_value")), reverse=True)
    page.locator("#genes th button", has_text="gene").first.click()
    assert column(page, "gene") == sorted(column(page, "gene"))


def test_filters_show_matching_rows(page, run):
    results = sc_glmm.get.results(run, columns="all")
    controls = page.locator("#genes .controls")
    controls.locator("select").first.select_option("type_2")
    assert set(column(page, "cell_type")) == {"type_2"}
    controls.get_by_label("adj_p_value up to").fill("0.5")
    controls.get_by_label("|log_fc| at least").fill("0.3")
    kept = (results["cell_type"] == "type_2") & (results["adj_p_value"] <= 0.5) & (results["log_fc"].abs() >= 0.3)
    assert 0 < kept.sum() < 25
    assert page.locator("#genes tbody tr").count() == kept.sum()
    assert set(column(page, "gene")) == set(results.loc[kept, "variable"])
    controls.get_by_label("Search").fill("nothing like this")
    assert page.locator("#genes tbody tr").count() == 0
    assert page.locator("#genes .shown").inner_text() == "0 rows (140 in all)"
    for name in ("Search", "adj_p_value up to", "|log_fc| at least"):
        controls.get_by_label(name).fill("")
    controls.locator("select").first.select_option("all")
    assert "of 140" in page.locator("#genes .shown").inner_text()


def test_paging(page):
    first = column(page, "gene")
    page.locator("#genes .pager button", has_text="Next").click()
    assert column(page, "gene") != first
    assert page.locator("#genes .shown").inner_text() == "rows 26 to 50 of 140"
    page.locator("#genes .pager button", has_text="Previous").click()
    assert column(page, "gene") == first
    assert page.locator("#genes .pager button", has_text="Previous").is_disabled()


def test_download_contains_the_shown_rows(page, run):
    page.locator("#genes .controls").get_by_label("Search").fill("gene_01")
    with page.expect_download() as waiting:
        page.locator("#genes button", has_text="Download").click()
    with open(waiting.value.path(), encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    results = sc_glmm.get.results(run)
    results = results[results["variable"].str.contains("gene_01")].set_index(["variable", "cell_type"])
    assert waiting.value.suggested_filename == "results.csv"
    assert len(rows) == len(results)
    for row in rows:
        meant = results.loc[(row["gene"], row["cell_type"])]
        assert float(row["p_value"]) == pytest.approx(meant["p_value"], rel=1e-5)
        assert float(row["log_fc"]) == pytest.approx(meant["log_fc"], rel=1e-5)


def test_a_gene_leads_to_its_figure(page):
    link = page.locator("#genes tbody a").first
    link.click()
    assert page.locator("figure:target h3").inner_text().startswith(link.inner_text())


def test_the_methods_are_copied(page):
    page.locator("button.copy").click()
    page.wait_for_timeout(200)
    assert page.evaluate("getSelection().toString()").startswith("Differential expression was tested with sc_glmm")
    assert page.locator("button.copy").inner_text() in ("Copied", "Press Ctrl+C")


def test_light_and_dark(page):
    def background():
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    assert background() == "rgb(255, 255, 255)"
    page.locator("#theme").click()
    assert background() == "rgb(20, 24, 28)"
    page.locator("#theme").click()
    page.emulate_media(color_scheme="dark")
    assert background() == "rgb(255, 255, 255)"  # the reader's choice overrides that of the system


def test_the_system_theme_is_followed(browser, path):
    page = browser.new_page(color_scheme="dark")
    page.goto(path.as_uri())
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 28)"
    page.close()


@pytest.mark.parametrize("width", [360, 768])
def test_nothing_is_wider_than_a_phone(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_all_pictures_are_drawn(page):
    sizes = page.evaluate("[...document.images].map((image) => image.naturalWidth)")
    assert len(sizes) > 6
    assert min(sizes) > 100


def test_print_has_no_controls_and_no_dark_colours(page):
    page.locator("#theme").click()
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert not page.locator("#genes .controls").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert len(page.pdf()) > 10_000


def test_tables_are_visible_without_javascript(browser, path):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.locator("#genes tbody tr").count() == 25
    assert not page.locator("#genes .controls").is_visible()
    context.close()


def test_names_that_attack_stay_text(browser, tmp_path):
    path = sc_glmm.report(hostile_run(), tmp_path / "r.html", genes=HOSTILE)
    context = browser.new_context(accept_downloads=True)
    page = context.new_page()
    trouble = []
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
    page.goto(path.as_uri())
    for name in HOSTILE:
        search = page.locator("#genes .controls").get_by_label("Search")
        search.fill(name.split("\u2028")[0])
        assert page.locator("#genes tbody tr").count() >= 1
        page.locator("#genes tbody tr").first.hover()
    search.fill("")
    page.locator("#genes tbody a").first.click()
    page.locator("svg circle").first.dispatch_event("click")
    assert page.evaluate("window.hit") is None
    assert trouble == []
    with page.expect_download() as waiting:
        page.locator("#genes button", has_text="Download").click()
    with open(waiting.value.path(), encoding="utf-8-sig", newline="") as file:
        cells = [row[0] for row in csv.reader(file)]
    # a spreadsheet would execute them
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
    assert "'=HYPERLINK(1)" in cells and 'comma, "quote"' in cells
    context.close()
