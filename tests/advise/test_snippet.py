"""The torch scripts: each is run, its network says what the engine's says with the same weights, its rows are the engine's rows,
and it reaches what the engine reaches."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

import metabench as mb
from metabench import registry
from metabench.errors import UsageError
from metabench.tasks import Arrays
from metabench.training import run_cohort

RNG = np.random.default_rng(0)


def write(workload, folder):
    """Data of a workload in a file or a folder, two classes that can be told apart, and its target column."""
    y = np.arange(120) % 2
    if workload == "cnn":
        digits = load_digits()
        for i in np.flatnonzero(digits.target < 2)[:120]:
            place = folder / "digits" / f"it's {digits.target[i]}"
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(digits.images[i].astype(np.uint8) * 16).save(place / f"{i}.png")
        return folder / "digits", None
    if workload == "text":
        words = [("fine warm good", "dull cold bad")[i].split() for i in y]
        lines = [f"{i}\t{' '.join([*RNG.choice(w, 2), *RNG.choice(['A', 'the', 'é'], 3)])}" for i, w in zip(y, words)]
        (folder / "films.txt").write_text("\n".join([*lines, "", "1\t "]))
        return folder / "films.txt", None
    t = np.linspace(0, 9, 90)
    if workload == "rnn":
        waves = [np.sin(t * (1 + k) + RNG.uniform(0, 6)) + RNG.normal(0, 0.1, 90) for k in y]
        np.savez(folder / "waves.npz", x=np.stack([waves, np.roll(waves, 1, 1)], 2), y=y)
        return folder / "waves.npz", None
    wave = 9 + np.sin(np.arange(480) / 4) + RNG.normal(0, 0.05, 480)
    when = pd.date_range("2024-01-01", periods=480, freq="h").astype(str)
    frame = pd.DataFrame({"when": when, "l'oad": wave, "warmth": 3 * np.roll(wave, 2), "flat": 1})
    frame.loc[5, "warmth"] = np.nan
    frame.iloc[::-1].to_csv(folder / "load.csv", index=False)
    return folder / "load.csv", "l'oad"


WORKLOADS = ("cnn", "text", "rnn", "forecast")


@pytest.fixture(scope="module", params=WORKLOADS)
def advised(request, tmp_path_factory):
    path, target = write(request.param, tmp_path_factory.mktemp("data"))
    return mb.recommend(path, target, workload=request.param, k=2)


def run(text, epochs=None):
    """The names that a script leaves behind."""
    assert "{{" not in text and "{%" not in text
    if epochs is not None:
        lines = [f"EPOCHS = {epochs}" if line.startswith("EPOCHS = ") else line for line in text.split("\n")]
        text = "\n".join(lines)
    space = {}
    exec(compile(text, "train.py", "exec"), space)
    return space


def test_the_network_is_the_engines(advised, capsys):
    """Of configurations with every choice: the same weights, in the same order, give the same outputs of the script's rows."""
    from metabench.advise.snippet import script

    workload, task = registry.create("workloads", advised.task.workload), advised.task
    for row in workload.space.sample(12, 1).to_dict("records"):
        space = run(
            script(task, advised.read, advised.path, {k: v for k, v in row.items() if not pd.isna(v)}), epochs=0
        )
        x = space["X"][space["train"][:7]]
        sizes = task.arrays(0)
        vocabulary = 2 + len(space["codes"]) if "codes" in space else 0
        empty = [np.zeros((1, *x.shape[1:])), sizes.y_train[:1]] * 3
        theirs = Arrays(sizes.kind, sizes.metric, sizes.n_classes, *empty, vocabulary=vocabulary)
        engine = workload.build(theirs, workload.space.validate(row), 0).float().eval()
        mine = space["net"].eval()
        for a, b in zip(mine.parameters(), engine.parameters(), strict=True):
            spread = [float(weights.detach().std(correction=0)) for weights in (a, b)]
            assert spread[0] == pytest.approx(spread[1], rel=0.3, abs=0.05)  # drawn alike
            a.data.copy_(b)
        with torch.no_grad():
            torch.testing.assert_close(mine(x), engine(x), rtol=1e-4, atol=1e-5)
    assert capsys.readouterr().out.count(f"{task.metric}: valid ") == 12


