"""The numbers of reports against known answers on made-up searches and planted tables."""

import numpy as np
import pandas as pd
import pytest
from fakes import FakeTable, board_for
from scipy import stats

from metabench.errors import UsageError
from metabench.evaluation import evaluate
from metabench.publishing.reports import (
    cost,
    failure,
    fidelity,
    importance,
    learning_rate,
    similarity,
    sources,
    surrogate,
)
from metabench.publishing.reports.base import ReportContext
from metabench.publishing.reports.parts.intervals import mean_over_families, rank_correlation
from metabench.publishing.reports.parts.searches import Ground, Published, fitted
from metabench.scores import score
from metabench.scores.paths import Cells
from metabench.scores.regret import Reference

RNG = np.random.default_rng(0)


# ---------------------------------------------------------------- intervals
def test_a_rank_correlation_is_spearmans_and_its_interval_holds_it():
    x = RNG.normal(size=60)
    y = x + RNG.normal(size=60)
    found = rank_correlation(x, y, [f"f{i // 2}" for i in range(60)])
    assert found.value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found.low < found.value < found.high and found.excludes_zero
    noise = rank_correlation(x, RNG.normal(size=60), [f"f{i}" for i in range(60)])
    assert not noise.excludes_zero
    assert np.isnan(rank_correlation(x, np.ones(60), ["f"] * 60).value)
    assert np.isnan(rank_correlation(x, y, ["one"] * 60).low)  # one family gives no interval


def test_families_weigh_alike_whatever_their_tasks():
    found = mean_over_families(np.array([0.0, 1.0, 1.0, 1.0, np.nan]), ["a", "b", "b", "b", "b"])
    assert found.value == 0.5 and found.columns("x")["x"] == 0.5


# ---------------------------------------------------------------- searches
@pytest.fixture(scope="module")
def planted():
    table = FakeTable.planted(tasks=14, configs=48, seeds=2)
    return table, board_for(table, budget=10, seeds=2, train=6, valid=2, starts=("own",))


def test_searches_of_reports_are_those_of_boards(planted):
    table, board = planted
    ids = board.tasks(table, "test")
    source = table.meta_train("planted", board.tasks(table, "train"), board.tasks(table, "valid"))
    for name in ("empirical_gp", "random"):
        ground = Ground.of(table, "planted", ids, board.budget)
        mine = ground.regrets(fitted(name, source), range(2), 10)
        traces = evaluate([name], board, table)
        theirs = score(traces, table, board, resamples=10).tasks
        for mark in (1, 5, 10):
            expected = theirs[theirs["mark"] == mark].set_index("task_id").loc[ids, "valid_regret"]
            np.testing.assert_allclose(mine[..., mark - 1].mean(axis=1), expected, atol=1e-12)
        assert (ground.only(np.array([1])).regrets(fitted(name, source), range(2), 10) == mine[[1]]).all()


# ---------------------------------------------------------------- source tasks
def test_orders_keep_families_together_and_their_subsets_nest():
    families = ["a", "b", "a", "c", "b", "d"]
    for order in sources.orders(families, 5):
        assert sorted(order) == list(range(6))
        named = [families[i] for i in order]
        assert [n for i, n in enumerate(named) if i == 0 or named[i - 1] != n] == list(dict.fromkeys(named))
    assert len({tuple(o) for o in sources.orders(families, 5)}) > 1


def test_the_number_of_tasks_that_is_needed(monkeypatch):
    """Regret .5 without and with one task, .3 with two, .1 with four and with all: by hand."""
    families = [f"f{i}" for i in range(12)]
    levels, sizes = [0.5, 0.3, 0.1, 0.1], [1, 2, 4, 8]
    cells = np.array([np.full((12, 2, 3), level) for level in levels])
    frame = sources.summarise({"portfolio": cells}, sizes, {"portfolio": np.full((12, 2, 3), 0.5)}, families)
    at = frame[frame["mark"] == 10].set_index("tasks")
    assert at["regret"].to_dict() == pytest.approx({0: 0.5, 1: 0.5, 2: 0.3, 4: 0.1, 8: 0.1})
    assert at["gain"].to_dict() == pytest.approx({0: 0.0, 1: 0.0, 2: -0.2, 4: -0.4, 8: -0.4})
    assert at["behind"].to_dict() == pytest.approx({0: 0.4, 1: 0.4, 2: 0.2, 4: 0.0, 8: 0.0})
    assert at["deviation"].abs().max() < 1e-12
    needed = sources.needed(frame, {"portfolio": "random"})
    assert needed["better"].tolist() == [2, 2, 2] and needed["enough"].tolist() == [4, 4, 4]
    told = " ".join(sources.told(needed, frame, {"sources": 8}).split())
    assert "portfolio beats random, its twin" in told and "from 2 source tasks on after 10 trials" in told
    assert "from 4 source tasks on after 10 trials. Regret after 10 trials is 0.500 [0.500, 0.500] with none" in told


