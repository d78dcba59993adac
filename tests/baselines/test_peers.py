"""Adapters to other packages: what these are told is what was tried, what they suggest is what is meant, and nothing of
a search reaches another one through global state. (The contract tests have the rest: seeds, divergence, repetition.)
"""

import random

import numpy as np
import pandas as pd
import pytest
from methods import learns, method

from metabench.baselines.parts.common import utilities
from metabench.baselines.parts.peers import Generators, coordinate, cube, nearest, option
from metabench.baselines.parts.synetune import METRIC, carry, evaluations, records
from metabench.metatrain import MetaTrain
from metabench.search.base import History, Problem
from metabench.space import Choice, Float, Int, Ordinal, Space, is_classification, when
from metabench.testing import PlantedFamily, synthetic_source
from metabench.testing.planted import SPACE

#: every kind of hyperparameter, and conditions on a choice and on the task
MIXED = Space(
    kind=Choice("a", "b", "c", default="b"),
    rate=Float(1e-5, 1.0, log=True),
    momentum=Float(0.5, 0.99, reverse=True, when=when("kind", "b")),
    flavour=Choice("sweet", "sour", when=when("kind", "a", "b")),
    units=Int(1, 5),
    width=Int(16, 1024, log=True, when=when("kind", "c")),
    batch=Ordinal(16, 64, 256),
    smoothing=Float(0, 0.2, default=0.1, when=is_classification),
)
POOL = MIXED.sample(32, seed=3)
INFO = PlantedFamily().info(0)
PROBLEM = Problem(MIXED, INFO, POOL, 24)
SCORES = np.where(np.arange(32) % 7 == 3, np.nan, np.random.default_rng(0).random(32))
PEERS = ["cmaes", "hebo", "nevergrad", "smac"]
SYNETUNE = ["synetune_box", "synetune_cts", "synetune_zeroshot"]


@pytest.fixture(scope="module")
def source():
    """Three tasks on another table of the mixed space."""
    configs = MIXED.sample(24, seed=8)
    tasks = [PlantedFamily().info(t) for t in range(1, 4)]
    scores = np.random.default_rng(1).random((3, 24, 2))
    scores[0, 5] = np.nan
    return MetaTrain(MIXED, configs, tasks, scores)


def rows(table):
    """A configuration table as dicts, inactive hyperparameters None."""
    return table.astype(object).where(table.notna(), None).to_dict("records")


def native(points):
    """Points of the cube in native units."""
    return rows(MIXED.from_unit(np.asarray(points, dtype=float)))


def same(ours, theirs):
    """Configurations that agree in every hyperparameter that is active in ours."""
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        for name, value in a.items():
            if value is None:
                assert b.get(name) is None, name
            else:
                assert b[name] == (value if isinstance(value, str) else pytest.approx(value)), name


# ---------------------------------------------------------------- what they are told
def told_cmaes(run):
    """Solutions of generations that were told, and of the one that fills up, in the order of the trials."""
    points, costs = [], []
    for solution, cost in [*run.all_told, *run._generation]:
        point = np.full(len(MIXED), np.nan)
        point[run._at["x"]], point[run._at["z"]] = solution.x, solution.z
        for i, chosen in zip(run._at["c"], solution.c, strict=True):
            assert chosen.sum() == 1
            point[i] = coordinate(list(MIXED.values())[i], int(chosen.argmax()))
        points.append(point)
        costs.append(cost)
    return native(points), costs


def told_hebo(run):
    optimiser = run._optimiser
    points = [
        [p.to_unit([row[n]])[0] if isinstance(p, Choice) else row[n] for n, p in MIXED.items()]
        for row in optimiser.X.to_dict("records")
    ]
    return native(points), optimiser.y[:, 0].tolist()


def told_nevergrad(run):
    points = [
        [coordinate(p, x.value[n]) if isinstance(p, Choice) else x.value[n] for n, p in MIXED.items()]
        for x, _ in run.all_told
    ]
    return native(points), [cost for _, cost in run.all_told]


