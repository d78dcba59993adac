"""From a data set to what is stored of its task: facts, task features, and the arrays of every split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pandas as pd

from metabench.errors import UsageError
from metabench.sources.base import Dataset
from metabench.tasks import episodes, features, metrics, preprocess, rare, splits, variants
from metabench.tasks.task import Arrays
from metabench.tasks.views import View, view

#: what a view says of all rows besides their arrays
_MORE = ("vocabulary", "system", "shots", "source_classes")
#: kinds of data set whose targets are classes
_CLASSES = ("classification", "episodes", "transfer")
#: what the rows of a person's own data are placed by: their number and targets alone, whatever the data is called
OWN_KEY = "mine"


def prepare(dataset: Dataset, workload) -> tuple[dict[str, Any], Callable[[int], Arrays]]:
    """Facts of a workload's task on a data set, and a function split → Arrays.

    Raises UsageError where the targets do not allow one.
    """
    seen_as: View = view(workload.view)
    rows, target, labels, groups = _labelled(dataset, seen_as)
    kind = seen_as.kind or dataset.kind
    metric = workload.metric or metrics.choose_metric(kind, target)
    # a variant's rows stand where those of its data set do
    origin = OWN_KEY if dataset.own else variants.base(dataset.name)
    stratify = np.zeros(len(rows)) if target is None else target
    if seen_as.by_class:  # there are few classes: the seed always picks a split
        apart = stratify if groups is None else groups
        # by the family's name, so that one shot and five are shown of the same classes
        assigned = [splits.by_class(dataset.family, s, apart) for s in range(splits.SPLITS)]
    else:
        strata = "classification" if dataset.kind in _CLASSES else dataset.kind
        # a rare class has several splits, however many rows there are
        few = dataset.own and metric == "balanced_accuracy" and target is not None and rare.few(target)
        count = splits.n_splits(0 if few else len(rows), dataset.temporal)
        assigned = [splits.assign(origin, s, stratify, strata, groups, dataset.temporal) for s in range(count)]

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

    def natural(split: int) -> Arrays:
        y = targets(split)
        seen = see(split, y)
        xy: Any = [values[part] for part in parts(split) for values in (seen.x, seen.y)]
        classes = seen.classes or (len(labels) if seen.y is y else 0)
        more = {name: getattr(seen, name) for name in _MORE}
        return Arrays(kind, metric, classes, *xy, x_source=seen.x_source, y_source=seen.y_source, **more)

    def arrays(split: int) -> Arrays:
        made = natural(split)
        if not evened:
            return made
        x, y = rare.evened(made.x_train, made.y_train, split, smooth=seen_as.table)
        return replace(made, x_train=x, y_train=y)

    # of the tables that ship no row is repeated: their runs are stored
    evened = dataset.own and kind == "classification" and metric == "balanced_accuracy"
    natural_first, train = natural(0), parts(0)[0]
    first = arrays(0) if evened else natural_first
    raw = _raw_facts(dataset, rows, train, natural_first)
    described = seen_as.embedding(see(0, targets(0)))[train]
    described_as = "classification" if kind in _CLASSES else kind
    key = OWN_KEY if dataset.own else dataset.name
    found = features.task_features(key, raw, described, natural_first.y_train, described_as)
    chance = metrics.chance(metric, natural_first.y_train, first.y_test)
    if seen_as.by_class:
        for split in range(len(assigned)):
            episodes.check(dataset.name, arrays(split))
        # a network of an episode tells so many classes apart, from so many rows
        ways, chance = first.n_classes, 1.0 / first.n_classes
        found |= {"log_classes": np.log(ways), "log_rows_per_input": np.log(ways * first.shots / first.n_features)}
    facts = {
        "dataset": dataset.name,
        "family": dataset.family,
        "source": dataset.source,
        "modality": dataset.modality,
        "kind": kind,
        "metric": metric,
        "direction": metrics.direction(metric),
        "n_rows": len(rows),
        "n_train": len(natural_first.x_train),
        "n_valid": len(first.x_valid),
        "n_test": len(first.x_test),
        "n_features": first.n_features,
        "n_classes": first.n_classes,
        "n_splits": len(assigned),
        "split_hashes": [splits.digest(a) for a in assigned],
        "chance": chance,
        "licence": dataset.licence,
        "url": dataset.url,
        "features": found,
        "shape": list(first.shape),
        "n_outputs": first.n_outputs,
        **{name: getattr(first, name) for name in _MORE},
    }
    if dataset.own:
        facts |= {"trained_rows": len(first.x_train), "notes": _own_notes(dataset, facts, first, rows, train, seen_as)}
    return facts, arrays


def _own_notes(
    dataset: Dataset, facts: dict[str, Any], first: Arrays, rows, train: np.ndarray, seen_as: View
) -> list[str]:
    """What is done to a person's data on its way to the network, a line each."""
    out, wanted = [], round(0.6 * len(rows))
    if len(train) < wanted - 1:
        out.append(
            f"{len(rows):,} rows: networks train on {len(train):,} of the {wanted:,} rows for training, an even random sample"
        )
    if seen_as.table and isinstance(rows, pd.DataFrame):
        target = None if dataset.y is None else first.y_train[: len(train)]
        out += preprocess.reduced(rows, dataset.categorical, train, target)
    if len(first.x_train) > len(train):
        out.append(rare.told(first.y_train[: len(train)], len(first.x_train), seen_as.table))
    return out


