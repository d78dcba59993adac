"""Splits, preprocessing and features: fixed, and blind to validation and test rows."""

import numpy as np
import pandas as pd
import pytest

from metabench import tasks
from metabench.errors import UsageError
from metabench.sources.base import Dataset
from metabench.tasks import features, metrics, preprocess, splits
from metabench.tasks.splits import TEST, TRAIN, VALID
from metabench.tasks.task import CHECKPOINTS, checkpoints


def dataset(n=400, kind="classification", seed=0, **changes) -> Dataset:
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({"a": rng.normal(size=n), "b": rng.exponential(size=n), "c": rng.choice(["x", "y", "z"], n)})
    X.loc[rng.random(n) < 0.1, "a"] = np.nan
    y = pd.Series(rng.choice(["no", "yes"], n, p=[0.7, 0.3]) if kind == "classification" else X["b"] * 2 + 1)
    return Dataset(
        **{
            "name": "made",
            "family": "made",
            "source": "test",
            "modality": "tabular",
            "kind": kind,
            "X": X,
            "y": y,
            "categorical": ("c",),
            **changes,
        }
    )


def test_splits_are_60_20_20_stratified_and_fixed():
    y = np.repeat([0, 1], [700, 300])
    part = splits.assign("d", 0, y, "classification")
    for code in (0, 1):
        share = np.bincount(part[y == code], minlength=3) / (y == code).sum()
        np.testing.assert_allclose(share, [0.6, 0.2, 0.2], atol=0.005)
    assert np.array_equal(part, splits.assign("d", 0, y, "classification"))
    assert not np.array_equal(part, splits.assign("d", 1, y, "classification"))
    assert not np.array_equal(part, splits.assign("e", 0, y, "classification"))
    assert splits.digest(part) == splits.digest(part.astype(np.int64))


def test_five_rows_of_a_class_stand_on_all_sides():
    part = splits.assign("d", 0, np.repeat([0, 1], [5, 95]), "classification")
    assert set(part[:5]) == {TRAIN, VALID, TEST}


def test_groups_stay_together():
    groups = np.repeat(np.arange(50), 8)
    part = splits.assign("d", 0, np.zeros(400), "regression", groups)
    assert all(len(set(part[groups == g])) == 1 for g in range(50))
    np.testing.assert_allclose(np.bincount(part) / 400, [0.6, 0.2, 0.2], atol=0.03)


def test_time_order_is_kept():
    part = splits.assign("d", 0, np.zeros(100), "regression", temporal=True)
    assert np.array_equal(part, np.sort(part))
    assert splits.n_splits(100, temporal=True) == 1 and splits.n_splits(100, temporal=False) == 5


def test_caps_take_a_fixed_sample():
    part = splits.assign("d", 0, np.zeros(60_000), "regression")
    train, valid, test = splits.parts("d", 0, part)
    assert (len(train), len(valid), len(test)) == (splits.TRAIN_CAP, splits.EVALUATION_CAP, splits.EVALUATION_CAP)
    assert not set(train) & set(valid) and not set(valid) & set(test)
    assert np.array_equal(train, splits.parts("d", 0, part)[0])


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_nothing_learns_from_validation_or_test_rows(kind):
    before = dataset(kind=kind)
    part = splits.assign(
        "made", 0, before.y.to_numpy() if kind == "regression" else (before.y == "yes").to_numpy(), kind
    )
    X, y = before.X.copy(), before.y.copy()
    held = part != TRAIN
    X.loc[held, "a"] = 1e6
    X.loc[held, "c"] = "never seen"
    if kind == "regression":
        y[held] = y[held] * 1000
    one, two = tasks.from_dataset(before), tasks.from_dataset(dataset(kind=kind, X=X, y=y))
    a, b = one.arrays(0), two.arrays(0)
    np.testing.assert_array_equal(a.x_train, b.x_train)
    np.testing.assert_array_equal(a.y_train, b.y_train)
    assert one.features == pytest.approx(two.features, nan_ok=True)


