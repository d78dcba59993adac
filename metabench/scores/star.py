"""y*: the expected score of a reference configuration of each task, found by racing.

All configurations are trained with 2 seeds, the best 128 of them with 5, the best 32 with 10 and the best 8 with 20; the
seeds are those of the race, no search sees them. The reference is the finalist with the best mean validation score. Its
expected test score is estimated by cross-fitting over the seeds that the last stage added: for each of them the
finalists are compared on all other seeds, and the one that leads is scored on this one. The seeds that made a finalist
are left out, so the estimate owes nothing to luck.

The reference may miss the best configuration. By how much is estimated by empirical Bayes
(:mod:`metabench.scores.posterior`): the mean, over draws of all expected scores given the race, of the best expectation
less that of the reference. The same draws tell the bias of the naive alternative, the maximum over all single runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metabench.errors import UsageError
from metabench.scores.posterior import draw_expectations

#: (configurations, seeds that each of them has then) of the stages
STAGES: tuple[tuple[int | None, int], ...] = ((None, 2), (128, 5), (32, 10), (8, 20))
#: steps of the estimate of how expected scores are distributed; on simulated races of 512 configurations 15 give the true
#: shortfall within its standard error, 100 three quarters of it
STEPS = 15


def racing(scores: np.ndarray, stage: int, stages: tuple = STAGES) -> np.ndarray:
    """Configurations that run in a stage of the race.

    Args:
        scores: validation scores of the race's seeds so far, float64 [configs, seeds], larger is better; NaN where a run
            diverged or was not made.
        stage: position in ``stages``; 0 is the first.
        stages: (configurations or None for all, seeds) of each stage.

    Returns:
        int [configurations], those with the best mean over the seeds of the stage before, best first. A configuration that
        diverged with one of them comes last.

    Raises:
        UsageError: for a stage that does not exist, or whose predecessor has not been run.
    """
    if not 0 <= stage < len(stages):
        raise UsageError(f"the race has stages 0 … {len(stages) - 1}, not {stage}")
    alive = np.arange(len(scores))
    for at in range(1, stage + 1):
        count, before = stages[at][0], stages[at - 1][1]
        if scores.shape[1] < before or not np.isfinite(scores[alive, before - 1]).any():
            raise UsageError(f"stage {at} of the race needs {before} seeds of the stage before")
        mean = scores[alive, :before].mean(axis=1)
        order = np.argsort(-np.where(np.isfinite(mean), mean, -np.inf), kind="stable")
        alive = alive[order[:count]]
    return alive


@dataclass(frozen=True)
class Star:
    """The reference of one task; scores are in units of the metric, larger is better."""

    #: the reference configuration
    config: int
    #: its expected test score, which is y*, and the standard error of the estimate
    score: float
    error: float
    #: by how much the best expected validation score is estimated to exceed the reference's, in units of the lead of the
    #: reference on the median configuration, as regret is; NaN where there is no lead
    shortfall: float
    #: by how much the largest validation score of single runs is estimated to exceed the best expected one, likewise
    naive_bias: float


def star(valid: np.ndarray, test: np.ndarray, stages: tuple = STAGES, draws: int = 200, seed: int = 0) -> Star:
    """The reference of a task from a finished race.

    Args:
        valid: validation scores of the race's seeds, float64 [configs, seeds], larger is better; NaN where a run diverged
            or was not made.
        test: test scores of the same runs.
        stages: the stages of the race.
        draws: draws of the expected scores.
        seed: seed of the draws.

    Returns:
        The reference, its expected score, the shortfall and the naive maximum's bias.

    Raises:
        UsageError: when the race is not finished, or no finalist ran to the end with all seeds.
    """
    finalists = racing(valid, len(stages) - 1, stages)
    before, seeds = stages[-2][1], stages[-1][1]
    if valid.shape[1] < seeds:
        raise UsageError(f"the race has {valid.shape[1]} seeds, its last stage needs {seeds}")
    whole = np.isfinite(valid[finalists, :seeds]).all(axis=1) & np.isfinite(test[finalists, :seeds]).all(axis=1)
    finalists = finalists[whole]
    if len(finalists) == 0:
        raise UsageError("no configuration of the race's last stage ran to its end with all seeds")
    v, e = valid[finalists, :seeds], test[finalists, :seeds]
    rest = v.sum(axis=1, keepdims=True) - v[:, before:]
    scored = np.take_along_axis(e[:, before:], rest.argmax(axis=0)[None], axis=0)[0]
    chosen = int(v.sum(axis=1).argmax())
    shortfall, naive = _missed(
        valid[:, :seeds], int(finalists[chosen]), stages, draws, np.random.default_rng([seed, 0x57A2])
    )
    return Star(
        int(finalists[chosen]), float(scored.mean()), float(scored.std(ddof=1) / np.sqrt(len(scored))), shortfall, naive
    )


def of_table(valid: np.ndarray, test: np.ndarray, draws: int = 200, seed: int = 0) -> Star:
    """The reference of a task from a table's own seeds, where no race was run.

    The reference has the best mean validation score. Its expected test score is cross-fitted: for each seed the
    configuration that leads on all others is scored on this one, so no seed both chooses and scores. The choice is by one
    seed less than there are; what that costs, and what few seeds cost, is in the shortfall.

    Args:
        valid: validation scores, float64 [configs, seeds ≥ 2], larger is better; NaN where a run diverged.
        test: test scores of the same runs.
        draws: draws of the expected scores.
        seed: seed of the draws.

    Raises:
        UsageError: when fewer than two configurations ran to the end with all seeds.
    """
    whole = np.flatnonzero(np.isfinite(valid).all(axis=1) & np.isfinite(test).all(axis=1))
    if len(whole) < 2 or valid.shape[1] < 2:
        raise UsageError("two configurations that ran to the end with two seeds are needed for a reference")
    v, e = valid[whole], test[whole]
    rest = v.sum(axis=1, keepdims=True) - v
    scored = np.take_along_axis(e, rest.argmax(axis=0)[None], axis=0)[0]
    chosen = int(whole[v.sum(axis=1).argmax()])
    stages = ((None, valid.shape[1]),)
    shortfall, naive = _missed(valid, chosen, stages, draws, np.random.default_rng([seed, 0x57A2]))
    error = float(scored.std(ddof=1) / np.sqrt(len(scored)))
    return Star(chosen, float(scored.mean()), error, shortfall, naive)


def _missed(
    valid: np.ndarray, reference: int, stages: tuple, draws: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Shortfall of the reference and bias of the largest single run, in units of the reference's lead on the median."""
    scores = level(valid)
    count, mean, noise = race_means(scores)
    ran = np.flatnonzero(np.isfinite(mean))
    better = ran[np.argsort(-mean[ran], kind="stable")[: max(2, len(ran) // 2)]]
    better = better if reference in better else np.append(better, reference)
    drawn = draw_expectations(mean[better], (noise[better] / count[better])[:, None], draws, rng, STEPS)
    best, chosen = drawn.max(axis=0).mean(), drawn[np.flatnonzero(better == reference)[0]].mean()
    single = np.max(scores[:, : stages[0][1]], axis=0, where=np.isfinite(scores[:, : stages[0][1]]), initial=-np.inf)
    span = chosen - np.median(np.where(np.isfinite(mean), mean, mean[ran].min()))
    if not span > 0:
        return float("nan"), float("nan")
    return float((best - chosen) / span), float((single.mean() - best) / span)


def level(valid: np.ndarray) -> np.ndarray:
    """The scores of a race less how hard each seed is for all configurations, float64 [configs, seeds].

    Seeds with which all configurations ran are compared directly. Of later seeds only differences among them are known,
    because those that went on owe their earlier scores to luck in part.
    """
    made = np.isfinite(valid)
    first = made.sum(axis=0) > 0.5 * made.sum(axis=0).max()
    complete = np.asarray(made[:, first].all(axis=1))
    own = np.where(complete, _mean(valid, made & first), np.nan)
    known = made & complete[:, None]
    hardness = np.array(
        [np.median((valid[:, k] - own)[on]) if (on := known[:, k]).any() else 0.0 for k in range(valid.shape[1])]
    )
    if (~first).any():
        hardness[~first] -= hardness[~first].mean()
    return valid - hardness


def race_means(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs, mean score and variance of a single run of every configuration of a race, each [configs].

    The variance is pooled over neighbours in rank: near a ceiling there is less of it. Mean and variance are NaN where a
    run of the first seed diverged.
    """
    made = np.isfinite(scores)
    count = made.sum(axis=1)
    ran = np.flatnonzero(made[:, 0] & (count > 1))
    mean, noise = np.full((2, len(scores)), np.nan)
    mean[ran] = _mean(scores[ran], made[ran])
    order = ran[np.argsort(mean[ran], kind="stable")]
    squares = np.where(made[order], (scores[order] - mean[order, None]) ** 2, 0.0).sum(axis=1)
    window = np.ones(2 * min(max(len(order) // 16, 4), max((len(order) - 1) // 2, 0)) + 1)
    noise[order] = np.convolve(squares, window, "same") / np.convolve(count[order] - 1.0, window, "same")
    return np.maximum(count, 1), mean, noise


def _mean(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    return np.where(where, values, 0.0).sum(axis=1) / np.maximum(where.sum(axis=1), 1)
