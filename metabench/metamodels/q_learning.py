"""How to search, learned by searching: which acquisition pays after how many trials, and after how many in vain.

Watkins & Dayan, "Q-learning", Machine Learning 1992; for hyperparameter search as in Jomaa, Grabocka & Schmidt-Thieme,
"Hyp-RL: hyperparameter optimization by reinforcement learning", arXiv:1906.11527, 2019. There a deep network values
configurations; here the values are a table's or linear, and actions are acquisitions on a Gaussian process over tasks.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from metabench.errors import UsageError
from metabench.metamodels.parts.common import utilities
from metabench.metamodels.parts.searches import Course, every, log_improvement
from metabench.metamodels.task_gp import TaskGP
from metabench.search.base import History, MetaTrain

#: trials of a search that is learned from, and the discount of what comes later
HORIZON, DISCOUNT = 25, 0.95
#: what may be maximised: expected improvement, the mean, a confidence bound at two standard deviations, one of these
ACTIONS = ("improvement", "mean", "bound", "deviation")
#: states of the table: numbers of trials from which on, and numbers of trials in vain from which on
PHASES, STALLS = (0, 1, 3, 6, 12), (0, 2, 5)
#: exponent of the learning rate in what was seen so far; between ½ and 1 the values converge
DECAY = 0.75


class QLearning(TaskGP):
    """Proposes the maximum of the acquisition (:data:`ACTIONS`) that has the highest value in the state of the search.

    The state is the number of trials, those since the best one, and whether the mean of an untried candidate is higher
    than all tried ones'. ``kind`` ``tabular`` has a value for each of 30 states; in ``linear`` values are linear in
    these numbers. They are learned in ``rounds`` of searches of all source tasks, each predicted without its family;
    the reward of a trial is the drop in log regret.
    """

    name = "q_learning"
    version = "1"
    twin = "gp"
    arrays = (*TaskGP.arrays, "values_")
    grid: ClassVar[dict[str, tuple]] = {"kind": ("tabular", "linear"), "rounds": (5, 15)}

    def __init__(self, kind: str = "tabular", rounds: int = 15, random_state: int = 0):
        if kind not in ("tabular", "linear"):
            raise UsageError(f"q_learning: unknown kind {kind!r}; known: tabular, linear")
        if rounds < 1:
            raise UsageError("q_learning: rounds must be positive")
        super().__init__()
        self.kind = kind
        self.rounds = rounds
        # not ``seed``: that is the search's
        self.random_state = random_state

    def fit(self, source: MetaTrain) -> QLearning:
        super().fit(source)
        course, rng = Course.of(self, source), np.random.default_rng([self.random_state, 0x0153])
        tasks, seeds = every(course)
        learner = Learner(len(self._state(np.zeros(1), np.zeros(1), np.zeros(1))[0]), len(ACTIONS), DISCOUNT)
        for turn in range(self.rounds):
            explore = max(0.1, 1.0 - turn / (0.7 * self.rounds))
            search = course.search(tasks, seeds, HORIZON)
            before: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
            while search.trials < search.horizon:
                mean, std = search.posterior()
                best = np.where(search.tried, mean, -np.inf).max(1) if search.trials else mean.max(1)
                gap = np.where(search.tried, -np.inf, mean).max(1) - best
                state = self._state(np.full(len(tasks), search.trials), search.stalled, gap)
                if before is not None:
                    learner.update(*before, state)
                random = rng.random(len(tasks)) < explore
                action = np.where(random, rng.integers(len(ACTIONS), size=len(tasks)), learner.best(state))
                scores = acquisitions(mean, std, best, search.trials)
                chosen = np.take_along_axis(scores, action[:, None, None], 1)[:, 0]
                reward = search.step(np.where(search.tried, -np.inf, chosen).argmax(1))
                before = state, action, reward
            if before is not None:
                learner.update(*before, None)
        self.values_ = learner.values
        return self

    def _state(self, trials: np.ndarray, stalled: np.ndarray, gap: np.ndarray) -> np.ndarray:
        """States of searches as features, float64 [searches, features]: one of them 1 in a table."""
        above = gap > 0
        if self.kind == "linear":
            share, vain = np.minimum(trials / HORIZON, 1.0), np.minimum(stalled / 10.0, 1.0)
            return np.stack([np.ones(len(trials)), share, vain, np.clip(gap, -2.0, 2.0), above * (1.0 - share)], axis=1)
        phase = np.searchsorted(PHASES, trials, side="right") - 1
        stall = np.searchsorted(STALLS, stalled, side="right") - 1
        return np.eye(2 * len(PHASES) * len(STALLS))[(phase * len(STALLS) + stall) * 2 + above]

    # ---------------------------------------------------------------- searching
    def ask(self, history: History) -> int:
        mean, variance = self._posterior(history)
        untried = history.untried(len(mean))
        tried, y = utilities(self.problem, history)
        best = mean[tried].max() if len(tried) else mean.max()
        stalled = len(y) - 1 - int(np.argmax(y)) if len(y) else 0
        state = self._state(np.array([len(y)]), np.array([stalled]), np.array([mean[untried].max() - best]))
        action = int(np.argmax(state @ self.values_))
        scores = acquisitions(mean[None], np.sqrt(variance)[None], np.array([best]), len(y))[0, action]
        return int(untried[np.argmax(scores[untried])])


def acquisitions(mean: np.ndarray, std: np.ndarray, best: np.ndarray, trials: int) -> np.ndarray:
    """What the actions maximise, float64 [searches, ACTIONS, pool]; before the first trial improvement is the mean."""
    improvement = np.log(std) + log_improvement((mean - best[:, None]) / std) if trials else mean
    return np.stack([improvement, mean, mean + 2.0 * std, std], axis=1)


class Learner:
    """Action values that are linear in features of a state, learned from transitions of many searches at a time.

    With features of which one is 1 and the others 0 this is the tabular algorithm of Watkins & Dayan (1992), the rate of
    an entry being its number of visits to the power −``DECAY``.
    """

    def __init__(self, features: int, actions: int, discount: float):
        self.values = np.zeros((features, actions))
        self.discount = discount
        self._seen = np.zeros((features, actions))

    def best(self, state: np.ndarray) -> np.ndarray:
        """The action of highest value in each state [searches, features], int [searches]."""
        return np.argmax(state @ self.values, axis=1)

    def update(self, state: np.ndarray, action: np.ndarray, reward: np.ndarray, after: np.ndarray | None) -> None:
        """Learn from transitions: states [searches, features], actions int, rewards, and the states ``after`` (None when
        it ended there)."""
        every = np.arange(len(state))
        future = 0.0 if after is None else self.discount * (after @ self.values).max(1)
        surprise = reward + future - (state @ self.values)[every, action]
        taken = np.eye(self.values.shape[1])[action]
        shared = np.count_nonzero(state, axis=1)
        slope = (state * (surprise / shared)[:, None]).T @ taken
        now = (state**2).T @ taken
        self._seen += now
        rate = np.maximum(self._seen, 1e-12) ** -DECAY * np.maximum(now, 1e-12) ** (DECAY - 1.0)
        self.values += np.where(now > 0, slope * rate, 0.0)
