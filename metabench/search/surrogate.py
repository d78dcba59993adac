"""The surrogate objective: a model fitted on a table's rows answers any point of the space.

It is for rehearsals. What it says is not what training would say, so its error on configurations that it was not fitted
on is measured for every task and stands beside every score that used it; no board is made with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from metabench import direction
from metabench.errors import MetabenchError
from metabench.search.continuous import Outcome, Trial

if TYPE_CHECKING:
    from metabench.space import Space

ENGINE = "surrogate-1"
FOLDS, TREES = 5, 100


class SurrogateObjective:
    """For each task extremely randomised trees (Geurts et al., 2006) over ``Space.encode``.

    They are fitted to normal scores, averaged over the table's seeds, of validation and of test scores together; an
    answer to a search with seed s is the score of that rank among the stored ones of table seed s modulo their number. A
    diverged run counts as the worst; an answer never diverges.
    """

    def __init__(self, space: Space, workload: str):
        self.space, self.workload = space, workload
        self._models: dict[str, Any] = {}
        #: task → (ranks as ascending normal scores [configs], ascending scores [2, configs, seeds])
        self._scales: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._errors: list[dict] = []
        #: task → what it says of every stored configuration when it was fitted without it: normal scores of validation and
        #: test, float64 [configs, 2]
        self.held_out: dict[str, np.ndarray] = {}

    @classmethod
    def from_table(cls, table, workload: str, task_ids: Sequence[str]) -> SurrogateObjective:
        """Fit on all stored rows of some tasks, after measuring the error by cross-validation over configurations.

        Raises MetabenchError for a task on which all configurations diverged with some seed.
        """
        self = cls(table.space(workload), workload)
        x = self.space.encode(table.configs(workload)).astype(np.float64)
        both = np.stack([table.final(workload, list(task_ids), s) for s in ("valid_score", "test_score")])
        for t, task_id in enumerate(task_ids):
            scores, sign = both[:, t], direction.sign(table.task_info(task_id).direction)
            if not np.isfinite(scores).any(axis=1).all():
                raise MetabenchError(f"table {table.name}: all configurations of {task_id} diverged with some seed")
            worst = np.nanmin(sign * scores, axis=1, keepdims=True)
            scores = np.where(np.isfinite(scores), sign * scores, worst)  # [2, configs, seeds], larger is better
            targets = _normal_scores(scores).mean(axis=2).T  # [configs, 2]
            ordered = np.sort(scores, axis=1)
            scale = np.sort(_normal_scores(np.arange(len(x), dtype=float)[None, :, None])[0, :, 0])
            self._scales[task_id] = scale, sign * ordered
            self.held_out[task_id] = said = _held_out(x, targets)
            self._errors.append({"task_id": task_id} | _error(said[:, 0], scores[0], scale, ordered[0]))
            self._models[task_id] = _fit(x, targets)
        return self

    @property
    def errors(self) -> pd.DataFrame:
        """Per task, on held-out configurations: ``spearman`` of answers with stored validation scores, and ``regret``,
        the mean absolute error of valid regret (clipped at 1) that an answer makes; means over seeds."""
        return pd.DataFrame(self._errors, columns=["task_id", "spearman", "regret"])

    def scores(self, task_id: str, said: np.ndarray) -> np.ndarray:
        """Raw scores of validation and test that normal scores ``said`` [configs, 2] stand for, float64 [2, configs, seeds]."""
        scale, ordered = self._scales[task_id]
        seeds = range(ordered.shape[2])
        return np.stack([[np.interp(said[:, p], scale, ordered[p, :, k]) for k in seeds] for p in (0, 1)]).swapaxes(
            1, 2
        )

    def answer(self, trials: Sequence[Trial]) -> list[Outcome]:
        """The outcome of each trial; it costs no training."""
        configs = self.space.encode(self.space.table([t.config for t in trials])).astype(np.float64)
        out: dict[int, Outcome] = {}
        for task_id in dict.fromkeys(t.task_id for t in trials):
            rows = [i for i, t in enumerate(trials) if t.task_id == task_id]
            scale, ordered = self._scales[task_id]
            for i, said in zip(rows, self._models[task_id].predict(configs[rows]), strict=True):
                k = trials[i].seed % ordered.shape[2]
                valid, test = (float(np.interp(z, scale, ordered[part, :, k])) for part, z in enumerate(said))
                out[i] = Outcome(valid, test, "ok", 0.0, ENGINE, "")
        return [out[i] for i in range(len(trials))]


def _normal_scores(scores: np.ndarray) -> np.ndarray:
    """Φ⁻¹((rank − .5)/n) along the second axis of [series, configs, seeds]."""
    from scipy import stats

    return stats.norm.ppf((stats.rankdata(scores, axis=1) - 0.5) / scores.shape[1])


def _fit(x: np.ndarray, targets: np.ndarray):
    from sklearn.ensemble import ExtraTreesRegressor

    return ExtraTreesRegressor(TREES, min_samples_leaf=2, max_features=0.5, random_state=0).fit(x, targets)


def _held_out(x: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Cross-validated predictions of ``targets`` [configs, 2], in FOLDS folds."""
    fold = np.random.default_rng(0).permutation(len(x)) % FOLDS
    said = np.empty(targets.shape)
    for f in range(FOLDS):
        said[fold == f] = _fit(x[fold != f], targets[fold != f]).predict(x[fold == f])
    return said


def _error(said: np.ndarray, truth: np.ndarray, scale: np.ndarray, ordered: np.ndarray) -> dict:
    """Error of predictions [configs] on validation scores ``truth`` [configs, seeds], whose sorted values are ``ordered``."""
    from scipy import stats

    rank, wrong = [], []
    for k in range(truth.shape[1]):
        answer = np.interp(said, scale, ordered[:, k])
        rank.append(0.0 if np.ptp(answer) == 0 or np.ptp(truth[:, k]) == 0 else stats.spearmanr(said, truth[:, k])[0])
        best, median = ordered[-1, k], ordered[(len(said) - 1) // 2, k]
        regret = [np.minimum((best - y) / max(best - median, 1e-12), 1.0) for y in (answer, truth[:, k])]
        wrong.append(np.abs(regret[0] - regret[1]).mean())
    return {"spearman": float(np.mean(rank)), "regret": float(np.mean(wrong))}
