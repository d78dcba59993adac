"""What tables say of hyperparameters, on planted tables where the answer is known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from metabench import explain
from metabench.errors import UsageError
from metabench.explain import cases
from metabench.metatrain import MetaTrain, TaskInfo
from metabench.space import Choice, Float, Int, Ordinal, Space, is_classification, when

SPACE = Space(
    optimizer=Choice("sgd", "adam"),
    beta=Float(0.5, 0.99, reverse=True, when=when("optimizer", "adam")),
    learning_rate=Float(1e-4, 1.0, log=True),
    batch_size=Ordinal(16, 32, 64, 128, 256),
    depth=Int(1, 4),
    smoothing=Float(0.0, 0.2, when=is_classification),
)
SIZES = np.array([100, 200, 400, 800, 1600, 3200, 6400, 12800])


class Planted:
    """A table of made-up tasks: the best learning rate is .03 (batch/64)^½ (n/1000)^−¼, depth matters little."""

    name = "planted"

    def __init__(self, moves=True, n_configs=512, families=None):
        rng = np.random.default_rng(0)
        self.frame = SPACE.sample(n_configs, 0)
        lr, batch = np.log2(self.frame["learning_rate"]), np.log2(self.frame["batch_size"].astype(float))
        kinds = ["regression" if t == 1 else "classification" for t in range(len(SIZES))]
        scores = []
        for n in SIZES:
            best = np.log2(0.03) + (0.5 * (batch - 6) - 0.25 * np.log2(n / 1000) if moves else 0.0)
            y = 1 - 0.02 * (lr - best) ** 2 + 0.02 * self.frame["depth"].astype(float)
            scores.append(y.to_numpy()[:, None] + rng.normal(scale=0.005, size=(n_configs, 2)))
        infos = [
            TaskInfo(
                f"mlp-t{t}",
                (families or range(99))[t],
                "tabular",
                "mlp",
                kinds[t],
                "accuracy",
                "max",
                {"noise": 0.1 * t},
            )
            for t in range(len(SIZES))
        ]
        infos = [replace(i, family=f"f{i.family}") for i in infos]
        self.source = MetaTrain(SPACE, self.frame, infos, np.array(scores))
        self.tasks = pd.DataFrame(
            {
                "task_id": [i.task_id for i in infos],
                "workload": "mlp",
                "n_train": SIZES,
                "dataset": "d",
                "feature_noise": [i.features["noise"] for i in infos],
                "n_classes": [0 if k == "regression" else 3 for k in kinds],
            }
        )

    def space(self, workload):
        return SPACE

    def meta_train(self, workload, task_ids):
        return self.source.select([[i.task_id for i in self.source.tasks].index(t) for t in task_ids])


@pytest.fixture(scope="module")
def table():
    return Planted()


# ---------------------------------------------------------------- importance
def test_importance_finds_what_was_planted(table):
    frame = explain.importance(table, "mlp", ["mlp-t0", "mlp-t1", "mlp-t2"])
    assert list(frame) == ["task_id", "family", "hyperparameter", "interacts_with", "share", "total", "r2"]
    alone = frame[frame["interacts_with"] == ""].set_index(["task_id", "hyperparameter"])["share"]
    assert (alone.xs("learning_rate", level=1) > 0.8).all() and (alone.drop("learning_rate", level=1) < 0.1).all()
    assert "smoothing" in alone["mlp-t0"] and "smoothing" not in alone["mlp-t1"]  # regression has no labels to smooth
    assert (frame["r2"] > 0.9).all()
    pair = frame[(frame["hyperparameter"] == "learning_rate") & (frame["interacts_with"] == "batch_size")]["share"]
    others = frame[(frame["interacts_with"] != "") & ~frame.index.isin(pair.index)]["share"]
    assert pair.min() > others.max()


def test_a_summary_has_means_over_families_and_intervals(table):
    frame = explain.importance(table, "mlp", ["mlp-t0", "mlp-t1", "mlp-t2"])
    found = explain.summary(frame)
    first = found.iloc[0]
    own = frame[(frame["hyperparameter"] == "learning_rate") & (frame["interacts_with"] == "")]["share"]
    assert first["hyperparameter"] == "learning_rate" and first["share"] == pytest.approx(own.mean())
    assert first["low"] < first["share"] < first["high"] and first["tasks"] == 3
    assert found["share"].is_monotonic_decreasing
    smoothing = found[(found["hyperparameter"] == "smoothing") & (found["interacts_with"] == "")]
    assert smoothing["tasks"].item() == 2
    alone = explain.summary(frame[frame["task_id"] == "mlp-t0"])
    assert alone["low"].isna().all() and alone["share"].notna().all()


def test_targets_rank_or_score():
    source = Planted(n_configs=16).source
    scores = source.scores[:1].copy()
    scores[0, 7] = np.nan  # never run
    scores[0, 3] = np.nan  # diverged with both seeds
    scores[0, 5] = -1e6  # a terrible one
    ran = np.ones((1, 16), dtype=bool)
    ran[0, 7] = False
    made = MetaTrain(SPACE, source.configs, source.tasks[:1], scores, observed=ran)
    y = cases.targets(made, "score")[0]
    usual = np.delete(y, [3, 5, 7])
    floor = np.median(np.delete(scores[0].mean(1), [3, 7])) - 3 * (
        usual.max() - np.median(np.delete(scores[0].mean(1), [3, 7]))
    )
    assert np.isnan(y[7]) and y[3] == y[5] == pytest.approx(floor)
    ranks = cases.targets(made)[0]
    assert np.isnan(ranks[7]) and np.nanargmin(ranks) == 3 and ranks[5] > ranks[3]


# ---------------------------------------------------------------- effects
def test_effects_have_the_planted_shape(table):
    found = explain.effect(table, "mlp", "learning_rate", tasks=["mlp-t3"])
    assert list(found) == ["value", "effect", "low", "high", "tasks"] and len(found) == 32
    peak = found["value"][found["effect"].idxmax()]
    assert 0.01 < peak < 0.09 and found["effect"].iloc[0] < -1
    depth = explain.effect(table, "mlp", "depth", tasks=["mlp-t3", "mlp-t4"])
    assert depth["value"].tolist() == [1, 2, 3, 4] and depth["effect"].is_monotonic_increasing
    assert (depth["low"] <= depth["effect"]).all() and (depth["tasks"] == 2).all()


def test_effects_of_two(table):
    found = explain.effect(table, "mlp", "batch_size", "learning_rate", tasks=["mlp-t3"])
    assert list(found) == ["value", "other_value", "effect", "low", "high", "tasks"] and len(found) == 5 * 32
    best = found.loc[found.groupby("value")["effect"].idxmax()].set_index("value")["other_value"]
    assert best[256] > best[16]


# ---------------------------------------------------------------- the optimum
def test_a_planted_trend_is_found(table):
    found = explain.optimum(table, "mlp", "learning_rate", "batch_size")
    assert found.trend and 0.3 < found.slope < 0.55 and found.slope_low < found.slope < found.slope_high
    assert found.sentence.startswith("With batch_size, the best learning_rate rises, from ")
    assert found.line["x"].tolist() == [16, 32, 64, 128, 256] and len(found.points) == 5 * len(SIZES)
    assert found.line["value"].between(1e-4, 1).all() and found.unit == "as an exponent"
    size = explain.optimum(table, "mlp", "learning_rate", "n_train")
    assert size.trend and -0.3 < size.slope < -0.15 and len(size.points) == len(SIZES)
    assert size.line["x"].iloc[[0, -1]].tolist() == pytest.approx([100, 12800])


def test_where_there_is_no_trend_none_is_told():
    still = Planted(moves=False)
    for against in ("batch_size", "n_train", "noise", "depth"):
        found = explain.optimum(still, "mlp", "learning_rate", against)
        assert not found.trend and found.sentence.startswith("No trend of the best learning_rate with"), found.sentence


def test_the_chance_of_a_false_trend_is_about_one_in_twenty():
    """Facts without any relation to the scores: intervals leave 0 out about as often as they say."""
    still = Planted(moves=False, n_configs=256)
    rng, hits = np.random.default_rng(1), 0
    for _ in range(60):
        still.tasks["feature_noise"] = rng.normal(size=len(SIZES))
        hits += explain.optimum(still, "mlp", "learning_rate", "noise").trend
    assert hits <= 8


def test_given_values_only(table):
    found = explain.optimum(table, "mlp", "beta", "n_train", given={"optimizer": ["adam"]})
    assert len(found.points) == len(SIZES) and found.points["best"].between(0.5, 0.99).all()
    with pytest.raises(UsageError, match="unknown value of optimizer 'adma'"):
        explain.optimum(table, "mlp", "beta", "n_train", given={"optimizer": ["adma"]})


def test_one_family_says_nothing_of_a_trend():
    alone = Planted(families=["only"] * 8)
    assert "One family alone" in explain.optimum(alone, "mlp", "learning_rate", "batch_size").sentence
    with pytest.raises(UsageError, match="at least three families"):
        explain.optimum(alone, "mlp", "learning_rate", "n_train")
    alone.tasks["feature_noise"] = np.nan
    with pytest.raises(UsageError, match="0 found"):
        explain.optimum(alone, "mlp", "learning_rate", "noise")


# ---------------------------------------------------------------- mistakes
@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda t: explain.importance(t, "mlp", ["mlp-t99"]), "unknown task of mlp in table planted 'mlp-t99'"),
        (lambda t: explain.importance(t, "mlp", []), "table planted has no task of mlp"),
        (lambda t: explain.importance(t, "mlp", target="ranks"), "unknown target 'ranks'; did you mean 'rank'"),
        (lambda t: explain.effect(t, "mlp", "learnig_rate"), "did you mean 'learning_rate'"),
        (lambda t: explain.effect(t, "mlp", "depth", "depth"), "depth is named twice"),
        (
            lambda t: explain.effect(t, "mlp", "smoothing", tasks=["mlp-t1"]),
            "smoothing has no effect on tasks of this kind",
        ),
        (lambda t: explain.optimum(t, "mlp", "optimizer"), "optimizer is a choice without an order"),
        (lambda t: explain.optimum(t, "mlp", "depth", "optimizer"), "optimizer is a choice without an order"),
        (lambda t: explain.optimum(t, "mlp", "depth", "n_trian"), "did you mean 'n_train'"),
    ],
)
def test_a_mistake_is_one_line(table, call, says):
    with pytest.raises(UsageError, match=says) as caught:
        call(table)
    assert "\n" not in str(caught.value)
