"""Search spaces on the way to ConfigSpace and back; ConfigSpace itself reads them."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from table_samples import write_table

from metabench import load_table, registry
from metabench.cli import main
from metabench.errors import MetabenchError, UsageError
from metabench.interop.formats.configspace import read_space, to_configspace
from metabench.space import Choice, Float, Int, Ordinal, Space, is_classification, when

ConfigSpace = pytest.importorskip("ConfigSpace")

SPACE = Space(
    lr=Float(1e-5, 1.0, log=True, default=1e-3),
    beta=Float(0.8, 0.999, reverse=True),
    width=Int(16, 256, log=True, default=64),
    depth=Int(1, 4),
    batch=Ordinal(16, 32, 128, default=32),
    optimizer=Choice("sgd", "adam", "adamw", default="adam"),
    momentum=Float(0.0, 0.99, default=0.9, when=when("optimizer", "sgd")),
    decay=Float(1e-6, 1e-1, log=True, when=when("optimizer", "adam", "adamw")),
    warm=Choice("no", "yes", when=when("optimizer", "adam")),
    steps=Int(1, 9, default=2, when=when("warm", "yes")),
    smoothing=Float(0.0, 0.2, default=0.0, when=is_classification),
)


@pytest.mark.parametrize("space", [SPACE, registry.create("workloads", "mlp").space], ids=["made up", "mlp"])
def test_out_and_back_is_exact(space, tmp_path):
    to_configspace(space, "mlp").to_json(tmp_path / "s.json")
    assert ConfigSpace.ConfigurationSpace.from_json(tmp_path / "s.json") == to_configspace(space, "mlp")
    assert read_space(tmp_path / "s.json") == space


def test_configspace_means_the_same_by_it():
    made = to_configspace(SPACE)
    made.seed(3)
    drawn = [dict(c) for c in made.sample_configuration(200)]
    for config in drawn:
        plain = {name: value.item() if hasattr(value, "item") else value for name, value in config.items()}
        validated = SPACE.validate(plain)  # active exactly where our conditions say so, and inside the ranges
        assert {name for name, value in validated.items() if value is not None} == set(config)
    for config in SPACE.sample(64, 0).to_dict("records"):
        known = {k: v for k, v in config.items() if v is not None and v == v}
        theirs = dict(ConfigSpace.Configuration(made, values=known))  # it rounds numbers to thirteen digits
        assert theirs.keys() == known.keys()
        assert all(theirs[k] == (pytest.approx(v, rel=1e-10) if isinstance(v, float) else v) for k, v in known.items())
    default = dict(made.get_default_configuration())
    ours = {name: value for name, value in SPACE.default().items() if value is not None}
    assert default.keys() == ours.keys()
    assert all(default[k] == (pytest.approx(v) if isinstance(v, float) else v) for k, v in ours.items())


def test_scales_agree():
    made = to_configspace(SPACE)
    for name in ("lr", "decay", "momentum"):
        values = SPACE[name].from_unit(np.linspace(0, 1, 23))
        np.testing.assert_allclose(made[name].to_vector(values), SPACE[name].to_unit(values), atol=1e-9)
    made.seed(0)
    drawn = np.array([c["depth"] for c in made.sample_configuration(4000)])
    assert (
        np.abs(np.bincount(drawn, minlength=5)[1:] - 1000) < 150
    ).all()  # integers share their range equally, as here


def test_a_table_is_exported_from_the_command_line(tmp_path):
    folder = write_table(tmp_path / "ours/v1")
    done = CliRunner().invoke(main, ["export", "configspace", str(folder), str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    (path,) = map(str, (tmp_path / "out").iterdir())
    assert done.output.strip() == path
    table = load_table(folder)
    assert read_space(tmp_path / "out" / f"{table.workloads[0]}.json") == table.space(table.workloads[0])
    done = CliRunner().invoke(main, ["export", "configspace", str(folder), str(tmp_path), "--workload", "mpl"])
    assert isinstance(done.exception, UsageError | SystemExit)
    with pytest.raises(UsageError, match="can be exported, not imported"):
        registry.create("formats", "configspace").read(tmp_path)


def foreign(**changes):
    space = {
        "type": "uniform_float",
        "name": "a",
        "lower": 0.0,
        "upper": 1.0,
        "default_value": 0.5,
        "log": False,
        "meta": None,
    }
    space = {k: v for k, v in (space | changes).items() if v != "-"}
    return {
        "name": None,
        "hyperparameters": [space],
        "conditions": [],
        "forbiddens": [],
        "python_module_version": "1.2.0",
        "format_version": 0.4,
    }


def test_a_foreign_space_is_read(tmp_path):
    (tmp_path / "s.json").write_text(json.dumps(foreign()))
    assert read_space(tmp_path / "s.json") == Space(a=Float(0.0, 1.0, default=0.5))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (foreign(type="normal_float", mu=0.5, sigma=0.1), "'a': NormalFloatHyperparameter has no counterpart"),
        (
            foreign(type="ordinal", lower="-", upper="-", log="-", sequence=["low", "high"], default_value="low"),
            "'a': invalid literal",
        ),
        (
            foreign(
                type="categorical", lower="-", upper="-", log="-", choices=["x", "y"], weights=[1, 3], default_value="x"
            ),
            "choices have weights",
        ),
        (foreign(lower=2.0), "is no space of ConfigSpace"),
        (foreign(type="mystery"), "is no space of ConfigSpace"),
        ({"a": 1}, "describes no hyperparameter"),
        ([], "holds list, expected dict"),
    ],
)
def test_spaces_that_lie_or_say_more_are_one_line(tmp_path, value, message):
    (tmp_path / "s.json").write_text(json.dumps(value))
    with pytest.raises(MetabenchError, match=message) as caught:
        read_space(tmp_path / "s.json")
    assert "\n" not in str(caught.value) and str(tmp_path / "s.json") in str(caught.value)
