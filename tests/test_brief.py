"""What people print: short reprs without the data, plain values, the package's own folders, names in place of boards."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import metabench as mb
from metabench import brief, checkout, tasks
from metabench.errors import UsageError

SECRET = "Zanzibar-7"


def printed(folder):
    """Objects that the documented calls give to people, by name."""
    model, board, table = mb.load_metamodel("mlp-v1"), mb.load_board("search"), mb.load_table("starter")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(80, 3)), columns=list("abc"))
    frame["town"] = np.where(frame["a"] > 0, SECRET, "elsewhere")
    frame.to_csv(folder / "towns.csv", index=False)
    task = mb.task_from_csv(folder / "towns.csv", "town")
    ids = table.tasks.loc[table.tasks["workload"] == "mlp", "task_id"].tolist()[:2]
    info = table.task_info(ids[0])
    neighbour = model.nearest(info, 1)[0]
    return {
        "table": table,
        "board": board,
        "model": model,
        "space": model.space,
        "record": model.record,
        "known": model.tasks[0],
        "info": info,
        "neighbour": neighbour,
        "task": task,
        "source": table.meta_train("mlp", ids),
        "history": mb.History(list(range(500)), [0.5] * 500),
        "trials": mb.Trials(model.configs, [0.5] * len(model.configs)),
        "problem": mb.Problem(model.space, info, model.configs, 10),
        "recommendation": mb.recommend(frame, "town"),
    }


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    return printed(tmp_path_factory.mktemp("csv"))


def test_reprs_are_short_and_hold_no_data(objects):
    for name, thing in objects.items():
        text = repr(thing)
        assert len(text) <= brief.WHOLE and "\n" not in text, f"{name}: {text}"
        assert SECRET not in text and "0x" not in text, f"{name}: {text}"


def test_values_of_neighbours_are_plain(objects):
    neighbour = objects["neighbour"]
    assert json.loads(json.dumps(neighbour.config)) == neighbour.config
    assert all(type(v) in (str, int, float, bool) for v in neighbour.config.values())


def test_large_values_are_told_by_their_size():
    assert brief._value(np.zeros((3, 4))) == "<3 × 4 ndarray>" and brief._value("x" * 500).endswith("…")
    assert brief._value({"a": 1}) == "<1 in dict>" and brief._value((1, "b")) == "(1, 'b')"
    assert brief._value([0.1] * 100) == "<100 in list>" and brief._value(None) == "None"


# ---------------------------------------------------------------- folders of others
def test_an_installed_package_looks_at_no_folder_beside_it(tmp_path):
    """The package is put where packages of others lie, one of them called datasets."""
    site = tmp_path / "site-packages"
    shutil.copytree(Path(mb.__file__).parent, site / "metabench", ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    (site / "datasets/other/v1").mkdir(parents=True)
    (site / "datasets/other/v1/SHA256SUMS").write_text("")
    code = (
        "from metabench.table.find import dataset_folders, table_names; from metabench.boards.board import board_folders;"
        "print(dataset_folders(), board_folders(), table_names())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(site), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert str(site / "datasets") not in done.stdout and done.stdout.strip().endswith(
        "['starter']"
    )  # the part that ships
    listed = subprocess.run(
        [sys.executable, "-m", "metabench.cli", "list", "tables"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(site), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert listed.returncode == 0 and str(site / "metabench") in listed.stdout and "other" not in listed.stdout


def test_a_checkout_knows_its_own_folders():
    (found,) = checkout.beside("datasets")
    assert (found / "starter").is_dir()


# ---------------------------------------------------------------- names
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("iris", r"unknown task 'iris'; did you mean '\w+-iris'"),
        ("mlp-irs", r"unknown task 'mlp-irs'; did you mean 'mlp-iris'"),
        ("nlp-iris", r"unknown task 'nlp-iris'; did you mean '\w+-iris'"),
        ("qqqqqqqqqqqq", r"unknown task 'qqqqqqqqqqqq'; `metabench list tasks` names the [\d,]+ that there are"),
    ],
)
def test_a_task_without_its_workload_is_understood(name, message):
    with pytest.raises(UsageError, match=message):
        tasks.get(name)


def test_a_board_may_be_named():
    with pytest.raises(UsageError, match="unknown board 'serch'; did you mean 'search'"):
        mb.evaluate("random", "serch")
    with pytest.raises(UsageError, match="int 3 is no board"):
        mb.evaluate("random", 3)
    with pytest.raises(UsageError, match="unknown method"):
        mb.evaluate("rndom", "few-shot")
