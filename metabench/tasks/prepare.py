"""From a data set to what is stored of its task: facts, task features, and the arrays of every split."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from metabench.errors import UsageError
from metabench.sources.base import Dataset
from metabench.tasks import episodes, features, metrics, preprocess, splits, variants
from metabench.tasks.task import Arrays
from metabench.tasks.views import View, view

#: what a view says of all rows besides their arrays
_MORE = ("vocabulary", "system", "shots", "source_classes")
#: kinds of data set whose targets are classes
_CLASSES = ("classification", "episodes", "transfer")


def prepare(dataset: Dataset, workload) -> tuple[dict[str, Any], Callable[[int], Arrays]]:
    """Facts of a workload's task on a data set, and a function split → Arrays.

    Raises UsageError where the targets do not allow one.
    """
    seen_as: View = view(workload.view)
    rows, target, labels, groups = _labelled(dataset, seen_as)
    kind = seen_as.kind or dataset.kind
    origin = variants.base(dataset.name)  # a variant's rows stand where those of its data set do
    stratify = np.zeros(len(rows)) if target is None else target
    if seen_as.by_class:  # there are few classes: the seed always picks a split
        apart = stratify if groups is None else groups
        # by the family's name, so that one shot and five are shown of the same classes
        assigned = [splits.by_class(dataset.family, s, apart) for s in range(splits.SPLITS)]
    else:
        strata = "classification" if dataset.kind in _CLASSES else dataset.kind
        count = splits.n_splits(len(rows), dataset.temporal)
        assigned = [splits.assign(origin, s, stratify, strata, groups, dataset.temporal) for s in range(count)]
    metric = workload.metric or metrics.choose_metric(kind, target)

    def parts(split: int) -> tuple[np.ndarray, ...]:
        train, *others = splits.parts(origin, split, assigned[split], dataset.temporal, workload.rows)
        return variants.thinned(dataset.name, split, train, stratify), *others

    def targets(split: int) -> np.ndarray | None:
        if target is None:
            return None
        train, *_ = parts(split)
        y = variants.relabelled(dataset.name, split, train, target, len(labels))
        return y if labels else preprocess.standardise(y, train)

    def see(split: int, y: np.ndarray | None):
        train, _, test = parts(split)
        return seen_as.see(variants.shifted(dataset.name, rows, train, test, dataset.categorical), y, train, dataset)

    def arrays(split: int) -> Arrays:
        y = targets(split)
        seen = see(split, y)
        xy = (values[part] for part in parts(split) for values in (seen.x, seen.y))
        classes = seen.classes or (len(labels) if seen.y is y else 0)
        more = {name: getattr(seen, name) for name in _MORE}
        return Arrays(kind, metric, classes, *xy, x_source=seen.x_source, y_source=seen.y_source, **more)

    first, train = arrays(0), parts(0)[0]
    raw = _raw_facts(dataset, rows, train, first)
    described = seen_as.embedding(see(0, targets(0)))[train]
    described_as = "classification" if kind in _CLASSES else kind
    found = features.task_features(dataset.name, raw, described, first.y_train, described_as)
    chance = metrics.chance(metric, first.y_train, first.y_test)
    if seen_as.by_class:
        for split in range(len(assigned)):
            episodes.check(dataset.name, arrays(split))
        # a network of an episode tells so many classes apart, from so many rows
        ways, chance = first.n_classes, 1.0 / first.n_classes
        found |= {"log_classes": np.log(ways), "log_rows_per_input": np.log(ways * first.shots / first.n_features)}
    facts = {
        "dataset": dataset.name, "family": dataset.family, "source": dataset.source, "modality": dataset.modality,
        "kind": kind, "metric": metric, "direction": metrics.direction(metric), "n_rows": len(rows),
        "n_train": len(first.x_train), "n_valid": len(first.x_valid), "n_test": len(first.x_test),
        "n_features": first.n_features, "n_classes": first.n_classes, "n_splits": len(assigned),
        "split_hashes": [splits.digest(a) for a in assigned],
        "chance": chance, "licence": dataset.licence, "url": dataset.url, "features": found,
        "shape": list(first.shape), "n_outputs": first.n_outputs, **{name: getattr(first, name) for name in _MORE},
    }  # fmt: skip
    return facts, arrays


def training_part(dataset: Dataset, workload, split: int) -> tuple[Any, np.ndarray | None, list, np.ndarray]:
    """Rows with a target, their targets (class indices, numbers or None), the labels, and the positions of a split's training
    rows: what a network that :func:`prepare`'s arrays train is to be fitted on."""
    seen_as = view(workload.view)
    rows, target, labels, groups = _labelled(dataset, seen_as)
    stratify = np.zeros(len(rows)) if target is None else target
    assigned = splits.assign(dataset.name, split, stratify, dataset.kind, groups, dataset.temporal)
    return rows, target, labels, splits.parts(dataset.name, split, assigned, dataset.temporal, workload.rows)[0]


def _labelled(dataset: Dataset, seen_as: View):
    """Rows with a target, the targets (class indices, numbers or None), the labels, the groups."""
    examples, y = seen_as.examples(dataset), dataset.y
    if y is None:
        return examples, None, [], None
    keep = y.notna().to_numpy()
    if dataset.kind in _CLASSES:
        counts = y.map(y.value_counts())
        keep = keep & (counts >= splits.MIN_CLASS).to_numpy()
        labels = sorted(y[keep].unique(), key=str)
        if len(labels) < 2:
            raise UsageError(f"data set {dataset.name!r}: the target needs two classes of {splits.MIN_CLASS} rows each")
        target = y.map({label: i for i, label in enumerate(labels)}).to_numpy(dtype=np.float64, na_value=-1)
    else:
        labels = []
        target = pd.to_numeric(y, errors="coerce").to_numpy(dtype=np.float64)
        keep = keep & np.isfinite(target)
        if np.unique(target[keep]).size < 2:
            raise UsageError(f"data set {dataset.name!r}: the target is constant")
    chosen = np.flatnonzero(keep)
    if isinstance(examples, pd.DataFrame):
        examples = examples.iloc[chosen].reset_index(drop=True)
    else:
        examples = examples[chosen] if isinstance(examples, np.ndarray) else [examples[i] for i in chosen]
    groups = None if dataset.groups is None else dataset.groups[chosen]
    return examples, target[chosen].astype(np.int32 if labels else np.float64), labels, groups


def _raw_facts(dataset: Dataset, rows, train: np.ndarray, first: Arrays) -> dict[str, float]:
    """Facts of the raw data that task features begin with."""
    if isinstance(rows, pd.DataFrame):
        missing = rows.iloc[train].isna().to_numpy()
        columns, categorical = rows.shape[1], len(dataset.categorical) / rows.shape[1]
    else:
        missing, categorical = np.zeros((1, 1)), 0.0
        columns = rows[0].size if isinstance(rows, np.ndarray) and rows.ndim > 2 else first.n_features
    return {
        "columns": float(columns), "categorical": categorical, "missing": float(missing.mean()),
        "rows_with_missing": float(missing.any(axis=1).mean()), "image": float(dataset.modality == "image"),
    }  # fmt: skip


__all__ = ["prepare", "training_part"]
