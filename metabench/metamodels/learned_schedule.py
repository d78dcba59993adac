"""How to train, as rules: which optimizer, schedule, learning rate, warm-up and batch size suit a task of what kind.

A rule is a quadratic in a few hyperparameters, whose coefficients hang on the task's features; it says what is good before
a trial, and trials bend it. Rules of thumb for learning rates are of that form: linear or root scaling with the batch size
(Goyal et al., arXiv:1706.02677, 2017; Krizhevsky, arXiv:1404.5997, 2014), another optimum for every optimizer and schedule
(Metz et al., "Using a thousand optimization tasks to learn hyperparameter search strategies", arXiv:2002.11887, 2020).
"""

from __future__ import annotations

import itertools
from typing import ClassVar

import numpy as np
import pandas as pd
from scipy.linalg import cho_factor, cho_solve

from metabench.errors import UsageError
from metabench.metamodels.empirical_gp import EmpiricalGP
from metabench.metamodels.parts.common import MetaModel, task_features
from metabench.metamodels.parts.gp import PoolGP
from metabench.metamodels.parts.matern import distances, matern
from metabench.metamodels.parts.source_space import blocks
from metabench.metamodels.parts.task_kernel import Standardiser, TaskKernel
from metabench.metamodels.task_gp import TaskGP
from metabench.metatrain import TaskInfo
from metabench.search.base import MetaTrain
from metabench.space import Choice, Ordinal, Space

#: hyperparameters by role; a space may lack some of them
RATE, OPTIMIZER, SCHEDULE, BATCH = "learning_rate", "optimizer", "schedule", "batch_size"
#: steps over the range of a number when a rule's optimum is looked for, and of the learning rate
STEPS, FINE = 5, 65


class LearnedSchedule(EmpiricalGP):
    """z(x) = β(task)ᵀ φ(x) + residual, β ~ N(B(features), Σ): a Bayesian linear model on rule coordinates φ.

    φ holds, for every optimizer, a quadratic in the learning rate; for every schedule a level and a slope in the rate;
    for the other numbers quadratics and products with the rate, for the other choices levels (:func:`coordinates`). Each
    source task gives a β by ridge regression (``ridge``); B interpolates them by a kernel over task features
    (:class:`TaskKernel`), Σ is what that leaves, and a Matérn process with variance ``noise`` what rules leave. Searching
    maximises expected improvement. :meth:`rules` says in native units what is thought best for a task.
    """

    name = "learned_schedule"
    version = "1"
    twin = "gp"
    built_on = (TaskGP,)
    arrays = ("betas_", "deviations_", "features_", "relevance_", "centre_", "spread_")
    facts = ("rest_", "names_", "common_", "idiosyncrasy_")
    grid: ClassVar[dict[str, tuple]] = {"ridge": (0.3, 3.0), "noise": (0.15, 0.4)}
    fit_settings: ClassVar[tuple[str, ...] | None] = ("ridge",)

    def __init__(self, ridge: float = 0.3, noise: float = 0.15):
        if ridge <= 0 or noise <= 0:
            raise UsageError("learned_schedule: ridge and noise must be positive")
        self.ridge = ridge
        self.noise = noise

    # ---------------------------------------------------------------- learning
    def fit(self, source: MetaTrain) -> LearnedSchedule:
        base = TaskGP().fit(source)
        self.source_, self.names_ = base.source_, base.names_
        self.centre_, self.spread_, self.features_, self.relevance_ = (
            base.centre_,
            base.spread_,
            base.features_,
            base.relevance_,
        )
        self.common_, self.idiosyncrasy_ = base.common_, base.idiosyncrasy_
        ran = np.flatnonzero(source.seen.any(axis=1))
        phi = coordinates(self.source_.space, self.source_.encoded)
        gram = phi.T @ phi + self.ridge * np.eye(phi.shape[1])
        self.betas_ = cho_solve(cho_factor(gram), phi.T @ base.targets_.T).T  # [tasks, coordinates]
        families = np.unique([source.tasks[t].family for t in ran.tolist()], return_inverse=True)[1]
        left, variance = self._kernel().left_out(self.betas_, families)
        self.deviations_ = left / np.sqrt(variance * len(ran))[:, None]
        self.rest_ = max(0.05, float(np.mean((base.targets_ - self.betas_ @ phi.T) ** 2)))
        return self

    def _kernel(self) -> TaskKernel:
        return TaskKernel(self.features_, self.relevance_, self.common_, self.idiosyncrasy_)

    def coefficients(self, task: TaskInfo) -> tuple[np.ndarray, float]:
        """The β expected of a task, float64 [coordinates], and the factor of Σ there."""
        x = Standardiser(self.centre_, self.spread_)(task_features(self.names_, task))
        weights, variance = self._kernel().weights(x)
        return weights @ self.betas_, variance

    def rules(self, task: TaskInfo) -> pd.DataFrame:
        """What is thought best for a task before any trial, a row per optimizer, best first: the hyperparameters of the
        rule in native units and the normal ``score`` expected of them. Everything else is at its default."""
        space = self.source_.space
        beta, _ = self.coefficients(task)
        varied = [n for n in (RATE, SCHEDULE, BATCH, "warmup") if n in space]
        optimizer = space.get(OPTIMIZER)
        options = optimizer.options if isinstance(optimizer, Choice) else (None,)
        values = [_values(space[n], FINE if n == RATE else STEPS) for n in varied]
        table = pd.DataFrame(list(itertools.product(options, *values)), columns=[OPTIMIZER, *varied])
        for name, p in space.items():
            if name not in table:
                table[name] = pd.Series([p.default] * len(table), dtype=p.dtype)
        # hyperparameters of other optimizers are inactive
        for name, p in space.items():
            if p.when is not None and not p.when.on_task and p.when.parent in table:
                off = ~table[p.when.parent].isin(p.when.values)
                table[name] = table[name].astype(p.dtype).mask(off)
        scores = coordinates(space, blocks(space, table, list(space))) @ beta
        table = table[[OPTIMIZER, *varied]].assign(score=scores).sort_values("score", ascending=False, kind="stable")
        best = table.drop_duplicates(OPTIMIZER).reset_index(drop=True)
        return best if OPTIMIZER in space else best.drop(columns=OPTIMIZER)

    # ---------------------------------------------------------------- searching
    def begin(self) -> None:
        MetaModel.begin(self)
        self.source_.align(self.problem)  # tells of a space that changed
        columns = np.split(self.source_.pool_columns(self.problem), self._edges(), axis=1)
        # what the pool lacks is as in the middle of the source's configurations
        middles = [b.mean(0) for b in self.source_.encoded]
        known = [np.where(np.isnan(c), m, c) for c, m in zip(columns, middles, strict=True)]
        phi = coordinates(self.source_.space, known)
        beta, variance = self.coefficients(self.problem.task)
        self._mean = phi @ beta
        factors = np.sqrt(variance) * self.deviations_ @ phi.T  # [tasks, pool]
        x = self.source_.pool_coordinates(self.problem)

        def row(i: int) -> np.ndarray:
            return factors[:, i] @ factors + self.rest_ * matern(distances(x[i : i + 1], x)[0])

        self._gp = PoolGP(row, (factors**2).sum(0) + self.rest_, self.noise)

    def _edges(self) -> list[int]:
        return np.cumsum([b.shape[1] for b in self.source_.encoded])[:-1].tolist()


