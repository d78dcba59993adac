"""Kinds of table that people bring, each read as it is meant: dtypes and libraries, names, numbers and gaps in text, packed
files, forms of (X, y)."""

import bz2
import gzip
import lzma
import subprocess
import sys

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.datasets import load_iris

from metabench.advise.cells import Reading, typed
from metabench.advise.data import read
from metabench.advise.recommend import task_of
from metabench.errors import UsageError

RNG = np.random.default_rng(1)
N = 80


def frame(**more):
    x = RNG.normal(size=N)
    return pd.DataFrame({"a": x, "n": RNG.integers(0, 9, N), "y": np.where(x > 0, "yes", "no")}).assign(**more)


def said(found, match):
    (note,) = [n for n in found.notes if match in n]
    return note


WHOLE = frame(when=pd.date_range("2023-03-01", periods=N, freq="29h")[RNG.permutation(N)], w=RNG.choice(["u", "v"], N))
LIBRARIES = {
    "nullable": WHOLE.convert_dtypes(dtype_backend="numpy_nullable"),
    "pyarrow": WHOLE.convert_dtypes(dtype_backend="pyarrow"),
    "polars": pl.from_pandas(WHOLE),
    "lazy": pl.from_pandas(WHOLE).lazy(),
    "arrow": pa.Table.from_pandas(WHOLE),
    "duckdb": duckdb.from_arrow(pa.Table.from_pandas(WHOLE)),
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_library_holds_the_same_table(library):
    wanted, found = read(WHOLE, "y").dataset, read(LIBRARIES[library], "y").dataset
    assert list(found.X) == list(wanted.X) and found.categorical == wanted.categorical == ("w",)
    for name in ("a", "n", "when"):
        np.testing.assert_array_equal(found.X[name].to_numpy(float), wanted.X[name].to_numpy(float))
    assert found.y.tolist() == wanted.y.tolist()


@pytest.mark.parametrize(
    "ending", [".csv", ".csv.gz", ".csv.bz2", ".csv.xz", ".csv.zst", ".parquet", ".feather", ".jsonl"]
)
def test_every_file_holds_the_same_table(tmp_path, ending):
    path, text = tmp_path / f"mine{ending}", WHOLE.to_csv(index=False).encode()
    if ending == ".csv.zst":
        with pa.output_stream(str(path), compression="zstd") as stream:
            stream.write(text)
    elif ending.startswith(".csv"):
        path.write_bytes(
            {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}.get(ending[4:], bytes)(text)
        )
    elif ending == ".jsonl":
        WHOLE.to_json(path, orient="records", lines=True, date_format="iso", double_precision=15)
    else:
        (WHOLE.to_parquet if ending == ".parquet" else WHOLE.to_feather)(path)
    wanted, found = read(WHOLE, "y").dataset, read(path, "y")
    assert found.dataset.name == "mine" and list(found.dataset.X) == list(wanted.X)
    for name in ("a", "n", "when"):
        np.testing.assert_allclose(found.dataset.X[name].to_numpy(float), wanted.X[name].to_numpy(float), rtol=1e-12)


@pytest.mark.parametrize(
    "y",
    [
        pd.Categorical(RNG.integers(0, 30, N)),
        pd.cut(RNG.normal(size=N), 3),
        pd.Categorical(["lo", "hi"] * (N // 2), ordered=True),
        pd.Categorical([True, False] * (N // 2)),
    ],
    ids=["integers", "intervals", "ordered", "truth"],
)
def test_a_categorical_target_is_classes(y):
    found = read(frame(y=y), "y").dataset
    assert found.kind == "classification" and not any("read as" in n for n in read(frame(y=y), "y").notes)
    assert all(isinstance(label, str | int | bool) for label in found.y)


def test_a_column_that_is_no_text_is_named_by_its_text():
    table = pd.DataFrame(np.c_[RNG.normal(size=(N, 2)), np.arange(N) % 2])
    for target in (2, np.int64(2), "2"):
        assert read(table, target).target == "2" and list(read(table, target).dataset.X) == ["0", "1"]
    pairs = pd.DataFrame({("a", "x"): RNG.normal(size=N), ("b", "y"): np.arange(N) % 2})
    assert read(pairs, ("b", "y")).dataset.y.tolist() == (np.arange(N) % 2).tolist()


def test_words_for_missing_stay_names_and_are_said_once():
    words = ["None", "NA", "null", "red"] * (N // 4)
    found = read(frame(w=words, y=["None", "some"] * (N // 2)), "y")
    assert set(found.dataset.X["w"]) == set(words) and set(found.dataset.y) == {"None", "some"}
    assert len([n for n in found.notes if n.startswith("w:")]) == 1 and "--missing" in said(found, "w: 'None'")
    assert read(frame(w=words), "y", missing=["NA", "null"]).dataset.X["w"].isna().sum() == N // 2


def test_words_for_missing_in_numbers_are_gaps(tmp_path):
    frame(c=["NA", "null", "-", *map(str, RNG.normal(size=N - 3))]).to_csv(tmp_path / "c.csv", index=False)
    found = read(tmp_path / "c.csv", "y")
    assert found.dataset.X["c"].isna().sum() == 3 and "counts as missing (3 cells)" in said(found, "c:")


@pytest.mark.parametrize(
    ("cells", "settings", "numbers"),
    [
        (["1,5", "2,25", "-0,126"], {}, [1.5, 2.25, -0.126]),
        (["1,234", "5,678,901"], {}, [1234, 5678901]),
        (["1,234", "2,345"], {"decimal": ","}, [1.234, 2.345]),
        (["1.234,5", "10,25"], {}, [1234.5, 10.25]),
        (["1 234", "5 678 901"], {}, [1234, 5678901]),
        (["1'234.5", "2.5"], {}, [1234.5, 2.5]),
        (["1,234.5", "17"], {}, [1234.5, 17]),
        (["1,234", "2,345"], {"comma": True}, [1.234, 2.345]),
        (["1e3", "0.5"], {}, [1000, 0.5]),
        ([" 3 ", "4"], {}, [3, 4]),
    ],
)
def test_how_numbers_are_written_is_found_out(cells, settings, numbers):
    made, form, lines = typed(pd.Series(cells, dtype=object), "c", Reading(**settings))
    assert made.tolist() == numbers and form.numbers(pd.Series(cells)).tolist() == numbers
    assert bool(lines) == (any("," in c or "'" in c or " " in c.strip() for c in cells) and "decimal" not in settings)


def test_a_decimal_comma_in_one_column_settles_the_others(tmp_path):
    cells = {
        "p": [f"{v:.3f}".replace(".", ",") for v in RNG.uniform(1, 9, N)],
        "q": [f"{v:.1f}".replace(".", ",") for v in range(N)],
    }
    frame(**cells).to_csv(tmp_path / "eu.csv", sep=";", index=False)
    found = read(tmp_path / "eu.csv", "y")
    assert found.dataset.X["p"].max() < 9 and "is read as" in said(found, "p:")
    with pytest.raises(UsageError, match="'x' is no decimal mark"):
        read(tmp_path / "eu.csv", "y", decimal="x")


def test_units_and_other_dates_are_named_as_the_cause():
    found = read(frame(p=[f"{v} kg" for v in range(N)], d=[f"{1 + i % 28}.{1 + i // 28}.2024" for i in range(N)]), "y")
    assert "write numbers without units" in said(found, "p:") and "write dates as 2024-12-31" in said(found, "d:")


def test_dates_as_text_are_datetimes():
    when = pd.date_range("2024-01-01", periods=N, freq="37h")[RNG.permutation(N)]
    for text in (
        when.strftime("%Y-%m-%d %H:%M:%S"),
        when.strftime("%Y/%m/%d %H:%M"),
        when.strftime("%Y-%m-%dT%H:%M:%SZ"),
    ):
        found, wanted = read(frame(when=text), "y"), read(frame(when=when), "y")
        assert found.moments == ("when",)
        np.testing.assert_array_equal(found.dataset.X["when"], wanted.dataset.X["when"])


@pytest.mark.parametrize("cells", [[[1, 2]] * N, [{"k": 1}] * N, [np.zeros(2)] * N, [1 + 2j] * N, [b"\xff"] * N])
def test_cells_that_are_no_values_are_left_out_and_named(cells):
    assert "left out" in said(read(frame(c=pd.Series(cells, dtype=object)), "y"), "c:")
    with pytest.raises(UsageError, match="target 'c' cannot be predicted"):
        read(frame(c=pd.Series(cells, dtype=object)), "c")


def test_headers_as_people_have_them(tmp_path):
    path, rows = tmp_path / "h.csv", "".join(f"{a:.3f},{i % 2}\n" for i, a in enumerate(RNG.normal(size=N)))
    path.write_text(f"# from the lab\n# 2024\n a , y \n{rows}")
    found = read(path, "y")
    assert found.target == "y" and "2 lines before the header" in said(found, "before the header")
    path.write_text(f"#a,y\n{rows}")
    assert list(read(path, "y").dataset.X) == ["#a"]
    path.write_text(f"y,y\n{rows}")
    with pytest.raises(UsageError, match="two columns are called 'y'"):
        read(path, "y")
    path.write_text("a,y\n" + "".join(f"r{i},{line}\n" for i, line in enumerate(rows.splitlines())))
    assert "the first is called 'row name'" in said(read(path, "y"), "one cell more")
    path.write_text("sep=;\na;y\n" + rows.replace(",", ";"))
    assert list(read(path, "y").dataset.X) == ["a"]


def test_forms_of_rows_and_targets():
    iris = load_iris(as_frame=True)
    wanted = read(iris.frame, "target").dataset
    for given in (
        (iris,),
        (load_iris(),),
        ((iris.data, iris.target),),
        ((load_iris().data, load_iris().target),),
        (iris.data, pl.Series("target", iris.target)),
        (iris.data.to_numpy(dtype=object), iris.target),
    ):
        found = read(*given).dataset
        np.testing.assert_array_equal(found.X.to_numpy(float), wanted.X.to_numpy(float))
        assert found.y.tolist() == wanted.y.tolist()


def test_text_classes_of_a_list_stay_text_and_those_of_a_file_are_numbers(tmp_path):
    assert set(read(frame(y=["0", "1"] * (N // 2)), "y").dataset.y) == {"0", "1"}
    frame(y=["0", "1"] * (N // 2)).to_csv(tmp_path / "f.csv", index=False)
    assert set(read(tmp_path / "f.csv", "y").dataset.y) == {0, 1}


def test_a_split_does_not_depend_on_the_files_name(tmp_path):
    made = []
    for name in ("one", "another"):
        WHOLE.to_csv(tmp_path / f"{name}.csv", index=False)
        made.append(task_of(read(tmp_path / f"{name}.csv", "y"), "mlp"))
    made.append(task_of(read(WHOLE, "y"), "mlp"))
    assert made[0].split_hashes == made[1].split_hashes == made[2].split_hashes
    assert made[0].features == made[1].features and made[0].dataset == "one"


def test_names_do_not_reach_the_terminal_as_commands():
    found = read(frame(**{"\x1b[31mred": 1.0}), "y")
    assert all(note.isprintable() for note in found.notes)
    with pytest.raises(UsageError) as caught:
        read(frame(**{"\x1b[31mred": 1.0}), "\x1b[2J")
    assert str(caught.value).isprintable()


def test_many_columns_are_named_in_no_time():
    wide = pd.DataFrame(np.zeros((30, 5_000)), columns=["same"] * 5_000)
    from metabench.advise.frames import named

    names, _ = named(wide.columns)
    assert len(set(names)) == 5_000 and names[:2] == ["same", "same.1"]


def test_numbers_beyond_measure_are_missing():
    found = read(frame(c=np.where(np.arange(N) % 9, RNG.normal(size=N), 1e308)), "y")
    assert found.dataset.X["c"].max() < 9 and "count as missing" in said(found, "c:")
    big_endian = RNG.normal(size=(N, 3)).astype(">f4")
    assert read(big_endian, np.arange(N, dtype=">i2") % 2).dataset.X.shape == (N, 3)


def test_a_line_without_an_end_is_refused(tmp_path, monkeypatch):
    from metabench.advise import delimited

    monkeypatch.setattr(delimited, "LINE", 1 << 20)
    (tmp_path / "endless.csv").write_bytes(b"a,y\n" + b"1" * (5 << 20))
    with pytest.raises(UsageError, match="a line of more than"):
        read(tmp_path / "endless.csv", "y")


def test_another_locale_reads_the_same(tmp_path):
    """Every file of ours is UTF-8, whatever the locale says."""
    WHOLE.assign(w=WHOLE["w"] + "ß").to_csv(tmp_path / "l.csv", index=False, encoding="utf-8")
    code = f"""
import metabench as mb
from metabench import tasks
mb.recommend({str(tmp_path / "l.csv")!r}, "y", k=1)
tasks.names("mlp")
"""
    named = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": ":".join(p for p in sys.path if p)}
    flags = ["-X", "utf8=0"]
    done = subprocess.run([sys.executable, *flags, "-c", code], env=named, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1500:]


def test_every_text_file_is_read_with_its_encoding():
    """No ``open``, ``read_text`` or ``write_text`` of ours leaves the encoding to the locale."""
    import ast
    from pathlib import Path

    import metabench

    bare = []
    for path in Path(metabench.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                texts = {"read_text": 0, "write_text": 1}.get(node.func.attr)
                given = any(k.arg == "encoding" for k in node.keywords)
                if texts is not None and not given and len(node.args) <= texts:
                    bare.append(f"{path.name}:{node.lineno}")
    assert bare == []
