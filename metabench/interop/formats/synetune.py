"""Syne Tune's blackbox repository (Salinas et al., AutoML-Conf 2022): arrays of all tasks × configurations × seeds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from metabench import untrusted
from metabench.errors import MetabenchError, UsageError
from metabench.interop.formats.base import Format, Rows, TaskFacts, identifier, read_json
from metabench.registry import suggest
from metabench.space import Choice, Float, Int, Ordinal, Space

_ARRAY, _FIDELITIES, _TABLE = "objectives_evaluations.npy", "fidelities_values.npy", "hyperparameters.parquet"
_SPACE, _FIDELITY_SPACE, _METADATA = "configspace.json", "fidelityspace.json", "metadata.json"
#: what is written for each run and checkpoint
_OBJECTIVES = (
    "metric_valid_error",
    "metric_valid_loss",
    "metric_test_error",
    "metric_valid_score",
    "metric_test_score",
    "metric_elapsed_time",
)


class SyneTune(Format):
    """A folder with ``metadata.json``, ``configspace.json``, ``fidelityspace.json``, ``hyperparameters.parquet``,
    ``fidelities_values.npy`` and ``objectives_evaluations.npy``, float32 [tasks, configurations, seeds, fidelities,
    objectives].

    Read, the score is the default metric (else the first objective), minimised as Syne Tune does by default. Written, the
    objectives are ``metric_valid_error`` (one minus the score where larger is better), ``metric_valid_loss``,
    ``metric_test_error``, the scores as they are stored, and ``metric_elapsed_time``; what diverged is NaN; inactive
    hyperparameters, which Syne Tune does not know, have their default.
    """

    name = "synetune"
    reads = "a blackbox's folder"

    def read(self, path: Path) -> Iterator[Rows]:
        facts = read_json(path / _METADATA)
        objectives, tasks = (_names(facts, key, path / _METADATA) for key in ("objectives_names", "task_names"))
        space = _space(read_json(path / _SPACE), path / _SPACE)
        try:
            array, fidelities = untrusted.npy(path / _ARRAY), untrusted.npy(path / _FIDELITIES)
            configs = untrusted.parquet(path / _TABLE).to_pandas()
        except FileNotFoundError as error:
            raise MetabenchError(f"{error.filename} is missing") from None
        except (pa.ArrowException, ValueError, TypeError) as error:  # what is written down for pandas may be wrong
            raise MetabenchError(f"{path / _TABLE} is no table: {untrusted.one_line(error, 200)}") from None
        expected = (len(tasks), len(configs), None, len(fidelities), len(objectives))
        if array.ndim != 5 or any(e not in (None, n) for e, n in zip(expected, array.shape, strict=False)):
            raise MetabenchError(f"{path / _ARRAY} has shape {array.shape}, the other files say {expected}")
        if array.dtype.kind != "f":
            raise MetabenchError(f"{path / _ARRAY} holds {array.dtype}, expected numbers")
        metric = facts.get("default_metric") or objectives[0]
        if metric not in objectives:
            raise MetabenchError(f"{path / _METADATA}: {suggest(str(metric)[:80], objectives, 'default_metric')}")
        elapsed = facts.get("metric_elapsed_time")
        scores = array[..., objectives.index(metric)].astype(np.float64)
        task, config, seed = np.nonzero(np.isfinite(scores).any(axis=-1))
        seconds = None
        if elapsed in objectives:
            times = array[..., objectives.index(elapsed)][task, config, seed].astype(np.float64)
            seconds = np.nan_to_num(np.nanmax(np.where(np.isfinite(times), times, 0.0), axis=-1))
        names = [name for name in space if name in configs]
        if missing := [name for name in space if name not in configs]:
            raise MetabenchError(f"{path / _TABLE} has no column {missing[0]!r}")
        epochs = [int(f) for f in fidelities.ravel()]
        unnamed = epochs != sorted(set(epochs)) or min(epochs) < 1
        yield Rows(
            workload=identifier(path.name),
            space=space,
            configs=configs[names],
            tasks=[TaskFacts(identifier(name), identifier(metric), "min") for name in tasks],
            task=task,
            config=config,
            seed=seed,
            epochs=range(1, len(epochs) + 1) if unnamed else epochs,
            series={"valid_score": scores[task, config, seed]},
            seconds=seconds,
        )

    def write(self, table, folder: Path, *, workload: str = "", board=None, **options: Any) -> list[Path]:
        """All tasks of one workload whose checkpoints are those of most. Raises UsageError for an unknown workload."""
        workload = workload or (board.workload if board else table.workloads[0])
        if workload not in table.workloads:
            raise suggest(workload, table.workloads, "workload")
        task_ids = table.tasks.loc[table.tasks["workload"] == workload, "task_id"].tolist()
        epochs = checkpoints(table, workload, task_ids)
        most = max(epochs.values(), key=lambda e: (list(epochs.values()).count(e), e))
        task_ids = [t for t in task_ids if epochs[t] == most]
        valid, test, loss = (
            table.curves(workload, task_ids, s)[..., : len(most)] for s in ("valid_score", "test_score", "valid_loss")
        )
        sign = np.array([table.task_info(t).direction == "max" for t in task_ids])[:, None, None, None]
        seconds = table.seconds(workload, task_ids)[:, :, None, None] * (np.array(most) / most[-1])
        time = np.broadcast_to(seconds, valid.shape)
        both = [np.where(sign, 1.0 - v, v) for v in (valid, test)]
        array = np.stack([both[0], loss, both[1], valid, test, np.where(np.isfinite(valid), time, np.nan)], axis=-1)
        space, configs = table.space(workload), table.configs(workload)
        contents = {
            _METADATA: {
                "objectives_names": list(_OBJECTIVES),
                "task_names": task_ids,
                "default_metric": _OBJECTIVES[0],
                "metric_elapsed_time": _OBJECTIVES[-1],
                "time_attr": "hp_epoch",
            },
            _SPACE: {name: _described(p) for name, p in space.items()},
            _FIDELITY_SPACE: {"hp_epoch": _domain("Integer", {"lower": most[0], "upper": most[-1]})},
        }
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in contents.items():
            (folder / name).write_text(json.dumps(value, indent=1), encoding="utf-8")
        np.save(folder / _ARRAY, array.astype(np.float32))
        np.save(folder / _FIDELITIES, np.array(most))
        _filled(space, configs).to_parquet(folder / _TABLE, index=False)
        return [folder / name for name in (*contents, _ARRAY, _FIDELITIES, _TABLE)]


def checkpoints(table, workload: str, task_ids: list[str]) -> dict[str, tuple[int, ...]]:
    """Task → the epochs of its finished runs."""
    frame = table.runs(workload, ["task_id", "status", "epochs"], task_ids).to_pandas()
    done = frame[frame["status"] == "ok"].drop_duplicates("task_id")
    found = dict(zip(done["task_id"].astype(str), (tuple(map(int, e)) for e in done["epochs"]), strict=True))
    if missing := [t for t in task_ids if t not in found]:
        raise MetabenchError(f"table {table.name}: task {missing[0]} has no finished run")
    return found


def _filled(space: Space, configs: pd.DataFrame) -> pd.DataFrame:
    default = space.from_unit(np.full((1, len(space)), 0.5)).iloc[0]
    out = {}
    for name, p in space.items():
        value = p.default if p.default is not None else p.from_unit(np.array([0.5]))[0]
        out[name] = configs[name].fillna(value if not pd.isna(value) else default[name])
    plain = {"float64": "float64", "Int64": "int64", "object": "object"}
    return pd.DataFrame(out).astype({name: plain[p.dtype] for name, p in space.items()})


def _domain(cls: str, kwargs: dict[str, Any], sampler: str | None = "_Uniform") -> dict[str, Any]:
    out = {"domain_cls": cls, "domain_kwargs": kwargs}
    return out | ({"sampler_cls": sampler, "sampler_kwargs": {}} if sampler else {})


def _described(p) -> dict[str, Any]:
    """A hyperparameter as Syne Tune's domains describe themselves (``config_space.to_dict``)."""
    if isinstance(p, Choice):
        return _domain("Categorical", {"categories": list(p.options)})
    if isinstance(p, Ordinal):
        return _domain("Categorical", {"categories": [int(o) for o in p.options]})
    sampler = {"_LogUniform": p.log, "_ReverseLogUniform": p.reverse}
    chosen = next((name for name, on in sampler.items() if on), "_Uniform")
    cls = "Integer" if isinstance(p, Int) else "Float"
    kind = int if isinstance(p, Int) else float
    described = _domain(cls, {"lower": kind(p.low), "upper": kind(p.high)}, chosen)
    if chosen == "_LogUniform":
        described["sampler_kwargs"] = {"base": 10}
    return described


