"""Rare classes: five splits choose, all rows are learned from, the script repeats them too."""

import numpy as np
import pandas as pd
import pytest

import metabench as mb
from metabench.advise.words import tuned

RNG = np.random.default_rng(20)


def table(rows, positives):
    y = np.zeros(rows, dtype=int)
    y[RNG.choice(rows, positives, replace=False)] = 1
    X = RNG.normal(size=(rows, 3))
    X[y == 1, :2] += 2.0
    return pd.DataFrame(X, columns=["a", "b", "c"]).assign(y=np.where(y, "fraud", "fine"))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    data, said = table(2_200, 20), []
    out = tmp_path_factory.mktemp("rare") / "out"
    return data, mb.tune(data, "y", trials=2, out=out, say=said.append), said


def test_every_configuration_is_trained_on_five_splits(done):
    _, found, said = done
    assert found.task.n_splits == found.repeats == 5 and len({*found.task.split_hashes}) == 5
    assert sum("trained on 5 splits" in line for line in said) == 1
    # a mean over 5 splits of 4 positives each has steps of 1/40
    assert all(0.0 <= t.score <= 1.0 and t.epochs == found.trials[0].epochs for t in found.trials)
    assert found.to_dict()["splits"] == 5


def test_the_kept_network_learned_from_all_rows(done):
    data, found, _ = done
    network = mb.load_model(found.out)
    assert network.scores == {"valid": found.best.score, "test": found.best.test_score} == found.kept
    shares = network.description["output"]["shares"]
    assert shares == pytest.approx([2180 / 2200, 20 / 2200])
    assert (network.predict(data) == data["y"]).groupby(data["y"]).mean().min() > 0.7
    assert any("the kept network is trained on all rows" in line for line in tuned(found))
    assert "Its scores are means over 5 splits" in (found.out / "report.html").read_text(encoding="utf-8")


def test_another_number_of_splits_is_another_tuning(done):
    data, found, _ = done
    again = mb.tune(data, "y", trials=2, out=found.out)
    assert again.trials == found.trials and again.kept == found.kept


def test_common_classes_have_one_split(tmp_path):
    data = table(2_400, 300)
    said = []
    found = mb.tune(data, "y", trials=1, out=tmp_path / "out", say=said.append)
    assert found.repeats == found.task.n_splits == 1 and not any("5 splits" in line for line in said)
    assert mb.load_model(tmp_path / "out").description["output"]["shares"] != [0.5, 0.5]


def test_the_script_repeats_rare_rows(tmp_path):
    table(400, 16).to_csv(tmp_path / "t.csv", index=False)
    text = mb.recommend(tmp_path / "t.csv", "y", k=1).snippet()
    head, _, rest = text.partition("# ---- network")
    space: dict = {}
    exec(head, space)
    counts = np.bincount(space["y"][space["train"]].numpy())
    assert counts[0] == counts[1] == 230 and space["sigma"] == pytest.approx(2.0)
    exec(rest.replace("print(", "shown = ("), space)
    assert float(space["shown"].split()[-1]) > 0.6
