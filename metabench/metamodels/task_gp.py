"""Gaussian process over tasks and configurations: tasks with alike features are expected to score alike.

Bonilla, Agakov & Williams, "Kernel multi-task learning using task-specific features", AISTATS 2007: the covariance of
two scores is that of their tasks, by features, times that of their configurations. The latter is empirical here, as in
Lin et al., "Empirical Gaussian processes", ICML 2026, arXiv:2602.12082.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from metabench.errors import UsageError
from metabench.metamodels.empirical_gp import EmpiricalGP, typical_variance
from metabench.metamodels.parts.common import MetaModel, check_source, task_features
from metabench.metamodels.parts.source_space import SourceSpace
from metabench.metamodels.parts.task_kernel import Standardiser, TaskKernel
from metabench.search.base import MetaTrain


class TaskGP(EmpiricalGP):
    """f ~ N(wᵀZ, v [(1 − α) FᵀF + α σ² Matérn]), y = a + b (f + ε), maximising expected improvement.

    Z are the source tasks' normal scores; the weights w and the variance v follow from the target's features by a kernel
    over tasks (:class:`TaskKernel`, with its ``sparsity``). F are the source tasks' deviations from their own prediction
    by the other families, over what it says they should be: what features do not tell, trials have to. ``alpha`` and
    ``noise`` are those of :class:`EmpiricalGP`.
    """

    name = "task_gp"
    version = "1"
    arrays = ("targets_", "factors_", "features_", "relevance_", "centre_", "spread_")
    facts = ("alpha_", "variance_", "names_", "common_", "idiosyncrasy_")
    grid: ClassVar[dict[str, tuple]] = {"alpha": (0.1, 0.3, 0.5), "noise": (0.05, 0.15, 0.4), "sparsity": (1.0, 5.0)}
    fit_settings: ClassVar[tuple[str, ...] | None] = ("alpha", "sparsity")

    def __init__(self, alpha: float = 0.3, noise: float = 0.15, sparsity: float = 5.0):
        if not 0 < alpha <= 1 or noise <= 0 or sparsity < 0:
            raise UsageError("task_gp: needs 0 < alpha <= 1, noise > 0 and sparsity >= 0")
        self.alpha = alpha
        self.noise = noise
        self.sparsity = sparsity

    def fit(self, source: MetaTrain) -> TaskGP:
        check_source(source, self.name)
        ran = np.flatnonzero(source.seen.any(axis=1))
        if len(ran) == 0:
            raise UsageError("task_gp: no configuration of the source was run")
        scores = source.normal_scores[ran]
        self.source_ = SourceSpace.fit(source, scores)
        self.targets_ = self.source_.complete(scores)
        self.names_ = list(source.feature_names)
        raw = np.asarray(source.features, dtype=float).reshape(len(source.tasks), -1)[ran]
        standard = Standardiser.fit(raw)
        self.centre_, self.spread_ = standard.centre, standard.spread
        kernel = TaskKernel.fit(standard(raw), self.targets_, self.sparsity)
        self.features_, self.relevance_ = kernel.x, kernel.relevance
        self.common_, self.idiosyncrasy_ = kernel.common, kernel.noise
        families = np.unique([source.tasks[t].family for t in ran.tolist()], return_inverse=True)[1]
        rest, variance = kernel.left_out(self.targets_, families)
        self.factors_ = rest / np.sqrt(variance * len(ran))[:, None]
        self.alpha_ = max(self.alpha, 1.0 / len(ran))
        self.variance_ = typical_variance(float(np.mean((self.factors_**2).sum(0))), len(ran))
        return self

    def begin(self) -> None:
        MetaModel.begin(self)
        standard = Standardiser(self.centre_, self.spread_)
        kernel = TaskKernel(self.features_, self.relevance_, self.common_, self.idiosyncrasy_)
        weights, variance = kernel.weights(standard(task_features(self.names_, self.problem.task)))
        # a searcher is a copy: what is fitted stays as it is
        self.mean_ = weights @ self.targets_
        self.factors_ = np.sqrt(variance) * self.factors_
        self.variance_ = variance * self.variance_
        super().begin()
