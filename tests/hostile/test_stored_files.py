"""Flipped bits, cuts and swaps in everything that is stored: tables, prepared tasks, kernels, kept networks."""

import io
import json
import shutil
import warnings

import numpy as np
from damage import damaged
from table_samples import write_table

import metabench as mb
from metabench import registry, tasks
from metabench.advise import saved
from metabench.errors import MetabenchError
from metabench.table import load_table
from metabench.tasks import prepared
from metabench.training.resident import store


def test_a_table_that_is_read_without_verify(tmp_path, tally, effort):
    """Nothing that differs is ever read: an error, or the same values."""
    path, rng = write_table(tmp_path / "t/v1", datasets=("iris", "wine")), np.random.default_rng(1)
    names = ("tasks.parquet", "configs/mlp.parquet", "runs/mlp.parquet", "SHA256SUMS")

    def read():
        table = load_table(path)
        return table.tasks.to_json(), table.configs("mlp").to_json(), table.runs("mlp").to_pylist()

    genuine = read()
    for i in range(effort(200)):
        name = path / names[i % len(names)]
        content = name.read_bytes()
        name.write_bytes(damaged(content, rng))
        tally.attempt(f"{name.name} #{i}", read, lambda found: found == genuine)
        name.write_bytes(content)


def test_a_prepared_task(tmp_path, tally, effort, monkeypatch):
    """What is damaged is prepared anew: the arrays are the same."""
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path))
    tasks.get.cache_clear()
    genuine, rng = tasks.get("mlp-iris").arrays(0), np.random.default_rng(2)
    folder = next((tmp_path / "tasks").iterdir())
    same = ("x_train", "y_train", "x_valid", "y_valid", "x_test", "y_test")

    def train_on():
        tasks.get.cache_clear()
        return tasks.get("mlp-iris").arrays(0)

    for i in range(effort(60)):
        name = folder / ("0.npz" if i % 2 else prepared.FACTS)
        name.write_bytes(damaged(name.read_bytes(), rng))
        what = f"{name.name} #{i}"
        tally.attempt(what, train_on, lambda a: all(np.array_equal(getattr(a, n), getattr(genuine, n)) for n in same))
    tasks.get.cache_clear()


def test_a_compiled_kernel(tmp_path, tally, effort, monkeypatch):
    """One that is not what its name says is never offered for loading."""
    monkeypatch.setattr(store, "_own_cache", lambda: tmp_path / "own")
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))
    content, rng = np.random.default_rng(0).bytes(50_000), np.random.default_rng(3)
    folder = store.safe_folder()
    for i in range(effort(200)):
        path = store.keep(folder, "mlp-0123", lambda made: made.write_bytes(content))
        assert store.stored(folder, "mlp-0123") == path
        changed = damaged(content, rng)
        path.write_bytes(changed)
        tally.verdict(f"kernel #{i}", changed == content or store.stored(folder, "mlp-0123") is None)
        how = i % 4
        path = store.keep(folder, "mlp-0123", lambda made: made.write_bytes(content))
        if how == 0:
            path.chmod(0o777)
        elif how == 1:
            shutil.move(path, tmp_path / "elsewhere.so")
            path.symlink_to(tmp_path / "elsewhere.so")
        elif how == 2:
            path.unlink()
            path.mkdir()
        else:
            shutil.move(path, folder / f"mlp-0123-{'0' * 64}.so")
        try:
            found = store.stored(folder, "mlp-0123")
        except MetabenchError:
            found = None
        tally.verdict(f"kernel #{i}, way {how}", found is None)
        shutil.rmtree(folder)
        folder = store.safe_folder()


def test_a_kept_network(tmp_path, tally, effort):
    """Damaged weights and descriptions are not opened, with or without digests that fit."""
    workload, rng = registry.create("workloads", "mlp"), np.random.default_rng(4)
    folder = tmp_path / "model"
    saved.write(folder, tasks.get("mlp-iris"), None, workload.space.default() | {"width": 16, "depth": 1}, 0)
    genuine = mb.load_model(folder)
    weights = {name: value.numpy().copy() for name, value in genuine.net.state_dict().items()}

    def same(net) -> bool:
        state = net.net.state_dict()
        return net.description == genuine.description and all(np.array_equal(state[n], w) for n, w in weights.items())

    for i in range(effort(200)):
        name = folder / ("model.json" if i % 2 else "model.safetensors")
        content = name.read_bytes()
        name.write_bytes(damaged(content, rng))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tally.attempt(f"{name.name} #{i}", lambda: mb.load_model(folder), same)
        name.write_bytes(content)


def test_a_fitted_meta_model(tmp_path, tally, effort):
    from metabench.pretrained.record import SHIPPED, Record

    folder, rng = shutil.copytree(SHIPPED / "cnn-v1", tmp_path / "fitted"), np.random.default_rng(5)
    (folder / "record.json").write_text(Record.read(folder).to_json())
    genuine = mb.load_metamodel(folder).record
    names = ("record.json", "metamodel.json", "state.safetensors", "tasks.json")
    from metabench.pretrained import load

    for i in range(effort(80)):
        name = folder / names[i % 4]
        content = name.read_bytes()
        changed = damaged(content, rng)
        name.write_bytes(changed)
        load._opened.cache_clear()
        still = name.name == "record.json" and _parsed(changed) == _parsed(content)
        tally.attempt(
            f"{name.name} #{i}", lambda: mb.load_metamodel(folder), lambda m, s=still: s and m.record == genuine
        )
        name.write_bytes(content)
    load._opened.cache_clear()


def _parsed(content: bytes):
    try:
        return json.load(io.BytesIO(content))
    except ValueError:
        return content
