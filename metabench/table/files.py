"""Opening one Parquet file of a table: whatever is wrong with it is one clear line that names it."""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from metabench import schema, untrusted
from metabench.errors import MetabenchError, UsageError
from metabench.space import Space
from metabench.table import integrity
from metabench.table.place import Place

SPACE_KEY = b"metabench.space"
_VERSION_KEY = b"metabench.schema_version"
_ORIGIN = re.compile(r"sobol|default|elite:[A-Za-z0-9_-]{1,120}:[A-Za-z0-9_.:-]{1,300}")

#: pandas types of Arrow columns that may have missing integers
nullable = {pa.int64(): pd.Int64Dtype()}.get


def open_parquet(path: Place) -> pq.ParquetFile:
    """A Parquet file of a schema version that can be read, its footer read and checked.

    Raises MetabenchError when it is absent, truncated, no Parquet, not metabench's, not what the table's manifest lists, or
    of another schema version.
    """
    copy = None
    try:
        source = integrity.opened(path)
        copy = None if isinstance(source, Path) else source
        # a file that is mapped and cut off would end the process
        file = pq.ParquetFile(source, memory_map=False, pre_buffer=False, page_checksum_verification=True)
        if copy is not None:
            weakref.finalize(file, copy.close)
        found = file.schema_arrow.metadata or {}
    except FileNotFoundError:
        raise MetabenchError(f"{path} is missing") from None
    except (pa.ArrowException, OSError) as error:
        if copy is not None:
            copy.close()
        raise MetabenchError(f"{path} is no readable Parquet file: {str(error).splitlines()[0]}") from None
    version = found.get(_VERSION_KEY, b"").decode(errors="replace")
    if not version:
        raise MetabenchError(f"{path} was not written by metabench: it carries no schema version")
    if version not in schema.READABLE:
        known = " and ".join(schema.READABLE)
        raise MetabenchError(f"{path} has schema version {version}, this metabench reads versions {known}")
    return file


def check_columns(path: Place, found: pa.Schema, expected: pa.Schema, more: bool = False) -> None:
    """Raise MetabenchError naming the first column that is absent, of another type or (unless ``more``) unknown."""
    for field in expected:
        if field.name not in found.names:
            raise MetabenchError(f"{path} has no column {field.name!r}")
        if found.field(field.name).type != field.type:
            kind = found.field(field.name).type
            raise MetabenchError(f"{path}: column {field.name!r} is {kind}, expected {field.type}")
    unknown = [name for name in found.names if name not in expected.names]
    if unknown and not more:
        raise MetabenchError(f"{path} has an unknown column {unknown[0]!r}")


def open_runs(path: Place) -> pq.ParquetFile:
    """A runs file, its columns checked against schema RUNS; final scores may be absent from one of version 1."""
    file = open_parquet(path)
    expected = schema.RUNS
    if (file.schema_arrow.metadata or {}).get(_VERSION_KEY) == b"1":
        expected = pa.schema([f for f in expected if f.name not in schema.FINALS or f.name in file.schema_arrow.names])
    check_columns(path, file.schema_arrow, expected)
    return file


def read_rows(path: Place, file: pq.ParquetFile, columns: list[str] | None = None, groups=None) -> pa.Table:
    """Rows of some row groups (None: all). Final scores that a runs file lacks are read off its curves.

    Raises MetabenchError when the bytes are damaged.
    """
    from metabench.table.rows import with_finals

    groups = range(file.num_row_groups) if groups is None else groups
    stored = set(file.schema_arrow.names)
    asked = (schema.RUNS.names if columns is None and "run_id" in stored else columns) or ()
    wanted = [name for name in asked if name in schema.FINALS and name not in stored]
    if wanted and "run_id" in stored:
        needed = ["status", *(schema.FINALS[name] for name in wanted)]
        columns = list(dict.fromkeys([name for name in [*asked, *needed] if name not in wanted]))
    try:
        rows = file.read_row_groups(list(groups), columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise MetabenchError(f"{path} is damaged: {str(error).splitlines()[0]}") from None
    return with_finals(rows, wanted).select(list(asked)) if wanted else rows


def read_tasks(path: Place) -> pa.Table:
    """tasks.parquet: schema TASKS followed by float64 ``feature_*`` columns."""
    file = open_parquet(path)
    check_columns(path, file.schema_arrow, schema.TASKS, more=True)
    for field in file.schema_arrow:
        is_feature = field.name.startswith("feature_") and field.type == pa.float64()
        if field.name not in schema.TASKS.names and not is_feature:
            raise MetabenchError(f"{path} has an unknown column {field.name!r}")
    return read_rows(path, file)


def read_configs(path: Place) -> tuple[Space, pa.Table]:
    """configs/<workload>.parquet: the space it was drawn from and the rows, config_id counting from 0; how each row came to
    be is left out (:func:`read_origins`)."""
    file = open_parquet(path)
    try:
        space = Space.from_json(untrusted.parse_json(file.schema_arrow.metadata[SPACE_KEY], path, error=UsageError))
    except KeyError:
        raise MetabenchError(f"{path} does not describe its search space") from None
    except (ValueError, UsageError) as error:
        raise MetabenchError(f"{path} describes its search space badly: {error}") from None
    if schema.ORIGIN in space:
        raise MetabenchError(f"{path}: a hyperparameter may not be called {schema.ORIGIN!r}")
    check_columns(path, file.schema_arrow, schema.configs_schema(space, schema.ORIGIN in file.schema_arrow.names))
    table = read_rows(path, file, ["config_id", *space])
    if table["config_id"].to_pylist() != list(range(len(table))):
        raise MetabenchError(f"{path}: config_id does not count 0, 1, 2 …")
    return space, table


def read_origins(path: Place) -> list[str] | None:
    """How each configuration of configs/<workload>.parquet came to be, in the order of config_id; None where the file does
    not say. Raises MetabenchError for an origin that is none."""
    file = open_parquet(path)
    if schema.ORIGIN not in file.schema_arrow.names:
        return None
    origins = read_rows(path, file, [schema.ORIGIN])[schema.ORIGIN].to_pylist()
    check_origins(path, origins)
    return origins


def check_origins(path: Place, origins: Iterable[str | None]) -> None:
    """Raise MetabenchError naming an origin of configurations that is none."""
    for name in set(origins):
        if name is None or not _ORIGIN.fullmatch(name):
            raise MetabenchError(
                f"{path}: origin {untrusted.printable(name)!r} is none of sobol, default, elite:TASK:METHOD"
            )
