"""A tuned network on disk: weights in safetensors, everything else in JSON, and predictions from raw data out of both."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from metabench import registry
from metabench.advise.frames import as_pandas, is_frame
from metabench.advise.inputs import Inputs, fit
from metabench.advise.stored import FACTS, WEIGHTS, describe, read_model
from metabench.advise.tables import Read
from metabench.brief import brief
from metabench.errors import MetabenchError, UsageError
from metabench.extras import need
from metabench.files import replace_file
from metabench.plain import plain
from metabench.tasks import Arrays, Task
from metabench.tasks.prepare import Parts, training_part
from metabench.tasks.prepare import whole as prepare_whole
from metabench.tasks.preprocess import Encoder
from metabench.training import choose, plain_loop, resident
from metabench.untrusted import one_line

#: called with (epochs done, epochs)
Progress = Callable[[int, int], None]

#: rows that are predicted at a time
BLOCK = 4096
#: what some networks are built by besides the shapes of their inputs and outputs
_MORE = ("system", "shots", "source_classes")


def write(
    folder: Path,
    task: Task,
    found: Read | None,
    config: dict[str, Any],
    seed: int,
    *,
    device: str = "cpu",
    backend: str = "auto",
    whole: bool = False,
    estimate: dict[str, float] | None = None,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Train a configuration and write the network with what it needs to predict from raw rows; ``model.json`` comes last.

    Args:
        folder: Where to write.
        task: What it is trained on.
        found: The data that the task is made of; None for a task that is not a person's data: the network alone is kept.
        config: A configuration of the workload.
        seed: Of weights, order and split.
        device: Where trials were trained.
        backend: What trained them; its weights are kept where it hands them over.
        whole: Train on all rows, validation and test rows too. No score is measured.
        estimate: Scores that a network of all rows is given: means over the splits that its configuration was trained on.
        progress: Called with (epochs done, epochs) where the plain loop trains.

    Returns:
        Its validation and test score; none of a network of all rows.

    Raises:
        MetabenchError: It diverged.
    """
    from safetensors.numpy import save

    workload = registry.create("workloads", task.workload)
    arrays, parts = task.arrays(seed), None
    if whole:
        assert found is not None  # a prepared task has no rows to add
        arrays, parts = prepare_whole(found.dataset, workload, task.metric)
    elif found is not None:
        parts = training_part(found.dataset, workload, seed % task.n_splits)
    net, scores, engine = trained(workload, arrays, config, seed, max(task.checkpoints), device, backend, progress)
    tensors = {f"net.{name}": value.detach().cpu().numpy() for name, value in net.state_dict().items()}
    inputs, output = (None, _NUMBERS)
    if found is not None and parts is not None:
        inputs, output = _around(workload, task, found, parts, arrays)
    if inputs is not None:
        tensors |= {f"inputs.{name}": value for name, value in inputs.arrays.items()}
    counts = task.metric == "balanced_accuracy" and task.kind == "classification"
    if output["labels"] and counts and parts is not None and parts.target is not None:
        output |= {"shares": _shares(parts.target[parts.train]), "trained_shares": _shares(arrays.y_train)}
    description = {
        "workload": task.workload,
        "config": config,
        "seed": seed,
        "kind": task.kind,
        "metric": task.metric,
        "scores": (estimate or {}) if whole else scores,
        "target": None if found is None else found.target,
        "inputs": None if inputs is None else {"form": inputs.form, "facts": inputs.facts},
        "output": output,
        "shape": list(arrays.shape),
        "n_outputs": arrays.n_outputs,
        "n_classes": arrays.n_classes,
        "vocabulary": arrays.vocabulary,
        "epochs": max(task.checkpoints),
        "engine": engine,
        "rows": len(arrays.x_train),
        **{name: getattr(arrays, name) for name in _MORE},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FACTS).unlink(missing_ok=True)  # an older one must not stand beside new weights
    replace_file(folder / WEIGHTS, save({name: np.ascontiguousarray(value) for name, value in tensors.items()}))
    replace_file(folder / FACTS, describe(description, folder / WEIGHTS))
    return description["scores"]


def _shares(y: np.ndarray) -> list[float]:
    counts = np.bincount(y)
    return (counts / counts.sum()).tolist()


#: outputs that are numbers as they stand
_NUMBERS: dict[str, Any] = {"labels": None, "mean": 0.0, "std": 1.0}


