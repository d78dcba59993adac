"""The ordinary loop at its best: ``torch.nn`` and ``torch.optim``, one network after another, nothing of our engine.

What a good practitioner writes for small networks on a table that fits into memory: rows permuted once an epoch and
taken in slices, gradients set to None, torch's fused or for-each optimizers, torch's own random numbers, evaluation at
the end alone. Networks are the workloads' plain ones.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from metabench.training import hashing, layers, sequential
from metabench.training.data import Data
from metabench.training.schedules import learning_rates


def optimizer(parameters, config: Mapping[str, Any], *, fused: bool = True) -> torch.optim.Optimizer:
    """torch's optimizer of a configuration, fused where torch has it, over all tensors at once elsewhere."""
    kind, rate, decay = config["optimizer"], float(config["learning_rate"]), float(config["weight_decay"])
    common: dict[str, Any] = {"lr": rate, "weight_decay": decay}
    fast = {"fused": True} if fused else {"foreach": True}
    if kind in ("sgd", "momentum", "nesterov"):
        momentum = 0.0 if kind == "sgd" else float(config["momentum"])
        return torch.optim.SGD(parameters, momentum=momentum, nesterov=kind == "nesterov", **common, **fast)
    if kind in ("adam", "adamw"):
        made = torch.optim.Adam if kind == "adam" else torch.optim.AdamW
        return made(parameters, betas=(float(config["beta1"]), float(config["beta2"])), **common, **fast)
    if kind == "rmsprop":
        return torch.optim.RMSprop(parameters, alpha=float(config["beta2"]), foreach=True, **common)
    if kind == "adagrad":
        return torch.optim.Adagrad(parameters, **common, **fast)
    return sequential.Lion(parameters, rate, (float(config["beta1"]), float(config["beta2"])), decay)


#: workloads whose modules are all here
_SEEN: set[type] = set()


@contextmanager
def ordinary(seed: int, fused: bool) -> Iterator[None]:
    """What plain networks and loops take from us is torch's and numpy's own here: random numbers from generators in place
    of hashed ones, the fastest optimizers in place of the plainest."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)

    def shape(*arguments) -> tuple[int, ...]:
        return np.broadcast_shapes(*map(np.shape, arguments))

    instead: dict[Callable, Callable] = {
        hashing.bits: lambda k, index: rng.integers(0, 2**32, shape(k, index), np.uint32),
        hashing.uniform: lambda k, index: rng.random(shape(k, index), np.float32),
        hashing.normal: lambda a, b, index: rng.standard_normal(shape(a, b, index), np.float32),
        hashing.permutation: lambda seed, epoch, n: rng.permutation(n),
        layers.dropped: lambda h, p, seed, stream, step: F.dropout(h, p),
        sequential.make_optimizer: partial(optimizer, fused=fused),
    }
    places = [(module, name, function) for function in instead for module, name in _places(function)]
    try:
        for module, name, function in places:
            setattr(module, name, instead[function])
        yield
    finally:
        for module, name, function in places:
            setattr(module, name, function)


@cache
def _places(function: Callable) -> list[tuple[Any, str]]:
    """Where one of our functions is known, and by what name."""
    modules = [module for name, module in sys.modules.items() if name.startswith("metabench.")]
    return [(module, name) for module in modules for name, value in vars(module).items() if value is function]


def train(
    workload,
    arrays,
    config: Mapping[str, Any],
    seed: int,
    epochs: int,
    device: str = "cpu",
    *,
    fused: bool = True,
) -> float:
    """Train one network for ``epochs`` and return its mean validation loss."""
    config, data, kind = dict(config), Data.of(arrays, device, torch.float32), type(workload)
    if kind not in _SEEN:
        workload.alone(arrays, config, seed, data, epochs)  # imports what it needs
        _SEEN.add(kind)
        _places.cache_clear()
    with ordinary(seed, fused):
        run = workload.alone(arrays, config, seed, data, epochs)
        if type(run) is sequential.Supervised:
            return _supervised(run.net, config, epochs, data, fused)
        for epoch in range(epochs):
            run.epoch(epoch)
        return run.evaluate()["valid"][0]


def _supervised(model: nn.Module, config: dict, epochs: int, data: Data, fused: bool) -> float:
    (x, y), (xv, yv) = data["train"], data["valid"]
    if x.ndim == 4:  # pictures: what torch's convolutions like best
        x = x.contiguous(memory_format=torch.channels_last)
        model = cast(Any, model).to(memory_format=torch.channels_last)  # torch's stubs lack it
    parameters = list(model.parameters())
    update, loss = optimizer(parameters, config, fused=fused), _loss(y, config)
    batch = min(int(config["batch_size"]), len(x))
    steps = len(x) // batch
    rates = learning_rates(config, epochs * steps).tolist()
    constant = config["schedule"] == "constant" and not config["warmup"]
    noise = sequential.number(config, "input_noise")
    clip = float(config["clip_norm"]) if config["clip"] == "norm" else 0.0
    step = 0
    for _ in range(epochs):
        order = torch.randperm(len(x), device=data.device)
        xs, ys = x[order], y[order]
        for at in range(0, steps * batch, batch):
            rows = xs[at : at + batch]
            if noise:
                rows = rows + noise * torch.randn_like(rows)
            value = loss(model(rows), ys[at : at + batch])
            update.zero_grad(set_to_none=True)
            value.backward()
            if clip:
                nn.utils.clip_grad_norm_(parameters, clip, foreach=True)
            if not constant:
                update.param_groups[0]["lr"] = rates[step]
            update.step()
            step += 1
    model.eval()
    with torch.no_grad():
        return float(loss(model(xv), yv))


def _loss(targets: torch.Tensor, config: Mapping[str, Any]) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Mean loss of outputs and targets of a batch."""
    if targets.is_floating_point():
        return lambda z, y: F.mse_loss(z, y.view_as(z))
    return partial(F.cross_entropy, label_smoothing=sequential.number(config, "label_smoothing"))
