"""Update rules over the run axis: every run has its own hyperparameters, runs of one optimizer form a slice.

Each rule has the semantics of its ``torch.optim`` namesake (Lion: Chen et al., 2023) and is checked against it run by
run. All of them leave a weight of 0 whose gradient is 0 as it is, which keeps padding at 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pandas as pd
import torch

from metabench.training.runaxis import Steps, column, segments


class Rule:
    """The update of a stretch of runs: ``w`` [n, P] in place; the gradient ``g`` of the same shape is overwritten.

    ``rates`` are float64 [n, T], ``h`` float64 hyperparameters [n] by name.
    """

    #: weight decay is added to the gradient (L2), else applied to the weights
    coupled = True
    #: attributes [n, P] that carry over from step to step
    state: ClassVar[tuple[str, ...]] = ()

    def __init__(self, w: torch.Tensor, g: torch.Tensor, rates: np.ndarray, h: dict[str, np.ndarray]):
        self.w, self.g, self.h = w, g, h
        self.decay = self.constant(h["weight_decay"])
        self.down = self.table(-rates)
        self.prepare(rates)

    def constant(self, values: np.ndarray) -> torch.Tensor:
        """[n] → [n, 1] on the device."""
        return torch.as_tensor(values, dtype=self.w.dtype, device=self.w.device)[:, None]

    def table(self, values: np.ndarray) -> Steps:
        """[n, T] → for each of T steps [n, 1] on the device."""
        steps = torch.as_tensor(np.ascontiguousarray(values.T), dtype=self.w.dtype, device=self.w.device)
        return Steps(steps[:, :, None])

    def zeros(self) -> torch.Tensor:
        return torch.zeros_like(self.w, memory_format=torch.contiguous_format)

    def prepare(self, rates: np.ndarray) -> None:
        """Allocate the state."""

    def step(self, t: int | torch.Tensor) -> None:
        """Update number ``t`` (0-based), as in :class:`~metabench.training.runaxis.Steps`."""
        if self.coupled:
            self.g.addcmul_(self.w, self.decay)
        self.update(self.g, t)

    def update(self, g: torch.Tensor, t: int | torch.Tensor) -> None:
        raise NotImplementedError


class Sgd(Rule):
    def update(self, g, t):
        self.w.addcmul_(g, self.down.at(t))


class Momentum(Rule):
    state = ("m",)

    def prepare(self, rates):
        self.m, self.mu = self.zeros(), self.constant(self.h["momentum"])

    def update(self, g, t):
        self.m.mul_(self.mu).add_(g)
        self.w.addcmul_(self.m, self.down.at(t))


class Nesterov(Momentum):
    def update(self, g, t):
        self.m.mul_(self.mu).add_(g)
        self.w.addcmul_(g.addcmul_(self.m, self.mu), self.down.at(t))


class Adam(Rule):
    state = ("m", "v")

    def prepare(self, rates):
        self.m, self.v, self.scratch = self.zeros(), self.zeros(), self.zeros()
        self.keep1, self.keep2 = (self.constant(self.h[name]) for name in ("beta1", "beta2"))
        self.new1, self.new2 = (self.constant(1.0 - self.h[name]) for name in ("beta1", "beta2"))
        # lr / c1 * m / (sqrt(v / c2) + eps) = [lr * sqrt(c2) / c1] * m / (sqrt(v) + [eps * sqrt(c2)])
        t = np.arange(1, rates.shape[1] + 1)
        root = np.sqrt(1.0 - self.h["beta2"][:, None] ** t)
        self.size = self.table(-rates * root / (1.0 - self.h["beta1"][:, None] ** t))
        self.epsilon = self.table(1e-8 * root)

    def update(self, g, t):
        self.v.mul_(self.keep2).addcmul_(torch.mul(g, g, out=self.scratch), self.new2)
        self.m.mul_(self.keep1).addcmul_(g, self.new1)
        torch.sqrt(self.v, out=self.scratch).add_(self.epsilon.at(t))
        self.w.addcmul_(torch.div(self.m, self.scratch, out=self.scratch), self.size.at(t))


class AdamW(Adam):
    coupled = False

    def prepare(self, rates):
        super().prepare(rates)
        self.shrink = self.table(1.0 - rates * self.h["weight_decay"][:, None])

    def update(self, g, t):
        self.w.mul_(self.shrink.at(t))
        super().update(g, t)


class RmsProp(Rule):
    state = ("v",)

    def prepare(self, rates):
        self.v, self.scratch = self.zeros(), self.zeros()
        self.keep, self.new = self.constant(self.h["beta2"]), self.constant(1.0 - self.h["beta2"])

    def update(self, g, t):
        self.v.mul_(self.keep).addcmul_(torch.mul(g, g, out=self.scratch), self.new)
        torch.sqrt(self.v, out=self.scratch).add_(1e-8)
        self.w.addcmul_(g.div_(self.scratch), self.down.at(t))


class Adagrad(Rule):
    state = ("v",)

    def prepare(self, rates):
        self.v, self.scratch = self.zeros(), self.zeros()

    def update(self, g, t):
        self.v.addcmul_(g, g)
        torch.sqrt(self.v, out=self.scratch).add_(1e-10)
        self.w.addcmul_(g.div_(self.scratch), self.down.at(t))


class Lion(Rule):
    coupled = False
    state = ("m",)

    def prepare(self, rates):
        self.m, self.scratch = self.zeros(), self.zeros()
        self.keep1, self.keep2 = (self.constant(self.h[name]) for name in ("beta1", "beta2"))
        self.new1, self.new2 = (self.constant(1.0 - self.h[name]) for name in ("beta1", "beta2"))
        self.shrink = self.table(1.0 - rates * self.h["weight_decay"][:, None])

    def update(self, g, t):
        direction = torch.mul(self.m, self.keep1, out=self.scratch).addcmul_(g, self.new1).sign_()
        self.w.mul_(self.shrink.at(t)).addcmul_(direction, self.down.at(t))
        self.m.mul_(self.keep2).addcmul_(g, self.new2)


RULES: dict[str, type[Rule]] = {
    "sgd": Sgd,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RmsProp,
    "adagrad": Adagrad,
    "lion": Lion,
}


class Optimizers:
    """Updates ``flat`` [R, P] by the gradients in ``grad`` [R, P] with learning rates ``rates``, float64 [R, T].

    Runs of one optimizer should be neighbours. ``used`` [R] are the leading columns that a run uses (default: all);
    ``shares``, in place of it, are columns that all runs use, each with what their learning rate is multiplied by [R].
    """

    def __init__(
        self,
        flat: torch.Tensor,
        grad: torch.Tensor,
        configs: pd.DataFrame,
        rates: np.ndarray,
        used: Sequence[int] | None = None,
        shares: Sequence[tuple[slice, np.ndarray]] | None = None,
    ):
        used = [flat.shape[1]] * len(flat) if used is None else [int(u) for u in used]
        h = {name: column(configs, name) for name in ("weight_decay", "momentum", "beta1", "beta2")}
        parts = segments(list(zip(configs["optimizer"], used, strict=True)))
        #: stretch of runs, columns, their rule
        self.rules = [
            (s, columns, RULES[name](flat[s, columns], grad[s, columns], own, {k: v[s] for k, v in h.items()}))
            for (name, last), s in parts
            for columns, own in (
                [(slice(0, last), rates[s])] if shares is None else [(c, rates[s] * f[s, None]) for c, f in shares]
            )
        ]
        self.grad = grad
        clipped = (configs["clip"] == "norm").to_numpy(copy=True)
        self.clip = torch.as_tensor(clipped, device=flat.device)[:, None] if clipped.any() else None
        limit = column(configs, "clip_norm", 1.0)
        self.limit = torch.as_tensor(limit, dtype=flat.dtype, device=flat.device)[:, None]

    def step(self, t: int | torch.Tensor) -> None:
        """Update number ``t`` (0-based); overwrites the gradients."""
        if self.clip is not None:
            norm = torch.linalg.vector_norm(self.grad, dim=1, keepdim=True)
            factor = (self.limit / norm.add_(1e-6)).clamp_(max=1.0)
            self.grad.mul_(torch.where(self.clip, factor, 1.0))
        for *_, rule in self.rules:
            rule.step(t)

    def resume(self, old: Optimizers, kept: torch.Tensor) -> None:
        """Go on where the runs ``kept`` (positions) of an earlier set of runs stand; they are this one's, in order."""
        for name in {name for *_, rule in old.rules for name in rule.state}:
            whole = torch.zeros_like(old.grad)
            for part, columns, rule in old.rules:
                if name in rule.state:
                    whole[part, columns] = getattr(rule, name)
            whole = whole[kept]
            for part, columns, rule in self.rules:
                if name in rule.state:
                    getattr(rule, name).copy_(whole[part, columns])