def told_smac(run):
    """Natively; ConfigSpace leaves inactive hyperparameters out by itself."""
    found, costs = [], []
    for key, value in run._facade.runhistory.items():
        if value.status.name == "RUNNING":  # suggested, but no candidate
            continue
        config = dict(run._facade.runhistory.get_config(key.config_id))
        found.append(
            {
                n: (p.from_unit([config[n]])[0] if isinstance(p, Float) and not isinstance(p, Int) else config[n])
                if n in config
                else None
                for n, p in MIXED.items()
            }
        )
        costs.append(value.cost if value.status.name == "SUCCESS" else np.inf)
    return found, costs


TOLD = {"cmaes": told_cmaes, "hebo": told_hebo, "nevergrad": told_nevergrad, "smac": told_smac}


def _remember(run, package):
    """Remembers what the optimiser of a search is told, beside telling it."""
    run.all_told = []
    opened = run.open

    def open_and_remember(given):
        opened(given)
        tell = run._optimiser.tell
        if package == "cmaes":
            run._optimiser.tell = lambda solutions: (run.all_told.extend(solutions), tell(solutions))
        else:
            run._optimiser.tell = lambda x, cost: (run.all_told.append((x, cost)), tell(x, cost))

    run.open = open_and_remember


@pytest.mark.parametrize("name", PEERS)
def test_a_package_is_told_what_was_tried(name):
    run, history = method(name).start(PROBLEM, 0), History()
    if name in ("cmaes", "nevergrad"):
        _remember(run, name)
    for _ in range(18):
        history.add(c := run.ask(history), float(SCORES[c]))
    run.ask(history)
    found, costs = TOLD[name](run)
    same(rows(POOL.iloc[history.candidates]), found)
    finite = np.isfinite(history.scores)
    assert not finite.all()
    worst = -np.inf if name == "smac" else np.nanmin(history.scores)
    so_far = [s if f else worst for s, f in zip(history.scores, finite, strict=True)]
    for cost, score, ok, n in zip(costs, so_far, finite, range(18), strict=True):
        if ok or name == "smac":
            assert cost == pytest.approx(-score)
        else:  # the worst finite one so far
            assert cost >= -np.nanmin(history.scores[: n + 1]) - 1e-12


@pytest.mark.parametrize("name", SYNETUNE)
def test_syne_tune_is_told_what_was_tried(name, source, monkeypatch):
    run, history = method(name).fit(source).start(PROBLEM, 0), History()
    history.add(c := run.ask(history), float(SCORES[c]))
    told = []
    tell = run._scheduler.tell
    monkeypatch.setattr(
        run._scheduler, "tell", lambda trial, result: (told.append((trial, result)), tell(trial, result))
    )
    for _ in range(9):
        history.add(c := run.ask(history), float(SCORES[c]))
    run.ask(history)
    points = [
        [
            coordinate(p, p.options.index(t.config[n])) if isinstance(p, Choice) else t.config[n]
            for n, p in MIXED.items()
        ]
        for t, _ in told
    ]
    same(rows(POOL.iloc[history.candidates]), native(points))
    costs = [result[METRIC] for _, result in told]
    assert costs == pytest.approx((-utilities(PROBLEM, history)).tolist())


# ---------------------------------------------------------------- what they suggest
def test_every_candidate_comes_back_from_the_cube():
    for i, point in enumerate(cube(PROBLEM)):
        assert nearest(PROBLEM, point, History()) == i
    for p in (p for p in MIXED.values() if isinstance(p, Choice)):
        assert [option(p, coordinate(p, k)) for k in range(len(p.options))] == list(range(len(p.options)))
        assert option(p, 1.0) == len(p.options) - 1


def test_what_is_inactive_has_its_default_in_the_cube():
    inactive = MIXED.to_unit(POOL)
    at = list(MIXED).index("momentum")
    assert np.isnan(inactive[:, at]).any()
    assert (cube(PROBLEM)[np.isnan(inactive[:, at]), at] == 0.5).all()
    space = Space(kind=Choice("a", "b"), x=Float(0, 1, default=0.2, when=when("kind", "a")))
    pool = space.table([{"kind": "b"}, {"kind": "a", "x": 0.9}])
    assert cube(Problem(space, INFO, pool, 2))[:, 1].tolist() == [0.2, 0.9]


