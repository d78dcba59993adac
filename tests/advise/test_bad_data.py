"""What people's files are like: each trouble is one line that says what would be right, or a treatment that is said."""

import numpy as np
import pandas as pd
import pytest

from metabench.advise import arrays, files, tables
from metabench.advise.data import read
from metabench.errors import UsageError

RNG = np.random.default_rng(0)
N = 60


def frame(n=N, **more):
    x = RNG.normal(size=n)
    return pd.DataFrame({"a": x, "b": RNG.normal(size=n), "y": np.where(x > 0, "yes", "no")}).assign(**more)


def refused(match, *args, **settings):
    with pytest.raises(UsageError, match=match) as caught:
        read(*args, **settings)
    assert "\n" not in str(caught.value)


def said(found, match):
    (note,) = [n for n in found.notes if match in n]
    return note


# ---------------------------------------------------------------------------------------------- refused
def test_a_missing_target_names_the_nearest_column():
    refused("did you mean 'y'", frame(), "yy")
    refused("unknown target column 'price'; known: a, b, y", frame(), "price")
    refused("name the target column; there are a, b, y", frame())


@pytest.mark.parametrize("values", ["same", 1.0])
def test_one_class_is_nothing_to_predict(values):
    refused("has one value only", frame(y=values), "y")


def test_targets_that_are_all_missing():
    refused("has no values", frame(y=np.nan), "y")


def test_ten_rows_are_too_few():
    refused("10 rows with a target are too few; at least 20", frame(10), "y")


def test_identifiers_as_target_are_no_classes():
    refused("fewer than two of them 5 times", frame(y=[f"row {i}" for i in range(N)]), "y")


def test_columns_that_say_nothing_are_all_there_is():
    refused("no column says anything of 'y'", pd.DataFrame({"a": 1.0, "y": ["u", "v"] * 30}), "y")


def test_no_rows_no_columns_twice():
    refused("there are no rows", pd.DataFrame({"a": [], "y": []}), "y")
    twice = frame()
    twice.columns = ["a", "a", "y"]
    found = read(twice, "y")
    assert list(found.dataset.X) == ["a", "a.1"] and said(found, "another column has the same name").startswith("a.1:")
    twice.columns = ["a", "y", "y"]
    refused("two columns are called 'y'; the target needs a name of its own", twice, "y")


def test_an_unknown_kind_and_a_regression_without_numbers():
    refused("did you mean 'regression'", frame(), "y", kind="regresion")
    refused("has no numbers, so it is no regression", frame(), "y", kind="regression")


def test_wrong_encoding_says_which_to_name(tmp_path):
    path = tmp_path / "mine.csv"
    frame(y=np.where(np.arange(N) % 2, "süß", "sauer")).to_csv(path, index=False, encoding="latin-1")
    refused("is not utf-8 text .* name its encoding, such as latin-1", path, "y")
    assert set(read(path, "y", encoding="latin-1").dataset.y) == {"süß", "sauer"}
    refused("'klingon' is no encoding", path, "y", encoding="klingon")
    frame().to_csv(path, index=False, encoding="utf-16")
    assert len(read(path, "y").dataset.y) == N
    assert len(read(path, "y", encoding="utf-16").dataset.y) == N


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("gone.csv", None, "no such file"),
        ("empty.csv", b"", "cannot be read as a table"),
        ("bad.parquet", b"PAR1 no", "is no Parquet file|cannot be read as Parquet"),
        ("bad.npz", b"no zip", "is no readable .npz file"),
        ("mine.xlsx", b"PK", "a file is .csv, .tsv, .parquet"),
        ("ragged.csv", b"a,y\n1,2\n1,2,3,4\n" * 30, "cannot be read as a table: .*line 3"),
    ],
)
def test_files_that_are_not_what_they_are_called(tmp_path, name, content, match):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    refused(match, path, "y")


def test_an_npz_of_objects_runs_no_code(tmp_path):
    np.savez(tmp_path / "o.npz", x=np.array([{}, {}], dtype=object), y=np.zeros(2))
    refused("elements of type object, which are not read", tmp_path / "o.npz")
    np.savez(tmp_path / "z.npz", data=np.zeros(2))
    refused("it needs arrays x and y", tmp_path / "z.npz")


