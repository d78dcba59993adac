"""A fitted meta-model that proposes in somebody else's parameters: what adapters to tuning packages share."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping as MappingABC
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from scipy import special

from metabench import direction
from metabench.interop.mapping import Mapping
from metabench.interop.ranges import range_of
from metabench.metatrain import row_keys
from metabench.pretrained.session import FIRST, Session

if TYPE_CHECKING:
    from metabench.pretrained import Pretrained

#: scrambled Sobol points of the user's ranges among the candidates
POOL = 1024
#: percentile of all configurations that a changed configuration of the opening may be behind the best of them
TOLERANCE = 0.1


class Guide:
    """Proposes values of a user's parameters for one search.

    What it keeps of the search only saves time: the same trials and the same seed give the same proposal, so a search can be
    resumed by anyone who knows its trials.
    """

    def __init__(self, model: Pretrained, task, mapping: Mapping, maximize: bool = True, seed: int = 0):
        """``task`` as for :meth:`metabench.pretrained.Pretrained.ask`; its direction is that of the user's objective."""
        self.model, self.mapping, self.seed = model, mapping, seed
        self.task = dataclasses.replace(model.info(task), direction="max" if maximize else "min")

    @cached_property
    def _pool(self) -> tuple[list[dict[str, Any]], Session]:
        """The candidates in the user's values, and the search over the configurations that they are, in the same order."""
        params = self.mapping.pool(POOL, self.seed, self.model.configs)
        table = self.mapping.table([self.mapping.config(p) for p in params])
        keys = row_keys(table, list(map(str, table)))
        first = sorted({key: i for i, key in reversed(list(enumerate(keys)))}.values())
        pool = table.iloc[first].reset_index(drop=True)
        params = [params[i] for i in first]
        near = self.mapping.params(self.model.space.default())
        default = next((i for i, p in enumerate(params) if repr(p) == repr(near)), None)
        session = self.model.session(self.task, pool, self.seed, self.mapping.extended, default)
        return params, session

    @cached_property
    def _opening(self) -> list[int]:
        """Candidates to begin with, in order: those nearest to the meta-model's opening. One that had to be changed to fit the
        user's parameters must still be expected to rank within TOLERANCE of the best of them."""
        rows = self.model.configs.iloc[list(self.model.record.opening)]
        held = cast("list[dict[str, Any]]", rows.astype(object).where(rows.notna(), None).to_dict("records"))
        near = {i: p for i, row in enumerate(held) if (p := self.mapping.params(row)) is not None}
        fit = list(near)
        if not fit:
            return []
        _, session = self._pool
        places = [self.place(near[i]) for i in fit]
        expected = self._percentile(places)
        theirs = row_keys(rows, list(session.space))
        ours = row_keys(session.pool.iloc[places], list(session.space))
        same = [key == theirs[i] for i, key in zip(fit, ours, strict=True)]
        good = (expected >= expected.max() - TOLERANCE) | np.array(same)
        order = [p for p in dict.fromkeys(p for p, ok in zip(places, good, strict=True) if ok) if p < session.size]
        default = session.default
        if default is None or default in order[:FIRST]:
            return order
        order = [p for p in order if p != default]
        return [*order[: FIRST - 1], default, *order[FIRST - 1 :]]

    def _percentile(self, places: Sequence[int]) -> np.ndarray:
        """The expected share of configurations that are worse, while nothing was tried, float64 [places]."""
        prediction = self._pool[1].predict(places)
        std = prediction.std * self.model.record.spread
        return special.ndtr(prediction.mean / np.sqrt(1.0 + std**2))

    def place(self, params: MappingABC[str, Any]) -> int:
        """The position of a user's values in the search, for :meth:`propose`."""
        return self._pool[1].place(self.mapping.config(params).values())

    def propose(self, trials: Sequence[tuple[int, float | None]], skip: int = 0) -> dict[str, Any]:
        """The values to try next.

        ``trials`` holds (:meth:`place` of the values, score) in the order in which trials began: the score is NaN where a
        trial failed and None where it runs. ``skip`` counts trials that run with values that nobody knows yet. While nothing
        is finished, proposals follow the meta-model's opening, and what is nearest to the default configuration is among the
        first FIRST trials. Later, trials that run count as if they had scored the median
        ("constant liar", Ginsbourger et al., 2010), or, where nothing has a score, as the meta-model expects. Once all
        candidates were tried they may be proposed again.
        """
        params, session = self._pool
        places, scores = [p for p, _ in trials], [s for _, s in trials]
        if all(s is None for s in scores):
            begun = set(places)
            left = [p for p in self._opening if p not in begun]
            if len(left) > skip:
                return params[left[skip]]
        finite = [s for s in scores if s is not None and math.isfinite(s)]
        if finite:
            lies = np.full(len(places), np.median(finite))
        else:  # percentiles are a score of their own until there are others
            lies = self._percentile(places) * direction.sign(self.task.direction)
        filled = [lie if s is None else float(s) for s, lie in zip(scores, lies, strict=True)]
        return params[session.ask(places, filled, skip + 1)[-1]]

    def first(self, k: int) -> list[dict[str, Any]]:
        """The first k proposals of a search of which nothing is known."""
        out: list[dict[str, Any]] = []
        places: list[int] = []
        params, _ = self._pool
        while len(out) < min(k, len(params)):
            out.append(self.propose([(p, None) for p in places]))
            places.append(self.place(out[-1]))
        return out


def top_params(
    model: str | Pretrained,
    task=None,
    k: int = 5,
    *,
    space: MappingABC[str, Any],
    names=None,
    fixed=None,
    maximize: bool = True,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """The k most promising values of your own parameters, to enqueue wherever trials are made.

    Args:
        model: a fitted meta-model, or its name.
        task: the task; None: nothing is known of it.
        k: how many.
        space: parameter → ``(low, high)``, ``(low, high, "log")`` or a list of options. Parameters that are no hyperparameter
            of the meta-model are left out of the answer.
        names: your name → the hyperparameter, where they differ (:meth:`metabench.interop.mapping.Mapping.build`).
        fixed: hyperparameters that you do not tune, with their values.
        maximize: False where smaller scores are better.
        seed: decides the candidates.

    Returns:
        Values of your parameters, the most promising first.

    Raises:
        UsageError: No parameter is a hyperparameter of the meta-model.
    """
    from metabench.errors import UsageError
    from metabench.pretrained import load_metamodel

    model = load_metamodel(model) if isinstance(model, str) else model
    mapping = Mapping.build(model.space, {n: range_of(n, spec) for n, spec in space.items()}, names, fixed)
    if not mapping.links:
        raise UsageError(
            f"{model.name} knows none of the parameters {', '.join(space)}; say names={{'mine': 'learning_rate'}}"
        )
    return Guide(model, task, mapping, maximize, seed).first(k)
