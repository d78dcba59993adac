"""Tables for analysts: tidy frames, curves, exact regret, and a meaning for every column."""

import itertools

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from metabench.errors import UsageError
from metabench.scores.regret import Reference
from metabench.table import load_table
from metabench.table.tidy import best_of_random
from metabench.tasks.features import FEATURES
from metabench.tasks.meanings import MEANINGS

TASKS = ["mlp-digits", "mlp-titanic"]


@pytest.fixture(scope="module")
def table():
    return load_table("starter", 1)


def test_a_frame_has_a_row_for_each_run_with_its_configuration_task_and_split(table):
    frame = table.frame("mlp", TASKS)
    assert len(frame) == 2 * 256 * 2 and frame.attrs["columns"]["learning_rate"]["description"].startswith("hyper")
    row = frame.iloc[777]
    config = table.configs("mlp").loc[row["config_id"]]
    for name in config.index:
        assert row[name] == config[name] or (pd.isna(row[name]) and pd.isna(config[name])), name
    task = table.tasks.set_index("task_id").loc[row["task_id"]]
    assert all(row[name] == task[name] for name in ("family", "metric", "n_train", "feature_log_rows"))
    scores = table.final("mlp", [row["task_id"]])
    assert row["final_valid_score"] == np.float32(scores[0, row["config_id"], row["seed"]])
    part = {f: name for name, families in table.split.items() for f in families}
    assert row["split"] == part[task["family"]] and set(frame["task_id"].cat.categories) == set(TASKS)


def test_frames_come_as_pandas_polars_and_arrow_with_the_same_content(table):
    arrow = table.frame("mlp", "mlp-digits", format="arrow", features=False)
    assert isinstance(arrow, pa.Table) and not any(n.startswith("feature_") for n in arrow.column_names)
    polars = table.frame("mlp", "mlp-digits", format="polars", features=False)
    assert isinstance(polars, pl.DataFrame) and polars.columns == arrow.column_names
    assert polars["final_valid_score"].to_list() == arrow["final_valid_score"].to_pylist()
    with pytest.raises(UsageError, match="unknown format 'panda'; did you mean 'pandas'"):
        table.frame("mlp", "mlp-digits", format="panda")


@pytest.mark.parametrize("workload", ["mlp", "policy", "transfer"])
def test_every_column_has_a_meaning_and_a_unit(table, workload):
    columns = table.columns(workload)
    assert list(columns.index) == table.frame(workload, [], format="arrow").column_names
    assert columns["description"].str.len().min() > 3 and columns["unit"].str.len().min() > 2
    assert set(MEANINGS) == set(FEATURES)


def test_a_curve_is_the_stored_one(table):
    curve = table.curve("mlp-digits", 5, 1)
    stored = table.curves("mlp", ["mlp-digits"])[0, 5, 1]
    assert curve["valid_score"].tolist() == stored[: len(curve)].tolist()
    assert curve["epoch"].is_monotonic_increasing
    with pytest.raises(UsageError, match="no run of configuration 9999"):
        table.curve("mlp-digits", 9999)


@pytest.mark.parametrize("call", ["frame", "runs", "regret", "curve"])
def test_an_unknown_task_is_an_error_everywhere(table, call):
    asked = {
        "frame": lambda t: table.frame("mlp", [t]),
        "runs": lambda t: table.runs("mlp", tasks=[t]),
        "regret": lambda t: table.regret("random", tasks=[t]),
        "curve": lambda t: table.curve(t, 0),
    }[call]
    with pytest.raises(UsageError, match="unknown task"):
        asked("mlp-digitz")


def test_the_regret_of_random_search_is_the_mean_over_all_orders():
    scores = np.array([[0.1, 0.9], [0.5, np.nan], [0.4, 0.2], [0.9, 0.3], [np.nan, 0.5]])
    reference = Reference(scores[None], scores[None])
    best, median = reference.best[0], reference.median[0]
    regret = np.where(np.isfinite(scores), np.minimum((best - scores) / (best - median), 1.0), 1.0)
    orders = [np.minimum.accumulate(regret[list(o)], axis=0) for o in itertools.permutations(range(5))]
    assert np.allclose(best_of_random(scores, 5), np.mean(orders, axis=0).mean(axis=1))


def test_regret_of_a_table_falls_to_zero_and_of_other_methods_is_not_made_up(table):
    found = table.regret("random", tasks=TASKS, trials=256)
    assert found.groupby("task_id")["regret"].agg(lambda r: r.is_monotonic_decreasing).all()
    assert np.allclose(found[found["trial"] == 256]["regret"], 0.0)
    with pytest.raises(UsageError, match=r"mb\.evaluate runs any method"):
        table.regret("portfolio")
    with pytest.raises(UsageError, match="trials is 257"):
        table.regret("random", trials=257)
