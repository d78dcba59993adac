"""A sampler for OptunaHub whose first trial is already informed, by a meta-model that was fitted on 186,368 trainings."""

from __future__ import annotations

from metabench.interop.optuna import MetaSampler as _MetaSampler


class MetaSampler(_MetaSampler):
    """The sampler of the package metabench; ``MetaSampler.from_pretrained("mlp-v1")`` makes one of a fitted meta-model."""


__all__ = ["MetaSampler"]
