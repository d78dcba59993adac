"""The Arrow schema of every table: the single source of columns and of what they mean.

Every file carries ``metabench.schema_version`` in its Arrow metadata; a file of a version that is not known is refused.
Tables of version 1 have no final scores and no ``origin`` of configurations; both are filled in when they are read.
"""

from __future__ import annotations

import pyarrow as pa

#: of the files of boards
SCHEMA_VERSION = "1"
#: of the files of tables, and the versions that can be read
TABLE_VERSION, READABLE = "2", ("1", "2")
#: changes whenever the numbers that a run produces may change; part of every ``run_id``
NUMERICS_VERSION = "1"

_META = {b"metabench.schema_version": SCHEMA_VERSION.encode()}
_TABLE_META = {b"metabench.schema_version": TABLE_VERSION.encode()}
#: columns with the scores of the last checkpoint, and the curves that they come from
FINALS = {"final_valid_score": "valid_score", "final_test_score": "test_score"}


def _field(name: str, kind: pa.DataType, meaning: str) -> pa.Field:
    return pa.field(name, kind, metadata={"description": meaning})


_name = pa.dictionary(pa.int32(), pa.string())
_curve = pa.list_(pa.float32())

RUNS = pa.schema(
    [
        _field("run_id", pa.int64(), "stable hash of task, configuration, seed and numerics version"),
        _field("task_id", _name, "task, as in tasks.parquet"),
        _field("config_id", pa.int32(), "row of configs/<workload>.parquet"),
        _field("seed", pa.int16(), "seed of weights, data order, masks and (small data sets) of the split"),
        _field("status", _name, "ok, diverged (a loss stopped being finite; the curve so far is kept) or failed"),
        _field("error", pa.string(), "why a run failed; null otherwise"),
        _field("epochs", pa.list_(pa.int16()), "checkpoints: completed passes over the training rows"),
        _field("train_loss", _curve, "mean loss per training row at each checkpoint (no regularisation)"),
        _field("valid_loss", _curve, "mean loss per validation row"),
        _field("test_loss", _curve, "mean loss per test row"),
        _field("valid_score", _curve, "the task's metric on the validation rows"),
        _field("test_score", _curve, "the task's metric on the test rows"),
        _field("params", pa.int64(), "trainable parameters"),
        _field("flops", pa.int64(), "floating-point operations of the whole training (forward and backward)"),
        _field("seconds", pa.float32(), "the run's share of its cohort's wall time"),
        _field("device", _name, "kind of processor"),
        _field("engine", _name, "backend, numerics version and library version"),
        _field("cohort", pa.int64(), "hash of the chunk of work the run belonged to"),
        _field("final_valid_score", pa.float32(), "validation score at the last checkpoint; null unless status is ok"),
        _field("final_test_score", pa.float32(), "test score at the last checkpoint; null unless status is ok"),
    ],
    metadata=_TABLE_META,
)

#: what a task is; its task features follow as float64 columns called ``feature_<name>``
TASKS = pa.schema(
    [
        _field("task_id", pa.string(), "<workload>-<dataset>"),
        _field("dataset", pa.string(), "data set"),
        _field("family", pa.string(), "data sets of one family share rows and never stand on both sides of a split"),
        _field("source", pa.string(), "source that provides the data set"),
        _field("modality", pa.string(), "tabular, image, series, audio or text"),
        _field("workload", pa.string(), "what is trained"),
        _field("kind", pa.string(), "what is learned: classification, regression, reconstruction, control and others"),
        _field("metric", pa.string(), "name of the score, such as accuracy, balanced_accuracy, r2, rmse or bits"),
        _field("direction", pa.string(), "max or min: which way the metric improves"),
        _field("n_rows", pa.int64(), "rows of the data set"),
        _field("n_train", pa.int32(), "training rows (after the cap)"),
        _field("n_valid", pa.int32(), "validation rows"),
        _field("n_test", pa.int32(), "test rows"),
        _field("n_features", pa.int32(), "network inputs after preprocessing"),
        _field("n_classes", pa.int32(), "classes; 0 for regression"),
        _field("n_splits", pa.int16(), "splits the seed picks from (seed modulo n_splits)"),
        _field("split_hashes", pa.list_(pa.string()), "sha256 of the row assignment of each split"),
        _field("chance", pa.float64(), "score of the best constant prediction on the first split's test rows"),
        _field("licence", pa.string(), "licence of the data set"),
        _field("url", pa.string(), "where the data set comes from; empty for bundled ones"),
    ],
    metadata=_TABLE_META,
)


def tasks_schema(features: list[str]) -> pa.Schema:
    """TASKS followed by one float64 column per task feature."""
    extra = [pa.field(f"feature_{name}", pa.float64()) for name in features]
    return pa.schema([*TASKS, *extra], metadata=_TABLE_META)


