"""What is special to the recurrent network: lanes of both directions, gates that hyperparameters reach, its tasks."""

import numpy as np
import torch

from metabench import registry, tasks
from metabench.tasks.sample import sample
from metabench.training import run_cohort
from metabench.training.data import Data

RNN = registry.create("workloads", "rnn")
ARRAYS = sample("sequence", 48)


def table(*changes):
    return RNN.space.table([RNN.space.default() | {"batch_size": 16} | change for change in changes])


def test_one_direction_and_both_learn_in_one_cohort_as_alone():
    ways = ["forward", "both", "forward", "both"]
    configs = table(*({"direction": way} for way in ways))
    kind = RNN.cohort_class()
    assert len({kind.group(ARRAYS, c) for c in configs.to_dict("records")}) == 1
    together = run_cohort(RNN, ARRAYS, configs, np.arange(4), (2,), backend="batched")
    for i in range(4):
        alone = run_cohort(RNN, ARRAYS, configs.iloc[[i]], [i], (2,), backend="batched")
        assert np.array_equal(together.valid_loss[i], alone.valid_loss[0])


def test_every_cell_is_the_same_to_the_bit_in_company_whatever_the_batch():
    arrays = sample("sequence", 41)  # batches of 32 and, of more than there are rows, of 41
    for cell in ("elman", "lstm", "gru"):
        for size in (32, 64):
            configs = table(*[{"cell": cell, "units": 16, "batch_size": size, "input_noise": 0.2, "dropout": 0.3}] * 3)
            together = run_cohort(RNN, arrays, configs, [4, 7, 9], (1, 2), backend="batched")
            alone = run_cohort(RNN, arrays, configs.iloc[[1]], [7], (1, 2), backend="batched")
            assert np.array_equal(together.test_loss[1], alone.test_loss[0])


def test_the_forget_bias_keeps_the_state():
    """With the gate that keeps the state wide open, what came first is still seen at the end."""
    for cell in ("lstm", "gru"):
        first, last = ARRAYS.x_valid.copy(), ARRAYS.x_valid.copy()
        first[:, 0] += 1.0
        last[:, -1] += 1.0
        seen = []
        for bias in (-1.0, 3.0):
            net = (
                RNN.build(
                    ARRAYS, table({"cell": cell, "forget_bias": bias, "direction": "forward"}).iloc[0].to_dict(), 0
                )
                .float()
                .eval()
            )
            with torch.no_grad():
                base, early, late = (net(torch.as_tensor(x)) for x in (ARRAYS.x_valid, first, last))
            seen.append(((early - base).norm() / (late - base).norm()).item())
        assert seen[1] > 100 * seen[0]


def test_init_scale_and_noise_reach_the_runs():
    configs = table({}, {"init_scale": 2.0}, {"input_noise": 0.3}, {"dropout": 0.4}, {"forget_bias": 0.0})
    curves = run_cohort(RNN, ARRAYS, configs, np.zeros(5, int), (1,), backend="batched")
    assert len(set(curves.train_loss[:, 0])) == 5


def test_gradients_of_a_lane_that_is_not_there_are_none():
    configs = table({"direction": "forward"})
    data = Data.of(ARRAYS, "cpu", torch.float32)
    runs = RNN.learners(ARRAYS, configs, np.array([0]), data, 1)
    with torch.no_grad():
        runs.begin(0)
        for step in range(runs.steps):
            runs.advance(step)
    assert not any(runs.networks.w[f"back {part}"].any() for part in ("inputs", "state", "linear"))


def test_it_reads_series_sounds_names_and_molecules():
    names = tasks.names("rnn")
    assert {"rnn-fsdd", "rnn-ts_synthetic_control", "rnn-smiles_esol", "rnn-names_18_languages"} <= set(names)
    assert "rnn-banking77" not in names and len(names) >= 8