def test_data_of_the_wrong_workload():
    refused("workload cnn takes classification of image; this is classification of tabular", WAVES, Y, workload="cnn")
    refused("did you mean 'mlp'", frame(), "y", workload="mpl")


PICTURES, WAVES, Y = RNG.random((N, 8, 8)), RNG.normal(size=(N, 30)), np.arange(N) % 2
TEXTS = [f"word{i % 7} good thing" for i in range(N)]


@pytest.mark.parametrize(
    ("workload", "X", "y", "match"),
    [
        ("cnn", np.where(PICTURES < 0.1, np.nan, PICTURES), Y, "missing or not finite"),
        ("cnn", np.ones((N, 8, 8)), Y, "all images are the same"),
        ("cnn", [PICTURES[0], *np.ones((N - 1, 9, 9))], Y, "rows of several shapes"),
        ("cnn", PICTURES, RNG.normal(size=N), "takes classification of image; this is regression"),
        ("cnn", PICTURES[:10], Y[:10], "10 rows with a target are too few"),
        ("cnn", PICTURES, np.zeros(N), "has one value only"),
        ("cnn", frame(), "y", "is not read here; give a folder with a folder of images per class"),
        ("rnn", WAVES[:, 0], Y, r"a row of shape \[\] is no series"),
        ("rnn", WAVES[:, :1], Y, "of two moments or more"),
        ("rnn", np.ones((N, 30)), Y, "all numbers of the series are the same"),
        ("rnn", np.full((N, 30), np.nan), Y, "all numbers of the series are missing"),
        ("rnn", WAVES * 1e30, Y, "beyond 1e\\+15: give them in a larger unit"),
        ("rnn", [np.ones((9, 2 + i % 2)) for i in range(N)], Y, "series of 2 and 3 channels; all need the same"),
        ("rnn", [["a", 1] for _ in range(N)], Y, "has no numbers"),
        ("rnn", WAVES, np.full(N, np.nan), "has no values"),
        ("text", [1.0] * N, Y, "texts are strings; '1.0' is none"),
        ("text", [3, *TEXTS[1:]], Y, "texts are strings; '3' is none"),
        ("text", [" "] * N, Y, "all texts are empty"),
        ("text", TEXTS, [f"id{i}" for i in range(N)], "fewer than two of them 5 times"),
        ("text", TEXTS, None, "rows need their targets"),
        ("text", frame(), "y", "with columns a, b is not read here; give lines label<TAB>text, or a table"),
        ("mlp", None, Y, "NoneType is no data that can be read"),
        ("mlp", {"a": [1]}, Y, "dict is no data that can be read"),
        ("mlp", [[1, 2], [3]] * 30, Y, "rows of several shapes"),
        ("mlp", [], [], "there are no rows"),
        ("mlp", WAVES, Y[:-1], "60 rows but targets of shape"),
        ("mlp", WAVES + 1j, Y, "has no numbers"),
    ],
)
def test_rows_that_no_workload_can_use(workload, X, y, match):
    refused(match, X, y, workload=workload)


def test_a_sparse_matrix_and_a_folder_say_what_to_give(tmp_path):
    from scipy import sparse

    refused("give a dense array", sparse.csr_matrix(WAVES), Y)
    refused("is a folder; give lines label<TAB>text", tmp_path, workload="text")
    refused("is a folder; give x .n, T. or", tmp_path, workload="rnn")
    frame().to_csv(tmp_path / "a.csv", index=False)
    refused("is no folder; give a folder with a folder of images per class", tmp_path / "a.csv", "y", workload="cnn")
    np.savez(tmp_path / "d.npz", x=np.array(5), y=Y)
    refused("int is no data that can be read", tmp_path / "d.npz", workload="cnn")


