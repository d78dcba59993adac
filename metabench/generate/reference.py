"""Whether a workload is sound: its default configuration beside chance and beside what other methods reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from metabench import registry


@dataclass(frozen=True)
class Reference:
    """Test scores on one task, of the split and the seed 0."""

    task_id: str
    metric: str
    direction: str
    #: of the best constant prediction
    chance: float
    #: of the default configuration at the last epoch; NaN when it diverges
    default: float
    #: of the workload's reference methods, by name
    others: dict[str, float]


def reference(
    workload: str, task_ids: Sequence[str], say: Callable[[str], None] = lambda text: None
) -> Iterator[Reference]:
    """A row for each task, as it is ready: the default configuration is trained, the workload's reference methods
    (:meth:`metabench.workloads.base.Workload.references`) are fitted.

    Raises UsageError for an unknown workload or task.
    """
    import numpy as np

    from metabench import tasks
    from metabench.training import run_cohort

    network = registry.create("workloads", workload)
    config = network.space.table([network.space.default()])
    for task_id in task_ids:
        task = tasks.get(task_id)
        say(task_id)
        arrays = task.arrays(0)
        curves = run_cohort(network, arrays, config, np.zeros(1, dtype=int), task.checkpoints)
        yield Reference(
            task_id,
            task.metric,
            task.direction,
            task.chance,
            float(curves.test_score[0, -1]),
            network.references(arrays),
        )


__all__ = ["Reference", "reference"]
