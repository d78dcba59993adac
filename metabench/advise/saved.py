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
from metabench.metamodels.parts.common import write_bytes
from metabench.plain import plain
from metabench.tasks import Arrays, Task
from metabench.tasks.prepare import training_part

#: format of model.json; another one is refused
FORMAT = 1
WEIGHTS, FACTS = "model.safetensors", "model.json"
#: rows that are predicted at a time
BLOCK = 4096
#: what some networks are built by besides the shapes of their inputs and outputs
_MORE = ("system", "shots", "source_classes")


def write(folder: Path, task: Task, found: Read | None, config: dict[str, Any], seed: int) -> dict[str, float]:
    """Train a configuration by the plain torch loop, as the engine trained it, and write the network with what it needs to
    predict from raw rows; ``model.json`` comes last. Returns its validation and test score. ``found`` is None for a task
    that is not a person's data: then the network alone is kept."""
    from safetensors.numpy import save

    workload = registry.create("workloads", task.workload)
    net, scores = _trained(workload, task, config, seed)
    arrays = {f"net.{name}": value.detach().cpu().numpy() for name, value in net.state_dict().items()}
    inputs, output = (None, _NUMBERS) if found is None else _around(workload, task, found, seed)
    if inputs is not None:
        arrays |= {f"inputs.{name}": value for name, value in inputs.arrays.items()}
    sizes = task.arrays(seed)
    description = {
        "format": FORMAT, "workload": task.workload, "config": config, "seed": seed, "kind": task.kind,
        "metric": task.metric, "scores": scores, "target": None if found is None else found.target,
        "inputs": None if inputs is None else {"form": inputs.form, "facts": inputs.facts}, "output": output,
        "shape": list(sizes.shape), "n_outputs": sizes.n_outputs, "n_classes": sizes.n_classes,
        "vocabulary": sizes.vocabulary, "epochs": max(task.checkpoints),
        **{name: getattr(sizes, name) for name in _MORE},
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FACTS).unlink(missing_ok=True)  # an older one must not stand beside new weights
    write_bytes(folder / WEIGHTS, save({name: np.ascontiguousarray(value) for name, value in arrays.items()}))
    write_bytes(folder / FACTS, json.dumps(description, indent=1, allow_nan=False).encode())
    return scores


#: outputs that are numbers as they stand
_NUMBERS: dict[str, Any] = {"labels": None, "mean": 0.0, "std": 1.0}


def _around(workload, task: Task, found: Read, seed: int) -> tuple[Inputs | None, dict[str, Any]]:
    """What makes a network's inputs of raw rows, and what its outputs mean."""
    rows, target, labels, train = training_part(found.dataset, workload, seed % task.n_splits)
    inputs = fit(workload, task, found, train, rows, seed)
    if inputs is not None and inputs.form == "windows":
        return inputs, {"labels": None, "mean": inputs.facts["mean"][0], "std": inputs.facts["std"][0]}
    if inputs is not None and inputs.form in ("letters", "pairs"):
        return inputs, _NUMBERS | {"labels": _symbols(inputs, task.n_classes)}
    y = None if labels or target is None else target[train]
    units = {} if y is None else {"mean": float(y.mean()), "std": float(y.std() or 1.0)}
    return inputs, _NUMBERS | {"labels": plain(list(labels)) or None} | units


