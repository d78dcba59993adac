"""The explorer's data says what the table says, and nothing else; its browser side is tests/site/test_explore_site.py."""

import base64
import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from table_samples import write_table

from metabench.cli import main
from metabench.errors import MetabenchError, UsageError
from metabench.publishing.explorer import build, data
from metabench.table import load_table

EVIL = "</script><script>alert(1)</script>"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return load_table(write_table(tmp_path_factory.mktemp("tables") / "tiny/v1", metrics={"wine": "r2"}))


def called(text):
    """What a data script is called with."""
    found = re.fullmatch(rb"metabench\.\w+\((.*)\);\n", text, re.S)
    return json.loads(b"[" + found[1] + b"]")


def decoded(held, shape):
    codes = np.frombuffer(base64.b64decode(held["data"]), "<u2").astype(float)
    values = held["low"] + (held["high"] - held["low"]) / (data.NONE - 1) * codes
    values[codes == data.NONE] = np.nan
    return (np.exp(values) if held.get("log") else values).reshape(shape)


def test_every_run_comes_back(table):
    for task in ("mlp-iris", "mlp-wine"):
        held = data.task(table, "mlp", task)
        rows = table.runs("mlp", tasks=[task]).to_pandas().sort_values(["config_id", "seed"])
        assert held["seeds"] == 2 and held["epochs"] == list(max(rows["epochs"], key=len))
        assert np.frombuffer(base64.b64decode(held["run_id"]), "<i8").tolist() == rows["run_id"].tolist()
        assert held["status"] == "".join(data.STATUS[s] for s in rows["status"].astype(str))
        assert held["params"] == rows.groupby("config_id")["params"].first().tolist()
        np.testing.assert_allclose(decoded(held["seconds"], len(rows)), rows["seconds"], rtol=1e-3)
        shape = (len(rows), len(held["epochs"]))
        for name, series in (("valid", "valid_score"), ("test", "test_score")):
            stored = table.curves("mlp", [task], series)[0].reshape(shape)
            span = held[name]["high"] - held[name]["low"]
            assert not held[name]["cut"]
            np.testing.assert_allclose(decoded(held[name], shape), stored, atol=span / data.NONE)
        loss = table.curves("mlp", [task], "train_loss")[0].reshape(shape)
        np.testing.assert_allclose(decoded(held["loss"], shape), loss, rtol=2e-4)


def test_a_tail_on_the_bad_side_is_cut_and_said_to_be():
    values = np.array([0.9, 0.8, 0.7, -1e6, np.nan])
    held = data.linear(values)
    assert held["cut"] and held["high"] == 0.9 and held["low"] == pytest.approx(0.75 - data.TAIL * 0.15)
    back = decoded(held, 5)
    np.testing.assert_allclose(back[:3], values[:3], atol=1e-4)
    assert back[3] == pytest.approx(held["low"]) and np.isnan(back[4])
    turned = data.linear(-values, "min")  # where less is better the tail is above
    assert turned["cut"] and turned["low"] == -0.9
    assert np.isnan(decoded(data.linear(np.full(3, np.nan)), 3)).all()
    assert np.isnan(decoded(data.logarithmic(np.full(3, np.nan)), 3)).all()
    np.testing.assert_allclose(decoded(data.logarithmic(np.array([0.0, 2.0, 2.0])), 3), 2.0)


def test_configurations_are_the_tables(table):
    held, frame = data.configs(table, "mlp"), table.configs("mlp")
    assert held["n"] == len(frame) and list(held["columns"]) == list(held["space"]) == list(frame)
    assert held["columns"]["optimizer"] == frame["optimizer"].tolist()
    assert [v is None for v in held["columns"]["beta"]] == frame["beta"].isna().tolist()
    np.testing.assert_allclose(held["columns"]["learning_rate"], frame["learning_rate"], rtol=1e-4)


def test_no_text_of_the_table_ends_a_script():
    text = data.script("metabench.task", EVIL, {"a": EVIL, "ü": 1})
    assert b"<" not in text and text.isascii()
    assert called(text) == [EVIL, {"a": EVIL, "ü": 1}]


def test_building_twice_gives_the_same_bytes(table, tmp_path):
    paths = build(table, tmp_path / "a", called="tiny")
    again = build(table, tmp_path / "b", called="tiny")
    names = [p.relative_to(tmp_path / "a").as_posix() for p in paths]
    assert [p.read_bytes() for p in paths] == [p.read_bytes() for p in again]
    assert {"index.html", "style.css", "explore.js", "data/index.js", "data/configs-mlp.js", "data/mlp-wine.js"} <= set(
        names
    )
    (index,) = called((tmp_path / "a/data/index.js").read_bytes())
    assert index["table"] == "tiny" and [t["id"] for t in index["tasks"]] == ["mlp-digits", "mlp-iris", "mlp-wine"]
    assert all((tmp_path / "a" / t["file"]).exists() for t in index["tasks"])


def test_some_tasks_alone(table, tmp_path):
    build(table, tmp_path, "mlp-w*, mlp-iris")
    (index,) = called((tmp_path / "data/index.js").read_bytes())
    assert [t["id"] for t in index["tasks"]] == ["mlp-iris", "mlp-wine"]
    with pytest.raises(UsageError, match="has no task 'mlp-x'"):
        build(table, tmp_path, "mlp-x")
    (tmp_path / "file").write_text("")
    with pytest.raises(MetabenchError, match="cannot be written"):
        build(table, tmp_path / "file")


def test_the_command_names_the_page_and_how_to_find_the_table(table, tmp_path):
    done = CliRunner().invoke(main, ["explore", str(table.path), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0 and done.stdout.strip() == str(tmp_path / "out/index.html")
    (index,) = called((tmp_path / "out/data/index.js").read_bytes())
    assert index["table"] == str(table.path)  # what `metabench rerun` takes
    wrong = CliRunner().invoke(main, ["explore", "strter"], standalone_mode=False)
    assert "strter" in str(wrong.exception)
