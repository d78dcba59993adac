"""What a tuning keeps and says: the engine's weights, never a worse network, all rows when asked, every treatment before the
first training; predictions for rows of any form."""

from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pytest

import metabench as mb
from metabench.advise.words import explained, time_spent, tuned
from metabench.errors import UsageError
from metabench.registry import create
from metabench.training import choose

RNG = np.random.default_rng(3)
N = 160
X = RNG.normal(size=(N, 3))
TABLE = pd.DataFrame(X, columns=["a", "b", "c"]).assign(
    w=np.where(X[:, 2] > 0, "up", "NA"),
    gone=1.0,
    price=[f"{v:.2f}".replace(".", ",") for v in X[:, 1] * 9],
    y=np.where(X[:, 0] + X[:, 1] > 0, "yes", "no"),
)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out, events = tmp_path_factory.mktemp("kept") / "out", []
    found = mb.tune(
        TABLE,
        "y",
        trials=3,
        out=out,
        refit=True,
        say=lambda line: events.append(line),
        progress=lambda trial, i, n: events.append(i),
    )
    return found, events


def test_every_treatment_is_said_before_the_first_training(done):
    found, events = done
    before = events[: events.index(1)]
    for what in ("gone: constant", "w: 'NA' is a name", "price: "):
        assert any(what in str(line) for line in before), what
    assert set(found.notes) <= set(before)


def test_the_kept_network_has_the_score_of_its_trial(done):
    found, _ = done
    if choose(create("workloads", "mlp"), "cpu") != "resident":
        pytest.skip("no compiler: the plain loop trains it again")
    assert found.engine == "resident" and found.kept == {"valid": found.best.score, "test": found.best.test_score}


def test_a_call_of_fewer_trials_keeps_the_better_network(done):
    found, _ = done
    weights = (found.out / "model" / "model.safetensors").stat()
    told = []
    again = mb.tune(TABLE, "y", trials=1, out=found.out, say=told.append)
    assert again.kept == found.kept and again.best.config == found.best.config and len(again.trials) == 3
    assert any("holds 3 trials of this tuning already" in line for line in told)
    assert (found.out / "model" / "model.safetensors").stat().st_mtime_ns == weights.st_mtime_ns


def test_a_network_of_all_rows_has_no_score(done):
    found, events = done
    network = mb.load_model(found.out / "refit")
    assert network.scores == {} and network.config == found.best.config and network.description["rows"] == N
    assert mb.load_model(found.out).description["rows"] < N
    assert (network.predict(TABLE) == TABLE["y"]).mean() > 0.85
    assert any("no row is left to measure its score" in str(line) for line in events)
    assert any("its score is unmeasured" in line for line in tuned(found))
    with pytest.raises(UsageError, match="to refit, give"):
        mb.tune(TABLE, "y", trials=1, refit=True)


def test_wall_time_and_nothing_learned_are_said(done):
    found, _ = done
    assert set(found.wall) == {"reading", "choosing", "training", "keeping"}
    assert "s went by: " in time_spent(found) and found.learned
    lost = replace(found, guess=2.0)
    assert not lost.learned and any("nothing learned: no trial beats" in line for line in tuned(lost))


def test_rows_of_any_form_are_predicted(done):
    network = mb.load_model(done[0].out)
    wanted, rows = network.predict(TABLE).tolist(), TABLE.drop(columns="y")
    forms = {
        "polars": pl.from_pandas(TABLE),
        "lazy": pl.from_pandas(rows).lazy(),
        "array": rows.to_numpy(dtype=object),
        "unnamed": rows.set_axis(range(6), axis=1),
        "arrow": rows.convert_dtypes(dtype_backend="pyarrow"),
        "blank": rows.rename(columns={"a": " a "}),
        "list": rows.to_numpy(dtype=object).tolist(),
    }
    for given in forms.values():
        assert network.predict(given).tolist() == wanted
    with pytest.raises(UsageError, match="this network was trained on 6 columns: a, b, c, w, gone, price"):
        network.predict(rows.to_numpy(dtype=object)[:, :2])


def test_a_recommendation_explains_its_words_and_its_order():
    lines = list(explained(mb.recommend(TABLE, "y", k=2)))
    assert any(line.startswith("beats: expected share") for line in lines) and any(
        line.startswith("distance:") for line in lines
    )
    assert any("order of the configurations is the same for all data" in line for line in lines)