def _symbols(inputs: Inputs, size: int) -> list[str]:
    """Code → symbol of a text's characters or of targets; "" is none of those that training showed."""
    codes = inputs.facts["codes" if inputs.form == "letters" else "targets"]
    names = {code: symbol for symbol, code in codes.items()}
    return [names.get(code, "") for code in range(size)]


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
        """The classes, in the order of :meth:`probabilities`; of what is written its symbols, by code; None of numbers."""
        return self.description["output"]["labels"]

    def predict(self, data: Any) -> pd.Series:
        """Classes (as they were called) or numbers (in the target's unit) for raw rows, indexed as these are.

        Rows are what was trained on: a DataFrame (or the array [n, columns]), images [n, height, width(, colours)], a
        list of texts, series. A table has the columns that were trained on (others are ignored, the target too); a name
        that training did not see counts as "other", what is missing or no number is filled with the training rows'
        median. Of one series ([T], [T, channels] or a DataFrame) its next moments, indexed by how far ahead; of texts the next
        character; of sources their targets. Raises UsageError when a column is absent or the network does not read such
        rows.
        """
        index = data.index if isinstance(data, pd.DataFrame) else None
        form, unit, name = (
            None if self.inputs is None else self.inputs.form,
            self.description["output"],
            self.description["target"],
        )
        if form == "pairs":
            return pd.Series(self._written(data), name="target")
        if form == "windows":
            ahead = self.outputs(data)[0] * unit["std"] + unit["mean"]
            return pd.Series(ahead, index=pd.RangeIndex(1, len(ahead) + 1, name="ahead"), name=name)
        if self.description["kind"] == "reconstruction":
            raise UsageError(
                "this network gives its inputs back: call outputs, or .net on inputs.transform of raw rows"
            )
        if self.labels is not None:
            odds = self.probabilities(data)
            chosen = odds.to_numpy().argmax(axis=1)
            return pd.Series([odds.columns[i] for i in chosen], index=odds.index, name=name)
        return pd.Series(self.outputs(data)[:, 0] * unit["std"] + unit["mean"], index=index, name=name)

    def probabilities(self, data: Any) -> pd.DataFrame:
        """Probability of each class (of a text: each character that may come next) for raw rows, a softmax of the outputs.
        Raises UsageError for a regression."""
        if self.labels is None or self.inputs is None or self.inputs.form == "pairs":
            raise UsageError(f"a {self.description['kind']} has no classes here; call predict")
        outputs = self.outputs(data)
        labels, index = self.labels, data.index if isinstance(data, pd.DataFrame) else None
        if self.inputs.form == "letters":  # after the last character of each text; 0 is no character
            last = [min(len(text), outputs.shape[2]) - 1 for text in data]
            outputs, labels, index = outputs[np.arange(len(last)), :, last][:, 1:], labels[1:], list(data)
        odds = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return pd.DataFrame(odds / odds.sum(axis=1, keepdims=True), index=index, columns=labels)

    def outputs(self, data: Any) -> np.ndarray:
        """What the network says of raw rows, as it says it: float64 [n, outputs]. Raises UsageError for one that says more
        than one thing, or does not read such rows."""
        import torch

        if self.inputs is None:
            raise UsageError(f"a network of workload {self.description['workload']} is kept without its preprocessing; "
                             "call .net on inputs as metabench.tasks prepares them")  # fmt: skip
        x = self.inputs.transform(data)
        whole = type(self.net).forward is not torch.nn.Module.forward
        with torch.no_grad():
            parts = [self.net(_tensor(x[i : i + BLOCK])) for i in range(0, len(x), BLOCK)] if whole else []
        if not whole or not all(isinstance(part, torch.Tensor) for part in parts):
            raise UsageError(f"a network of workload {self.description['workload']} has parts: call those of .net "
                             "on inputs.transform of raw rows")  # fmt: skip
        parts = [part.numpy() for part in parts]
        return np.concatenate(parts).astype(np.float64) if parts else np.empty((0, self.description["n_outputs"]))

    def _written(self, data: Any) -> list[str]:
        """The targets of sources, by greedy decoding."""
        import torch

        from metabench.tasks.views import TARGET

        tokens = _tensor(self.inputs.transform(data))
        size = tokens.shape[1]
        # a source ends where the reader does
        place = torch.arange(size) - (size - (tokens > 0).sum(1))[:, None]
        with torch.no_grad():
            said = self.net.decode(torch.where(place < 0, 0, tokens.gather(1, place.clamp_min(0))), TARGET)
        out, blank = [], " " * self.inputs.facts["words"][1]
        for row in said.tolist():
            out.append(blank.join(self.labels[code] for code in row[: row.index(1) if 1 in row else None]))
        return out


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
        vocabulary=description["vocabulary"], **{name: description[name] for name in _MORE if name in description},
    )  # fmt: skip
    net = workload.build(sizes, workload.space.validate(description["config"]), description["seed"]).float()
    net.load_state_dict(
        {n.removeprefix("net."): torch.from_numpy(v) for n, v in arrays.items() if n.startswith("net.")}
    )
    return net.eval()


__all__ = ["Network", "load_model"]