@dataclass(frozen=True)
class Parts:
    """Rows of a data set that have a target, and where those of a split stand."""

    rows: Any
    #: class indices, numbers or None
    target: np.ndarray | None
    labels: list
    #: positions of training, validation and test rows
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def training_part(dataset: Dataset, workload, split: int) -> Parts:
    """What a network that :func:`prepare`'s arrays train is to be fitted on."""
    seen_as = view(workload.view)
    rows, target, labels, groups = _labelled(dataset, seen_as)
    stratify = np.zeros(len(rows)) if target is None else target
    key = OWN_KEY if dataset.own else dataset.name
    assigned = splits.assign(key, split, stratify, dataset.kind, groups, dataset.temporal)
    return Parts(rows, target, labels, *splits.parts(key, split, assigned, dataset.temporal, workload.rows))


def whole(dataset: Dataset, workload, metric: str) -> tuple[Arrays, Parts]:
    """Arrays of which all rows of a person's own data are training rows, prepared as :func:`prepare` prepares those of a
    split. The few validation and test rows are training rows too: what is scored on them says nothing."""
    seen_as = view(workload.view)
    rows, target, labels, _ = _labelled(dataset, seen_as)
    train, few = np.arange(len(rows)), np.arange(min(len(rows), 256))
    y = None if target is None else target if labels else preprocess.standardise(target, train)
    seen = seen_as.see(rows, y, train, dataset)
    x, wanted = seen.x, seen.y
    if dataset.own and (seen_as.kind or dataset.kind) == "classification" and metric == "balanced_accuracy":
        x, wanted = rare.evened(x, wanted, 0, smooth=seen_as.table)
    classes = seen.classes or (len(labels) if seen.y is y else 0)
    more = {name: getattr(seen, name) for name in _MORE}
    parts = (x, wanted, seen.x[few], seen.y[few], seen.x[few], seen.y[few])
    return Arrays(seen_as.kind or dataset.kind, metric, classes, *parts, **more), Parts(
        rows, target, labels, train, few, few
    )


def _labelled(dataset: Dataset, seen_as: View):
    """Rows with a target, the targets (class indices, numbers or None), the labels, the groups."""
    examples, y = seen_as.examples(dataset), cast(Any, dataset.y)
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
        "columns": float(columns),
        "categorical": categorical,
        "missing": float(missing.mean()),
        "rows_with_missing": float(missing.any(axis=1).mean()),
        "image": float(dataset.modality == "image"),
    }


__all__ = ["Parts", "prepare", "training_part", "whole"]
