"""A task as a function of a configuration: really trained, or looked up in a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from metabench import direction, extras, registry, tasks
from metabench.brief import brief
from metabench.errors import UsageError
from metabench.metatrain import TaskInfo
from metabench.objectives import adapters
from metabench.search.continuous import Trial
from metabench.search.live import Live
from metabench.space import Space
from metabench.table import Table, load_table

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace


@brief
@dataclass(frozen=True)
class Evaluation:
    """What a training gave. Scores are the task's metric on the validation rows, NaN where the run diverged."""

    #: validation score after the last of ``epochs``
    score: float
    #: validation score at each of ``epochs``; it ends where a run diverged
    curve: tuple[float, ...]
    #: epochs at which the run was scored
    epochs: tuple[int, ...]
    #: seconds of training up to the last of ``epochs``
    seconds: float
    #: ok, diverged or failed
    status: str
    #: score on the test rows, for reports; a search must not see it
    test_score: float


@brief
@dataclass(frozen=True)
class Best:
    """The best stored configuration of a task: by its mean validation score over the seeds."""

    config_id: int
    config: dict[str, Any]
    score: float


class TrainingProblem:
    """One task to search on. Made by :func:`problem`."""

    def __init__(self, task_id: str, table: str | Table = "core", device: str = "cpu", backend: str = "auto"):
        self.task_id, self.workload = task_id, task_id.partition("-")[0]
        tasks.check(task_id)
        self._table, self._live = table, Live(self.workload, device, backend)

    def __repr__(self) -> str:
        return f"<problem {self.task_id}>"

    # ---------------------------------------------------------------- what is known
    @cached_property
    def table(self) -> Table:
        """The table of stored runs, opened (and fetched, where need be) when it is first asked for."""
        return load_table(self._table) if isinstance(self._table, str) else self._table

    @cached_property
    def info(self) -> TaskInfo:
        """What may be known before training: kind, metric, direction and task features.

        From the table where that is open or holds the task, else from the data.
        """
        if self.task_id in set(self.table.tasks["task_id"]):
            return self.table.task_info(self.task_id)
        task = tasks.get(self.task_id)
        keep = ("task_id", "family", "modality", "workload", "kind", "metric", "direction")
        return TaskInfo(**{name: getattr(task, name) for name in keep}, features=task.features)

    @property
    def features(self) -> dict[str, float]:
        """Task features by name; NaN where one does not apply."""
        return dict(self.info.features)

    @property
    def direction(self) -> str:
        """``max`` or ``min``: which way the score improves."""
        return self.info.direction

    @property
    def sign(self) -> float:
        """+1 where larger scores are better, −1 otherwise."""
        return direction.sign(self.direction)

    @cached_property
    def space(self) -> Space:
        """The hyperparameters that count on this task."""
        return registry.create("workloads", self.workload).space.for_task(self.info.kind)

    @cached_property
    def configspace(self) -> ConfigurationSpace:
        """The space as ConfigSpace's own object. Raises MetabenchError where that package is absent."""
        from metabench.interop.formats.configspace import to_configspace

        extras.need("ConfigSpace", "problem.configspace")
        return to_configspace(self.space, self.task_id)

    @cached_property
    def checkpoints(self) -> tuple[int, ...]:
        """Epochs at which runs are scored; the last is a whole training."""
        return tuple(tasks.get(self.task_id).checkpoints)

    # ---------------------------------------------------------------- training
    def evaluate(self, config: Mapping[str, Any], epochs: int | None = None, seed: int = 0) -> Evaluation:
        """Train a configuration; see :meth:`evaluate_many`."""
        return self.evaluate_many([config], epochs, [seed])[0]

    def evaluate_many(
        self, configs: Sequence[Mapping[str, Any]], epochs: int | None = None, seeds: Sequence[int] | int = 0
    ) -> list[Evaluation]:
        """Train configurations at the engine's full speed.

        A run's result does not depend on what is trained beside it, and is that of the boards' live objective to the last
        bit. Fewer ``epochs`` give the beginning of the whole training's curve, as the multi-fidelity boards do: the
        learning-rate schedule is that of the whole training, and the seconds are the share of those epochs.

        Args:
            configs: hyperparameter → value; inactive ones may be left out or None.
            epochs: where the curve ends, at the last checkpoint up to there. None: a whole training.
            seeds: of weights, data order and (small data sets) split; one for all, or one for each configuration.

        Returns:
            One evaluation for each configuration, in order.

        Raises:
            UsageError: an unknown hyperparameter, a value out of range, or too few epochs.
            MetabenchError: the extra ``train`` is absent, or the data cannot be had.
        """
        extras.need("torch", "evaluating a problem")
        each = [int(seeds)] * len(configs) if isinstance(seeds, int | np.integer) else [int(s) for s in seeds]
        if len(each) != len(configs):
            raise UsageError(f"{len(configs)} configurations but {len(each)} seeds")
        end = self._end(epochs, self.checkpoints)
        trials = [Trial(self.task_id, seed, self._whole(c)) for seed, c in zip(each, configs, strict=True)]
        return [
            _evaluation(
                self.checkpoints,
                curves.valid_score[i],
                curves.test_score[i],
                int(curves.length[i]),
                curves.status[i],
                float(curves.seconds[i]),
                end,
            )
            for curves, i in self._live.curves(trials)
        ]

    def cost(self, config: Mapping[str, Any], seed: int = 0, budget: float | None = None) -> float:
        """The score of :meth:`evaluate` with its sign turned so that smaller is better; infinite for a run that diverged.

        Optimisers that minimise call this: SMAC and CARP-S with their own arguments ``seed`` and ``budget`` (epochs).
        """
        done = self.evaluate(dict(config), None if budget is None else int(budget), int(seed))
        return -self.sign * done.score if np.isfinite(done.score) else float("inf")

    def optuna(self, trial: Any) -> float:
        """An objective for Optuna's ``study.optimize`` in the direction ``problem.optuna_direction``. A diverged run is
        pruned."""
        import optuna

        done = self.evaluate(adapters.suggest(trial, self.space))
        if not np.isfinite(done.score):
            raise optuna.TrialPruned(f"the run {done.status}")
        return done.score

    @property
    def optuna_direction(self) -> str:
        """``maximize`` or ``minimize``."""
        return "maximize" if self.direction == "max" else "minimize"

    @cached_property
    def syne_tune_space(self) -> dict[str, Any]:
        """The space as Syne Tune's dictionary of domains; conditions are left out, and inactive values are ignored."""
        return adapters.syne_tune_space(self.space)

    # ---------------------------------------------------------------- looking up
    def lookup(self, config_id: int, epochs: int | None = None, seed: int = 0) -> Evaluation:
        """A stored run of the table, as :meth:`evaluate` gave it.

        Raises UsageError for a task, configuration or seed that the table does not hold.
        """
        columns = ["config_id", "seed", "status", "epochs", "valid_score", "test_score", "seconds"]
        rows = self._stored(columns)
        match = rows[(rows["config_id"] == config_id) & (rows["seed"] == seed)]
        if match.empty:
            known = rows["config_id"].nunique(), rows["seed"].nunique()
            raise UsageError(
                f"table {self.table.name} has no run of configuration {config_id} with seed {seed} on {self.task_id}; "
                f"it has {known[0]} configurations and {known[1]} seeds"
            )
        row = match.iloc[0]
        grid = max((tuple(map(int, e)) for e in rows["epochs"]), key=len)
        valid, test = np.asarray(row["valid_score"]), np.asarray(row["test_score"])
        length = int(np.isfinite(valid).sum())
        return _evaluation(grid, valid, test, length, row["status"], float(row["seconds"]), self._end(epochs, grid))

    @cached_property
    def best_known(self) -> Best:
        """The best configuration that the table holds for this task."""
        rows = self._stored(["config_id", "seed", "final_valid_score"])
        means = rows.groupby("config_id")["final_valid_score"].agg(lambda s: s.mean(skipna=False))
        best = int((self.sign * means.astype(float)).idxmax())
        values = self.table.configs(self.workload).loc[best]
        config = {n: v for n in self.space if (v := _value(values[n])) is not None}
        return Best(best, config, float(means[best]))

    def _stored(self, columns: list[str]):
        return self.table.runs(self.workload, columns, [self.task_id]).to_pandas()

    def _whole(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A configuration of the workload's whole space: what counts on other tasks only stands at its default."""
        whole = registry.create("workloads", self.workload).space
        given = {n: v for n, v in config.items() if v is not None}
        if unknown := [n for n in given if n not in whole]:
            raise registry.suggest(str(unknown[0]), list(self.space), "hyperparameter")
        elsewhere = {n: v for n, v in whole.default().items() if n not in self.space and v is not None}
        return whole.validate(elsewhere | adapters.active(self.space, given))

    def _end(self, epochs: int | None, grid: tuple[int, ...]) -> int:
        """How many checkpoints lie within so many epochs."""
        if epochs is None:
            return len(grid)
        if isinstance(epochs, bool) or epochs != int(epochs) or epochs < grid[0]:
            raise UsageError(f"epochs is {epochs!r}; give a whole number from {grid[0]} on")
        return sum(e <= epochs for e in grid)


def _evaluation(grid, valid, test, length: int, status: str, seconds: float, end: int) -> Evaluation:
    """The beginning of a run, up to checkpoint number ``end``; a run that diverged later was ok until then."""
    shown = min(end, length)
    ok = length >= end and (status == "ok" or end < len(grid))
    trained = grid[min(length, len(grid) - 1)] if length < len(grid) else grid[-1]
    return Evaluation(
        score=float(valid[end - 1]) if ok else float("nan"),
        curve=tuple(float(v) for v in valid[:shown]),
        epochs=tuple(grid[:shown]),
        seconds=seconds * min(grid[end - 1], trained) / trained,
        status="ok" if ok else status,
        test_score=float(test[end - 1]) if ok else float("nan"),
    )


def _value(value: Any) -> Any:
    """A cell of a configuration table as plain Python; None where it is missing."""
    import pandas as pd

    return None if pd.isna(value) else value.item() if hasattr(value, "item") else value


def problem(
    task_id: str, table: str | Table = "core", *, device: str = "cpu", backend: str = "auto"
) -> TrainingProblem:
    """A task as an objective for any optimiser.

    Args:
        task_id: such as ``mlp-adult``; ``metabench list tasks`` names them.
        table: name of the table, or the open table, whose stored runs ``lookup`` and ``best_known`` read.
        device: where to train, ``cpu`` or ``cuda``.
        backend: ``auto``, ``resident``, ``batched`` or ``sequential``.

    Returns:
        The problem. Nothing is loaded or trained before it is asked for.

    Raises:
        UsageError: an unknown task.
    """
    return TrainingProblem(task_id, table, device, backend)