def coordinates(space: Space, encoded: list[np.ndarray]) -> np.ndarray:
    """Rule coordinates φ, float64 [n, coordinates], of configurations in blocks of a space
    (:func:`~metabench.metamodels.parts.source_space.blocks`).

    With u in [−1, 1] the learning rate on its scale, e one-hot over optimizers, s over schedules, o over options of other
    choices and v in [−1, 1] other numbers (0 where inactive): e, e·u, e·u², s, s·u, o, v, v², v·u; for the batch size e·v in
    place of v, so that the optimum may shift with it under every optimizer.
    """
    parts = dict(zip(space, encoded, strict=True))
    n = len(encoded[0])

    def number(block: np.ndarray) -> np.ndarray:
        return np.clip((2.0 * block[:, :1] - 1.0) * block[:, -1:], -1.5, 1.5)

    def options(name: str) -> np.ndarray:
        return parts[name][:, :-1] if isinstance(space.get(name), Choice) else np.ones((n, 1))

    is_number = RATE in space and not isinstance(space[RATE], Choice)
    u = number(parts[RATE]) if is_number else np.zeros((n, 1))
    e = options(OPTIMIZER)
    out = [e, e * u, e * u * u]
    if isinstance(space.get(SCHEDULE), Choice):
        s = options(SCHEDULE)
        out += [s, s * u]
    for name, p in space.items():
        if isinstance(p, Choice) and name not in (OPTIMIZER, SCHEDULE):
            out.append(options(name))
        elif not isinstance(p, Choice) and not (name == RATE and is_number):
            v = number(parts[name])
            out += [e * v if name == BATCH else v, v * v, v * u]
    return np.concatenate(out, axis=1)


def _values(p, steps: int) -> list:
    """Values over the range of a hyperparameter, even on its scale: all options of a choice or an ordinal."""
    if isinstance(p, Choice | Ordinal):
        return list(p.options)
    return list(dict.fromkeys(p.from_unit(np.linspace(0.0, 1.0, steps)).tolist()))
