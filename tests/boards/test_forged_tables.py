"""A board's digest is checked against the bytes that scores are read from, wherever the table was found."""

import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import First, read_here, signed
from table_samples import write_table

from metabench import load_table
from metabench.boards.board import load_board
from metabench.boards.submissions import draft
from metabench.errors import MetabenchError
from metabench.evaluation import evaluate
from metabench.table import manifest
from metabench.workflows import publishing, submit

RULES = """
name = "small"
version = 1
dataset = "small"
dataset_version = 1
digest = "{digest}"
workload = "mlp"
budget = 3
seeds = 1
starts = ["own"]
[split]
train = ["iris"]
valid = []
test = ["wine", "digits"]
"""


class Mine(First):
    """The first untried candidate."""

    name = "mine"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a table, a board on it, and a submission to that."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("METABENCH_DATASETS", raising=False)
    monkeypatch.setattr("metabench.boards.submissions.columns.parquet", read_here)
    write_table(tmp_path / "datasets/small/v1", datasets=("iris", "wine", "digits"), n_configs=8)
    table = load_table("small")
    place = tmp_path / "leaderboards/small/v1"
    place.mkdir(parents=True)
    (place / "board.toml").write_text(RULES.format(digest=table.digest_of(["mlp"])))
    board = load_board("./leaderboards/small")
    signed(draft(tmp_path / "mine", evaluate(Mine, board, table), Mine(), board, table))
    return tmp_path


def alter_rows(folder):
    (path, *_) = sorted((folder / "runs").glob("*.parquet"))
    rows = pq.read_table(path)
    column = rows.schema.get_field_index("valid_score")
    better = [[x + 0.125 for x in curve] for curve in rows["valid_score"].to_pylist()]
    field = rows.schema.field(column)
    pq.write_table(rows.set_column(column, field, pa.array(better, field.type)), path)


def alter_byte(folder):
    (path, *_) = sorted((folder / "runs").glob("*.parquet"))
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


def alter_configs(folder):
    path = folder / "configs/mlp.parquet"
    rows = pq.read_table(path)
    depth = rows.schema.get_field_index("depth")
    pq.write_table(
        rows.set_column(depth, rows.schema.field(depth), rows["depth"].take(list(range(len(rows)))[::-1])), path
    )


def alter_tasks(folder):
    path = folder / "tasks.parquet"
    rows = pq.read_table(path)
    at = rows.schema.get_field_index("direction")
    turned = pa.array(["min"] * len(rows), rows.schema.field(at).type)
    pq.write_table(rows.set_column(at, rows.schema.field(at), turned), path)


def seal(folder):
    """A manifest that fits what is there now."""
    listed = manifest.read(folder)
    lines = "".join(f"{manifest.sha256(folder / name)}  {name}\n" for name in sorted(listed))
    (folder / manifest.SUMS).write_text(lines)


KINDS = [alter_rows, alter_byte, alter_configs, alter_tasks]


@pytest.mark.parametrize("sealed", [False, True], ids=["genuine manifest", "fitting manifest"])
@pytest.mark.parametrize("alter", KINDS)
@pytest.mark.parametrize("where", ["in place", "METABENCH_DATASETS"])
def test_altered_tables_score_nothing(here, monkeypatch, alter, sealed, where):
    folder = here / "datasets/small/v1"
    submit(here / "mine", "./leaderboards/small", keep=True)
    if where != "in place":
        shutil.copytree(here / "datasets", here / "theirs")
        monkeypatch.setenv("METABENCH_DATASETS", str(here / "theirs"))
        folder = here / "theirs/small/v1"
    alter(folder)
    if sealed:
        seal(folder)
    for act in (
        lambda: submit(here / "mine", "./leaderboards/small", keep=False),
        lambda: submit(here / "mine", "./leaderboards/small", keep=True),
        lambda: publishing.publish("./leaderboards/small"),
        lambda: publishing.stale("./leaderboards/small"),
    ):
        with pytest.raises(MetabenchError) as caught:
            act()
        line = str(caught.value)
        assert line.isprintable() and len(line) < 1000
        assert ("is frozen on" if sealed else "is not the file that SHA256SUMS lists") in line or "is frozen on" in line
    assert not (here / "leaderboards/small/v1/scores.parquet").exists()


def test_a_table_from_elsewhere_is_named(here, monkeypatch):
    done = submit(here / "mine", "./leaderboards/small", keep=False)
    assert done.table == "datasets/small/v1" and done.board == "leaderboards/small/v1"
    shutil.copytree(here / "datasets", here / "copy")
    monkeypatch.setenv("METABENCH_DATASETS", str(here / "copy"))
    monkeypatch.setenv("METABENCH_LEADERBOARDS", str(here / "leaderboards"))
    done = submit(here / "mine", keep=False)
    assert done.table == f"{here / 'copy/small/v1'} (METABENCH_DATASETS)"
    assert done.board == f"{here / 'leaderboards/small/v1'} (METABENCH_LEADERBOARDS)"
