"""The way from the source's configurations to another pool, and what a history becomes before a model sees it."""

import warnings
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from metabench.errors import MetabenchError, UsageError
from metabench.metamodels.empirical_gp import EmpiricalGP
from metabench.metamodels.parts.common import utilities
from metabench.metamodels.parts.matern import Matern, distances, matern
from metabench.metamodels.parts.source_space import SourceSpace
from metabench.metamodels.portfolio import Portfolio
from metabench.search.base import History, Problem
from metabench.space import Choice, Float, Int, Space, when
from metabench.testing import PlantedFamily, synthetic_source
from metabench.testing.planted import SPACE

SOURCE = synthetic_source(16, 96, seed=4)
KEPT = SourceSpace.fit(SOURCE, SOURCE.normal_scores)


def problem(candidates, space=SPACE, direction="max"):
    info = replace(PlantedFamily(seed=4).info(50), direction=direction)
    return Problem(space, info, candidates.reset_index(drop=True), 10)


def test_rows_of_the_source_keep_their_values():
    order = np.random.default_rng(0).permutation(96)[:40]
    alignment = KEPT.align(problem(SOURCE.configs.iloc[order]))
    np.testing.assert_array_equal(alignment.rows, order)
    np.testing.assert_array_equal(alignment.carry(SOURCE.normal_scores), SOURCE.normal_scores[:, order])
    assert not alignment.gap.any()


def test_rows_are_matched_in_a_space_without_what_the_task_ignores():
    """A regression task's space may lack label smoothing although the table has the column."""
    space = Space({n: p for n, p in SPACE.items() if n != "dropout"})
    alignment = KEPT.align(problem(SOURCE.configs, space))
    np.testing.assert_array_equal(alignment.rows, np.arange(96))


def test_other_rows_are_interpolated():
    """Far better than by the mean, known rows exactly, and the gap says where nothing is near."""
    new = SPACE.sample(200, seed=77)
    pool = new.iloc[:60]
    truth = -PlantedFamily(seed=4).loss(3, pool)
    values = -PlantedFamily(seed=4).loss(3, SOURCE.configs)
    alignment = KEPT.align(problem(pool))
    carried = values.mean() + alignment.carry(values - values.mean())
    assert np.mean((carried - truth) ** 2) < 0.4 * truth.var()
    assert (alignment.rows == -1).all() and (alignment.gap > 0).all() and (alignment.gap < 1).all()


def test_a_changed_space_is_told_in_one_line():
    kept = {n: p for n, p in SPACE.items() if n not in ("dropout", "optimizer", "momentum")}
    changed = Space(
        optimizer=Choice("adam", "lion"),
        learning_rate=Float(1e-5, 1.0, log=True),
        **{n: p for n, p in kept.items() if n != "learning_rate"},
        clip=Float(0.1, 10.0, log=True),
    )
    pool = changed.sample(30, seed=1)
    with pytest.warns(UserWarning, match=r"lacks momentum, dropout; it adds clip; optimizer is one of") as told:
        alignment = KEPT.align(problem(pool, changed))
    assert len(told) == 1 and "\n" not in str(told[0].message)
    assert np.isfinite(alignment.carry(SOURCE.normal_scores)).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for model in (Portfolio(), EmpiricalGP()):
            search, history = model.fit(SOURCE).start(problem(pool, changed), 0), History()
            for _ in range(30):
                history.add(search.ask(history), 0.5)
            assert sorted(history.candidates) == list(range(30))


CHAIN = Space(
    kind=Choice("a", "b", "c"),
    inner=Choice("x", "y", when=when("kind", "a", "b")),
    depth=Int(1, 9, when=when("inner", "x")),
    size=Float(1e-3, 1.0, log=True, when=when("kind", "c")),
)
SCALES = dict(zip(CHAIN, (0.3, 1.0, 0.5, 2.0), strict=True))
PARTS = [names for k in range(1, 5) for names in combinations(CHAIN, k)]


def part(names, changed):
    """Hyperparameters of CHAIN alone, under those of its conditions whose parents are among them; some of ``changed``."""
    kept = {n: changed.get(n, CHAIN[n]) for n in names}
    for n, p in kept.items():
        if p.when and p.when.parent not in names:
            kept[n] = Choice(*p.options) if isinstance(p, Choice) else replace(p, when=None)
    return Space(kept)