def _names(facts: Mapping[str, Any], key: str, path: Path) -> list[str]:
    value = facts.get(key)
    if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
        raise MetabenchError(f"{path}: {key} is no list of names")
    return value


def _space(description: Mapping[str, Any], path: Path) -> Space:
    parameters = {}
    for name, d in description.items():
        try:
            cls, kwargs = d["domain_cls"], d["domain_kwargs"]
            log = d.get("sampler_cls") == "_LogUniform"
            if cls in ("Float", "Integer"):
                kind = Float if cls == "Float" else Int
                if kwargs["lower"] < kwargs["upper"]:
                    parameters[name] = kind(kwargs["lower"], kwargs["upper"], log=log)
            elif cls in ("Categorical", "OrdinalNearestNeighbor", "Ordinal", "FiniteRange"):
                options = kwargs.get("categories") or kwargs.get("values")
                numeric = all(isinstance(o, int) and not isinstance(o, bool) for o in options)
                if len(options) > 1:
                    parameters[name] = Ordinal(*sorted(options)) if numeric else Choice(*map(str, options))
            else:
                raise MetabenchError(f"{path}: hyperparameter {name!r} has unknown domain {cls!r}")
        except (KeyError, TypeError, AttributeError, ValueError, UsageError):
            raise MetabenchError(f"{path}: hyperparameter {name!r} is malformed") from None
    if not parameters:
        raise MetabenchError(f"{path} describes no hyperparameter")
    return Space(parameters)
