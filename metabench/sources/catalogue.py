"""Real data sets by public URL and sha256, as ``catalogue.toml`` lists them: read here, fetched when first used."""

from __future__ import annotations

import hashlib
import json
import tomllib
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from metabench import registry
from metabench.errors import MetabenchError
from metabench.sources.base import Dataset, Listing

if TYPE_CHECKING:
    import pandas as pd


@cache
def _catalogue() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("catalogue.toml").read_text(encoding="utf-8"))


class Catalogue:
    """The data sets of ``catalogue.toml``. Each entry there says:

    ============== ====================================================================================================
    ``task``       classification, regression, multilabel, language, pairs or forecasting
    ``modality``   image, audio, series or text; tabular where it is not said
    ``rows``       rows of the data set (characters of a corpus, moments of a forecast); checked when it is read, as is
                   ``features``, the columns of a table that a model may see
    ``family``     data sets that share rows (default: the name)
    ``repository`` GitHub repository; ``[repositories]`` pins its commit
    ``files``      [path in the repository, sha256] of each file; several are stacked
    ``derived``    how a file was made of the repository's: such a file has no URL and lies in METABENCH_DATA alone
    ``format``     csv, arff, mat or npz; what is no table: one of :data:`metabench.sources._raw.READERS`, whose own keys
                   (``images``, ``labels``, ``side``, ``classes``, ``rate``, ``text``, ``series``) are explained there
    ``unit``       text only: word (the default) or character
    ``target``     name or position of the target column (a list for multilabel)
    ``drop``       columns (name or position) that identify a row or leak the target
    ``group``      column that names a row's group; left out of the features, as is its numbering by ``group_pattern``
    ``group_rows`` rows of one group lie together, so many at a time
    ``temporal``   rows are in time order
    ``order``      column to sort the rows by first (as numbers or ISO dates)
    ``made``       simulated or enumeration: rows that no measurement made, or all combinations of the columns' values
    ``unclear``    nobody says where the rows come from
    ``weak``       a boosted tree hardly beats the best constant (accuracy, or R² under 0.3)
    ``strip``      characters stripped from the end of the labels
    ``delimiter`` ``header`` ``missing`` ``usual_missing`` ``skip`` ``drop_empty``
                   csv only: dialect (default: comma, header, no marker of missing values, no skipped lines by file);
                   with ``usual_missing`` NA, NaN, null and what else pandas knows are missing too
    ============== ====================================================================================================
    """

    name = "catalogue"

    def names(self) -> list[str]:
        return list(_catalogue()["data"])

    def _entry(self, name: str) -> dict[str, Any]:
        if name not in _catalogue()["data"]:
            raise registry.suggest(name, self.names(), "catalogue data set")
        return _catalogue()["data"][name]

    def listing(self, name: str) -> Listing:
        entry = self._entry(name)
        fingerprint = hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()
        modality, unit = entry.get("modality", "tabular"), entry.get("unit", "word")
        made = entry.get("made", "")
        return Listing(name, entry["task"], modality, entry["rows"], fingerprint, unit, entry.get("features", 0), made)

    def load(self, name: str) -> Dataset:
        from metabench.sources._fetch import fetch

        entry = self._entry(name)
        files = [(self._url(entry, path), path, sha256) for path, sha256 in entry["files"]]
        if "modality" in entry:
            made = entry.get("derived")
            data = [(PurePosixPath(path).name, fetch(url, sha256, made)) for url, path, sha256 in files]
            return self._raw(name, entry, data, files[0][0])
        frames = [_read(fetch(url, sha256), PurePosixPath(path).name, entry) for url, path, sha256 in files]
        try:
            return self._dataset(name, entry, frames, files[0][0])
        except (KeyError, IndexError) as error:
            raise MetabenchError(f"catalogue entry {name!r} names a column that is not there: {error}") from None

    @staticmethod
    def _url(entry: dict[str, Any], path: str) -> str:
        repository = entry["repository"]
        commit = _catalogue()["repositories"][repository]
        return f"https://raw.githubusercontent.com/{repository}/{commit}/{quote(path)}"

    def _raw(self, name: str, entry: dict[str, Any], files: list[tuple[str, bytes]], url: str) -> Dataset:
        import pandas as pd

        from metabench.sources import _raw

        X, y = _raw.read(files, entry)
        rows = X[0].shape[1] if entry["format"] == "measurements" else len(X)
        if rows != entry["rows"] or (y is not None and len(y) != rows):
            raise MetabenchError(f"{url}: read {rows} rows, catalogue says {entry['rows']}")
        return Dataset(
            name=name,
            family=entry.get("family", name),
            source=self.name,
            modality=entry["modality"],
            kind=entry["task"],
            X=X,
            y=None if y is None else pd.Series(y, name="target"),
            unit=entry.get("unit", "word"),
            rate=entry.get("rate", 0),
            temporal=entry["task"] in ("language", "forecasting"),
            licence=entry["licence"],
            url=url if "derived" not in entry else url.rpartition("/")[0],
            notes=entry.get("notes", entry.get("derived", "")),
        )

    def _dataset(self, name: str, entry: dict[str, Any], frames: list[pd.DataFrame], url: str) -> Dataset:
        import numpy as np
        import pandas as pd

        frame = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
        if entry.get("drop_empty"):
            frame = frame.dropna(axis=1, how="all")
        if "order" in entry:
            (column,) = _columns(frame, entry["order"])
            frame = frame.sort_values(column, kind="stable", ignore_index=True)
        targets = _columns(frame, entry["target"])
        groups = None
        hidden = [*targets, *_columns(frame, entry.get("drop", []))]
        if "group" in entry:
            (column,) = _columns(frame, entry["group"])
            person = frame[column].astype(str).str.extract(entry.get("group_pattern", "(.*)"), expand=False)
            groups = pd.factorize(person)[0]
            hidden.append(column)
        elif "group_rows" in entry:
            groups = np.arange(len(frame)) // entry["group_rows"]
        y = frame[targets] if entry["task"] == "multilabel" else frame[targets[0]]
        if "strip" in entry:
            y = y.astype(str).str.rstrip(entry["strip"])
        X = frame.drop(columns=hidden)
        if X.shape != (entry["rows"], entry["features"]):
            raise MetabenchError(
                f"{url}: read {X.shape[0]} rows × {X.shape[1]} columns, "
                f"catalogue says {entry['rows']} × {entry['features']}"
            )
        return Dataset(
            name=name,
            family=entry.get("family", name),
            source=self.name,
            modality="tabular",
            kind=entry["task"],
            X=X,
            y=y,
            categorical=tuple(cast(str, c) for c in X if not pd.api.types.is_numeric_dtype(X[c])),
            groups=groups,
            temporal=entry.get("temporal", False),
            licence=entry["licence"],
            url=url,
            notes=entry.get("notes", ""),
        )


def _columns(frame: pd.DataFrame, which) -> list[str]:
    """Column names for a name, a position or a list of them."""
    which = which if isinstance(which, list) else [which]
    return [str(frame.columns[c]) if isinstance(c, int) else frame[c].name for c in which]


def _read(data: bytes, filename: str, entry: dict[str, Any]) -> pd.DataFrame:
    from metabench.sources import _readers

    if entry["format"] == "arff":
        return _readers.read_arff(data)
    if entry["format"] == "mat":
        return _readers.read_mat(data)
    if entry["format"] == "npz":
        return _readers.read_npz(data)
    return _readers.read_csv(
        data,
        delimiter=entry.get("delimiter", ","),
        header=entry.get("header", True),
        missing=entry.get("missing"),
        usual_missing=entry.get("usual_missing", False),
        skip=entry.get("skip", {}).get(filename, 0),
    )
