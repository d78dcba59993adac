"""The CSV of Salinas et al. (ICML 2020, "A Quantile-based Approach for Hyperparameter Transfer Learning")."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from metabench.errors import MetabenchError
from metabench.interop.formats.base import Format, Rows, TaskFacts, identifier, infer_space, read_bytes, repeats

#: metrics that are better when larger, by a part of their name
_LARGER = ("accuracy", "auc", "r2", "f1")


class Icml2020(Format):
    """A CSV with columns ``hp_*`` (hyperparameters), ``metric_*`` (results), ``task`` and, where there are several,
    ``blackbox``; ``dataset_*`` columns become task features.

    A workload for each blackbox. The score is the first metric column; it is minimised unless its name speaks of
    accuracy, AUC, F1 or R². Names that end in ``_log`` hold logarithms and stay as they are.
    """

    name = "icml2020"
    reads = "a .csv or .csv.gz file"

    def read(self, path: Path) -> Iterator[Rows]:
        try:
            frame = pd.read_csv(io.BytesIO(read_bytes(path)))
        except (ValueError, pd.errors.ParserError) as error:
            raise MetabenchError(f"{path} is no CSV: {str(error).splitlines()[0]}") from None
        metrics = [c for c in map(str, frame) if c.startswith("metric_")]
        names = [c for c in map(str, frame) if c.startswith("hp_")]
        for what, found in (("metric_*", metrics), ("hp_*", names), ("task", [c for c in frame if c == "task"])):
            if not found:
                raise MetabenchError(f"{path} has no column {what}")
        if not pd.api.types.is_numeric_dtype(frame[metrics[0]]):
            raise MetabenchError(f"{path}: column {metrics[0]} holds what is no number")
        if frame["task"].isna().any():
            raise MetabenchError(f"{path}: line {int(frame['task'].isna().argmax()) + 2} has no task")
        boxes = frame["blackbox"].astype(str) if "blackbox" in frame else pd.Series("icml2020", index=frame.index)
        for box, part in frame.groupby(boxes, sort=True):
            yield _workload(identifier(box), part.reset_index(drop=True), metrics[0], names)


def _workload(name: str, frame: pd.DataFrame, metric: str, names: list[str]) -> Rows:
    hyperparameters = frame[names].rename(columns=lambda c: c.removeprefix("hp_")).dropna(axis=1, how="all")
    if hyperparameters.empty:
        raise MetabenchError(f"blackbox {name} has no hyperparameters")
    tasks, first, task = np.unique(frame["task"].astype(str).to_numpy(object), return_index=True, return_inverse=True)
    direction = "max" if any(word in metric.lower() for word in _LARGER) else "min"
    described = [c for c in map(str, frame) if c.startswith("dataset_") and pd.api.types.is_numeric_dtype(frame[c])]
    feature_names = [c.removeprefix("dataset_") for c in described]
    features = [
        dict(zip(feature_names, row, strict=True)) for row in frame[described].iloc[first].to_numpy(float).tolist()
    ]
    metric_name = metric.removeprefix("metric_")
    facts = [
        TaskFacts(identifier(task_name), metric_name, direction, features=row)
        for task_name, row in zip(tasks, features, strict=True)
    ]
    keys = pd.MultiIndex.from_frame(hyperparameters.astype(object).where(hyperparameters.notna(), None))
    config, _ = pd.factorize(keys)
    first = np.unique(config, return_index=True)[1]
    configs = hyperparameters.iloc[first].reset_index(drop=True)
    return Rows(
        workload=name,
        space=infer_space(configs),
        configs=configs,
        tasks=facts,
        task=task,
        config=config,
        seed=repeats(task, config),
        epochs=(1,),
        series={"valid_score": frame[[metric]].to_numpy(dtype=np.float64)},
    )
