"""Source tasks with their learning curves, for meta-models that learn what a partial training tells of a full one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np

from metabench.metatrain import MetaTrain
from metabench.search.replay import CurveReplay


@dataclass(frozen=True)
class CurveTrain(MetaTrain):
    """A :class:`MetaTrain` that kept the curves: ``curves`` is float64 [tasks, configs, seeds, checkpoints], raw validation
    scores, NaN from divergence on and where nothing was run; ``checkpoints`` are each task's, in epochs, the last is full
    training. Where a task has fewer than another, its curves end with NaN.
    """

    curves: np.ndarray = field(default_factory=lambda: np.empty((0, 0, 0, 0)))
    checkpoints: tuple[tuple[int, ...], ...] = ()

    def select(self, tasks: Sequence[int] | np.ndarray) -> CurveTrain:
        rows = list(tasks)
        kept = {"curves": self.curves[rows], "checkpoints": tuple(self.checkpoints[i] for i in rows)}
        return CurveTrain(**_facts(super().select(rows)), **kept)

    @classmethod
    def union(cls, sources: Sequence[CurveTrain]) -> CurveTrain:
        """As :meth:`MetaTrain.union`, which unites scores; curves go the same way, all their points side by side."""
        shape = tuple(max(s.curves.shape[axis] for s in sources) for axis in (2, 3))
        flat = []
        for source in sources:
            padded = np.full((*source.curves.shape[:2], *shape), np.nan)
            padded[:, :, : source.curves.shape[2], : source.curves.shape[3]] = source.curves
            flat.append(MetaTrain(source.space, source.configs, source.tasks, padded.reshape(*padded.shape[:2], -1)))
        curves = MetaTrain.union(flat).scores
        united = MetaTrain.union([replace(s, valid=None) for s in sources])
        held = [s.valid for s in sources if s.valid is not None]
        return cls(
            **{**_facts(united), "valid": MetaTrain.union(held) if held else None},
            curves=curves.reshape(*curves.shape[:2], *shape),
            checkpoints=tuple(grid for source in sources for grid in source.checkpoints),
        )


def with_curves(source: MetaTrain, table, workload: str) -> CurveTrain:
    """The same source with its curves, from the table it was read from. Raises MetabenchError for a task that lacks runs,
    or whose runs have different checkpoints."""
    task_ids = [task.task_id for task in source.tasks]
    replay = CurveReplay.from_table(table, workload, task_ids)
    return CurveTrain(
        **_facts(source), curves=replay.curves, checkpoints=tuple(replay.checkpoints(t) for t in task_ids)
    )


def _facts(source: MetaTrain) -> dict:
    return {f.name: getattr(source, f.name) for f in fields(MetaTrain)}
