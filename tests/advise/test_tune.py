"""Tuning: real trainings, resumed where they stopped, the best network kept and opened again."""

import json
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_digits, load_wine

import metabench as mb
from metabench.advise import tune as tuning
from metabench.advise.words import tuned
from metabench.errors import MetabenchError, UsageError
from metabench.tasks import splits


@pytest.fixture(scope="module")
def wine():
    whole = load_wine(as_frame=True).frame
    rng = np.random.default_rng(0)
    names = whole["target"].map({0: "<b>barolo</b>", 1: "grignolino", 2: "barbera"})
    region = np.where(rng.random(len(whole)) < 0.5, "north", "south")
    return whole.assign(target=names, region=region, ash=whole["ash"].where(rng.random(len(whole)) > 0.1))


@pytest.fixture(scope="module")
def done(wine, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuned") / "wine"
    seen = []
    found = mb.tune(
        wine, "target", trials=6, compare=True, out=out, progress=lambda t, i, n: seen.append((t.arm, i, n))
    )
    return found, seen


def test_every_trial_was_trained_and_told_of(done):
    found, seen = done
    assert [i for _, i, _ in seen] == list(range(1, 14)) and {n for *_, n in seen} == {13}
    assert [t.arm for t in (*found.trials, *found.others)] == ["tuned"] * 6 + ["random"] * 6 + ["default"]
    assert all(len(t.valid) == len(t.epochs) == 10 for t in found.trials if t.status == "ok")
    configs = [json.dumps(t.config, sort_keys=True) for t in found.trials]
    assert len(set(configs)) == 6
    assert found.best.score == max(t.score for t in found.trials) and found.best.test_score > 0.8


def test_the_first_trials_are_those_that_are_recommended(done, wine):
    advised = mb.recommend(wine, "target", k=5)
    assert [advised.config(i)["learning_rate"] for i in range(1, 6)] == [
        t.config["learning_rate"] for t in done[0].trials[:5]
    ]


def test_the_network_kept_is_the_best_trial_and_predicts_raw_rows(done, wine):
    found, _ = done
    network = mb.load_model(found.out)
    assert network.config == found.best.config and network.scores == found.kept
    assert found.kept["valid"] == pytest.approx(found.best.score, abs=0.03)
    said = network.predict(wine.drop(columns="target"))
    assert (said == wine["target"]).mean() > 0.9 and said.index.equals(wine.index)
    odds = network.probabilities(wine.head(7))
    assert np.allclose(odds.sum(axis=1), 1) and (odds.idxmax(axis=1) == network.predict(wine.head(7))).all()


def test_its_scores_come_again_from_the_raw_rows_of_the_test_part(done, wine):
    """The whole way back: raw rows → stored preprocessing → stored weights gives the score that was written down."""
    from metabench.tasks.prepare import training_part

    found, _ = done
    from metabench import registry
    from metabench.advise.data import read

    data = read(wine, "target").dataset
    parts = training_part(data, registry.create("workloads", "mlp"), 0)
    rows, target, labels = parts.rows, parts.target, parts.labels
    assigned = splits.assign(data.name, 0, target, "classification")
    said = mb.load_model(found.out).predict(rows)[assigned == splits.TEST]
    truth = np.array(labels)[target[assigned == splits.TEST]]
    assert (said.to_numpy() == truth).mean() == pytest.approx(found.kept["test"])


@pytest.mark.filterwarnings("ignore:.*they count as missing")
def test_rows_that_training_did_not_see(done, wine):
    network = mb.load_model(done[0].out)
    odd = wine.head(3).assign(region=["moon", None, "north"], ash=[np.nan, np.inf, "text"], more=1)
    assert network.predict(odd).isin(network.labels).all() and len(network.predict(wine.head(0))) == 0
    with pytest.raises(UsageError, match="no column 'alcohol', which the network was trained on"):
        network.predict(wine.drop(columns="alcohol"))
    with pytest.raises(UsageError, match="reads tables"):
        network.predict([1, 2])


def test_the_same_call_goes_on_where_it_stopped(wine, done, tmp_path, monkeypatch):
    found, _ = done
    calls, real = [], tuning.Trainer.__call__

    def stops(self, arm, configs):
        calls.append((arm, len(configs)))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, arm, configs)

    monkeypatch.setattr(tuning.Trainer, "__call__", stops)
    with pytest.raises(KeyboardInterrupt):
        mb.tune(wine, "target", trials=6, out=tmp_path / "mine")
    assert sorted(p.name for p in (tmp_path / "mine").iterdir()) == ["trials.json"]
    again = mb.tune(wine, "target", trials=6, out=tmp_path / "mine")
    assert calls == [("tuned", 5), ("tuned", 1), ("tuned", 1)]
    assert [t.config for t in again.trials] == [t.config for t in found.trials]
    assert [t.valid for t in again.trials] == [t.valid for t in found.trials]
    more = len(calls)
    mb.tune(wine, "target", trials=6, out=tmp_path / "mine")
    assert len(calls) == more
    with pytest.raises(UsageError, match="holds a tuning of other data, or with other settings"):
        mb.tune(wine, "target", trials=6, seed=1, out=tmp_path / "mine")


def test_folders_that_are_something_else_are_left_alone(wine, tmp_path):
    (tmp_path / "thesis.txt").write_text("do not touch")
    with pytest.raises(UsageError, match="is there and holds no tuning"):
        mb.tune(wine, "target", trials=1, out=tmp_path)
    (tmp_path / "trials.json").write_text("{")
    with pytest.raises(MetabenchError, match="cannot be read as trials"):
        mb.tune(wine, "target", trials=1, out=tmp_path)