def _around(workload, task: Task, found: Read, parts: Parts, arrays: Arrays) -> tuple[Inputs | None, dict[str, Any]]:
    """What makes a network's inputs of raw rows, and what its outputs mean."""
    inputs = fit(workload, arrays, found, parts)
    if inputs is not None and inputs.form == "windows":
        return inputs, {"labels": None, "mean": inputs.facts["mean"][0], "std": inputs.facts["std"][0]}
    if inputs is not None and inputs.form in ("letters", "pairs"):
        return inputs, _NUMBERS | {"labels": _symbols(inputs, task.n_classes)}
    y = None if parts.labels or parts.target is None else parts.target[parts.train]
    units = {} if y is None else {"mean": float(y.mean()), "std": float(y.std() or 1.0)}
    return inputs, _NUMBERS | {"labels": plain(list(parts.labels)) or None} | units


def _symbols(inputs: Inputs, size: int) -> list[str]:
    """Code → symbol of a text's characters or of targets; "" is none of those that training showed."""
    codes = inputs.facts["codes" if inputs.form == "letters" else "targets"]
    names = {code: symbol for symbol, code in codes.items()}
    return [names.get(code, "") for code in range(size)]


def trained(
    workload,
    arrays: Arrays,
    config: dict[str, Any],
    seed: int,
    epochs: int,
    device: str = "cpu",
    backend: str = "auto",
    progress: Progress | None = None,
):
    """A configuration's network, trained, in evaluation mode; its scores; and what trained it.

    Where the compiled kernel trains the workload it hands its weights over, so that scores are those of the trial. Else the
    plain torch loop trains it again: the same numbers in another order of sums.

    Raises MetabenchError when it diverged.
    """
    full = workload.space.validate(config)
    if device == "cpu" and choose(workload, device, backend) == "resident" and workload.name in resident.KEEPS:
        weights: list[np.ndarray | None] = []
        curves = resident.run(workload, arrays, workload.space.table([full]), [seed], (epochs,), weights=weights)
        if weights[0] is None:
            raise MetabenchError(f"the best trial {curves.status[0]} when it was trained again; tune with another seed")
        net = workload.build(arrays, full, seed).float()
        net.take(weights[0])
        scores = {"valid": float(curves.valid_score[0, -1]), "test": float(curves.test_score[0, -1])}
        return net.eval(), scores, "resident"
    return *_by_plain_loop(workload, arrays, full, seed, epochs, progress), "plain loop"


def _by_plain_loop(workload, arrays: Arrays, full: dict[str, Any], seed: int, epochs: int, progress: Progress | None):
    import torch

    from metabench.training.data import Data

    with plain_loop():
        alone = workload.alone(arrays, full, seed, Data.of(arrays, "cpu", torch.float32), epochs)
        for epoch in range(epochs):
            if not alone.epoch(epoch):
                raise MetabenchError(
                    "the best trial diverged when it was trained again by the plain loop; tune with another seed"
                )
            if progress is not None:
                progress(epoch + 1, epochs)
        found = alone.evaluate()
    return alone.net.eval(), {part: float(found[part][1]) for part in ("valid", "test")}


