"""Readers of the catalogue's file formats: delimited text, ARFF and MATLAB matrices. Bytes in, DataFrame out.

Categorical columns come back with dtype object (text), numeric ones with a numeric dtype; what is missing is NaN.
"""

from __future__ import annotations

import io
import re

import numpy as np
import pandas as pd

from metabench import untrusted
from metabench.errors import MetabenchError


def read_csv(
    data: bytes,
    *,
    delimiter: str = ",",
    header: bool = True,
    missing: str | None = None,
    usual_missing: bool = False,
    skip: int = 0,
) -> pd.DataFrame:
    """Delimited text (gzipped or not), the first ``skip`` lines left out.

    ``delimiter`` may be ``"whitespace"`` (any run of it). Only ``missing`` counts as a missing value (an empty field is
    the marker ``""``), and with ``usual_missing`` also the markers that pandas knows (NA, NaN, null, …). Without a header
    the columns are called "0", "1", ….
    """
    if data[:2] == b"\x1f\x8b":
        data = untrusted.gunzip(data, "its archive")
    frame = pd.read_csv(
        io.BytesIO(data),
        sep=r"\s+" if delimiter == "whitespace" else delimiter,
        header=0 if header else None,
        na_values=[] if missing is None else [missing],
        keep_default_na=usual_missing,
        skipinitialspace=True,
        skiprows=skip,
    )
    frame.columns = [str(c) for c in frame.columns]
    return frame.astype({c: object for c in frame if not pd.api.types.is_numeric_dtype(frame[c])})


_ATTRIBUTE = re.compile(r"""@attribute\s+('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s{]+)\s*(\{.*\}|\S.*)$""", re.I)
#: a quoted or bare value up to the next comma
_VALUE = re.compile(r"""\s*('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^,]*)\s*(?:,|$)""")
_TEXT_TYPES = ("string", "date")


def _unquote(value: str) -> str:
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    return value.strip()


def _values(line: str, width: int) -> list[str]:
    """The values of a data line: separated by commas, or by blanks where it has no comma."""
    if "'" in line or '"' in line:
        values = [_unquote(m.group(1)) for m in _VALUE.finditer(line)]
        # at the end of the line the pattern matches once more, on nothing
        values = values[:-1] if not line.rstrip().endswith(",") else values
    else:
        values = [v.strip() for v in line.split(",")]
    if len(values) == 1 < width:
        values = line.split()
    if len(values) == width + 1 and not values[-1]:
        values.pop()
    return values


def read_arff(data: bytes) -> pd.DataFrame:
    """Weka's attribute-relation format, dense rows only (Witten & Frank; ``?`` is missing, names may be quoted).

    Nominal, string and date attributes become text columns; a repeated attribute name gets ``.2``, ``.3``, ….
    Raises MetabenchError, with the line, where a row has another number of values than there are attributes, a number
    cannot be read, or the file is sparse.
    """
    names: list[str] = []
    seen: dict[str, int] = {}
    numeric: list[bool] = []
    rows: list[list[str]] = []
    lines = data.decode("latin-1").splitlines()
    in_data = False
    for number, raw in enumerate(lines, 1):
        line = raw.strip()
        if not line or line[0] == "%":
            continue
        if in_data:
            if line[0] == "{":
                raise MetabenchError(f"ARFF line {number}: sparse rows are not supported")
            values = _values(line, len(names))
            if len(values) != len(names):
                raise MetabenchError(f"ARFF line {number}: {len(values)} values for {len(names)} attributes")
            rows.append(values)
        elif line.lower().startswith("@data"):
            in_data = True
        elif line.lower().startswith("@attribute"):
            match = _ATTRIBUTE.match(line)
            if match is None:
                raise MetabenchError(f"ARFF line {number}: cannot read the attribute {line[:60]!r}")
            name, kind = _unquote(match.group(1)), match.group(2).strip()
            seen[name] = seen.get(name, 0) + 1
            names.append(name if seen[name] == 1 else f"{name}.{seen[name]}")
            numeric.append(kind[0] != "{" and kind.split()[0].lower() not in _TEXT_TYPES)
    if not in_data:
        raise MetabenchError("ARFF file without @data")
    columns = {}
    for name, is_number, column in zip(names, numeric, zip(*rows) if rows else [()] * len(names)):
        values = pd.Series(column, dtype=object)
        values = values.mask(values == "?")
        if is_number:
            try:
                values = pd.to_numeric(values)
            except ValueError as error:
                raise MetabenchError(f"ARFF attribute {name!r} is numeric, but {error}") from None
        columns[name] = values
    return pd.DataFrame(columns)


def read_npz(data: bytes) -> pd.DataFrame:
    """A numpy archive with a matrix ``X`` [rows, columns] and labels ``y`` [rows]: columns x0, x1, … and ``target``.

    Raises MetabenchError when it is no such archive.
    """
    try:
        stored = untrusted.npz(data, "the archive")
        X, y = np.asarray(stored["X"], dtype=np.float32), stored["y"].ravel()
    except (ValueError, KeyError, MetabenchError) as error:
        raise MetabenchError(f"no numpy archive with arrays X and y ({error})") from None
    if X.ndim != 2 or len(X) != len(y):
        raise MetabenchError(
            f"X has shape {X.shape}, y {y.shape}: a matrix and a label for each of its rows are needed"
        )
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])], copy=False)
    return pd.concat([frame, pd.Series(y, name="target")], axis=1)


def read_mat(data: bytes) -> pd.DataFrame:
    """A MATLAB file with a matrix ``X`` [rows, columns] and labels ``Y`` [rows]: columns x0, x1, … and ``target``."""
    from scipy.io import loadmat

    content = loadmat(io.BytesIO(data))
    X = np.asarray(content["X"], dtype=np.float32)
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])], copy=False)
    labels = pd.Series(content["Y"].ravel(), name="target")
    return pd.concat([frame, labels], axis=1)
