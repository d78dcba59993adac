import importlib.util
from collections import Counter

import numpy as np
import pytest

from metabench import registry
from metabench.baselines.hyperband import bracket
from metabench.baselines.parts.halving import rungs
from metabench.errors import UsageError
from metabench.search.base import TaskInfo
from metabench.search.fidelity import Curves, FidelityProblem, affordable, checked
from metabench.testing.planted import SPACE

GRID = (1, 2, 3, 5, 8, 12, 18, 26, 36, 50)
POWERS = (1, 3, 9, 27, 81)
INFO = TaskInfo("t", "f", "tabular", "planted", "classification", "accuracy", "max", {})


def made(name, **settings):
    searcher = registry.create("baselines", name, **settings) if settings else registry.create("baselines", name)
    if missing := [package for package in searcher.requires if importlib.util.find_spec(package) is None]:
        pytest.skip(f"{name} needs {', '.join(missing)}")
    return searcher


def search(searcher, problem, curve, seed=0):
    """The whole search; ``curve(candidate)`` is its scores at all checkpoints."""
    run, history = searcher.start(problem, seed), Curves(problem.checkpoints)
    while len(history.unfinished(len(problem.candidates))):
        proposal = checked(run.ask(history.copy()), history, len(problem.candidates))
        if (advance := affordable(proposal, history, problem.epochs)) is None:
            break
        grid, stands = problem.checkpoints, history.epochs(advance.candidate)
        pairs = zip(grid, curve(advance.candidate), strict=True)
        history.add(advance.candidate, [score for e, score in pairs if stands < e <= advance.epochs])
        if advance != proposal:
            break
    return history


def problem(budget, configs=300, grid=POWERS):
    return FidelityProblem(SPACE, INFO, SPACE.sample(configs, 0), budget, grid)


# ---------------------------------------------------------------- brackets
def test_the_brackets_of_the_paper():
    """Li et al., JMLR 18(185), 2018, Table 1: R = 81, η = 3; n_i candidates with r_i epochs."""
    assert [bracket(s, 4, 3) for s in (4, 3, 2, 1, 0)] == [[81, 27, 9, 3, 1], [34, 11, 3, 1], [15, 5, 1], [8, 2], [5]]
    assert rungs(POWERS, 3) == POWERS


def test_rungs_are_the_nearest_checkpoints():
    assert rungs(GRID, 3) == (2, 5, 18, 50)  # 1.85, 5.56, 16.7, 50
    assert rungs(GRID, 4) == (3, 12, 50)  # 3.1, 12.5, 50
    assert rungs((1, 100), 3) == (1, 100) and rungs((7,), 3) == (7,)
    with pytest.raises(UsageError, match="asha: eta is 1; at least 2 is needed"):
        made("asha", eta=1)


