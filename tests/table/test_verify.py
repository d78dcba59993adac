"""Verification names the file, whatever is wrong with it."""

import hashlib
import re
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_samples import SPACE, runs_of, task, write_table

from metabench.errors import MetabenchError
from metabench.table import TableWriter, card, manifest, rows, verify


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    metrics = {"wine": "r2"}
    return write_table(tmp_path_factory.mktemp("tables") / "t", datasets=("wine", "iris"), n_configs=4, metrics=metrics)


@pytest.fixture
def path(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "t")


def test_a_sound_table_has_no_problems(sound):
    assert verify(sound) == []


@pytest.fixture(scope="module")
def with_card(sound, tmp_path_factory):
    path = shutil.copytree(sound, tmp_path_factory.mktemp("cards") / "t")
    (path / "NOTES.md").write_text("Made up.\n")
    card.write(path, {"train": ["iris"], "valid": [], "test": ["wine"]})
    assert verify(path) == []
    return path


FILES = [
    "tasks.parquet",
    "configs/mlp.parquet",
    "runs/mlp.parquet",
    "SHA256SUMS",
    "README.md",
    "DATASHEET.md",
    "NOTES.md",
    "croissant.json",
    "splits.csv",
    "difficulty-mlp.svg",
    "similarity-mlp.svg",
    "SHA256SUMS.card",
]


def test_those_are_all_files(with_card):
    assert sorted(FILES) == sorted(
        p.relative_to(with_card).as_posix() for p in with_card.rglob("*") if p.is_file() and p.name != ".lock"
    )