#: column of a configuration table that says how each of its rows came to be
ORIGIN = "origin"


def configs_schema(space, origin: bool = False) -> pa.Schema:
    """Schema of a configuration table.

    Args:
        space: a :class:`metabench.space.Space`.
        origin: whether the column ORIGIN is there; tables of schema version 1 have none.

    Returns:
        ``config_id``, a typed column per hyperparameter, and ORIGIN last.
    """
    types = {"float64": pa.float64(), "Int64": pa.int64(), "object": pa.string()}
    columns = [pa.field(name, types[p.dtype]) for name, p in space.items()]
    head = _field("config_id", pa.int32(), "identity of the configuration, shared by all tasks")
    tail = [_field(ORIGIN, pa.string(), "sobol, default, or elite:<task>:<method>: the search that found it")]
    return pa.schema([head, *columns, *(tail if origin else [])], metadata=_TABLE_META)


#: one row per cell of an evaluation: a method, from a start, on a task, with a search seed
TRACES = pa.schema(
    [
        _field("method", pa.string(), "searcher"),
        _field("start", pa.string(), "own, random5 or portfolio3: where the first trials come from"),
        _field("task_id", pa.string(), "held-out task"),
        _field("seed", pa.int16(), "search seed"),
        _field("config_ids", pa.list_(pa.int32()), "configurations in the order they were tried; none twice"),
        _field(
            "epochs",
            pa.list_(pa.int32()),
            "where epochs are counted: what each had seen after its step, and it may be trained on; null elsewhere",
        ),
        _field("overhead", pa.list_(pa.float32()), "seconds the method thought before each of them"),
        _field("cell", pa.string(), "sha256 of everything that determines the cell"),
    ],
    metadata=_META,
)

#: one row per cell of an evaluation whose trials are made to order: any configuration of the space may be tried
LIVE = pa.schema(
    [
        _field("method", pa.string(), "searcher"),
        _field("start", pa.string(), "own: the method chooses from the first trial on"),
        _field("task_id", pa.string(), "held-out task"),
        _field("seed", pa.int16(), "search seed, and the seed of every training"),
        _field("configs", pa.list_(pa.string()), "configurations in the order they were tried, as JSON; none twice"),
        _field("status", pa.list_(pa.string()), "ok or diverged"),
        _field("valid_score", _curve, "validation score at the last checkpoint, which the method saw; NaN if diverged"),
        _field("test_score", _curve, "test score at the last checkpoint, which it did not see"),
        _field("seconds", _curve, "seconds of training"),
        _field("overhead", pa.list_(pa.float32()), "seconds the method thought before each of them"),
        _field("engine", pa.string(), "backend, numerics version and library version; surrogate-… where none trained"),
        _field("device", pa.string(), "kind of processor"),
        _field("cell", pa.string(), "sha256 of everything that determines the cell"),
    ],
    metadata=_META,
)

#: one row per cell of a board of protocol 3: a method, fitted in a fold, on a task that the fold holds out
FOLDED = pa.schema(
    [
        _field("method", pa.string(), "searcher"),
        _field("start", pa.string(), "own: the method chooses from the first trial on"),
        _field("task_id", pa.string(), "held-out task"),
        _field("seed", pa.int16(), "search seed; it says which replicate is seen and which fit is used"),
        _field("fold", pa.string(), "partition.fold that holds the task out, both counted from 1"),
        _field("config_ids", pa.list_(pa.int32()), "configurations in the order they were tried; none twice"),
        _field("overhead", pa.list_(pa.float32()), "seconds the method thought before each of them"),
        _field("fit_seconds", pa.float32(), "seconds that the method learned in the fold, once for all its searches"),
        _field("cell", pa.string(), "sha256 of everything that determines the cell"),
    ],
    metadata=_META,
)

#: one row per cell of the prediction track: what a method says of every configuration of a task after some trials
PREDICTIONS = pa.schema(
    [
        _field("method", pa.string(), "surrogate"),
        _field("task_id", pa.string(), "meta-validation or meta-test task"),
        _field("seed", pa.int16(), "seed of the observed trials"),
        _field("config_ids", pa.list_(pa.int32()), "configurations that were observed, in order"),
        _field("mean", pa.list_(pa.float32()), "predicted utility of every configuration, standardised over them"),
        _field("std", pa.list_(pa.float32()), "its predicted standard deviation, in the same unit"),
        _field("overhead", pa.float32(), "seconds that the prediction took"),
        _field("cell", pa.string(), "sha256 of everything that determines the method's predictions"),
    ],
    metadata=_META,
)
