"""Every plug-in keeps the public contract; a new one is covered by its file's being there."""

import numpy as np
import pytest
from methods import BASELINES, METAMODELS, PARTIAL, SLOW, learns, method

from metabench import registry, testing
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
