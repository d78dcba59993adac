"""A fitted meta-model that proposes in somebody else's parameters: what adapters to tuning packages share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping as MappingABC
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from metabench import direction
from metabench.interop.mapping import Mapping, range_of
from metabench.metatrain import row_keys
from metabench.pretrained.model import FIRST
from metabench.search.continuous import Trials

if TYPE_CHECKING:
    from metabench.pretrained import Pretrained

#: scrambled Sobol points of the user's ranges among the candidates
POOL = 1024
#: percentile of all configurations that a changed configuration of the opening may be behind the best of them
TOLERANCE = 0.1


class Guide:
    """Proposes values of a user's parameters for one search. It keeps nothing of the search itself: the same trials and the
    same seed give the same proposal, so a search can be resumed by anyone who knows its trials."""

    def __init__(self, model: Pretrained, task, mapping: Mapping, maximize: bool = True, seed: int = 0):
        """``task`` as for :meth:`metabench.pretrained.Pretrained.ask`; its direction is that of the user's objective."""
        self.model, self.mapping, self.seed = model, mapping, seed
        self.task = dataclasses.replace(model.info(task), direction="max" if maximize else "min")

    @cached_property
    def _pool(self) -> tuple[list[dict[str, Any]], pd.DataFrame, dict[tuple, int]]:
        """The candidates: the user's values, the configurations that they are, and the place of each of these."""
        params = self.mapping.pool(POOL, self.seed, self.model.configs)
        table = self._table(params)
        keys = row_keys(table, list(table))
        return params, table, {key: i for i, key in reversed(list(enumerate(keys)))}

    @cached_property
    def _opening(self) -> list[int]:
        """Candidates to begin with, in order: those nearest to the meta-model's opening. One that had to be changed to fit the
        user's parameters must still be expected to rank within TOLERANCE of the best of them."""
        params, pool, _ = self._pool
        at = {repr(p): i for i, p in reversed(list(enumerate(params)))}
        rows = self.model.configs.iloc[list(self.model.record.opening)]
        near = [self.mapping.params(row) for row in rows.astype(object).where(rows.notna(), None).to_dict("records")]
        found = [(at[repr(p)], key) for p, key in zip(near, row_keys(rows, list(pool)), strict=True) if p is not None]
        if not found:
            return []
        chosen = pool.iloc[[i for i, _ in found]]
        expected = self.model.predict(self.task, chosen)["percentile"].to_numpy()
        same = [key == theirs for (_, key), theirs in zip(found, row_keys(chosen, list(pool)), strict=True)]
        good = (expected >= expected.max() - TOLERANCE) | np.array(same)
        order = list(dict.fromkeys(i for (i, _), ok in zip(found, good, strict=True) if ok))
        if self._default is None or self._default in order[:FIRST]:
            return order
        order = [i for i in order if i != self._default]
        return [*order[: FIRST - 1], self._default, *order[FIRST - 1 :]]

    @cached_property
    def _default(self) -> int | None:
        """The candidate nearest to the default configuration; None where the user's options leave it out."""
        params, *_ = self._pool
        space = self.model.space
        (row,) = space.table([space.default()]).astype(object).to_dict("records")
        near = self.mapping.params({n: None if pd.isna(v) else v for n, v in row.items()})
        return next((i for i, p in enumerate(params) if repr(p) == repr(near)), None)

    def _table(self, params: Sequence[MappingABC[str, Any]]) -> pd.DataFrame:
        return self.mapping.table([self.mapping.config(p) for p in params])

    def propose(
        self,
        finished: Sequence[tuple[MappingABC[str, Any], float]],
        pending: Sequence[MappingABC[str, Any]] = (),
        skip: int = 0,
    ) -> dict[str, Any] | None:
        """The values to try next, None when every candidate was tried.

        ``finished`` holds (values, score), NaN where a trial failed, ``pending`` the values of trials that run; ``skip``
        counts trials that run with values that nobody knows yet. While nothing is finished proposals follow the
        meta-model's opening, and what is nearest to the default configuration is among the first FIRST trials; later, pending trials count as if they had scored the median ("constant liar", Ginsbourger et
        al., 2010), or, where nothing has a score, as the meta-model expects.
        """
        params, _, place = self._pool
        tried = [*(p for p, _ in finished), *pending]
        if not finished:
            known = [dict(p) for p in pending]
            left = [params[i] for i in self._opening if params[i] not in known]
            if len(left) > skip:
                return left[skip]
        default = None if self._default is None else params[self._default]
        if default is not None and len(tried) + skip == FIRST - 1 and default not in [dict(p) for p in tried]:
            return default
        table, scores = self._table(tried), np.array([float(s) for _, s in finished])
        finite = scores[np.isfinite(scores)]
        if len(finite):
            lies = np.full(len(pending), np.median(finite))
        else:  # percentiles are a score of their own until there are others
            expected = self.model.predict(self.task, table)["percentile"].to_numpy()
            lies = expected[len(finished) :] * direction.sign(self.task.direction)
        keys = set(row_keys(table, list(table)))
        if len(set(place) - keys) <= skip:
            return None
        return self._pick(Trials(table, [*scores, *lies]), skip + 1)

    def _pick(self, history: Trials, n: int) -> dict[str, Any]:
        params, pool, place = self._pool
        chosen = self.model.ask(
            self.task, history, min(n, len(place)), seed=self.seed, pool=pool.iloc[sorted(place.values())]
        )
        (key,) = row_keys(chosen.tail(1), list(pool))
        return params[place[key]]

    def first(self, k: int) -> list[dict[str, Any]]:
        """The first k proposals of a search of which nothing is known."""
        out: list[dict[str, Any]] = []
        while len(out) < k and (found := self.propose([], out)) is not None:
            out.append(found)
        return out


def top_params(
    model: str | Pretrained, task=None, k: int = 5, *, space: MappingABC[str, Any], names=None, fixed=None,
    maximize: bool = True, seed: int = 0,
) -> list[dict[str, Any]]:  # fmt: skip
    """The k most promising values of your own parameters, to enqueue wherever trials are made.

    ``space`` maps parameters to ``(low, high)``, ``(low, high, "log")`` or a list of options; ``names`` and ``fixed`` as in
    :meth:`metabench.interop.mapping.Mapping.build`. Parameters that are no hyperparameter of the meta-model are left out.
    Raises UsageError when none is.
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