def test_a_method_that_never_beats_its_twin_is_said_not_to():
    families, cells = [f"f{i}" for i in range(12)], RNG.uniform(0.2, 0.4, (2, 12, 2, 3))
    frame = sources.summarise({"portfolio": cells}, [1, 2], {"portfolio": cells[0] - 0.1}, families)
    needed = sources.needed(frame, {"portfolio": "random"})
    assert needed["better"].isna().all()
    told = sources.told(needed, frame, {"sources": 2})
    assert "for certain with no number of source tasks after 10" in told


def test_all_source_tasks_give_what_the_board_gives(planted, monkeypatch):
    table, board = planted
    monkeypatch.setattr(sources, "METHODS", {"empirical_gp": 2})
    monkeypatch.setattr(sources, "SIZES", (2,))
    facts, frames = sources.Sources().compute(ReportContext(table, board))
    assert facts["sources"] == 6 and frames["curves"]["tasks"].unique().tolist() == [0, 2, 6]
    alone = board_for(table, budget=10, seeds=2, train=6, valid=2, starts=("own",))
    alone = type(alone)(**{**vars(alone), "split": {**alone.split, "valid": ()}})
    for name, tasks in (("empirical_gp", 6), ("gp", 0)):
        theirs = score(evaluate([name], alone, table), table, alone, resamples=10).summary.set_index("mark")[
            "valid_regret"
        ]
        mine = frames["curves"][frames["curves"]["tasks"] == tasks].set_index("mark")["regret"]
        for mark in (1, 5, 10):
            assert mine[mark] == pytest.approx(theirs[mark], abs=1e-12)


# ---------------------------------------------------------------- cost
def test_cost_by_hand():
    """Two methods on four tasks of ten configurations, the best of which is number 9. Random tries it eighth, the other
    second, and thinks for a second a trial; a training takes two seconds and 10 operations."""
    valid = np.tile(np.linspace(0.0, 1.0, 10)[None, :, None], (4, 1, 2))
    slow, fast = [0, 1, 2, 3, 4, 5, 6, 9, 7, 8], [0, 9, 1, 2, 3, 4, 5, 6, 7, 8]
    configs = np.array([np.tile(order, (4, 2, 1)) for order in (slow, fast)])
    overhead = np.zeros(configs.shape)
    overhead[1] = 1.0
    groups = [("random", "own"), ("clever", "own")]
    cells = Cells(groups, ["a", "b", "c", "d"], np.arange(2), configs, overhead)
    done = Published(cells, ["a", "b", "c", "d"], Reference(valid, valid), "own")
    frames = cost.account(
        done, np.full((4, 10), 2.0), np.full((4, 10), 10.0), 2, (100.0, 7.0), {"random": 0.0, "clever": 5.0}
    )
    row = frames["methods"].set_index(["threshold", "method"]).loc[(0.1, "clever")]
    assert (row["trials"], row["training"], row["thought"], row["seconds"], row["flops"]) == (2, 4, 2, 6, 20)
    assert row["reached"] == 1.0 and row["saving"] == pytest.approx(16 / 6) and row["saving_flops"] == pytest.approx(4)
    assert row["reference_seconds"] == 16 and row["tasks_to_pay"] == pytest.approx(105 / 10)
    curve = frames["curves"].query("method == 'clever'")
    # a training takes 2 s, the thought before it 1 s: the first ends after 1.5 units, the best after 3
    assert all(r == (1.0 if b < 3 else 0.0) for b, r in zip(curve["trainings"], curve["regret"]))


