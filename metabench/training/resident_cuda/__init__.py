"""The resident backend on a GPU: one Triton program trains one run, its weights and optimizer state in cache.

A launch trains thousands of runs for all epochs up to the next checkpoint. Width, depth, activation, optimizer, schedule
and regularisers are numbers that a program reads, so any mixture of runs shares a launch; only the shapes of its tiles
(:class:`Tiles`: padded width, rows of a batch at a time) are compiled in. Nothing is synchronised before the last
checkpoint. :mod:`metabench.training.resident_cuda.kernels` says what lies where.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import time
from collections import deque
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import numpy as np
import pandas as pd

from metabench.schema import NUMERICS_VERSION
from metabench.tasks.task import Arrays
from metabench.training.curves import SERIES, Curves
from metabench.training.hashing import ORDER, key
from metabench.training.machine import driver, processor
from metabench.training.resident import ACTIVATIONS, METRICS, OPTIMIZERS
from metabench.training.runaxis import mix_, multiples, signed
from metabench.training.schedules import FACTORS

#: padded widths of hidden layers; a tile spans one
WIDTHS = (32, 64, 128, 256)
#: numbers in a tile, at most
TILE = 8192
#: columns of the inputs come in multiples of this
COLUMNS = 64
#: runs that share a launch, at most; memory for their states and for the order of their rows, in bytes
RUNS, MEMORY, ORDERS = 4096, 16 << 30, 1 << 30


@dataclass(frozen=True)
class Tiles:
    """What is compiled into a kernel: padded width and outputs, rows of a batch and rows of weights at a time, depth of
    a product at a time, warps and stages of the pipeline of loads."""

    width: int
    outputs: int
    rows: int
    slab: int
    block: int
    warps: int
    stages: int = 2

    @classmethod
    def of(cls, width: int, batch: int, outputs: int) -> Tiles:
        """Tiles for a run; they depend on nothing but the run and its data set."""
        wide = next((w for w in WIDTHS if width <= w), _power(width))
        out = max(16, _power(outputs))
        most = max(16, TILE // max(wide, out))
        rows = min(64, most, max(16, _power(batch)))
        slab = min(COLUMNS, most, wide)
        return cls(wide, out, rows, slab, 16, 8 if max(wide, out) >= 128 else 4)


@dataclass(frozen=True)
class Layout:
    """Sizes of a group's rows of memory, in numbers (see :mod:`metabench.training.resident_cuda.kernels`)."""

    params: int
    batch: int
    layers: int
    columns: int
    stride: int

    @classmethod
    def of(cls, tiles: Tiles, features: int, batch: int, depth: int) -> Layout:
        """For batches of up to ``batch`` rows and up to ``depth`` hidden layers."""
        wide, columns, batch = tiles.width, _up(features, COLUMNS), _up(batch, tiles.rows)
        params = tiles.outputs * (wide + 1) + columns * wide + (depth - 1) * wide * wide + 3 * depth * wide
        params = _up(params, 1024)
        activations = columns + 3 * depth * wide + 2 * max(wide, tiles.outputs) + depth
        return cls(params, batch, depth, columns, _up(4 * params + batch * activations, 16))


def _up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


def _power(n: int) -> int:
    """The smallest power of two that is not below n."""
    return 1 << (n - 1).bit_length()


def supports(workload) -> bool:
    """Whether there is a kernel for this workload."""
    return workload.name == "mlp"


@cache
def available(workload: str = "mlp") -> str | None:
    """None when the backend can be used here for what it supports, else the reason why not; compiles a small kernel to
    see."""
    if not driver():
        return "torch finds no CUDA device here"
    import torch

    if not torch.cuda.is_available():
        return "torch finds no CUDA device here"
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    try:
        from metabench.training.resident_cuda.kernels import probe

        out = torch.zeros(1, device="cuda")
        cast(Any, probe)[(1,)](out)
        right = out.item() == 1.0
    except Exception as error:  # whatever Triton, the C compiler that it calls or the driver raise
        return f"Triton cannot compile here: {type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
    return None if right else "a kernel that Triton compiled gives wrong numbers"