# ---------------------------------------------------------------------------------------------- treated, and said
def test_missing_numbers_and_channels_of_series_are_said():
    x = np.stack([WAVES, np.full_like(WAVES, np.nan)], 2)
    x[3, :5, 0], x[4, 0, 0] = np.nan, np.inf
    found = read(x, Y, workload="rnn")
    assert said(found, "the mean replaces each").startswith(f"{6 + N * 30} numbers are missing or not finite")
    assert said(found, "left out").startswith("channel 1: all numbers are missing")
    assert found.dataset.X[4].shape == (1, 30) and np.isnan(found.dataset.X[4][0, 0])


def test_missing_texts_and_targets_are_left_out():
    found = read([None, np.nan, " ", *TEXTS[3:]], Y, workload="text")
    assert said(found, "texts are empty").startswith("3 ") and len(found.dataset.X) == N - 3
    labels = [None, "a", "b", *(["a", "b"] * 30)[: N - 3]]
    for workload, X in (("cnn", PICTURES), ("rnn", WAVES), ("text", TEXTS)):
        found = read(X, labels, workload=workload)
        assert said(found, "missing in 1 row") and len(found.dataset.X) == len(found.dataset.y) == N - 1


def test_columns_that_say_nothing_are_left_out_and_said():
    found = read(frame(const="k", gone=np.nan, row=range(N), key=[f"id{i}" for i in range(N)]), "y")
    assert list(found.dataset.X) == ["a", "b"]
    assert said(found, "constant").startswith("const:") and said(found, "all values are missing").startswith("gone:")
    assert said(found, "counts the rows").startswith("row:")
    assert said(found, "different in nearly every row").startswith("key:")


def test_the_target_itself_among_the_columns_is_left_out():
    y = RNG.normal(size=N)
    assert "copy: the target itself, left out" in read(frame(y=y, copy=y), "y").notes


def test_text_in_numbers_counts_as_missing():
    found = read(frame(c=[*map(str, range(2, N)), "unknown", "n/a?"]), "y")
    assert "c: 2 values are no numbers, such as 'unknown': they count as missing" in found.notes
    assert found.dataset.X["c"].isna().sum() == 2 and "c" not in found.dataset.categorical


def test_a_column_of_names_with_some_numbers_stays_names():
    found = read(frame(c=["red", "green", "3"] * 20), "y")
    assert found.dataset.categorical == ("c",)


def test_missing_and_infinite_targets_are_left_out():
    y = RNG.normal(size=N)
    y[:3], y[3] = np.nan, np.inf
    found = read(frame(y=y), "y")
    assert len(found.dataset.y) == N - 4 and np.isfinite(found.dataset.y).all() and len(found.dataset.X) == N - 4
    assert said(found, "missing in 3 rows") and said(found, "no finite numbers, such as 'inf'")


def test_rare_classes_and_few_rows_are_said():
    found = read(frame(y=["u"] * 30 + ["v"] * 28 + ["w"] * 2), "y")
    assert said(found, "classes of fewer than 5 rows").startswith("w:") and said(found, "60 rows with a target are few")


def test_what_a_number_is_read_as_is_said_and_may_be_told():
    y = RNG.integers(0, 40, N)
    assert read(frame(y=y), "y").dataset.kind == "regression"
    few = RNG.integers(0, 3, N)
    assert said(read(frame(y=few), "y"), "read as classification")
    assert read(frame(y=few), "y", kind="regression").dataset.kind == "regression"


def test_ten_million_rows_are_sampled_evenly_chunk_by_chunk(tmp_path, monkeypatch):
    """The same with small numbers: memory never holds more than the sample and a chunk."""
    monkeypatch.setattr(tables, "ROWS", 500)
    monkeypatch.setattr(files, "CHUNK", 1_000)
    whole = pd.DataFrame({"a": np.arange(20_000) * 2.0, "y": np.arange(20_000) % 2})
    whole.to_csv(tmp_path / "big.csv", index=False)
    whole.to_parquet(tmp_path / "big.parquet")
    held, true = [], pd.concat
    monkeypatch.setattr(pd, "concat", lambda parts, **k: (held.append(sum(map(len, parts))), true(parts, **k))[1])
    for name in ("big.csv", "big.parquet"):
        found = read(tmp_path / name, "y")
        assert found.rows == 20_000 and len(found.dataset.y) == 500
        assert said(found, "20,000 rows: an even random sample of 500")
        assert abs(found.dataset.X["a"].mean() - 20_000) < 2_500 and found.dataset.X["a"].is_monotonic_increasing
    assert max(held) <= 1_500
    assert len(read(whole, "y").dataset.y) == 500


