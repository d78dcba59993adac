"""Data where no row has a label, in all its forms: what can be used is, what cannot is one line, and the kept network says of raw
rows what was scored."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits, load_wine

import metabench as mb
from metabench import registry, tasks
from metabench.advise import tables
from metabench.advise.data import read
from metabench.errors import UsageError
from metabench.tasks import splits
from metabench.tasks.prepare import training_part

RNG = np.random.default_rng(0)
WAVE = 5 + np.sin(np.arange(400) / 4) + RNG.normal(0, 0.05, 400)
TEXT = ["the cat sat on the mat and the dog sat on the log"] * 40


def refused(match, *args, **settings):
    with pytest.raises(UsageError, match=match) as caught:
        read(*args, **settings)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------------------------------------- images and tables
def test_images_to_be_given_back_need_no_classes(tmp_path):
    import torch

    images = load_digits().images[:40].astype(np.uint8) * 16
    (tmp_path / "deep").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / ("deep" if i % 2 else ".") / f"{i}.png")
    for workload in ("autoencoder", "vae", "gan"):
        found = read(tmp_path, workload=workload).dataset
        assert found.X.shape == (40, 8, 8) and found.y is None and found.modality == "image"
    np.savez(tmp_path / "x.npz", x=images)
    coloured = [torch.rand(3, 8, 8) for _ in range(30)]
    assert read(tmp_path / "x.npz", workload="vae").dataset.X.shape == (40, 8, 8)
    assert read(coloured, workload="gan").dataset.X.shape == (30, 8, 8, 3)
    assert read([(x, 1) for x in coloured], workload="gan").dataset.X.shape == (30, 8, 8, 3)
    refused("images.*missing or not finite", np.full((30, 4, 4), np.nan), workload="vae")
    refused("3 images are too few", images[:3], workload="vae")
    refused("rows of several shapes", [np.zeros((4, 4)), np.zeros((5, 5))] * 20, workload="vae")
    (tmp_path / "none").mkdir()
    refused("has no images", tmp_path / "none", workload="autoencoder")


def test_tables_to_be_given_back_may_leave_a_column_out(tmp_path):
    whole = load_wine(as_frame=True).frame
    whole.to_csv(tmp_path / "wine.csv", index=False)
    found = read(tmp_path / "wine.csv", "target", workload="autoencoder")
    assert "target" not in found.dataset.X and found.dataset.X.shape == (178, 13)
    assert "target: is not learned from, left out" in found.notes
    assert read(whole.assign(gone=np.nan), workload="vae").dataset.X.shape == (178, 14)
    refused("did you mean 'target'", tmp_path / "wine.csv", "tarjet", workload="vae")
    refused("workload gan takes reconstruction of image; this is reconstruction of tabular", whole, workload="gan")
    refused("no column says anything", pd.DataFrame({"a": [1.0] * 40}), workload="vae")


# ---------------------------------------------------------------------------------------------- series
def test_a_series_in_all_its_forms(tmp_path):
    import torch

    frame = pd.DataFrame({"load": WAVE, "warmth": WAVE[::-1]})
    frame.to_csv(tmp_path / "s.csv", index=False)
    frame.to_parquet(tmp_path / "s.parquet")
    np.savez(tmp_path / "s.npz", x=frame.to_numpy())
    for data, target in (
        (tmp_path / "s.csv", "load"),
        (tmp_path / "s.parquet", "load"),
        (frame, "load"),
        (tmp_path / "s.npz", None),
        (torch.tensor(frame.to_numpy()), None),
        (frame.to_numpy().tolist(), None),
    ):
        found = read(data, target, workload="forecast")
        np.testing.assert_allclose(found.dataset.X[0], frame.to_numpy().T, rtol=1e-6)
        assert found.dataset.temporal and len(found.columns) == 2
    for alone in (WAVE, list(WAVE), pd.Series(WAVE, name="load"), frame[["load"]]):
        assert read(alone, workload="forecast").dataset.X[0].shape == (1, 400)
    assert read(frame, "warmth", workload="forecast").columns == ("warmth", "load")


def test_gaps_order_and_columns_of_a_series_are_said():
    when = pd.date_range("2024-01-01", periods=400, freq="h")
    frame = pd.DataFrame({"when": when.astype(str), "load": WAVE, "name": "x", "flat": 1.0})
    frame.loc[7, "load"] = np.nan
    found = read(frame.iloc[::-1], "load", workload="forecast")
    ordered = np.where(np.arange(400) == 7, WAVE[6], WAVE)
    np.testing.assert_allclose(found.dataset.X[0][0], ordered, rtol=1e-6)
    assert found.notes == (
        "when: moments in time, the rows are put in their order",
        "name: no numbers, left out",
        "1 numbers are missing: the last known one replaces each",
        "flat: constant, left out",
    )


def test_columns_of_a_series_that_are_no_plain_numbers():
    whole = pd.DataFrame({"load": WAVE, "open": np.arange(400) % 2 == 0, "list": [[i] for i in range(400)]})
    found = read(whole, "load", workload="forecast")
    assert found.columns == ("load", "open") and found.dataset.X[0][1, :3].tolist() == [1, 0, 1]
    assert found.notes == ("list: its cells are lists, arrays or records, left out",)
    dated = read(whole[["load"]].assign(when=pd.date_range("2024", periods=400, tz="UTC")), "load", workload="forecast")
    assert dated.notes == ("when: moments in time, in whose order the rows stand",)


def test_of_a_long_series_the_last_moments_are_read(monkeypatch, tmp_path):
    monkeypatch.setattr(tables, "ROWS", 300)
    pd.DataFrame({"load": WAVE}).to_csv(tmp_path / "s.csv", index=False)
    found = read(tmp_path / "s.csv", workload="forecast")
    np.testing.assert_allclose(found.dataset.X[0][0], WAVE[-300:], rtol=1e-6)
    assert "400 moments: the last 300 of them are read" in found.notes and found.rows == 400


@pytest.mark.parametrize(
    ("data", "target", "match"),
    [
        (WAVE[:60], None, "60 moments are too few; at least 104 are needed"),
        (np.ones(400), None, "has one value only; there is nothing to forecast"),
        (pd.DataFrame({"a": WAVE, "b": WAVE}), None, "name the column to forecast as target; there are a, b"),
        (pd.DataFrame({"a": WAVE}), "aa", "did you mean 'a'"),
        (pd.DataFrame({"a": WAVE, "b": "x"}), "b", "target 'b' has no numbers"),
        (np.zeros((3, 4, 5)), None, "is no series of numbers"),
        (np.array(["a"] * 200), None, "is no series of numbers"),
        (pd.DataFrame({"a": []}), "a", "there are no rows"),
    ],
)
def test_what_is_no_series_is_one_line(data, target, match):
    refused(match, data, target, workload="forecast")


# ---------------------------------------------------------------------------------------------- texts and pairs
def test_a_text_as_a_file_and_as_lines(tmp_path):
    (tmp_path / "t.txt").write_text("\n".join(TEXT) + "\n")
    for data in (tmp_path / "t.txt", TEXT):
        found = read(data, workload="transformer").dataset
        assert "\n".join(TEXT) + "\n" == found.X and found.kind == "language"
    refused("characters are too few; at least 1,300", ["short"], workload="transformer")
    refused("there is no target", TEXT, "x", workload="transformer")
    (tmp_path / "bad.txt").write_bytes("süß".encode("latin-1") * 999)
    refused("is not utf-8 text", tmp_path / "bad.txt", workload="transformer")
    refused("is a folder; a text is a file", tmp_path, workload="transformer")
    refused("no such file", tmp_path / "gone.txt", workload="transformer")


def test_pairs_as_lines_and_lists(tmp_path):
    sources, targets = [f"w{i}" for i in range(40)], [f"{i} s" for i in range(40)]
    (tmp_path / "p.txt").write_text("\n".join(map("\t".join, zip(sources, targets))) + "\nempty\t\n")
    found = read(tmp_path / "p.txt", workload="seq2seq")
    assert found.dataset.X[12] == (["w", "1", "2"], ["12", "s"])
    assert "1 pairs have an empty side: left out" in found.notes and "targets: symbols are words" in found.notes
    assert read(sources, targets, workload="seq2seq").dataset.X == found.dataset.X
    long = read([*sources, "l" * 21], [*targets, "a b"], workload="seq2seq")
    assert "1 of 41 pairs are longer than 20 and 15 symbols: left out" in long.notes
    refused("3 pairs are too few", sources[:3], targets[:3], workload="seq2seq")
    refused("40 sources but 39 targets", sources, targets[1:], workload="seq2seq")
    refused("all targets are the same", sources, ["x"] * 40, workload="seq2seq")
    refused("as the second argument", sources, workload="seq2seq")
    refused("'1' is none", sources, [1] * 40, workload="seq2seq")
    (tmp_path / "p.txt").write_text("no tab")
    refused("line 1: no tab; a line is source<TAB>target", tmp_path / "p.txt", workload="seq2seq")


@pytest.mark.parametrize(
    ("workload", "match"),
    [
        ("policy", "learns simulated systems"),
        ("fewshot", "episodes of many classes"),
        ("transfer", "one data set to another"),
    ],
)
def test_workloads_of_no_single_data_set_say_what_to_do(workload, match):
    refused(f"workload {workload} .*{match}.* name one of its tasks", np.zeros((30, 4, 4)), workload=workload)


# ---------------------------------------------------------------------------------------------- the network that is kept
def kept(data, target, workload, out, monkeypatch, epochs):
    """A network tuned for a few epochs, opened again; the raw rows and positions of its test part."""
    monkeypatch.setattr(registry.load("workloads", workload), "epochs", epochs)
    found = mb.tune(data, target, trials=1, workload=workload, out=out)
    raw = read(data, target, workload).dataset
    rows = training_part(raw, registry.create("workloads", workload), 0).rows
    parts = splits.assign(raw.name, 0, np.zeros(len(rows)), raw.kind, None, raw.temporal)
    return mb.load_model(out), found, [rows[i] for i in np.flatnonzero(parts == splits.TEST)]


def test_forecasts_of_raw_moments_are_those_that_were_scored(tmp_path, monkeypatch):
    frame = pd.DataFrame({"load": WAVE, "warmth": np.roll(WAVE, 3) * 9})
    network, found, windows = kept(frame, "load", "forecast", tmp_path / "f", monkeypatch, 3)
    off = [network.predict(w[:24]).to_numpy() - w[24:, 0] for w in windows]
    scale = network.description["output"]["std"]
    assert np.sqrt(np.mean(np.square(off))) / scale == pytest.approx(found.kept["test"], rel=1e-4)
    ahead = network.predict(frame)
    assert ahead.name == "load" and list(ahead.index) == [1, 2, 3, 4]
    pd.testing.assert_series_equal(ahead, network.predict(frame.to_numpy()))
    for bad in (frame[["load"]], WAVE[:400], frame.head(3), "text", frame.assign(load=np.nan)):
        with pytest.raises(UsageError, match=r"this network reads the last 24 moments|no column 'warmth'"):
            network.predict(bad)


def test_the_next_character_of_raw_text_is_the_one_that_was_scored(tmp_path, monkeypatch):
    network, found, rows = kept(TEXT, None, "transformer", tmp_path / "t", monkeypatch, 2)
    bits, count = 0.0, 0
    for row in rows[:2]:
        text = "".join(row)
        odds = network.probabilities([text[: i + 1] for i in range(64)]).to_numpy()
        places = [network.labels.index(c) - 1 for c in text[1:]]
        bits, count = bits - np.log2(odds[np.arange(64), places]).sum(), count + 64
    # two rows of the test part against all of it; a text that repeats itself is as hard everywhere
    assert bits / count == pytest.approx(found.kept["test"], abs=0.2)
    said = network.predict(["the c", "on th"])
    assert list(said.index) == ["the c", "on th"] and all(len(c) == 1 for c in said)
    with pytest.raises(UsageError, match="reads texts"):
        network.predict("the")


def test_targets_of_raw_sources_are_those_that_were_scored(tmp_path, monkeypatch):
    sources = ["".join(RNG.choice(list("ab"), 4)) for _ in range(150)]
    pair = sources, [s[-1].upper() for s in sources]
    network, found, rows = kept(*pair, "seq2seq", tmp_path / "p", monkeypatch, 5)
    said = network.predict(["".join(s) for s, _ in rows])
    right = np.mean([mine == "".join(t) for mine, (_, t) in zip(said, rows)])
    assert right == pytest.approx(found.kept["test"]) and right > 0
    said = (tmp_path / "p/report.html").read_text()
    assert "sources in, their targets out" in said and "symbols, workload seq2seq" in said
    with pytest.raises(UsageError, match="at most 20 symbols"):
        network.predict(["a" * 30])


def test_rows_given_back_are_those_that_were_scored(tmp_path, monkeypatch):
    images = load_digits().images[:200]
    network, found, rows = kept(images, None, "autoencoder", tmp_path / "a", monkeypatch, 3)
    x = network.inputs.transform(np.stack(rows))
    assert np.sqrt(np.mean((network.outputs(np.stack(rows)) - x) ** 2)) == pytest.approx(found.kept["test"], rel=1e-4)
    with pytest.raises(UsageError, match="gives its inputs back"):
        network.predict(images)


class Halves(torch.nn.Module):
    def forward(self, x):
        return x, x


class Broken(torch.nn.Module):
    def forward(self, x):
        return self.weights(x)


def test_a_network_of_parts_says_so_and_a_broken_one_is_not_taken_for_it(tmp_path, monkeypatch):
    images = load_digits().images[:60]
    network, _, rows = kept(images, None, "autoencoder", tmp_path / "a", monkeypatch, 1)
    for parts in (torch.nn.Module(), Halves()):
        with pytest.raises(UsageError, match="a network of workload autoencoder has parts"):
            replace(network, net=parts).outputs(np.stack(rows))
    with pytest.raises(AttributeError, match="weights"):
        replace(network, net=Broken()).outputs(np.stack(rows))


def test_a_task_is_tuned_by_its_name_and_its_network_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("metabench.workloads.policy.shape.FRAMES", 512)
    task = replace(tasks.get("policy-cartpole"), checkpoints=(1,))
    found = mb.tune(task, trials=1, out=tmp_path / "p")
    network = mb.load_model(tmp_path / "p")
    assert found.model.name == "policy-v2" and network.scores == found.kept
    with pytest.raises(UsageError, match="kept without its preprocessing"):
        network.predict([1])
    said = (tmp_path / "p/report.html").read_text()
    assert "the torch module" in said and "Control of" in said
    with pytest.raises(UsageError, match="policy-cartpole is a task: it has its target"):
        mb.recommend(task, "y")