def test_what_is_never_reached_is_charged_whole_and_never_pays():
    valid = np.tile(np.linspace(0.0, 1.0, 10)[None, :, None], (3, 1, 1))
    configs = np.array([np.tile(order, (3, 1, 1)) for order in ([9, 0, 1], [0, 1, 2])])
    cells = Cells([("random", "own"), ("bad", "own")], list("abc"), np.arange(1), configs, np.zeros(configs.shape))
    done = Published(cells, list("abc"), Reference(valid, valid), "own")
    frames = cost.account(done, np.ones((3, 10)), np.ones((3, 10)), 1, (10.0, 1.0), {})
    row = frames["methods"].set_index(["threshold", "method"]).loc[(0.1, "bad")]
    assert row["reached"] == 0 and row["trials"] == 3 and row["saving"] == pytest.approx(1 / 3)
    assert np.isnan(row["tasks_to_pay"]) and "does not win back" in cost.pays(row, {"table_seconds": 10.0})


# ---------------------------------------------------------------- similar tasks
def test_mantels_test_finds_what_is_there_and_nothing_else():
    z = RNG.normal(size=(24, 3))
    gap = similarity.distances(z)
    rho, p = similarity.mantel_test(gap, 1.0 - gap)
    assert rho == pytest.approx(1.0) and p == pytest.approx(1 / 1000)
    other = similarity.distances(RNG.normal(size=(24, 3)))
    assert similarity.mantel_test(gap, 1.0 - other)[1] > 0.05


def test_tasks_that_are_alike_stand_together():
    groups = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2])
    rho = np.where(groups[:, None] == groups[None], 0.9, 0.1)
    np.fill_diagonal(rho, 1.0)
    named = groups[similarity.clustered(rho)].tolist()
    assert [g for i, g in enumerate(named) if i == 0 or named[i - 1] != g] == list(dict.fromkeys(named))


def test_the_nearest_source_is_of_another_family():
    rho = np.array([[1, 0.9, 0.2, 0.5], [0.9, 1, 0.3, 0.4], [0.2, 0.3, 1, 0.6], [0.5, 0.4, 0.6, 1]])
    near = -np.array([[0, 0.1, 1, 2], [0.1, 0, 3, 1], [1, 3, 0, 2], [2, 1, 2, 0.0]])
    frame = similarity.per_task(list("abcd"), ["x", "x", "y", "z"], rho, near, rho).set_index("task_id")
    assert frame.loc["a", ["nearest", "near", "best_task", "best"]].tolist() == ["c", 0.2, "d", 0.5]
    assert frame.loc["a", "mean"] == pytest.approx(0.35) and frame.loc["b", "learned"] == 0.4
    assert similarity.verdict({"value": 0.4, "low": -0.1, "high": 0.8}).startswith("Feature distance does not predict")
    assert "only weakly" in similarity.verdict({"value": 0.2, "low": 0.1, "high": 0.3})


def test_a_distance_is_learned_where_one_feature_decides():
    z = RNG.normal(size=(40, 6))
    rho = np.exp(-np.abs(z[:, None, 2] - z[None, :, 2]))
    families = [f"f{i}" for i in range(40)]
    learned = similarity.learned_similarity(z, rho, families)
    frame = similarity.per_task(families, families, rho, -similarity.distances(z), learned)
    assert frame["order_learned"].mean() > 0.9 > frame["order"].mean()
    single = similarity.single_features([f"x{i}" for i in range(6)], z, rho, families)
    assert single["feature"].iloc[0] == "x2" and single["rho"].iloc[0] > 0.99


def test_standardised_features_skip_what_does_not_vary():
    z, kept = similarity.standardised(np.array([[1.0, 5.0, np.nan], [3.0, 5.0, np.nan], [np.nan, 5.0, 2.0]]))
    assert kept.tolist() == [True, False, False] and z[:, 0].tolist() == [-1.0, 1.0, 0.0]


# ---------------------------------------------------------------- failure
def test_families_stay_in_one_fold_and_folds_are_equally_full():
    families = [f"f{i % 20}" for i in range(50)]
    fold = failure.folds(families)
    assert all(len({f for f, name in zip(fold, families) if name == n}) == 1 for n in set(families))
    counts = np.bincount([fold[families.index(n)] for n in dict.fromkeys(families)])
    assert counts.tolist() == [4] * 5


