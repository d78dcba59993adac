"""Checks of the statistics of protocol 3 on simulated boards of known truth; each repeats a board and counts how often the
statistic is right.

``benchmarks/protocol.py`` runs them at length, the tests briefly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from metabench.scores import orders
from metabench.scores.area import log_area
from metabench.scores.bootstrap import FamilyBootstrap
from metabench.scores.contrasts import Pairs, contrasts, detectable
from metabench.scores.replicates import Replicates
from metabench.scores.star import STAGES, racing, star
from metabench.scores.tiers import first, rank_intervals, tiers
from metabench.scores.twins import negative_transfer
from metabench.testing.simulated import Effects, family_names, table

RESAMPLES = 1000


def _means(effects: Effects, rng: np.random.Generator, seed: int) -> tuple[np.ndarray, FamilyBootstrap]:
    searches = effects.draw(rng)
    return searches.areas(1), FamilyBootstrap.build(searches.families, RESAMPLES, seed)


def coverage(effects: Effects, repetitions: int, seed: int = 0) -> dict[str, float]:
    """How often intervals hold the truth.

    Args:
        effects: the boards; methods' true means must differ for ranks to mean something.
        repetitions: number of boards.
        seed: seed of the boards.

    Returns:
        Shares: ``mean`` of single means, ``difference`` of single differences to the first method, ``joint`` of boards on
        which all pairs' joint intervals hold, ``rank`` of rank intervals.
    """
    rng, truth = np.random.default_rng([seed, 1]), effects.means
    rank = np.argsort(np.argsort(truth)) + 1
    hits: dict[str, list[float]] = {"mean": [], "difference": [], "joint": [], "rank": []}
    for i in range(repetitions):
        values, bootstrap = _means(effects, rng, i)
        low, high = bootstrap.interval(bootstrap.means(values))
        hits["mean"].append(((low <= truth) & (truth <= high)).mean())
        low, high = bootstrap.interval(bootstrap.means(values[1:] - values[0]))
        gap = truth[1:] - truth[0]
        hits["difference"].append(((low <= gap) & (gap <= high)).mean())
        pairs = Pairs.of(values, bootstrap)
        true = np.array([truth[a] - truth[b] for a, b in pairs.index])
        hits["joint"].append(bool(((pairs.joint_low <= true) & (true <= pairs.joint_high)).all()))
        low, high = rank_intervals(values, bootstrap)
        hits["rank"].append(((low <= rank) & (rank <= high)).mean())
    return {name: float(np.mean(found)) for name, found in hits.items()}


def errors(effects: Effects, repetitions: int, margin: float, seed: int = 0) -> dict[str, float]:
    """Family-wise errors when all methods are equal.

    Args:
        effects: the boards; all means are set to the first one's, but for ``tiers``.
        repetitions: number of boards.
        margin: of the tiers; their error is measured with means that differ by just as much.
        seed: seed of the boards.

    Returns:
        ``holm``: share of boards on which a contrast with the first method has p_holm < .05; ``single``: the same for
        one contrast; ``tiers``: share on which a method that trails the best by just the margin is put into another tier
        than the best.
    """
    rng = np.random.default_rng([seed, 2])
    equal = replace(effects, means=np.full(len(effects.means), effects.means[0]))
    border = replace(equal, means=equal.means + np.where(np.arange(len(equal.means)) > 0, margin, 0.0))
    names = [f"m{i}" for i in range(len(effects.means))]
    holm, single, split = [], [], []
    for i in range(repetitions):
        values, bootstrap = _means(equal, rng, i)
        found = contrasts(values, names, [(m, names[0]) for m in names[1:11]], bootstrap)
        holm.append((found["p_holm"] < 0.05).any())
        single.append((found["p"] < 0.05).mean())
        values, bootstrap = _means(border, rng, i)
        pairs = Pairs.of(values, bootstrap)
        tier = tiers(bootstrap.means(values).mean(axis=1), names, pairs, margin)
        split.append((tier > tier[0]).any())
    return {"holm": float(np.mean(holm)), "single": float(np.mean(single)), "tiers": float(np.mean(split))}


def placed_first(
    effects: Effects, draw: Callable[[np.random.Generator], np.ndarray], repetitions: int, seed: int = 0
) -> list[tuple[float, float, float, int]]:
    """Calibration of P(first): of methods that are given a probability, the share that is truly the best.

    Args:
        effects: the boards.
        draw: true means of a board's methods.
        repetitions: number of boards.
        seed: seed of the boards.

    Returns:
        For bins of the probability (mean probability, share that is best, standard error of the share, methods).
    """
    rng, said, true = np.random.default_rng([seed, 3]), [], []
    for i in range(repetitions):
        means = draw(rng)
        values, bootstrap = _means(replace(effects, means=means), rng, i)
        said.append(first(values, bootstrap, i))
        true.append(np.arange(len(means)) == means.argmin())
    said, true = np.concatenate(said), np.concatenate(true)
    out = []
    for low, high in ((0.0, 0.1), (0.1, 0.3), (0.3, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1.01)):
        inside = (said >= low) & (said < high)
        if n := int(inside.sum()):
            share = float(true[inside].mean())
            out.append((float(said[inside].mean()), share, float(np.sqrt(max(share * (1 - share), 1 / n) / n)), n))
    return out


def power(effects: Effects, gap: float, repetitions: int, seed: int = 0) -> tuple[float, float]:
    """How often a difference ``gap`` between the first two methods is found, and the difference said to be detectable."""
    rng, found, said = np.random.default_rng([seed, 4]), [], []
    pair = replace(effects, means=np.array([0.2, 0.2 + gap]))
    for i in range(repetitions):
        values, bootstrap = _means(pair, rng, i)
        found.append(bootstrap.p_value(bootstrap.means(values[0] - values[1])) < 0.05)
        said.append(detectable(values, bootstrap)[0])
    return float(np.mean(found)), float(np.mean(said))


def twin_error(effects: Effects, repetitions: int, seed: int = 0) -> dict[str, float]:
    """How often a method that equals its twin is said to differ: intervals of ``net`` and ``excess`` that miss 0."""
    rng, net, excess = np.random.default_rng([seed, 5]), [], []
    same = replace(effects, means=np.array([0.2, 0.2]), family=0.0, task=0.0)
    for i in range(repetitions):
        searches = same.draw(rng)
        bootstrap = FamilyBootstrap.build(searches.families, RESAMPLES, i)
        method, twin = (cells[..., 0] for cells in searches.regret.values())
        found = negative_transfer(method, twin, bootstrap, seed=i)
        net.append(found.low > 0 or found.high < 0)
        excess.append(found.excess_low > 0 or found.excess_high < 0)
    return {"net": float(np.mean(net)), "excess": float(np.mean(excess))}


def random_coverage(
    families: int,
    repetitions: int,
    marks: tuple[int, ...] = (1, 3, 5, 10, 50),
    further: int = 3000,
    seed: int = 0,
    **settings: float,
) -> dict[str, dict]:
    """Coverage of the interval of exact random search, and of random search from ten lists.

    The truth is the mean over ``further`` tasks of the exact expectation. ``settings`` are those of
    :func:`metabench.testing.simulated.table`.

    Returns:
        ``exact`` and ``lists``: mark → coverage, mean width of the interval.
    """
    trials, configs = max(marks), 64
    rng = np.random.default_rng([seed, 6])

    def exact(n: int) -> tuple[np.ndarray, Replicates, np.ndarray]:
        one = table(rng, tasks=n, configs=configs, seeds=4, **settings)
        replicates, best = Replicates.of(one.valid, one.test, np.full(n, 4)), one.expected_test.max(axis=1)
        return orders.random_regret(replicates, best, trials).mean(axis=1), replicates, best

    truth = np.concatenate([exact(100)[0] for _ in range(further // 100)]).mean(axis=0)
    bootstrap = FamilyBootstrap.build(family_names(families, families), RESAMPLES, seed)
    hits: dict[str, list] = {"exact": [], "lists": []}
    for _ in range(repetitions):
        regret, replicates, best = exact(families)
        order = rng.permuted(np.broadcast_to(np.arange(configs), (families, 10, configs)), axis=-1)[..., :trials]
        lists = 1.0 - replicates.utilities(order[None], best)[0].mean(axis=1)
        for name, values in (("exact", regret), ("lists", lists)):
            low, high = bootstrap.interval(values.T)
            hits[name].append(((low <= truth) & (truth <= high), high - low))
    return {
        name: {
            m: (float(np.mean([c[m - 1] for c, _ in found])), float(np.mean([w[m - 1] for _, w in found])))
            for m in marks
        }
        for name, found in hits.items()
    }


def regret_bias(
    repetitions: int, tasks: int = 10, configs: int = 512, seed: int = 0, **settings: float
) -> dict[str, float]:
    """Bias of measured regret against the truth, y* by a race included.

    On every simulated task a race on seeds of its own finds the reference; random searches of 50 trials see one replicate
    and are scored on the other. The truth is the regret of the same incumbents by their expected test scores, against
    that of the configuration with the best expected validation score.

    Returns:
        Means over tasks at 50 trials, in units of regret: ``measured``, ``true``, ``same`` (measured on the replicate that
        the search saw, as protocol 2 did), the estimated and the true ``shortfall`` of the reference, and the estimated
        and the true bias of the naive maximum (``naive``).
    """
    rng, rows = np.random.default_rng([seed, 7]), []
    for _ in range(repetitions):
        one = table(rng, tasks=tasks, configs=configs, seeds=30, **settings)
        sides = Replicates.of(one.valid, one.test, np.full(tasks, 10))
        found = [star(*raced(one.valid[t][:, 10:], one.test[t][:, 10:])) for t in range(tasks)]
        order = rng.permuted(np.broadcast_to(np.arange(configs), (1, tasks, 10, configs)), axis=-1)[..., :50]
        measured = 1.0 - sides.utilities(order, np.array([f.score for f in found]))[..., -1]
        best = one.expected_test[np.arange(tasks), one.expected_valid.argmax(axis=1)]
        true = 1.0 - one.true_utility(sides.incumbents(order), best)[..., -1]
        seen = replace(sides, scored=sides.scored[..., ::-1])
        same = 1.0 - seen.utilities(order, np.array([f.score for f in found]))[..., -1]
        v, middle = one.expected_valid, np.median(one.expected_valid, axis=1)
        chosen = v[np.arange(tasks), [f.config for f in found]]
        shortfall = (v.max(axis=1) - chosen) / (chosen - middle)
        on_test = one.expected_test[np.arange(tasks), [f.config for f in found]]
        naive = (one.valid[..., 10:12] - _hardness(one.valid[..., 10:12], v)).max(axis=1).mean(axis=1) - v.max(axis=1)
        rows.append(
            {
                "measured": measured.mean(),
                "true": true.mean(),
                "same": same.mean(),
                "shortfall": np.mean([f.shortfall for f in found]),
                "true_shortfall": shortfall.mean(),
                "test_shortfall": ((best - on_test) / (on_test - np.median(one.expected_test, axis=1))).mean(),
                "star_bias": np.mean([f.score for f in found] - on_test),
                "naive": np.mean([f.naive_bias for f in found]),
                "true_naive": (naive / (chosen - middle)).mean(),
            }
        )
    out = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    gaps = [row["measured"] - row["true"] for row in rows]
    return out | {"bias_error": float(np.std(gaps, ddof=1) / np.sqrt(len(gaps))) if len(gaps) > 1 else float("nan")}


def raced(valid: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a race shows of scores [configs, seeds]: NaN where a run is not made."""
    seen = np.full(valid.shape, np.nan)
    for stage, (_, seeds) in enumerate(STAGES):
        alive = racing(seen, stage)
        seen[alive, :seeds] = valid[alive, :seeds]
    return seen, np.where(np.isfinite(seen), test, np.nan)


def _hardness(valid: np.ndarray, expected: np.ndarray) -> np.ndarray:
    return np.median(valid - expected[..., None], axis=1, keepdims=True)


def area_bias(repetitions: int, seed: int = 0) -> float:
    """Mean of the area of exact random search less that of many simulated orders, over simulated tables."""
    rng, gaps = np.random.default_rng([seed, 8]), []
    for _ in range(repetitions):
        one = table(rng, tasks=5, configs=64, seeds=4)
        sides, best = Replicates.of(one.valid, one.test, np.full(5, 4)), one.expected_test.max(axis=1)
        exact = orders.random_regret(sides, best, 50).mean(axis=1)
        order = rng.permuted(np.broadcast_to(np.arange(64), (1, 5, 200, 64)), axis=-1)[..., :50]
        simulated = 1.0 - sides.utilities(order, best)[0].mean(axis=1)
        gaps.append((log_area(exact, 50) - log_area(simulated, 50)).mean())
    return float(np.mean(gaps))