def test_every_candidate_comes_back_from_smac():
    pytest.importorskip("smac")
    from metabench.baselines.smac import _point, _theirs

    for i, row in enumerate(POOL.astype(object).to_dict("records")):
        config = _theirs(MIXED, row)
        assert set(config) == {n for n, v in row.items() if not pd.isna(v)}
        assert nearest(PROBLEM, _point(MIXED, config), History()) == i


def test_smac_has_the_conditions():
    """A configuration with an inactive hyperparameter is none of its space."""
    pytest.importorskip("smac")
    from ConfigSpace import Configuration
    from ConfigSpace.exceptions import InactiveHyperparameterSetError

    from metabench.baselines.smac import _config_space, _theirs

    space = _config_space(MIXED, 0)
    row = next(r for r in POOL.astype(object).to_dict("records") if r["kind"] == "a")
    Configuration(space, values=_theirs(MIXED, row))
    with pytest.raises(InactiveHyperparameterSetError):
        Configuration(space, values=_theirs(MIXED, row) | {"momentum": 0.5})


@pytest.mark.parametrize("name", SYNETUNE)
def test_every_candidate_comes_back_from_syne_tune(name, source):
    run = method(name).fit(source).start(PROBLEM, 0)
    for i, config in enumerate(records(MIXED, carry(POOL, MIXED))):
        assert run.candidate(config, History()) == i
    run_after = History([4], [0.5])
    assert run.candidate(records(MIXED, carry(POOL, MIXED))[4], run_after) != 4


def test_syne_tune_learns_from_every_run_that_was_made(source):
    pytest.importorskip("syne_tune")
    seen = np.ones(source.scores.shape[:2], dtype=bool)
    seen[1, 7:] = False
    holes = MetaTrain(MIXED, source.configs, source.tasks, source.scores, observed=seen)
    found = evaluations(holes)
    assert list(found) == [t.task_id for t in source.tasks]
    first, second = (found[t.task_id] for t in source.tasks[:2])
    assert len(second.hyperparameters) == 7 and len(first.hyperparameters) == 24
    costs = first.objectives_evaluations[:, 0, 0, 0]
    expected = -source.utility[0]
    np.testing.assert_allclose(costs, np.where(np.isnan(expected), np.nanmax(expected), expected))


def test_zero_shot_predicts_the_same_configurations_on_every_task(source):
    """Two tasks want a high rate, one many units; what is predicted for each is that of the listed configurations."""
    seen = np.random.default_rng(2).random((3, 24)) < 0.8
    rate, units = (MIXED.to_unit(source.configs)[:, list(MIXED).index(n)] for n in ("rate", "units"))
    scores = np.where(seen, np.stack([rate, rate, units]), np.nan)[:, :, None]
    shared = (
        method("synetune_zeroshot").fit(MetaTrain(MIXED, source.configs, source.tasks, scores, observed=seen)).shared_
    )
    for predicted, wanted in zip(-shared._scores.to_numpy(), ("rate", "rate", "units"), strict=True):
        assert np.corrcoef(predicted, shared._hyperparameters[wanted])[0, 1] > 0.8


def test_a_box_is_not_told_of_options_that_it_lacks(source):
    """No optimum is of kind c; candidates of it are tried when all others were."""
    configs = source.configs
    scores = np.where((configs["kind"] == "c").to_numpy()[:, None], 0.0, source.scores)
    model = method("synetune_box").fit(MetaTrain(MIXED, configs, source.tasks, scores))
    run, history = model.start(PROBLEM, 0), History()
    kinds = POOL["kind"].to_numpy()
    for c in np.flatnonzero(kinds == "c")[:2]:
        history.add(int(c), 0.5)
    for _ in range(6):
        history.add(c := run.ask(history), float(SCORES[c]))
    assert (kinds[history.candidates[2:]] != "c").all()


