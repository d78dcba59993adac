"""How the catalogue turns a file into rows: order, groups, markers of missing values; and which data sets share rows."""

import io
import os

import numpy as np
import pandas as pd
import pytest

from metabench.errors import MetabenchError
from metabench.sources import _readers
from metabench.sources._overlap import overlaps
from metabench.sources.base import Dataset
from metabench.sources.catalogue import Catalogue, _catalogue
from metabench.tasks.flags import FLAGS, flags

DATA = pytest.mark.skipif(
    not os.environ.get("METABENCH_DATA"), reason="METABENCH_DATA names no folder with the catalogue's files"
)


def entry(**more):
    return {"task": "regression", "licence": "none", "target": "y", "rows": 6, "features": 1, **more}


def made(frame, **more):
    return Catalogue()._dataset("made", entry(**more), [pd.DataFrame(frame)], "nowhere")


def test_rows_are_sorted_by_their_order_and_the_column_is_left_out():
    days = ["2020-01-03", "2020-01-01", "2020-01-02", "2020-01-02", "2019-12-31", "2020-02-01"]
    data = made({"day": days, "x": range(6), "y": range(6)}, order="day", drop=["day"], temporal=True)
    assert data.X["x"].tolist() == [4, 1, 2, 3, 0, 5] and data.y.tolist() == data.X["x"].tolist() and data.temporal


def test_rows_that_lie_together_are_groups():
    data = made({"x": range(6), "y": range(6)}, group_rows=4)
    assert data.groups.tolist() == [0, 0, 0, 0, 1, 1]


def test_a_group_may_be_a_column_that_is_no_feature():
    data = made({"who": list("abcabc"), "x": range(6), "y": range(6)}, group="who")
    assert list(data.X) == ["x"] and len(np.unique(data.groups)) == 3


def test_usual_markers_are_missing_where_the_entry_says_so():
    text = b"a,b\nNA,x\n,null\n3,?\n"
    plain, usual = (_readers.read_csv(text, missing="", usual_missing=usual) for usual in (False, True))
    assert plain["a"].isna().tolist() == [False, True, False]
    assert usual["a"].isna().tolist() == [True, True, False] and usual["b"].isna().tolist() == [False, True, False]


def test_numpy_archives():
    file = io.BytesIO()
    np.savez(file, X=np.arange(6.0).reshape(3, 2), y=np.array([[1], [0], [1]]))
    frame = _readers.read_npz(file.getvalue())
    assert frame.columns.tolist() == ["x0", "x1", "target"] and frame["target"].tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    "arrays",
    [
        {"X": np.zeros((2, 2))},
        {"X": np.zeros(2), "y": np.zeros(2)},
        {"X": np.zeros((2, 2)), "y": np.zeros(3)},
        {"X": np.array([["a"]], dtype=object), "y": np.zeros(1)},
        None,
    ],
)
def test_what_is_no_such_archive_is_named(arrays):
    file = io.BytesIO()
    if arrays is not None:
        np.savez(file, **arrays)
    with pytest.raises(MetabenchError):
        _readers.read_npz(file.getvalue() or b"no archive")


def table(name, frame):
    return Dataset(name, name, "here", "tabular", "regression", pd.DataFrame(frame), None)


def test_shared_rows_are_found_whatever_the_columns_are_called():
    rng = np.random.default_rng(0)
    whole = rng.normal(size=(500, 6))
    part = whole[100:150][:, ::-1]
    other = rng.normal(size=(300, 6))
    found = overlaps(
        [table("whole", whole), table("part", part * (1 + 1e-9)), table("other", other), table("few", np.ones((50, 6)))]
    )
    assert [(o.first, o.second, o.rows) for o in found] == [("part", "whole", 1.0)]


def test_a_column_in_common_is_found():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(200, 5)), rng.normal(size=(200, 5))
    b[:, 2] = a[::-1, 4]
    (found,) = overlaps([table("a", a), table("b", b)])
    assert (found.columns, found.rows) == (1, 0.0)


@pytest.mark.parametrize(
    ("made_by", "n_test", "expected"),
    [("", 200, ()), ("simulated", 200, ("simulated",)), ("enumeration", 49, ("enumeration", "few_rows")), ("", 50, ())],
)
def test_flags_follow_their_rule(made_by, n_test, expected):
    assert flags(made_by, n_test) == expected


def test_entries_say_only_what_is_known():
    for name, stored in _catalogue()["data"].items():
        assert stored.get("made", "simulated") in FLAGS, name
        assert not ("group" in stored and "group_rows" in stored), name
        assert stored["repository"] in _catalogue()["repositories"], name
    assert Catalogue().listing("car").made == "enumeration" and Catalogue().listing("adult").made == ""


@DATA
@pytest.mark.parametrize(
    "name", ["avocado_prices", "internet_ads", "kepler_koi", "outdoor", "project_star", "satimage"]
)
def test_new_sets_read(name):
    data, stored = Catalogue().load(name), _catalogue()["data"][name]
    assert data.X.shape == (stored["rows"], stored["features"])
    assert (data.groups is not None) == ("group" in stored or "group_rows" in stored)
