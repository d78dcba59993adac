"""Every backend against the sequential oracle, bit equality across company, and divergence as an outcome."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from metabench import registry
from metabench.tasks.task import Arrays
from metabench.training import backends, batched, hashing, resident, run_cohort
from metabench.training.data import Data
from metabench.training.learners import Supervised
from metabench.training.losses import Loss
from metabench.training.optimizers import Optimizers
from metabench.training.sequential import make_optimizer

MLP = registry.create("workloads", "mlp")
SERIES = ("train_loss", "valid_loss", "test_loss", "valid_score", "test_score")
needs_compiler = pytest.mark.skipif(resident.available() is not None, reason=str(resident.available()))


def arrays(kind="classification", rows=90, features=5, classes=3, metric=None, seed=0) -> Arrays:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3 * rows, features)).astype(np.float32)
    signal = x @ rng.normal(size=(features, classes)) + 0.5 * rng.normal(size=(3 * rows, classes))
    if kind == "classification":
        y, metric, n = signal.argmax(1).astype(np.int32), metric or "accuracy", classes
    else:
        y, metric, n = ((signal[:, 0] - signal[:, 0].mean()) / signal[:, 0].std()).astype(np.float32), "r2", 0
    parts = [(x[i::3], y[i::3]) for i in range(3)]
    return Arrays(kind, metric, n, *(a for part in parts for a in part))


def gentle(n, seed=3):
    """Configurations of the whole space with learning rates that keep training smooth."""
    configs = MLP.space.sample(n, seed)
    configs["learning_rate"] = np.minimum(configs["learning_rate"], 0.01)
    configs.loc[configs["optimizer"].isin(["lion", "rmsprop", "adagrad"]), "learning_rate"] = 1e-3
    return configs


def equal(a, b, rows=slice(None)):
    return all(np.array_equal(getattr(a, s), getattr(b, s)[rows], equal_nan=True) for s in SERIES)


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_batched_equals_the_oracle_in_float64(kind):
    data, configs, seeds = arrays(kind), gentle(24), np.arange(24) % 3
    options = {"dtype": torch.float64}
    slow = run_cohort(MLP, data, configs, seeds, (1, 3), backend="sequential", **options)
    fast = run_cohort(MLP, data, configs, seeds, (1, 3), backend="batched", **options)
    for s in SERIES:
        np.testing.assert_allclose(getattr(fast, s), getattr(slow, s), rtol=1e-6, atol=1e-7, err_msg=s)
    assert fast.status == slow.status == ["ok"] * 24


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_steps_counted_on_the_device_give_the_same_curves(kind, monkeypatch):
    """A captured graph is handed its step as a tensor: every hash, schedule and row must be found by it alone."""

    class Counted(batched._Graph):
        def advance(self, step):
            self.step.fill_(step)
            self.learners.advance(self.step)

    data, configs, seeds = arrays(kind), MLP.space.sample(32, 8), np.arange(32) % 3
    assert configs["optimizer"].nunique() == 8 and (configs["warmup"] > 0).any()
    plain = run_cohort(MLP, data, configs, seeds, (1, 3), backend="batched")
    monkeypatch.setattr(batched, "_stepper", lambda runs: Counted(runs).advance)
    assert equal(run_cohort(MLP, data, configs, seeds, (1, 3), backend="batched"), plain)


@needs_compiler
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_resident_agrees_with_the_oracle(kind):
    data, configs, seeds = arrays(kind), gentle(48), np.arange(48) % 3
    slow = run_cohort(MLP, data, configs, seeds, (1, 2), backend="sequential", dtype=torch.float64)
    fast = run_cohort(MLP, data, configs, seeds, (1, 2), backend="resident")
    for s in ("train_loss", "valid_loss", "test_loss"):
        gap = np.abs(getattr(fast, s) - getattr(slow, s)) / (1e-3 + np.abs(getattr(slow, s)))
        assert np.median(gap) < 1e-6 and gap.max() < 2e-3, (s, gap.max())
    np.testing.assert_array_equal(fast.params, slow.params)


@needs_compiler
def test_balanced_accuracy_and_wide_inputs_agree():
    data = arrays(features=37, classes=19, rows=200, metric="balanced_accuracy")
    configs = gentle(8, seed=9)
    slow = run_cohort(MLP, data, configs, np.zeros(8), (1, 3), backend="sequential", dtype=torch.float64)
    fast = run_cohort(MLP, data, configs, np.zeros(8), (1, 3), backend="resident")
    np.testing.assert_allclose(fast.valid_score, slow.valid_score, atol=0.02)
    np.testing.assert_allclose(fast.valid_loss, slow.valid_loss, rtol=2e-3)


@pytest.mark.parametrize(
    ("backend", "kind", "rows"),
    [
        ("batched", "classification", 90),
        ("batched", "regression", 37),
        ("resident", "classification", 90),
    ],
)
def test_a_curve_does_not_depend_on_company(backend, kind, rows):
    """R = 31, 7 and 1, at several offsets, beside a neighbour that diverges; 37 rows make batches of odd sizes."""
    if backends()[backend] is not None:
        pytest.skip(backends()[backend])
    data, configs = arrays(kind, rows=rows), MLP.space.sample(31, 5)
    configs["batch_size"] = np.where(np.arange(31) % 5 == 0, 16, 64)  # few groups, so that runs do have company
    configs["width"] = np.where(np.arange(31) % 4 == 0, configs["width"], 20 + np.arange(31) % 13)
    configs.loc[3, "learning_rate"] = 1e30
    configs.loc[3, "clip"] = "none"
    seeds = np.arange(31) % 3
    whole = run_cohort(MLP, data, configs, seeds, (1, 2, 4), backend=backend)
    assert whole.status[3] == "diverged" and whole.length[3] < 3
    assert whole.status.count("ok") > 25
    for part in (*(slice(i, i + 1) for i in range(31)), slice(0, 7), slice(4, 11), slice(24, 31)):
        alone = run_cohort(MLP, data, configs.iloc[part], seeds[part], (1, 2, 4), backend=backend)
        assert equal(alone, whole, part)


@pytest.mark.parametrize("backend", ["batched", "resident"])
def test_a_curve_is_the_same_among_511_others(backend):
    """At its start, middle and end, whatever advances together, beside neighbours that diverge; alone it is the same."""
    if backends()[backend] is not None:
        pytest.skip(backends()[backend])
    data, configs = arrays("classification", rows=40), MLP.space.sample(512, 9)
    configs["width"], configs["depth"], configs["batch_size"] = 16 + np.arange(512) % 24, 1, 32
    for name in ("learning_rate", "clip"):
        configs.loc[::50, name] = {"learning_rate": 1e30, "clip": "none"}[name]
    seeds = np.arange(512) % 7
    whole = run_cohort(MLP, data, configs, seeds, (1, 2), backend=backend, together=512)
    assert whole.status.count("diverged") >= 8 and whole.status.count("ok") > 450
    split = run_cohort(MLP, data, configs, seeds, (1, 2), backend=backend, together=5)
    assert equal(split, whole, slice(0, 512))
    for i in (0, 1, 49, 51, 255, 256, 399, 401, 510, 511):
        alone = run_cohort(MLP, data, configs.iloc[[i]], seeds[[i]], (1, 2), backend=backend)
        assert equal(alone, whole, slice(i, i + 1))


def test_batched_agrees_with_the_oracle_in_float32():
    data, configs, seeds = arrays(), gentle(32, seed=4), np.arange(32)
    slow = run_cohort(MLP, data, configs, seeds, (1, 3), backend="sequential")
    fast = run_cohort(MLP, data, configs, seeds, (1, 3), backend="batched")
    gap = np.abs(fast.valid_loss - slow.valid_loss) / slow.valid_loss
    assert np.median(gap) < 1e-6 and gap.max() < 2e-3


@needs_compiler
def test_resident_is_bit_equal_on_every_instruction_set():
    data, configs = arrays(features=20), MLP.space.sample(24, 7)
    native = resident.run(MLP, data, configs, np.zeros(24, int), (1, 3))
    for flags in (("-march=haswell",), ("-march=haswell", "-DMB_PORTABLE")):
        library = resident.load(flags)
        assert equal(native, resident.run(MLP, data, configs, np.zeros(24, int), (1, 3), library=library)), flags


@pytest.mark.parametrize("backend", ["sequential", "batched", "resident"])
def test_divergence_keeps_the_curve_so_far(backend):
    if backends()[backend] is not None:
        pytest.skip(backends()[backend])
    config = MLP.space.default() | {"optimizer": "sgd", "beta1": None, "beta2": None, "schedule": "constant"}
    configs = pd.DataFrame([config | {"learning_rate": 1e30}, config | {"learning_rate": 0.05}])
    out = run_cohort(MLP, arrays("regression"), configs, [0, 0], (1, 2, 3), backend=backend)
    assert out.status == ["diverged", "ok"]
    assert np.isnan(out.valid_loss[0, out.length[0] :]).all() and out.length[1] == 3
    assert np.isfinite(out.valid_loss[1]).all()


@pytest.mark.parametrize("backend", ["sequential", "batched", "resident"])
def test_fewer_rows_than_a_batch(backend):
    if backends()[backend] is not None:
        pytest.skip(backends()[backend])
    configs = MLP.space.sample(8, 1).assign(batch_size=256)
    out = run_cohort(MLP, arrays(rows=13), configs, np.zeros(8), (1, 2), backend=backend)
    assert out.status == ["ok"] * 8 and out.flops[0] % (13 * 2) == 0


OPTIMIZERS = ("sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "adagrad", "lion")


@pytest.mark.parametrize("clip", ["none", "norm"])
def test_every_optimizer_follows_torch(clip):
    """50 steps in float64, run by run, on random gradients, the learning rate falling."""
    base = {"learning_rate": 0.03, "weight_decay": 0.02, "momentum": 0.9, "beta1": 0.8, "beta2": 0.99}
    rows = [{**base, "optimizer": o, "clip": clip, "clip_norm": 0.7} for o in OPTIMIZERS]
    rng = np.random.default_rng(0)
    start = torch.tensor(rng.normal(size=(8, 11)))
    flat, grad, rates = start.clone(), torch.zeros_like(start), np.tile(np.linspace(0.03, 0.01, 50), (8, 1))
    ours = Optimizers(flat, grad, pd.DataFrame(rows), rates)
    theirs = [nn.Parameter(row.clone()) for row in start]
    optimizers = [make_optimizer([p], row) for p, row in zip(theirs, rows, strict=True)]
    for t in range(50):
        gradient = torch.tensor(rng.normal(size=(8, 11)))
        grad.copy_(gradient)
        ours.step(t)
        for p, optimizer, g in zip(theirs, optimizers, gradient, strict=True):
            p.grad = g.clone()
            if clip == "norm":
                nn.utils.clip_grad_norm_([p], 0.7)
            optimizer.param_groups[0]["lr"] = rates[0, t]
            optimizer.step()
    for name, a, b in zip(OPTIMIZERS, flat, theirs, strict=True):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-12, err_msg=name)


def test_optimizers_leave_padding_and_unused_columns_at_zero():
    configs = MLP.space.sample(16, 2).sort_values("optimizer")
    flat, grad = torch.ones(16, 6), torch.ones(16, 6)
    flat[:, 4:] = grad[:, 4:] = 0.0
    flat[:, 1] = grad[:, 1] = 0.0
    ours = Optimizers(flat, grad, configs, np.full((16, 3), 0.1), used=[4] * 16)
    for t in range(3):
        ours.step(t)
    assert not flat[:, [1, 4, 5]].any() and (flat[:, 0] != 1).all()


def test_lion_is_the_published_rule():
    p = nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))
    config = {"optimizer": "lion", "learning_rate": 0.1, "weight_decay": 0.01, "beta1": 0.9, "beta2": 0.99}
    optimizer = make_optimizer([p], config)
    m, w = np.zeros(3), p.detach().numpy().copy()
    for g in ([1.0, -1.0, 0.0], [-0.2, 0.3, 0.0]):
        p.grad = torch.tensor(g, dtype=torch.float64)
        optimizer.step()
        w = w - 0.1 * (np.sign(0.9 * m + 0.1 * np.array(g)) + 0.01 * w)
        m = 0.99 * m + 0.01 * np.array(g)
    np.testing.assert_allclose(p.detach().numpy(), w, rtol=1e-12)


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_gradients_equal_autograd(kind):
    """Cohorts that mix depths, widths, norms and activations, with noise, dropout and smoothing on, in float64."""
    data, configs = arrays(kind), MLP.space.sample(64, 11)
    cohort_class, step = MLP.cohort_class(), 4
    chosen = configs[configs["width"] <= 32].head(12)
    chosen = chosen.iloc[sorted(range(12), key=lambda i: cohort_class.order(chosen.iloc[i].to_dict()))]
    assert chosen["depth"].nunique() >= 3 and chosen["norm"].nunique() == 2 and chosen["activation"].nunique() == 4
    seeds = np.arange(12)
    x = torch.as_tensor(data.x_train, dtype=torch.float64)
    y = torch.as_tensor(data.y_train, dtype=torch.float64 if kind == "regression" else torch.long)
    cohort = cohort_class(data, chosen, seeds, Data.of(data, "cpu", torch.float64), 16)
    rows = torch.as_tensor(np.stack([hashing.permutation(s, 0, len(x))[:16] for s in range(12)]))
    value, gradient = Loss(data, chosen, y, torch.float64).mean(cohort.forward(rows, step), rows)
    cohort.backward(gradient)
    for r, config in enumerate(chosen.to_dict("records")):
        seed, depth, width = int(seeds[r]), config["depth"], config["width"]
        net = MLP.build(data, config, seed).double().train()
        net.step = step
        keys = (hashing.key(seed, s, step) for s in (hashing.NOISE_A, hashing.NOISE_B))
        noise = hashing.normal(*keys, np.arange(16 * data.n_features, dtype=np.uint32)).reshape(16, -1)
        out, targets = net(x[rows[r]] + config["input_noise"] * torch.as_tensor(noise).double()), y[rows[r]]
        if kind == "regression":
            plain = F.mse_loss(out[:, 0], targets)
        else:
            plain = F.cross_entropy(out, targets, label_smoothing=config["label_smoothing"])
        plain.backward()
        assert abs(plain.item() - value[r].item()) < 1e-12
        for i, layer in enumerate(net.linear):
            ours = (cohort.out_g if i == depth else cohort.g[i])[r]
            n_in, n_out = layer.in_features, layer.out_features
            np.testing.assert_allclose(ours[:n_in, :n_out].T, layer.weight.grad, rtol=1e-8, atol=1e-12)
            np.testing.assert_allclose(ours[-1, :n_out], layer.bias.grad, rtol=1e-8, atol=1e-12)
            assert not ours[n_in:-1].any() and not ours[:, n_out:].any()  # padding has no gradient
            if i < depth and config["norm"] == "layer":
                for k, parameter in ((2, net.norm[i].weight), (3, net.norm[i].bias)):
                    found = cohort.scales[i][k][r, :width]
                    np.testing.assert_allclose(found, parameter.grad, rtol=1e-8, atol=1e-12)


def test_initial_weights_are_the_hashed_stream():
    net = MLP.build(arrays(), MLP.space.default(), seed=5)
    u = hashing.uniform(hashing.key(5, hashing.WEIGHTS, 0), np.arange(5 * 128))
    expected = (np.sqrt(3 / 5) * (2 * u.astype(float) - 1)).reshape(5, 128)
    np.testing.assert_allclose(net.linear[0].weight.detach().numpy().T, expected, rtol=1e-6)


@pytest.mark.parametrize("optimizer", MLP.space["optimizer"].options)
def test_runs_that_diverge_leave_and_the_others_go_on_as_if_nothing_had_been(optimizer, monkeypatch):
    """Two thirds of a cohort diverge in different epochs; the rest equal themselves alone to the last bit."""
    data, configs = arrays("classification", rows=60), MLP.space.sample(24, 3)
    base = {
        "optimizer": optimizer,
        "batch_size": 16,
        "width": 24,
        "norm": "none",
        "clip": "none",
        "learning_rate": 1e-3,
    }
    missing = {"momentum": 0.9, "beta1": 0.9, "beta2": 0.99}
    for name, value in (base | missing).items():
        configs[name] = value
    configs["depth"] = 1 + np.arange(24) % 3
    doomed = np.arange(24) % 3 > 0
    # a rate that grows without bound with the schedule's warm-up, so that runs fall one after the other
    configs.loc[doomed, "learning_rate"] = 10.0 ** (20 + np.arange(doomed.sum()))
    configs["schedule"], configs["warmup"] = "constant", np.where(doomed, 0.15 * (np.arange(24) % 2), 0.0)
    kept = []
    resume = Supervised.resume
    monkeypatch.setattr(Supervised, "resume", lambda self, old, at: kept.append(len(at)) or resume(self, old, at))
    whole = run_cohort(MLP, data, configs, np.arange(24), (1, 3, 6), backend="batched")
    for i in np.flatnonzero(~doomed):
        alone = run_cohort(MLP, data, configs.iloc[[i]], np.array([i]), (1, 3, 6), backend="batched")
        assert alone.status == ["ok"] and equal(alone, whole, slice(i, i + 1))
    assert kept and all(n >= 8 for n in kept)  # the cohort was taken apart at least once
    assert np.mean([whole.status[i] == "diverged" for i in np.flatnonzero(doomed)]) > 0.5
