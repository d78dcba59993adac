"""Spaces: values survive every round trip, conditions hold, samples nest, wrong input is named."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metabench.errors import UsageError
from metabench.space import Choice, Float, Int, Ordinal, Space, is_classification, when
from metabench.workloads.mlp import Mlp

#: one of everything, with a grandchild and a hyperparameter that only classification has
SPACE = Space(
    kind_of=Choice("a", "b", "c", default="b"),
    rate=Float(1e-4, 1.0, log=True, default=0.01),
    momentum=Float(0.5, 0.99, reverse=True, when=when("kind_of", "b", "c")),
    steps=Int(1, 1000, log=True, when=when("kind_of", "c")),
    clip=Choice("none", "norm", when=when("kind_of", "b")),
    clip_norm=Float(-2.0, 3.0, when=when("clip", "norm")),
    depth=Int(1, 4),
    batch=Ordinal(16, 32, 64, default=32),
    smoothing=Float(0.0, 0.2, default=0.0, when=is_classification),
)
finite = {"allow_nan": False, "allow_infinity": False}


@st.composite
def floats(draw):
    scale = draw(st.sampled_from(["linear", "log", "reverse"]))
    if scale == "log":
        low = draw(st.floats(1e-8, 1e3))
        return Float(low, low * draw(st.floats(1.01, 1e6)), log=True)
    if scale == "reverse":
        low = draw(st.floats(-5.0, 0.9))
        return Float(low, draw(st.floats(low + 0.01, 0.9999)), reverse=True)
    low = draw(st.floats(-1e6, 1e6))
    return Float(low, low + draw(st.floats(1e-3, 1e6)))


@st.composite
def ints(draw):
    log = draw(st.booleans())
    low = draw(st.integers(1 if log else -1000, 1000))
    return Int(low, low + draw(st.integers(1, 5000)), log=log)


@given(floats(), st.floats(0, 1))
def test_floats_survive_the_way_to_the_unit_interval_and_back(p, u):
    x = p.from_unit(np.array([u]))
    assert p.low <= x[0] <= p.high
    assert p.to_unit(x)[0] == pytest.approx(u, abs=1e-6)
    assert p.from_unit(p.to_unit(x))[0] == pytest.approx(x[0], rel=1e-6, abs=1e-6 * (p.high - p.low))
    assert p.check(x[0]) == x[0]


@given(ints(), st.data())
def test_every_integer_survives_exactly(p, data):
    x = data.draw(st.integers(int(p.low), int(p.high)))
    u = p.to_unit(np.array([x]))
    assert 0 <= u[0] <= 1
    assert p.from_unit(u)[0] == x
    assert p.check(x) == x and isinstance(p.check(float(x)), int)


@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=8, unique=True), st.data())
def test_options_survive_exactly(options, data):
    for p in (Ordinal(*sorted(options)), Choice(*map(str, options))):
        chosen = data.draw(st.lists(st.sampled_from(p.options), min_size=1))
        assert list(p.from_unit(p.to_unit(chosen))) == chosen


@pytest.mark.parametrize("p", [Int(1, 4), Ordinal(16, 32, 64), Choice("a", "b", "c")])
def test_discrete_values_get_equal_shares_ends_included(p):
    values, counts = np.unique(p.from_unit((np.arange(12_000) + 0.5) / 12_000), return_counts=True)
    assert len(values) == (4 if isinstance(p, Int) else 3)
    assert counts.min() == counts.max()


def test_scales_mean_what_they_say():
    assert Float(1e-4, 1.0, log=True).from_unit(0.5) == pytest.approx(1e-2)
    assert Float(0.9, 0.999, reverse=True).from_unit(0.5) == pytest.approx(0.99)
    assert Float(0, 10).from_unit(0.25) == 2.5
    assert Float(0, 10).to_unit([-5, 5, 50]).tolist() == [0, 0.5, 1]


# -------------------------------------------------------------------- conditions
unit_points = st.lists(st.lists(st.floats(0, 1), min_size=len(SPACE), max_size=len(SPACE)), min_size=1, max_size=20)


@given(unit_points)
def test_children_live_exactly_where_their_parents_say(points):
    t = SPACE.from_unit(np.array(points))
    assert (t.momentum.notna() == t.kind_of.isin(["b", "c"])).all()
    assert (t.steps.notna() == (t.kind_of == "c")).all()
    assert (t["clip"].notna() == (t.kind_of == "b")).all()
    assert (t.clip_norm.notna() == ((t.kind_of == "b") & (t["clip"] == "norm"))).all()
    assert t[["kind_of", "rate", "depth", "batch", "smoothing"]].notna().all(axis=None)
    assert np.array_equal(SPACE.active(t), t.notna().to_numpy())


@given(unit_points)
@settings(max_examples=50)
def test_tables_survive_the_unit_cube(points):
    t = SPACE.from_unit(np.array(points))
    u = SPACE.to_unit(t)
    assert u.shape == (len(t), len(SPACE))
    assert np.array_equal(np.isnan(u), t.isna().to_numpy())
    again = SPACE.from_unit(np.nan_to_num(u, nan=0.5))
    pd.testing.assert_frame_equal(again, t, check_exact=False, rtol=1e-6, atol=1e-9)


@given(unit_points)
@settings(max_examples=50)
def test_every_row_of_a_table_is_a_valid_configuration(points):
    t = SPACE.from_unit(np.array(points))
    pd.testing.assert_frame_equal(SPACE.table(t.to_dict("records")), t)


def test_tables_are_typed():
    t = SPACE.sample(8, seed=0)
    assert list(t.columns) == list(SPACE)
    assert {n: str(t[n].dtype) for n in ("rate", "steps", "batch", "depth")} == {
        "rate": "float64",
        "steps": "Int64",
        "batch": "Int64",
        "depth": "Int64",
    }


def test_conditions_on_the_task_leave_the_shared_table_whole():
    assert "smoothing" in SPACE.for_task("classification")
    assert "smoothing" not in SPACE.for_task("regression")
    assert SPACE.sample(4, seed=0).smoothing.notna().all()


def test_a_parent_must_stand_before_its_child():
    with pytest.raises(UsageError, match="hyperparameter child: its parent 'other' must stand before it"):
        Space(child=Float(0, 1, when=when("other", "a")), other=Choice("a", "b"))


def test_joining_keeps_the_order_and_the_right_hand_wins():
    joined = Space(a=Int(1, 2), b=Int(1, 2)) | Space(c=Int(1, 2), a=Int(5, 6))
    assert list(joined) == ["a", "b", "c"]
    assert joined["a"] == Int(5, 6)


# -------------------------------------------------------------------- samples
@pytest.mark.parametrize("space", [SPACE, Mlp.space], ids=["one-of-everything", "mlp"])
def test_sobol_prefixes_nest(space):
    large = space.sample(64, seed=3)
    for n in (1, 2, 16, 33):
        pd.testing.assert_frame_equal(space.sample(n, seed=3), large.head(n))


def test_samples_are_a_function_of_the_seed():
    for method in ("sobol", "random"):
        assert SPACE.sample(8, 1, method).equals(SPACE.sample(8, 1, method))
        assert not SPACE.sample(8, 1, method).equals(SPACE.sample(8, 2, method))


def test_sobol_fills_every_sixteenth_of_every_scale_evenly():
    rate = SPACE["rate"].to_unit(SPACE.sample(256, seed=0).rate)
    assert np.bincount((rate * 16).astype(int).clip(0, 15)).tolist() == [16] * 16


def test_samples_respect_every_bound():
    t = Mlp.space.sample(512, seed=0)
    for name, p in Mlp.space.items():
        values = t[name].dropna()
        if isinstance(p, Float):
            assert values.min() >= p.low and values.max() <= p.high
        else:
            assert set(values) == set(p.options)


def test_no_configurations_are_an_empty_table():
    assert SPACE.sample(0, seed=0).shape == (0, len(SPACE))
    assert SPACE.encode(SPACE.sample(0, seed=0)).shape == (0, len(SPACE.encoded_names))


# -------------------------------------------------------------------- encoding
def test_encoding_has_a_column_for_each_name():
    assert SPACE.encoded_names == [
        "kind_of=a",
        "kind_of=b",
        "kind_of=c",
        "rate",
        "momentum",
        "momentum?",
        "steps",
        "steps?",
        "clip=none",
        "clip=norm",
        "clip?",
        "clip_norm",
        "clip_norm?",
        "depth",
        "batch",
        "smoothing",
    ]
    x = SPACE.encode(SPACE.sample(32, seed=0))
    assert x.shape == (32, 16)
    assert x.dtype == np.float32
    assert np.isfinite(x).all() and x.min() >= 0 and x.max() <= 1


def test_encoding_of_known_rows():
    rows = [
        {"kind_of": "a", "rate": 1e-4, "depth": 1, "batch": 16, "smoothing": 0.0},
        {
            "kind_of": "b",
            "rate": 1.0,
            "momentum": 0.5,
            "clip": "norm",
            "clip_norm": 3.0,
            "depth": 4,
            "batch": 64,
            "smoothing": 0.2,
        },
    ]
    x = pd.DataFrame(SPACE.encode(SPACE.table(rows)), columns=SPACE.encoded_names)
    first, second = x.iloc[0], x.iloc[1]
    assert first[["kind_of=a", "kind_of=b", "kind_of=c", "rate", "smoothing"]].tolist() == [1, 0, 0, 0, 0]
    assert first[["momentum", "momentum?", "clip=none", "clip=norm", "clip?"]].tolist() == [0.5, 0, 0, 0, 0]
    assert second[["kind_of=b", "rate", "momentum", "momentum?", "clip=norm", "clip?"]].tolist() == [1, 1, 0, 1, 1, 1]
    assert second[["clip_norm", "clip_norm?", "steps", "steps?"]].tolist() == pytest.approx([1, 1, 0.5, 0])
    assert [first.batch, second.batch] == pytest.approx([1 / 6, 5 / 6])
    assert first.depth < 0.5 < second.depth


# -------------------------------------------------------------------- single configurations
def test_default_takes_declared_values_and_the_middle_elsewhere():
    assert SPACE.default() == {
        "kind_of": "b",
        "rate": 0.01,
        "momentum": pytest.approx(1 - math.sqrt(0.5 * 0.01)),
        "steps": None,
        "clip": "norm",
        "clip_norm": 0.5,
        "depth": 2,
        "batch": 32,
        "smoothing": 0.0,
    }


def test_default_of_the_mlp():
    default = Mlp.space.default()
    assert (default["optimizer"], default["learning_rate"], default["batch_size"]) == ("adamw", 1e-3, 64)
    assert (default["momentum"], default["beta1"], default["clip_norm"]) == (None, 0.9, None)


GOOD = {"kind_of": "a", "rate": 0.1, "depth": 2, "batch": 16, "smoothing": 0.1}


def test_validation_completes_with_what_is_inactive():
    inactive = {"momentum": None, "steps": None, "clip": None, "clip_norm": None}
    assert SPACE.validate(GOOD) == GOOD | inactive
    assert SPACE.validate(GOOD | {"momentum": 0.9}) == GOOD | inactive


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ratee": 1}, "unknown hyperparameter 'ratee'; known: kind_of, rate, "),
        ({"rate": None}, "hyperparameter rate is missing"),
        ({"rate": float("nan")}, "hyperparameter rate is missing"),
        ({"rate": "fast"}, "hyperparameter rate: 'fast' is not a number"),
        ({"rate": True}, "hyperparameter rate: True is not a number"),
        ({"rate": float("inf")}, "hyperparameter rate: inf is not a number"),
        ({"rate": [0.1]}, "hyperparameter rate: "),
        ({"rate": 2.0}, "hyperparameter rate: 2.0 lies outside [0.0001, 1.0]"),
        ({"depth": 2.5}, "hyperparameter depth: 2.5 is not an integer"),
        ({"depth": 9}, "hyperparameter depth: 9 lies outside [1, 4]"),
        ({"batch": 48}, "hyperparameter batch: 48 is none of 16, 32, 64"),
        ({"batch": "16"}, "hyperparameter batch: '16' is none of 16, 32, 64"),
        ({"kind_of": "d"}, "hyperparameter kind_of: 'd' is none of a, b, c"),
        ({"kind_of": "c"}, "hyperparameter momentum is missing"),
    ],
)
def test_validation_names_what_is_wrong(change, message):
    with pytest.raises(UsageError) as caught:
        SPACE.validate(GOOD | change)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_tables_that_do_not_fit_are_named():
    t = SPACE.sample(4, seed=0)
    with pytest.raises(UsageError, match="configuration table has no column 'rate'"):
        SPACE.to_unit(t.drop(columns="rate"))
    with pytest.raises(UsageError, match="hyperparameter rate is not numeric"):
        SPACE.to_unit(t.assign(rate="fast"))
    with pytest.raises(UsageError, match="'z' is none of a, b, c"):
        SPACE.to_unit(t.assign(kind_of="z"))
    with pytest.raises(UsageError, match=r"expected points of shape \[n, 9\], got \[4, 3\]"):
        SPACE.from_unit(np.zeros((4, 3)))
    with pytest.raises(UsageError, match="unknown sampling method 'halton'; known: sobol, random"):
        SPACE.sample(4, 0, "halton")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Float(1, 1), "low 1 is not under high 1"),
        (lambda: Float("0", "1"), "bounds '0' and '1' are not finite numbers"),
        (lambda: Float(0, math.inf), "bounds 0 and inf are not finite numbers"),
        (lambda: Float(0, 1, log=True), "a log scale needs low > 0"),
        (lambda: Int(0, 8, log=True), "a log scale needs low > 0"),
        (lambda: Float(0, 1, reverse=True), "a reverse scale needs high < 1"),
        (lambda: Choice("a"), "Choice needs at least two options"),
        (lambda: Ordinal(2, 1), "Ordinal needs at least two increasing options"),
        (lambda: Ordinal(1, 1), "Ordinal needs at least two increasing options"),
    ],
)
def test_impossible_hyperparameters_are_refused(build, message):
    with pytest.raises(UsageError, match=message):
        build()


# -------------------------------------------------------------------- exchange
@pytest.mark.parametrize("space", [SPACE, Mlp.space], ids=["one-of-everything", "mlp"])
def test_json_gives_the_same_space_back(space):
    import json

    again = Space.from_json(json.loads(json.dumps(space.to_json())))
    assert again == space
    assert list(again) == list(space)
    assert hash(again) == hash(space)
    assert again.sample(16, seed=0).equals(space.sample(16, seed=0))


@pytest.mark.parametrize(
    "change",
    [
        {"type": "complex"},
        {"low": None},
        {"low": "a", "high": "b"},
        {"when": {"parent": "x"}},
        {"when": "x"},
    ],
)
def test_malformed_descriptions_are_named(change):
    description = Space(x=Choice("a", "b"), rate=Float(0, 1)).to_json()
    description["rate"] |= change
    with pytest.raises(UsageError, match=r"^space description: hyperparameter 'rate' is malformed"):
        Space.from_json(description)
    with pytest.raises(UsageError, match=r"^space description: hyperparameter 'rate' is malformed"):
        Space.from_json({"rate": 3})


def test_a_description_that_is_no_object_is_named():
    with pytest.raises(UsageError, match="expected an object of hyperparameters, got list"):
        Space.from_json([1])


def test_rows_that_differ_in_the_last_digit_alone_are_one():
    from metabench.metatrain import row_keys

    drawn = np.array([8.539862703089082e-05, 0.5, 1.0, np.nan])
    one = pd.DataFrame({"x": drawn, "n": [1, 2, 3, 4]})
    other = pd.DataFrame({"x": np.nextafter(drawn, 1.0), "n": [1.0, 2.0, 3.0, 4.0]})
    assert row_keys(one, ["x", "n"]) == row_keys(other, ["x", "n"])
    assert row_keys(one, ["x", "n"]) != row_keys(one.assign(x=drawn * (1 + 1e-8)), ["x", "n"])
