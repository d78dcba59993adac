"""A person's data in all its forms, and what `recommend` makes of it."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_digits

import metabench as mb
from metabench.advise.data import read
from metabench.advise.words import recommended
from metabench.errors import UsageError


@pytest.fixture(scope="module")
def cancer(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "cancer.csv"
    load_breast_cancer(as_frame=True).frame.to_csv(path, index=False)
    return path


def test_a_file_a_frame_arrays_and_a_torch_dataset_are_the_same_data(cancer):
    import polars
    import torch

    whole = pd.read_csv(cancer)
    X, y = whole.drop(columns="target").to_numpy(), whole["target"].to_numpy()
    torched = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(y))
    for found in (
        read(cancer, "target"),
        read(whole, "target"),
        read(polars.from_pandas(whole), "target"),
        read(X, y),
        read(torched),
        read(torch.tensor(X), torch.tensor(y)),
    ):
        assert found.dataset.modality == "tabular" and found.dataset.kind == "classification"
        assert np.allclose(found.dataset.X.to_numpy(), X) and (found.dataset.y.to_numpy() == y).all()


def test_a_file_becomes_a_task_called_like_it(tmp_path):
    rng = np.random.default_rng(0)
    whole = pd.DataFrame({"x": rng.normal(size=60), "colour": rng.choice(["red", "blue"], 60)})
    whole.assign(price=whole["x"] * 3 + 1).to_csv(tmp_path / "My Houses.csv", index=False)
    task = mb.task_from_csv(tmp_path / "My Houses.csv", "price")
    assert (task.kind, task.dataset, task.metric, task.n_features) == ("regression", "my_houses", "r2", 3)
    assert task.arrays(0).x_train.dtype == np.float32


def test_images_in_folders_arrays_and_datasets(tmp_path):
    import torch
    from PIL import Image

    digits = load_digits()
    for i in range(60):
        folder = tmp_path / str(digits.target[i] % 3)
        folder.mkdir(exist_ok=True)
        Image.fromarray(digits.images[i].astype(np.uint8) * 16).save(folder / f"{i}.png")
    for workload in ("mlp", "cnn"):
        found = read(tmp_path, workload=workload)
        assert (
            found.dataset.modality == "image"
            and found.dataset.X.shape == (60, 8, 8)
            and set(found.dataset.y) == {"0", "1", "2"}
        )
    Image.new("RGB", (90, 50), "red").save(tmp_path / "0" / "big.jpg")
    found = read(tmp_path)
    assert found.dataset.X.shape == (61, 32, 32, 3) and any("scaled to 32 × 32" in n for n in found.notes)
    (tmp_path / "1" / "broken.png").write_bytes(b"\x89PNG no")
    with pytest.raises(UsageError, match=r"broken.png is no image of a format that is read"):
        read(tmp_path)
    pairs = [(torch.rand(3, 8, 8), int(i % 2)) for i in range(40)]
    assert read(pairs, workload="cnn").dataset.X.shape == (40, 8, 8, 3)
    with pytest.raises(UsageError, match="needs a folder of images for each of two classes"):
        read(tmp_path / "0")


def test_texts_as_lines_and_lists(tmp_path):
    lines = [f"{'good' if i % 2 else 'bad'}\tthe film number {i} was {'fine' if i % 2 else 'dull'}" for i in range(40)]
    (tmp_path / "films.txt").write_text("\n".join([*lines, "", "good\t  "]))
    found = read(tmp_path / "films.txt", workload="text")
    assert (
        len(found.dataset.X) == 40
        and found.dataset.X[1].startswith("the film")
        and any("1 texts are empty" in n for n in found.notes)
    )
    assert read(found.dataset.X, found.dataset.y, workload="text").dataset.X == found.dataset.X
    (tmp_path / "films.txt").write_text("\n".join([*lines, "no tab here"]))
    with pytest.raises(UsageError, match="line 41: no tab"):
        read(tmp_path / "films.txt", workload="text")


def test_series_as_arrays(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(40, 30)), np.arange(40) % 2
    np.savez(tmp_path / "waves.npz", x=x, y=y)
    found = read(tmp_path / "waves.npz", workload="rnn")
    assert found.dataset.modality == "series" and found.dataset.X[0].shape == (1, 30)
    assert read(x[:, :, None].repeat(2, axis=2), y, workload="rnn").dataset.X[0].shape == (2, 30)
    assert read([row[: 10 + i % 5] for i, row in enumerate(x)], y, workload="rnn").dataset.X[3].shape == (1, 13)
    with pytest.raises(UsageError, match="each row needs one target"):
        read(x, y[:-1], workload="rnn")


def test_lists_columns_and_tables_hold_the_same_rows(tmp_path):
    import torch

    y, pictures = np.arange(40) % 2, np.random.default_rng(0).random((40, 3, 8, 8))
    listed = read([torch.tensor(p) for p in pictures], y.tolist(), workload="cnn").dataset
    np.testing.assert_array_equal(listed.X, np.moveaxis(pictures, 1, -1))
    texts = [f"film {i} was {'fine' if i % 2 else 'dull'}" for i in range(40)]
    whole = pd.DataFrame({"text": texts, "stars": range(40), "label": y})
    whole.to_csv(tmp_path / "films.csv", index=False)
    for found in (
        read(texts, y, workload="text"),
        read(np.array(texts), y, workload="text"),
        read(pd.Series(texts, index=range(9, 49)), whole["label"], workload="text"),
        read(whole, "label", workload="text"),
        read(tmp_path / "films.csv", "label", workload="text"),
    ):
        assert texts == found.dataset.X and found.dataset.y.tolist() == y.tolist()
    assert "stars: no texts, left out" in found.notes and found.columns == ("text",) and found.target == "label"
    waves = np.random.default_rng(0).normal(size=(40, 12))
    wide = pd.DataFrame(waves).assign(label=y)
    found = read(wide, "label", workload="rnn")
    np.testing.assert_allclose(np.stack(found.dataset.X)[:, 0], waves, rtol=1e-6)
    assert "the 12 columns beside 'label' are read as moments, the first the earliest" in found.notes
    X = pd.DataFrame(waves, columns=[f"c{i}" for i in range(12)])
    assert read(X, pd.Series(y, name="c0")).target == "c0_" and read(X.values.tolist(), y).dataset.X.shape == (40, 12)


# ---------------------------------------------------------------------------------------------- recommend
@pytest.fixture(scope="module")
def found(cancer):
    return mb.recommend(cancer, "target", k=3)


def test_a_recommendation_says_everything_as_json(found):
    said = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert [c["rank"] for c in said["configurations"]] == [1, 2, 3]
    first = said["configurations"][0]
    assert first["percentile_low"] < first["percentile"] < first["percentile_high"]
    assert first["score_low"] < first["score"] <= first["score_high"] <= 1 and first["score"] > 0.9
    assert said["nearest"][0]["task"] == "mlp-breast_cancer" and len(said["nearest"][0]["alike_in"]) == 3
    assert said["model"]["table_digest"] == found.model.table_digest and said["task"]["features"]["log_rows"] > 0
    found.model.space.validate(first["config"])


def test_a_recommendation_is_read_in_a_terminal(found):
    lines = list(recommended(found))
    assert "569 rows" in lines[0] and "a constant guess has 0.62" in lines[0]
    assert any(line.startswith("learning_rate") for line in lines) and any(
        "mlp-breast_cancer" in line for line in lines
    )


def test_a_metamodel_of_another_workload_is_one_line(cancer):
    with pytest.raises(UsageError, match="meta-model mlp-v1 is for workload mlp, not for cnn"):
        mb.recommend(cancer, "target", workload="cnn", model="mlp-v1")
    with pytest.raises(UsageError, match="there is no configuration 4; 3 were asked for"):
        mb.recommend(cancer, "target", k=3).config(4)


def test_the_torch_script_runs_and_reaches_what_was_promised(tmp_path, capsys):
    """Names that would break out of a string stay names. (A regression's script runs in tests/docs/test_practitioner.py.)"""
    path, rng = tmp_path / 'it\'s "n".csv', np.random.default_rng(0)
    colour, size = rng.choice(["red", "green", "blue"], 300), rng.normal(size=300)
    y = np.where((colour == "red") ^ (size > 0.3), "in\"side'", "out")
    size = np.where(rng.random(300) < 0.1, np.nan, size)
    pd.DataFrame({"col'our": colour, "size": size, 'y"': y}).to_csv(path, index=False)
    advised = mb.recommend(path, 'y"', k=1)
    exec(compile(advised.snippet(1), "train.py", "exec"), {})
    assert float(capsys.readouterr().out.split("test ")[1]) > 0.7


def test_every_optimizer_and_schedule_compiles(found):
    """Only some run above: the others are at least Python, and hold no trace of the template."""
    from metabench.advise.snippet import script

    for i, config in enumerate(found.model.space.sample(24, 1).to_dict("records")):
        known = {k: v for k, v in config.items() if not pd.isna(v)}
        text = script(found.task, found.read, found.path, known)
        compile(text, f"{i}.py", "exec")
        assert "{{" not in text and "{%" not in text


def test_no_script_is_written_for_what_is_no_table(tmp_path):
    x = np.random.default_rng(0).random((60, 8, 8))
    with pytest.raises(UsageError, match="a torch script reads its data from a file"):
        mb.recommend(x, np.arange(60) % 2, k=1).snippet()
