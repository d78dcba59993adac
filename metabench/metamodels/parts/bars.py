"""Bar distributions: a histogram as a predictive density, with half-normal tails.

Müller, Hollmann, Pineda Arango, Grabocka & Hutter, "Transformers can do Bayesian inference", ICLR 2022, Sec. 4: inside the
bars the density is constant, outside of them the outermost ones are half-normal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import erfc

if TYPE_CHECKING:
    import torch

#: a half-normal's median over its scale: half of a tail's mass lies within one bar's width
_MEDIAN = 0.6744897501960817
#: and its mean over its scale
_SHARE = np.sqrt(2.0 / np.pi)


class Bars:
    """The density over y that has mass p_k in bar k, between ``borders`` [bars + 1]; the first and last are tails."""

    def __init__(self, borders: np.ndarray):
        self.borders = np.asarray(borders, dtype=float)
        widths = np.diff(self.borders)
        self.low, self.high = self.borders[1], self.borders[-2]
        self.scales = widths[[0, -1]] / _MEDIAN
        self._widths = widths

    @classmethod
    def of(cls, y: np.ndarray, bars: int) -> Bars:
        """``bars`` of equal mass on a sample of y; each is at least .01 wide."""
        borders = np.quantile(y, np.linspace(0.0, 1.0, bars + 1))
        steps = np.maximum(np.diff(borders), 0.01)
        return cls(borders[bars // 2] + np.append(0.0, np.cumsum(steps)) - steps[: bars // 2].sum())

    def log_density(self, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Log density [...] at ``y`` [...], of masses whose ``logits`` are [..., bars]."""
        import torch

        borders = torch.as_tensor(self.borders[1:-1], dtype=y.dtype, device=y.device)
        k = torch.bucketize(y.detach().contiguous(), borders)
        density = -torch.as_tensor(np.log(self._widths), dtype=y.dtype, device=y.device)[k]
        for tail, (edge, outward) in enumerate(((self.low, -1.0), (self.high, 1.0))):
            t = outward * (y - edge) / self.scales[tail]
            half = 0.5 * np.log(2.0 / np.pi) - np.log(self.scales[tail]) - 0.5 * t * t
            density = torch.where(t > 0, half, density)
        mass = torch.log_softmax(logits, dim=-1).gather(-1, k[..., None])[..., 0]
        return mass + density

    def moments(self, mass: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance [...] of densities with ``mass`` [..., bars]."""
        first = 0.5 * (self.borders[1:] + self.borders[:-1])
        second = first**2 + self._widths**2 / 12.0
        for k, edge, outward, scale in self._tails():
            mean = _SHARE * scale
            first[k], second[k] = edge + outward * mean, edge**2 + 2.0 * outward * edge * mean + scale**2
        mean = mass @ first
        return mean, np.maximum(mass @ second - mean**2, 1e-12)

    def improvement(self, mass: np.ndarray, best: np.ndarray) -> np.ndarray:
        """E[max(0, y − best)], exactly, [n]: ``mass`` [n, bars], ``best`` [n] (PFNs4BO, ICML 2023, Sec. 3)."""
        above = np.maximum(self.borders - best[:, None], 0.0) ** 2
        gain = np.diff(above, axis=1) / (2.0 * self._widths)
        (left, low, _, narrow), (right, high, _, wide) = self._tails()
        gain[:, left] = low - best - _SHARE * narrow + exceeding(low - best, narrow)
        gain[:, right] = exceeding(best - high, wide)
        return (mass * gain).sum(1)

    def _tails(self):
        yield 0, self.low, -1.0, self.scales[0]
        yield len(self._widths) - 1, self.high, 1.0, self.scales[1]


def exceeding(c: np.ndarray, scale: float) -> np.ndarray:
    """E[max(0, u − c)] of u = |N(0, scale²)|, [n]."""
    t = np.maximum(c, 0.0) / scale
    tail = 2.0 * scale * (np.exp(-0.5 * t * t) / np.sqrt(2.0 * np.pi) - 0.5 * t * erfc(t / np.sqrt(2.0)))
    return tail + np.maximum(-c, 0.0)
