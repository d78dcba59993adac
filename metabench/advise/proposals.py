"""The search on a new task: first what together served other tasks best, then what the trials say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from metabench.metatrain import MetaTrain
from metabench.search.base import Searcher
from metabench.search.continuous import Trials, row

if TYPE_CHECKING:
    from metabench.metatrain import TaskInfo
    from metabench.pretrained import Pretrained
    from metabench.tasks import Task

#: trials that are made together before anything is known of the task
FIRST = 5


def propose(
    model: Pretrained, task: Task | TaskInfo, trials: Trials, n: int = 1, *, first: int = FIRST, seed: int = 0
) -> pd.DataFrame:
    """The next n configurations of a search that made ``trials``: of its first ``first`` those of the meta-model's
    opening, then :meth:`metabench.pretrained.Pretrained.ask`."""
    made = len(trials)
    if made < first:
        return model.ask(task, None, first).iloc[made : made + n].reset_index(drop=True)
    return model.ask(task, trials, n, seed=seed)


class Tune(Searcher):
    """What ``metabench tune`` does, as a method beside others: it is fitted already."""

    name = "tune"

    def __init__(self, model: str | Pretrained = "mlp-v1", first: int = FIRST):
        self.model, self.first = model, first

    def fit(self, source: MetaTrain | None) -> Tune:
        return self

    def begin(self) -> None:
        from metabench.pretrained import load_metamodel

        self._model = load_metamodel(self.model) if isinstance(self.model, str) else self.model

    def suggest_config(self, trials: Trials) -> Mapping[str, Any]:
        made = propose(self._model, self.problem.task, trials, first=self.first, seed=self.seed)
        return row(self._model.space, made, 0)
