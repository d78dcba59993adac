"""What meta-models share: targets, features, storage."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from scipy import special

from metabench import files, untrusted
from metabench.errors import MetabenchError, UsageError
from metabench.files import replace_file
from metabench.metamodels.parts.source_space import SourceSpace
from metabench.metatrain import TaskInfo
from metabench.ranks import rankdata
from metabench.search.base import History, MetaTrain, Problem, Surrogate
from metabench.space import Space

#: format of a saved meta-model; another one is refused
FORMAT = 1


# ---------------------------------------------------------------------------------------------- targets
def utilities(problem: Problem, history: History) -> tuple[np.ndarray, np.ndarray]:
    """Tried positions int [n] and their utilities float64 [n]: larger is better, diverged trials just below the worst.

    A search cares for the top: utilities further below the median than three times the best is above it are pulled up
    to there, or one terrible R² would drown all other differences. With nothing finite all utilities are 0.
    """
    positions = np.asarray(history.candidates, dtype=int)
    y = problem.sign * np.asarray(history.scores, dtype=float)
    finite = np.isfinite(y)
    if not finite.any():
        return positions, np.zeros(len(y))
    median, best = np.median(y[finite]), y[finite].max()
    if best > median:
        y = np.maximum(y, median - 3.0 * (best - median))
    seen = y[finite]
    return positions, np.where(finite, y, seen.min() - 0.5 * seen.std())


def history_scores(y: np.ndarray) -> np.ndarray:
    """Normal scores within a history, float64 [n]: Φ⁻¹((rank − .5)/n), larger is better, ties averaged."""
    return special.ndtri((rankdata(y) - 0.5) / max(len(y), 1))


def task_features(names: list[str], task: TaskInfo) -> np.ndarray:
    """A task's features in the order of ``names``, NaN where it lacks one (or has something infinite)."""
    values = np.array([task.feature(n) for n in names], dtype=float)
    return np.where(np.isfinite(values), values, np.nan)


def check_source(source: MetaTrain, name: str) -> None:
    """Raises UsageError when there is nothing to learn from."""
    if len(source.tasks) == 0 or len(source.configs) == 0:
        raise UsageError(f"{name}: the source has no tasks; give at least one meta-training task with configurations")


# ---------------------------------------------------------------------------------------------- storage
class MetaModel(Surrogate):
    """Base of the meta-models here: settings, :meth:`save` and :meth:`load`.

    A subclass names its fitted state: ``arrays`` (numpy arrays, stored in ``state.safetensors``) and ``facts`` (JSON
    values). The source's space and configurations (``source_``) are stored with them. Nothing is pickled.

    ``grid`` maps settings to the values worth trying; ``metabench settings`` chooses among them by the board's
    meta-validation tasks. The defaults of the constructor are what was chosen.
    """

    grid: ClassVar[dict[str, tuple]] = {}
    arrays: ClassVar[tuple[str, ...]] = ()
    facts: ClassVar[tuple[str, ...]] = ()
    source_: SourceSpace

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's settings, in scikit-learn's manner."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def begin(self) -> None:
        """Prepare a search.

        Raises:
            UsageError: The model has not been fitted.
        """
        if not hasattr(self, "source_"):
            raise UsageError(
                f"{self.name} has not been fitted; call fit(source), which has to set source_, or load(folder) first"
            )

    def save(self, folder: str | os.PathLike) -> Path:
        """Write the fitted model into a folder.

        ``metamodel.json`` is written last, so that a folder without it is an unfinished one.

        Args:
            folder: where to; it is made if need be.

        Returns:
            The folder.
        """
        from safetensors.numpy import save

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {n: np.ascontiguousarray(getattr(self, n)) for n in self.arrays}
        arrays["source.length_scales"] = self.source_.length_scales
        state = save(arrays)
        replace_file(folder / "state.safetensors", state)
        table = self.source_.configs.astype(object).where(self.source_.configs.notna(), None)
        description = {
            "format": FORMAT,
            "metamodel": self.name,
            "state_sha256": hashlib.sha256(state).hexdigest(),
            "settings": self.settings,
            "facts": {n: getattr(self, n) for n in self.facts},
            "space": self.source_.space.to_json(),
            "configs": {n: table[n].tolist() for n in table},
        }
        replace_file(folder / "metamodel.json", json.dumps(description, indent=1).encode())
        return folder

    @classmethod
    def load(cls, folder: str | os.PathLike) -> Self:
        """A fitted model from a folder that :meth:`save` wrote.

        Args:
            folder: the folder. One from before states had a sha256 is opened unchecked.

        Returns:
            The model.

        Raises:
            MetabenchError: The folder holds no such model, or its state is not the one that was written.
        """
        from safetensors.numpy import load

        folder = Path(folder)
        try:
            description = json.loads(untrusted.read_bytes(folder / "metamodel.json"))
            state = untrusted.read_bytes(folder / "state.safetensors")
            if description.get("state_sha256") not in (None, hashlib.sha256(state).hexdigest()):
                raise ValueError("state.safetensors is not the one that metamodel.json names")
            arrays = load(state)
        except FileNotFoundError as error:
            raise MetabenchError(f"{folder} holds no saved meta-model: {Path(error.filename).name} is absent") from None
        except Exception as error:
            raise MetabenchError(f"{folder} cannot be read as a meta-model: {error}") from error
        if description.get("metamodel") != cls.name or description.get("format") != FORMAT:
            found = f"{description.get('metamodel')!r} in format {description.get('format')!r}"
            raise MetabenchError(f"{folder} holds {found}; expected {cls.name!r} in format {FORMAT}")
        try:
            model = cls(**description["settings"])
            space = Space.from_json(description["space"])
            configs = pd.DataFrame({n: pd.Series(description["configs"][n], dtype=p.dtype) for n, p in space.items()})
            for n in cls.arrays:
                setattr(model, n, arrays[n])
            for n in cls.facts:
                setattr(model, n, description["facts"][n])
            model.source_ = SourceSpace(space, configs, arrays["source.length_scales"])
        except (KeyError, TypeError, ValueError) as error:
            raise MetabenchError(f"{folder}: the saved {cls.name} is incomplete or malformed ({error})") from None
        return model


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file: it is there in full or not at all. What a killed process left beside it is removed."""
    files.sweep(path.parent)
    files.replace_file(path, data)
