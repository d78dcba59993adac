"""The search loop: what a method is told, what of it is refused, and whose time counts."""

import time

import numpy as np
import pytest

from metabench.errors import MetabenchError
from metabench.search import loop
from metabench.search.base import History, Searcher
from metabench.testing.planted import SPACE, PlantedFamily

FAMILY = PlantedFamily(seed=0)


def problem(budget=6):
    return FAMILY.problem(0, SPACE.sample(12, seed=1), budget)[0]


class Next(Searcher):
    """The first untried position; it spoils every history that it is given."""

    name = "next"

    def ask(self, history: History) -> int:
        proposal = int(history.untried(12)[0])
        history.candidates.clear()
        history.scores[:] = [0.0] * len(history.scores)
        return proposal


class Says(Searcher):
    """Proposes what it was made with."""

    name = "says"

    def __init__(self, *proposals):
        self.proposals = proposals

    def ask(self, history):
        return self.proposals[len(history)]


def test_what_a_method_does_to_a_history_does_not_reach_the_record():
    found = loop.search(Next(), problem(), 0, float, given=[3, 1])
    assert found.tried == [3, 1, 0, 2, 4, 5] and found.scores == [3.0, 1.0, 0.0, 2.0, 4.0, 5.0]
    assert found.overhead[:2] == [0.0, 0.0] and len(found.overhead) == 6


def test_trials_in_all_may_be_fewer_than_the_budget():
    assert loop.search(Next(), problem(), 0, float, trials=2).tried == [0, 1]
    assert loop.search(Next(), problem(), 0, float, given=[5, 6, 7], trials=2).tried == [5, 6]


@pytest.mark.parametrize(
    ("proposals", "why"),
    [
        ((0, 0), r"trial 2: proposed 0 again \(first at trial 1\)"),
        ((12,), "trial 1: proposed 12, outside the pool 0 … 11"),
        ((-1,), "trial 1: proposed -1, outside the pool"),
        ((0.5,), "trial 1: proposed 0.5, which is no pool position"),
    ],
)
def test_a_wrong_proposal_is_an_error(proposals, why):
    with pytest.raises(MetabenchError, match=why):
        loop.search(Says(*proposals), problem(), 0, float)


def test_numbers_of_numpy_are_positions():
    found = loop.search(Says(*np.arange(6)), problem(), 0, float)
    assert found.tried == [0, 1, 2, 3, 4, 5] and all(type(c) is int for c in found.tried)


def test_the_time_of_scores_is_not_the_methods():
    def slow(candidate):
        time.sleep(0.05)
        return 0.0

    assert sum(loop.search(Next(), problem(4), 0, slow).overhead) < 0.1
