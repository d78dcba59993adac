"""A recommendation as an ordinary torch script, free of metabench: what a person pastes into a project."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metabench.advise import files
from metabench.advise.cells import MARKS
from metabench.advise.data import Read
from metabench.advise.delimited import suffix
from metabench.advise.frames import named
from metabench.errors import UsageError
from metabench.tasks import Task, rare, views

TEMPLATES = Path(__file__).parent / "templates"


def script(task: Task, found: Read | None, path: Path | None, config: dict[str, Any]) -> str:
    """A script that reads the file or folder, trains the network of a configuration and prints its scores.

    It trains on 60 % of all rows; those of a series are cut by time as metabench cuts them, others by scikit-learn, so that
    scores are near those that were promised, and not the same. Raises UsageError for a workload that no script is written
    for, and for data that is in no file.
    """
    if task.workload not in _FACTS:
        raise UsageError(
            f"no torch script is written for workload {task.workload}; for: {', '.join(sorted(_FACTS))}. "
            "`metabench tune` trains it and keeps the network"
        )
    if found is None or path is None:
        raise UsageError("a torch script reads its data from a file: give the path of one (numpy.savez writes arrays)")
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,
    )
    # a Python literal is what a name from the data may become in code, never the name itself
    environment.filters["literal"] = repr
    ending = suffix(path)
    layout = found.layout
    utf8 = found.encoding.lower().replace("_", "-") in ("utf-8", "utf8")
    text = environment.get_template(f"{task.workload}.py.j2").render(
        path=str(path),
        npz=ending == ".npz",
        parquet=ending in files.PARQUET,
        target=found.target,
        kind=task.kind,
        metric=task.metric,
        smooth=(rare.NOISE, rare.MOST_NOISE, rare.LEAST_NOISE) if task.workload == "mlp" else None,
        encoding="utf-8-sig" if utf8 else found.encoding,
        epochs=max(task.checkpoints),
        feather=ending in files.FEATHER,
        records=ending in files.RECORDS,
        gaps=[*MARKS, *found.missing],
        delimiter=layout and layout.delimiter,
        skip=layout and layout.skip,
        formats=list(found.formats.items()),
        columns_in_file=layout and named(layout.header)[0],
        config=dict.fromkeys(_OPTIONAL, 0.0) | config,
        **_FACTS[task.workload](found, ending),
    )
    return re.sub(r"\n{4,}", "\n\n\n", text)


def _table(found: Read, ending: str) -> dict[str, Any]:
    data = found.dataset
    if data.modality != "tabular" or ending == ".npz":
        raise UsageError(
            "a torch script of workload mlp is written for a table in a file (CSV, TSV, JSON lines, Parquet, Feather)"
        )
    numbers = [str(c) for c in data.X if c not in data.categorical]
    return {"numbers": numbers, "names": [str(c) for c in data.categorical], "moments": list(found.moments)}


def _images(found: Read, ending: str) -> dict[str, Any]:
    shape = found.dataset.X.shape
    return {
        "endings": sorted(files.PICTURES),
        "flat": len(shape) == 3,
        "colours": 1 if len(shape) == 3 else shape[3],
        # images of that size stay as they are when they are scaled to it
        "squared": files.SIDE if shape[1:3] == (files.SIDE, files.SIDE) else None,
        "factor": -(-max(shape[1:3]) // views.SIDE),
    }


def _texts(found: Read, ending: str) -> dict[str, Any]:
    return {"column": found.columns[0] if found.columns else None, "words": views.WORDS, "vocabulary": views.VOCABULARY}


def _series(found: Read, ending: str) -> dict[str, Any]:
    if ending != ".npz" and not found.columns:
        raise UsageError("a torch script of workload rnn is written for series in an .npz file or a table")
    longest = max(series.shape[1] for series in found.dataset.X)
    return {"columns": list(found.columns), "factor": -(-longest // views.SERIES)}


def _forecast(found: Read, ending: str) -> dict[str, Any]:
    positions = [int(name[1:]) for name in found.columns] if ending == ".npz" else []
    return {
        "channels": list(found.columns),
        "positions": positions,
        "order": found.order,
        "lag": views.LAG,
        "horizon": views.HORIZON,
    }


#: workload → what its template needs to know of the data; the template has the workload's name
_FACTS: dict[str, Callable[[Read, str], dict[str, Any]]] = {
    "cnn": _images,
    "forecast": _forecast,
    "mlp": _table,
    "rnn": _series,
    "text": _texts,
}
#: hyperparameters that a configuration may leave out, or a workload has not
_OPTIONAL = ("label_smoothing", "input_noise", "dropout", "augmentation")
