"""Variants: the same rows on the same sides; fewer, wrong, rare or moved ones where the name says so."""

import numpy as np
import pandas as pd
import pytest

from metabench import tasks
from metabench.errors import UsageError
from metabench.sources.base import Dataset
from metabench.tasks import variants

N = 900


def dataset(name: str, kind: str = "classification") -> Dataset:
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.normal(size=N), "b": rng.normal(5, 3, N), "c": rng.choice(["u", "v"], N)})
    y = pd.Series(rng.choice(3, N, p=[0.5, 0.3, 0.2]) if kind == "classification" else rng.normal(size=N))
    return Dataset(name, "one", "user", "tabular", kind, X, y, ("c",))


def arrays(name: str, split: int = 0, kind: str = "classification"):
    return tasks.from_dataset(dataset(name, kind)).arrays(split)


@pytest.mark.parametrize("split", [0, 3])
def test_fractions_nest_and_leave_the_other_rows_alone(split):
    whole, half, eighth = (arrays(name, split) for name in ("one", "one__half", "one__eighth"))
    assert [len(a.x_train) for a in (whole, half, eighth)] == [540, 270, 68]
    for part in (half, eighth):
        np.testing.assert_array_equal(part.y_valid, whole.y_valid)
        np.testing.assert_array_equal(part.y_test, whole.y_test)
        # standardised by other rows: the same up to an affine map
        assert np.corrcoef(part.x_test[:, 0], whole.x_test[:, 0])[0, 1] > 0.9999
    bigger = variants.thinned("one__half", split, np.arange(N), np.zeros(N))
    assert set(variants.thinned("one__eighth", split, np.arange(N), np.zeros(N))) < set(bigger)


def test_labels_are_wrong_in_a_fifth_of_the_training_rows_alone():
    clean, noisy = arrays("one"), arrays("one__noisy")
    assert (clean.y_train != noisy.y_train).mean() == pytest.approx(variants.NOISY, abs=1e-9)
    np.testing.assert_array_equal(clean.x_train, noisy.x_train)
    np.testing.assert_array_equal(clean.y_valid, noisy.y_valid)
    np.testing.assert_array_equal(clean.y_test, noisy.y_test)
    wrong = clean.y_train != noisy.y_train
    assert set(noisy.y_train[wrong]) == {0, 1, 2}


def test_numbers_are_swapped_among_a_fifth_of_the_training_rows():
    clean, noisy = arrays("one", kind="regression"), arrays("one__noisy", kind="regression")
    assert (clean.y_train != noisy.y_train).mean() == pytest.approx(variants.NOISY, abs=1e-9)
    np.testing.assert_allclose(np.sort(clean.y_train), np.sort(noisy.y_train), atol=1e-6)
    np.testing.assert_allclose(clean.y_test, noisy.y_test, atol=1e-6)


def test_classes_fall_off_to_a_tenth_of_the_first():
    clean, rare = arrays("one"), arrays("one__imbalanced")
    counts, before = np.bincount(rare.y_train), np.bincount(clean.y_train)
    assert counts[0] == before[0]
    assert counts[1] == round(before[0] / variants.IMBALANCE**0.5)
    assert counts[2] == round(before[0] / variants.IMBALANCE)
    np.testing.assert_array_equal(clean.y_test, rare.y_test)


def test_test_inputs_alone_are_moved_by_half_a_deviation():
    clean, moved = arrays("one"), arrays("one__shifted")
    np.testing.assert_array_equal(clean.x_train, moved.x_train)
    np.testing.assert_array_equal(clean.x_valid, moved.x_valid)
    away = (moved.x_test - clean.x_test)[np.abs(clean.x_test).max(axis=1) < 4]
    np.testing.assert_allclose(np.abs(away[:, :2]), variants.SHIFT, atol=1e-5)
    np.testing.assert_array_equal(away[:, 2:], 0.0)  # names stay what they are


def test_they_are_of_the_family_and_on_the_splits_of_their_data_set():
    whole, half = tasks.get("mlp-digits"), tasks.get("mlp-digits__half")
    assert (half.family, half.source, half.split_hashes) == (whole.family, "variants", whole.split_hashes)
    assert (half.n_train, half.n_test) == (round(whole.n_train / 2), whole.n_test)


def test_they_are_asked_for_by_name():
    assert not any(map(variants.is_variant, tasks.names("mlp")))
    assert not any(map(variants.is_variant, tasks.select("mlp", "*")))
    assert tasks.select("mlp", "digits__*") == [f"mlp-digits__{v}" for v in ("eighth", "half", "quarter")]
    assert len(tasks.select("mlp", "*__eighth")) == 32
    assert len(tasks.select("mlp", "*__noisy,*__imbalanced,*__shifted")) == 36
    with pytest.raises(UsageError, match="did you mean 'mlp-digits__half'"):
        tasks.get("mlp-digits__hlf")
