"""Losses over the run axis: gradients while training, mean losses and scores at checkpoints.

Outputs are feature-major, [R, C, n]: n = B predictions, or B · T where a row has T targets (the characters of a
sequence), a row's one after the other. Of a regression C are the numbers predicted for a row.
"""

from __future__ import annotations

import math

import pandas as pd
import torch
from torch.nn import functional as F

from metabench.tasks.task import Arrays
from metabench.training.runaxis import column

#: metrics that count right predictions; of one target a row
HITS = ("accuracy", "balanced_accuracy")


class Loss:
    """The training loss of R runs: cross-entropy with label smoothing, or mean squared error."""

    def __init__(self, arrays: Arrays, configs: pd.DataFrame, targets: torch.Tensor, dtype):
        self.regression, self.targets = targets.is_floating_point(), targets
        smoothing = column(configs, "label_smoothing")
        e = torch.as_tensor(smoothing, dtype=dtype, device=targets.device)
        self.smooth = bool((smoothing > 0).any()) and not self.regression
        self.even, self.own, self.smoothed = e / max(1, arrays.n_outputs), 1.0 - e, e > 0
        self.even3, self.own3 = self.even[:, None, None], self.own[:, None, None]
        #: [R], 0 while every loss of a run so far was finite, NaN from then on
        self.trouble = torch.zeros(len(configs), dtype=dtype, device=targets.device)

    def mean(self, outputs: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean loss of each run's batch, [R], and its gradient by the outputs (which may be overwritten); ``rows``
        [R, B] are training rows."""
        runs, width, batch = outputs.shape
        y = self.targets.index_select(0, rows.view(-1))
        if self.regression:
            error = outputs.sub_(y.view(runs, batch, width).transpose(1, 2))
            loss = torch.linalg.vector_norm(error, dim=(1, 2)).square_().div_(batch * width)
            return loss, error.mul_(2.0 / (batch * width))
        y = y.view(runs, 1, batch)
        log = torch.log_softmax(outputs, 1)
        loss = log.gather(1, y).sum((1, 2))
        if self.smooth:
            # only where there is smoothing: 0 × inf would be NaN
            loss = torch.where(self.smoothed, loss * self.own + log.sum((1, 2)) * self.even, loss)
        p = log.exp_()
        if self.smooth:
            p.sub_(self.even3)
        p.scatter_add_(1, y, self.own3.neg().expand(runs, 1, batch))
        return loss.div_(-batch), p.mul_(1.0 / batch)

    def __call__(self, outputs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """The gradient of :meth:`mean`; marks runs whose loss is not finite."""
        loss, gradient = self.mean(outputs, rows)
        self.trouble.add_(loss.mul_(0.0))
        return gradient


class Evaluator:
    """Mean loss and score of R networks on one split, fed block by block; the metrics of
    :func:`metabench.training.evaluation.loss_and_score`. ``targets`` are [n] or [n, T]."""

    def __init__(self, targets: torch.Tensor, metric: str, classes: int):
        self.targets, self.metric, self.n = targets, metric, targets.numel()
        self.regression = targets.is_floating_point()
        if self.regression:
            exact = targets.double()
            self.spread = (exact - exact.mean(0)).square().sum()
        elif metric in HITS:
            # weights fall with the class, so that the first of several largest outputs is the prediction
            self.weight = torch.arange(classes, 0, -1, device=targets.device, dtype=torch.float32)
            self.wanted = self.weight[targets]
            self.onehot = F.one_hot(targets, classes).float()
            self.count = self.onehot.sum(0).double()

    def start(self, runs: int) -> None:
        """Forget earlier blocks."""
        self.loss = torch.zeros(runs, dtype=torch.float64, device=self.targets.device)
        if self.metric in HITS:
            self.hits = torch.zeros(runs, len(self.weight), dtype=torch.float64, device=self.targets.device)

    def add(self, outputs: torch.Tensor, low: int) -> None:
        """Take in the outputs [R, C, n'] of the rows from ``low`` on."""
        rows = outputs.shape[2] if self.regression else outputs.shape[2] * len(self.targets) // self.n
        part = slice(low, low + rows)
        y = self.targets[part]
        if self.regression:
            y = y.reshape(outputs.shape[2], -1).T.contiguous()
            if self.metric == "rmse":  # many numbers a row: one pass sums what two would copy to float64 first
                self.loss += torch.linalg.vector_norm(outputs - y, dim=(1, 2), dtype=torch.float64).square_()
            else:
                self.loss += (outputs.double() - y).square_().sum((1, 2))
            return
        top = outputs.amax(1, keepdim=True)
        own = outputs.gather(1, y.reshape(1, 1, -1).expand(len(outputs), 1, -1))
        normaliser = (outputs - top).exp_().sum(1, keepdim=True).log_().add_(top)
        self.loss += (normaliser - own).double().sum((1, 2))
        if self.metric in HITS:
            first = torch.where(outputs >= top, self.weight[:, None], 0.0).amax(1)
            # counts are whole numbers far below 2²⁴: exact in any order
            self.hits += (first == self.wanted[part]).float() @ self.onehot[part]

    def result(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(mean loss, score), float64 [R] each; where the loss is not finite the score means nothing."""
        loss = self.loss / self.n
        if self.metric == "r2":
            return loss, 1.0 - self.loss / self.spread
        if self.metric == "rmse":
            return loss, loss.sqrt()
        if self.metric == "bits":
            return loss, loss / math.log(2.0)
        if self.metric == "accuracy":
            return loss, self.hits.sum(1) / self.n
        here = self.count > 0
        return loss, (self.hits[:, here] / self.count[here]).mean(1)
