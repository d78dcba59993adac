"""Episodes: classes apart, whole groups of them; what they are judged on is fixed; data that are too few are named."""

import numpy as np
import pandas as pd
import pytest

from metabench import tasks
from metabench.errors import UsageError
from metabench.sources.base import Dataset
from metabench.tasks import splits
from metabench.tasks.episodes import QUERIES, fixed, usable
from metabench.tasks.splits import TEST, TRAIN, VALID


def dataset(classes=20, rows=12, **changes) -> Dataset:
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(classes * rows, 6)))
    y = pd.Series(np.repeat([f"c{i:02d}" for i in range(classes)], rows))
    return Dataset(
        **{
            "name": "made",
            "family": "made",
            "source": "test",
            "modality": "tabular",
            "kind": "episodes",
            "X": X,
            "y": y,
            "ways": 3,
            "shots": 2,
            **changes,
        }
    )


def test_classes_are_parted_60_20_20():
    y = np.repeat(np.arange(10), 7)
    part = splits.by_class("d", 0, y)
    assert all(len(set(part[y == c])) == 1 for c in range(10))
    assert [len(set(y[part == p])) for p in (TRAIN, VALID, TEST)] == [6, 2, 2]
    assert not np.array_equal(part, splits.by_class("d", 1, y))


def test_no_class_is_trained_on_and_judged_and_groups_stay_together():
    task = tasks.from_dataset(dataset(), "fewshot")
    assert (task.n_classes, task.shots, task.n_splits, task.metric) == (3, 2, 5, "accuracy")
    assert task.chance == pytest.approx(1 / 3) and task.features["log_classes"] == pytest.approx(np.log(3))
    for seed in range(5):
        arrays = task.arrays(seed)
        seen = [set(y.tolist()) for y in (arrays.y_train, arrays.y_valid, arrays.y_test)]
        assert [len(s) for s in seen] == [12, 4, 4] and not set.intersection(seen[0], seen[1] | seen[2])
    alphabets = np.repeat(np.arange(5), 4 * 12)
    grouped = tasks.from_dataset(dataset(groups=alphabets), "fewshot").arrays(0)
    for y in (grouped.y_train, grouped.y_valid, grouped.y_test):
        assert np.bincount(y // 4, minlength=5).tolist() in ([[48 * (i in set(y // 4)) for i in range(5)]])


def test_judged_episodes_are_fixed_and_show_each_row_once():
    y = np.random.default_rng(1).permutation(np.repeat(np.arange(6), 9))
    drawn = fixed(y, 4, 3, 50)
    assert drawn.shape == (50, 4, 3 + QUERIES) and np.array_equal(drawn, fixed(y, 4, 3, 50))
    for episode in drawn:
        assert len(np.unique(episode)) == episode.size
        assert (y[episode] == y[episode[:, :1]]).all() and len(set(y[episode[:, 0]])) == 4
    assert len({tuple(np.sort(y[e[:, 0]])) for e in drawn}) > 5


def test_a_class_of_too_few_rows_is_in_no_episode():
    y = np.array([0] * 5 + [1] * 6 + [2] * 9)
    assert [len(rows) for rows in usable(y, 1)] == [6, 9]


def test_too_few_classes_are_named():
    with pytest.raises(UsageError, match=r"'made': 2 valid classes have 7 rows; 3 are needed"):
        tasks.from_dataset(dataset(classes=10), "fewshot")
