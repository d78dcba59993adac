"""Stored results carried over to the present keys: recomputed first, refused when one differs."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from metabench.baselines.random import Random
from metabench.boards.board import load_board
from metabench.cli.boards import leaderboard
from metabench.errors import MetabenchError, UsageError
from metabench.evaluation import plan, resolve
from metabench.table import load_table
from metabench.workflows import rekey
from metabench.workflows.rekeying import _Predictions, _Searches

ROOT = Path(__file__).parents[2]
#: a board of each kind: cheap methods, and the file of its results
KINDS = {
    "search/v1": (["random", "default", "portfolio"], "traces.parquet"),
    "multi-fidelity/v1": (["random", "asha"], "traces.parquet"),
    "live/v1": (["random", "default"], "traces.parquet"),
    "workloads/v1": (["random"], "traces.parquet"),
    "predict/v1": (["empirical_gp"], "predictions.parquet"),
}


def copied(tmp_path, which, methods=None):
    """A board's folder with the results of some methods alone, under keys of no meaning; the file of the results."""
    chosen, file = KINDS[which]
    folder = tmp_path / which
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "leaderboards" / which / "board.toml", folder)
    stored = pq.read_table(ROOT / "leaderboards" / which / file)
    stored = stored.filter(pc.is_in(stored["method"], pa.array(methods or chosen)))
    at = stored.schema.get_field_index("cell")
    stored = stored.set_column(at, stored.schema.field(at), pa.array(["old"] * len(stored), pa.string()))
    pq.write_table(stored, folder / file)
    return folder / file


def rewritten(path, **columns):
    stored = pq.read_table(path)
    for name, values in columns.items():
        at = stored.schema.get_field_index(name)
        stored = stored.set_column(at, stored.schema.field(at), pa.array(values, stored.schema.field(at).type))
    pq.write_table(stored, path)


@pytest.mark.parametrize("which", KINDS)
def test_cells_get_the_keys_that_an_evaluation_would_give_them(tmp_path, which):
    path = copied(tmp_path, which)
    before = pq.read_table(path)
    done = rekey(str(path.parent), 3, other_processor=True)
    after = pq.read_table(path)
    assert (done.path, done.cells, done.changed, done.verified) == (path, len(before), len(before), 3)
    rest = [repr(t.drop_columns(["cell"]).to_pylist()) for t in (after, before)]
    assert rest[0] == rest[1]  # text, since diverged trials are NaN
    assert after.schema.equals(before.schema, check_metadata=True)
    keys = after["cell"].to_pylist()
    assert "old" not in keys
    if which != "predict/v1":
        board = load_board(path.parent)
        groups = plan(resolve(KINDS[which][0]), board, load_table(board.dataset, board.dataset_version))
        assert set(keys) == {key for group in groups for key in group.keys.values()}
    again = path.stat().st_mtime_ns
    assert rekey(str(path.parent), 1, other_processor=True).changed == 0 and path.stat().st_mtime_ns == again
    assert [p.name for p in path.parent.iterdir() if p.name.startswith(".")] == []


def test_a_board_with_a_cell_that_differs_is_left_alone_and_others_may_be_chosen(tmp_path):
    path = copied(tmp_path, "search/v1", ["random", "default"])
    tried = [
        list(reversed(c)) if m == "random" else c for m, c in zip(*columns(path, "method", "config_ids"), strict=True)
    ]
    rewritten(path, config_ids=tried)
    before = path.read_bytes()
    with pytest.raises(MetabenchError) as caught:
        rekey(str(path.parent), 40)
    line = str(caught.value)
    assert line.startswith("board search: the cell of random on task ") and "\n" not in line
    assert line.endswith(" is another now; nothing was changed; --method carries others over")
    assert path.read_bytes() == before
    done = rekey(str(path.parent), 5, ["default"])
    assert (done.cells, done.verified) == (150, 5) and done.exact == 5
    keys = dict.fromkeys(zip(*columns(path, "method", "cell"), strict=True))
    assert [m for m, key in keys if key == "old"] == ["random"] and len(keys) == 151


