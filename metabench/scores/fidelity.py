"""Traces of searches that are counted in epochs → their incumbents over epochs and over seconds.

A trace lists advances: which configuration was trained on, and how many epochs it had seen then. Scores and times are
those of the stored runs, checkpoint by checkpoint.

The **incumbent** is the best by validation score among the configurations that were trained the longest: scores are
compared after equally many epochs, so a curve that starts steeply counts for nothing beside one that was seen to its end
(the rule of SMAC3, ``highest_observed_budget``; Lindauer et al., JMLR 2022). One that diverged is none. Its regret is that of
its full training, which is what a user would give it, whether the search saw that or not. From the first full training
on the search has seen it, and regret is what it is on a board of trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from metabench.errors import MetabenchError
from metabench.search.fidelity import Curves, checked
from metabench.search.replay import CurveReplay

#: looked at from this part of a full training on, so many times a factor of ten
FIRST, DENSITY = 0.02, 20


@dataclass(frozen=True)
class Course:
    """One search: after each checkpoint that it reached, what it had spent and whom it would recommend."""

    #: epochs so far, int64 [checkpoints]
    epochs: np.ndarray
    #: seconds of training and thought so far, float64 [checkpoints]
    seconds: np.ndarray
    #: seconds of thought so far, float64 [checkpoints]
    overhead: np.ndarray
    #: the incumbent, int64 [checkpoints]; −1 for none
    incumbent: np.ndarray

    def at(self, spent: np.ndarray, limits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(incumbent, thought) when no more than each of ``limits`` of ``spent`` (epochs or seconds) was used."""
        last = np.searchsorted(spent, limits, side="right") - 1
        known = last >= 0
        return np.where(known, self.incumbent[last], -1), np.where(known, self.overhead[last], 0.0)


def points(budget: int, marks: Sequence[int]) -> np.ndarray:
    """Where curves over epochs are looked at, in full trainings, ascending: a logarithmic grid and the marks."""
    n = round(np.log10(budget / FIRST) * DENSITY)
    grid = [float(f"{x:.3g}") for x in np.geomspace(FIRST, budget, n + 1)]
    return np.array(sorted({*grid, *map(float, marks)}))


def instants(courses: Sequence[Course]) -> np.ndarray:
    """Where curves over seconds are looked at, ascending: a logarithmic grid from when the first tenth of the searches
    have seen a score to when nine tenths of them have ended."""
    low = np.quantile([c.seconds[0] for c in courses], 0.1)
    high = np.quantile([c.seconds[-1] for c in courses], 0.9)
    exponents = np.floor(np.log10(max(low, 1e-6)) * DENSITY), np.ceil(np.log10(max(high, 2e-6)) * DENSITY)
    return np.array([float(f"{10 ** (i / DENSITY):.3g}") for i in range(int(exponents[0]), int(exponents[1]) + 1)])


def course(
    replay: CurveReplay,
    task_id: str,
    seed: int,
    sign: float,
    steps: Sequence[tuple[int, int]],
    overhead: Sequence[float],
    budget: int,
) -> Course:
    """The search that a trace's ``steps`` (configuration, epochs that it had seen then) describe, made again.

    ``sign`` is −1 where scores are to be minimised; ``budget`` counts full trainings. Raises MetabenchError at the first
    step that cannot have been made, when it spends more than the budget, and when it stops before that is spent.
    """
    grid = replay.checkpoints(task_id)
    curves, limit = Curves(grid), budget * grid[-1]
    n = replay.scores.shape[1]
    level = {epochs: i for i, epochs in enumerate(grid)}
    best = _Incumbent()
    thought = trained = 0.0
    found: list[tuple[int, float, float, int]] = []
    for number, (step, own) in enumerate(zip(steps, overhead, strict=True), 1):
        candidate, epochs = checked(step, curves, n)
        begin, spent = curves.epochs(candidate), curves.spent
        scores = replay.train(task_id, candidate, begin, epochs, seed)
        curves.add(candidate, scores)
        if (reached := curves.epochs(candidate)) != epochs:
            raise MetabenchError(f"advance {number}: {candidate} diverges by epoch {reached}; it cannot be at {epochs}")
        if curves.spent > limit:
            raise MetabenchError(f"advance {number}: {curves.spent} epochs are spent; the budget is {limit}")
        thought += own
        pace = replay.epoch_seconds(task_id, candidate, seed)
        first = level[begin] + 1 if begin else 0
        for i, score in enumerate(scores, first):
            best.see(candidate, i, sign * score)
            done = grid[i] - begin
            found.append((spent + done, thought + trained + pace * done, thought, best.candidate))
        trained += pace * (epochs - begin)
    gap = max(np.diff((0, *grid)))
    if limit - curves.spent >= gap and len(curves.unfinished(n)):
        raise MetabenchError(f"stops after {curves.spent} of {limit} epochs")
    epochs_, seconds, own_, incumbent = (np.array(column) for column in zip(*found, strict=True))
    return Course(epochs_, seconds, own_, incumbent)


class _Incumbent:
    """The best among those that were trained the longest; of equals the first."""

    def __init__(self):
        self.candidate = -1
        #: candidate → (checkpoint reached, score there); diverged ones are none of them
        self._standing: dict[int, tuple[int, float]] = {}

    def see(self, candidate: int, level: int, score: float) -> None:
        self._standing.pop(candidate, None)
        if np.isfinite(score):
            self._standing[candidate] = level, score
            if self.candidate != candidate and (level, score) > self._standing.get(self.candidate, (-1, -np.inf)):
                self.candidate = candidate
        elif candidate == self.candidate:
            self.candidate = max(self._standing, key=self._standing.__getitem__, default=-1)


def courses(traces: pa.Table, replay: CurveReplay, signs: dict[str, float], budget: int) -> list[Course]:
    """The search of every row of the traces. Raises MetabenchError naming the first cell that is none."""
    if any(traces[name].null_count for name in ("config_ids", "epochs", "overhead")):
        raise MetabenchError("traces: this board counts epochs; every cell needs config_ids, epochs and overhead")
    out = []
    for row in traces.select(["method", "task_id", "seed", "config_ids", "epochs", "overhead"]).to_pylist():
        where = f"traces: method {row['method']}, task {row['task_id']}, seed {row['seed']}"
        lists = row["config_ids"], row["epochs"], row["overhead"]
        if len({len(some) for some in lists}) > 1 or any(None in some for some in lists):
            raise MetabenchError(f"{where}: config_ids, epochs and overhead are not one a step")
        if not lists[0]:
            raise MetabenchError(f"{where}: there is no step")
        steps = list(zip(*lists[:2], strict=True))
        try:
            out.append(course(replay, row["task_id"], row["seed"], signs[row["task_id"]], steps, lists[2], budget))
        except MetabenchError as error:
            raise MetabenchError(f"{where}: {error}") from None
    return out