def test_configurations_of_another_space_are_carried():
    """Numbers beyond the range lie at its end; what is unknown has its default."""
    other = Space(kind=Choice("a", "z"), rate=Float(1e-7, 1.0, log=True), batch=Ordinal(32, 1024), units=Int(3, 9))
    table = other.table([{"kind": "z", "rate": 1e-7, "batch": 1024, "units": 9}])
    (point,) = carry(table, MIXED)
    got = dict(zip(MIXED, point, strict=True))
    assert got["kind"] == MIXED["kind"].to_unit(["b"])[0] and got["rate"] == 0.0
    assert got["batch"] == MIXED["batch"].to_unit([256])[0] and got["units"] == MIXED["units"].to_unit([5])[0]
    assert got["smoothing"] == 0.5 and got["width"] == 0.5


# ---------------------------------------------------------------- global state
def test_generators_are_a_searchs_own():
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    outside = random.random(), np.random.random()  # noqa: NPY002
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    mine, other = Generators(5), Generators(5)
    with mine.own():
        first = random.random(), np.random.random()  # noqa: NPY002
    with other.own():
        again = random.random(), np.random.random()  # noqa: NPY002
    with mine.own():
        second = random.random(), np.random.random()  # noqa: NPY002
    assert first == again and first != second
    assert (random.random(), np.random.random()) == outside  # noqa: NPY002


@pytest.mark.parametrize("name", [*PEERS, *SYNETUNE, "turbo", "botorch"])
def test_the_global_generators_stay_where_they_were(name, source):
    torch = pytest.importorskip("torch")
    model = method(name)
    if learns(name):
        model.fit(source)
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    run, history = model.start(PROBLEM, 0), History()
    for _ in range(9):
        history.add(c := run.ask(history), float(SCORES[c]))
    after = random.random(), np.random.random(), torch.rand(1).item()  # noqa: NPY002
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    assert after == (random.random(), np.random.random(), torch.rand(1).item())  # noqa: NPY002


# ---------------------------------------------------------------- that they search
def test_hebo_takes_the_whole_front():
    """Its Pareto front is that of the candidates it may still try: none is dominated, no other is not."""
    pytest.importorskip("hebo")
    torch = pytest.importorskip("torch")
    from metabench.baselines.hebo import _front

    values = torch.tensor([[1.0, 2.0], [2.0, 1.0], [2.0, 2.0], [1.0, 2.0], [3.0, 0.5]])
    pool = pd.DataFrame({"x": range(5)})

    class Identity:
        def transform(self, table):
            return (table,)

    front = _front(pool)(Identity(), lambda table: values[table["x"].to_list()]).optimize()
    assert front["x"].tolist() == [0, 1, 3, 4]


def regret(model, trials, tasks=4, seeds=3, configs=256):
    """Median over tasks and seeds of (best − incumbent)/(best − median)."""
    out = []
    for task in range(tasks):
        problem, scores = PlantedFamily(seed=3).problem(50 + task, SPACE.sample(configs, 0), trials)
        for seed in range(seeds):
            run, history = model.start(problem, seed), History()
            for _ in range(trials):
                history.add(c := run.ask(history), float(scores[c]))
            best = np.nanmax(scores)
            out.append((best - np.nanmax(history.scores)) / (best - np.nanmedian(scores)))
    return np.median(out)


@pytest.mark.parametrize(
    ("name", "trials", "tasks", "seeds", "share"),
    [
        ("cmaes", 60, 4, 3, 0.8),
        ("nevergrad", 60, 4, 2, 0.8),
        ("smac", 40, 2, 2, 0.75),
        ("hebo", 25, 2, 1, 0.6),
        ("turbo", 25, 6, 1, 0.6),
    ],
)
def test_a_peer_beats_random_on_a_smooth_problem(name, trials, tasks, seeds, share):
    assert regret(method(name), trials, tasks, seeds) < share * regret(method("random"), trials, tasks, 8)


@pytest.mark.parametrize(("name", "trials"), [("synetune_cts", 10), ("synetune_zeroshot", 10), ("synetune_box", 25)])
def test_a_peer_that_transfers_beats_random(name, trials):
    model = method(name).fit(synthetic_source(16, 64, seed=3))
    assert regret(model, trials, 4, 2) < 0.7 * regret(method("random"), trials, 4, 8)
