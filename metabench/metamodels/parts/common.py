"""What meta-models share: the source table they keep, the way from it to another pool, targets, storage."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from scipy import special

from metabench import files, untrusted
from metabench.errors import MetabenchError, UsageError
from metabench.files import replace_file
from metabench.metamodels.parts.matern import Interpolator, Matern
from metabench.metatrain import TaskInfo, row_keys
from metabench.ranks import rankdata
from metabench.search.base import History, MetaTrain, Problem, Surrogate
from metabench.space import Choice, Float, Int, Ordinal, Parameter, Space

#: format of a saved meta-model; another one is refused
FORMAT = 1


# ---------------------------------------------------------------------------------------------- encoding
def unit(p: Float | Ordinal, values: np.ndarray) -> np.ndarray:
    """Native numbers on the scale where ``p`` spans [0, 1], float64; on beyond its ends, but no further than [−1, 2].

    On a logarithmic scale numbers that have no logarithm lie at −1.
    """
    x = np.asarray(values, dtype=float)
    if isinstance(p, Ordinal):
        steps, places = np.asarray(p.options, dtype=float), p.to_unit(p.options)
        if steps[0] > 0:
            steps, x = np.log(steps), np.log(np.maximum(x, 1e-300))
        rate = (places[-1] - places[0]) / (steps[-1] - steps[0])
        beyond = np.minimum(x - steps[0], 0.0) + np.maximum(x - steps[-1], 0.0)
        return np.clip(np.interp(x, steps, places) + rate * beyond, -1.0, 2.0)
    half = 0.5 if isinstance(p, Int) else 0.0
    low, high = p.low - half, p.high + half
    if p.log:
        low, high, x = np.log(low), np.log(high), np.log(np.maximum(x, 1e-300))
    elif p.reverse:
        low, high, x = -np.log1p(-low), -np.log1p(-high), -np.log1p(-np.minimum(x, 1.0 - 1e-12))
    return np.clip((x - low) / (high - low), -1.0, 2.0)


def blocks(source: Mapping[str, Parameter], configs: pd.DataFrame, names: list[str]) -> list[np.ndarray]:
    """Configurations in the coordinates of the source space: a float64 block [n, columns] per hyperparameter.

    Unlike :meth:`Space.encode` it forgives: numbers outside the source's range lie outside [0, 1] (:func:`unit`), an
    option that the source does not know has no coordinate (it is equally far from all). Inactive values lie in the
    middle, and the last column of a block says whether the hyperparameter is active; one without a column in the table
    is inactive everywhere. The table alone tells what is active, so a hyperparameter may stand here without the parent
    of its condition.
    """
    out = []
    for name in names:
        p = source[name]
        u = np.zeros((len(configs), len(p.options))) if isinstance(p, Choice) else np.full((len(configs), 1), 0.5)
        present = configs[name].notna().to_numpy() if name in configs else np.zeros(len(configs), dtype=bool)
        if present.any():
            values = configs[name].to_numpy()[present]
            if isinstance(p, Choice):
                u[present] = np.array([[v == option for option in p.options] for v in values])
            else:
                u[present, 0] = unit(p, values)
        out.append(np.column_stack([u, present]))
    return out


def shared_hyperparameters(source: Space, problem: Problem) -> list[str]:
    """Hyperparameters of the source that the pool's table has too, in the same kind of type."""

    def same_kind(name: str) -> bool:
        a, b = source[name], problem.space.get(name, source[name])
        return isinstance(a, Choice) == isinstance(b, Choice) and (
            isinstance(a, Choice) or pd.api.types.is_numeric_dtype(problem.candidates[name])
        )

    return [n for n in source if n in problem.candidates.columns and same_kind(n)]


def differences(source: Space, problem: Problem) -> list[str]:
    """What has changed between the source's space and that of the pool, in words; nothing when it has not."""
    shared = shared_hyperparameters(source, problem)
    lost, new = [n for n in source if n not in shared], [n for n in problem.space if n not in shared]
    found = [f"it lacks {', '.join(lost)}"] * bool(lost) + [f"it adds {', '.join(new)}"] * bool(new)
    for name in (n for n in shared if n in problem.space):
        theirs, ours = _values(source[name]), _values(problem.space[name])
        if theirs != ours:
            found.append(f"{name} is {ours} and was {theirs}")
    return found


