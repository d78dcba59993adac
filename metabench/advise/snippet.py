"""A recommendation as an ordinary torch script, free of metabench: what a person pastes into a project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metabench.advise.data import Read
from metabench.errors import UsageError
from metabench.tasks import Task


def script(task: Task, found: Read, path: Path | None, config: dict[str, Any]) -> str:
    """A script that reads the file, trains the multilayer perceptron of a configuration and prints its scores.

    It splits the rows by scikit-learn, one way and not metabench's, so its scores are near those that were promised, and
    not the same. Raises UsageError for data that is no table in a file.
    """
    if task.workload != "mlp" or task.modality != "tabular" or path is None or path.suffix.lower() == ".npz":
        raise UsageError("a torch script is written for workload mlp on a table in a file (CSV, TSV, Parquet)")
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, undefined=jinja2.StrictUndefined, autoescape=False,
    )  # fmt: skip
    # a Python literal is what a name from the data may become in code, never the name itself
    environment.filters["literal"] = repr
    data = found.dataset
    numbers = [str(c) for c in data.X if c not in data.categorical]
    return environment.get_template("mlp.py.j2").render(
        path=str(path), parquet=path.suffix.lower() in (".parquet", ".pq"), target=found.target, kind=task.kind,
        metric=task.metric, numbers=numbers, names=[str(c) for c in data.categorical], moments=list(found.moments),
        epochs=max(task.checkpoints), config=dict.fromkeys(_OPTIONAL, 0.0) | config,
    )  # fmt: skip


#: hyperparameters that a configuration may leave out
_OPTIONAL = ("label_smoothing", "input_noise", "dropout")
