"""Making what ships: out of any table, whole or not at all, with figures that can be checked."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import metabench as mb
from metabench.cli import main
from metabench.errors import MetabenchError, UsageError
from metabench.pretrained import learn
from metabench.pretrained.record import Record
from metabench.pretrained.scale import LEVELS, Scale
from metabench.table import synthetic


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return synthetic.write(tmp_path_factory.mktemp("tables") / "made/v1", tasks=12, configs=64, seeds=2)


@pytest.fixture(scope="module")
def folder(table, tmp_path_factory):
    return learn.pretrain("mine", str(table), "mlp", out=tmp_path_factory.mktemp("made") / "mine")


def test_what_was_made_opens_and_is_what_the_table_says(folder, table):
    model, stored = mb.load_metamodel(folder), mb.load_table(str(table))
    assert model.table_digest == stored.digest_of(["mlp"]) and model.record.runs == 12 * 64 * 2
    assert len(model.top_configs(k=7)) == 7 and model.space == stored.space("mlp")
    truth = stored.final("mlp", [model.tasks[0].info.task_id])[0].mean(axis=1)
    assert model.tasks[0].scores[0] == pytest.approx(np.nanmax(truth), abs=1e-6)
    figures = {"folds", "spearman", "coverage_90", *(f"{of}_{k}" for of in ("regret", "random") for k in (1, 5, 10))}
    assert figures <= set(model.record.measured) <= figures | {"score_coverage_90"}
    assert model.record.command == "metabench pretrain mine --table made --workload mlp --method empirical_gp"


def test_making_it_again_gives_the_same(folder, table, tmp_path):
    again = mb.load_metamodel(learn.pretrain("mine", str(table), "mlp", out=tmp_path / "again"))
    first = mb.load_metamodel(folder)
    assert again.record.opening == first.record.opening
    np.testing.assert_allclose(again.model.mean_, first.model.mean_, atol=1e-12)
    np.testing.assert_allclose(again.model.factors_, first.model.factors_, atol=1e-12)


def test_families_are_left_out(table, tmp_path):
    families = mb.load_table(str(table)).tasks["family"].tolist()
    made = learn.pretrain("mine", str(table), "mlp", without=families[:2], out=tmp_path / "few")
    record = Record.read(made)
    assert record.without == tuple(families[:2]) and record.tasks == 10
    assert {t.info.family for t in mb.load_metamodel(made).tasks}.isdisjoint(families[:2])


def test_a_failure_leaves_what_was_there(folder, table, monkeypatch):
    before = sorted((p.name, p.read_bytes()) for p in folder.iterdir())
    monkeypatch.setattr(learn, "tasks_to_json", lambda tasks: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        learn.pretrain("mine", str(table), "mlp", out=folder)
    assert sorted((p.name, p.read_bytes()) for p in folder.iterdir()) == before
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"name": "nice"}, "'nice' is no name of what ships for mlp: it would be mlp-v1"),
        ({"method": "portfolio"}, "portfolio predicts no scores"),
        ({"method": "empirical"}, "unknown metamodel 'empirical'"),
        ({"workload": "cnn"}, "has no tasks of cnn; it has: mlp"),
        ({"without": ["nobody"]}, "unknown family of mlp"),
    ],
)
def test_bad_requests_are_one_line(table, tmp_path, settings, match):
    given = {"name": "mlp-v9", "table": str(table), "workload": "mlp", **settings}
    out = None if "name" in settings else tmp_path / "x"
    with pytest.raises((UsageError, MetabenchError), match=match):
        learn.pretrain(**given, out=out)
    assert not (tmp_path / "x").exists()


def test_a_folder_of_something_else_is_left_alone(table, tmp_path):
    (tmp_path / "thesis.txt").write_text("do not touch")
    with pytest.raises(UsageError, match="holds no fitted meta-model"):
        learn.pretrain("mine", str(table), "mlp", out=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_command_makes_it_and_says_how_good_it_is(table, tmp_path):
    run = CliRunner().invoke(
        main, ["pretrain", "mine", "--table", str(table), "--out", str(tmp_path / "m")], standalone_mode=False
    )
    assert run.exception is None and "spearman" in run.stdout and (tmp_path / "m/record.json").exists()


def test_few_families_are_left_out_one_by_one_and_narrow_nothing(tmp_path):
    few = synthetic.write(tmp_path / "few/v1", tasks=7, configs=32, seeds=1, workload="forecast")
    model = mb.load_metamodel(learn.pretrain("mine", str(few), "forecast", out=tmp_path / "mine"))
    families = {known.info.family for known in model.tasks}
    assert model.record.measured["folds"] == len(families) and model.record.spread >= 1 and model.record.scales == {}
    known, unknown = model.tasks[0].info, model.info(None)
    assert (unknown.kind, unknown.direction) == (known.kind, known.direction)


def test_of_few_tasks_the_one_that_needs_most_decides():
    """A task of whose observations 90 % lie within 2 standard deviations, and five that were foreseen exactly."""
    surprise = np.zeros((6, 10))
    surprise[0] = 2.0
    assert learn._spread(surprise) == pytest.approx(2.0 / learn.Z90)
    assert learn._spread(0 * surprise) == 1.0
    assert learn._spread(np.tile(surprise[:1] / 4, (20, 1))) == pytest.approx(0.5 / learn.Z90)


def test_what_random_draws_leave_is_that_of_all_draws():
    from itertools import combinations

    loss = np.array([0.9, 0.0, np.nan, 0.4, 0.7, 1.0])
    for k in (1, 2, 5):
        least = [min(some) for some in combinations(loss[~np.isnan(loss)], k)]
        assert learn._of_random(loss, k) == pytest.approx(np.mean(least))


# ---------------------------------------------------------------------------------------------- ranks to scores
def planted(n=60, noise=0.02, seed=0):
    """Scores that lie above the best landmarker by an amount that grows with the rank and with the number of rows."""
    rng = np.random.default_rng(seed)
    linear, tree, rows = rng.uniform(0.3, 0.8, n), rng.uniform(0.3, 0.8, n), rng.normal(6, 1, n)
    features = [{"landmark_linear": a, "landmark_tree": b, "log_rows": r} for a, b, r in zip(linear, tree, rows)]
    top = np.maximum(linear, tree)[:, None] + 0.1 * (np.array(LEVELS) - 0.5) + 0.02 * (rows - 6)[:, None]
    return features, top + noise * rng.normal(size=(n, 1))


def test_scores_follow_from_features_as_they_were_planted():
    features, levels = planted()
    fitted = Scale.from_json("accuracy", Scale.fit("accuracy", features, levels, range(len(levels))).to_json())
    new, truth = planted(seed=1)
    said = np.array([fitted.scores(f) for f in new])
    assert np.abs(said[:, 0] - truth).mean() < 0.03
    inside = (said[:, 1] <= truth) & (truth <= said[:, 2])
    assert 0.8 < inside.mean() <= 1.0


def test_scores_off_their_promise_are_counted_in_half_widths():
    promised = pd.DataFrame({"score": [0.5, 0.5], "score_low": [0.4, 0.4], "score_high": [0.7, 0.7]})
    ran = np.array([[True, True, False], [True, True, True]])
    found = learn._outside(promised, np.array([[0.5, 0.4, 9.0], [0.8, np.nan, 0.5]]), ran)
    np.testing.assert_allclose(found, [0.0, 1.0, 1.5, np.inf, 0.0])


def _partly(source, some, configs):
    """The source as if only the first ``configs`` had been run on its tasks ``some``."""
    ran = np.ones(source.scores.shape, dtype=bool)
    ran[np.array(some)[:, None], np.arange(configs, ran.shape[1])] = False
    return replace(source, scores=np.where(ran, source.scores, np.nan), observed=ran)


def test_what_was_not_run_gets_the_regret_that_the_model_expects(table):
    stored = mb.load_table(str(table))
    source = stored.meta_train("mlp", stored.tasks["task_id"].tolist())
    rng, x = np.random.default_rng(0), source.encoded
    common, own = x @ rng.normal(size=x.shape[1]), rng.normal(scale=0.3, size=source.scores.shape)
    source = replace(source, scores=common[None, :, None] + own)
    truth, part = learn.regrets(source), _partly(source, [0, 3, 5], 32)
    model = learn.registry.create("metamodels", learn.METHOD).fit(part)
    found = learn._completed(part, model)
    assert np.isfinite(found).all() and (found >= 0).all() and (found <= 1).all()
    np.testing.assert_array_equal(found[1], truth[1])  # nothing is missing there
    for t in (0, 3, 5):
        np.testing.assert_array_equal(found[t, :32], learn.regrets(part)[t, :32])
        expected = np.corrcoef(found[t, 32:], truth[t, 32:])[0, 1]
        assert expected > 0.5, "the prediction knows nothing of what it replaces"


def test_tasks_with_few_runs_count_and_those_with_fewer_do_not(tmp_path, monkeypatch):
    whole = synthetic.write(tmp_path / "made/v1", tasks=12, configs=64, seeds=2)
    stored = mb.load_table(str(whole))
    ids = stored.tasks["task_id"].tolist()
    ran = stored.ran("mlp", ids)
    ran[0, 40:], ran[1, 20:] = False, False
    real = type(stored).meta_train

    def partly(self, workload, train, valid=()):
        source = real(self, workload, train, valid)
        rows = ran[[ids.index(t) for t in train]]
        return replace(source, scores=np.where(rows, source.scores, np.nan), observed=rows)

    monkeypatch.setattr(type(stored), "ran", lambda self, workload, some: ran[[ids.index(t) for t in some]])
    monkeypatch.setattr(type(stored), "meta_train", partly)
    monkeypatch.setattr(learn, "ENOUGH", 32)
    record = Record.read(learn.pretrain("mine", str(whole), "mlp", out=tmp_path / "mine"))
    assert record.incomplete == (ids[1],) and record.tasks == 11 and record.runs == 10 * 128 + 80


def test_a_metric_that_is_no_share_is_predicted_around_its_mean():
    levels = np.random.default_rng(0).normal(3.0, 0.5, (30, len(LEVELS)))
    fitted = Scale.fit("bits", [{} for _ in levels], levels, range(30))
    assert np.allclose(fitted.scores({})[0], levels.mean(0))


def test_a_configuration_that_was_not_run_is_no_bad_one():
    utility = np.array([0.1, np.nan, 0.9, np.nan, 0.5])
    seen = np.array([True, True, True, False, True])
    np.testing.assert_allclose(learn._levels(utility, seen), np.quantile([0.1, 0.1, 0.9, 0.5], LEVELS))


def test_one_task_of_hopeless_scores_does_not_decide_what_others_promise():
    rng = np.random.default_rng(0)
    levels = np.sort(rng.uniform(0.2, 0.9, (30, len(LEVELS))), axis=1)
    features = [{"landmark_tree": float(row[-1])} for row in levels]
    fitted = Scale.fit("r2", features, levels, range(30))
    broken = levels.copy()
    broken[7, :3] = -1e6  # most networks of a task that exploded
    again = Scale.fit("r2", features, broken, range(30))
    np.testing.assert_allclose(again.scores(features[0])[0], fitted.scores(features[0])[0], atol=0.15)
    assert (again.scores(features[0])[1] > -2.0).all()
