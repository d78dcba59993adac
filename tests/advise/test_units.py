"""Percent signs and currencies beside numbers: read, said, predicted and written into the torch script alike."""

import numpy as np
import pandas as pd
import pytest

import metabench as mb
from metabench.advise.cells import Reading, typed, unit_of
from metabench.errors import UsageError

RNG = np.random.default_rng(12)
VALUES = np.round(RNG.normal(size=60) * 4_000, 2)
SWAPPED = str.maketrans(",.", ".,")
WRITTEN = {
    "%": lambda v: f"{v:.2f} %",
    "$": lambda v: f"{'-' * int(v < 0)}${abs(v):,.2f}",
    "€": lambda v: f"{v:,.2f}".translate(SWAPPED) + " €",
    "USD": lambda v: f"USD {v:,.2f}",
    "£": lambda v: f"(£{-v:,.2f})" if v < 0 else f"£{v:,.2f}",
}


@pytest.mark.parametrize("unit", WRITTEN)
def test_a_column_with_one_unit_is_numbers(unit):
    cells = pd.Series([*map(WRITTEN[unit], VALUES), None], dtype=object)
    made, form, said = typed(cells, "price", Reading())
    np.testing.assert_allclose(made[:-1].astype(float), VALUES)
    assert np.isnan(made.iloc[-1]) and form.unit == unit
    assert any(f"without {unit}" in line for line in said)
    np.testing.assert_allclose(form.numbers(cells)[:-1], VALUES)


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        (["$1.50", "€2.75"] * 20, "several units"),
        (["Model 3", "Model S"] * 20, None),
        (["%", "$"] * 20, None),
        (["$5 to $9", "$7 to $8"] * 20, None),
    ],
)
def test_other_text_stays_text(cells, why):
    made, form, said = typed(pd.Series(cells, dtype=object), "price", Reading())
    assert made.tolist() == cells and form is None
    assert not why or any(why in line for line in said)


def test_numbers_without_the_unit_are_said():
    cells = pd.Series([*("5 %",) * 30, *("7",) * 8], dtype=object)
    made, _, said = typed(cells, "share", Reading())
    assert set(made) == {5, 7} and any("8 cells have no %" in line for line in said)


@pytest.mark.parametrize(
    ("cell", "unit"), [("5%", "%"), ("usd 3", "USD"), ("$5€", ""), ("5", ""), ("-$-5", ""), ("", "")]
)
def test_a_unit_stands_once_beside_a_number(cell, unit):
    assert unit_of(cell) == unit


def test_network_and_script_read_units_as_the_reader_did(tmp_path):
    table = pd.DataFrame({f"c{i}": list(map(WRITTEN[unit], VALUES)) for i, unit in enumerate(WRITTEN)})
    table["c0"] = RNG.permutation(table["c0"])
    table["y"] = np.where(VALUES > 0, "up", "down")
    table.to_csv(tmp_path / "t.csv", index=False, sep=";")
    found = mb.tune(tmp_path / "t.csv", "y", trials=1, out=tmp_path / "out")
    network = mb.load_model(tmp_path / "out")
    numbers = table.assign(**{f"c{i}": VALUES for i in range(1, 5)})
    assert network.predict(table).tolist() == network.predict(numbers).tolist()
    assert found.task.n_features == 5
    text = mb.recommend(tmp_path / "t.csv", "y", k=1).snippet().partition("# ---- network")[0]
    space: dict = {}
    exec(text, space)
    np.testing.assert_allclose(space["frame"]["c4"].astype(float), VALUES)
    np.testing.assert_allclose(space["frame"]["c2"].astype(float), VALUES)


@pytest.mark.parametrize(
    ("scale", "why"), [(1e306, "beyond 1e\\+100.*larger unit"), (1e-200, "differ by less than 1e-100.*smaller unit")]
)
def test_a_target_that_over_or_underflows_is_one_line(scale, why):
    with np.errstate(over="ignore"):
        frame = pd.DataFrame({"a": RNG.normal(size=60), "y": VALUES * scale})
    with pytest.raises(UsageError, match=why):
        mb.recommend(frame, "y", k=1)