def test_gain_that_falls_with_noise_is_seen_to():
    n = 30
    gains = pd.DataFrame({name: RNG.normal(size=n) for name in failure.FACTORS})
    gains = gains.assign(task_id=[f"t{i}" for i in range(n)], family=[f"f{i}" for i in range(n)])
    for method in failure.METHODS:
        gains[method] = -gains["noise"]
    gains.loc[:4, "imbalance"] = np.nan
    found = failure.against(gains, resamples=100).set_index(["factor", "method"])
    assert (
        found.loc[("noise", "portfolio"), "rho"] == pytest.approx(-1.0)
        and found.loc[("noise", "portfolio"), "high"] < 0
    )
    assert found.loc[("imbalance", "portfolio"), "tasks"] == 25
    told = failure.goes_with(found.reset_index(), "portfolio")
    assert "noise of seeds (−1.000)" in told
    over = failure.overall(gains).set_index("method")
    assert over.loc["portfolio", "share"] == pytest.approx((gains["noise"] > 0.01).mean())
    assert over.loc["portfolio", "worst_tenth"] == pytest.approx(-np.sort(gains["noise"])[-3:].mean())


def test_every_task_is_held_out_once_and_its_family_not_learned_from():
    table = FakeTable.planted(tasks=12, configs=24, families=[f"f{i // 2}" for i in range(12)])
    ids = table.tasks["task_id"].tolist()
    ground = Ground.of(table, "planted", ids, 10)
    whole, fold = table.meta_train("planted", ids), failure.folds(ground.families)
    regret = failure.crossed("portfolio", ground, whole, fold, range(2))
    assert np.isfinite(regret).all()
    for f in range(failure.FOLDS):
        held = np.flatnonzero(fold == f)
        rest = whole.select(np.flatnonzero(fold != f).tolist())
        assert not {whole.tasks[i].family for i in held} & {t.family for t in rest.tasks}
        mine = ground.only(held).regrets(fitted("portfolio", rest), range(2), 10)[..., -1].mean(axis=1)
        np.testing.assert_array_equal(regret[held], mine)


# ---------------------------------------------------------------- surrogate
def test_equal_worlds_agree_and_turned_ones_contradict():
    families = [f"f{i}" for i in range(10)]
    worlds = {f"m{i}": np.full((10, 2, 10), 0.1 * i) + RNG.uniform(0, 0.01, (10, 2, 10)) for i in range(6)}
    turned = {name: 1.0 - cells for name, cells in worlds.items()}
    same, opposite = (
        surrogate.agreement(worlds, w, families, resamples=100).set_index("mark") for w in (worlds, turned)
    )
    assert same["tau"].tolist() == pytest.approx([1, 1, 1]) and (same["same_first"] == "yes").all()
    assert opposite["tau"].tolist() == pytest.approx([-1, -1, -1]) and (opposite["same_first"] == "no").all()
    assert surrogate.trust(same.loc[10]).startswith("Rehearsals order methods")
    assert "nothing certain" in surrogate.trust(opposite.loc[10])
    frame = surrogate.regrets(worlds, turned, families).set_index(["method", "mark"])
    assert frame.loc[("m3", 10), "surrogate"] == pytest.approx(1 - frame.loc[("m3", 10), "replay"], abs=0.01)


def test_calibration_of_answers_that_are_right_and_that_are_noise():
    truth = RNG.normal(size=(6, 200, 2))
    stored = np.stack([surrogate.normal_scores(t).mean(axis=1) for t in truth])
    right = surrogate.calibration(truth, stored)
    np.testing.assert_allclose(right["said"], right["stored"])
    noise = surrogate.calibration(truth, RNG.normal(size=(6, 200)))
    assert np.abs(noise["stored"]).max() < 0.25 and noise["configurations"].sum() == 1200
    bold = surrogate.calibration(truth, 2 * stored)
    np.testing.assert_allclose(bold["said"], 2 * bold["stored"])


def test_the_surrogates_scores_are_its_answers():
    from metabench.search.surrogate import SurrogateObjective

    table = FakeTable.planted(tasks=2, configs=40, seeds=2)
    ids = table.tasks["task_id"].tolist()
    model = SurrogateObjective.from_table(table, "planted", ids)
    scores = model.scores(ids[0], model.held_out[ids[0]])
    assert scores.shape == (2, 40, 2)
    rank = [
        stats.spearmanr(scores[0, :, k], np.nan_to_num(table.final("planted", ids[:1])[0, :, k], nan=-9))[0]
        for k in (0, 1)
    ]
    assert model.errors["spearman"][0] == pytest.approx(np.mean(rank), abs=0.02)