def run(workload, arrays: Arrays, configs: pd.DataFrame, seeds, checkpoints, device: str = "cuda") -> Curves:
    """Train all runs; arguments and result as :func:`metabench.training.run_cohort`. (On ``cpu`` only under Triton's
    interpreter, for tests.)"""
    began = time.perf_counter()
    engine = f"resident-{NUMERICS_VERSION}/triton-{importlib.metadata.version('triton')}"
    curves = Curves.empty(len(configs), checkpoints, engine, processor(device))
    data, table = _Data(arrays, device), Table.of(arrays, configs, seeds, max(checkpoints))
    flying: deque[_Flight] = deque()
    for number, (tiles, layout, chunk) in enumerate(table.chunks(_memory(device))):
        while flying and 4 * (layout.stride * len(chunk) + sum(f.size for f in flying)) > _memory(device):
            flying.popleft().land(curves)
        flying.append(_Flight(data, table.take(chunk), tiles, layout, chunk, checkpoints, number))
    # while the GPU works
    for i, row in enumerate(configs.to_dict("records")):
        curves.params[i] = workload.params(arrays, row)
        curves.flops[i] = workload.flops(arrays, row, max(checkpoints))
    for flight in flying:
        flight.land(curves)
    for i in np.flatnonzero(curves.length < len(checkpoints)):
        curves.status[i] = "diverged"
    curves.seconds[:] = (time.perf_counter() - began) * curves.flops / curves.flops.sum()
    return curves


