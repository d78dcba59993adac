"""A tuned network on disk: weights in safetensors, everything else in JSON, and predictions from raw data out of both."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metabench import registry
from metabench.advise.inputs import Inputs, fit
from metabench.advise.tables import Read
from metabench.errors import MetabenchError, UsageError
from metabench.metamodels.common import write_bytes
from metabench.tasks import Arrays, Task
from metabench.tasks.prepare import training_part

#: format of model.json; another one is refused
FORMAT = 1
WEIGHTS, FACTS = "model.safetensors", "model.json"
#: rows that are predicted at a time
BLOCK = 4096


def write(folder: Path, task: Task, found: Read, config: dict[str, Any], seed: int) -> dict[str, float]:
    """Train a configuration by the plain torch loop, as the engine trained it, and write the network with what it needs to
    predict from raw rows; ``model.json`` comes last. Returns its validation and test score."""
    from safetensors.numpy import save

    workload = registry.create("workloads", task.workload)
    net, scores = _trained(workload, task, config, seed)
    arrays = {f"net.{name}": value.detach().cpu().numpy() for name, value in net.state_dict().items()}
    rows, target, labels, train = training_part(found.dataset, workload, seed % task.n_splits)
    inputs = fit(workload, task, found.dataset, train, rows, found.moments, seed)
    if inputs is not None:
        arrays |= {f"inputs.{name}": value for name, value in inputs.arrays.items()}
    y = None if labels or target is None else target[train]
    output = {
        "labels": [_plain(label) for label in labels] or None,
        "mean": 0.0 if y is None else float(y.mean()), "std": 1.0 if y is None else float(y.std() or 1.0),
    }  # fmt: skip
    sizes = task.arrays(seed)
    description = {
        "format": FORMAT, "workload": task.workload, "config": config, "seed": seed, "kind": task.kind,
        "metric": task.metric, "scores": scores, "target": found.target,
        "inputs": None if inputs is None else {"form": inputs.form, "facts": inputs.facts}, "output": output,
        "shape": list(sizes.shape), "n_outputs": sizes.n_outputs, "n_classes": sizes.n_classes,
        "vocabulary": sizes.vocabulary, "epochs": max(task.checkpoints),
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FACTS).unlink(missing_ok=True)  # an older one must not stand beside new weights
    write_bytes(folder / WEIGHTS, save({name: np.ascontiguousarray(value) for name, value in arrays.items()}))
    write_bytes(folder / FACTS, json.dumps(description, indent=1, allow_nan=False).encode())
    return scores


def _trained(workload, task: Task, config: dict[str, Any], seed: int):
    import torch

    from metabench.training import plain_loop
    from metabench.training.data import Data

    arrays = task.arrays(seed)
    full = workload.space.validate(config)
    with plain_loop():
        alone = workload.alone(arrays, full, seed, Data.of(arrays, "cpu", torch.float32), max(task.checkpoints))
        for epoch in range(max(task.checkpoints)):
            if not alone.epoch(epoch):
                raise MetabenchError(
                    "the best trial diverged when it was trained again by the plain loop; tune with another seed"
                )
        found = alone.evaluate()
    return alone.net.eval(), {part: float(found[part][1]) for part in ("valid", "test")}


def _plain(label: Any) -> Any:
    return (
        label.item() if hasattr(label, "item") else label if isinstance(label, str | int | float | bool) else str(label)
    )


@dataclass(frozen=True)
class Network:
    """A network that ``metabench tune`` kept; :func:`metabench.load_model` opens it."""

    description: dict[str, Any]
    #: the torch module, in evaluation mode
    net: Any
    inputs: Inputs | None

    @property
    def config(self) -> dict[str, Any]:
        return dict(self.description["config"])

    @property
    def scores(self) -> dict[str, float]:
        """Its own validation and test score, in ``description["metric"]``."""
        return dict(self.description["scores"])

    @property
    def labels(self) -> list | None:
        """The classes, in the order of :meth:`probabilities`; None for a regression."""
        return self.description["output"]["labels"]

    def predict(self, data: Any) -> pd.Series:
        """Classes (as they were called) or numbers (in the target's unit) for raw rows, indexed as these are.

        Rows are what was trained on: a DataFrame (or the array [n, columns]), images [n, height, width(, colours)], a
        list of texts, series. A table has the columns that were trained on (others are ignored, the target too); a name
        that training did not see counts as "other", what is missing or no number is filled with the training rows'
        median. Raises UsageError when a column is absent or the network does not read such rows.
        """
        outputs = self._outputs(data)
        index = data.index if isinstance(data, pd.DataFrame) else None
        if self.labels is not None:
            chosen = outputs.argmax(axis=1)
            return pd.Series([self.labels[i] for i in chosen], index=index, name=self.description["target"])
        unit = self.description["output"]
        return pd.Series(outputs[:, 0] * unit["std"] + unit["mean"], index=index, name=self.description["target"])

    def probabilities(self, data: Any) -> pd.DataFrame:
        """Probability of each class for raw rows (a softmax of the outputs). Raises UsageError for a regression."""
        if self.labels is None:
            raise UsageError("a regression has no classes; call predict")
        outputs = self._outputs(data)
        odds = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        index = data.index if isinstance(data, pd.DataFrame) else None
        return pd.DataFrame(odds / odds.sum(axis=1, keepdims=True), index=index, columns=self.labels)

    def _outputs(self, data) -> np.ndarray:
        import torch

        if self.inputs is None:
            raise UsageError(f"a network of workload {self.description['workload']} is kept without its preprocessing; "
                             "call .net on inputs as metabench.tasks prepares them")  # fmt: skip
        x = self.inputs.transform(data)
        with torch.no_grad():
            parts = [self.net(_tensor(x[i : i + BLOCK])).numpy() for i in range(0, len(x), BLOCK)]
        return np.concatenate(parts).astype(np.float64) if parts else np.empty((0, self.description["n_outputs"]))


def _tensor(x: np.ndarray):
    import torch

    return torch.from_numpy(x) if x.dtype.kind == "f" else torch.from_numpy(x).long()


def load_model(folder: str | Path) -> Network:
    """The network that ``metabench tune`` kept, from its folder (the one given as ``out``, or ``model`` in it).

    Raises MetabenchError when there is none, or it is unfinished, damaged or of another format.
    """
    from safetensors.numpy import load

    folder = Path(folder)
    folder = folder / "model" if (folder / "model" / FACTS).exists() else folder
    try:
        description = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        arrays = load((folder / WEIGHTS).read_bytes())
    except FileNotFoundError as error:
        raise MetabenchError(f"{folder} holds no tuned network: {Path(error.filename).name} is absent") from None
    except Exception as error:
        raise MetabenchError(f"{folder} cannot be read as a tuned network ({type(error).__name__})") from None
    try:
        if description["format"] != FORMAT:
            raise MetabenchError(f"{folder} is of format {description['format']}; expected {FORMAT}")
        return Network(description, _net(description, arrays), _opened(description, arrays))
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise MetabenchError(f"{folder}: the tuned network is incomplete or malformed ({error})") from None


def _opened(description: dict[str, Any], arrays: dict[str, np.ndarray]) -> Inputs | None:
    if description["inputs"] is None:
        return None
    mine = {n.removeprefix("inputs."): v for n, v in arrays.items() if n.startswith("inputs.")}
    return Inputs(description["inputs"]["form"], description["inputs"]["facts"], mine)


def _net(description: dict[str, Any], arrays: dict[str, np.ndarray]):
    import torch

    workload = registry.create("workloads", description["workload"])
    empty = np.zeros((1, *description["shape"]), dtype=np.int32 if description["vocabulary"] else np.float32)
    targets = np.zeros(
        (1, *[description["n_outputs"]] * (not description["n_classes"] and description["n_outputs"] > 1))
    )
    sizes = Arrays(
        description["kind"], description["metric"], description["n_classes"], *[empty, targets] * 3,
        vocabulary=description["vocabulary"],
    )  # fmt: skip
    net = workload.build(sizes, workload.space.validate(description["config"]), description["seed"]).float()
    net.load_state_dict(
        {n.removeprefix("net."): torch.from_numpy(v) for n, v in arrays.items() if n.startswith("net.")}
    )
    return net.eval()


__all__ = ["Network", "load_model"]
