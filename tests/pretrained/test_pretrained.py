"""What ships: it is what its record says, recommends at once, and learns from trials; what is made of a table does too."""

import shutil

import numpy as np
import pandas as pd
import pytest

import metabench as mb
from metabench import pretrained, registry
from metabench.errors import MetabenchError, UsageError
from metabench.metatrain import TaskInfo, row_keys
from metabench.pretrained.load import folder_of
from metabench.pretrained.model import SAID
from metabench.pretrained.record import FILES, SHIPPED
from metabench.search.continuous import Trials


@pytest.fixture(scope="module")
def model():
    return mb.load_metamodel("mlp-v1")


@pytest.fixture(scope="module")
def task():
    """One of the table's own tasks, as if it were new."""
    return mb.load_table("core", 1).task_info("mlp-wine")


@pytest.mark.parametrize("name", pretrained.names())
def test_what_ships_is_what_its_record_says(name):
    model = mb.load_metamodel(name)
    assert model.name == name and name.startswith(f"{model.workload}-v")
    assert model.space == registry.load("workloads", model.workload).space
    assert len(model.tasks) == model.record.tasks and len(model.table_digest) == 64
    assert max(model.record.opening) < len(model.configs) and len(set(model.record.opening)) == len(
        model.record.opening
    )
    assert sum((SHIPPED / name / file).stat().st_size for file in FILES) < 1e7
    top = model.top_configs(k=3)
    assert len(top) == 3 and top["percentile"].between(0, 1).all()


@pytest.mark.parametrize("name", pretrained.names())
def test_it_learned_from_what_the_table_holds_of_its_workload(name):
    """A table may grow in other workloads; where its own changes, `metabench pretrain` makes it again."""
    record = mb.load_metamodel(name).record
    assert mb.load_table(record.table, record.table_version).digest_of([record.workload]) == record.table_digest, (
        record.command
    )


def test_a_metamodel_ships_for_every_workload_that_a_table_holds():
    assert {name.rpartition("-v")[0] for name in pretrained.names()} == set(mb.load_table("core", 1).workloads)
    assert sum(path.stat().st_size for name in pretrained.names() for path in (SHIPPED / name).iterdir()) < 1.5e7


def test_it_learned_from_the_committed_table_or_an_older_one(model):
    """Tables grow; what was learned from must still be there, with the configurations in the same places."""
    table = mb.load_table(model.record.table, model.record.table_version)
    assert {t.info.task_id for t in model.tasks} <= set(table.tasks["task_id"])
    pd.testing.assert_frame_equal(
        table.configs(model.workload).reset_index(drop=True), model.configs, check_names=False, check_dtype=False
    )
    known = model.tasks[5]
    scores = table.final(model.workload, [known.info.task_id])[0].mean(axis=1)
    sign = 1 if known.info.direction == "max" else -1
    assert np.isclose(scores[known.best[0]], np.nanmax(sign * scores) * sign) and np.isclose(
        scores[known.best[0]], known.scores[0]
    )


@pytest.mark.parametrize("file", FILES)
def test_a_changed_file_is_refused(file, tmp_path):
    folder = shutil.copytree(folder_of("mlp-v1"), tmp_path / "mine")
    with (folder / file).open("ab") as changed:
        changed.write(b" ")
    with pytest.raises(MetabenchError, match=f"{file} is not the file that record.json names"):
        mb.load_metamodel(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 99}', "\x00"])
def test_a_foreign_record_is_one_line(text, tmp_path):
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(MetabenchError, match=r"record|format") as caught:
        mb.load_metamodel(tmp_path)
    assert "\n" not in str(caught.value)


