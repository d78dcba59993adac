"""Generated tables of every type, library and file: one line or a table, no column or row lost without a word.

METABENCH_EXAMPLES sets how many tables are tried (default 60); `-s` prints how many were.
"""

import datetime
import decimal
import os
import tempfile
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.utils import Bunch

from metabench.advise.data import read
from metabench.advise.inputs import Inputs, _table
from metabench.errors import UsageError
from metabench.tasks import preprocess
from metabench.untrusted import printable

EXAMPLES = int(os.environ.get("METABENCH_EXAMPLES", "60"))
TRIED = {"read": 0, "refused": 0}

NAMES = st.one_of(
    st.sampled_from(
        ["a", "b", " padded ", "", "a.1", "x,y", 'quo"te', "line\nbreak", "\x1b[31mred", "größe", "Unnamed: 0"]
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00\r\n\t"), max_size=8),
)
WORDS = [
    "red",
    "green",
    "None",
    "NA",
    "null",
    "",
    " ",
    "?",
    "1,5",
    "1,234",
    "12%",
    "2024-01-31",
    "31.12.2024",
    "nan",
    "true",
]
SWAPPED = str.maketrans(",.", ".,")
CELLS = {
    "integers": st.integers(-5, 5),
    "large": st.integers(-(2**62), 2**62),
    "floats": st.floats(width=64),
    "booleans": st.booleans(),
    "words": st.sampled_from(WORDS),
    "letters": st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=5),
    "comma": st.decimals(-999, 999, places=2).map(lambda d: str(d).replace(".", ",")),
    "percent": st.integers(-200, 200).map(lambda n: f"{n / 2} %"),
    "dollars": st.integers(-(10**7), 10**7).map(lambda n: f"{'-' * (n < 0)}${abs(n) / 100:,.2f}"),
    "brackets": st.integers(-(10**5), 10**5).map(lambda n: f"(${-n:,})" if n < 0 else f"${n:,}"),
    "euros": st.integers(-(10**7), 10**7).map(lambda n: f"{n / 100:,.2f}".translate(SWAPPED) + " €"),
    "coded": st.integers(0, 999).map(lambda n: f"CHF {n}"),
    "currencies": st.sampled_from(["$1.50", "€2.75", "£3"]),
    "dates": st.dates(datetime.date(1900, 1, 1), datetime.date(2200, 1, 1)),
    "times": st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2200, 1, 1)),
    "iso": st.dates(datetime.date(1900, 1, 1), datetime.date(2200, 1, 1)).map(str),
    "durations": st.timedeltas(datetime.timedelta(0), datetime.timedelta(days=999)),
    "decimals": st.decimals(-999, 999, places=3),
    "lists": st.lists(st.integers(0, 9), max_size=2),
    "records": st.fixed_dictionaries({"k": st.integers(0, 9)}),
    "bytes": st.binary(max_size=4),
}
#: cells that stand beside one another in Python alone
OBJECTS = {
    "mixed": st.one_of(st.integers(-5, 5), st.text(max_size=3), st.none(), st.floats(), st.booleans()),
    "odd": st.sampled_from(
        [1 + 2j, object, Path("p"), decimal.Decimal("1"), datetime.time(3), (1, 2), np.float32(2), {1}]
    ),
}
TARGETS = {
    "words": st.sampled_from(["yes", "no", "None"]),
    "integers": st.integers(0, 2),
    "booleans": st.booleans(),
    "floats": st.floats(-99, 99),
    "comma": CELLS["comma"],
    "dollars": CELLS["dollars"],
    "huge": st.sampled_from([1e308, -1e308, 1.0]),
}


@st.composite
def tables(draw):
    """A table as lists of Python objects, the target's name, and whether Arrow can hold it."""
    rows = draw(st.integers(32, 48))
    names = draw(st.lists(NAMES, min_size=1, max_size=5))
    python = draw(st.booleans())
    kinds = draw(
        st.lists(st.sampled_from([*CELLS, *(OBJECTS if python else ())]), min_size=len(names), max_size=len(names))
    )
    columns = []
    for kind in kinds:
        cells = (CELLS | OBJECTS)[kind]
        gaps = st.none() if draw(st.booleans()) else cells
        columns.append(draw(st.lists(st.one_of(cells, cells, cells, gaps), min_size=rows, max_size=rows)))
    target = draw(st.sampled_from(sorted(TARGETS)))
    cells = TARGETS[target]
    y = draw(st.lists(st.one_of(cells, cells, cells, cells, cells, st.none()), min_size=rows, max_size=rows))
    return [*zip(names, columns, strict=True), ("target", y)], not python


def distinct(columns):
    """Columns of distinct names, as most libraries ask for."""
    return {
        f"{name}{'_' * i}" if sum(n == name for n, _ in columns) > 1 else name: values
        for i, (name, values) in enumerate(columns)
    }


def as_pandas(columns):
    frame = pd.concat([pd.Series(values, dtype=object).infer_objects() for _, values in columns], axis=1)
    return frame.set_axis([name for name, _ in columns], axis=1)