def test_it_reaches_what_the_engine_reaches(advised, capsys):
    """Its configuration trained by both; augmentation, which only some have, too."""
    space, task = advised.model.space, advised.task
    config = advised.config(1) | (
        {"augmentation": "random", "shift": 0.1, "rotation": 9.0, "scale": 0.1, "flip": 0.0, "cutout": 0.1}
        if task.workload == "cnn"
        else {}
    )
    from metabench.advise.snippet import script

    text, first = script(task, advised.read, advised.path, config), "torch.manual_seed(0)"
    assert text.count(first) == 1
    for seed in range(3):  # one draw of the weights may be unlucky
        run(text.replace(first, f"torch.manual_seed({seed})"))
    mine = np.median([float(line.split(",")[0]) for line in capsys.readouterr().out.split("valid ")[1:]])
    workload = registry.create("workloads", task.workload)
    configs = space.table([space.validate(config)] * 3)
    curves = run_cohort(workload, task.arrays(0), configs, [0, 1, 2], task.checkpoints)
    assert mine == pytest.approx(np.median(curves.valid_score[:, -1]), abs=0.12)
    assert mine > 0.85 if task.direction == "max" else mine < 0.5


def test_rows_of_a_series_are_the_engines(tmp_path, capsys):
    path, target = write("forecast", tmp_path)
    advised = mb.recommend(path, target, workload="forecast", k=1)
    assert advised.read.order == "when"
    space, arrays = run(advised.snippet(1), epochs=0), advised.task.arrays(0)
    for part in ("train", "valid", "test"):
        np.testing.assert_allclose(space["X"][space[part]], getattr(arrays, f"x_{part}"), atol=1e-5)
        np.testing.assert_allclose(space["y"][space[part]], getattr(arrays, f"y_{part}"), atol=1e-5)
    np.savez(tmp_path / "s.npz", x=pd.read_csv(path)[["warmth", "l'oad"]].to_numpy()[::-1])
    again = mb.recommend(tmp_path / "s.npz", "x1", workload="forecast", k=1)
    np.testing.assert_allclose(run(again.snippet(1), epochs=0)["X"], space["X"], atol=1e-5)


@pytest.mark.parametrize("workload", ["cnn", "rnn"])
def test_images_and_series_of_other_sizes_are_made_smaller_alike(workload, tmp_path, capsys):
    """In a file of arrays: coloured images of 37 × 50 pixels, series of 90 moments; the rows are the engine's but for the split,
    so every standardised number is near."""
    y = np.arange(60) % 2
    x = RNG.random((60, 37, 50, 3)) if workload == "cnn" else RNG.normal(size=(60, 90))
    np.savez(tmp_path / "x.npz", x=x, y=[f"c{i}" for i in y])
    advised = mb.recommend(tmp_path / "x.npz", workload=workload, k=1)
    space, arrays = run(advised.snippet(1), epochs=0), advised.task.arrays(0)
    assert tuple(space["X"].shape[1:]) == arrays.shape
    mine, theirs = (
        np.sort(part.mean(axis=tuple(range(1, part.ndim))))
        for part in (space["X"].numpy(), np.concatenate([arrays.x_train, arrays.x_valid, arrays.x_test]))
    )
    np.testing.assert_allclose(mine, theirs, atol=0.15)


