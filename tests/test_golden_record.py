"""Check that the golden record detects a changed number, word, column or row."""

from __future__ import annotations

import copy
import importlib.util
import sys
from pathlib import Path

import pandas as pd
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks" / "golden"
RUN = "lmer_dyestuff"


@pytest.fixture(scope="module")
def golden():
    if not FOLDER.is_dir():
        pytest.skip("needs the folder benchmarks")
    spec = importlib.util.spec_from_file_location("golden_record", FOLDER / "record.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(FOLDER), *sys.path])
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def golden_record(golden, tmp_path_factory):
    path = tmp_path_factory.mktemp("golden") / "one.json.gz"
    golden.record(path, [RUN])
    return golden.read(path)


def test_two_records_of_one_tree_agree(golden, golden_record, tmp_path):
    golden.record(tmp_path / "again.json", [RUN])
    lines, n_columns, n_same = golden.differences(golden_record, golden.read(tmp_path / "again.json"), 1e-10)
    assert lines == []
    assert n_columns == n_same > 20


def change_number(frames):
    frames["glance"]["columns"][2][1][0] *= 1.0 + 3e-10


def change_word(frames):
    frames["tidy"]["columns"][0][1][0] = "another"


def lose_number(frames):
    frames["vcov"]["columns"][0][1][0] = None


def rename_column(frames):
    frames["vcov"]["columns"][0][0] = "another"


def rename_row(frames):
    frames["ranef_Batch"]["index"][0] = "another"


def lose_frame(frames):
    del frames["ranova"]


@pytest.mark.parametrize(
    "change", [change_number, change_word, lose_number, rename_column, rename_row, lose_frame], ids=lambda f: f.__name__
)
def test_a_change_is_found(golden, golden_record, change):
    other = copy.deepcopy(golden_record)
    change(other["runs"][RUN])
    lines, _, _ = golden.differences(golden_record, other, 1e-10)
    assert len(lines) == 1
    assert lines[0].startswith(RUN)


def test_small_number_is_compared_on_the_scale_of_its_column(golden):
    column = [1.0, 1.0, 1e-17]
    assert golden.compare_column(column, [1.0, 1.0, -3e-17], 1e-10) == ""
    assert "worst" in golden.compare_column(column, [1.0, 1.0, 1e-8], 1e-10)


def test_values_of_every_kind_are_preserved(golden):
    frame = pd.DataFrame({"x": [0.1, None], "word": pd.Categorical(["a", None]), "yes": pd.array([True, None])})
    assert golden._plain(frame)["columns"] == [["x", [0.1, None]], ["word", ["a", None]], ["yes", [1.0, None]]]
