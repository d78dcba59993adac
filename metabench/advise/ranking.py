"""Choosing among trials where a class is rare: by the area under the ROC curve, on several splits.

With four validation rows of a class balanced accuracy has steps of an eighth, so that most trials tie; and the score of one
split is mostly luck. Of a person's own data every configuration is trained on all splits then, and the kept network on all rows:
40 % of a few dozen rows are too many to do without.
"""

from __future__ import annotations

import numpy as np

from metabench.ranks import rankdata
from metabench.tasks import Arrays, Task
from metabench.training import Curves, choose, resident

#: validation rows of the rarest class below which the AUC chooses
FEWEST = 30


def told(ranks: bool, repeats: int) -> list[str]:
    """What is done because a class is rare, a line each."""
    few, out = f"fewer than {FEWEST} validation rows of the rarest class", []
    if ranks:
        out.append(f"{few}: trials are chosen by the area under the ROC curve (AUC) on the validation rows")
    if repeats > 1:
        out.append(
            f"{few}: every configuration is trained on {repeats} splits and its scores are means over them; the kept network is "
            "trained on all rows"
        )
    return out


def repeats(task: Task, arrays: Arrays) -> int:
    """Splits that configurations are trained on: all that the task has where the rarest class has fewer than FEWEST validation
    rows, else one."""
    return task.n_splits if _rare(task, arrays) else 1


def _rare(task: Task, arrays: Arrays) -> bool:
    if task.kind != "classification" or task.metric != "balanced_accuracy":
        return False
    return int(np.bincount(arrays.y_valid, minlength=arrays.n_classes).min()) < FEWEST


def chooses(workload, task: Task, arrays: Arrays, device: str, backend: str) -> bool:
    """Whether the AUC chooses: the task is scored by balanced accuracy, the rarest class has fewer than FEWEST validation
    rows, and the engine hands over the weights that it takes."""
    hands_over = device == "cpu" and workload.name in resident.KEEPS and choose(workload, device, backend) == "resident"
    return hands_over and _rare(task, arrays)


def trained(workload, arrays: Arrays, configs, seeds, checkpoints) -> tuple[Curves, list[float | None]]:
    """Curves as :func:`metabench.training.run_cohort` gives them, and the validation AUC of each run (None: it diverged)."""
    import torch

    weights: list[np.ndarray | None] = []
    curves = resident.run(workload, arrays, configs, np.asarray(seeds), checkpoints, weights=weights)
    aucs: list[float | None] = []
    for row, seed, values in zip(configs.to_dict("records"), seeds, weights, strict=True):
        if values is None:
            aucs.append(None)
            continue
        net = workload.build(arrays, row, seed).float()
        net.take(values)
        with torch.no_grad():
            outputs = net.eval()(torch.from_numpy(arrays.x_valid)).double().numpy()
        aucs.append(auc(outputs, arrays.y_valid))
    return curves, aucs


def auc(outputs: np.ndarray, y: np.ndarray) -> float:
    """Area under the ROC curve of outputs [n, classes] for classes y: of several classes the mean of each against the rest.
    A class without rows does not count."""
    odds = np.exp(outputs - outputs.max(1, keepdims=True))
    odds /= odds.sum(1, keepdims=True)
    areas = []
    for label in range(odds.shape[1]):
        mine = y == label
        if mine.any() and not mine.all():
            # ties among probabilities rounded to 1 are broken by the outputs themselves
            margin = outputs[:, label] - np.delete(outputs, label, axis=1).max(1)
            ranks = rankdata(margin if odds.shape[1] == 2 else odds[:, label])
            n = int(mine.sum())
            areas.append((ranks[mine].sum() - n * (n + 1) / 2) / (n * (len(y) - n)))
    return float(np.mean(areas)) if areas else 0.5


__all__ = ["FEWEST", "auc", "chooses", "repeats", "told", "trained"]
