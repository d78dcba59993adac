"""Whatever library a value came from, it is JSON's, and it is the same value."""

import datetime
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metabench.plain import plain


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int16(3), 3),
        (np.float32(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.longdouble(0.25), 0.25),
        (np.bool_(True), True),
        (np.str_("adam"), "adam"),
        (True, True),
        (7, 7),
        ("x", "x"),
        (np.array(2), 2),
        (np.array([1.0, np.nan]), [1.0, None]),
        (pd.Series([1, 2]), [1, 2]),
        (pd.NA, None),
        (pd.NaT, None),
        (None, None),
        (float("nan"), None),
        (-np.inf, None),
        (Path("a/b"), "a/b"),
        (datetime.date(2020, 1, 2), "2020-01-02"),
        ((1, (np.int8(2),)), [1, [2]]),
        ({1: {"a": np.uint8(9)}}, {"1": {"a": 9}}),
    ],
)
def test_a_value_as_json_has_it(value, expected):
    found = plain(value)
    assert found == expected and type(found) is type(expected)
    json.dumps(found, allow_nan=False)
