"""Rows of the runs table: their identity, how curves become rows, and how rows become Parquet bytes."""

from __future__ import annotations

import hashlib
import io
import operator
from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from metabench import schema
from metabench.errors import MetabenchError
from metabench.training.curves import SERIES, Curves

LOSSES = tuple(name for name in SERIES if name.endswith("_loss"))
_SCORES = (*(name for name in SERIES if name.endswith("_score")), *schema.FINALS)
#: Arrow metadata of a runs file that says which numerics its run_ids were hashed with
NUMERICS_KEY = b"metabench.numerics_version"
#: Arrow metadata of an imported runs file that names the series, and costs, which its source does not have
ABSENT_KEY = b"metabench.absent"
#: significant bits that stored losses and seconds keep (relative error under 8e-6): it saves a quarter of the table
LOSS_BITS, SECONDS_BITS = 16, 12
ROW_GROUP = 16_384
#: zstd's effort for files that come and go, and for those that stay: a twentieth smaller, twelve times as long to write
QUICK, FINAL = 9, 19


def _hash64(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)


def run_id(task_id: str, config_id: int, seed: int, numerics: str = schema.NUMERICS_VERSION) -> int:
    """Identity of a run: the first 64 bits of the sha256 of ``task/config/seed/numerics``, as a signed integer."""
    return _hash64(f"{task_id}/{config_id}/{seed}/{numerics}")


def run_ids(task_ids: Iterable[str], config_ids, seeds, numerics: str = schema.NUMERICS_VERSION) -> np.ndarray:
    """:func:`run_id` of many runs, int64 [runs]."""
    names = list(task_ids)
    where = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return run_ids_of(list(where), np.array([where[n] for n in names], dtype=int), config_ids, seeds, numerics)


def run_ids_of(
    names: Sequence[str], codes: np.ndarray, config_ids, seeds, numerics: str = schema.NUMERICS_VERSION
) -> np.ndarray:
    """:func:`run_id` of many runs whose tasks are ``names[codes]``, int64 [runs]: a million in a second."""
    heads = [f"{name}/".encode() for name in names]
    pairs = np.stack([np.asarray(config_ids, np.int64), np.asarray(seeds, np.int64)], axis=1)
    shift = 1 << 32
    unique, at = np.unique(pairs[:, 0] * shift + pairs[:, 1] + (shift >> 1), return_inverse=True)
    tails = [f"{u // shift}/{u % shift - (shift >> 1)}/{numerics}".encode() for u in unique.tolist()]
    keys = map(operator.add, map(heads.__getitem__, np.asarray(codes).tolist()), map(tails.__getitem__, at.tolist()))
    digests = b"".join([hashlib.sha256(key).digest() for key in keys])
    return np.frombuffer(digests, dtype=">i8").reshape(-1, 4)[:, 0].astype(np.int64)


def cohort_id(ids: np.ndarray) -> int:
    """Identity of a chunk of work: a 64-bit hash of the run_ids in it."""
    return _hash64(",".join(map(str, np.asarray(ids).tolist())))


def significant(values: np.ndarray, bits: int) -> np.ndarray:
    """float32 values rounded (half to even) to ``bits`` significant binary digits; NaN and infinities kept."""
    raw = np.ascontiguousarray(values, dtype=np.float32)
    shift = np.uint32(24 - bits)
    u = raw.view(np.uint32)
    one = np.uint32(1)
    rounded = ((u + (one << (shift - one)) - one + ((u >> shift) & one)) >> shift) << shift
    return np.where(np.isfinite(raw), rounded.view(np.float32), raw)


def from_curves(task_id: str, config_ids, seeds, curves: Curves, cohort: int) -> pa.Table:
    """Rows (schema RUNS) of R trained runs of one task; ``config_ids`` and ``seeds`` are [R].

    Raises MetabenchError when the curves do not fit the runs: wrong shapes, an unknown status, a finished run that is
    shorter than the checkpoints.
    """
    n, e = len(config_ids), len(curves.epochs)
    length = np.asarray(curves.length, dtype=np.int64)
    shapes = {name: np.shape(getattr(curves, name)) for name in SERIES}
    if any(shape != (n, e) for shape in shapes.values()) or length.shape != (n,) or len(curves.status) != n:
        raise MetabenchError(
            f"{task_id}: the trainer returned curves of shapes {shapes} for {n} runs × {e} checkpoints"
        )
    for i, status in enumerate(curves.status):
        if status not in ("ok", "diverged", "failed") or (status == "ok") > (length[i] == e):
            raise MetabenchError(
                f"{task_id}, configuration {config_ids[i]}, seed {seeds[i]}: the trainer returned status {status!r} "
                f"with {length[i]} of {e} checkpoints"
            )
    inside = np.arange(e) < length[:, None]
    offsets = pa.array(np.concatenate([[0], np.cumsum(length)]), pa.int32())

    def lists(values: np.ndarray, kind: pa.DataType) -> pa.Array:
        return pa.ListArray.from_arrays(offsets, pa.array(values[inside], kind))

    series = {name: np.asarray(getattr(curves, name), dtype=np.float32) for name in SERIES}
    series |= {name: significant(series[name], LOSS_BITS) for name in LOSSES}
    return _table(
        task_id,
        config_ids,
        seeds,
        status=list(curves.status),
        error=[None if s != "failed" else _line(e or "no reason given") for s, e in zip(curves.status, curves.error)],
        epochs=lists(np.broadcast_to(curves.epochs, (n, e)), pa.int16()),
        **{name: lists(values, pa.float32()) for name, values in series.items()},
        params=np.asarray(curves.params, np.int64),
        flops=np.asarray(curves.flops, np.int64),
        seconds=significant(curves.seconds, SECONDS_BITS),
        device=[curves.device] * n,
        engine=[curves.engine] * n,
        cohort=np.full(n, cohort, np.int64),
    )


