"""Training the trials of a tuning: on one split, or on all splits of a task where a class is rare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from metabench.advise import ranking
from metabench.plain import plain
from metabench.registry import create

if TYPE_CHECKING:
    from metabench.pretrained import Pretrained
    from metabench.tasks import Task
    from metabench.training import Curves


@dataclass(frozen=True)
class Trial:
    """One configuration, trained once, or once a split where a class is rare: scores are means over the splits then.
    Curves are over ``epochs``; they end where it diverged."""

    arm: str
    config: dict[str, Any]
    status: str
    epochs: tuple[int, ...]
    valid: tuple[float, ...]
    test: tuple[float, ...]
    train_loss: tuple[float, ...]
    seconds: float
    flops: int
    #: area under the ROC curve on the validation rows, where that chooses (:mod:`metabench.advise.ranking`)
    auc: float | None = None

    @property
    def choice(self) -> float:
        """What trials are chosen by: the larger the better where it is the AUC, else as the metric says."""
        return self.score if self.auc is None else self.auc

    @property
    def score(self) -> float:
        """The validation score at the end, which chooses unless the AUC does; NaN unless the trial is ok."""
        return self.valid[-1] if self.status == "ok" else float("nan")

    @property
    def test_score(self) -> float:
        """The test score at the end, which chooses nothing."""
        return self.test[-1] if self.status == "ok" else float("nan")


class Trainer:
    """Trains configurations of a task.

    Args:
        task: What to train on.
        fitted: The meta-model, whose search space the configurations are of.
        seed: Of weights, order and split; the k-th split of repeated ones is trained with seed + k.
        device: Where to train.
        backend: What trains.
        repeats: Splits to train every configuration on.
    """

    def __init__(self, task: Task, fitted: Pretrained, seed: int, device: str, backend: str, repeats: int = 1):
        self.task, self.fitted, self.device, self.backend = task, fitted, device, backend
        self.seeds = [seed + k for k in range(repeats)]
        self.workload = create("workloads", task.workload)
        self.ranks = ranking.chooses(self.workload, task, task.arrays(seed), device, backend)

    def __call__(self, arm: str, configs: list[dict[str, Any]]) -> list[Trial]:
        """Train configurations together."""
        made = [self._on_one_split(arm, configs, seed) for seed in self.seeds]
        return [_mean(parts) for parts in zip(*made, strict=True)]

    def _on_one_split(self, arm: str, configs: list[dict[str, Any]], seed: int) -> list[Trial]:
        arrays, table = self.task.arrays(seed), self.fitted.space.table(configs)
        curves, aucs = self._trained(arrays, table, [seed] * len(configs))
        out = []
        for i, config in enumerate(configs):
            n = int(curves.length[i])
            valid, test, loss = (
                tuple(float(v) for v in s[i, :n]) for s in (curves.valid_score, curves.test_score, curves.train_loss)
            )
            said = {k: plain(v) for k, v in config.items() if plain(v) is not None}
            epochs, seconds, flops = (
                tuple(int(e) for e in curves.epochs[:n]),
                float(curves.seconds[i]),
                int(curves.flops[i]),
            )
            out.append(Trial(arm, said, curves.status[i], epochs, valid, test, loss, seconds, flops, aucs[i]))
        return out

    def _trained(self, arrays, table, seeds: list[int]) -> tuple[Curves, list[float | None]]:
        from metabench.training import run_cohort

        checkpoints = self.task.checkpoints
        if self.ranks:
            return ranking.trained(self.workload, arrays, table, seeds, checkpoints)
        curves = run_cohort(self.workload, arrays, table, seeds, checkpoints, device=self.device, backend=self.backend)
        return curves, [None] * len(seeds)


def _mean(parts: Sequence[Trial]) -> Trial:
    """One configuration on several splits as one trial; it is ok where all are."""
    first = parts[0]
    if len(parts) == 1:
        return first
    broken = [t for t in parts if t.status != "ok"]
    if broken:
        first = min(broken, key=lambda t: len(t.epochs))
    n = len(first.epochs)

    def mean(name: str) -> tuple[float, ...]:
        return tuple(float(v) for v in np.mean([getattr(t, name)[:n] for t in parts], axis=0)) if n else ()

    areas = [t.auc for t in parts if t.auc is not None]
    return Trial(
        first.arm,
        first.config,
        first.status,
        first.epochs,
        mean("valid"),
        mean("test"),
        mean("train_loss"),
        sum(t.seconds for t in parts),
        sum(t.flops for t in parts),
        float(np.mean(areas)) if len(areas) == len(parts) else None,
    )


__all__ = ["Trainer", "Trial"]
