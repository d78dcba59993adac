"""Final scores from partial curves: the model's posterior, what it says of real curves, and that it keeps its sources."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from methods import method
from scipy import stats

from metabench import load_board, load_table
from metabench.metamodels.curve import NUGGET, Curve, decaying, estimator, gradient, interpolation, moments
from metabench.metatrain import MetaTrain
from metabench.search.curve_source import CurveTrain
from metabench.search.fidelity import Curves, FidelityProblem
from metabench.search.pools import thinned
from metabench.search.replay import CurveReplay, fidelity_problems
from metabench.space import Space
from metabench.testing import PlantedFamily
from metabench.testing.planted import SPACE

GRID = (1, 3, 10, 30)
FAMILY, CONFIGS = PlantedFamily(seed=3), SPACE.sample(40, 3)


def curves_of(scores):
    """Curves [..., checkpoints] that rise to ``scores`` [..., configs, seeds], at a pace of the configuration's own."""
    pace = 0.2 + 0.1 * (np.arange(scores.shape[-2]) % 5)
    return scores[..., None] - pace[:, None, None] / np.array(GRID) + pace[:, None, None] / GRID[-1]


def source(tasks, **settings) -> CurveTrain:
    plain = FAMILY.source(tasks, CONFIGS)
    facts = {name: getattr(plain, name) for name in ("space", "configs", "tasks", "scores")}
    return CurveTrain(**facts | settings, curves=curves_of(plain.scores), checkpoints=(GRID,) * len(plain.tasks))


def problem(task, budget=4) -> tuple[FidelityProblem, np.ndarray]:
    """A search on a planted task, and the curves [configs, checkpoints] that it will uncover."""
    plain, scores = FAMILY.problem(task, CONFIGS, budget)
    return FidelityProblem(SPACE, plain.task, plain.candidates, budget, GRID), curves_of(scores[:, None])[:, 0]


# ---------------------------------------------------------------- the model
def test_a_partial_curve_is_worth_one_noisy_value_of_its_end():
    """The posterior from the estimates is that from all points of the curves at once, by conditioning the joint Gaussian."""
    search = Curve().fit(source(range(8))).start(problem(100)[0], 0)
    seen, history = {3: 2, 17: 4, 20: 1}, Curves(GRID)
    values = problem(100)[1]
    for c, k in seen.items():
        history.add(c, values[c, :k])
    mean, variance, a, b = search._posterior(history)
    rows = np.stack([search._row(c) for c in range(len(CONFIGS))])
    points = [(c, k) for c, n in seen.items() for k in range(n)]
    own = np.array([c for c, _ in points])
    way = np.array([search._way[c, k] for c, k in points])
    rest = np.array([[search._covariance[c, k, m] if c == d else 0.0 for d, m in points] for c, k in points])
    joint = rows[np.ix_(own, own)] + rest + NUGGET * np.eye(len(points))
    z = (np.array([values[c, k] for c, k in points]) - a) / b - search._mean[own] - way
    gain = np.linalg.solve(joint, rows[own]).T
    np.testing.assert_allclose(mean, search._mean + gain @ z, atol=1e-8)
    np.testing.assert_allclose(variance, np.diag(rows) - (gain * rows[own].T).sum(1), atol=1e-8)


def test_the_estimate_is_generalised_least_squares():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(5, 4, 4))
    covariance = root @ root.transpose(0, 2, 1)
    weights, variance = estimator(covariance)
    for s, w, v in zip(covariance + NUGGET * np.eye(4), weights, variance, strict=True):
        assert w.sum() == pytest.approx(1) and w @ s @ w == pytest.approx(v)
        for other in rng.normal(size=(20, 4)):
            other /= other.sum()
            assert other @ s @ other >= v - 1e-9


def test_knowledge_gradient_is_an_expectation():
    z = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    for margin, step in ((0.0, 1.0), (0.5, 0.3), (2.0, 1.5)):
        expected = np.maximum(step * z - margin, 0).mean()
        assert gradient(np.array(margin), np.array(step)).item() == pytest.approx(expected, abs=1e-4)
    assert gradient(np.array(0.5), np.array(0.0)) == 0


