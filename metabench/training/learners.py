"""Runs that learn together over a leading run axis: what the batched backend moves from epoch to epoch.

:class:`Supervised` is the one of every workload that predicts targets from inputs; a workload that learns otherwise (an
adversary, a policy) gives its own :class:`Learners`.
"""

from __future__ import annotations

import numpy as np
import torch

from metabench.tasks.task import Arrays
from metabench.training.data import Data
from metabench.training.losses import Evaluator, Loss
from metabench.training.optimizers import Optimizers
from metabench.training.runaxis import Steps, orders
from metabench.training.schedules import learning_rates


class Learners:
    """R runs that advance together.

    What a run does must not depend, to the last bit, on the others; with the same seed it does the same on every
    backend. A step that may be captured in a CUDA graph (:meth:`advance`) neither waits for the device nor allocates what
    outlives it.
    """

    #: updates an epoch
    steps: int
    #: what a step does; it changes at the beginning of an epoch alone (a step captured before is then captured anew)
    phase: int = 0
    #: [R], 0 while everything that a run computed was finite, NaN from then on
    trouble: torch.Tensor

    def begin(self, epoch: int) -> None:
        """Prepare an epoch: what the host draws, such as the order of the rows."""
        raise NotImplementedError

    def advance(self, step: int | torch.Tensor) -> None:
        """One update of every run; steps are counted from 0 over all epochs, as in
        :class:`~metabench.training.runaxis.Steps`."""
        raise NotImplementedError

    def evaluate(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """ "train", "valid", "test" → mean loss and score of every run, float64 [R] each; the training score is not read."""
        raise NotImplementedError

    def resume(self, old: Learners, kept: torch.Tensor) -> None:
        """Go on where the runs ``kept`` (int64 positions, ascending) of ``old`` stand; they are this one's, in order."""
        raise NotImplementedError


class Supervised(Learners):
    """Networks over a run axis (a workload's ``cohort_class``) that learn to predict targets from rows."""

    def __init__(self, kind: type, arrays: Arrays, configs, seeds: np.ndarray, data: Data, epochs: int):
        x, y = data["train"]
        self.data, self.seeds = data, np.asarray(seeds)
        batch = min(int(configs["batch_size"].iloc[0]), len(x))
        self.steps = len(x) // batch
        self.networks = kind(arrays, configs, seeds, data, batch)
        rates = learning_rates(configs, epochs * self.steps)
        self.update = Optimizers(self.networks.flat, self.networks.grad, configs, rates, self.networks.used)
        self.loss = Loss(arrays, configs, y, self.networks.flat.dtype)
        self.evaluators = {part: Evaluator(y, arrays.metric, arrays.n_outputs) for part, (_, y) in data.parts.items()}
        self.rows = torch.empty(self.steps, len(self.seeds), batch, dtype=torch.long, device=x.device)
        self.batches = Steps(self.rows)

    @property
    def trouble(self) -> torch.Tensor:
        return self.loss.trouble

    def begin(self, epoch: int) -> None:
        steps, runs, batch = self.rows.shape
        order = orders(self.seeds, epoch, len(self.data["train"][0]))[:, : steps * batch]
        self.rows.copy_(torch.from_numpy(order).view(runs, steps, batch).transpose(0, 1))

    def advance(self, step: int | torch.Tensor) -> None:
        rows = self.batches.at(step % self.steps)
        self.networks.backward(self.loss(self.networks.forward(rows, step), rows))
        self.update.step(step)

    def evaluate(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        found = {}
        for part, (x, _) in self.data.parts.items():
            evaluator, size = self.evaluators[part], self.networks.block_rows
            evaluator.start(len(self.seeds))
            for low in range(0, len(x), size):
                evaluator.add(self.networks.predict(x[low : low + size]), low)
            found[part] = evaluator.result()
        return found

    def resume(self, old: Supervised, kept: torch.Tensor) -> None:
        flat = self.networks.flat
        flat.copy_(old.networks.flat[kept, : flat.shape[1]])
        self.update.resume(old.update, kept)


__all__ = ["Learners", "Supervised"]
