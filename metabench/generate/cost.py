"""How long runs take here: a model of their work, measured once on each kind of processor and kept in the cache.

A run's seconds are a sum over the work that it does (:meth:`metabench.workloads.base.Workload.work`: steps, operations,
updates, …), each with a price. Prices are fitted by non-negative least squares of the relative error on small runs that
span the space (some seconds, once). Operations alone would be off by half on a small network.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from metabench import files, untrusted
from metabench.errors import MetabenchError
from metabench.tasks.sample import sample

#: changes whenever the work that is priced does
VERSION = "1"
#: data sets to measure on: (training rows, inputs, classes; 0: regression)
SHAPES = ((96, 4, 3), (256, 12, 0), (1024, 64, 10))
#: configurations of the space for each; checkpoints of a short and a long run; turns of which the quickest counts
CONFIGS, SHORT, LONG, TURNS = 48, (1,), (1, 3, 8), 2
#: runs of a cohort that is measured, and its long run, where the backend advances several
COHORT, COHORT_LONG = 8, (1, 3)
#: runs that the batched backend may advance together; the quickest is chosen
TOGETHER = (8, 16, 32, 64)
#: seconds a GFLOP while nothing was measured: a core that does 50 GFLOP/s
UNMEASURED = 0.02


@dataclass(frozen=True)
class CostModel:
    """Seconds of a run on one thread; ``prices`` maps kinds of work to seconds a unit."""

    prices: Mapping[str, float] = field(default_factory=lambda: {"flops": UNMEASURED / 1e9})
    #: runs that advance together at best, where the backend advances several
    together: int | None = None
    #: median relative error on the runs that it was fitted on; NaN where nothing was measured
    error: float = float("nan")

    def seconds(self, work: Mapping[str, float]) -> float:
        return sum(price * work.get(name, 0.0) for name, price in self.prices.items())


def cost_model(workload, device: str = "cpu", backend: str = "resident") -> CostModel:
    """The model of a workload on this machine; measured when the cache (METABENCH_CACHE) has none.

    A GPU is not measured: there, and where measuring fails, operations alone are priced.
    """
    from metabench.tasks import cache_dir
    from metabench.training.machine import processor

    if device != "cpu":
        return CostModel()
    import torch

    identity = json.dumps([VERSION, workload.name, workload.space.to_json(), backend, processor(), torch.__version__])
    path = cache_dir() / "costs" / f"{workload.name}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"
    # one that is damaged is measured again
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, MetabenchError):
        return _stored(untrusted.read_json(path))
    model = calibrate(workload, backend)
    with contextlib.suppress(OSError):  # it is measured again next time
        files.sweep(path.parent)
        files.replace_file(
            path, json.dumps({"prices": model.prices, "together": model.together, "error": model.error}, indent=1)
        )
    return model


def _stored(found: Any) -> CostModel:
    """A cost model as it was kept. Raises an error of any kind where it is none: prices are finite and not negative."""
    prices, together, error = (
        {k: float(v) for k, v in found["prices"].items()},
        found["together"],
        float(found["error"]),
    )
    sane = all(math.isfinite(v) and v >= 0 for v in (*prices.values(), error))
    if not sane or not (together is None or (type(together) is int and together > 0)):
        raise ValueError("no cost model")
    return CostModel(prices, together, error)


def calibrate(workload, backend: str) -> CostModel:
    """Measure and fit the prices of a backend on this processor."""
    together = _together(workload) if backend == "batched" else None
    size, long = (1, LONG) if together is None else (COHORT, COHORT_LONG)
    work, seconds = [], []
    configs = workload.space.sample(CONFIGS if workload.view == "flat" else CONFIGS // 2, seed=1)
    by_shape = [name for name in ("batch_size", "depth", "width") if name in configs]
    configs = configs.sort_values(by_shape).reset_index(drop=True) if by_shape else configs
    for arrays in _samples(workload):
        for turn, at in enumerate(range(0, len(configs), size)):
            part, checkpoints = configs.iloc[at : at + size], SHORT if turn % 4 == 0 else long
            took = min(_seconds(workload, arrays, part, checkpoints, backend, together) for _ in range(TURNS))
            each = [workload.work(arrays, row, checkpoints) for row in part.to_dict("records")]
            work.append({name: sum(w[name] for w in each) for name in each[0]})
            seconds.append(took)
    return _fitted(work, np.array(seconds), together)


def _fitted(work: Sequence[Mapping[str, float]], seconds: np.ndarray, together: int | None) -> CostModel:
    from scipy.optimize import nnls

    names = list(work[0])
    design = np.array([[w[name] for name in names] for w in work]) / seconds[:, None]
    scale = np.maximum(design.max(axis=0), 1e-300)
    prices = nnls(design / scale, np.ones(len(seconds)))[0] / scale
    error = float(np.median(np.abs(design @ prices - 1.0)))
    return CostModel({n: float(p) for n, p in zip(names, prices, strict=True) if p > 0}, together, error)


def _seconds(workload, arrays, configs, checkpoints, backend: str, together: int | None) -> float:
    """Core-seconds of a cohort that is trained alone: what a busy neighbour takes does not count."""
    from metabench.training import run_cohort

    began = time.process_time()
    seeds = np.zeros(len(configs), dtype=int)
    run_cohort(workload, arrays, configs, seeds, checkpoints, backend=backend, together=together)
    return time.process_time() - began


def _together(workload) -> int:
    """Among TOGETHER, how many runs of one shape cost least each: calls are shared, until they fall out of cache."""
    arrays = _samples(workload)[-1]
    configs = workload.space.table([workload.space.default()] * max(TOGETHER))
    took = {}
    for size in TOGETHER:
        took[size] = min(_seconds(workload, arrays, configs, SHORT, "batched", size) for _ in range(TURNS))
    return min(took, key=lambda size: took[size])


def _samples(workload) -> list:
    """Made-up data sets of the workload's view, the largest last."""
    if workload.view != "flat":
        return [sample(workload.view, n) for n in (64, 256)]
    return [made for made in (_arrays(*shape) for shape in SHAPES) if made.kind in workload.kinds]


def _arrays(n: int, features: int, classes: int) -> Any:
    """A made-up data set of a shape; noise costs what real data cost."""
    from metabench.tasks.task import Arrays

    rng = np.random.default_rng(n)
    parts = []
    for rows in (n, n // 3, n // 3):
        x = rng.normal(size=(rows, features)).astype(np.float32)
        y = rng.integers(classes, size=rows).astype(np.int32) if classes else x[:, 0]
        parts += [x, y]
    kind, metric = ("classification", "accuracy") if classes else ("regression", "r2")
    return Arrays(kind, metric, classes, *parts)


def sizes_of(task) -> SimpleNamespace:
    """A task's sizes as :meth:`Workload.work` reads them off arrays, without loading any."""
    return SimpleNamespace(
        shape=task.shape,
        n_features=task.n_features,
        vocabulary=task.vocabulary,
        n_outputs=task.n_outputs,
        shots=task.shots,
        source_classes=task.source_classes,
        system=task.system,
        x_train=range(task.n_train),
        x_valid=range(task.n_valid),
        x_test=range(task.n_test),
    )
