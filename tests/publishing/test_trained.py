"""What training gave on a task: picks, what hyperparameters explain, and the pictures of it."""

import re

import numpy as np
import pytest
from fakes import FakeTable
from scipy import stats

from metabench.metatrain import TaskInfo
from metabench.publishing.boards import landscape
from metabench.publishing.boards.trained import TOP, Across, Trained, _epsilon
from metabench.publishing.boards.trained_page import shown
from metabench.space import Choice, Float, Int, Ordinal, Space, when

SPACE = Space(
    optimizer=Choice("sgd", "adam"),
    learning_rate=Float(1e-4, 1.0, log=True),
    momentum=Float(0.5, 0.99, reverse=True, when=when("optimizer", "sgd")),
    width=Int(4, 64, log=True),
    batch_size=Ordinal(16, 32, 64),
    dropout=Float(0.0, 0.5),
)


def task(score, n=256, direction="max", seeds=2):
    """A task of given scores: ``score(configs, unit values)`` → [configs] or [configs, seeds]."""
    configs = SPACE.sample(n, 0)
    values = np.asarray(score(configs, SPACE.to_unit(configs)), float)
    values = np.repeat(values[:, None], seeds, 1) if values.ndim == 1 else values
    info = TaskInfo("w-t", "f", "tabular", "w", "regression", "r2", direction, features={})
    table = FakeTable(values[None], values[None] - 0.1, [info], configs, SPACE, "w")
    table.tasks["chance"] = 0.0
    return Trained(table, "w-t")


def only(name):
    return lambda configs, unit: np.where(np.isnan(u := unit[:, list(SPACE).index(name)]), 0.0, u)


# ---------------------------------------------------------------- what explains
@pytest.mark.parametrize("groups", [2, 5])
def test_epsilon_squared_is_that_of_the_analysis_of_variance(groups):
    rng = np.random.default_rng(0)
    u = rng.integers(0, groups, 200) / groups
    y = u + rng.normal(size=200)
    parts = [y[u == v] for v in np.unique(u)]
    f, between, within = stats.f_oneway(*parts).statistic, groups - 1, 200 - groups
    assert _epsilon(u, y, groups) == pytest.approx((f - 1) * between / (f * between + within))


def test_epsilon_squared_of_noise_is_about_nothing_and_of_a_constant_nothing():
    rng = np.random.default_rng(1)
    u = rng.random(4000)
    assert _epsilon(u, rng.normal(size=4000), 8) < 0.01
    assert _epsilon(u, np.ones(4000), 8) == 0.0 == _epsilon(np.full(4000, 0.5), u, 8)
    assert _epsilon(np.full(10, np.nan), np.ones(10), 8) == 0.0


@pytest.mark.parametrize("name", ["learning_rate", "dropout", "batch_size", "width", "optimizer"])
def test_the_one_hyperparameter_that_acts_explains_it(name):
    t = task(only(name))
    explained = t.explained
    assert max(explained, key=explained.get) == name and explained[name] > 0.6
    assert all(v < 0.1 for k, v in explained.items() if k not in (name, "momentum"))
    assert t.axes[0] == "learning_rate" and (t.axes[1] == name or name == "learning_rate")
    assert [s.name for s in t.settings] == sorted(SPACE, key=lambda k: -explained[k])


def test_a_conditional_one_counts_for_the_part_where_it_is_active():
    explained = task(only("momentum")).explained
    assert 0.3 < explained["momentum"] < 0.52  # half of the configurations have it


# ---------------------------------------------------------------- order and picks
@pytest.mark.parametrize(("direction", "sign"), [("max", 1), ("min", -1)])
def test_picks_are_the_best_and_the_quartiles(direction, sign):
    t = task(lambda c, u: sign * np.arange(len(c), dtype=float), 64, direction)
    assert [p.config_id for p in t.picks] == [63, 48, 32, 16]
    assert [p.score for p in t.picks] == [sign * n for n in (63, 48, 32, 16)]
    assert t.best["optimizer"] == t.configs.iloc[63]["optimizer"] and t.test == pytest.approx(sign * 63 - 0.1)
    assert t.epochs == [1, 3, 10] and t.picks[0].curves.shape == (2, 3)
    ids = t.table.runs("w", ["config_id", "run_id"], ["w-t"]).to_pylist()
    assert t.best_runs == [r["run_id"] for r in ids if r["config_id"] == 63]


