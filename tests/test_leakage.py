"""A spy on the board: a method that keeps everything it is handed, and what it holds in the end."""

import types
from dataclasses import fields, is_dataclass

import numpy as np
import pandas as pd
import pytest
from fakes import FakeTable, board_for

from metabench.evaluation import evaluate
from metabench.search.base import Searcher
from metabench.testing.planted import SPACE, PlantedFamily

HANDED: list = []


class Spy(Searcher):
    """Keeps the source, every problem and every history, and goes through the pool in order."""

    name = "spy"

    def fit(self, source):
        HANDED.append(source)
        return self

    def begin(self):
        HANDED.append(self.__dict__)

    def ask(self, history):
        HANDED.append((self.problem.task.task_id, self.seed, history))
        return int(history.untried(len(self.problem.candidates))[0])


def reachable(root):
    """Every object that attributes, items and cells of closures lead to."""
    seen, queue = {}, [root]
    while queue:
        thing = queue.pop()
        if id(thing) in seen or isinstance(thing, type | types.ModuleType):
            continue
        seen[id(thing)] = thing
        if isinstance(thing, dict):
            queue += [*thing, *thing.values()]
        elif isinstance(thing, list | tuple | set | frozenset):
            queue += thing
        elif isinstance(thing, pd.DataFrame):
            queue += [thing[name].to_numpy() for name in thing] + [thing.index.to_numpy(), thing.attrs]
        elif isinstance(thing, np.ndarray):
            queue += thing.ravel().tolist() if thing.dtype == object else []
            queue += [thing.base] if thing.base is not None else []
        elif isinstance(thing, types.FunctionType | types.MethodType):
            function = getattr(thing, "__func__", thing)
            queue += [cell.cell_contents for cell in function.__closure__ or ()]
        else:
            queue += list(getattr(thing, "__dict__", {}).values())
            queue += [getattr(thing, f.name) for f in fields(thing)] if is_dataclass(thing) else []
    return list(seen.values())


def numbers(things):
    """All finite floats among objects, those in arrays too."""
    arrays = [t.ravel() for t in things if isinstance(t, np.ndarray) and t.dtype.kind == "f"]
    single = [t for t in things if isinstance(t, float | np.floating)]
    values = np.concatenate([*arrays, np.array(single, dtype=float)]).astype(float)
    return set(values[np.isfinite(values)].tolist())


@pytest.fixture
def table():
    """Scores that are all different, so that one met somewhere can only come from its cell."""
    family = PlantedFamily()
    rng = np.random.default_rng(0)
    infos = [family.info(t) for t in range(12)]
    scores = 10 + rng.random((2, 12, 48, 2))
    return FakeTable(scores[0], scores[1], infos, SPACE.sample(48, 0))


@pytest.mark.parametrize("starts", [("own",), ("random5",), ("portfolio3",)])
def test_nothing_of_meta_test_reaches_a_method_but_what_it_asked_for(table, starts):
    HANDED.clear()
    board = board_for(table, budget=8, starts=starts)
    evaluate(Spy, board, table)
    held_out = board.tasks(table, "test")
    sources = [t for part in ("train", "valid") for t in board.tasks(table, part)]
    given = {"own": 0, "random5": 5, "portfolio3": 3}[starts[0]]

    asked = [h for h in HANDED if isinstance(h, tuple)]
    assert len(asked) == len(held_out) * board.seeds * (8 - given)
    observed = set()
    for task_id, seed, history in asked:
        own = table.final(board.workload, [task_id])[0, :, seed % 2]
        assert history.scores == own[history.candidates].tolist()  # raw values, of its own trials and seed
        observed |= set(history.scores)

    everything = reachable(HANDED)
    found = numbers(everything)
    assert set(table.final(board.workload, sources).ravel().tolist()) <= found  # the spy does see what there is
    valid = set(table.final(board.workload, held_out).ravel().tolist())
    assert found & valid == observed
    every = board.tasks(table, "train") + board.tasks(table, "valid") + held_out
    assert not found & set(table.final(board.workload, every, "test_score").ravel().tolist())
    texts = {t for t in everything if isinstance(t, str)}
    spied = {t for h in HANDED if not isinstance(h, tuple | dict) for t in reachable(h) if isinstance(t, str)}
    assert set(held_out) <= texts and not set(held_out) & spied  # what it is fitted on knows no held-out task

    final = table.final(board.workload, held_out)
    normalised = (final - final.min(axis=1, keepdims=True)) / np.ptp(final, axis=1)[:, None]
    inside = (normalised > 0) & (normalised < 1)
    assert not found & set(normalised[inside].tolist())


def test_the_spy_finds_a_leak(table):
    """What is hidden in an attribute of a nested object, a closure or a view of an array is found."""
    secret = np.array([[1.5, 2.5]])[:, :1]

    def function():
        return secret

    for hiding in ({"a": [function]}, (secret,), [types.SimpleNamespace(x={"y": secret})]):
        assert 2.5 in numbers(reachable(hiding))