def test_ways_are_learned_for_each_configuration():
    """Planted paces are found again; of a configuration that hardly ran the mean of all is said."""
    rng = np.random.default_rng(0)
    ways = np.repeat(np.linspace(-2, 0, 3) * np.arange(1, 5)[:, None], 30, axis=0).reshape(4, 30, 3).transpose(1, 0, 2)
    ways = (ways + 0.1 * rng.normal(size=ways.shape))[:, :, None]
    way, spread, correlation = moments(ways)
    np.testing.assert_allclose(way[:, 0], [-2.1, -3.9, -6.1, -8], atol=0.5)
    assert (np.abs(np.diag(correlation) - 1) < 1e-9).all() and (spread > 0).all()
    ways[:29, 3] = np.nan
    assert -6 < moments(ways)[0][3, 0] < -4


def test_interpolation_passes_through_what_is_known_and_goes_on_level():
    known = np.array([0.0, 1.0, 3.0])
    at = interpolation(known, np.array([-1.0, 0.0, 2.0, 3.0, 9.0]))
    np.testing.assert_allclose(at @ np.array([5.0, 7.0, 1.0]), [5, 5, 4, 1, 1])


def test_without_curves_they_decay_to_their_ends():
    """Freeze-thaw's prior: a covariance, and nothing is left at the end of training."""
    shares = np.array([0.02, 0.1, 0.5, 1.0])
    found = decaying(shares)
    assert np.linalg.eigvalsh(found).min() > -1e-12
    assert (np.diff(np.diag(found)) < 0).all() and np.allclose(found[-1], 0)


# ---------------------------------------------------------------- real curves
@pytest.fixture(scope="module")
def starter():
    board, table = load_board("multi-fidelity", 1), load_table("starter", 1)
    return board, table, replace(board.source(table), valid=None)


def test_it_beats_the_last_value_on_real_curves(starter):
    """Held-out families of the starter table, 32 random configurations trained for 1, 3, 8 and 18 of 50 epochs: median over
    tasks and seeds of the root mean square error, in standard deviations of a task's final scores, and of Spearman's
    correlation with them. Measured: .73 beside 1.54 of the last value and .75 beside .33 after one epoch; .64, 1.24, .76, .52
    after three; .49, .85, .81, .70 after eight; .38, .49, .86, .82 after eighteen."""
    board, table, source = starter
    ids = board.tasks(table, "valid") + board.tasks(table, "test")
    replay = CurveReplay.from_table(table, "mlp", ids)
    problems = fidelity_problems(table, "mlp", replay, ids, 25)
    model = Curve().fit(source)
    for epochs in (1, 3, 8, 18):
        found = []
        for i, task in enumerate(ids):
            search = model.start(problems[task], 0)
            for seed in range(2):
                ends = replay.scores[i, :, seed]
                ran = np.flatnonzero(np.isfinite(ends))
                chosen = np.random.default_rng([i, seed]).permutation(ran)[:32]
                history = Curves(search.problem.checkpoints)
                for c in chosen:
                    history.add(int(c), replay.train(task, int(c), 0, epochs, seed))
                last = np.array([history.score(c) for c in chosen])
                for said in (search.finals(history)[chosen], last):
                    error = np.sqrt(np.mean((said - ends[chosen]) ** 2)) / ends[ran].std()
                    found.append((error, stats.spearmanr(said, ends[chosen])[0]))
        mine, last = np.median(found[::2], axis=0), np.median(found[1::2], axis=0)
        assert mine[0] < 0.9 * last[0] and mine[1] > last[1] + 0.03


# ---------------------------------------------------------------- sources and spaces
def test_a_source_keeps_its_curves(starter):
    real = starter[2]
    assert real.curves.shape == (*real.scores.shape, len(real.checkpoints[0]))
    np.testing.assert_array_equal(real.curves[..., -1], real.scores)
    few = real.select([3, 1])
    np.testing.assert_array_equal(few.curves, real.curves[[3, 1]])
    assert len(few.checkpoints) == 2 and few.tasks[0] is real.tasks[3]
    thin = thinned(few, 50)
    assert thin.curves.shape[1] == len(thin.configs) == 50
    np.testing.assert_array_equal(thin.curves[..., -1], thin.scores)


