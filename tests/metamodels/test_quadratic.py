"""Quadratic surfaces: projections and climbs against an optimiser, and a search on a quadratic."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import LinearConstraint, minimize

from metabench.metamodels.parts.common import utilities
from metabench.metamodels.parts.source_space import blocks
from metabench.metamodels.parts.surface import Frame, simplex
from metabench.metamodels.quadratic import Quadratic, largest_evidence
from metabench.search.base import History, Problem
from metabench.space import Choice, Float, Int, Space, when
from metabench.testing import synthetic_source

MIXED = Space(
    kind=Choice("a", "b", "c"),
    rate=Float(1e-4, 1.0, log=True),
    slope=Float(0, 1, when=when("kind", "b", "c")),
    inner=Choice("x", "y", when=when("kind", "c")),
    deep=Float(0, 1, when=when("inner", "y")),
    units=Int(1, 64, log=True),
)
PLAIN = Space(x=Float(0, 1), y=Float(0, 1), z=Float(0, 1))


def points(space, configs):
    return Frame(space).points(blocks(space, configs, list(space)))


def quadratic_tasks(tasks, seed=0, configs=256):
    """Tasks f(x) = −(x − x*)ᵀA(x − x*) on PLAIN whose optima scatter around one point: a source and a target."""
    rng = np.random.default_rng(seed)
    table = PLAIN.sample(configs, seed=seed)
    unit = PLAIN.to_unit(table)
    root = rng.normal(size=(3, 3)) / 2
    curvature = root @ root.T + np.eye(3)
    optima = np.clip([0.6, 0.4, 0.5] + 0.15 * rng.normal(size=(tasks + 1, 3)), 0.1, 0.9)
    values = np.array([-np.einsum("ni,ij,nj->n", unit - o, curvature, unit - o) for o in optima])
    template = synthetic_source(1, 4)
    infos = [replace(template.tasks[0], task_id=f"t{i}", family=f"f{i}", features={}) for i in range(tasks)]
    source = replace(template, space=PLAIN, configs=table, tasks=infos, scores=values[:-1, :, None])
    return source, Problem(PLAIN, infos[0], table.reset_index(drop=True), 20), optima[-1], values[-1]


def test_features_hold_every_product_once():
    frame = Frame(MIXED)
    configs = MIXED.sample(50, seed=1)
    x = points(MIXED, configs)
    assert x.shape == (50, 9)
    i, j = frame.pairs
    owner = [n for n, s in frame.slices.items() for _ in range(s.stop - s.start)]
    assert all(
        owner[a] != owner[b] or a == b for a, b in zip(i, j, strict=True)
    )  # options of a choice exclude one another
    assert len(set(zip(i, j, strict=True))) == len(i) == 36 - 3 - 1 + 4
    beta = np.random.default_rng(0).normal(size=frame.features(x).shape[1])
    constant, linear, matrix = frame.split(beta)
    value = constant + x @ linear + 0.5 * np.einsum("ni,ij,nj->n", x, matrix, x)
    np.testing.assert_allclose(value, frame.features(x) @ beta, atol=1e-12)
    assert frame.order.tolist() == [0, *[1] * 9, *np.where(i == j, 1, 2)]


def test_inactive_is_zero():
    x = points(MIXED, MIXED.sample(64, seed=2))
    a = x[:, 0] == 1
    assert (x[a][:, 4:8] == 0).all() and (x[~a][:, 4] != 0).all()  # kind "a": neither slope nor inner nor deep


def test_the_projection_is_the_nearest_feasible_point():
    """Against a constrained optimiser: numbers in [−1, 1], shares on simplices of different sizes."""
    frame, rng = Frame(MIXED), np.random.default_rng(3)
    lower = np.array([0, 0, 0, -1, -1, 0, 0, -1, -1])
    sums = np.array([[1, 1, 1, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 1, 0, 0]])
    for point in rng.normal(size=(5, 9)) * 1.5:
        best = minimize(
            lambda q, point=point: ((q - point) ** 2).sum(),
            frame.project(np.zeros((1, 9)))[0],
            bounds=list(zip(lower, np.ones(9), strict=True)),
            constraints=LinearConstraint(sums, 1, 1),
            tol=1e-12,
        )
        np.testing.assert_allclose(frame.project(point[None])[0], best.x, atol=1e-5)
    again = frame.project(frame.project(rng.normal(size=(50, 9))))
    np.testing.assert_allclose(frame.project(again), again, atol=1e-12)


def test_the_simplex_is_left_alone():
    corners = np.eye(4)
    np.testing.assert_allclose(simplex(corners), corners)
    np.testing.assert_allclose(simplex(np.zeros((1, 4))), 0.25)


def test_climbs_end_where_nothing_is_better_nearby():
    """At a maximum no feasible point in a small neighbourhood is higher; on a concave surface it is the global one."""
    frame, rng = Frame(MIXED), np.random.default_rng(5)
    n = len(frame.order)
    for _ in range(5):
        beta = rng.normal(size=n)
        starts = points(MIXED, MIXED.sample(8, seed=6))
        tops, values = frame.climb(beta, starts, tolerance=1e-9, steps=20_000)
        assert (np.diff(values) <= 0).all()
        assert values.min() >= (frame.features(frame.project(starts)) @ beta).min() - 1e-9
        near = frame.project(tops[0] + 1e-3 * rng.normal(size=(500, 9)))
        assert (frame.features(near) @ beta).max() <= values[0] + 1e-6
    i, j = Frame(PLAIN).pairs
    beta = np.zeros(10)
    target, curvature = np.array([0.3, -0.8, 1.6]), np.array([1.0, 4.0, 0.5])
    beta[1:4] = 2 * curvature * target
    beta[4:][i == j] = -curvature
    tops, _ = Frame(PLAIN).climb(beta, np.zeros((1, 3)), tolerance=1e-10)
    np.testing.assert_allclose(tops[0], [0.3, -0.8, 1.0], atol=1e-6)  # the third optimum lies beyond the bound


def test_a_quadratics_optimum_is_found():
    """Ten trials and the climb stands on the optimum; the search proposes the nearest candidate or a better one."""
    source, problem, optimum, values = quadratic_tasks(8)
    model = Quadratic().fit(source)
    search, history = model.start(problem, 0), History()
    for _ in range(12):
        c = search.ask(history)
        history.add(c, values[c])
    top = search.maxima(search.coefficients(history))[0][0]
    np.testing.assert_allclose((top + 1) / 2, optimum, atol=0.06)
    assert max(history.scores) >= np.sort(values)[-3]


def test_one_task_is_enough_to_search_a_quadratic():
    source, problem, _, values = quadratic_tasks(1, seed=2)
    search, history = Quadratic().fit(source).start(problem, 0), History()
    for _ in range(15):
        c = search.ask(history)
        history.add(c, values[c])
    assert max(history.scores) >= np.sort(values)[-5]


def test_coefficients_are_the_ridge_regression_towards_the_source():
    """They minimise ‖z − Φβ‖²/σ² + ‖β − β₀‖²_{D⁻¹} for scores that are on the surface's scale; draws have the posterior's
    covariance (D⁻¹ + ΦᵀΦ/σ²)⁻¹."""
    source, problem, _, values = quadratic_tasks(6, seed=3)
    model = Quadratic().fit(source)
    search = model.start(problem, 0)
    history = History(list(range(30)), values[:30].tolist())
    beta = search.coefficients(history)
    phi = search._phi[:30]
    precision = np.diag(1 / model.prior_) + phi.T @ phi / model.noise_
    # Φᵀz/σ² for the z = (y − a)/b that was used
    moment = precision @ beta - model.mean_ / model.prior_
    basis = phi.T @ np.column_stack([utilities(problem, history)[1], np.ones(30)]) / model.noise_
    (scale, _), gap, *_ = np.linalg.lstsq(basis, moment, rcond=None)
    assert scale > 0
    assert gap[0] < 1e-12 * (moment @ moment)
    prediction = search.predict(history, np.arange(256))
    np.testing.assert_allclose(prediction.mean, search._phi @ beta)
    np.testing.assert_allclose(
        prediction.std**2, np.einsum("ni,ij,nj->n", search._phi, np.linalg.inv(precision), search._phi), rtol=1e-6
    )
    draws = np.array([model.start(problem, s).coefficients(history, draw=True) for s in range(400)])
    covariance = np.linalg.inv(precision)
    np.testing.assert_allclose(draws.mean(0), beta, atol=4 * np.sqrt(covariance.max() / 400))
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.2 * covariance.max())


def test_the_evidence_finds_planted_variances():
    rng = np.random.default_rng(6)
    frame = Frame(PLAIN)
    phi = frame.features(points(PLAIN, PLAIN.sample(128, seed=3)))
    d = np.where(frame.order == 2, 0.03, 1.0)
    d /= (phi**2 @ d).mean()
    beta = rng.normal(size=(200, 10)) * np.sqrt(d)
    z = beta @ phi.T + np.sqrt(0.1) * rng.normal(size=(200, 128))
    prior, noise = largest_evidence(phi, frame.order, z)
    assert noise == pytest.approx(0.1, rel=0.1)
    np.testing.assert_allclose(prior, d, rtol=0.2)