def test_hyperband_makes_the_brackets_and_resumes():
    rng = np.random.default_rng(0)
    final = rng.random(300)
    sizes = {4: [81, 27, 9, 3, 1], 3: [34, 11, 3, 1], 2: [15, 5, 1], 1: [8, 2], 0: [5]}
    # a promoted candidate costs what is added to its epochs
    costs = {
        s: sum(n * (r - before) for n, r, before in zip(ns, POWERS[4 - s :], (0, *POWERS[4 - s :])))
        for s, ns in sizes.items()
    }
    assert costs[4] == 81 + 27 * 2 + 9 * 6 + 3 * 18 + 54
    round_ = sum(costs.values())
    history = search(made("hyperband"), problem(-(-round_ // 81)), lambda c: [final[c]] * 5)
    at, spent, members = 0, 0, []
    for s, ns in sizes.items():
        for i, (n, r) in enumerate(zip(ns, POWERS[4 - s :])):
            advances, at = history.advances[at : at + n], at + n
            assert [e for _, e in advances] == [r] * n
            here = [c for c, _ in advances]
            if i:  # the best of the rung below, in their order
                assert sorted(here) == sorted(sorted(members, key=lambda c: -final[c])[:n])
            else:
                assert len(set(here)) == n and not set(here) & {c for c, _ in history.advances[: at - n]}
            members = here
        spent += costs[s]
    assert round_ == spent == sum(e - b for e, b in _steps(history.advances[:at]))


def _steps(advances):
    """(epochs after, epochs before) of every advance."""
    stands = Counter()
    for candidate, epochs in advances:
        yield epochs, stands[candidate]
        stands[candidate] = epochs


# ---------------------------------------------------------------- asha
@pytest.mark.parametrize("eta", [2, 3, 4])
def test_asha_is_algorithm_2_of_its_paper(eta):
    """Every advance is what get_job of Li et al., MLSys 2020, gives with the results so far, worked out from nothing."""
    rng = np.random.default_rng(eta)
    curves = rng.random((120, len(GRID)))
    levels = rungs(GRID, eta)
    history = search(made("asha", eta=eta), problem(6, 120, GRID), lambda c: curves[c].tolist(), seed=3)
    stands: dict[int, int] = {}
    for candidate, epochs in history.advances[:-1]:  # the last may be cut short
        expected = None
        for k in range(len(levels) - 2, -1, -1):
            on_rung = [c for c, e in stands.items() if e >= levels[k]]
            top = sorted(on_rung, key=lambda c: -curves[c, GRID.index(levels[k])])[: len(on_rung) // eta]
            promotable = [c for c in top if stands[c] == levels[k]]
            if promotable:
                expected = promotable[0], levels[k + 1]
                break
        if expected is None:
            assert candidate not in stands and epochs == levels[0]
        else:
            assert (candidate, epochs) == expected
        stands[candidate] = epochs
    assert max(stands.values()) == 50 and len(stands) > 20


def test_a_diverged_candidate_is_the_worst_and_is_not_promoted():
    curves = np.tile(np.linspace(0.1, 0.9, 60)[:, None], (1, 5))
    curves[40:, 1:] = np.nan  # the best diverge between the first and the second rung
    for name in ("asha", "hyperband"):
        history = search(made(name), problem(4, 60), lambda c: curves[c].tolist())
        full = [c for c in history.scores if history.epochs(c) == 81]
        assert full and max(full) < 40
        for c in history.scores:
            if c >= 40:
                assert history.epochs(c) <= 3 and [a for a, _ in history.advances].count(c) <= 2


# ---------------------------------------------------------------- what it is for
def _spent_until(history, best, grid=GRID):
    spent = 0
    for (candidate, _), (epochs, before) in zip(history.advances, _steps(history.advances), strict=True):
        spent += epochs - before
        if candidate == best and epochs == grid[-1]:
            return spent
    return np.inf


@pytest.mark.parametrize("name", ["asha", "hyperband"])
def test_where_early_scores_tell_the_optimum_is_found_on_less(name):
    """81 candidates whose curves never cross; random search needs 41 full trainings on average, 2,050 epochs."""
    found = []
    for seed in range(12):
        final = np.random.default_rng(seed).permutation(81) / 81
        curves = final[:, None] * (1 - np.exp(-np.array(GRID) / 4.0))
        history = search(made(name), problem(40, 81, GRID), lambda c, curves=curves: curves[c].tolist(), seed)
        found.append(_spent_until(history, int(final.argmax())))
    assert np.mean(found) < 650 and np.max(found) < 1500


@pytest.mark.parametrize("name", ["asha", "hyperband", "bohb"])
def test_where_curves_cross_early_scores_mislead(name):
    """The best of all starts worst: it is found late or not at all, and nothing breaks."""
    final = np.random.default_rng(0).permutation(81) / 81
    late = np.array(GRID) / 50
    curves = np.where(late < 1, 1 - final[:, None], final[:, None])
    history = search(made(name), problem(8, 81, GRID), lambda c: curves[c].tolist())
    finished = [final[c] for c in history.scores if history.epochs(c) == 50]
    assert len(finished) >= 2 and np.mean(finished) < 0.4
    assert sum(e - b for e, b in _steps(history.advances)) == history.spent <= 400


def test_minimised_scores_are_turned_round():
    final = np.random.default_rng(1).permutation(81) / 81
    least = FidelityProblem(SPACE, INFO.__class__(**{**vars(INFO), "direction": "min"}), SPACE.sample(81, 0), 6, GRID)
    for name in ("asha", "hyperband"):
        a = search(made(name), problem(6, 81, GRID), lambda c: [final[c]] * 10)
        b = search(made(name), least, lambda c: [-final[c]] * 10)
        assert a.advances == b.advances


def test_bohb_goes_on_and_stops_as_syne_tune_says():
    """With curves that do not cross, whoever goes beyond a rung is among the best third of it at that time."""
    final = np.random.default_rng(2).permutation(60) / 60
    history = search(made("bohb"), problem(3, 60, GRID), lambda c: [final[c]] * 10)
    order = list(history.scores)
    for milestone in (1, 3, 9):
        on_rung: list[int] = []
        for c in order:
            first = next(e for e in GRID if e >= milestone)
            if history.epochs(c) < first:
                continue
            on_rung.append(c)
            beaten = sum(final[o] > final[c] for o in on_rung) / len(on_rung)
            if c is not order[-1]:
                assert (history.epochs(c) > first) == (len(on_rung) == 1 or beaten <= 1 / 3)