@brief
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
        """Its own validation and test score, in ``description["metric"]``. Of a network of all rows, which nothing can measure,
        they are empty, or where a class is rare the means of its configuration over five splits."""
        return dict(self.description["scores"])

    @property
    def labels(self) -> list | None:
        """The classes, in the order of :meth:`probabilities`; of what is written its symbols, by code; None of numbers."""
        return self.description["output"]["labels"]

    def predict(self, data: Any) -> pd.Series:
        """Classes (as they were called) or numbers (in the target's unit) for raw rows, indexed as these are.

        Where classes are rare (the metric is balanced accuracy) the class is chosen as if all were equally common: one is
        predicted where its probability is above its share.

        Args:
            data: What was trained on: a table of any library (or an array [n, columns] of all columns that training was
                given, in their order), images [n, height, width(, colours)], a list of texts, series. A table has the
                columns that were trained on; others are ignored, the target too. A name that training did not see counts as
                "other"; what is missing or no number is filled with the training rows' median.

        Returns:
            A prediction a row. Of one series ([T], [T, channels] or a DataFrame) its next moments, indexed by how far ahead;
            of texts the next character; of sources their targets.

        Raises:
            UsageError: A column is absent, or the network does not read such rows.
        """
        data = as_pandas(data) if is_frame(data) else data
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
            odds = self._odds(data)
            chosen = odds.to_numpy().argmax(axis=1)
            return pd.Series([odds.columns[i] for i in chosen], index=odds.index, name=name)
        return pd.Series(self.outputs(data)[:, 0] * unit["std"] + unit["mean"], index=index, name=name)

    def probabilities(self, data: Any) -> pd.DataFrame:
        """Probability of each class (of a text: each character that may come next) for raw rows: a softmax of the outputs,
        and where rare classes were repeated in training, set right by their true shares.
        Raises UsageError for a regression."""
        odds = self._odds(data)
        if "shares" not in self.description["output"]:
            return odds
        true, seen = (np.array(self.description["output"][name]) for name in ("shares", "trained_shares"))
        odds = odds * (true / seen)
        return odds.div(odds.sum(axis=1), axis=0)

    def _odds(self, data: Any) -> pd.DataFrame:
        """A softmax of the outputs."""
        data = as_pandas(data) if is_frame(data) else data
        if self.labels is None or self.inputs is None or self.inputs.form == "pairs":
            raise UsageError(f"a {self.description['kind']} has no classes here; call predict")
        outputs = self.outputs(data)
        labels, index = self.labels, data.index if isinstance(data, pd.DataFrame) else None
        if self.inputs.form == "letters":  # after the last character of each text; 0 is no character
            last = [min(len(text), outputs.shape[2]) - 1 for text in cast("Iterable[str]", data)]
            outputs, labels, index = outputs[np.arange(len(last)), :, last][:, 1:], labels[1:], list(data)
        odds = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return pd.DataFrame(odds / odds.sum(axis=1, keepdims=True), index=index, columns=labels)

    def outputs(self, data: Any) -> np.ndarray:
        """What the network says of raw rows, as it says it: float64 [n, outputs]. Raises UsageError for one that says more
        than one thing, or does not read such rows."""
        import torch

        if self.inputs is None:
            raise UsageError(
                f"a network of workload {self.description['workload']} is kept without its preprocessing; "
                "call .net on inputs as metabench.tasks prepares them"
            )
        x = self.inputs.transform(data)
        whole = type(self.net).forward is not torch.nn.Module.forward
        with torch.no_grad():
            parts = [self.net(_tensor(x[i : i + BLOCK])) for i in range(0, len(x), BLOCK)] if whole else []
        if not whole or not all(isinstance(part, torch.Tensor) for part in parts):
            raise UsageError(
                f"a network of workload {self.description['workload']} has parts: call those of .net "
                "on inputs.transform of raw rows"
            )
        parts = [part.numpy() for part in parts]
        return np.concatenate(parts).astype(np.float64) if parts else np.empty((0, self.description["n_outputs"]))

    def _written(self, data: Any) -> list[str]:
        """The targets of sources, by greedy decoding."""
        import torch

        from metabench.tasks.views import TARGET

        assert self.inputs is not None and self.labels is not None
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
    """The network that ``metabench tune`` kept.

    Args:
        folder: the folder that was given as ``out``, or ``model`` in it.

    Returns:
        The network with its preprocessing: it predicts from raw rows.

    Raises:
        MetabenchError: There is none, or it is unfinished, damaged or of another format.
    """
    need("torch", "a tuned network")
    folder = Path(folder)
    folder = folder / "model" if (folder / "model" / FACTS).exists() else folder
    description, arrays = read_model(folder)
    try:
        return Network(description, _net(description, arrays), _opened(description, arrays))
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, LookupError, MetabenchError) as error:
        what = one_line(error, 300)
        raise MetabenchError(f"{folder}: the tuned network is incomplete or malformed ({what})") from None


def _opened(description: dict[str, Any], arrays: dict[str, np.ndarray]) -> Inputs | None:
    if description["inputs"] is None:
        return None
    mine = {n.removeprefix("inputs."): v for n, v in arrays.items() if n.startswith("inputs.")}
    form, facts = description["inputs"]["form"], description["inputs"]["facts"]
    if form in ("table", "pixels"):
        Encoder.from_state(facts, mine)  # raises now what it would raise when it is used
    return Inputs(form, facts, mine)


def _net(description: dict[str, Any], arrays: dict[str, np.ndarray]):
    import torch

    workload = registry.create("workloads", description["workload"])
    empty = np.zeros((1, *description["shape"]), dtype=np.int32 if description["vocabulary"] else np.float32)
    targets = np.zeros(
        (1, *[description["n_outputs"]] * (not description["n_classes"] and description["n_outputs"] > 1))
    )
    sizes = Arrays(
        description["kind"],
        description["metric"],
        description["n_classes"],
        *[empty, targets] * 3,
        vocabulary=description["vocabulary"],
        **{name: description[name] for name in _MORE if name in description},
    )
    net = workload.build(sizes, workload.space.validate(description["config"]), description["seed"]).float()
    net.load_state_dict(
        {n.removeprefix("net."): torch.from_numpy(v) for n, v in arrays.items() if n.startswith("net.")}
    )
    return net.eval()


__all__ = ["Network", "load_model"]