def test_long_lists_lines_and_datasets_are_sampled_evenly_too(tmp_path, monkeypatch):
    import torch

    for module in (tables, arrays):
        monkeypatch.setattr(module, "ROWS", 40)
    monkeypatch.setattr(files, "CHUNK", 100)
    n, y = 1_000, np.arange(1_000) % 2
    words = [f"w{i:03d}" for i in range(n)]
    (tmp_path / "t.txt").write_text("\n".join(f"{i % 2}\t{w}" for i, w in enumerate(words)))
    pictures = np.arange(n)[:, None, None] + RNG.random((n, 4, 4))
    pairs = torch.utils.data.TensorDataset(torch.tensor(pictures), torch.tensor(y))
    for X, target, workload, where in (
        (words, y, "text", lambda x: int(x[1:])),
        (tmp_path / "t.txt", None, "text", lambda x: int(x[1:])),
        (pictures, y, "cnn", lambda x: x.mean()),
        (pairs, None, "cnn", lambda x: x.mean()),
        (pictures, None, "vae", lambda x: x.mean()),
    ):
        found = read(X, target, workload=workload)
        at = [where(x) for x in found.dataset.X]
        assert len(at) == 40 and at == sorted(at) and 300 < np.mean(at) < 700 and max(at) > 800
        assert said(found, "an even random sample of 40 of them is read").startswith("1,000 ")
    found = read(words, [w[::-1] for w in words], workload="seq2seq")
    assert len(found.dataset.X) == 40 and said(found, "1,000 pairs")


def test_other_delimiters_and_question_marks(tmp_path):
    path = tmp_path / "semi.csv"
    frame().assign(a=lambda f: f["a"].where(f["a"] > -1)).to_csv(path, sep=";", index=False, na_rep="?")
    found = read(path, "y")
    assert (
        list(found.dataset.X) == ["a", "b"]
        and found.dataset.X["a"].dtype.kind == "f"
        and found.dataset.X["a"].isna().any()
    )


def test_moments_in_time_are_seconds():
    found = read(frame(when=pd.date_range("2024-01-01", periods=N, freq="37h")), "y")
    assert found.moments == ("when",) and found.dataset.X["when"].dtype.kind == "f"


def test_numbers_with_units_are_the_cause_that_is_told():
    units = [f"{i * 37}.00 kg" for i in range(60)]
    refused("without units", pd.DataFrame({"a": units, "y": ["u", "v"] * 30}), "y")
    refused("without units", pd.DataFrame({"a": np.arange(60) ** 1.5, "y": units}), "y")
    refused("beyond 1e", pd.DataFrame({"a": np.full(60, 1e308), "y": ["u", "v"] * 30}), "y")


def test_broken_rows_are_told_with_their_line(tmp_path):
    path = tmp_path / "broken.csv"
    path.write_text("# made today\na,y\n1,2\n1,2,3\n")
    refused("line 4 has 3 cells, more than the 2 of the header", path, "y")
    path.write_text('a,y\n1,2\n1,2\n"1,2\n1,2\n')
    refused("a quotation mark in line 4 is never closed", path, "y")
    path.write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\xff\xfe")
    refused("is no text", path, "y")


def test_text_where_numbers_were_is_named():
    from metabench.advise.cells import Reading
    from metabench.advise.frames import Column, plain

    frame = pd.DataFrame({"age": [1.0, "old", None, "n/a"], "size": [1.0, None, 2.0, 3.0]})
    said = plain(frame, Reading(), {"age": Column("numbers"), "size": Column("numbers")}).said
    assert said == ["age: 1 values are no numbers, such as 'old': they count as missing"]
