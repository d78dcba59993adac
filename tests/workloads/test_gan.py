"""The adversarial network: what its hyperparameters do to the updates, the kernel distance, and that it learns images."""

import numpy as np
import pytest
import torch

from metabench import registry
from metabench.tasks import kernels, metrics
from metabench.tasks.sample import sample
from metabench.training import run_cohort
from metabench.training.data import Data

WORKLOAD = registry.create("workloads", "gan")
ARRAYS = sample("reconstruction", 128)
#: plain steps at a constant rate: an update is the rate times the gradient
PLAIN = WORKLOAD.space.default() | {
    "optimizer": "sgd",
    "beta1": None,
    "beta2": None,
    "schedule": "constant",
    "warmup": 0.0,
    "weight_decay": 1e-6,
    "learning_rate": 0.01,
    "batch_size": 32,
    "ratio": 1.0,
    "critic_steps": 1,
}


def after(steps: int, *changes: dict, seeds=None):
    """Parameters of generators and critics after so many steps, and before: float64 [R, ...] each."""
    configs = WORKLOAD.space.table([PLAIN | change for change in changes])
    seeds = np.zeros(len(changes), int) if seeds is None else np.asarray(seeds)
    runs = WORKLOAD.learners(ARRAYS, configs, seeds, Data.of(ARRAYS, "cpu", torch.float64), 2)
    before = runs.w.flat.clone()
    with torch.no_grad():
        runs.begin(0)
        for step in range(steps):
            runs.advance(step)
    moved = runs.w.flat - before
    return moved[:, : runs.edge], moved[:, runs.edge :]


def test_the_ratio_is_that_of_the_learning_rates():
    """In the first step the critic moves alike, then the generator by its own rate along the same gradient."""
    made, told = after(1, {"ratio": 1.0}, {"ratio": 4.0})
    assert torch.equal(told[0], told[1])
    moved = made[0].abs() > 1e-9
    assert moved.any() and torch.allclose(
        made[1][moved] / made[0][moved], torch.tensor(4.0, dtype=torch.float64), rtol=1e-4
    )


def test_the_critic_has_as_many_updates_a_step_as_it_is_given():
    """Each on rows and latent numbers of its own: two updates are not one twice as long, and the generator has one."""
    once, twice = (after(1, {"critic_steps": k})[1][0] for k in (1, 2))
    assert 1.2 < twice.norm() / once.norm() < 2.5
    assert not torch.allclose(twice, 2 * once, rtol=1e-3)


@pytest.mark.parametrize("loss", ["wasserstein", "logistic"])
def test_the_penalty_pulls_the_slope_of_the_critic_to_one(loss):
    slopes = []
    for change in ({"penalty": "none", "penalty_weight": None}, {"penalty": "gradient", "penalty_weight": 100.0}):
        config = PLAIN | {"loss": loss, "optimizer": "adam", "beta1": 0.5, "beta2": 0.99, "critic_steps": 4} | change
        run = WORKLOAD.alone(ARRAYS, config, 0, Data.of(ARRAYS, "cpu", torch.float64), 5)
        assert all(run.epoch(epoch) for epoch in range(5))
        x = run.data["train"][0].clone().requires_grad_()
        (slope,) = torch.autograd.grad(run.net.critic(x).sum(), x)
        slopes.append(slope.norm(dim=1).mean().item())
    free, held = slopes
    assert abs(held - 1.0) < 0.5 * abs(free - 1.0)


def test_padding_stays_zero_and_runs_draw_their_own_numbers():
    configs = WORKLOAD.space.table([PLAIN | {"latent": n} for n in (4, 4, 32)])
    runs = WORKLOAD.learners(ARRAYS, configs, np.array([1, 2, 1]), Data.of(ARRAYS, "cpu", torch.float64), 1)
    with torch.no_grad():
        runs.begin(0)
        for step in range(runs.steps):
            runs.advance(step)
        made = runs._made(runs.draws, 0, 8)
    assert (runs.w["makes0"][:2, 4:] == 0).all() and (runs.w["makes0"][2] != 0).all()
    assert (runs.w["tells1"][:, :, 1] == 0).all() and (runs.w["tells1_bias"][:, 1] == 0).all()
    assert (made[0] - made[1]).abs().min() > 0


def test_it_comes_near_the_data():
    configs = WORKLOAD.space.table([WORKLOAD.space.default() | {"batch_size": 32, "critic_steps": 2}])
    curves = run_cohort(WORKLOAD, ARRAYS, configs, [0], (1, 40), backend="batched")
    assert curves.test_score[0, -1] < 0.1 * metrics.chance("mmd", ARRAYS.x_train, ARRAYS.x_test)


def test_the_kernel_distance_is_unbiased_and_sees_a_shift():
    rng = np.random.default_rng(0)
    same = [kernels.distance(*rng.normal(size=(2, 40, 5))) for _ in range(200)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(200)
    moved = [kernels.distance(rng.normal(size=(40, 5)), rng.normal(size=(40, 5)) + 0.5) for _ in range(50)]
    assert np.mean(moved) > 10 * np.std(same) / np.sqrt(50)


def test_the_kernel_distance_is_that_of_its_formula():
    x, y = np.random.default_rng(1).normal(size=(2, 6, 3))

    def k(a, b):
        return np.mean([1 / (1 + ((a - b) ** 2).sum() / (2 * s * 3)) for s in kernels.SCALES])

    own = [np.mean([k(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j]) for z in (x, y)]
    expected = sum(own) - 2 * np.mean([k(a, b) for a in x for b in y])
    assert abs(kernels.distance(x, y) - expected) < 1e-12
    assert abs(kernels.distance(torch.tensor(x), torch.tensor(y)).item() - expected) < 1e-12
    assert (
        len(kernels.compared(np.zeros((5000, 2)))) == kernels.COMPARED and len(kernels.compared(np.zeros((7, 2)))) == 7
    )
