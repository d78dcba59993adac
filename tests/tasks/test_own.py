"""A person's own tables: rare classes are repeated and smoothed, wide tables keep their telling columns; tables that ship are
prepared as ever."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from metabench.advise import ranking
from metabench.advise.data import read
from metabench.advise.recommend import task_of
from metabench.pretrained.scale import RANGES
from metabench.sources.base import Dataset
from metabench.tasks import preprocess, rare, wide

RNG = np.random.default_rng(5)


def test_rows_of_rare_classes_are_repeated_to_at_most_double():
    y = np.repeat([0, 1, 2], [600, 30, 12])
    counts = rare.counts_of(y)
    assert counts[0] == 600 and counts[1] == counts[2] and counts.sum() <= 2 * len(y) and counts[1] > 300
    assert rare.counts_of(np.repeat([0, 1], [900, 100])).tolist() == [900, 900]
    x = RNG.normal(size=(642, 4)).astype(np.float32)
    made, labels = rare.evened(x, y, 0, smooth=False)
    np.testing.assert_array_equal(made[:642], x)
    assert np.bincount(labels).tolist() == counts.tolist() and {tuple(r) for r in made} == {tuple(r) for r in x}


def test_noise_falls_with_the_rows_of_the_rarest_class_and_is_on_all():
    sizes = [rare.noise(np.repeat([0, 1], [5_000, n])) for n in (5, 12, 50, 200, 1_000)]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == rare.MOST_NOISE and sizes[-1] == 0.0
    y = np.repeat([0, 1], [2_000, 20])
    made, labels = rare.evened(np.zeros((2_020, 3), np.float32), y, 0, smooth=True)
    for label in (0, 1):
        assert made[labels == label].std() == pytest.approx(rare.noise(y), rel=0.05)
    again, _ = rare.evened(np.zeros((2_020, 3), np.float32), y, 0, smooth=True)
    np.testing.assert_array_equal(made, again)


def imbalanced(n=900, few=30):
    y = np.zeros(n, int)
    y[:few] = 1
    return RNG.normal(size=(n, 4)) + y[:, None], y


def test_only_a_persons_own_tables_are_evened():
    X, y = imbalanced()
    task = task_of(read(X, y), "mlp")
    assert task.metric == "balanced_accuracy" and task.n_train == 540
    assert len(task.arrays(0).x_train) == 2 * np.bincount(task.arrays(0).y_train)[0] > 1_000
    assert any("rare classes (18 training rows of the rarest)" in note for note in task.notes)
    from metabench import tasks

    shipped = Dataset(
        "mine", "mine", "bundled", "tabular", "classification", pd.DataFrame(X, columns=list("abcd")), pd.Series(y)
    )
    assert len(tasks.from_dataset(shipped, "mlp").arrays(0).x_train) == 540
    np.testing.assert_array_equal(
        tasks.from_dataset(shipped, "mlp").arrays(0).x_valid.shape, task.arrays(0).x_valid.shape
    )


def test_the_auc_chooses_where_validation_rows_are_few():
    from metabench.registry import create

    workload = create("workloads", "mlp")
    for n, few, wanted in ((900, 30, True), (1_800, 250, False)):
        task = task_of(read(*imbalanced(n, few)), "mlp")
        assert task.metric == "balanced_accuracy"
        assert not ranking.chooses(workload, task, task.arrays(0), "cpu", "batched")
        if ranking.choose(workload, "cpu") == "resident":
            assert ranking.chooses(workload, task, task.arrays(0), "cpu", "auto") == wanted


def test_the_auc_is_that_of_others():
    y = RNG.integers(0, 2, 200)
    outputs = RNG.normal(size=(200, 2)) + np.eye(2)[y]
    assert ranking.auc(outputs, y) == pytest.approx(roc_auc_score(y, outputs[:, 1] - outputs[:, 0]))
    y = RNG.integers(0, 3, 200)
    outputs = RNG.normal(size=(200, 3)) + np.eye(3)[y]
    odds = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
    assert ranking.auc(outputs, y) == pytest.approx(roc_auc_score(y, odds, multi_class="ovr"))


def telling(rows=240, columns=400):
    x = RNG.normal(size=(rows, columns))
    return x, (x[:, 7] + x[:, 300] > 0).astype(int)


def test_a_wide_table_keeps_the_columns_that_tell():
    x, y = telling()
    choice = wide.choose(x, y)
    assert {7, 300} <= set(choice.columns) and len(choice.columns) <= 16
    assert choice.scores["components"] < max(choice.scores.values()) - 0.1
    number = wide.choose(x, x[:, 7] - 2.0 * x[:, 300])
    assert {7, 300} <= set(number.columns)
    task = task_of(read(x, y), "mlp")
    assert task.n_features <= 16 and any("that tell most of the target are kept" in note for note in task.notes)


def test_a_table_of_which_all_columns_tell_a_little_keeps_components():
    hidden = RNG.normal(size=(300, 2))
    x = hidden @ RNG.normal(size=(2, 600)) + 6.0 * RNG.normal(size=(300, 600))
    y = (hidden[:, 0] > 0).astype(int)
    choice = wide.choose(x, y)
    assert choice.scores["components"] > choice.scores["2"]


def test_the_choice_is_made_from_training_rows_alone_and_is_stored():
    x, y = telling()
    frame, train = pd.DataFrame(x), np.arange(144)
    encoder, made = preprocess.fitted(frame, (), train, y)
    other = y.copy()
    other[144:] = 1 - other[144:]
    np.testing.assert_array_equal(preprocess.fitted(frame, (), train, other)[1], made)
    again = preprocess.Encoder.from_state(*encoder.state())
    np.testing.assert_array_equal(again.transform(frame), made)
    assert preprocess.fitted(frame, (), train)[1].shape[1] > 100  # without targets: components


def test_predicted_scores_stay_in_the_metrics_range():
    import metabench as mb

    X, y = imbalanced(2_000, 12)
    configs = mb.recommend(X, y, k=3).configs
    low, high = RANGES["balanced_accuracy"]
    assert configs[["score", "score_low", "score_high"]].stack().between(low, high).all()