def _memory(device: str) -> int:
    """Bytes that the states of all runs in flight may take."""
    import torch

    return min(MEMORY, torch.cuda.get_device_properties(device).total_memory // 3) if device != "cpu" else MEMORY


class _Data:
    """A data set on the device: all splits one below the other, columns padded with zeros."""

    def __init__(self, arrays: Arrays, device: str):
        import torch

        parts = [(arrays.x_train, arrays.y_train), (arrays.x_valid, arrays.y_valid), (arrays.x_test, arrays.y_test)]
        self.device, self.n, self.outputs = device, len(arrays.x_train), arrays.n_outputs
        self.features, self.metric = arrays.n_features, METRICS.index(arrays.metric)
        x = np.concatenate([x for x, _ in parts])
        self.x = torch.zeros(len(x), _up(self.features, COLUMNS), device=device)
        self.x[:, : self.features] = torch.as_tensor(x, device=device)
        target = np.float32 if arrays.kind == "regression" else np.int32
        self.targets = torch.as_tensor(np.concatenate([y for _, y in parts]).astype(target), device=device)
        self.ends = torch.as_tensor(np.cumsum([len(x) for x, _ in parts]).astype(np.int32), device=device)
        weights = np.zeros((3, max(16, _power(self.outputs))))
        for weight, (_, y) in zip(weights, parts, strict=True):
            if arrays.kind == "regression":
                weight[0] = ((y - y.astype(np.float64).mean()) ** 2).sum()
            else:
                present, counts = np.unique(y, return_counts=True)
                weight[present] = 1.0 / (len(present) * counts)
        self.weights = torch.as_tensor(weights, device=device)


@dataclass(frozen=True)
class Table:
    """What a kernel reads of R runs: ``whole`` int32 and ``real`` float64 numbers, [R, columns] named in
    :mod:`metabench.training.resident_cuda.kernels`; ``seeds`` are those whose order column "order" counts in."""

    whole: dict[str, np.ndarray]
    real: dict[str, np.ndarray]
    seeds: np.ndarray
    features: int
    outputs: int

    @classmethod
    def of(cls, arrays: Arrays, configs: pd.DataFrame, seeds, epochs: int) -> Table:
        def numbers(name: str, default: float = 0.0) -> np.ndarray:
            return pd.to_numeric(configs[name]).astype("Float64").to_numpy(np.float64, na_value=default)

        def place(name: str, names) -> np.ndarray:
            return pd.Categorical(configs[name], categories=list(names)).codes.astype(np.int32)

        n, dropout, seeds = len(arrays.x_train), numbers("dropout"), np.asarray(seeds)
        unique, order = np.unique(seeds, return_inverse=True)
        width, batch = numbers("width"), np.minimum(numbers("batch_size"), n)
        whole = {
            "seed": seeds.astype(np.uint32).view(np.int32),
            "order": order,
            "width": width,
            "depth": numbers("depth"),
            "batch": batch,
            "activation": place("activation", ACTIVATIONS),
            "norm": place("norm", ("none", "layer")),
            "optimizer": place("optimizer", OPTIMIZERS),
            "clip": place("clip", ("none", "norm")),
            "drop": np.floor(dropout * 2**24),
            "schedule": place("schedule", FACTORS),
            "warm": np.floor(numbers("warmup") * (epochs * (n // batch))),
        }
        real = {
            name: numbers(name, 1.0 if name == "clip_norm" else 0.0)
            for name in (
                "learning_rate",
                "weight_decay",
                "momentum",
                "beta1",
                "beta2",
                "clip_norm",
                "input_noise",
                "label_smoothing",
            )
        } | {
            "drop_scale": 1.0 / (1.0 - dropout),
            "bound_first": numbers("init_scale") * np.sqrt(3.0 / arrays.n_features),
            "bound_hidden": numbers("init_scale") * np.sqrt(3.0 / width),
            "bound_last": np.sqrt(3.0 / width),
        }
        whole = {name: values.astype(np.int32) for name, values in whole.items()}
        return cls(whole, real, unique, arrays.n_features, arrays.n_outputs)

    def take(self, chunk: np.ndarray) -> Table:
        """Those runs alone."""
        whole = {name: values[chunk] for name, values in self.whole.items()}
        used, whole["order"] = np.unique(whole["order"], return_inverse=True)
        real = {name: values[chunk] for name, values in self.real.items()}
        return Table(whole, real, self.seeds[used], self.features, self.outputs)

    def chunks(self, memory: int) -> list[tuple[Tiles, Layout, np.ndarray]]:
        """Runs that share launches, and the shapes that these are compiled for. The longest runs of a launch come first,
        so that its last ones are short."""
        width, batch, depth = (self.whole[name] for name in ("width", "batch", "depth"))
        groups: dict[Tiles, list[np.ndarray]] = {}
        for shape in np.unique(np.stack([width, batch], 1), axis=0):
            members = np.flatnonzero((width == shape[0]) & (batch == shape[1]))
            wide, rows = shape.tolist()
            groups.setdefault(Tiles.of(wide, rows, self.outputs), []).append(members)
        found = []
        for tiles, parts in groups.items():
            members = np.concatenate(parts)
            w, d = width[members].astype(float), depth[members]
            work = w * (self.features + (d - 1) * w + self.outputs)
            members = members[np.argsort(-work, kind="stable")]
            layout = Layout.of(tiles, self.features, int(batch[members].max()), int(depth[members].max()))
            size = max(1, min(RUNS, memory // (4 * layout.stride)))
            found += [(tiles, layout, part) for part in np.array_split(members, -(-len(members) // size))]
        return found


class _Flight:
    """A chunk of runs on its way: everything is queued on a stream of its own, nothing is waited for before ``land``."""

    STREAMS = 8

    def __init__(
        self, data: _Data, table: Table, tiles: Tiles, layout: Layout, chunk: np.ndarray, checkpoints, number: int
    ):
        import torch

        self.chunk, self.size, self.data = chunk, layout.stride * len(chunk), data
        if data.device == "cpu":
            self._queue(table, tiles, layout, checkpoints)
            return
        stream = _streams(self.STREAMS)[number % self.STREAMS]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._queue(table, tiles, layout, checkpoints)
            self.done = torch.cuda.Event()
            self.done.record()

    def _queue(self, table: Table, tiles: Tiles, layout: Layout, checkpoints) -> None:
        import torch

        from metabench.training.resident_cuda import kernels as compiled

        kernels: Any = compiled  # Triton makes launchers of its functions

        data, device, grid = self.data, self.data.device, (len(self.chunk),)
        whole = torch.as_tensor(
            np.stack([table.whole[name] for name in kernels.WHOLE], 1), dtype=torch.int32, device=device
        )
        real = torch.as_tensor(np.stack([table.real[name] for name in kernels.REAL], 1), device=device)
        memory = torch.zeros(len(self.chunk), layout.stride, device=device)
        powers = torch.ones(len(self.chunk), 2, dtype=torch.float64, device=device)
        alive = torch.ones(len(self.chunk), dtype=torch.int32, device=device)
        self.reached = torch.zeros_like(alive)
        self.points = torch.full((len(self.chunk), len(checkpoints), len(SERIES)), float("nan"), device=device)
        sizes = (layout.params, layout.batch, layout.layers, data.features, layout.columns, data.outputs)
        shape = {"WIDTH": tiles.width, "OUTPUTS": tiles.outputs}
        steps = shape | {"ROWS": tiles.rows, "BLOCK": tiles.block, "METRIC": data.metric}
        options = {"num_warps": tiles.warps, "num_stages": tiles.stages}
        state = (memory, layout.stride, whole, real)
        kernels.initialise[grid](
            *state, data.features, layout.columns, data.outputs, **shape, SLAB=tiles.slab, **options
        )
        most = max(1, ORDERS // (16 * len(table.seeds) * data.n))
        epoch = 0
        for place, checkpoint in enumerate(checkpoints):
            while epoch < checkpoint:
                some = min(most, int(checkpoint) - epoch)
                kernels.train[grid](
                    *state,
                    powers,
                    alive,
                    data.x,
                    data.targets,
                    orders(table.seeds, epoch, some, data.n, device),
                    data.n,
                    epoch,
                    some,
                    int(max(checkpoints)),
                    *sizes,
                    **steps,
                    SLAB=tiles.slab,
                    **options,
                )
                epoch += some
            kernels.evaluate[grid](
                *state,
                alive,
                self.points,
                self.reached,
                place,
                len(checkpoints),
                data.x,
                data.targets,
                data.ends,
                data.weights,
                *sizes,
                **steps,
                **options,
            )

    def land(self, curves: Curves) -> None:
        """Wait, and fill in the chunk's rows of ``curves``."""
        if self.data.device != "cpu":
            self.done.synchronize()
        reached, points = self.reached.cpu().numpy(), self.points.cpu().numpy()
        points[np.arange(points.shape[1]) >= reached[:, None]] = np.nan
        curves.length[self.chunk] = reached
        for k, name in enumerate(SERIES):
            getattr(curves, name)[self.chunk] = points[:, :, k]


@cache
def _streams(n: int) -> list:
    import torch

    return [torch.cuda.Stream() for _ in range(n)]


def orders(seeds: np.ndarray, first: int, epochs: int, n: int, device: str):
    """:func:`metabench.training.hashing.permutation` of every seed and epoch, int32 [seeds, epochs, n] on the device."""
    import torch

    keys = key(np.asarray(seeds)[:, None], ORDER, np.arange(first, first + epochs))
    x = signed(keys).to(device)[:, :, None] + multiples(np.arange(n)).to(device)
    mix_(x, torch.empty_like(x))
    # unsigned order by a signed sort: flip the highest bit
    return torch.sort(x.bitwise_xor_(-(2**31)), dim=2, stable=True).indices.to(torch.int32)


__all__ = ["Layout", "Table", "Tiles", "available", "orders", "run", "supports"]