@given(name=st.sampled_from(FILES), at=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_any_flipped_byte_of_any_file_is_found_and_named(with_card, name, at, mask):
    content = (with_card / name).read_bytes()
    flipped = bytearray(content)
    flipped[int(at * len(content))] ^= mask
    try:
        (with_card / name).write_bytes(flipped)
        problems = verify(with_card)
    finally:
        (with_card / name).write_bytes(content)
    assert problems and all("\n" not in line for line in problems)
    blamed = re.compile(rf"{re.escape(str(with_card / name))}(:|,| is| cannot)")
    assert any(blamed.match(line) for line in problems), problems


def test_a_change_of_several_bytes_is_found_without_a_card(sound, path):
    for name in ("tasks.parquet", "configs/mlp.parquet", "runs/mlp.parquet"):
        content = (path / name).read_bytes()
        (path / name).write_bytes(content[:99] + b"abc" + content[102:])
        assert verify(path) == [f"{path / name}: its sha256 is not the one in SHA256SUMS"]
        (path / name).write_bytes(content)


def test_any_flipped_byte_of_the_manifest_is_found(sound, path):
    content = (sound / "SHA256SUMS").read_bytes()
    for at in range(0, len(content), 7):
        flipped = bytearray(content)
        flipped[at] ^= 1
        (path / "SHA256SUMS").write_bytes(flipped)
        problems = verify(path)
        assert problems
        assert all(str(path) in line and "\n" not in line for line in problems)


def test_a_family_on_two_sides_of_the_split(with_card, tmp_path):
    path = shutil.copytree(with_card, tmp_path / "t")
    tasks = pq.read_table(path / "tasks.parquet")
    at = tasks.column_names.index("family")
    resealed(path, "tasks.parquet", tasks.set_column(at, "family", pa.array(["flowers", "flowers"])))
    split = (path / "splits.csv").read_text().replace(",iris,", ",flowers,").replace(",wine,", ",flowers,")
    (path / "splits.csv").write_text(split)
    (path / "SHA256SUMS.card").unlink()
    assert verify(path) == [f"{path}/splits.csv: family flowers stands in meta_train and in meta_test"]
    with pytest.raises(MetabenchError, match="family flowers stands in meta_train and in meta_test"):
        card.write(path)
    resealed(path, "tasks.parquet", tasks.set_column(at, "family", pa.array(["flowers", "flowers+wine"])))
    (path / "splits.csv").write_text(split.replace("wine,flowers", "wine,flowers+wine"))
    shared = "families flowers and flowers+wine share rows and stand in meta_train and in meta_test"
    assert verify(path) == [f"{path}/splits.csv: {shared}"]
    (path / "splits.csv").write_text("task_id,family,split\nmlp-iris,flowers,meta_train\nmlp-moon,moon,none\n")
    assert verify(path) == [
        f"{path}/splits.csv lacks task mlp-wine",
        f"{path}/splits.csv: task mlp-moon is not in tasks.parquet",
    ]
    (path / "splits.csv").write_text("task_id,family,split\nmlp-iris,flowers,train\n")
    (problem,) = verify(path)
    assert problem.startswith(f"{path}/splits.csv, line 2: expected a task, once, its family and one of meta_train")


def test_missing_and_foreign_files_are_named(path):
    shutil.copy(path / "runs/mlp.parquet", path / "runs/mlp-00007.parquet")
    (path / "tasks.parquet").unlink()
    problems = verify(path)
    assert problems == [
        f"{path}/tasks.parquet is missing",
        f"{path}/runs/mlp-00007.parquet is not listed in SHA256SUMS",
    ]
    assert verify(path.parent) == [f"{path.parent} is no table: it has no SHA256SUMS"]


EXTRA = [
    "payload.exe",
    "index.html",
    "runs/notes.txt",
    "configs/mlp.json",
    ".hidden",
    "difficulty-mlp2.svg",
    "runs/a\x1b[2Jb",
]


@pytest.mark.parametrize("name", EXTRA)
def test_whatever_else_lies_in_a_sealed_table_is_named(with_card, tmp_path, name):
    """It travels with what was checked: a page or picture with a script, a program, a file under a hidden name."""
    path = shutil.copytree(with_card, tmp_path / "t")
    for known in (".lock", ".gitignore", ".DS_Store", ".nfs0001", "LICENSE"):
        (path / known).touch()
    assert verify(path) == []
    (path / name).write_text("<script>")
    (problem,) = verify(path)
    assert problem == f"{path}/{name.replace(chr(27), chr(92) + 'x1b')} is not listed in SHA256SUMS"
    (path / name).unlink()
    for make in (lambda p: p.mkdir(), lambda p: p.symlink_to("/etc"), lambda p: p.symlink_to(tmp_path / "nowhere")):
        make(path / name)
        assert len(verify(path)) == 1
        (path / name).unlink() if (path / name).is_symlink() else (path / name).rmdir()


def resealed(path, name, table):
    """Store an altered table under its name, with the hash that it now has."""
    pq.write_table(table, path / name)
    sums = manifest.read(path) | {name: hashlib.sha256((path / name).read_bytes()).hexdigest()}
    (path / "SHA256SUMS").write_text("".join(f"{v}  {k}\n" for k, v in sorted(sums.items())))


def altered(path, column, change):
    """Alter one column of the runs, as a list of values."""
    table = pq.read_table(path / "runs/mlp.parquet")
    values = table[column].to_pylist()
    change(values)
    at = table.column_names.index(column)
    new = pa.array(values, table.schema.field(at).type)
    resealed(path, "runs/mlp.parquet", table.set_column(at, table.schema.field(at), new))


def put(index, value):
    def change(values):
        values[index] = value

    return change


@pytest.mark.parametrize(
    ("column", "change", "said"),
    [
        (
            "config_id",
            put(0, 3),
            "1 rows have a run_id of another run; the first: task mlp-iris, configuration 3, seed 0",
        ),
        ("task_id", put(0, "mlp-moons"), "name a task that is not in tasks.parquet"),
        ("config_id", put(5, 4), "name a configuration that does not exist"),
        ("seed", put(5, -1), "have a negative seed"),
        ("status", put(0, "fine"), "have an unknown status"),
        ("status", put(0, "failed"), "failed without a reason"),
        ("error", put(0, "boom"), "carry an error though they did not fail"),
        ("run_id", put(0, None), "have no run_id"),
        ("valid_score", lambda v: v[0].__setitem__(0, 1.25), "have a valid_score outside [0, 1]"),
        ("test_score", lambda v: v[0].__setitem__(9, -0.5), "have a test_score outside [0, 1]"),
        ("test_score", lambda v: v[10].__setitem__(9, 1.5), "have a test_score above 1"),
        ("test_score", lambda v: v[0].__setitem__(9, 0.501), "have a test_score that is no count of the task's rows"),
        ("valid_loss", lambda v: v[0].__setitem__(3, float("nan")), "have a valid_loss that is not finite"),
        ("train_loss", lambda v: v[0].__setitem__(3, -0.1), "have a negative train_loss"),
        ("train_loss", lambda v: v[0].pop(), "have series of different lengths"),
        ("epochs", lambda v: v[0].__setitem__(4, 5), "have epochs that do not ascend from 1"),
        ("epochs", lambda v: v[0].__setitem__(0, 0), "have epochs that do not ascend from 1"),
        ("seconds", put(0, float("nan")), "have seconds that are no time"),
        ("params", put(0, 0), "are ok without parameters or FLOPs"),
        ("final_valid_score", put(0, 0.25), "have a final score that is not the last of a finished curve"),
        ("final_test_score", put(10, None), "have a final score that is not the last of a finished curve"),
    ],
)
def test_rows_that_cannot_be_true(path, column, change, said):
    status = pq.read_table(path / "runs/mlp.parquet")["status"].to_pylist()
    assert (status[0], status[10]) == ("ok", "ok")
    altered(path, column, change)
    problems = verify(path)
    assert any(line.startswith(f"{path}/runs/mlp.parquet: ") and said in line for line in problems), problems


def test_a_density_has_losses_below_0(path):
    """Row 10 is of a regression; by a metric in nats its loss is no squared error."""
    altered(path, "valid_loss", lambda v: v[10].__setitem__(3, -0.1))
    assert ["have a negative valid_loss" in line for line in verify(path)] == [True]
    tasks = pq.read_table(path / "tasks.parquet")
    at = tasks.column_names.index("metric")
    metrics = ["nats" if m == "r2" else m for m in tasks["metric"].to_pylist()]
    resealed(
        path, "tasks.parquet", tasks.set_column(at, tasks.schema.field(at), pa.array(metrics, tasks["metric"].type))
    )
    assert verify(path) == []


def test_a_truncated_run_is_not_complete(path):
    for column in ("epochs", "train_loss", "valid_loss", "test_loss", "valid_score", "test_score"):
        altered(path, column, lambda values: values[0].pop())
    assert [line for line in verify(path) if "1 rows are ok but stop before the last checkpoint" in line]


def test_a_run_stored_twice(path):
    table = pq.read_table(path / "runs/mlp.parquet")
    resealed(path, "runs/mlp-00003.parquet", table.slice(2, 2))
    assert verify(path) == [f"{path}/runs/mlp-00003.parquet: 2 runs of mlp are stored twice"]


def test_configurations_outside_their_space(path):
    table = pq.read_table(path / "configs/mlp.parquet")
    at = table.column_names.index("learning_rate")
    resealed(path, "configs/mlp.parquet", table.set_column(at, "learning_rate", pa.array([1e-3, 7.0, 1e-3, 1e-3])))
    (problem,) = verify(path)
    assert problem.startswith(
        f"{path}/configs/mlp.parquet: configuration 1: hyperparameter learning_rate: 7.0 lies outside"
    )


def test_an_inactive_value_that_is_set(path):
    table = pq.read_table(path / "configs/mlp.parquet")
    sgd = table["optimizer"].to_pylist().index("sgd")
    values = table["beta"].to_pylist()
    values[sgd] = 0.9
    resealed(path, "configs/mlp.parquet", table.set_column(table.column_names.index("beta"), "beta", pa.array(values)))
    assert verify(path) == [f"{path}/configs/mlp.parquet: configuration {sgd} sets beta, which is inactive there"]


def test_tasks_that_contradict_themselves(path):
    table = pq.read_table(path / "tasks.parquet")
    values = table["n_splits"].to_pylist()
    resealed(
        path,
        "tasks.parquet",
        table.set_column(table.column_names.index("n_splits"), "n_splits", pa.array([5, *values[1:]], pa.int16())),
    )
    assert verify(path) == [f"{path}/tasks.parquet: task mlp-iris has 1 split hashes, not 5"]


def test_failed_rows_are_sound(tmp_path):
    with TableWriter(tmp_path) as writer:
        writer.put_tasks([task()])
        writer.put_configs("mlp", SPACE, 2)
        writer.append("mlp", runs_of("mlp-iris", [0], [0]))
        writer.append("mlp", rows.failed("mlp-iris", [1], [0], "out of memory", 1, "cpu"))
    assert verify(tmp_path) == []
