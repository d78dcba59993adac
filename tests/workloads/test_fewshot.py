"""What is special about episodes: hashed draws, steps never made that equal steps made, methods and what they depend on."""

import numpy as np
import pytest
import torch

from metabench import registry
from metabench.tasks.episodes import QUERIES
from metabench.tasks.sample import sample
from metabench.training import run_cohort
from metabench.training.data import Data
from metabench.workloads.fewshot.cohort import Draws, first

FEWSHOT = registry.create("workloads", "fewshot")
PROTOTYPES = FEWSHOT.space.default()
NEITHER = {"distance": None, "temperature": None, "embedding": None}
MAML = PROTOTYPES | NEITHER | {"method": "maml", "inner_rate": 0.5, "inner_steps": 5, "order": "second"}


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr("metabench.workloads.fewshot.EPISODES", 16)


def both(config, arrays, seed=3):
    """A run alone and by the learners, float64."""
    data = Data.of(arrays, "cpu", torch.float64)
    configs = FEWSHOT.space.table([config])
    return FEWSHOT.alone(arrays, config, seed, data, 2), FEWSHOT.learners(arrays, configs, np.array([seed]), data, 2)


def test_draws_are_the_hashed_ones():
    arrays = sample("episodes", 50)
    alone, runs = both(PROTOTYPES, arrays)
    assert len({len(rows) for rows in alone.classes}) == 1
    y = np.concatenate([arrays.y_train, [0, 0, 4]])  # classes of unequal size
    alone.classes = [np.flatnonzero(y == c) for c in range(5)]
    draws = Draws(np.array([3, 8]), y, 3, 1, runs.batch, "cpu")
    for step in (0, 5):
        for e in range(runs.batch):
            assert torch.equal(alone._draw(step, e), draws.at(step)[0, e])
    rows = draws.at(7)
    assert not torch.equal(rows[0], rows[1]) and not torch.equal(rows[0, 0], rows[0, 1])
    classes = y[rows[0, 0].numpy()]
    assert classes[:3].tolist() == classes[3::QUERIES].tolist() and len(set(classes[:3])) == 3
    assert len(set(rows[0, 0].tolist())) == rows.shape[-1]


def test_the_smallest_words_come_first():
    bits = torch.tensor([[5, -1, 3, 3, -(2**31)]], dtype=torch.int32)  # unsigned: the negative ones are the largest
    assert first(bits, 5).tolist() == [[2, 3, 0, 4, 1]]
    absent = torch.tensor([[False, False, True, False, False]])
    assert first(bits, 3, absent).tolist() == [[3, 0, 4]]


@pytest.mark.parametrize("depth", [1, 2])
def test_steps_that_are_never_made_are_steps_of_gradient_descent(depth):
    """Logits after inner steps, by Irie et al.'s dual form and with the weights that plain steps lead to."""
    arrays = sample("episodes", 60)
    alone, runs = both(MAML | {"depth": depth, "activation": "tanh"}, arrays)
    rows = alone._draw(0, 0)
    x = torch.as_tensor(arrays.x_train).double()[rows]
    with torch.no_grad():
        torch.testing.assert_close(runs._adapted(x[None, None])[0, 0], alone._logits(x), rtol=1e-10, atol=1e-12)


def test_first_and_second_order_learn_from_other_gradients_and_the_same_ones_together():
    arrays = sample("episodes", 60)
    configs = FEWSHOT.space.table([MAML, MAML | {"order": "first"}])
    together = run_cohort(FEWSHOT, arrays, configs, [0, 0], (1, 2), backend="batched")
    assert together.train_loss[0, 0] != together.train_loss[1, 0]
    for i in (0, 1):  # one that goes without the graph of the steps is the same, to the last bit
        alone = run_cohort(FEWSHOT, arrays, configs.iloc[[i]], [0], (1, 2), backend="batched")
        assert np.array_equal(alone.train_loss[0], together.train_loss[i])


def test_what_is_shown_is_learned():
    """An episode of which more is shown is solved better, by either method, on classes that were never trained on."""
    few = sample("episodes", 256)
    for config in (PROTOTYPES, MAML):
        scores = []
        for shots in (1, 5):
            arrays = type(few)(**{**vars(few), "shots": shots})
            curves = run_cohort(FEWSHOT, arrays, FEWSHOT.space.table([config]), [0], (6,), backend="batched")
            scores.append(curves.test_score[0, 0])
        assert 1 / 3 < scores[0] < scores[1]


@pytest.mark.parametrize(
    "change",
    [
        {"distance": "cosine"},
        {"temperature": 0.5},
        {"embedding": 8},
        {"width": 32},
        {"depth": 2},
        {"activation": "tanh"},
        {"init_scale": 2.0},
        {"batch_size": 8},
    ],
)
def test_every_hyperparameter_of_prototypes_reaches_the_run(change):
    configs = FEWSHOT.space.table([PROTOTYPES, PROTOTYPES | change])
    curves = run_cohort(FEWSHOT, sample("episodes", 48), configs, [0, 0], (2,), backend="batched")
    assert curves.train_loss[0, 0] != curves.train_loss[1, 0]


@pytest.mark.parametrize("change", [{"inner_rate": 0.1}, {"inner_steps": 1}, {"width": 32}, {"activation": "tanh"}])
def test_every_hyperparameter_of_maml_reaches_the_run(change):
    configs = FEWSHOT.space.table([MAML, MAML | change])
    curves = run_cohort(FEWSHOT, sample("episodes", 48), configs, [0, 0], (2,), backend="batched")
    assert curves.train_loss[0, 0] != curves.train_loss[1, 0]


def test_scores_are_shares_of_what_is_asked():
    curves = run_cohort(FEWSHOT, sample("episodes", 48), FEWSHOT.space.table([MAML]), [0], (1,), backend="batched")
    count = curves.valid_score[0, 0] * 64 * 3 * QUERIES
    assert count == pytest.approx(round(float(count)), abs=1e-3)
