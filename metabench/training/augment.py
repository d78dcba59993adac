"""Random changes of training images over the run axis, hashed per run, step and image.

Number j of the image in place s of a batch is hash number ``8 s + j`` of stream AUGMENT at that step: shifts right and
down, angle, scale, mirror, centre of the square that is cut out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch.nn import functional as F

from metabench.training import hashing
from metabench.training.runaxis import Keys, mix_, multiples

#: hyperparameters: shift (share of the side), rotation (degrees), scale, flip (probability), cutout (share of the side)
STRENGTHS = ("shift", "rotation", "scale", "flip", "cutout")
NUMBERS = 8


class Augment:
    """Moves images of R runs. ``strengths`` are arrays [R] by name."""

    def __init__(self, strengths: Mapping[str, np.ndarray], seeds, batch: int, shape, dtype, device):
        runs, (_, self.height, self.width) = len(seeds), shape
        self.dtype = dtype
        self.keys = Keys(seeds, hashing.AUGMENT, (runs, 1), device)
        self.index = multiples(np.arange(batch * NUMBERS)).to(device)
        self.bits, self.scratch = (
            torch.empty(runs, batch * NUMBERS, dtype=torch.int32, device=device) for _ in range(2)
        )
        tensor = {name: torch.as_tensor(strengths[name], dtype=dtype, device=device)[:, None] for name in STRENGTHS}
        self.shift, self.flip = 2.0 * tensor["shift"], tensor["flip"]
        self.angle, self.log_scale = tensor["rotation"] * (math.pi / 180.0), torch.log1p(tensor["scale"])
        self.cutout = tensor["cutout"][:, :, None, None]
        # middles of pixels in a picture that goes from -1 to 1
        across, down = (
            (2.0 * torch.arange(n, dtype=dtype, device=device) + 1.0) / n - 1.0 for n in (self.width, self.height)
        )
        self.x, self.y = across[None, None, None, :], down[None, None, :, None]

    def __call__(self, images: torch.Tensor, step: int | torch.Tensor) -> torch.Tensor:
        """Images [R · B, colours, height, width] as they are shown at a training step."""
        runs, batch = len(self.bits), self.bits.shape[1] // NUMBERS
        torch.add(self.index, self.keys.at(step), out=self.bits)
        mix_(self.bits, self.scratch)
        uniform = self.bits.bitwise_right_shift(8).bitwise_and_(0xFFFFFF).to(self.dtype).mul_(2.0**-24)
        right, down, turn, grow, mirror, cut_x, cut_y, _ = uniform.view(runs, batch, NUMBERS).unbind(2)
        angle, size = self.angle * (2.0 * turn - 1.0), torch.exp(self.log_scale * (1.0 - 2.0 * grow))
        cos, sin = torch.cos(angle) * size, torch.sin(angle) * size
        side = torch.where(mirror < self.flip, -1.0, 1.0)
        # where in the picture a pixel is read
        terms = (cos * side, -sin * (self.height / self.width), self.shift * (2.0 * right - 1.0))
        terms += (sin * (self.width / self.height) * side, cos, self.shift * (2.0 * down - 1.0))
        xx, xy, x0, yx, yy, y0 = (term[:, :, None, None] for term in terms)
        at = torch.empty(runs, batch, self.height, self.width, 2, dtype=self.dtype, device=images.device)
        torch.add(x0 + xx * self.x, xy * self.y, out=at[..., 0])
        torch.add(y0 + yx * self.x, yy * self.y, out=at[..., 1])
        moved = F.grid_sample(
            images, at.view(-1, self.height, self.width, 2), mode="bilinear", padding_mode="border", align_corners=False
        )
        far_x = (self.x - (2.0 * cut_x - 1.0)[:, :, None, None]).abs() >= self.cutout
        far_y = (self.y - (2.0 * cut_y - 1.0)[:, :, None, None]).abs() >= self.cutout
        return moved.mul_((far_x | far_y).to(self.dtype).view(-1, 1, self.height, self.width))


def augmented(images: torch.Tensor, strengths: Mapping[str, float], seed: int, step: int) -> torch.Tensor:
    """What :class:`Augment` shows of the images [B, colours, height, width] of one run, by torch's ordinary functions."""
    batch, _, height, width = images.shape
    u = hashing.uniform(hashing.key(seed, hashing.AUGMENT, step), np.arange(batch * NUMBERS, dtype=np.uint32))
    right, down, turn, grow, mirror, cut_x, cut_y, _ = u.astype(np.float64).reshape(batch, NUMBERS).T
    angle = np.deg2rad(strengths["rotation"]) * (2.0 * turn - 1.0)
    size = (1.0 + strengths["scale"]) ** (1.0 - 2.0 * grow)
    side = np.where(mirror < strengths["flip"], -1.0, 1.0)
    cos, sin = np.cos(angle) * size, np.sin(angle) * size
    move = 2.0 * strengths["shift"]
    rows = [
        [cos * side, -sin * height / width, move * (2.0 * right - 1.0)],
        [sin * side * width / height, cos, move * (2.0 * down - 1.0)],
    ]
    theta = torch.as_tensor(np.array(rows).transpose(2, 0, 1), dtype=images.dtype, device=images.device)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    x, y = ((2.0 * np.arange(n) + 1.0) / n - 1.0 for n in (width, height))
    in_x = np.abs(x - (2.0 * cut_x - 1.0)[:, None]) < strengths["cutout"]
    in_y = np.abs(y - (2.0 * cut_y - 1.0)[:, None]) < strengths["cutout"]
    hole = torch.as_tensor(in_y[:, :, None] & in_x[:, None, :], device=images.device)[:, None]
    return moved.masked_fill(hole, 0.0)
