"""What is special about learning to control: episodes that end or are cut off, hashed draws, hyperparameters that reach it."""

import numpy as np
import pytest
import torch

from metabench import registry
from metabench.tasks.sample import sample
from metabench.training import hashing, run_cohort
from metabench.training.data import Data
from metabench.training.runaxis import Keys, below, multiples, normal, uniform

POLICY = registry.create("workloads", "policy")


def runs(changes, dtype=torch.float64, n=1):
    configs = POLICY.space.table([POLICY.space.default() | changes] * n)
    arrays = sample("control", 48)
    return POLICY.learners(arrays, configs, np.arange(n), Data.of(arrays, "cpu", dtype), 2)


def test_draws_on_the_device_are_the_hashed_ones():
    seeds, index = np.array([3, 9]), np.arange(50)
    a, b = (Keys(seeds, s, (2, 1), "cpu").at(7) for s in (hashing.ACTION_A, hashing.ACTION_B))
    places = multiples(index)
    keys = [hashing.key(seeds, s, 7)[:, None] for s in (hashing.ACTION_A, hashing.ACTION_B)]
    np.testing.assert_array_equal(uniform(a, places, torch.float32).numpy(), hashing.uniform(keys[0], index))
    np.testing.assert_array_equal(normal(a, b, places, torch.float32).numpy(), hashing.normal(*keys, index))
    np.testing.assert_array_equal(below(a, places, 48).numpy(), hashing.bits(keys[0], index) % 48)


def test_an_episode_that_is_over_begins_anew_and_one_cut_off_too():
    learners = runs({"rollout": 32})
    starts = learners.data["train"][0]
    learners.state[0, 0] = torch.tensor([2.4, 9.0, 0.0, 0.0])  # leaves the track at once
    learners.age[0, 1] = learners.system.horizon - 1
    seen, _, _, _, over, ended = learners._roll(0)
    over, ended = (x.view(32, learners.copies) for x in (over[0], ended[0]))
    assert over[0, 0] and ended[0, 0] and ended[0, 1] and not over[0, 1]
    second = seen.view(32, learners.copies, 4)[1]
    for copy in (0, 1):
        assert (starts == second[copy]).all(1).any()  # a start state
    assert not (starts == second[2]).all(1).any()


def test_advantages_are_the_published_sum():
    """Schulman et al. (2016), equation 16, on a rollout without ends: Σ (γλ)^k δ."""
    learners = runs({"rollout": 8, "discount": 0.9, "trace": 0.7})
    seen, _, rewards, after, over, ended = learners._roll(0)
    gain, target = learners._advantages(seen, rewards, after, over, torch.zeros_like(ended))
    value, coming = learners._critic(seen), learners._critic(after)
    delta = (rewards + 0.9 * coming * ~over - value).view(8, -1)
    expected = [sum((0.9 * 0.7) ** (k - t) * delta[k] for k in range(t, 8)) for t in range(8)]
    torch.testing.assert_close(gain.view(8, -1), torch.stack(expected))
    torch.testing.assert_close(target, gain + value)


@pytest.mark.parametrize(
    "change",
    [
        {"discount": 0.85},
        {"trace": 0.1},
        {"entropy": 0.09},
        {"value_weight": 1.9},
        {"normalise": "yes"},
        {"rollout": 8},
        {"width": 16},
        {"activation": "relu"},
        {"init_scale": 0.9},
        {"batch_size": 32},
    ],
)
def test_every_hyperparameter_reaches_the_run(change):
    arrays = sample("control", 48)
    # by plain steps without a clip: Adam would undo what only scales the critic's gradient
    base = POLICY.space.default() | {
        "batch_size": 64,
        "optimizer": "sgd",
        "beta1": None,
        "beta2": None,
        "learning_rate": 0.1,
        "clip": "none",
        "clip_norm": None,
    }
    configs = POLICY.space.table([base, base | change])
    curves = run_cohort(POLICY, arrays, configs, [0, 0], (2,), backend="batched")
    assert curves.train_loss[0, 0] != curves.train_loss[1, 0] or curves.test_loss[0, 0] != curves.test_loss[1, 0]


def test_scores_are_returns():
    curves = run_cohort(
        POLICY, sample("control", 48), POLICY.space.table([POLICY.space.default()]), [0], (1, 2), backend="batched"
    )
    np.testing.assert_allclose(curves.valid_score, -200 * curves.valid_loss, rtol=1e-6)
    assert (curves.valid_score >= 1).all() and (curves.valid_score <= 200).all()