def test_unknown_names_and_workloads_say_what_there_is(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'mlp-v2'"):
        mb.load_metamodel("mlp-v7")
    with pytest.raises(UsageError, match="no fitted meta-model ships for workload 'gnn'"):
        pretrained.for_workload("gnn")
    with pytest.raises(MetabenchError, match="absent"):
        mb.load_metamodel(tmp_path)
    assert pretrained.for_workload("mlp").workload == "mlp"


# ---------------------------------------------------------------------------------------------- asking
def test_the_first_configurations_are_distinct_valid_and_those_of_the_opening(model, task):
    top = model.top_configs(task, 5)
    assert list(top.columns) == [*model.space.for_task("classification"), *SAID]
    for row in top[list(model.space)].to_dict("records"):
        model.space.validate({k: None if pd.isna(v) else v for k, v in row.items()})
    assert top.drop_duplicates().shape == top.shape
    opening = model.configs.iloc[list(model.record.opening[:4])]
    assert top["learning_rate"].tolist() == [*opening["learning_rate"], model.space.default()["learning_rate"]]
    assert "label_smoothing" not in model.top_configs(TaskInfo("a", "a", "", "mlp", "regression", "r2", "max", {}), 2)


def test_promises_are_ordered_and_nothing_is_said_of_scores_where_nothing_is_known(model, task):
    top = model.top_configs(task, 8)
    for name in ("percentile", "score"):
        assert (top[f"{name}_low"] <= top[name]).all() and (top[name] <= top[f"{name}_high"]).all()
    assert top["score_high"].max() <= 1
    assert model.top_configs(None, 2)["score"].isna().all()


def test_predictions_order_the_configurations_of_a_task_that_was_seen(model, task):
    truth = mb.load_table("core", 1).final("mlp", ["mlp-wine"])[0].mean(axis=1)
    said = model.predict(task, model.configs)["percentile"]
    assert pd.Series(truth).corr(said, method="spearman") > 0.5


def test_free_configurations_are_predicted_and_asked_for(model, task):
    free = model.space.sample(64, 3)
    said = model.predict(task, free)
    assert said.notna().all().all() and len(said) == 64 and said["percentile"].std() > 0.05
    some = model.ask(task, Trials(free.iloc[:3], [0.9, 0.5, 0.7]), 4, pool=free)
    tried = set(free["learning_rate"].iloc[:3])
    assert (
        len(some) == 4
        and not tried & set(some["learning_rate"])
        and set(some["learning_rate"]) <= set(free["learning_rate"])
    )


def test_trials_move_predictions_towards_what_was_seen(model, task):
    pool = model.configs.iloc[:200]
    before = model.predict(task, pool)
    good, bad = int(before["percentile"].argmin()), int(before["percentile"].argmax())
    trials = Trials(pool.iloc[[good, bad, 7, 11]], [0.99, 0.10, 0.5, 0.6])
    after = model.predict(task, pool, trials)
    assert after["percentile"].iloc[good] > before["percentile"].iloc[good]
    assert after["percentile"].iloc[bad] < before["percentile"].iloc[bad]
    assert (after["score_high"] - after["score_low"]).median() < (before["score_high"] - before["score_low"]).median()


def test_asking_for_several_at_once_repeats_none_and_none_that_was_tried(model, task):
    first = model.top_configs(task, 3)
    trials = Trials(first, [0.8, float("nan"), 0.9])
    more = model.ask(task, trials, 6)
    both = pd.concat([model._typed(first), more])
    assert both["learning_rate"].nunique() == 9
    pd.testing.assert_frame_equal(more, model.ask(task, trials, 6))


def test_nothing_but_divergence_still_gives_a_proposal(model, task):
    trials = Trials(model.top_configs(task, 2), [float("nan")] * 2)
    assert len(model.ask(task, trials, 2)) == 2


def test_bad_requests_are_one_line(model, task):
    with pytest.raises(UsageError, match="0 configurations cannot be had"):
        model.top_configs(task, 0)
    with pytest.raises(UsageError, match="no column optimizer"):
        model.predict(task, pd.DataFrame({"learning_rate": [0.1]}))
    with pytest.raises(UsageError, match="but 1 scores are given"):
        model.predict(task, model.configs.iloc[:2], Trials(model.configs.iloc[:2], [1.0]))
    with pytest.raises(UsageError, match="is one of cnn"):
        model.top_configs(TaskInfo("cnn-x", "x", "", "cnn", "classification", "accuracy", "max", {}))


def test_the_nearest_task_of_a_known_one_is_itself_and_says_why(model, task):
    found = model.nearest(task, 3)
    assert found[0].task_id == "mlp-wine" and found[0].distance < 1e-4
    assert [n.distance for n in found] == sorted(n.distance for n in found)
    assert len(found[0].why) == 3 and all(mine == pytest.approx(theirs, abs=1e-5) for _, mine, theirs in found[0].why)
    with pytest.raises(UsageError, match="nothing is known"):
        model.nearest(None)


def is_default(model, frame):
    """Which rows of a configuration table are the workload's default."""
    names = list(model.space)
    (wanted,) = row_keys(model.space.table([model.space.default()]), names)
    return [key == wanted for key in row_keys(frame, names)]


@pytest.mark.parametrize("name", pretrained.names())
def test_the_default_is_among_the_first_five_that_are_asked_at_once(name):
    model = mb.load_metamodel(name)
    assert sum(is_default(model, model.ask(None, None, 5))) == 1
    assert sum(is_default(model, model.ask(None, None, 40))) == 1


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_the_default_is_among_the_first_five_of_a_search_one_after_the_other(model, task, batch):
    rng = np.random.default_rng(batch)
    tried, scores = model.ask(task, None, batch), [float(v) for v in rng.random(batch)]
    while len(tried) < 5:
        more = model.ask(task, Trials(tried, scores), min(batch, 5 - len(tried)))
        tried = pd.concat([tried, more], ignore_index=True)
        scores += [float(v) for v in rng.random(len(more))]
    assert sum(is_default(model, tried)) == 1


def test_the_default_is_not_asked_for_where_a_pool_lacks_it(model, task):
    pool = model.configs.iloc[:32]
    asked = model.ask(task, None, 5, pool=pool)
    assert not any(is_default(model, asked)) and len(asked) == 5


def test_a_configuration_that_differs_in_its_last_bits_is_the_same(model, task):
    """Another kind of processor draws Sobol points with other last bits; the pool must not offer them again."""
    near = model.configs.copy()
    near["learning_rate"] *= 1 + 1e-15
    pool = pd.concat([model.configs, near], ignore_index=True)
    assert len(model._unique(pool)) == len(model.configs)
    tried = Trials(near.iloc[:2], [0.5, 0.6])
    asked = model.ask(task, tried, 6, pool=model.configs)
    rates = [*near["learning_rate"][:2], *asked["learning_rate"]]
    assert np.min(np.diff(np.sort(np.log(rates)))) > 1e-9


@pytest.mark.parametrize(
    ("column", "value", "score", "match"),
    [
        ("optimizer", "foo", 0.5, "optimizer='foo'"),
        ("learning_rate", -1.0, 0.5, "learning_rate=-1.0"),
        (None, None, "0.5", "score is a number"),
    ],
)
def test_trials_that_cannot_have_been_are_refused(model, task, column, value, score, match):
    configs = model.ask(task, None, 1)
    if column:
        configs = configs.astype({column: object}).assign(**{column: value})
    with pytest.raises(UsageError, match=match):
        model.ask(task, Trials(configs, [score]))


@pytest.mark.parametrize("k", ["3", 1.5, True])
def test_a_count_is_a_whole_number(model, task, k):
    with pytest.raises(UsageError, match="whole number"):
        model.top_configs(task, k)
    with pytest.raises(UsageError, match="whole number"):
        mb.recommend(None, k=k)
    with pytest.raises(UsageError, match="whole number"):
        mb.tune(None, trials=k)
    with pytest.raises(UsageError, match="0 or more"):
        mb.tune(None, seed=-1)