@pytest.mark.parametrize("file", ["model.json", "model.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"{}"])
def test_a_damaged_network_is_one_line(done, tmp_path, file, content):
    import shutil

    folder = shutil.copytree(done[0].out / "model", tmp_path / "model")
    (folder / file).unlink() if content is None else (folder / file).write_bytes(content)
    with pytest.raises(MetabenchError) as caught:
        mb.load_model(folder)
    assert "\n" not in str(caught.value)


def test_a_regression_predicts_in_the_targets_unit(tmp_path):
    whole = load_diabetes(as_frame=True).frame
    found = mb.tune(whole, "target", trials=1, out=tmp_path / "d")
    said = mb.load_model(tmp_path / "d").predict(whole)
    assert found.kept["test"] > 0.2 and np.corrcoef(said, whole["target"])[0, 1] > 0.6
    assert said.mean() == pytest.approx(whole["target"].mean(), rel=0.1)
    with pytest.raises(UsageError, match="a regression has no classes"):
        mb.load_model(tmp_path / "d").probabilities(whole)
    assert "label_smoothing" not in found.to_dict()["best"]["config"]


def test_images_are_kept_too(tmp_path):
    digits = load_digits()
    images, y = digits.images[:300], digits.target[:300]
    mb.tune(images, y, trials=1, out=tmp_path / "i")
    assert (mb.load_model(tmp_path / "i").predict(images) == y).mean() > 0.8
    with pytest.raises(UsageError, match=r"an array of shape \[n, 8, 8\]"):
        mb.load_model(tmp_path / "i").predict(images[:, :7])


def raw(workload):
    """Rows that can be learned, two classes."""
    rng, y = np.random.default_rng(0), np.arange(120) % 2
    if workload == "cnn":
        return load_digits().images[:120], load_digits().target[:120] % 2
    if workload == "text":
        words = [("fine warm good", "dull cold bad")[i].split() for i in y]
        return [" ".join([*rng.choice(w, 2), *rng.choice(["a", "the", "of"], 3)]) for w in words], y
    t = np.linspace(0, 6, 40)
    return [np.sin(t * (1 + 2 * k) + rng.uniform(0, 6))[: 40 - i % 3] for i, k in enumerate(y)], y


@pytest.mark.parametrize("workload", ["cnn", "text", "rnn"])
def test_networks_of_other_workloads_read_raw_rows_too(workload, tmp_path, monkeypatch):
    """The whole way, with a meta-model made of a table that is made up: what is predicted for raw rows is what was scored."""
    from metabench.advise.data import read
    from metabench.pretrained import learn
    from metabench.table import synthetic

    monkeypatch.setattr(learn, "_cross_validated", lambda source, record: record)  # what it says is not asked here
    table = synthetic.write(tmp_path / "made/v1", tasks=4, configs=8, seeds=1, workload=workload)
    model = learn.pretrain("mine", str(table), workload, out=tmp_path / "mine")
    X, y = raw(workload)
    found = mb.tune(X, y, trials=1, workload=workload, model=str(model), out=tmp_path / "out")
    network = mb.load_model(tmp_path / "out")
    task, data = found.task, read(X, y, workload).dataset
    test = splits.assign(data.name, 0, y, "classification") == splits.TEST
    rows = [x for x, chosen in zip(X, test) if chosen]
    said = network.predict(np.stack(rows) if workload == "cnn" else rows)
    assert (said.to_numpy() == y[test]).mean() == pytest.approx(found.kept["test"])
    assert task.workload == workload
    with pytest.raises(UsageError, match="this network reads"):
        network.predict(pd.DataFrame({"a": [1.0]}))


# ---------------------------------------------------------------------------------------------- what is said
def test_the_comparison_is_of_equal_cost_and_says_who_is_ahead(done):
    found, _ = done
    said = found.comparison()
    assert said["trials"] == 6 and set(said) == {"trials", "tuned", "random", "default", "gain"}
    assert said["gain"]["test"] == pytest.approx(said["tuned"]["test"] - said["random"]["test"])
    assert json.dumps(found.to_dict(), allow_nan=False)
    lines = list(tuned(found))
    assert any(line.startswith("kept: trial") for line in lines) and any(
        "random search, 6 trials" in line for line in lines
    )


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links, self.open = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href") and v]
        if tag not in ("meta", "link", "br", "hr", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_report_is_one_page_that_needs_nothing_and_escapes_names(done):
    text = (done[0].out / "report.html").read_text()
    page = Page()
    page.feed(text)
    assert page.open == [] and page.links == ["data:,"] and "script" not in page.tags and page.tags.count("svg") == 2
    assert "prefers-color-scheme: dark" in text and "<b>barolo" not in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_diverged_trials_are_said_and_do_not_win(done):
    from dataclasses import replace

    found, _ = done
    lost = replace(found.trials[0], status="diverged", valid=(), test=(), epochs=(), train_loss=())
    assert tuning.best_of((lost, found.trials[1]), found.task) is found.trials[1]
    with pytest.raises(MetabenchError, match="all 1 trainings diverged"):
        tuning.best_of((lost,), found.task)
    from metabench.advise.report import page

    assert "diverged" in page(replace(found, trials=(lost, *found.trials[1:])))
