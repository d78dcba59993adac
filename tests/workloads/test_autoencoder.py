"""The autoencoder: what its latent width and its input noise do, padding that stays out of the way."""

import numpy as np
import torch
from sklearn.decomposition import PCA

from metabench import registry, tasks
from metabench.tasks.sample import sample
from metabench.training import run_cohort
from metabench.training.data import Data

WORKLOAD = registry.create("workloads", "autoencoder")
ARRAYS = sample("reconstruction", 128)


def trained(changes: list[dict], arrays=ARRAYS, epochs: int = 30, seeds=None):
    base = WORKLOAD.space.default() | {"batch_size": 16, "learning_rate": 3e-3}
    configs = WORKLOAD.space.table([base | change for change in changes])
    seeds = np.zeros(len(changes), int) if seeds is None else seeds
    return run_cohort(WORKLOAD, arrays, configs, seeds, (epochs,), backend="batched")


def test_three_numbers_carry_data_of_three_dimensions_and_two_do_not():
    """The made-up rows lie on a three-dimensional plane, so the error left falls to nothing from four on."""
    few, enough = trained([{"latent": 2}, {"latent": 4}], epochs=100).test_score[:, -1]
    assert enough < 0.15 and few > 0.35


def test_it_is_no_worse_than_the_same_number_of_principal_components():
    components = PCA(2).fit(ARRAYS.x_train)
    left = components.inverse_transform(components.transform(ARRAYS.x_test)) - ARRAYS.x_test
    (score,) = trained([{"latent": 2}], epochs=100).test_score[:, -1]
    assert score < 1.1 * np.sqrt((left**2).mean())


def test_noise_is_on_the_inputs_and_not_on_what_they_are_compared_with():
    """With much noise a linear-like code cannot give back its inputs; scores are taken without noise."""
    clean, noisy = trained([{"input_noise": 0.0}, {"input_noise": 0.5}]).train_loss[:, -1]
    assert clean < noisy < 0.2


def test_latent_numbers_that_a_run_has_not_stay_zero():
    rows = WORKLOAD.space.table([WORKLOAD.space.default() | {"latent": n, "optimizer": "adam"} for n in (2, 32)])
    runs = WORKLOAD.learners(ARRAYS, rows, np.arange(2), Data.of(ARRAYS, "cpu", torch.float32), 1)
    with torch.no_grad():
        runs.begin(0)
        for step in range(runs.steps):
            runs.advance(step)
    w = runs.networks.w
    assert (w["encoder1"][0, :, 2:] == 0).all() and (w["decoder0"][0, 2:] == 0).all()
    assert (w["encoder1_bias"][0, 2:] == 0).all() and (w["encoder1"][1] != 0).all()


def test_its_tasks_are_images_and_tables_of_some_width():
    names = tasks.names("autoencoder")
    assert {"autoencoder-digits", "autoencoder-breast_cancer"} <= set(names) and len(names) >= 8
    assert not {"autoencoder-iris", "autoencoder-wine", "autoencoder-diabetes"} & set(names)