def test_what_diverged_counts_as_the_worst_and_a_task_of_nothing_has_no_scores():
    scores = np.random.default_rng(0).random((64, 2))
    scores[int(scores.mean(1).argmax()), 1] = np.nan
    t = task(lambda c, u: scores, 64)
    lost = int(np.isnan(scores).any(1).argmax())
    assert t.mean[lost] == pytest.approx((scores[lost, 0] + np.nanmin(scores)) / 2) and t.order[0] != lost
    assert len(task(lambda c, u: np.full(64, np.nan), 64).scores) == 0


def test_the_best_tenth_is_told_by_quartiles_and_the_most_frequent_option():
    t = task(only("learning_rate"), 256)
    top = t.configs.iloc[t.order[: round(TOP * 256)]]
    found = {s.name: s for s in t.settings}
    assert found["learning_rate"].best == top["learning_rate"].max()
    low, high = found["learning_rate"].low, found["learning_rate"].high
    assert 0.2 < (top["learning_rate"] < low).mean() < 0.3 and 0.2 < (top["learning_rate"] > high).mean() < 0.3
    assert found["optimizer"].share == top["optimizer"].value_counts(normalize=True).max()


# ---------------------------------------------------------------- pictures
def test_a_landscape_shows_the_first_configurations_by_their_level_and_rings_the_best():
    t = task(only("learning_rate"), 1024)
    text = str(landscape.landscape(t, "x"))
    assert text == str(landscape.landscape(t, "x")) and "nan" not in text
    spots = {int(k): d.count("M") for d, k in re.findall(r'<path d="([^"]*)" id="x-l\d" class="spot l(\d)"/>', text)}
    assert sum(spots.values()) in (landscape.MOST, landscape.MOST + 1) and set(spots) == set(range(landscape.LEVELS))
    ring = re.search(r'<circle cx="(\d+)" cy="(\d+)" r="8" class="ring"/>', text)
    best = re.search(r'id="x-l7" class="spot l7"', text) and re.findall(r"M(\d+) (\d+)h0", text)
    assert ring.groups() in best and int(ring[1]) == max(int(x) for x, _ in best)
    ground = re.findall(r'class="cell-ground l(\d)"', text)
    assert ground == sorted(ground) and len(ground) > 5  # from worst to best, left to right


def test_a_landscape_of_options_has_lanes_and_leaves_the_inactive_out():
    text = str(landscape.landscape(task(only("optimizer"), 128), "x"))
    assert ">sgd<" in text and ">adam<" in text
    t = task(lambda c, u: np.where(c["optimizer"] == "sgd", u[:, 2], 0.4 + 0.2 * u[:, 5]), 128)
    assert t.axes == ("learning_rate", "momentum")
    active = int((t.configs["optimizer"] == "sgd").sum())
    assert (
        sum(d.count("M") for d in re.findall(r'<path d="([^"]*)" id="x-', str(landscape.landscape(t, "x")))) == active
    )


def test_curves_end_where_a_run_diverged_and_say_what_they_reach():
    t = task(lambda c, u: np.arange(64, dtype=float) / 64, 64)
    whole = t.table.curves("w", ["w-t"])
    whole[0, 63, 1, 1:] = np.nan
    t.table.curves = lambda *_: whole
    text = str(landscape.curves(t, "x"))
    assert "nan" not in text and "Validation R² after the last epoch" in text and "median 0.500" in text
    assert "chance" in text
    page = shown(t)
    assert page["settings"][0]["bar"] and page["top"] == TOP


def test_tasks_together_count_the_same_whatever_their_scale():
    parts = [task(only("learning_rate"), 128), task(lambda c, u: 1e6 * u[:, 5], 128)]
    t = Across(parts)
    assert t.mean == pytest.approx((parts[0].quantile + parts[1].quantile) / 2)
    assert t.explained["dropout"] == pytest.approx(sum(p.explained["dropout"] for p in parts) / 2)
    assert set(t.axes) == {"learning_rate", "dropout"} and "nan" not in str(landscape.landscape(t, "x"))