def test_numbers_and_names():
    X = pd.DataFrame({"n": [1.0, 2.0, 3.0, np.nan, 100.0], "k": ["a", "a", "a", "b", "c"], "same": [1.0] * 5})
    train = np.arange(4)
    out = preprocess.inputs(X, ("k",), train)
    known = np.array([1, 2, 3, 2.0])  # the gap takes the median
    np.testing.assert_allclose(out[:4, 0], (known - 2) / known.std(), rtol=1e-6)
    assert out[4, 0] == preprocess.CLIP
    gap = np.array([0, 0, 0, 1.0])
    np.testing.assert_allclose(out[:4, 1], (gap - 0.25) / gap.std(), rtol=1e-6)
    np.testing.assert_array_equal(out[:, 2:], [[1, 0], [1, 0], [1, 0], [0, 1], [0, 1]])  # a, other; "same" is gone


def test_many_columns_become_principal_components():
    x = np.random.default_rng(0).normal(size=(120, 400))
    out = preprocess.inputs(pd.DataFrame(x), (), np.arange(80))
    assert out.shape[1] <= 80 and np.isfinite(out).all()
    assert np.abs(np.corrcoef(out[:80].T) - np.eye(out.shape[1])).max() < 0.2


def test_features_have_known_values():
    task = tasks.from_dataset(dataset())
    assert tuple(task.features) == features.FEATURES
    share = np.array([0.7, 0.3])
    y = task.arrays(0).y_train
    share = np.bincount(y) / len(y)
    assert task.features["class_entropy"] == pytest.approx(-(share * np.log(share)).sum() / np.log(2))
    assert task.features["log_classes"] == pytest.approx(np.log(2))
    assert task.features["share_categorical"] == pytest.approx(1 / 3)
    assert task.features["log_rows"] == pytest.approx(np.log(task.n_train))
    assert np.isnan(task.features["target_skew"])
    linear = tasks.from_dataset(dataset(kind="regression"))
    assert linear.features["landmark_linear"] > 0.9 and np.isnan(linear.features["class_entropy"])


def test_metric_and_chance():
    assert metrics.choose_metric("classification", np.repeat([0, 1], [50, 10])) == "accuracy"
    assert metrics.choose_metric("classification", np.repeat([0, 1], [51, 10])) == "balanced_accuracy"
    assert metrics.choose_metric("regression", np.arange(5.0)) == "r2"
    train, test = np.array([0, 0, 1]), np.array([0, 1, 1, 1])
    assert metrics.chance("accuracy", train, test) == 0.25
    assert metrics.chance("balanced_accuracy", train, test) == 0.5
    assert metrics.chance("r2", np.array([1.0, 3.0]), np.array([1.0, 3.0])) == 0.0


def test_seeds_pick_one_of_five_splits():
    task = tasks.get("mlp-iris")
    assert task.n_splits == 5 and len(set(task.split_hashes)) == 5
    np.testing.assert_array_equal(task.arrays(1).x_train, task.arrays(6).x_train)
    assert not np.array_equal(task.arrays(0).x_train, task.arrays(1).x_train)


@pytest.mark.parametrize(("rows", "last"), [(90, 50), (4_096, 50), (4_097, 26), (8_192, 26), (8_193, 18), (16_384, 18)])
def test_tasks_with_many_rows_have_fewer_epochs(rows, last):
    epochs = checkpoints(rows)
    assert epochs[-1] == last and epochs == CHECKPOINTS[: len(epochs)]


def test_the_cache_gives_back_what_was_prepared(tmp_path, monkeypatch):
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path))
    tasks.get.cache_clear()
    fresh = tasks.get("mlp-wine")
    tasks.get.cache_clear()
    cached = tasks.get("mlp-wine")
    tasks.get.cache_clear()
    assert cached.features == pytest.approx(fresh.features, nan_ok=True) and cached == cached
    np.testing.assert_array_equal(cached.arrays(3).x_test, fresh.arrays(3).x_test)
    assert next(iter((tmp_path / "tasks").iterdir())).name.startswith("wine-")


def test_families_of_twins_agree():
    assert tasks.get("mlp-digits").family == "optdigits"
    assert tasks.get("mlp-breast_cancer").family == "wdbc"


def test_bad_requests():
    with pytest.raises(UsageError, match="did you mean 'mlp-iris'"):
        tasks.get("mlp-iriss")
    with pytest.raises(UsageError, match="mlp-nothing"):
        tasks.select("mlp", "nothing*")


def test_only_a_near_task_is_suggested():
    from metabench.tasks import _unknown

    assert "did you mean" not in str(_unknown("mlp-wine", ["mlp-cnae9", "mlp-digits"]))
    assert "did you mean 'mlp-digits'" in str(_unknown("mlp-digit", ["mlp-cnae9", "mlp-digits"]))
