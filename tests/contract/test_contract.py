"""Every plug-in keeps the public contract; a new one is covered by its file's being there."""

import numpy as np
import pytest
from methods import BASELINES, METAMODELS, PARTIAL, SLOW, learns, method

from metabench import registry, testing
from metabench.errors import UsageError
from metabench.search.base import History, Searcher
from metabench.tasks.task import Arrays


@pytest.mark.parametrize("name", [*BASELINES, *METAMODELS, *PARTIAL])
def test_method(name):
    check = testing.check_metamodel if learns(name) else testing.check_searcher
    check(method(name, quick=name not in METAMODELS or name in SLOW))


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_mlp(kind):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 80, 6)).astype(np.float32)
    y = x[..., 0] + 0.3 * x[..., 1] * x[..., 2]
    if kind == "classification":
        y, metric, classes = (y > 0).astype(np.int32), "accuracy", 2
    else:
        y, metric, classes = y.astype(np.float32), "r2", 0
    testing.check_workload(
        registry.load("workloads", "mlp"), Arrays(kind, metric, classes, *[a[i] for i in range(3) for a in (x, y)])
    )


class Broken(Searcher):
    name = "broken"

    def ask(self, history: History) -> int:
        return 0


class Forgetful(Searcher):
    name = "forgetful"
    calls = 0

    def ask(self, history: History) -> int:
        Forgetful.calls += 1
        return int(history.untried(len(self.problem.candidates))[Forgetful.calls % 7])


class Stubborn(Searcher):
    name = "stubborn"

    def suggest_config(self, trials):
        return self.problem.space.default()


class Beyond(Searcher):
    name = "beyond"

    def suggest_config(self, trials):
        return self.problem.space.default() | {"depth": 5 + len(trials)}


class Moody(Searcher):
    name = "moody"
    calls = 0

    def suggest_config(self, trials):
        Moody.calls += 1
        return self.problem.space.default() | {"width": 16 + Moody.calls}


class Widening(Searcher):
    name = "widening"

    def suggest_config(self, trials):
        return self.problem.space.default() | {"width": 16 + len(trials)}


def test_a_searcher_may_name_points_alone():
    testing.check_searcher(Widening)


@pytest.mark.parametrize(
    ("searcher", "message"),
    [
        (Broken, "twice"),
        (Forgetful, "two searches"),
        (Stubborn, "twice"),
        (Beyond, "not of the space: hyperparameter depth"),
        (Moody, "two lists of suggestions"),
    ],
)
def test_violations_are_found(searcher, message):
    with pytest.raises(testing.ContractError, match=message):
        testing.check_searcher(searcher)


def _saving(fit):
    """A meta-model that learns by ``fit`` and says nothing of what is to be stored."""
    from metabench.metamodels.parts.common import MetaModel

    class Saving(MetaModel):
        name = "saving"

        def ask(self, history: History) -> int:
            return int(history.untried(len(self.problem.candidates))[0])

    Saving.fit = fit
    return Saving()


def test_what_save_needs_is_said():
    from metabench.metamodels.parts.source_space import SourceSpace

    def unnamed(self, source):
        self.source_ = SourceSpace.fit(source, source.normal_scores)
        self.weights_ = np.ones(3)
        return self

    def without_space(self, source):
        return self

    with pytest.raises(
        testing.ContractError, match=r"fit set weights_, but save would lose it; arrays = \(\"weights_\",\)"
    ):
        testing.check_metamodel(_saving(unnamed))
    with pytest.raises(UsageError, match=r"has not been fitted; call fit\(source\), which has to set source_"):
        testing.check_metamodel(_saving(without_space))
