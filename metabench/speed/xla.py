"""JAX beside us: whole training runs under ``jit(vmap(scan))``, the way of PureJaxRL (Lu et al., 2022).

Plain networks only (one static shape, constant learning rate): every other shape of the mixed space would be compiled
anew, which takes longer than training it.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from functools import cache

import numpy as np

from metabench.training.runaxis import orders

#: runs that are vmapped together, the best of 8 … 256 on two cores
CHUNK = 32


def one_thread(core: int) -> None:
    """Bind this process to a core and XLA to one thread; before JAX is imported."""
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["JAX_PLATFORMS"] = "cpu"
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[core % len(cores)]})


@cache
def _trainer(
    widths: tuple[int, ...], optimizer: str, rate: float, decay: float, first: float, second: float
) -> Callable:
    """A compiled function (weights, rows of every step [R, steps, B], x, y) → weights of R trained runs."""
    import jax
    import jax.numpy as jnp

    def outputs(weights, x):
        for w, b in weights[:-1]:
            x = jnp.maximum(x @ w + b, 0)
        return x @ weights[-1][0] + weights[-1][1]

    def loss(weights, x, y):
        z = outputs(weights, x)
        return (jax.nn.logsumexp(z, -1) - jnp.take_along_axis(z, y[:, None], 1)[:, 0]).mean()

    def train(weights, rows, x, y):
        def momentum(carry, at):
            p, m = carry
            g = jax.grad(loss)(p, x[at], y[at])
            m = jax.tree.map(lambda m, g, p: m * first + g + decay * p, m, g, p)
            return (jax.tree.map(lambda p, m: p - rate * m, p, m), m), None

        def adam(carry, at):
            p, m, v, t = carry
            g = jax.tree.map(lambda g, p: g + decay * p, jax.grad(loss)(p, x[at], y[at]), p)
            m = jax.tree.map(lambda m, g: first * m + (1 - first) * g, m, g)
            v = jax.tree.map(lambda v, g: second * v + (1 - second) * g * g, v, g)
            t = t + 1
            up, down = 1 - first**t, 1 - second**t
            p = jax.tree.map(lambda p, m, v: p - rate / up * m / (jnp.sqrt(v / down) + 1e-8), p, m, v)
            return (p, m, v, t), None

        zero = jax.tree.map(jnp.zeros_like, weights)
        if optimizer == "adam":
            return jax.lax.scan(adam, (weights, zero, zero, 0.0), rows)[0][0]
        return jax.lax.scan(momentum, (weights, zero), rows)[0][0]

    return jax.jit(jax.vmap(train, in_axes=(0, 0, None, None)))


def train(arrays, config, seeds: np.ndarray, epochs: int) -> float:
    """Train a plain network for every seed; the mean validation accuracy, so that there is proof of learning."""
    import jax

    hidden = [int(config["width"])] * int(config["depth"])
    widths = (arrays.n_features, *hidden, arrays.n_outputs)
    adam = config["optimizer"] == "adam"
    first = float(config["beta1" if adam else "momentum"])
    second = float(config["beta2"]) if adam else 0.0
    run = _trainer(
        widths, config["optimizer"], float(config["learning_rate"]), float(config["weight_decay"]), first, second
    )
    batch, n = int(config["batch_size"]), len(arrays.x_train)
    steps = n // batch
    x, y = arrays.x_train, arrays.y_train
    right = []
    for at in range(0, len(seeds), CHUNK):
        some = seeds[at : at + CHUNK]
        rows = np.concatenate(
            [orders(some, e, n)[:, : steps * batch].reshape(len(some), steps, batch) for e in range(epochs)], axis=1
        ).astype(np.int32)
        weights = jax.block_until_ready(run(_weights(widths, some), rows, x, y))
        hidden_out = np.broadcast_to(arrays.x_valid, (len(some), *arrays.x_valid.shape))
        for i, (w, b) in enumerate(weights):
            hidden_out = hidden_out @ np.asarray(w) + np.asarray(b)[:, None]
            hidden_out = np.maximum(hidden_out, 0) if i + 1 < len(weights) else hidden_out
        right.append((hidden_out.argmax(-1) == arrays.y_valid).mean())
    return float(np.mean(right))


def _weights(widths: tuple[int, ...], seeds: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights [R, in, out] with standard deviation 1/√in and zero biases, of every layer."""
    rng = np.random.default_rng(np.asarray(seeds))
    return [
        ((rng.normal(size=(len(seeds), a, b)) / np.sqrt(a)).astype(np.float32), np.zeros((len(seeds), b), np.float32))
        for a, b in itertools.pairwise(widths)
    ]
