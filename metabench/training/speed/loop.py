"""The ordinary loop at its best: ``torch.nn`` and ``torch.optim``, one network after another, nothing of our engine.

What a good practitioner writes for small networks on a table that fits into memory: rows permuted once an epoch and
taken in slices, gradients set to None, torch's fused or for-each optimizers, torch's own random numbers, evaluation at
the end alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from metabench.training.schedules import learning_rates
from metabench.training.sequential import Lion

_ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU, "gelu": lambda: nn.GELU(approximate="tanh")}


def network(arrays, config: Mapping[str, Any], seed: int) -> nn.Module:
    """The multilayer perceptron of a configuration, initialised by torch."""
    torch.manual_seed(seed)
    width, layers = arrays.n_features, []
    for _ in range(int(config["depth"])):
        layers.append(nn.Linear(width, int(config["width"])))
        width = int(config["width"])
        layers += [nn.LayerNorm(width)] if config["norm"] == "layer" else []
        layers.append(_ACTIVATIONS[config["activation"]]())
        layers += [nn.Dropout(float(config["dropout"]))] if config["dropout"] > 0 else []
    return nn.Sequential(*layers, nn.Linear(width, arrays.n_outputs))


def optimizer(parameters, config: Mapping[str, Any], *, fused: bool = True) -> torch.optim.Optimizer:
    """torch's optimizer of a configuration, fused where torch has it, over all tensors at once elsewhere."""
    kind, rate, decay = config["optimizer"], float(config["learning_rate"]), float(config["weight_decay"])
    common = {"lr": rate, "weight_decay": decay}
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
    return Lion(parameters, rate, (float(config["beta1"]), float(config["beta2"])), decay)


def loss_of(arrays, config: Mapping[str, Any]) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Mean loss of outputs and targets of a batch."""
    if arrays.kind != "classification":
        return lambda z, y: F.mse_loss(z[:, 0], y)
    smoothing = config.get("label_smoothing")
    smoothing = 0.0 if smoothing is None or math.isnan(smoothing) else float(smoothing)
    return lambda z, y: F.cross_entropy(z, y, label_smoothing=smoothing)


def train(
    arrays, config: Mapping[str, Any], seed: int, epochs: int, device: str = "cpu", *, fused: bool = True
) -> float:
    """Train one network for ``epochs`` and return its mean validation loss."""
    x, y, xv, yv = _tensors(arrays, device)
    model = network(arrays, config, seed).to(device)
    parameters = list(model.parameters())
    update, loss = optimizer(parameters, config, fused=fused), loss_of(arrays, config)
    batch = min(int(config["batch_size"]), len(x))
    steps = len(x) // batch
    rates = learning_rates(config, epochs * steps).tolist()
    constant = config["schedule"] == "constant" and not config["warmup"]
    noise = float(config["input_noise"])
    clip = float(config["clip_norm"]) if config["clip"] == "norm" else 0.0
    step = 0
    for _ in range(epochs):
        order = torch.randperm(len(x), device=device)
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


def _tensors(arrays, device: str) -> tuple[torch.Tensor, ...]:
    label = torch.long if arrays.kind == "classification" else torch.float32
    return tuple(
        torch.as_tensor(getattr(arrays, f"{what}_{part}"), dtype=torch.float32 if what == "x" else label, device=device)
        for part in ("train", "valid")
        for what in ("x", "y")
    )
