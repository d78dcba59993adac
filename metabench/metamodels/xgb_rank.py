"""Boosted trees that rank configurations, learned from pairs within a task.

Pairwise learning to rank by gradient boosting (Burges, "From RankNet to LambdaRank to LambdaMART", Microsoft Research
MSR-TR-2010-82, 2010) for transferring rankings of configurations across data sets, as in Bardenet, Brendel, Kégl & Sebag,
"Collaborative hyperparameter tuning", ICML 2013.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from metabench.errors import UsageError
from metabench.metamodels.parts.boosted import Boosted
from metabench.search.base import History, MetaTrain

_OBJECTIVES = {"pairwise": "rank:pairwise", "ndcg": "rank:ndcg"}


class XgbRank(Boosted):
    """Tries the untried candidate that ranks highest given task features and trials.

    A pseudo-history of a source task and the configurations judged after it are one query; relevance is the decile of
    the configuration's score within the task. ``objective`` counts all pairs alike (``pairwise``) or those at the top
    more (``ndcg``).
    """

    name = "xgb_rank"
    requires = ("xgboost",)
    version = "1"
    grid: ClassVar[dict[str, tuple]] = {"objective": ("pairwise", "ndcg"), "trees": (80, 150, 300), "depth": (2, 3, 5)}

    def __init__(
        self,
        objective: str = "pairwise",
        trees: int = 300,
        depth: int = 3,
        rate: float = 0.08,
        histories: int = 16,
        candidates: int = 48,
        random_state: int = 0,
    ):
        super().__init__(trees, depth, rate, histories, candidates, random_state)
        if objective not in _OBJECTIVES:
            raise UsageError(f"xgb_rank: unknown objective {objective!r}; known: {', '.join(_OBJECTIVES)}")
        self.objective = objective

    def fit(self, source: MetaTrain) -> XgbRank:
        import xgboost
        from scipy.stats import norm

        targets = self.prepare(source)
        rows = self.rows(source, targets, leave_out=True, stream=0)
        deciles = np.clip(np.floor(10.0 * norm.cdf(rows.y)), 0, 9).astype(np.float32)
        data = xgboost.QuantileDMatrix(rows.x, deciles, qid=rows.history, max_bin=64)
        booster = self.boost(data, objective=_OBJECTIVES[self.objective])
        self.booster_ = np.frombuffer(booster.save_raw("ubj"), dtype=np.uint8)
        return self

    def ranking(self, history: History) -> np.ndarray:
        """Scores whose order is the predicted ranking of the pool, larger is better, float32 [pool]."""
        return self._booster.inplace_predict(self.pool_rows(history))

    def ask(self, history: History) -> int:
        scores = self.ranking(history)
        untried = history.untried(len(scores))
        return int(untried[np.argmax(scores[untried])])