def test_a_method_that_proposes_otherwise_is_refused(tmp_path, monkeypatch):
    path = copied(tmp_path, "search/v1", ["random"])
    monkeypatch.setattr(Random, "ask", lambda self, history: int(history.untried(len(self.problem.candidates))[0]))
    with pytest.raises(MetabenchError, match=r"the cell of random .* is another now; nothing was changed$"):
        rekey(str(path.parent), 1, other_processor=True)


def test_results_of_the_previous_code_may_be_compared_instead(tmp_path):
    path = copied(tmp_path, "search/v1", ["random", "default"])
    made = tmp_path / "made.parquet"
    here = pq.read_table(path)
    pq.write_table(here.filter(pc.equal(here["method"], "random")).slice(0, 3), made)
    rewritten(path, config_ids=[list(reversed(c)) for c in columns(path, "config_ids")[0]])  # as on another processor
    with pytest.raises(MetabenchError, match=r"made\.parquet holds no cell of default; nothing was changed"):
        rekey(str(path.parent), 3, against=made)
    done = rekey(str(path.parent), 3, ["random"], against=made)
    assert (done.cells, done.changed, done.verified, done.exact) == (150, 150, 3, 3)
    made.write_bytes(b"none")
    with pytest.raises(MetabenchError, match=r"made\.parquet is no file of such results: "):
        rekey(str(path.parent), 3, ["random"], against=made)


def test_what_cannot_be_checked_is_refused_in_one_line(tmp_path):
    path = copied(tmp_path, "search/v1", ["random", "default"])
    with pytest.raises(UsageError, match="unknown method on board search 'randon'; did you mean 'random'"):
        rekey(str(path.parent), 1, ["randon"])
    rewritten(path, method=["mine" if m == "default" else m for m in columns(path, "method")[0]])
    with pytest.raises(UsageError, match=r"board search: unknown method 'mine'.*--method"):
        rekey(str(path.parent), 1)
    rewritten(path, task_id=["mlp-gone"] * 300)
    with pytest.raises(
        MetabenchError, match="rules have no cell of random on task mlp-gone, start own, seed 0; nothing was"
    ):
        rekey(str(path.parent), 1, ["random"])
    path.unlink()
    with pytest.raises(MetabenchError, match=r"holds no traces\.parquet; run `metabench evaluate"):
        rekey(str(path.parent), 1)


def test_rounding_of_another_processor_is_told_from_another_proposal():
    config = json.dumps({"rate": 0.9694311405318511, "width": 7})
    rounded = json.dumps({"rate": 0.969431140531851, "width": 7})
    assert _Searches.near([[config]], [[rounded]]) and not _Searches.near([[config]], [[config.replace("7}", "8}")]])
    late = list(range(12))
    assert _Searches.near([late], [[*late[:10], 99, 11]]) and not _Searches.near([late], [[*late[:9], 99, 10, 11]])
    assert _Predictions.near([[0.5, 1.0]], [[0.5004, 1.0]]) and not _Predictions.near([[0.5, 1.0]], [[0.6, 1.0]])
    assert not _Predictions.near([[0.5]], [[0.5, 1.0]])


def test_the_command_tells_what_was_carried_over(tmp_path):
    path = copied(tmp_path, "search/v1", ["random"])
    run = CliRunner().invoke(leaderboard, ["rekey", "--board", str(path.parent), "--verify", "2", "--json"])
    told = json.loads(run.stdout[run.stdout.index("{") :])
    row = {"file": str(path), "cells": 150, "new_keys": 150, "computed_again": 2, "same_to_the_bit": 2}
    assert told["rows"] == [row] and told["refused"] == []


def columns(path, *names):
    return [pq.read_table(path)[name].to_pylist() for name in names]
