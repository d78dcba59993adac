"""A planted family of tasks: cheap to evaluate, mixed and conditional like a real space, with known optima.

Every task of a family has latent traits; they move the optimum of a smooth bowl over the hyperparameters and say which
optimizer suits. Some traits are visible as task features (with noise), the others only through trials. So a method
that transfers can beat one that does not, and a test can say by how much. Everything follows from the family's seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from metabench.search.base import MetaTrain, Problem, TaskInfo
from metabench.space import Choice, Float, Int, Ordinal, Space, when

OPTIMIZERS = ("sgd", "momentum", "adam")
SPACE = Space(
    optimizer=Choice(*OPTIMIZERS, default="adam"),
    learning_rate=Float(1e-4, 1.0, log=True, default=1e-2),
    momentum=Float(0.5, 0.99, reverse=True, default=0.9, when=when("optimizer", "momentum")),
    weight_decay=Float(1e-6, 1e-1, log=True, default=1e-4),
    batch_size=Ordinal(16, 32, 64, 128, 256, default=64),
    width=Int(16, 256, log=True, default=64),
    depth=Int(1, 4, default=2),
    dropout=Float(0.0, 0.6, default=0.1),
)
_TRAITS, _VISIBLE = 5, 3
#: what a hyperparameter's squared distance from the optimum costs, and where the average task's optimum lies, in [0, 1]
_BOWL = {
    "learning_rate": (8.0, 0.5),
    "momentum": (2.0, 0.6),
    "weight_decay": (1.0, 0.4),
    "batch_size": (1.0, 0.4),
    "width": (2.0, 0.7),
    "depth": (1.0, 0.5),
    "dropout": (1.5, 0.3),
}


@dataclass(frozen=True)
class PlantedFamily:
    """Tasks number 0, 1, 2 … of one family.

    ``clusters`` > 0 draws the traits from that many well-separated groups (task i belongs to group i modulo
    ``clusters``). ``diverge`` makes large learning rates of plain SGD diverge (NaN). ``direction`` "min" turns the
    accuracy-like scores into errors.
    """

    seed: int = 0
    clusters: int = 0
    noise: float = 0.01
    diverge: bool = True
    direction: str = "max"

    @cached_property
    def _maps(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Traits → optimum [numeric, traits], traits → optimizer merit [optimizers, traits], centres of the groups."""
        rng = np.random.default_rng([self.seed, 0xFA11])
        shift = rng.normal(size=(len(_BOWL), _TRAITS)) * 0.09
        merit = rng.normal(size=(3, _TRAITS)) * 0.12
        return shift, merit, rng.normal(size=(max(self.clusters, 1), _TRAITS)) * 1.5

    def traits(self, task: int) -> np.ndarray:
        """The latent traits of a task, float64 [5]."""
        z = np.random.default_rng([self.seed, task, 0x7A17]).normal(size=_TRAITS)
        return z if self.clusters == 0 else self._maps[2][task % self.clusters] + 0.2 * z

    def info(self, task: int) -> TaskInfo:
        """What a searcher may know: three noisy traits, two irrelevant features, and one that is sometimes NaN."""
        rng = np.random.default_rng([self.seed, task, 0xFEA7])
        features = {f"trait{k}": float(t + 0.1 * rng.normal()) for k, t in enumerate(self.traits(task)[:_VISIBLE])}
        features |= {"irrelevant0": float(rng.normal()), "irrelevant1": float(1e4 * rng.random())}
        features["sometimes"] = float(rng.normal()) if rng.random() < 0.7 else float("nan")
        return TaskInfo(
            f"planted-{task}",
            f"family{task}",
            "tabular",
            "planted",
            "classification",
            "accuracy",
            self.direction,
            features,
        )

    def _optimum(self, task: int) -> dict[str, float]:
        shift = self._maps[0] @ self.traits(task)
        return {n: float(np.clip(_BOWL[n][1] + shift[k], 0.05, 0.95)) for k, n in enumerate(_BOWL)}

    def loss(self, task: int, configs: pd.DataFrame) -> np.ndarray:
        """The noiseless bowl, float64 [configs]: 0 at the optimum, larger elsewhere."""
        merit = self._maps[1] @ self.traits(task)
        codes = configs["optimizer"].map({o: i for i, o in enumerate(OPTIMIZERS)}).to_numpy(dtype=int)
        loss = (merit.max() - merit)[codes]
        unit = dict(zip(SPACE, SPACE.to_unit(configs).T, strict=True))
        for name, u in self._optimum(task).items():
            loss = loss + np.where(np.isnan(unit[name]), 0.0, _BOWL[name][0] * (unit[name] - u) ** 2)
        return loss

    def optimum(self, task: int) -> dict[str, Any]:
        """The best configuration of the whole space (ordered hyperparameters: the nearest value)."""
        merit = self._maps[1] @ self.traits(task)
        config: dict[str, Any] = {"optimizer": OPTIMIZERS[int(merit.argmax())]}
        for name, u in self._optimum(task).items():
            p = SPACE[name]
            value = p.from_unit([u])[0]
            if isinstance(p, Int | Ordinal):
                options = range(int(p.low), int(p.high) + 1) if isinstance(p, Int) else p.options
                value = min(options, key=lambda v, p=p, u=u: abs(p.to_unit([v])[0] - u))
            config[name] = value
        return SPACE.validate({n: v for n, v in config.items() if n != "momentum" or config["optimizer"] == "momentum"})

    def scores(self, task: int, configs: pd.DataFrame, seeds: int = 1) -> np.ndarray:
        """Raw scores float64 [configs, seeds]: accuracies between chance (.1) and a ceiling, with noise; NaN: diverged.

        Noise depends on the configuration's place in the table, so the table should be the same throughout a test.
        """
        rng = np.random.default_rng([self.seed, task, 0x5C03])
        ceiling = 0.7 + 0.29 * rng.random()
        mean = 0.1 + (ceiling - 0.1) * np.exp(-self.loss(task, configs))
        out = mean[:, None] + self.noise * rng.normal(size=(len(configs), seeds))
        if self.diverge:
            unit = SPACE["learning_rate"].to_unit(configs["learning_rate"].to_numpy(dtype=float))
            out[(unit > 0.9) & (configs["optimizer"] == "sgd").to_numpy()] = np.nan
        return out if self.direction == "max" else 1.0 - out

    def source(self, tasks, configs: pd.DataFrame, seeds: int = 2, valid=()) -> MetaTrain:
        """Meta-training data on the tasks numbered ``tasks``, meta-validation on ``valid``."""
        held_out = self.source(valid, configs, seeds) if len(valid) else None
        scores = np.stack([self.scores(t, configs, seeds) for t in tasks])
        return MetaTrain(SPACE, configs, [self.info(t) for t in tasks], scores, held_out)

    def problem(self, task: int, configs: pd.DataFrame, budget: int) -> tuple[Problem, np.ndarray]:
        """A search on one task over a pool, and the raw scores [configs] that the search will uncover."""
        return Problem(SPACE, self.info(task), configs, budget), self.scores(task, configs)[:, 0]


def synthetic_source(tasks: int = 12, configs: int = 48, seeds: int = 2, seed: int = 0, **family) -> MetaTrain:
    """Meta-training data from :class:`PlantedFamily`: tasks 0 … tasks − 1 on a Sobol table. Deterministic.

    >>> source = synthetic_source(tasks=4, configs=16)
    >>> source.scores.shape
    (4, 16, 2)
    """
    return PlantedFamily(seed=seed, **family).source(range(tasks), SPACE.sample(configs, seed), seeds)
