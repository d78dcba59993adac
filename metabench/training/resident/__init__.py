"""The resident backend: a whole training run in one call of compiled code, its weights and optimizer state in cache.

The kernel is C++ that we ship as source, compiled once with the system's compiler, cached by a hash of everything that
determines the binary, and loaded through ctypes. Its arithmetic is the same on every instruction set (see simd.h), so
curves agree to the last bit between machines that can run it.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import time
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from metabench.errors import MetabenchError
from metabench.plain import row_dicts
from metabench.schema import NUMERICS_VERSION
from metabench.tasks.task import Arrays
from metabench.training.curves import Curves
from metabench.training.machine import processor
from metabench.training.resident import store
from metabench.training.resident.configs import ACTIVATIONS, CONFIGS, OPTIMIZERS
from metabench.training.resident.store import cache_folder
from metabench.training.schedules import learning_rates

_HERE = Path(__file__).parent
#: no -ffast-math: NaN must stay NaN; no contraction: only what is written as fma is fused
_FLAGS = ("-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-shared", "-fPIC")

METRICS = ("accuracy", "balanced_accuracy", "r2")
#: workloads whose kernel hands over the weights that a run ends with
KEEPS = ("mlp",)


class _Split(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("x", "label", "target")),
        ("rows", ctypes.c_int32),
    ]


class _Data(ctypes.Structure):
    _fields_ = [
        *((name, _Split) for name in ("train", "valid", "test")),
        *((name, ctypes.c_int32) for name in ("features", "classes", "metric")),
    ]


def compiler() -> str:
    """The system's C++ compiler: CXX, else the first of c++, g++, clang++ on the path. Raises MetabenchError when there
    is none."""
    chosen = os.environ.get("CXX")
    found = next(filter(None, map(shutil.which, [chosen] if chosen else ("c++", "g++", "clang++"))), None)
    if found:
        return found
    if chosen:
        raise MetabenchError(f"CXX names {chosen}, which is not on the path")
    raise MetabenchError("no C++ compiler (looked for c++, g++, clang++; set CXX to name one)")


def _processor_flags() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def build(source: str = "mlp.cpp", extra: tuple[str, ...] = ("-march=native",)) -> Path:
    """Compile a kernel unless it is in the cache. Raises MetabenchError when it cannot be built."""
    cxx = compiler()
    try:
        version = subprocess.run([cxx, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError as error:
        raise MetabenchError(f"{cxx} cannot be run: {error.strerror}") from None
    text = "".join(path.read_text(encoding="utf-8") for path in (_HERE / source, *sorted(_HERE.glob("*.h"))))
    identity = "\n".join([text, *_FLAGS, *extra, version, _processor_flags()])
    stem = f"{Path(source).stem}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"

    def compile_to(path: Path) -> None:
        command = [cxx, *_FLAGS, *extra, str(_HERE / source), "-o", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[0]
            raise MetabenchError(f"{cxx} could not compile {source}: {reason}")

    try:
        folder = store.safe_folder()
        return store.stored(folder, stem) or store.keep(folder, stem, compile_to)
    except OSError as error:
        raise MetabenchError(f"compiled kernels cannot be stored in {store.cache_folder()}: {error.strerror}") from None


@cache
def load(extra: tuple[str, ...] = ("-march=native",), workload: str = "mlp") -> ctypes.CDLL:
    """The compiled kernel of a workload. Raises MetabenchError when it cannot be built or loaded."""
    try:
        library = ctypes.CDLL(str(build(f"{workload}.cpp", extra)))
    except OSError as error:
        raise MetabenchError(f"the compiled kernel cannot be loaded: {error}") from None
    library.isa.restype = ctypes.c_char_p
    return library


@cache
def available(workload: str = "mlp") -> str | None:
    """None when the backend can be used here for a workload that it supports, else the reason why not."""
    try:
        load(workload=workload)
    except MetabenchError as error:
        return str(error)
    return None


def supports(workload) -> bool:
    """Whether there is a kernel for this workload."""
    return workload.name in CONFIGS


def _pack(x: np.ndarray, y: np.ndarray, keep: list) -> _Split:
    """Rows padded to 16 columns and by 16 rows, on a cache line's boundary; ``keep`` holds what C++ points at."""
    rows, columns = len(x), x[0].size
    shape = (rows + 16, -(-columns // 16) * 16)
    space = np.zeros(shape[0] * shape[1] + 16, dtype=np.float32)
    start = -space.ctypes.data % 64 // 4
    padded = space[start : start + shape[0] * shape[1]].reshape(shape)
    padded[:rows, :columns] = x.reshape(rows, columns)
    label = y.astype(np.int32)
    target = y.astype(np.float32)
    keep += [padded, label, target]
    return _Split(padded.ctypes.data, label.ctypes.data, target.ctypes.data, rows)


def run(
    workload, arrays: Arrays, configs: pd.DataFrame, seeds, checkpoints, *, library=None, weights: list | None = None
) -> Curves:
    """Train run after run on the calling thread; the rest as :func:`metabench.training.run_cohort`.

    Into ``weights`` go the parameters that each run ends with, float32 [params] (None for a run that diverged); of a
    workload of KEEPS alone. Layer by layer: weights [in, out], biases, gamma and beta of a layer norm.
    """
    library, kind = library or load(workload=workload.name), CONFIGS[workload.name]
    keep: list[np.ndarray] = []
    classes = arrays.n_classes if arrays.kind == "classification" else 0
    data = _Data(
        _pack(arrays.x_train, arrays.y_train, keep),
        _pack(arrays.x_valid, arrays.y_valid, keep),
        _pack(arrays.x_test, arrays.y_test, keep),
        arrays.n_features,
        classes,
        METRICS.index(arrays.metric),
    )
    epochs = max(checkpoints)
    at = np.asarray(checkpoints, dtype=np.int32)
    curves = Curves.empty(len(configs), checkpoints, f"resident-{NUMERICS_VERSION}", processor())
    rows = row_dicts(configs)
    n = len(arrays.x_train)
    for i, (row, seed) in enumerate(zip(rows, seeds, strict=True)):
        started = time.perf_counter()
        config = kind.of(arrays, row, int(seed), epochs)
        lr = np.ascontiguousarray(learning_rates(row, epochs * (n // min(config.batch, n))), dtype=np.float64)
        out = np.full((len(at), 5), np.nan, dtype=np.float32)
        given = [
            ctypes.byref(data),
            ctypes.byref(config),
            ctypes.c_void_p(lr.ctypes.data),
            ctypes.c_void_p(at.ctypes.data),
            ctypes.c_int32(len(at)),
            ctypes.c_void_p(out.ctypes.data),
        ]
        if weights is None:
            reached = library.train(*given)
        else:
            last = np.zeros(workload.params(arrays, row), dtype=np.float32)
            reached = library.train_keeping(*given, ctypes.c_void_p(last.ctypes.data))
            weights.append(last if reached == len(at) else None)
        if reached < 0:
            curves.status[i], curves.error[i] = "failed", "out of memory"
            reached = 0
        elif reached < len(at):
            curves.status[i] = "diverged"
        curves.length[i] = reached
        series = (curves.train_loss, curves.valid_loss, curves.test_loss, curves.valid_score, curves.test_score)
        for k, values in enumerate(series):
            values[i, :reached] = out[:reached, k]
        curves.params[i] = workload.params(arrays, row)
        curves.flops[i] = workload.flops(arrays, row, epochs)
        curves.seconds[i] = time.perf_counter() - started
    return curves


__all__ = ["ACTIVATIONS", "METRICS", "OPTIMIZERS", "available", "build", "cache_folder", "load", "run", "supports"]
