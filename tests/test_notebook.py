"""What a researcher does at a prompt: evaluate a class, see it beside the stored methods, as a table and a figure."""

import shutil
import xml.etree.ElementTree as ET

import pyarrow.parquet as pq
import pytest
from fakes import FakeTable, First, Last, board_for

import metabench as mb
from metabench.boards.board import load_board
from metabench.errors import UsageError


@pytest.fixture
def board(tmp_path):
    """The few-shot board, with a random search published on it."""
    folder = tmp_path / "few-shot/v1"
    folder.mkdir(parents=True)
    shutil.copy(load_board("few-shot", 1).path / "board.toml", folder)
    board = load_board(folder)
    pq.write_table(mb.evaluate("random", board), folder / "traces.parquet")
    return board


def test_a_class_of_ones_own_beside_what_is_published(board):
    outcome = mb.score(mb.evaluate([Last, First], board), resamples=50)
    assert outcome.methods == ("last", "first", "random")
    ranking = outcome.ranking()
    assert set(ranking.index) == {"last", "first", "random"} and ranking["regret@5"].is_monotonic_increasing
    assert set(ranking.index[ranking["own"]]) == {"last", "first"}
    svg = outcome.figure()._repr_svg_()
    ET.fromstring(svg)
    assert all(f">{name}<" in svg for name in outcome.methods) and "nan" not in svg.lower()
    assert outcome._repr_html_().startswith("<table") and svg in outcome._repr_html_()
    alone = mb.score(mb.evaluate(Last, board), beside=False, resamples=20)
    assert set(alone.summary["method"]) == {"last"}


def test_a_published_method_is_replaced_by_ones_own_of_that_name(board):
    outcome = mb.score(mb.evaluate("random", board), resamples=20)
    assert outcome.methods == ("random",)


def test_a_profile_is_scored_under_its_own_rules(board):
    outcome = mb.score(mb.evaluate(Last, board, profile="lite"), resamples=20)
    assert outcome.methods == ("last",)  # what is published was made under other rules


def test_a_table_and_a_board_of_ones_own(tmp_path):
    table = FakeTable.planted(tasks=12, configs=64)
    made = board_for(table, budget=8)
    traces = mb.evaluate([Last, First], made, table)
    assert mb.score(traces, table, made, resamples=20).methods == ("last", "first")
    with pytest.raises(UsageError, match="give the table and the board"):
        mb.score(traces)