def apart(source, pool, table):
    """The distances² [n, n] between a pool's candidates under a source's length scales."""
    scales = np.array([SCALES[n] for n in source])
    kept = SourceSpace(source, source.sample(4, seed=0), scales)
    x = kept.pool_coordinates(problem(table[list(pool)], pool))
    return distances(x, x) ** 2


@pytest.mark.parametrize("changed", [{}, {"kind": Choice("b", "d"), "inner": Choice("z", "x", when=when("kind", "d"))}])
@pytest.mark.parametrize("theirs", PARTS, ids="+".join)
def test_a_hyperparameter_counts_alone_whatever_becomes_of_its_parents(theirs, changed):
    """For every part of a space with nested conditions as the source's and every one as the pool's: a distance is the
    sum over hyperparameters, of which those that are new have the typical length scale."""
    table = Space({**CHAIN, **changed}).sample(16, seed=1)
    alone = {n: apart(part([n], {}), part([n], changed), table) for n in CHAIN}
    typical = np.exp(np.mean([np.log(SCALES[n]) for n in theirs]))
    for ours in PARTS:
        if set(ours) & set(theirs):
            found = apart(part(theirs, {}), part(ours, changed), table)
            expected = sum(alone[n] * (1.0 if n in theirs else (SCALES[n] / typical) ** 2) for n in ours)
            np.testing.assert_allclose(found, expected, atol=1e-12)


def test_nothing_in_common_is_an_error():
    alien = Space(x=Float(0, 1), y=Float(0, 1))
    with pytest.raises(UsageError, match="shares no hyperparameter"):
        KEPT.align(problem(alien.sample(8, seed=0), alien))


def test_the_kernel_finds_what_matters():
    """A function of one hyperparameter only: its length scale is the shortest by far."""
    configs = SPACE.sample(128, seed=3)
    from metabench.metamodels.parts.source_space import blocks

    x = blocks(SPACE, configs, list(SPACE))
    u = SPACE.to_unit(configs)[:, list(SPACE).index("width")]
    targets = np.stack([np.sin(6 * u + k) for k in range(8)])
    scales = dict(zip(SPACE, Matern.fit(x, targets).length_scales, strict=True))
    others = [v for n, v in scales.items() if n != "width"]
    assert scales["width"] < 0.2 * min(others)


def test_the_matern_kernel_is_five_halves():
    from sklearn.gaussian_process.kernels import Matern as Theirs

    x = np.random.default_rng(0).normal(size=(20, 3))
    np.testing.assert_allclose(matern(distances(x, x)), Theirs(nu=2.5)(x), atol=1e-7)


@pytest.mark.parametrize(
    ("scores", "direction", "expected"),
    [
        ([], "max", []),
        ([0.1, 0.3], "max", [0.1, 0.3]),
        ([0.1, 0.3], "min", [-0.1, -0.3]),
        ([np.nan, np.nan], "max", [0, 0]),
        ([0.0, 2.0, np.nan, -np.inf], "max", [0.0, 2.0, -0.5, -0.5]),
        ([1.0, 2.0, 3.0, -1e9], "max", [1.0, 2.0, 3.0, -3.0]),  # median 1.5, best 3: nothing counts as under −3
    ],
)
def test_utilities(scores, direction, expected):
    history = History(list(range(len(scores))), scores)
    tried, y = utilities(problem(SOURCE.configs, direction=direction), history)
    np.testing.assert_array_equal(tried, np.arange(len(scores)))
    np.testing.assert_allclose(y, expected)


def test_a_saved_model_that_is_not_one_is_refused(tmp_path):
    with pytest.raises(MetabenchError, match="holds no saved meta-model"):
        Portfolio.load(tmp_path)
    Portfolio().fit(SOURCE).save(tmp_path)
    with pytest.raises(MetabenchError, match="'portfolio' in format 1; expected 'empirical_gp'"):
        EmpiricalGP.load(tmp_path)
    (tmp_path / "state.safetensors").write_bytes(b"no")
    with pytest.raises(MetabenchError, match="cannot be read"):
        Portfolio.load(tmp_path)


def test_a_model_that_was_not_fitted_says_so():
    with pytest.raises(UsageError, match="has not been fitted"):
        EmpiricalGP().start(problem(SOURCE.configs), 0)