def _values(p: Parameter) -> str:
    """What a hyperparameter may be, in words; its default and condition do not count."""
    if isinstance(p, Choice | Ordinal):
        return f"one of {', '.join(map(str, sorted(p.options)))}"
    return f"in [{p.low:g}, {p.high:g}]" + " (log)" * p.log + " (reverse)" * p.reverse


@dataclass(frozen=True)
class Alignment:
    """How values on the source's configurations are carried to a pool of candidates.

    ``rows`` [candidates] is the source row of each candidate, −1 where there is none; ``weights`` [candidates, source
    rows] interpolates instead (None when every candidate has its row); ``gap`` [candidates] is the share of variance
    the source leaves unexplained: 0 on a matching row, towards 1 far from all.
    """

    rows: np.ndarray
    weights: np.ndarray | None
    gap: np.ndarray

    def carry(self, values: np.ndarray) -> np.ndarray:
        """Values [..., source rows] → [..., candidates]."""
        return values[..., self.rows] if self.weights is None else values @ self.weights.T


@dataclass(frozen=True)
class SourceSpace:
    """What a fitted model keeps of its source's space: the hyperparameters, the configurations and a kernel on them.

    The kernel has one length scale per hyperparameter, learned from the source tasks (:meth:`Matern.fit`).
    """

    space: Space
    configs: pd.DataFrame
    length_scales: np.ndarray

    @classmethod
    def fit(cls, source: MetaTrain, targets: np.ndarray, seed: int = 0) -> SourceSpace:
        """Keep the space of a source and learn the kernel from within-task targets [tasks, configs] (may hold NaN)."""
        names = list(source.space)
        kernel = Matern.fit(blocks(source.space, source.configs, names), targets, seed=seed)
        configs = source.configs[names].reset_index(drop=True)
        return cls(source.space, configs, kernel.length_scales)

    @cached_property
    def encoded(self) -> list[np.ndarray]:
        """The source's configurations (:func:`blocks`), a block per hyperparameter."""
        return blocks(self.space, self.configs, list(self.space))

    @cached_property
    def _rows(self) -> dict[tuple, int]:
        """Configuration → its row, the first where several are equal."""
        return {key: i for i, key in reversed(list(enumerate(row_keys(self.configs, list(self.space)))))}

    @cached_property
    def _interpolators(self) -> dict[tuple[str, ...], Interpolator]:
        """Hyperparameters → regression from the source's configurations by these."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        # factors are large and quickly made again
        return {n: v for n, v in self.__dict__.items() if n not in ("_rows", "_interpolators")}

    def kernel(self, names: list[str]) -> Matern:
        position = {n: i for i, n in enumerate(self.space)}
        return Matern(self.length_scales[[position[n] for n in names]])

    @cached_property
    def partial(self) -> set[str]:
        """Hyperparameters that some of the source's workloads do not have (:meth:`MetaTrain.union`): they are missing
        in rows where no condition makes them inactive. So are those that hang on them."""
        out: set[str] = set()
        for name, active in zip(self.space, self.space.active(self.configs).T, strict=True):
            when = self.space[name].when
            if (active & self.configs[name].isna().to_numpy()).any() or (when is not None and when.parent in out):
                out.add(name)
        return out

    def complete(self, targets: np.ndarray) -> np.ndarray:
        """Targets [tasks, configs] without NaN: missing cells by regression on the task's own cells.

        The mean of a configuration over the tasks that ran it, shrunk by one task at 0 (the mean of normal scores),
        plus the Gaussian-process interpolation of what the task's cells differ from it (:meth:`Matern.interpolate`).
        """
        seen = ~np.isnan(targets)
        mean = np.where(seen, targets, 0.0).sum(0) / (seen.sum(0) + 1.0)
        out = np.where(seen, targets, mean)
        patterns, which = np.unique(seen, axis=0, return_inverse=True)
        kernel = self.kernel(list(self.space))
        for pattern, tasks in ((p, np.flatnonzero(which.ravel() == i)) for i, p in enumerate(patterns)):
            if pattern.all() or not pattern.any():
                continue
            known, gone = [b[pattern] for b in self.encoded], [b[~pattern] for b in self.encoded]
            weights, _ = kernel.interpolate(known, gone)
            out[np.ix_(tasks, ~pattern)] += (targets[np.ix_(tasks, pattern)] - mean[pattern]) @ weights.T
        return out

    def align(self, problem: Problem) -> Alignment:
        """The way from the source's configurations to the problem's pool.

        A candidate that equals a source row takes its values; a hyperparameter that the pool lacks must be missing in
        that row, too. Others interpolate by Gaussian-process regression on the hyperparameters that both have
        (Rasmussen & Williams, 2006, Eq. 2.25–2.26: the weights are the rows of K(X*, X)(K + σ²I)⁻¹, the gap is the
        predictive variance). Warns in one line when the spaces differ, unless the source spans several workloads
        and the pool only lacks what some of them lack. Raises UsageError when they have nothing in common.
        """
        names = shared_hyperparameters(self.space, problem)
        if not names:
            raise UsageError(
                "the pool shares no hyperparameter with the source tasks; fit on a table of the same space"
            )
        lost = [n for n in self.space if n not in names]
        changed = differences(self.space, problem)
        if changed and not (self.partial and not set(problem.space) - set(names) and set(lost) <= self.partial):
            text = (
                f"the pool's space is not that of the source: {'; '.join(changed)}; transferring over what they share"
            )
            warnings.warn(text, stacklevel=2)
        pool = problem.candidates.assign(**dict.fromkeys(lost))
        rows = np.array([self._rows.get(key, -1) for key in row_keys(pool, list(self.space))], dtype=int)
        missing = rows < 0
        gap = np.zeros(len(rows))
        if not missing.any():
            return Alignment(rows, None, gap)
        weights = np.zeros((len(rows), len(self.configs)))
        weights[np.flatnonzero(~missing), rows[~missing]] = 1.0
        # what a workload does not have is inactive there; of what else the pool lacks nothing is known
        used = tuple(n for n in self.space if n in names or n in self.partial)
        if used not in self._interpolators:
            theirs = [b for n, b in zip(self.space, self.encoded, strict=True) if n in used]
            self._interpolators[used] = Interpolator.at(self.kernel(list(used)), theirs)
        interpolate = self._interpolators[used]
        weights[missing], gap[missing] = interpolate(blocks(self.space, pool[missing], list(used)))
        return Alignment(rows, weights, gap)

    def pool_columns(self, problem: Problem) -> np.ndarray:
        """The pool in the source's coordinates (:func:`blocks`), float64 [candidates, columns]; NaN where it lacks them."""
        shared = shared_hyperparameters(self.space, problem)
        known = dict(zip(shared, blocks(self.space, problem.candidates, shared), strict=True))
        empty = {n: np.full((len(problem.candidates), b.shape[1]), np.nan) for n, b in zip(self.space, self.encoded)}
        return np.concatenate([known.get(n, empty[n]) for n in self.space], axis=1)

    def pool_coordinates(self, problem: Problem) -> np.ndarray:
        """The pool in coordinates where the kernel has unit length scale, float64 [candidates, columns].

        Options that the source does not know have coordinates of their own here. Hyperparameters that the source lacks
        get the geometric mean of the known length scales.
        """
        names = shared_hyperparameters(self.space, problem)
        shared: dict[str, Parameter] = {}
        for n in names:
            theirs, ours = self.space[n], problem.space.get(n)
            options = dict.fromkeys([*theirs.options, *ours.options]) if isinstance(ours, Choice) else ()
            shared[n] = Choice(*options) if options else theirs
        new = [n for n in problem.space if n not in names and n in problem.candidates.columns]
        typical = np.full(len(new), np.exp(np.log(self.length_scales).mean()))
        kernel = Matern(np.append(self.kernel(names).length_scales, typical))
        known = blocks(shared, problem.candidates, names)
        return kernel.scale([*known, *blocks(problem.space, problem.candidates, new)])


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
        if not hasattr(self, "source_"):
            raise UsageError(
                f"{self.name} has not been fitted; call fit(source), which has to set source_, or load(folder) first"
            )

    def save(self, folder: str | os.PathLike) -> Path:
        """Write the fitted model into ``folder`` (made if need be) and return it.

        ``metamodel.json`` is written last, so that a folder without it is an unfinished one.
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
        """A fitted model from a folder that :meth:`save` wrote. Raises MetabenchError when it is not one, or its state is not
        the one that was written. A folder from before states had a sha256 is opened unchecked."""
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
