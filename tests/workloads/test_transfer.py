"""What is special about transfer: two phases, layers that stay as they are, rates by layer, the source's loss mixed in."""

import numpy as np
import pytest
import torch

from metabench import registry
from metabench.tasks.sample import sample
from metabench.training import hashing, run_cohort
from metabench.training.data import Data
from metabench.training.runaxis import below

TRANSFER = registry.create("workloads", "transfer")
DEFAULT = TRANSFER.space.default()
MIXING = {"mixing": "yes", "source_weight": 0.5}


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr("metabench.workloads.transfer.EXAMPLES", 256)


def learners(changes, seeds=(0,), epochs=4):
    arrays = sample("transfer", 48)
    configs = TRANSFER.space.table([DEFAULT | change for change in changes])
    return TRANSFER.learners(arrays, configs, np.array(seeds), Data.of(arrays, "cpu", torch.float64), epochs)


def train(runs, *epochs):
    with torch.no_grad():
        for epoch in epochs:
            runs.begin(epoch)
            for step in range(epoch * runs.steps, (epoch + 1) * runs.steps):
                runs.advance(step)
    return runs.w.flat.clone()


def test_frozen_layers_stay_as_the_source_left_them():
    runs = learners([{"frozen": k} for k in range(4)], [7] * 4)
    before, after = train(runs, 0, 1), train(runs, 2, 3)
    assert runs.phase == 1
    places = [*(runs._columns(i) for i in range(3)), runs.w.columns("target")]
    for run in range(4):
        moved = [not torch.equal(before[run, p], after[run, p]) for p in places]
        assert moved == [i >= run for i in range(4)]
    source = runs.w.columns("source")
    assert torch.equal(before[:, source], after[:, source])
    assert (before == before[0]).all()  # alike until then


def test_while_the_source_is_learned_the_targets_head_stays_as_it_was():
    runs = learners([{}], [1])
    start = runs.w.flat.clone()
    after = train(runs, 0, 1)
    assert runs.phase == 0
    assert torch.equal(start[:, runs.w.columns("target")], after[:, runs.w.columns("target")])
    assert not torch.equal(start[:, runs.w.columns("source")], after[:, runs.w.columns("source")])


@pytest.mark.parametrize(
    "change",
    [
        {"frozen": 0},
        {"frozen": 2},
        {"frozen": 3},
        {"body_rate": 1.0},
        MIXING,
        {"pretraining": 0},
        {"pretraining": 75},
        {"clip": "norm", "clip_norm": 0.1},
        MIXING | {"frozen": 3, "clip": "norm", "clip_norm": 0.1},
        {"width": 32},
        {"optimizer": "momentum", "momentum": 0.9, "beta1": None, "beta2": None, "weight_decay": 0.1, "frozen": 3},
    ],
)
def test_both_phases_are_those_of_the_plain_loop(change):
    """The contract looks at an epoch; here four, with the change of optimizer, to 1e-8."""
    config = DEFAULT | {"learning_rate": 1e-3} | change
    runs = learners([config], [3])
    train(runs, 0, 1, 2, 3)
    alone = TRANSFER.alone(sample("transfer", 48), config, 3, runs.data, 4)
    assert all(alone.epoch(e) for e in range(4))
    with torch.no_grad():
        found = runs.evaluate()
    for part, (loss, score) in alone.evaluate().items():
        assert found[part][0].item() == pytest.approx(loss, rel=1e-8) and found[part][1].item() == pytest.approx(score)


def test_rows_are_the_hashed_ones():
    runs = learners([{}, {}], [4, 9])
    rows = below(runs.keys["source"].at(5), runs.index, 192)
    for r, seed in enumerate((4, 9)):
        bits = hashing.bits(hashing.key(seed, hashing.FROM_SOURCE, 5), np.arange(runs.batch))
        np.testing.assert_array_equal(rows[r].numpy(), bits % 192)


@pytest.mark.parametrize(
    "change",
    [
        {"pretraining": 25},
        {"frozen": 1},
        {"body_rate": 0.05},
        MIXING,
        {"width": 128},
        {"activation": "tanh"},
        {"init_scale": 2.0},
        {"batch_size": 16},
    ],
)
def test_every_hyperparameter_reaches_the_run(change):
    configs = TRANSFER.space.table([DEFAULT, DEFAULT | change])
    curves = run_cohort(TRANSFER, sample("transfer", 48), configs, [0, 0], (4,), backend="batched")
    assert curves.train_loss[0, 0] != curves.train_loss[1, 0]


def test_source_weight_reaches_the_run():
    configs = TRANSFER.space.table([DEFAULT | MIXING, DEFAULT | MIXING | {"source_weight": 0.05}])
    curves = run_cohort(TRANSFER, sample("transfer", 48), configs, [0, 0], (4,), backend="batched")
    assert curves.train_loss[0, 0] != curves.train_loss[1, 0]


def test_a_source_that_shares_what_matters_helps(monkeypatch):
    """Few rows of the target: with the source first, more of its test rows are told apart (mean of eight seeds)."""
    monkeypatch.setattr("metabench.workloads.transfer.EXAMPLES", 1024)
    arrays = sample("transfer", 64)
    scores = []
    for pretraining in (0, 50):
        configs = TRANSFER.space.table([DEFAULT | {"pretraining": pretraining}] * 8)
        scores.append(run_cohort(TRANSFER, arrays, configs, range(8), (12,), backend="batched").test_score.mean())
    assert scores[1] > scores[0] + 0.02


def test_runs_that_leave_take_both_phases_along():
    """A cohort in which most runs diverge while the target is learned: those that go on are the same as alone."""
    config = DEFAULT | {"optimizer": "sgd", "beta1": None, "beta2": None}
    wild = config | {"learning_rate": 1.0, "init_scale": 4.0}
    configs = TRANSFER.space.table([wild, config | {"learning_rate": 0.01}, wild, wild])
    arrays, checkpoints = sample("transfer", 48), (2, 4, 6)
    together = run_cohort(TRANSFER, arrays, configs, [0, 1, 2, 3], checkpoints, backend="batched")
    alone = run_cohort(TRANSFER, arrays, configs.iloc[[1]], [1], checkpoints, backend="batched")
    assert together.status.count("diverged") == 3
    assert np.array_equal(together.train_loss[1], alone.train_loss[0])