def test_sources_are_united_with_their_curves():
    """Of two workloads with other checkpoints, hyperparameters and numbers of seeds."""
    small = Space({n: p for n, p in SPACE.items() if n in ("learning_rate", "width")})
    configs, tasks = small.sample(8, seed=3), [replace(FAMILY.info(20), task_id="other", workload="other")]
    curves = np.random.default_rng(0).random((1, 8, 3, 2))
    other = CurveTrain(small, configs, tasks, curves[..., -1], curves=curves, checkpoints=((2, 9),))
    both = CurveTrain.union([source(range(3)), other])
    assert both.curves.shape == (4, 48, 3, 4) and both.checkpoints == (GRID,) * 3 + ((2, 9),)
    np.testing.assert_array_equal(both.curves[:3, :40, :2], source(range(3)).curves)
    np.testing.assert_array_equal(both.curves[3, 40:, :, :2], curves[0])
    assert np.isnan(both.curves[3, :40]).all() and both.ran[3, 40:].all()
    target = FidelityProblem(small, replace(tasks[0], task_id="new"), configs.reset_index(drop=True), 2, (2, 9))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search = Curve().fit(both).start(target, 0)
    assert search.ask(Curves((2, 9))).epochs in (2, 9)


@pytest.mark.parametrize("gone", ["dropout", "optimizer"])
def test_a_space_that_changed_works_with_a_notice(gone):
    model = Curve().fit(source(range(6)))
    space = Space({n: replace(p, when=None) if n == "momentum" else p for n, p in SPACE.items() if n != gone})
    pool = space.sample(24, seed=2)
    other = FidelityProblem(space, FAMILY.info(50), pool, 2, (1, 2, 4, 9, 27, 50))
    with pytest.warns(UserWarning, match=f"^the pool's space is not that of the source: it lacks {gone};") as notices:
        search, history = model.start(other, 0), Curves(other.checkpoints)
    assert len(notices) == 1
    for _ in range(10):
        c, epochs = search.ask(history.copy())
        history.add(c, [c / 24 - 1 / e for e in other.checkpoints if history.epochs(c) < e <= epochs])
    assert np.isfinite(search.ends(history).std).all()


@pytest.mark.parametrize("scores", [np.full(40, np.nan), np.full(40, 0.5), np.arange(40) * 1e9], ids=str)
def test_predictions_are_finite_whatever_was_seen(scores):
    search, history = Curve().fit(source(range(6))).start(problem(50)[0], 0), Curves(GRID)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for c in range(12):
            history.add(c, [scores[c]] * (1 if np.isnan(scores[c]) else 1 + c % 4))
            said = search.ends(history)
            assert np.isfinite(said.mean).all() and (said.std > 0).all()
            search.ask(history)
    assert np.isfinite(search.finals(history)).all()


def test_sources_that_teach_nothing_of_curves():
    """All curves level; all diverged; plain scores; one task."""
    known = source(range(6))
    level = replace(known, curves=np.broadcast_to(known.scores[..., None], known.curves.shape))
    gone = replace(known, curves=np.full_like(known.curves, np.nan))
    plain = MetaTrain(known.space, known.configs, known.tasks, known.scores)
    for odd in (level, gone, plain, known.select([2])):
        search, values = Curve().fit(odd).start(problem(50)[0], 0), problem(50)[1]
        history = Curves(GRID)
        for _ in range(6):
            c, epochs = search.ask(history.copy())
            scores = values[c, len(history.scores.get(c, ())) : GRID.index(epochs) + 1]
            bad = np.flatnonzero(np.isnan(scores))
            history.add(c, scores[: bad[0] + 1] if len(bad) else scores)
        assert np.isfinite(search.ends(history).mean).all()


def test_no_scale_is_known_without_a_curve():
    search = method("curve").fit(source(range(4))).start(problem(50)[0], 0)
    with pytest.raises(ValueError, match="no curve was begun"):
        search.finals(Curves(GRID))
