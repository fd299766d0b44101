"""Check the selection of rows for a figure."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import sc_glmm as sg
from sc_glmm.pl._numbers.frames import (
    effect_column,
    group_column,
    levels_of,
    one_contrast,
    results_frame,
    split_sets,
    status_of,
)


@pytest.fixture
def frame():
    rows = [(t, g, c) for t in ("T", "B") for c in ("a vs b", "a vs c") for g in ("g1", "g2")]
    out = pd.DataFrame(rows, columns=["cell_type", "variable", "contrast"])
    out["cell_type"] = pd.Categorical(out["cell_type"], categories=["B", "T", "unused"])
    return out.assign(log_fc=1.0, p_value=0.5)


def test_sets_are_groups_and_contrasts(frame):
    titles = [title for title, _ in split_sets(frame)]
    assert titles == ["B, a vs b", "B, a vs c", "T, a vs b", "T, a vs c"]
    assert [len(part) for _, part in split_sets(frame)] == [2, 2, 2, 2]
    one = results_frame(frame, key="glmm", contrast="a vs b")
    assert [title for title, _ in split_sets(one)] == ["B", "T"]
    assert one_contrast(one) == "a vs b" and one_contrast(frame) is None
    single = results_frame(frame, key="glmm", contrast="a vs b", group="T")
    assert [(title, len(part)) for title, part in split_sets(single)] == [("", 2)]
    assert group_column(frame) == "cell_type"
    assert group_column(frame.drop(columns="cell_type")) is None
    assert levels_of(frame["cell_type"]) == ["B", "T"]


def test_unknown_names(frame):
    with pytest.raises(sg.InputError, match="no contrast 'a vs d'.*did you mean"):
        results_frame(frame, key="glmm", contrast="a vs d")
    with pytest.raises(sg.InputError, match="no group 't'; did you mean 'T'"):
        results_frame(frame, key="glmm", group="t")
    gone = frame[(frame["cell_type"] != "T") | (frame["contrast"] != "a vs c")]
    with pytest.raises(sg.InputError, match="'a vs c' was not tested in group='T'; there are .'a vs b'.. "):
        results_frame(gone, key="glmm", contrast="a vs c", group="T")
    with pytest.raises(sg.InputError, match="the results have no groups.*groupby="):
        results_frame(frame.drop(columns="cell_type"), key="glmm", group="T")


def test_variance_of_zero_is_not_a_failure():
    frame = pd.DataFrame({"status": ["ok", "singular", "separated"]})
    assert list(status_of(frame)) == ["ok", "ok", "separated"]
    assert list(status_of(frame.drop(columns="status"))) == ["ok"] * 3


def test_shrunken_fold_changes_are_required(frame):
    assert effect_column(frame, False, plot="ma") == "log_fc"
    with pytest.raises(sg.InputError, match="lacks .'log_fc_shrunk'"):
        effect_column(frame, True, plot="ma")
    with pytest.raises(sg.InputError, match="none of the 8 rows has a shrunken"):
        effect_column(frame.assign(log_fc_shrunk=np.nan), True, plot="ma")
    assert effect_column(frame.assign(log_fc_shrunk=0.1), True, plot="ma") == "log_fc_shrunk"