def test_regressions_on_texts_and_series(tmp_path, capsys):
    y = RNG.normal(size=90)
    np.savez(tmp_path / "x.npz", x=y[:, None] + RNG.normal(0, 0.1, (90, 20)), y=y)
    run(mb.recommend(tmp_path / "x.npz", workload="rnn", k=1).snippet(1))
    assert float(capsys.readouterr().out.split("valid ")[1].split(",")[0]) > 0.5
    (tmp_path / "t.txt").write_text(
        "\n".join(f"{v:.3f}\t{'up ' * (1 + (v > 0))}{'down' if v < 0 else 'x'}" for v in y), "latin-1"
    )
    advised = mb.recommend(tmp_path / "t.txt", workload="text", k=1, encoding="latin-1")
    assert advised.task.kind == "regression" and "latin-1" in advised.snippet(1)
    run(advised.snippet(1), epochs=1)


@pytest.mark.parametrize("workload", ["text", "rnn"])
def test_texts_and_series_of_a_table(workload, tmp_path, capsys):
    y = [f"c{i % 2}" for i in range(80)]
    if workload == "text":
        whole = pd.DataFrame(
            {"it's": [f"{'fine' if i % 2 else 'dull'} film" for i in range(80)], "n": range(80), "y": y}
        )
        whole.loc[3, "it's"] = None
    else:
        whole = pd.DataFrame(RNG.normal(size=(80, 70)) + 3 * (np.arange(80) % 2)[:, None]).assign(y=y)
        whole.loc[5, 7] = np.inf
    whole.to_csv(tmp_path / "t.csv", index=False)
    advised = mb.recommend(tmp_path / "t.csv", "y", workload=workload, k=1)
    space = run(advised.snippet(1))
    assert tuple(space["X"].shape[1:]) == advised.task.arrays(0).shape and len(space["X"]) == advised.task.n_rows
    assert float(capsys.readouterr().out.split("valid ")[1].split(",")[0]) > 0.8


def test_images_of_several_sizes_are_cut_alike(tmp_path, capsys):
    for i in range(40):
        (tmp_path / f"c{i % 2}").mkdir(exist_ok=True)
        size = (20 + i % 3, 30)
        Image.fromarray(RNG.integers(0, 255, (*size, 3), dtype=np.uint8)).save(tmp_path / f"c{i % 2}" / f"{i}.png")
    advised = mb.recommend(tmp_path, workload="cnn", k=1)
    space = run(advised.snippet(1), epochs=0)
    assert tuple(space["X"].shape) == (40, 3, 16, 16) == (40, *advised.task.arrays(0).shape)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"path": None}, "reads its data from a file: give the path of one"),
        ({"read": None}, "reads its data from a file"),
        ({"workload": "vae"}, "no torch script is written for workload vae; for: cnn, forecast, mlp, rnn, text"),
    ],
)
def test_no_script_is_one_line(tmp_path, change, match):
    advised = mb.recommend(*write("text", tmp_path), workload="text", k=1)
    workload = change.pop("workload", "text")
    with pytest.raises(UsageError, match=match):
        replace(advised, task=replace(advised.task, workload=workload), **change).snippet(1)


@pytest.mark.parametrize("style", ["thousands", "comma", "said"])
def test_numbers_are_read_as_the_reader_did(style, tmp_path, capsys):
    """Thousands separators and decimal commas, in the target and in a column, also where the decimal mark was given."""
    price, size = 150_000 + 1_357 * np.arange(60), 1_000.5 + 7.25 * np.arange(60)
    comma = {",": ".", ".": ","}

    def written(value, decimals):
        text = f"{value:,.{decimals}f}"
        return "".join(comma.get(c, c) for c in text) if style == "comma" else text

    cells = {"price": [written(v, 1) for v in price], "size": [written(v, 2) for v in size]}
    pd.DataFrame(cells).to_csv(tmp_path / "homes.csv", index=False, sep=";")
    decimal = "." if style == "said" else None
    text = mb.recommend(tmp_path / "homes.csv", "price", k=1, decimal=decimal).snippet()
    space = run(text, epochs=1)
    assert sorted(space["target"]) == sorted(price)
    np.testing.assert_allclose(np.sort(space["frame"]["size"].astype(float)), size)