# ---------------------------------------------------------------- explained
def test_importance_names_what_was_planted():
    table = FakeTable.planted(tasks=6, configs=128)
    table.runs = lambda workload, columns=None, tasks=None: pd.DataFrame({"seed": [0]}).pipe(_arrow)
    facts, frames = importance.Importance().compute(ReportContext(table))
    single = frames["shares"][frames["shares"]["interacts_with"] == ""]
    assert facts["workloads"] == 1 and single.sort_values("rank")["hyperparameter"].iloc[0] == "learning_rate"
    assert frames["workloads"]["tasks"].tolist() == [6]
    tops = {w: pd.DataFrame({"hyperparameter": [h], "share": [0.3]}) for w, h in (("a", "x"), ("b", "y"), ("c", "y"))}
    assert importance.leaders(tops).replace("\u202f", "") == "y on b (30%), c (30%); x on a (30%)"
    weak = pd.DataFrame({"workload": ["a", "b"], "r2": [0.05, 0.5]})
    assert importance.doubt(weak).startswith("Of a the forest") and importance.doubt(weak[1:]) == ""
    assert importance.spread(list("abcdefg"), 3) == ["a", "d", "g"] and importance.spread(["a"], 3) == ["a"]


def _arrow(frame):
    import pyarrow as pa

    return pa.Table.from_pandas(frame)


def test_only_what_stands_after_holms_correction_is_called_certain():
    row = {"workload": "mlp", "optimizers": "sgd", "slope": 0.4, "low": 0.1, "high": 0.66, "p_holm": 0.04}
    frame = pd.DataFrame([row, row | {"optimizers": "adam", "p_holm": 0.2}])
    told = learning_rate.told(frame, "batch size")
    assert told.endswith("Exponents: 0.40 [0.10, 0.66] on mlp with sgd (leaves out the linear rule).")
    assert "adam" not in told and "no trend" in learning_rate.told(frame.iloc[1:], "batch size")
    table = FakeTable.planted(tasks=4, configs=32)
    assert learning_rate.groups(table, "planted") == {"all": (), "sgd": ("sgd", "momentum"), "adam": ("adam",)}


# ---------------------------------------------------------------- what cannot be answered
def test_questions_that_a_table_or_a_board_cannot_answer_are_refused(planted):
    table, _ = planted
    with pytest.raises(UsageError, match="name one with --board"):
        sources.Sources().compute(ReportContext(table))
    with pytest.raises(UsageError, match="no workload of 8 tasks"):
        similarity.most_tasks(FakeTable.planted(tasks=4, configs=16))


# ---------------------------------------------------------------- cheap trainings
def test_agreement_is_across_seeds():
    full = RNG.normal(size=(40, 2))
    cheap = np.stack([full[:, 1], -full[:, 0]], axis=1)
    # seed 0 tells all of the other seed, seed 1 the contrary of all
    assert fidelity.agreement(cheap[:, [0, 0]], full[:, [0, 1]][:, [1, 1]])["rho"] == pytest.approx(1.0)
    found = fidelity.agreement(cheap, full)
    assert found["rho"] == pytest.approx(0.0) and found["regret"] == pytest.approx(0.5)
    alone = fidelity.agreement(full, full)
    assert alone["rho"] == pytest.approx(stats.spearmanr(full[:, 0], full[:, 1]).statistic)


def test_what_worse_data_cost_who_does_not_choose_anew():
    """Best on plain data is 0, on worse data 3; by test scores there 3 is the best and 0 half way to the median."""
    plain, worse = np.array([[5, 5], [1, 1], [0, 0], [2, 2]]), np.array([[1, 1], [0, 0], [0, 0], [2, 2]])
    tested = np.array([[3, 3], [1, 1], [1, 1], [4, 4]])
    found = fidelity.moved(plain, worse, tested)
    assert found == pytest.approx({"kept": 0.5, "anew": 0.0, "extra": 0.5})


def test_the_best_configurations_lie_where_they_were_planted():
    codes = pd.DataFrame({"a": np.linspace(0, 1, 101), "b": 0.5})
    scores = -np.abs(codes["a"].to_numpy() - 0.25)[:, None] * np.ones((1, 2))
    assert fidelity.centre(scores, codes).to_dict() == pytest.approx({"a": 0.25, "b": 0.5}, abs=0.011)


def test_fidelity_needs_variants():
    with pytest.raises(UsageError, match="holds no variants of its tasks"):
        fidelity.Fidelity().compute(ReportContext(FakeTable.planted(tasks=4, configs=8, seeds=2)))
