"""Rows: stable identities, rounding, curves in and Parquet bytes out."""

import hashlib
import io

import numpy as np
import pyarrow.parquet as pq
import pytest
from table_samples import curves, runs_of

from metabench import schema
from metabench.errors import MetabenchError
from metabench.table import rows


def test_run_ids_are_fixed_for_ever():
    text = b"mlp-iris/7/1/1"
    expected = int.from_bytes(hashlib.sha256(text).digest()[:8], "big", signed=True)
    assert rows.run_id("mlp-iris", 7, 1, numerics="1") == expected == -2234513904852396473
    many = rows.run_ids(["mlp-iris", "mlp-wine"], [7, 7], [1, 1], "1")
    assert many.dtype == np.int64
    assert many.tolist() == [expected, rows.run_id("mlp-wine", 7, 1, "1")]


def test_rounding_to_significant_bits():
    assert rows.significant(np.float32([1, 1.5, -3, 0, np.inf]), 2).tolist() == [1, 1.5, -3, 0, np.inf]
    # two bits: 1, 1.5, 2, 3, 4; ties go to the even neighbour
    assert rows.significant(np.float32([1.2, 1.25, 1.75, 2.6, 3.6]), 2).tolist() == [1, 1, 2, 3, 4]
    assert np.isnan(rows.significant(np.float32([np.nan]), 8)).all()
    x = np.random.default_rng(0).lognormal(0, 5, 10_000).astype(np.float32)
    y = rows.significant(x, 16)
    assert (np.abs(y - x) <= x * 2.0**-16).all()
    assert (rows.significant(y, 16) == y).all()
    assert (y.view(np.uint32) & 0xFF == 0).all()


def test_rows_hold_the_curves_cut_at_divergence():
    ids, seeds = np.arange(40), np.zeros(40, int)
    given = curves(ids, seeds)
    table = runs_of("mlp-iris", ids, seeds)
    assert table.schema.equals(schema.RUNS, check_metadata=True)
    for i, row in enumerate(table.to_pylist()):
        n = given.length[i]
        assert row["epochs"] == given.epochs[:n].tolist()
        assert row["status"] == ("ok" if n == 10 else "diverged")
        assert row["test_score"] == given.test_score[i, :n].tolist(), "scores are exact"
        np.testing.assert_allclose(row["valid_loss"], given.valid_loss[i, :n], rtol=2**-16)
        assert row["run_id"] == rows.run_id("mlp-iris", i, 0)
        assert row["error"] is None
    assert len(set(table["cohort"].to_pylist())) == 1


def test_failed_runs_carry_their_reason_on_one_line():
    row = rows.failed("mlp-iris", [3], [0], "out of\n  memory", 5, "cpu").to_pylist()[0]
    assert row["status"] == "failed"
    assert row["error"] == "out of memory"
    assert row["epochs"] == row["valid_score"] == []


def test_curves_that_do_not_fit_are_refused():
    given = curves([0, 1], [0, 0])
    with pytest.raises(MetabenchError, match=r"mlp-iris: the trainer returned curves of shapes .* for 3 runs × 10"):
        rows.from_curves("mlp-iris", [0, 1, 2], [0, 0, 0], given, 0)
    given.length[0], given.status[0] = 4, "ok"
    with pytest.raises(MetabenchError, match=r"mlp-iris, configuration 0, seed 0: .* status 'ok' with 4 of 10"):
        rows.from_curves("mlp-iris", [0, 1], [0, 0], given, 0)
    given.status[0] = "fine"
    with pytest.raises(MetabenchError, match="status 'fine'"):
        rows.from_curves("mlp-iris", [0, 1], [0, 0], given, 0)


def test_a_run_takes_about_a_hundred_bytes():
    """Losses with continuous noise are incompressible but for their exponents; scores are counts over 397 rows."""
    ids = np.arange(4096)
    encoded = rows.encode(runs_of("mlp-iris", ids, np.zeros(4096, int)))
    assert len(encoded) / 4096 < 120
    assert pq.read_table(io.BytesIO(encoded)).schema.field("valid_loss").type == schema.RUNS.field("valid_loss").type


def test_order_is_by_key_whatever_the_dictionaries():
    import pyarrow as pa

    parts = [runs_of("mlp-wine", [1, 0], [0, 0]), runs_of("mlp-iris", [1, 1, 0], [1, 0, 5])]
    ordered = rows.ordered(pa.concat_tables(parts))
    keys = [(r["task_id"], r["config_id"], r["seed"]) for r in ordered.to_pylist()]
    assert keys == [("mlp-iris", 0, 5), ("mlp-iris", 1, 0), ("mlp-iris", 1, 1), ("mlp-wine", 0, 0), ("mlp-wine", 1, 0)]
