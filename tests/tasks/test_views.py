"""What workloads see of images, sounds, series and texts: shapes, fits on training rows alone, no moment seen twice."""

import numpy as np
import pandas as pd
import pytest

from metabench.sources.base import Dataset
from metabench.tasks import views
from metabench.tasks.sample import sample
from metabench.tasks.views import VIEWS, view


def dataset(X, y=None, modality="text", kind="classification", **more):
    y = None if y is None else pd.Series(y)
    return Dataset("made", "made", "test", modality, kind, X, y, **more)


def test_images_are_averaged_by_areas():
    images = np.zeros((2, 28, 30), dtype=np.uint8)
    images[0, :2, 1:3], images[1] = 100, 7
    small = views.shrunk(images, 16)
    assert small.shape == (2, 14, 15, 1) and (small[1] == 7).all()
    assert small[0, 0, :3, 0].tolist() == [50.0, 50.0, 0.0]
    assert views.shrunk(np.ones((3, 8, 8)), 16).shape == (3, 8, 8, 1)
    assert views.shrunk(np.ones((3, 105, 105)), 16).shape == (3, 15, 15, 1)


def test_colours_are_standardised_by_training_rows():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, size=(50, 8, 8, 3)).astype(np.uint8)
    images[40:] = 255  # what is not trained on does not count
    seen = view("image").see(images, np.zeros(50), np.arange(40), dataset(images, modality="image"))
    assert seen.x.shape == (50, 3, 8, 8) and seen.x.dtype == np.float32
    np.testing.assert_allclose(seen.x[:40].mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(seen.x[:40].std((0, 2, 3)), 1, atol=1e-4)


def test_the_flat_view_of_an_image_has_at_most_256_grey_pixels():
    images = np.random.default_rng(1).integers(0, 255, size=(20, 32, 32, 3)).astype(np.uint8)
    seen = view("flat").see(images, np.zeros(20), np.arange(15), dataset(images, modality="image"))
    assert seen.x.shape == (20, 256)
    again = view("reconstruction").see(images, None, np.arange(15), dataset(images, modality="image"))
    assert again.x is again.y and np.array_equal(again.x, seen.x) and view("reconstruction").kind == "reconstruction"


def test_series_end_together_and_long_ones_are_averaged():
    short, long = np.arange(3.0)[None, :], np.arange(130.0)[None, :]
    rows = view("sequence").examples(dataset([short, long], modality="series"))
    assert [len(row) for row in rows] == [1, 44]  # by threes
    assert rows[0][0, 0] == 1.0 and rows[1][-1, 0] == pytest.approx(np.mean([127, 128, 129]))
    seen = view("sequence").see(rows, np.zeros(2), np.array([1]), dataset([short, long], modality="series"))
    assert seen.x.shape == (2, 44, 1) and not seen.x[0, :-1].any() and seen.x[0, -1] != 0


def test_missing_moments_do_not_count():
    rows = np.array([[1.0], [np.nan], [np.nan], [5.0]])
    np.testing.assert_array_equal(views.averaged(rows, 2), [[1.0], [5.0]])
    assert np.isnan(views.averaged(np.full((2, 1), np.nan), 2)).all()


def test_a_higher_tone_has_its_energy_in_a_higher_band():
    time = np.arange(8000) / 8000
    peaks = [
        views.energies((8000 * np.sin(2 * np.pi * f * time)).astype(np.int16), 8000).mean(0).argmax()
        for f in (200, 700, 2500)
    ]
    assert peaks == sorted(peaks) and len(set(peaks)) == 3
    assert views.energies(np.zeros(10, np.int16), 8000).shape == (views.FRAMES, views.BANDS)


def test_words_are_known_from_training_rows_alone():
    texts = ["The cat sat", "the cat ran!", "a zebra"]
    rows = view("words").examples(dataset(texts))
    assert rows[1] == ["the", "cat", "ran", "!"]
    seen = view("words").see(rows, np.zeros(3), np.array([0, 1]), dataset(texts))
    assert seen.x.tolist()[2] == [1, 1, 0, 0] and seen.vocabulary == 2 + 7
    assert seen.x[0, 0] == seen.x[1, 0] >= 2 and seen.x[0, 3] == 0
    letters = view("words").examples(dataset(["CCO"], unit="character"))
    assert letters == [["C", "C", "O"]]
    assert (view("words").embedding(seen).sum(1) <= 1).all()


def test_every_split_has_as_many_kinds_of_token():
    texts = ["a b c", "d", "e f", "a"]
    rows = view("words").examples(dataset(texts))
    sizes = {
        view("words").see(rows, np.zeros(4), np.array(train), dataset(texts)).vocabulary
        for train in ([0], [1, 3], [0, 1, 2])
    }
    assert sizes == {8}


def test_no_moment_is_predicted_by_two_windows():
    series = np.arange(200.0)[None, :]
    rows = view("windows").examples(dataset([series], modality="series", kind="forecasting"))
    wanted = rows[:, views.LAG :, 0].ravel()
    assert len(np.unique(wanted)) == len(wanted) and (np.diff(wanted) > 0).all()
    seen = view("windows").see(rows, None, np.arange(20), dataset([series], modality="series", kind="forecasting"))
    assert seen.x.shape[1:] == (views.LAG, 1) and seen.y.shape[1] == views.HORIZON


def test_language_predicts_the_next_character():
    text = "abcd" * 200 + "Z" * 65
    rows = view("language").examples(dataset(text, kind="language"))
    seen = view("language").see(rows, None, np.arange(len(rows) - 1), dataset(text, kind="language"))
    assert seen.vocabulary == seen.classes == 6 and (seen.x[:, 1:] == seen.y[:, :-1]).all()
    assert (seen.y[-1] == 0).any()  # never seen in training


def test_pairs_end_with_a_sign_and_what_cannot_be_said_is_zero():
    pairs = [(list("abc"), ["A", "B"]), (list("ab"), ["A", "Q"]), (list("x" * 99), ["A"])]
    rows = view("pairs").examples(dataset(pairs, kind="pairs"))
    assert len(rows) == 2
    seen = view("pairs").see(rows, None, np.array([0]), dataset(pairs, kind="pairs"))
    assert seen.y[0, :3].tolist()[2] == 1 and seen.y[1, 1] == 0 and not seen.y[0, 3:].any()
    assert seen.x[0, 3] == 0 and seen.classes == 5


@pytest.mark.parametrize("name", VIEWS)
def test_a_made_up_task_has_the_shapes_of_its_view(name):
    arrays = sample(name, 40)
    assert len(arrays.x_train) == 40 and len(arrays.x_valid) == len(arrays.x_test) == 20
    tokens = arrays.x_train.dtype.kind == "i"
    assert tokens == (arrays.vocabulary > 0) and arrays.x_train.dtype in (np.float32, np.int32)
    if tokens:
        assert arrays.x_train.max() < arrays.vocabulary
    assert (arrays.y_train.dtype.kind == "i") == (arrays.n_classes > 0) and arrays.n_outputs >= 1
    assert np.array_equal(arrays.x_train, sample(name, 40).x_train)
