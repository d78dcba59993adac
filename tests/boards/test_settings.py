"""Settings are chosen on meta-valid alone, by what they do there, and the defaults stay when the rest is chance."""

import json
from dataclasses import replace

import numpy as np
import pytest
from fakes import CurveTable, FakeTable, board_for

from metabench import registry
from metabench.boards.board import board_names, load_board
from metabench.boards.settings import choose_settings, keep, validation_board
from metabench.errors import MetabenchError, UsageError
from metabench.search.base import Searcher


class Skilled(Searcher):
    """Walks down the best configurations of the source; ``skill`` is the share of them that it gets right."""

    name = "skilled"
    grid = {"skill": (0.0, 0.5, 1.0), "colour": ("red", "blue")}  # noqa: RUF012

    def __init__(self, skill: float = 0.5, colour: str = "red"):
        self.skill, self.colour = skill, colour

    def fit(self, source):
        self.best_ = np.nan_to_num(source.normal_scores).mean(axis=0)
        return self

    def begin(self):
        noise = self.rng.normal(size=len(self.best_))
        self._order = np.argsort(-(self.skill * self.best_ + (1 - self.skill) * noise), kind="stable")

    def ask(self, history):
        return int(next(c for c in self._order if c not in history))


@pytest.fixture
def known(monkeypatch):
    load, names = registry.load, registry.names
    monkeypatch.setattr(registry, "names", lambda kind: [*names(kind), *(["skilled"] if kind == "metamodels" else [])])
    monkeypatch.setattr(registry, "load", lambda kind, name: Skilled if name == "skilled" else load(kind, name))


class Guarded(FakeTable):
    """A table whose meta-test tasks must not be touched."""

    forbidden: tuple[str, ...] = ()

    def _open(self, task_ids):
        assert not set(task_ids) & set(self.forbidden), "meta-test was read"

    def final(self, workload, task_ids, series="valid_score"):
        self._open(task_ids)
        return super().final(workload, task_ids, series)

    def task_info(self, task_id):
        self._open([task_id])
        return super().task_info(task_id)

    def meta_train(self, workload, train_ids, valid_ids=()):
        self._open([*train_ids, *valid_ids])
        return super().meta_train(workload, train_ids, valid_ids)


@pytest.fixture
def table():
    return Guarded.planted(tasks=24, configs=96, seeds=2)


@pytest.fixture
def board(table):
    board = board_for(table, budget=20, train=8, valid=8)
    table.forbidden = tuple(board.tasks(table, "test"))
    return board


def test_what_helps_is_chosen_and_meta_test_is_not_read(known, table, board):
    assert len(table.forbidden) == 8
    record = choose_settings("skilled", board, table, trials=20)
    assert record.chosen["skill"] == 1.0 and record.defaults == {"skill": 0.5, "colour": "red"}
    assert record.tasks == board.tasks(table, "valid") and record.digest == board.digest
    assert record.tried[0].settings == record.defaults and len(record.tried) == 6
    assert record.searches == 6 * 8 * board.seeds
    by_skill = {t.settings["skill"]: t.regret for t in record.tried if t.settings["colour"] == "red"}
    assert by_skill[1.0] < by_skill[0.5] < by_skill[0.0]
    best = min(record.tried, key=lambda t: t.regret)
    assert best.difference < -best.error < 0
    assert best.difference == pytest.approx(best.regret - record.tried[0].regret, abs=2e-4)


def test_defaults_stay_when_the_rest_is_chance(known, table, board, monkeypatch):
    monkeypatch.setattr(Skilled, "grid", {"colour": ("red", "blue", "green")})
    assert choose_settings("skilled", board, table, trials=10).chosen == {"colour": "red"}


def test_a_record_is_kept_and_searches_are_not_made_twice(known, table, board, tmp_path, monkeypatch):
    record = choose_settings("skilled", board, table, trials=10, store=tmp_path / "cells")
    monkeypatch.setattr(Skilled, "ask", lambda self, history: 1 / 0)
    assert choose_settings("skilled", board, table, trials=10, store=tmp_path / "cells") == record
    path = keep(record, tmp_path / "settings")
    assert path.name == "skilled.json" and json.loads(path.read_text())["chosen"] == record.chosen
    (tmp_path / "file").write_text("")
    with pytest.raises(MetabenchError, match="cannot be written"):
        keep(record, tmp_path / "file")


def test_the_inner_board_has_no_part_of_meta_test(table, board):
    inner = validation_board(board, 5)
    families = {family for part in inner.split.values() for family in part}
    assert not families & set(board.split["test"]) and inner.split["test"] == board.split["valid"]
    assert inner.marks == (1, 5) and inner.starts == ("own",)


def test_where_epochs_are_counted_methods_that_train_in_parts_are_judged_over_epochs():
    table = CurveTable.rising(tasks=7, configs=32, seeds=1, checkpoints=(1, 5, 25))
    board = board_for(table, budget=5, train=3, valid=3, track="multi-fidelity", starts=("own",))
    inner = validation_board(board, 50)
    assert inner.by_epochs and inner.budget == 5 and inner.marks == (1, 2, 3, 4, 5)
    record = choose_settings("curve", board, table)
    assert (record.trials, record.searches) == (5, len(record.tried) * 3 * board.seeds)
    assert all(0 <= t.at["regret@5"] <= t.at["regret@1"] <= 1 for t in record.tried)
    regrets = {t.settings["charge"]: t.regret for t in record.tried}
    assert len(set(regrets.values())) > 1


def test_mistakes_are_told(table, board):
    with pytest.raises(UsageError, match="'random' declares no grid"):
        choose_settings("random", board, table)
    with pytest.raises(UsageError, match="did you mean 'portfolio'"):
        choose_settings("portfolo", board, table)
    bare = replace(board, split={**board.split, "valid": ()})
    with pytest.raises(UsageError, match=r"split\.valid is empty"):
        choose_settings("portfolio", bare, table)


def test_every_declared_grid_names_settings_and_holds_the_default():
    for name in registry.names("metamodels"):
        cls = registry.load("metamodels", name)
        for setting, values in getattr(cls, "grid", {}).items():
            assert getattr(cls(), setting) in values, f"{name}.{setting}"
            assert len(values) > 1


RECORDS = [path for name in board_names() for path in load_board(name).path.parent.glob("v*/settings/*.json")]


@pytest.mark.parametrize("path", sorted(RECORDS), ids=lambda p: p.stem)
def test_what_was_chosen_is_what_methods_do(path):
    """The records that lie beside the board name the defaults that the methods have."""
    record = json.loads(path.read_text())
    method = registry.create("metamodels", record["method"])
    assert {name: getattr(method, name) for name in record["chosen"]} == record["chosen"]
    assert record["digest"] == load_board(path.parents[1]).digest
