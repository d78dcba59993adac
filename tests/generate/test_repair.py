"""Repair: what was lost is made again, and nothing else; what cannot be made again is refused before anything is touched."""

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from metabench import generate as making
from metabench.cli import main
from metabench.errors import MetabenchError
from metabench.generate import execute, processes, worker
from metabench.generate.cost import CostModel
from metabench.generate.executor import Answer
from metabench.table import load_table, manifest, verify

TASKS, CONFIGS, SEEDS = ["mlp-iris", "mlp-wine"], 4, 3
TOTAL = len(TASKS) * CONFIGS * SEEDS


def held(path):
    """How many rows the shard has that is lost."""
    return pq.ParquetFile(path / "runs/mlp-00001.parquet").metadata.num_rows


class Inline:
    """An executor of this process."""

    idle, vacant, trained = 0.0, 1, 0

    def __init__(self, n, workload, configs, device, backend, together):
        from metabench import registry

        self.workload, self.configs = registry.create("workloads", workload), configs
        self.chunks = []

    @property
    def given(self):
        return len(self.chunks)

    def give(self, chunk):
        self.chunks.append(chunk)

    def answers(self, seconds):
        chunk = self.chunks.pop()
        Inline.trained += len(chunk)
        made = worker.train(self.workload, chunk.task_id, self.configs, chunk.config_ids, chunk.seeds, "cpu", "batched")
        return [Answer(chunk, made)]

    def close(self):
        pass


@pytest.fixture(scope="module")
def genuine(tmp_path_factory):
    path = tmp_path_factory.mktemp("genuine") / "t" / "v1"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "Processes", Inline)
        patch.setattr(execute, "cost_model", lambda *a: CostModel())
        for task in TASKS:  # a shard each
            patch.setattr("metabench.table.TableWriter.compact", lambda *a, **k: None)
            making.generate(path, "mlp", [task], n_configs=CONFIGS, n_seeds=SEEDS, backend="batched", progress=False)
    return path


@pytest.fixture
def path(genuine, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "Processes", Inline)
    monkeypatch.setattr(execute, "cost_model", lambda *a: CostModel())
    monkeypatch.setattr("metabench.training.choose", lambda *a: "batched")
    Inline.trained = 0
    return shutil.copytree(genuine, tmp_path / "t" / "v1")


def scores(path):
    return load_table(path).final("mlp", TASKS)


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 8
    path.write_bytes(content)


def lose(path, kind):
    shard = path / "runs/mlp-00001.parquet"
    if kind == "a bit":
        flip(shard, shard.stat().st_size // 2)
    elif kind == "half":
        shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    elif kind == "shard":
        shard.unlink()
    elif kind == "all runs":
        shutil.rmtree(path / "runs")
    elif kind == "configs":
        (path / "configs/mlp.parquet").unlink()
    elif kind == "tasks":
        flip(path / "tasks.parquet", 100)
    elif kind == "manifest and shard":
        (path / manifest.SUMS).unlink()
        shard.write_bytes(b"")
    else:
        (path / manifest.SUMS).write_text("cut off") if kind == "cut manifest" else (path / manifest.SUMS).unlink()


@pytest.mark.parametrize(
    ("kind", "trained"),
    [
        ("manifest", 0),
        ("cut manifest", 0),
        ("a bit", None),
        ("half", None),
        ("shard", None),
        ("all runs", TOTAL),
        ("configs", 0),
        ("tasks", 0),
        ("manifest and shard", None),
    ],
)
def test_what_was_lost_is_made_again(path, genuine, kind, trained):
    trained = held(path) if trained is None else trained
    lose(path, kind)
    assert verify(path) != []
    report = making.repair(path, seeds=SEEDS, progress=False)
    assert report.problems == () and verify(path) == []
    assert (report.retrained, report.missing, report.failed, Inline.trained) == (trained, 0, 0, trained)
    assert report.manifest_restored == (kind in ("manifest", "cut manifest", "manifest and shard"))
    np.testing.assert_array_equal(scores(path), scores(genuine))
    assert [p for p in path.rglob(".*") if p.name != ".lock"] == []
    again = making.repair(path, progress=False)
    assert (again.damaged, again.retrained, again.manifest_restored) == ((), 0, False)


def test_a_promise_whose_files_are_lost_in_part_is_kept(path, genuine):
    """A kill after publishing, and the hidden file was lost with it."""
    sums = manifest.read(path)
    (path / manifest.SUMS).replace(path / manifest.NEXT)
    manifest.publish(path, {name: value for name, value in sums.items() if "00001" not in name})
    (path / "runs/mlp-00001.parquet").unlink()
    with pytest.raises(MetabenchError, match="lost in an interrupted write"):
        load_table(path)
    assert making.repair(path, progress=False).retrained == held(genuine)
    np.testing.assert_array_equal(scores(path), scores(genuine))


def test_imported_rows_cannot_be_trained_and_nothing_is_touched(path):
    from metabench.table import TableWriter, files, rows

    with TableWriter(path) as writer:
        made = files.read_tasks(path / "tasks.parquet").to_pylist()
        table = files.read_tasks(path / "tasks.parquet")
        at = table.column_names.index("source")
        import pyarrow as pa

        changed = table.set_column(at, table.schema.field(at), pa.array(["import:x"] * len(made)))
        writer._commit({"tasks.parquet": rows.encode(changed)})
    lose(path, "half")
    before = {p: p.read_bytes() for p in path.rglob("*.parquet")}
    with pytest.raises(MetabenchError, match="import them again"):
        making.repair(path, progress=False)
    assert before == {p: p.read_bytes() for p in path.rglob("*.parquet")}


def test_the_command_says_what_it_did(path, tmp_path):
    count = held(path)
    lose(path, "half")
    done = CliRunner().invoke(main, ["repair", str(path), "--workers", "1"])
    assert done.exit_code == 0 and f"1 files damaged or lost, {count} runs trained" in done.stdout
    assert CliRunner().invoke(main, ["repair", str(tmp_path / "absent/v1")]).exit_code in (1, 2)
    (tmp_path / "empty/v1").mkdir(parents=True)
    done = CliRunner().invoke(main, ["repair", str(tmp_path / "empty/v1")])
    assert done.exit_code == 1 and "no table" in done.stderr


def test_failed_runs_are_failed_each_time(tmp_path, monkeypatch):
    """Status 3 and a count, until they are tried again."""
    monkeypatch.setattr(processes, "Processes", Inline)
    monkeypatch.setattr(execute, "cost_model", lambda *a: CostModel())
    monkeypatch.setattr("metabench.training.choose", lambda *a: "batched")
    broken = {"now": True}
    real = worker.train

    def train(workload, task_id, configs, config_ids, seeds, *more):
        from metabench.table import rows

        if broken["now"]:
            return rows.failed(task_id, config_ids, seeds, "damaged input", 1, "cpu")
        return real(workload, task_id, configs, config_ids, seeds, *more)

    monkeypatch.setattr(worker, "train", train)
    args = ["generate", "--table", str(tmp_path / "t/v1"), "--tasks", "mlp-iris", "--configs", "4", "--seeds", "2"]
    for _ in range(3):
        done = CliRunner().invoke(main, args)
        assert done.exit_code == 3 and "8 failed" in done.stderr and "--retry-failed" in done.stderr
    done = CliRunner().invoke(main, [*args[:-1], "1"])  # those that are asked for
    assert done.exit_code == 3 and "4 failed" in done.stderr
    broken["now"] = False
    assert CliRunner().invoke(main, [*args, "--retry-failed"]).exit_code == 0
    assert CliRunner().invoke(main, args).exit_code == 0
