"""Models whose fits take the same course share one; all others are fitted for themselves."""

import copy
import inspect
from dataclasses import replace

import methods
import numpy as np
import pytest
from fakes import FakeTable, board_for

from metabench import registry
from metabench.boards.fits import shared_fits
from metabench.boards.settings import validation_board
from metabench.evaluation import evaluate
from metabench.search.base import Searcher
from metabench.testing.planted import synthetic_source


class Declaring(Searcher):
    """``depth`` counts in the fit, ``explore`` in searching alone."""

    name = "declaring"
    fit_settings = ("depth",)
    fits = 0

    def __init__(self, depth=3, explore=0.1):
        self.depth, self.explore = depth, explore

    def fit(self, source):
        type(self).fits += 1
        self.state_ = np.array([source, self.depth])
        return self


class Silent(Declaring):
    """Inherits a fit, and says nothing of it."""


def made(cls, *settings):
    """States after fitting with each of the settings, and the number of fits that this took."""
    cls.fits = 0
    with shared_fits(cls):
        states = [cls(**s).fit(7).state_.tolist() for s in settings]
    return states, cls.fits


def test_settings_that_count_in_searching_alone_share_a_fit():
    states, fits = made(Declaring, {}, {"explore": 0.5}, {"depth": 5}, {"depth": 5, "explore": 0.5}, {"depth": 3})
    assert states == [[7, 3], [7, 3], [7, 5], [7, 5], [7, 3]] and fits == 2


def test_a_shared_model_keeps_its_own_settings_and_arrays():
    with shared_fits(Declaring):
        one, two = Declaring().fit(7), Declaring(explore=0.5).fit(7)
    assert (one.explore, two.explore) == (0.1, 0.5)
    one.state_[0] = 0
    assert two.state_[0] == 7


def test_who_declares_nothing_shares_with_its_like_alone_and_only_plain_values_are_compared():
    assert made(Silent, {}, {"explore": 0.5}, {})[1] == 2
    assert made(Declaring, {"depth": 1}, {"depth": True}, {"depth": 1.0})[1] == 3

    class Listing(Declaring):
        fit_settings = ("depth", "explore")

    assert made(Listing, {"explore": [1]}, {"explore": [1]})[1] == 2


@pytest.mark.parametrize("cls", [Declaring, Silent])
def test_the_class_is_as_before_afterwards(cls):
    before = dict(vars(cls))
    with pytest.raises(ZeroDivisionError), shared_fits(cls):
        raise ZeroDivisionError
    assert dict(vars(cls)) == before


DECLARED = [n for n in registry.builtin("metamodels") if "fit_settings" in vars(registry.load("metamodels", n))]


def other(cls, name: str, value):
    """Another value of a setting."""
    options = [v for v in getattr(cls, "grid", {}).get(name, ()) if v != value]
    return options[0] if options else not value if isinstance(value, bool) else value * 2 if value else type(value)(1)


@pytest.mark.parametrize("name", DECLARED)
def test_no_setting_but_the_declared_ones_changes_a_fit(name):
    """What is saved of a model is what its fit made; cells of the table that were not run are a way of their own."""
    cls, model = registry.load("metamodels", name), methods.method(name)
    known = list(inspect.signature(cls).parameters)
    assert set(cls.fit_settings) < set(known)
    whole = synthetic_source(5, 16, seed=1)
    source = replace(whole, observed=np.arange(whole.scores.size).reshape(whole.scores.shape) % 11 > 1)
    changed = copy.deepcopy(model)
    vars(changed).update({n: other(cls, n, getattr(model, n)) for n in known if n not in cls.fit_settings})
    first, second = model.fit(source), changed.fit(source)
    for kept in (*cls.arrays, *cls.facts):
        np.testing.assert_equal(getattr(first, kept), getattr(second, kept), kept)
    np.testing.assert_equal(first.source_.length_scales, second.source_.length_scales)


@pytest.mark.parametrize("name", ["reptile", "deep_kernel"])
def test_built_in_ones_search_as_if_fitted_for_themselves(name, monkeypatch):
    """``adapt`` counts in searching: the second model takes the first one's weights, and proposes what its own would."""
    table = FakeTable.planted(tasks=6, configs=24, seeds=1)
    board = validation_board(board_for(table, budget=8, seeds=1, train=2, valid=2, starts=("own",)), 8)
    cls = registry.load("metamodels", name)
    models = [cls(epochs=10, adapt=steps) for steps in (0, 10)]
    first, alone = (evaluate(model, board, table) for model in models)
    fits, plain = [], cls.learn
    monkeypatch.setattr(cls, "learn", lambda self, *args: (fits.append(1), plain(self, *args)))
    with shared_fits(cls):
        shared = [evaluate(model, board, table) for model in models]
    assert len(fits) == 1
    assert [traces["config_ids"] for traces in shared] == [first["config_ids"], alone["config_ids"]]
    assert first["config_ids"] != alone["config_ids"]
