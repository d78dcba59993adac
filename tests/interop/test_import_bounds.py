"""What an import may hold, and that it is all or nothing: seeds, the split, files that never end."""

import os

import numpy as np
import pytest
from table_samples import SPACE

from metabench.errors import MetabenchError
from metabench.interop.formats.base import SEEDS, Rows, TaskFacts, read_bytes, repeats, store
from metabench.table import card, load_table, manifest, verify


def rows(n_tasks=3, n_configs=4, seeds=(0, 1), parts=("meta_train", "meta_valid", "meta_test")):
    task, config, seed = (a.ravel() for a in np.meshgrid(range(n_tasks), range(n_configs), seeds, indexing="ij"))
    scores = np.random.default_rng(0).uniform(size=(len(task), 1))
    return Rows(
        "theirs",
        SPACE,
        SPACE.sample(n_configs, seed=0),
        [TaskFacts(f"d{i}", "auc") for i in range(n_tasks)],
        task,
        config,
        seed,
        (1,),
        {"valid_score": scores},
        parts=parts,
    )


@pytest.mark.parametrize("count", [SEEDS + 1, SEEDS + 2, 70_000])
def test_repeats_that_no_row_can_count_are_refused(tmp_path, count):
    """They would be stored as negative seeds."""
    task, config = np.zeros(count, int), np.zeros(count, int)
    made = rows(1, 1, (0,), ())
    from dataclasses import replace

    scores = {"valid_score": np.full((count, 1), 0.5)}
    many = replace(made, task=task, config=config, seed=repeats(task, config), series=scores)
    if count == SEEDS + 1:
        store([many], tmp_path / "t/v1", "test")
        assert load_table(tmp_path / "t/v1").n_seeds("theirs") == SEEDS + 1
        return
    with pytest.raises(MetabenchError, match=r"task d0, configuration 0 has seed \d+; at most 32,767"):
        store([many], tmp_path / "t/v1", "test")
    assert not manifest.read(tmp_path / "t/v1")


def test_the_split_is_part_of_the_table(tmp_path):
    path = tmp_path / "t/v1"
    store([rows()], path, "test")
    assert "splits.csv" in manifest.read(path) and verify(path) == []
    content = (path / "splits.csv").read_text()
    (path / "splits.csv").write_text(content.replace("meta_valid", "meta_train"))
    with pytest.raises(MetabenchError, match="not the file"):
        _ = load_table(path).split
    assert any("splits.csv" in line for line in verify(path))


def test_a_card_may_store_another_split(tmp_path):
    path = tmp_path / "t/v1"
    store([rows(n_configs=64)], path, "test")
    card.write(path, {"train": ["d0"], "valid": ["d1"], "test": []})
    assert load_table(path).split == {"train": ("d0",), "valid": ("d1",), "test": ()}
    assert verify(path) == [] and card.check(path) == []


def test_an_import_that_fails_can_be_repeated(tmp_path, monkeypatch):
    """Whatever ends it before the manifest is published leaves nothing that stands in the way."""
    path = tmp_path / "t/v1"
    genuine = manifest._finish
    monkeypatch.setattr(manifest, "commit", lambda *a, **k: (_ for _ in ()).throw(MetabenchError("ended")))
    with pytest.raises(MetabenchError, match="ended"):
        store([rows()], path, "test")
    monkeypatch.undo()
    assert genuine is manifest._finish and not (path / "splits.csv").exists()
    store([rows()], path, "test")
    assert verify(path) == []


def test_a_task_that_stands_there_twice_is_found_among_many(tmp_path):
    made = rows(1, 2, (0,), ())
    from dataclasses import replace

    many = replace(made, tasks=[TaskFacts(f"d{i}", "auc") for i in (*range(20_000), 7)])
    with pytest.raises(MetabenchError, match="task theirs-d7 is listed twice"):
        store([many], tmp_path / "t/v1", "test")


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz"])
def test_what_never_ends_is_refused(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(MetabenchError, match="regular file"):
        read_bytes(tmp_path / name)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(MetabenchError, match="regular file"):
        read_bytes(tmp_path / name)
