"""Every workload: the public contract on a made-up task of its view, learning, and honest counts."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from metabench import registry
from metabench.generate.cost import sizes_of
from metabench.tasks.sample import sample
from metabench.testing.contract.workload import check_workload
from metabench.training import run_cohort
from metabench.training.curves import SERIES

NAMES = registry.names("workloads")


@pytest.mark.parametrize("name", NAMES)
def test_together_and_by_an_ordinary_loop_it_is_the_same(name, monkeypatch):
    monkeypatch.setattr("metabench.workloads.policy.shape.FRAMES", 512)  # an epoch of a policy, shorter
    monkeypatch.setattr("metabench.workloads.fewshot.EPISODES", 32)
    monkeypatch.setattr("metabench.workloads.transfer.EXAMPLES", 512)
    workload = registry.create("workloads", name)
    check_workload(workload, sample(workload.view, 48), n=5)


@pytest.mark.parametrize("name", ["mlp", "rnn", "text"])
def test_with_one_output_company_changes_no_bit_either(name):
    """A product with one column is a vector's, for which torch has other kernels, alone and in company."""
    workload = registry.create("workloads", name)
    arrays = sample(workload.view, 96)
    numbers = {f"y_{part}": getattr(arrays, f"y_{part}").astype(np.float32) - 1 for part in ("train", "valid", "test")}
    arrays = replace(arrays, kind="regression", metric="r2", n_classes=0, **numbers)
    configs = workload.space.sample(4, 0)
    configs = configs.loc[np.repeat(configs.index, 3)].reset_index(drop=True)
    seeds = np.tile(np.arange(3), 4)
    together = run_cohort(workload, arrays, configs, seeds, (1, 3), backend="batched")
    for i in range(0, 12, 2):
        alone = run_cohort(workload, arrays, configs.iloc[[i]], seeds[[i]], (1, 3), backend="batched")
        for series in SERIES:
            np.testing.assert_array_equal(getattr(together, series)[i], getattr(alone, series)[0])


@pytest.mark.parametrize("name", NAMES)
def test_the_default_learns(name):
    """On a task that can be learned the default configuration goes most of the way that there is to go."""
    workload = registry.create("workloads", name)
    arrays = sample(workload.view, 256)
    config = workload.space.table(
        [workload.space.default() | {"batch_size": min(workload.space["batch_size"].options)}]
    )
    curves = run_cohort(workload, arrays, config, [0], (1, min(workload.epochs, 12)), backend="batched")
    assert curves.status == ["ok"]
    # most may be learned in the first epoch: guessing among the classes costs their logarithm
    start = max(curves.valid_loss[0, 0], np.log(max(arrays.n_classes, 1)))
    assert curves.valid_loss[0, -1] < 0.9 * start
    assert np.isfinite(curves.test_score).all()


@pytest.mark.parametrize("name", NAMES)
def test_work_grows_with_the_network(name):
    workload = registry.create("workloads", name)
    arrays = sample(workload.view)
    rows = workload.space.sample(32, 0).to_dict("records")
    params = np.array([workload.params(arrays, row) for row in rows])
    flops = np.array([workload.flops(arrays, row, 1) for row in rows])
    assert (params > 0).all() and (flops > 0).all() and np.corrcoef(np.log(params), np.log(flops))[0, 1] > 0.2
    sizes = sizes_of(
        SimpleNamespace(
            shape=arrays.shape,
            n_features=arrays.n_features,
            vocabulary=arrays.vocabulary,
            n_outputs=arrays.n_outputs,
            system=arrays.system,
            shots=arrays.shots,
            source_classes=arrays.source_classes,
            n_train=len(arrays.x_train),
            n_valid=len(arrays.x_valid),
            n_test=len(arrays.x_test),
        )
    )
    assert [workload.work(sizes, row, (1, 3)) for row in rows] == [workload.work(arrays, row, (1, 3)) for row in rows]
    assert all(workload.flops(arrays, row, 3) == 3 * f for row, f in zip(rows, flops, strict=True))
