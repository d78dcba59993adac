"""Configurations as the compiled kernels read them: a structure of C for each workload that has a kernel."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import pandas as pd

ACTIVATIONS = ("relu", "tanh", "gelu", "silu")
POOLINGS = ("max", "average", "stride")
OPTIMIZERS = ("sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "adagrad", "lion")


def _fields(**kinds: str) -> list[tuple[str, type]]:
    """Fields of a structure by the name of their type in C."""
    return [(name, getattr(ctypes, f"c_{kind}")) for kind, names in kinds.items() for name in names.split()]


def _number(row: dict[str, Any], name: str, default: float = 0.0) -> float:
    """A hyperparameter; ``default`` where it is not active."""
    value = row[name]
    return default if pd.isna(value) else float(value)


def _common(row: dict[str, Any], seed: int, epochs: int) -> dict[str, Any]:
    """What the kernels ask of every configuration."""
    dropout = _number(row, "dropout")
    return {
        "norm": int(row["norm"] == "layer"),
        "optimizer": OPTIMIZERS.index(row["optimizer"]),
        "batch": int(row["batch_size"]),
        "clip": int(row["clip"] == "norm"),
        "epochs": epochs,
        "seed": seed,
        "drop": int(dropout * 2**24),
        "drop_scale": 1.0 / (1.0 - dropout),
        "smoothing": _number(row, "label_smoothing"),
        "init_scale": _number(row, "init_scale", 1.0),
        "clip_norm": _number(row, "clip_norm", 1.0),
        **{name: _number(row, name) for name in ("weight_decay", "momentum", "beta1", "beta2")},
    }


class Mlp(ctypes.Structure):
    """``Config`` of mlp.cpp."""

    _fields_ = _fields(
        int32="width depth activation norm optimizer batch clip epochs",
        uint32="seed drop",
        float="drop_scale noise smoothing init_scale",
        double="weight_decay momentum beta1 beta2 clip_norm",
    )

    @classmethod
    def of(cls, arrays, row: dict[str, Any], seed: int, epochs: int) -> Mlp:
        return cls(
            width=int(row["width"]),
            depth=int(row["depth"]),
            activation=ACTIVATIONS.index(row["activation"]),
            noise=_number(row, "input_noise"),
            **_common(row, seed, epochs),
        )


class Cnn(ctypes.Structure):
    """``Config`` of cnn.cpp."""

    _fields_ = _fields(
        int32="colours height width channels blocks kernel pooling norm augment optimizer batch clip epochs",
        uint32="seed drop",
        float="drop_scale smoothing",
        double="init_scale shift rotation scale flip cutout weight_decay momentum beta1 beta2 clip_norm",
    )

    @classmethod
    def of(cls, arrays, row: dict[str, Any], seed: int, epochs: int) -> Cnn:
        colours, height, width = arrays.shape
        return cls(
            colours=colours,
            height=height,
            width=width,
            **{name: int(row[name]) for name in ("channels", "blocks", "kernel")},
            pooling=POOLINGS.index(row["pooling"]),
            augment=int(row["augmentation"] == "random"),
            rotation=math.radians(_number(row, "rotation")),
            **{name: _number(row, name) for name in ("shift", "scale", "flip", "cutout")},
            **_common(row, seed, epochs),
        )


#: workload → its structure; the kernel is <workload>.cpp
CONFIGS: dict[str, type[Mlp] | type[Cnn]] = {"mlp": Mlp, "cnn": Cnn}
