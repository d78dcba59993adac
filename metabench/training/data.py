"""A data set on a device, as every backend but the resident ones reads it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from metabench.tasks.task import Arrays

PARTS = ("train", "valid", "test")


@dataclass(frozen=True)
class Data:
    """``data["train"]``, ``data["valid"]``, ``data["test"]``: inputs [n, ...] and targets [n, ...]; ``data["source"]`` where
    something is learned first."""

    parts: dict[str, tuple[torch.Tensor, torch.Tensor]]
    #: of every real number, those of the networks too
    dtype: torch.dtype

    @classmethod
    def of(cls, arrays: Arrays, device: str, dtype: torch.dtype) -> Data:
        """Real numbers in ``dtype``, whole ones (classes, tokens) as int64."""

        def tensor(values: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(values, dtype=dtype if values.dtype.kind == "f" else torch.long, device=device)

        parts = PARTS if arrays.x_source is None else (*PARTS, "source")
        return cls({p: (tensor(getattr(arrays, f"x_{p}")), tensor(getattr(arrays, f"y_{p}"))) for p in parts}, dtype)

    @property
    def device(self) -> torch.device:
        return self.parts["train"][0].device

    def __getitem__(self, part: str) -> tuple[torch.Tensor, torch.Tensor]:
        return self.parts[part]


__all__ = ["PARTS", "Data"]
