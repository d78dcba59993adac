"""Models whose fits would take the same course share one; all others are fitted for themselves."""

import numpy as np
import pytest
from fakes import FakeTable, board_for

from metabench import registry
from metabench.boards.fits import shared_fits
from metabench.boards.settings import validation_board
from metabench.evaluation import evaluate
from metabench.search.base import Searcher


class Branching(Searcher):
    """``depth`` counts only where ``kind`` is a tree; ``explore`` counts in searching alone."""

    name = "branching"
    fits = 0

    def __init__(self, kind="tree", depth=3, explore=0.1, scale=None):
        self.kind, self.depth, self.explore, self.scale = kind, depth, explore, scale

    def fit(self, source):
        type(self).fits += 1
        self.state_ = np.array([source, self.depth if self.kind == "tree" else 0])
        return self


class All(Branching):
    """Looks at its attributes all at once."""

    def fit(self, source):
        super().fit(source)
        self.seen_ = dict(vars(self))
        return self


def made(cls, *settings):
    """States after fitting with each of the settings, and the number of fits that this took."""
    cls.fits = 0
    with shared_fits(cls):
        states = [cls(**s).fit(7).state_.tolist() for s in settings]
    return states, cls.fits


def test_settings_that_a_fit_does_not_read_share_it():
    tree, line = {"kind": "tree"}, {"kind": "linear"}
    states, fits = made(Branching, tree, tree | {"explore": 0.5}, tree | {"depth": 5}, line, line | {"depth": 5})
    assert states == [[7, 3], [7, 3], [7, 5], [7, 0], [7, 0]] and fits == 3


def test_a_shared_model_keeps_its_own_settings_and_arrays():
    with shared_fits(Branching):
        one, two = Branching().fit(7), Branching(explore=0.5).fit(7)
    assert (one.explore, two.explore) == (0.1, 0.5)
    one.state_[0] = 0
    assert two.state_[0] == 7


def test_who_reads_everything_shares_nothing_and_only_plain_values_are_compared():
    assert made(All, {"explore": 0.1}, {"explore": 0.5})[1] == 2

    class Scaled(Branching):
        def fit(self, source):
            assert self.scale is not None
            return super().fit(source)

    assert made(Scaled, {"scale": [1]}, {"scale": [1]})[1] == 2
    assert made(Scaled, {"scale": 1}, {"scale": True}, {"scale": 1, "explore": 0.5})[1] == 2


@pytest.mark.parametrize("cls", [Branching, All])
def test_the_class_is_as_before_afterwards(cls):
    before = dict(vars(cls))
    with pytest.raises(ZeroDivisionError), shared_fits(cls):
        raise ZeroDivisionError
    assert dict(vars(cls)) == before


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
