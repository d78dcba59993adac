"""A race against tasks whose expected scores are known."""

import numpy as np
import pytest
from table_samples import SPACE, write_table

from metabench.search.continuous import Outcome
from metabench.table import load_table
from metabench.workflows.racing import FIRST_SEED, SCORING, SCORING_SEED, race, references, shortfall


class World:
    """256 configurations; every seed has an effect of its own, every run noise."""

    def __init__(self, seed, noise=0.5, configs=256, sign=1.0):
        self.truth = np.random.default_rng([seed, 1]).normal(0, 1, configs)
        self.seed, self.noise, self.sign, self.asked = seed, noise, sign, []

    def __call__(self, configs, seeds):
        self.asked.append((list(configs), list(seeds)))
        out = np.empty((len(configs), len(seeds)))
        for j, seed in enumerate(seeds):
            rng = np.random.default_rng([self.seed, seed])
            split, noise = rng.normal(0, 3), rng.normal(0, self.noise, len(self.truth))
            out[:, j] = self.truth[configs] + split + noise[configs]
        return self.sign * out


def test_a_race_falls_short_less_than_the_best_of_two_seeds_and_says_by_how_much():
    short, promised, naive = [], [], []
    for seed in range(60):
        world = World(seed)
        found = race(world, 256)
        short.append(world.truth.max() - world.truth[found.config_id])
        promised.append(found.shortfall)
        first = world(list(range(256)), [FIRST_SEED, FIRST_SEED + 1]).mean(axis=1)
        naive.append(world.truth.max() - world.truth[np.argmax(first)])
    assert np.mean(short) < 0.4 * np.mean(naive)
    assert np.mean(promised) == pytest.approx(np.mean(short), abs=0.06)


def test_rounds_get_smaller_and_seeds_are_its_own():
    world = World(0)
    found = race(world, 256)
    assert [len(c) for c, _ in world.asked] == [256, 128, 32, 8, 1]
    seeds = [s for _, some in world.asked for s in some]
    assert seeds == [*range(FIRST_SEED, FIRST_SEED + 20), *range(SCORING_SEED, SCORING_SEED + SCORING)]
    assert found.runs == 256 * 2 + 128 * 3 + 32 * 5 + 8 * 10 + SCORING


def test_the_score_is_of_seeds_that_chose_nothing():
    """Its mean over worlds is the truth; the mean over seeds that chose lies above it."""
    gap = [(f := race(w := World(s, noise=1.0), 256)).score - w.truth[f.config_id] for s in range(60)]
    assert abs(np.mean(gap)) < 3 * np.std(gap, ddof=1) / np.sqrt(60)


def test_directions_mirror_and_diverged_runs_lose():
    assert race(World(3), 64).config_id == race(World(3, sign=-1.0), 64, "min").config_id
    world = World(4)
    best = int(np.argmax(world.truth))

    def diverging(configs, seeds):
        out = world(configs, seeds)
        out[np.array(configs) == best, :1] = np.nan
        return out

    assert race(diverging, 256).config_id != best
    with pytest.raises(ValueError, match="diverged"):
        race(lambda c, s: np.full((len(c), len(s)), np.nan), 8)


def test_nothing_is_missing_where_there_is_no_noise():
    world = World(5, noise=1e-9)
    found = race(world, 256)
    assert found.config_id == np.argmax(world.truth) and found.shortfall < 1e-6
    assert np.isnan(shortfall(np.array([[3.0, 3.1], [2.0, 2.2], [1.0, 1.1], [0.0, 0.1]]), 3))


def test_references_of_a_table(tmp_path):
    table = load_table(write_table(tmp_path / "t/v1", datasets=("iris",), n_configs=8))

    class Objective:
        def answer(self, trials):
            return [
                Outcome(-(rate := t.config["learning_rate"]), 5.0 + rate, "ok", 0.1, "fake", "fake") for t in trials
            ]

    (found,) = references(table, "mlp", ["mlp-iris"], Objective()).values()
    rates = table.configs("mlp")["learning_rate"]
    assert found.config_id == rates.idxmin() and "learning_rate" in SPACE
    assert found.score == pytest.approx(5.0 + rates.min())  # y* is a test score, the choice is by validation scores