def file(columns, ending, folder):
    path = Path(folder) / f"mine{ending}"
    frame = as_pandas(columns)
    if ending == ".tsv":
        frame.to_csv(path, index=False, sep="\t")
    elif ending == ".utf16.csv":
        frame.to_csv(path, index=False, encoding="utf-16")
    elif ".csv" in ending:
        frame.to_csv(path, index=False)
    elif ending == ".jsonl":
        pd.DataFrame(distinct(columns)).to_json(
            path, orient="records", lines=True, date_format="iso", default_handler=str
        )
    else:
        table = pa.table(distinct(columns))
        getattr(table.to_pandas(), "to_parquet" if ending == ".parquet" else "to_feather")(path)
    return path


FORMS = {
    "pandas": lambda c, _: as_pandas(c),
    "category": lambda c, _: as_pandas(c[:-1]).assign(target=pd.Categorical(c[-1][1])),
    "nullable": lambda c, _: pd.DataFrame(distinct(c)).convert_dtypes(dtype_backend="numpy_nullable"),
    "pyarrow": lambda c, _: pa.table(distinct(c)).to_pandas(types_mapper=pd.ArrowDtype),
    "polars": lambda c, _: pl.DataFrame(distinct(c), strict=False),
    "lazy": lambda c, _: pl.LazyFrame(distinct(c), strict=False),
    "arrow": lambda c, _: pa.table(distinct(c)),
    "duckdb": lambda c, _: duckdb.from_arrow(
        pa.table({f"c{i}": v for i, (_, v) in enumerate(c[:-1])} | {"target": c[-1][1]})
    ),
    "bunch": lambda c, _: Bunch(frame=as_pandas(c), data=as_pandas(c[:-1]), target=c[-1][1]),
    "pair": lambda c, _: (as_pandas(c[:-1]), pd.Series(c[-1][1], name="target")),
    "array": lambda c, _: (np.array(list(zip(*(v for _, v in c[:-1]), strict=True)), dtype=object), c[-1][1]),
    "tsv": lambda c, folder: file(c, ".tsv", folder),
    "utf16": lambda c, folder: file(c, ".utf16.csv", folder),
    "csv": lambda c, folder: file(c, ".csv", folder),
    "csv.gz": lambda c, folder: file(c, ".csv.gz", folder),
    "jsonl": lambda c, folder: file(c, ".jsonl", folder),
    "parquet": lambda c, folder: file(c, ".parquet", folder),
    "feather": lambda c, folder: file(c, ".feather", folder),
}
#: what holds Python's own objects
LOOSE = ("pandas", "category", "csv", "csv.gz", "tsv", "utf16", "bunch", "pair", "array")


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(tables(), st.sampled_from(sorted(FORMS)))
@pytest.mark.filterwarnings("ignore")
def no_traceback_and_nothing_lost_without_a_word(made, form):
    columns, plain = made
    form = form if plain or form in LOOSE else LOOSE[len(form) % len(LOOSE)]
    with tempfile.TemporaryDirectory() as folder:
        try:
            data = FORMS[form](columns, folder)
        except (
            pa.ArrowException,
            pl.exceptions.PolarsError,
            TypeError,
            ValueError,
            OverflowError,
            UnicodeError,
            duckdb.Error,
        ):
            return  # the library itself does not hold such a table
        try:
            found = read(data, None if form in ("pair", "array") else "target")
        except UsageError as error:
            TRIED["refused"] += 1
            assert "\n" not in str(error) and str(error).isprintable()
            return
    TRIED["read"] += 1
    said, X, y = "\n".join(found.notes), found.dataset.X, found.dataset.y
    assert all(note.isprintable() for note in found.notes)
    if "row name" not in said:
        assert len(found.given) == len(columns) - 1
    lost = [c for c in found.given if c not in X.columns]
    for name in lost:
        assert printable(name)[:3].strip() in said
    assert len(lost) == 0 or "left out" in said
    gone = found.rows - len(y)
    assert len(X) == len(y) and (gone == 0 or "missing in" in said or "no finite numbers" in said)
    # what a kept network would read of the same rows is what it was trained on
    encoder, inputs = preprocess.fitted(X, found.dataset.categorical, np.arange(len(X)))
    facts, arrays = encoder.state()
    facts |= {
        "given": list(found.given),
        "moments": list(found.moments),
        "formats": {n: vars(f) for n, f in found.formats.items()},
    }
    if isinstance(data, Path | tuple | Bunch):
        return
    again = Inputs("table", facts, arrays)
    table = _table(again.facts, again.arrays, data)
    assert table.shape == (found.rows, inputs.shape[1])
    if gone == 0:
        np.testing.assert_array_equal(table, inputs)


def test_no_traceback_and_nothing_lost_without_a_word():
    no_traceback_and_nothing_lost_without_a_word()
    assert TRIED["read"] >= EXAMPLES // 10


def test_periods_are_their_start_dates():
    from metabench.advise.cells import Reading
    from metabench.advise.frames import plain

    months = pd.Series(pd.period_range("2020-01", periods=3, freq="M"))
    months[1] = pd.NaT
    made = plain(pd.DataFrame({"month": months}), Reading()).frame["month"]
    assert made.iloc[0] == pd.Timestamp("2020-01-01") and made.iloc[2] == pd.Timestamp("2020-03-01")
    assert pd.isna(made.iloc[1])
