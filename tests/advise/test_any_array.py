"""Generated images, series, texts and series to be forecast, in every form that is taken: one line or a data set that holds
every row, or says which it does not.

METABENCH_EXAMPLES sets how many are tried of each (default 40); `-s` prints how many were.
"""

import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metabench.advise.data import read
from metabench.errors import UsageError

EXAMPLES = int(os.environ.get("METABENCH_EXAMPLES", "40"))
TRIED = {"read": 0, "refused": 0}
SEEDS = st.integers(0, 2**20)
RULES = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["", " ", "good day", "bad day", "größe", "a\x00b"]),
    st.none(),
    st.integers(0, 3),
)
TEXT_LISTS = st.one_of(
    st.lists(st.sampled_from(["good day", "bad day", "größe", "", "a\x00b"]), min_size=40, max_size=60),
    st.lists(st.text(max_size=9), min_size=40, max_size=60),
    st.lists(TEXTS, max_size=60),
)
DTYPES = ["float64", "float32", "float16", "int8", "uint8", "int64", "object", "bool", "complex128"]
SPOILT = st.sampled_from([None, None, np.nan, np.inf, -np.inf, 1e308])


@st.composite
def targets(draw, rows):
    """Targets of as many rows, some of them missing, in one of the forms that people have."""
    rng = np.random.default_rng(draw(SEEDS))
    kind = draw(st.sampled_from(["words", "numbers", "classes", "flags", "gaps"]))
    y = {
        "words": lambda: rng.choice(["yes", "no"], rows),
        "numbers": lambda: rng.normal(size=rows),
        "classes": lambda: rng.integers(0, 3, rows),
        "flags": lambda: rng.random(rows) < 0.5,
        "gaps": lambda: np.where(rng.random(rows) < 0.1, np.nan, rng.integers(0, 2, rows)),
    }[kind]()
    return draw(st.sampled_from([np.asarray, list, pd.Series, lambda v: np.asarray(v)[:, None]]))(y)


@st.composite
def arrays(draw, lowest, highest):
    """An array of numbers [rows, …] with something spoilt in it, or not."""
    rows = draw(st.one_of(st.integers(40, 90), st.integers(40, 90), st.integers(0, 60)))
    sides = st.one_of(st.integers(2, 9), st.integers(2, 9), st.integers(0, 9))
    shape = (rows, *draw(st.lists(sides, min_size=lowest - 1, max_size=highest - 1)))
    rng = np.random.default_rng(draw(SEEDS))
    x = rng.normal(size=shape) * draw(st.sampled_from([1.0, 100.0, 100.0, 0.0]))
    spoilt = draw(SPOILT)
    if spoilt is not None and x.size:
        x.flat[draw(st.integers(0, x.size - 1))] = spoilt
    with np.errstate(all="ignore"):
        x = x.astype(draw(st.sampled_from(DTYPES)))
    return x


def outcome(data, target, workload, rows):
    """Read, and compare what came of it with how many rows there were."""
    try:
        found = read(data, target, workload)
    except UsageError as error:
        TRIED["refused"] += 1
        assert "\n" not in str(error) and str(error).isprintable()
        return
    TRIED["read"] += 1
    said = "\n".join(found.notes)
    assert all(note.isprintable() for note in found.notes)
    kept = len(found.dataset.X)
    assert found.dataset.y is None or len(found.dataset.y) == kept
    assert kept == rows or any(word in said for word in ("left out", "no finite numbers", "are read", "is read"))


@RULES
@given(st.data(), arrays(3, 5))
@pytest.mark.filterwarnings("ignore")
def test_images(data, x):
    outcome(x, data.draw(targets(len(x))), "cnn", len(x))


@RULES
@given(st.data(), arrays(2, 4), st.booleans())
@pytest.mark.filterwarnings("ignore")
def test_series(data, x, ragged):
    y = data.draw(targets(len(x)))
    given = [row[: 1 + i % len(row)] if row.ndim and len(row) else row for i, row in enumerate(x)] if ragged else x
    outcome(given, y, "rnn", len(x))


@RULES
@given(st.data(), TEXT_LISTS, st.sampled_from([list, tuple, pd.Series, np.array]))
@pytest.mark.filterwarnings("ignore")
def test_texts(data, texts, form):
    outcome(form(texts), data.draw(targets(len(texts))), "text", len(texts))


@RULES
@given(arrays(1, 3), st.booleans())
@pytest.mark.filterwarnings("ignore")
def test_series_to_be_forecast(x, named):
    given = pd.DataFrame(x.reshape(len(x), -1)).add_prefix("c") if named and x.size else x
    try:
        found = read(given, None, "forecast")
    except UsageError as error:
        TRIED["refused"] += 1
        assert "\n" not in str(error) and str(error).isprintable()
        return
    TRIED["read"] += 1
    assert found.rows == len(x)


@RULES
@given(st.data(), arrays(1, 3))
@pytest.mark.filterwarnings("ignore")
def test_tables_of_numbers(data, x):
    outcome(x, data.draw(targets(len(x))), "mlp", len(x))


def test_many_were_tried():
    print(TRIED)
    assert sum(TRIED.values()) >= EXAMPLES and TRIED["read"] >= EXAMPLES