def failed(task_id: str, config_ids, seeds, reason: str, cohort: int, device: str, engine: str = "none") -> pa.Table:
    """Rows of runs that came to nothing, with the reason."""
    n = len(config_ids)
    empty = pa.array([[]] * n, pa.list_(pa.float32()))
    zero = np.zeros(n, np.int64)
    return _table(
        task_id,
        config_ids,
        seeds,
        status=["failed"] * n,
        error=[_line(reason)] * n,
        epochs=pa.array([[]] * n, pa.list_(pa.int16())),
        **dict.fromkeys(SERIES, empty),
        params=zero,
        flops=zero,
        seconds=np.zeros(n, np.float32),
        device=[device] * n,
        engine=[engine] * n,
        cohort=np.full(n, cohort, np.int64),
    )


def _line(reason: str) -> str:
    return " ".join(str(reason).split())[:500]


def _table(task_id: str, config_ids, seeds, **columns: Any) -> pa.Table:
    n = len(config_ids)
    config_ids, seeds = np.asarray(config_ids, np.int32), np.asarray(seeds, np.int16)
    columns |= {"task_id": [task_id] * n, "config_id": config_ids, "seed": seeds}
    columns["run_id"] = run_ids([task_id] * n, config_ids, seeds)
    arrays = []
    curves = pa.schema([field for field in schema.RUNS if field.name not in schema.FINALS], schema.RUNS.metadata)
    for field in curves:
        values = columns[field.name]
        if pa.types.is_dictionary(field.type):
            values = pa.array(values, pa.string()).dictionary_encode()
        arrays.append(values if isinstance(values, pa.Array) else pa.array(values, field.type))
    return with_finals(pa.Table.from_arrays(arrays, schema=curves), list(schema.FINALS))


def with_finals(runs: pa.Table, names: Sequence[str]) -> pa.Table:
    """Rows with the columns ``names`` of final scores added: the last value of the curve, null unless the status is ok.

    A diverged run's curve ends before its last checkpoint, so its last value is stale and is no final score.
    """
    ok = pc.equal(runs["status"].cast(pa.string()), "ok").combine_chunks()
    for name in names:
        curve = runs[schema.FINALS[name]].combine_chunks()
        offsets = np.asarray(curve.offsets)
        there = ok.to_numpy(zero_copy_only=False).astype(bool) & (np.diff(offsets) > 0)
        values = np.full(len(runs), np.nan, np.float32)
        values[there] = curve.values.to_numpy()[offsets[1:][there] - 1]
        field = schema.RUNS.field(name)
        runs = runs.append_column(field, pa.array(values, field.type, mask=~there))
    return runs


def ordered(runs: pa.Table) -> pa.Table:
    """Rows sorted by task, configuration and seed; dictionaries hold what occurs, in the order of occurrence."""
    runs = runs.unify_dictionaries().combine_chunks()
    if not len(runs):
        return runs
    task = runs["task_id"].chunk(0)
    names = np.array(task.dictionary.to_pylist(), dtype=object)
    rank = np.empty(len(names), np.int64)
    rank[np.argsort(names)] = np.arange(len(names))
    codes = rank[task.indices.to_numpy()]
    runs = runs.take(np.lexsort((runs["seed"].to_numpy(), runs["config_id"].to_numpy(), codes)))
    for i, field in enumerate(runs.schema):
        if pa.types.is_dictionary(field.type):
            runs = runs.set_column(i, field, runs[field.name].cast(pa.string()).dictionary_encode())
    return runs


def encode(table: pa.Table, level: int = QUICK) -> bytes:
    """A table as Parquet bytes: zstd over plain values, but names through dictionaries, losses and hashes split by byte.

    Splitting the bytes of floats that share few values compresses them a third better; scores repeat along a curve and
    from run to run, which zstd sees in plain values and no longer in the positions of a dictionary.
    """
    split = [c for c in (*LOSSES, "seconds", "run_id") if c in table.column_names]
    plain = [c for c in (*_SCORES, "epochs", "config_id", "params", "flops", "cohort") if c in table.column_names]
    leaves = {c: f"{c}.list.element" if pa.types.is_list(table.schema.field(c).type) else c for c in table.column_names}
    file = io.BytesIO()
    pq.write_table(
        table,
        file,
        row_group_size=ROW_GROUP,
        compression="zstd",
        compression_level=level,
        write_page_checksum=True,
        use_dictionary=cast(Any, [leaf for name, leaf in leaves.items() if name not in (*split, *plain)]),
        column_encoding={leaves[name]: "BYTE_STREAM_SPLIT" for name in split} or None,
    )
    return file.getvalue()


def join_chunks(parts: Sequence[pa.Table]) -> pa.Table:
    """Rows of several tables one after the other (schema RUNS; none gives an empty table)."""
    return pa.concat_tables(parts) if parts else schema.RUNS.empty_table()
