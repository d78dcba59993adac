"""The prediction track: what a surrogate says of all configurations of an unseen task after none, one, five, 25 trials.

Nothing is searched. The trials are random ones, the same for every method; meta-validation tasks are predicted too,
since the scale of predictions is calibrated on them (:mod:`metabench.scores.prediction`).
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from metabench import schema
from metabench.cluster import EXECUTORS
from metabench.errors import MetabenchError, UsageError
from metabench.evaluation.methods import Method, resolve
from metabench.evaluation.ray_cluster import predictions
from metabench.evaluation.store import read_sealed, write_sealed
from metabench.evaluation.worker import one_thread
from metabench.files import sweep
from metabench.processes import results
from metabench.registry import suggest
from metabench.search.base import History, Problem, Searcher, Surrogate
from metabench.search.replay import Replay, problems
from metabench.search.starts import random_start
from metabench.untrusted import one_line, read_bytes

if TYPE_CHECKING:
    from metabench.boards.board import Board
    from metabench.metatrain import MetaTrain

#: changes whenever the way that predictions are asked for changes; part of every key
PROTOCOL_VERSION = "1"


def predicts(searcher: Searcher) -> bool:
    """Does it say what it expects of a configuration?"""
    return isinstance(searcher, Surrogate) and type(searcher).predict is not Surrogate.predict


def predict(
    methods: Iterable[str | Searcher | type] | str | Searcher | type,
    board: Board,
    table,
    *,
    observed: Sequence[int] | None = None,
    store: str | os.PathLike | None = None,
    executor: str = "local",
    workers: int = 1,
) -> pa.Table:
    """Predictions (schema PREDICTIONS) of surrogates for the board's meta-valid and meta-test tasks.

    Methods are fitted on meta-train; ``observed`` are the numbers of trials they are shown (default: the board's). A
    method whose predictions lie in the folder ``store`` is not asked again. Raises UsageError for a method that does not
    predict, lacks a package, or a table with fewer configurations than are observed; MetabenchError naming a method that
    fails.
    """
    board.check(table)
    resolved = resolve(methods)
    for method in resolved:
        if not predicts(method.searcher):
            raise UsageError(f"method {method.name!r} proposes but does not predict")
        if method.lacks:
            raise UsageError(f"method {method.name!r} {method.lacks}")
    work = PredictBench.of(board, table, tuple(board.observed if observed is None else observed))
    folder = None if store is None else Path(store)
    if folder is not None:
        sweep(folder)
    found = {m.name: _stored(folder, m, work.key(m)) for m in resolved}
    todo = [m for m in resolved if found[m.name] is None]
    if executor == "ray":
        computed = predictions([(m.name, m.searcher, work.key(m)) for m in todo], lambda: work)
    elif executor == "local":
        computed = _computed(todo, work, min(workers, max(1, len(todo))))
    else:
        raise suggest(executor, EXECUTORS, "executor")
    for name, rows in computed:
        found[name] = pa.Table.from_pylist(rows, schema.PREDICTIONS)
        _keep(folder, next(m for m in todo if m.name == name), found[name], work)
    return pa.concat_tables([found[m.name] for m in resolved])


class PredictBench:
    """What is the same for all methods: sources, problems, the trials that are shown."""

    def __init__(self, source: MetaTrain, searches: dict[str, Problem], objective: Replay, observed, seeds, identity):
        self.source, self.problems, self.objective = source, searches, objective
        self.observed, self.seeds, self.identity = observed, seeds, identity

    @classmethod
    def of(cls, board: Board, table, observed: tuple[int, ...]) -> PredictBench:
        tasks = {part: board.tasks(table, part) for part in ("train", "valid", "test")}
        asked = tasks["valid"] + tasks["test"]
        n = len(table.configs(board.workload))
        if list(observed) != sorted(set(observed)) or observed[0] < 0 or observed[-1] >= n:
            raise UsageError(f"observed is {list(observed)}; expected ascending numbers of trials under {n}")
        # validation tasks are predicted here, so no method may learn from them
        source = board.source(table, calibrated=False)
        identity = [PROTOCOL_VERSION, board.digest_on(table), board.workload, tasks, list(observed), board.seeds]
        searches = problems(table, board.workload, asked, max(observed[-1], 1))
        objective = Replay.from_table(table, board.workload, asked)
        return cls(source, searches, objective, observed, board.seeds, identity)

    def key(self, method: Method) -> str:
        return hashlib.sha256(json.dumps([*self.identity, method.fingerprint]).encode()).hexdigest()

    def run(
        self, method: str, searcher: Searcher, key: str, asked: Sequence[tuple[str, int]] | None = None
    ) -> list[dict[str, Any]]:
        """Rows of PREDICTIONS of one method, of all tasks and seeds unless some are ``asked``. Raises MetabenchError naming
        the method when it fails."""
        where = f"method {method!r} failed"
        try:
            fitted, rows = searcher.fit(self.source), []
            for task_id, seed in asked or [(t, s) for t in self.problems for s in range(self.seeds)]:
                where = f"method {method!r} failed on task {task_id}, seed {seed}"
                problem = self.problems[task_id]
                everything = np.arange(len(problem.candidates))
                trials = random_start(task_id, seed, len(everything), max(self.observed[-1], 1))
                for n in self.observed:
                    shown = trials[:n]
                    scores = [self.objective.score(task_id, c, seed) for c in shown]
                    began = time.perf_counter()
                    prediction = cast(Surrogate, fitted.start(problem, seed)).predict(
                        History(list(shown), scores), everything
                    )
                    seconds = time.perf_counter() - began
                    mean, std = _standardised(prediction.mean, prediction.std, len(everything))
                    rows.append(
                        {
                            "method": method,
                            "task_id": task_id,
                            "seed": seed,
                            "config_ids": shown,
                            "mean": mean,
                            "std": std,
                            "overhead": seconds,
                            "cell": key,
                        }
                    )
            return rows
        except MetabenchError as error:
            raise MetabenchError(f"{where}: {error}") from error
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plug-in may raise anything
            text = one_line(error, 300)
            raise MetabenchError(f"{where}: {type(error).__name__}: {text}") from error


def _standardised(mean: np.ndarray, std: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Predictions with mean 0 and standard deviation 1 over the pool: their scale is the method's own business."""
    mean, std = np.asarray(mean, dtype=float), np.asarray(std, dtype=float)
    if mean.shape != (n,) or std.shape != (n,) or not np.isfinite(mean).all() or not (std >= 0).all():
        raise MetabenchError(f"a prediction of shape {mean.shape} and {std.shape} for {n} candidates, or not finite")
    spread = mean.std()
    scale = spread if spread > 1e-12 else 1.0
    return (mean - mean.mean()) / scale, np.minimum(std, 1e12) / scale


def _run(work: PredictBench, method: str, searcher: Searcher, key: str) -> tuple[str, list[dict[str, Any]]]:
    with one_thread():
        return method, work.run(method, searcher, key)


def _computed(todo: list[Method], work: PredictBench, workers: int):
    if workers <= 1:
        for method in todo:
            yield _run(work, method.name, method.searcher, work.key(method))
        return
    yield from results(workers, _run, [(work, m.name, m.searcher, work.key(m)) for m in todo])


# ---------------------------------------------------------------- storage
def _stored(folder: Path | None, method: Method, key: str) -> pa.Table | None:
    """The stored predictions of a method; None where there are none, or a warning names what is damaged."""
    for path in sorted(folder.glob(f"{method.name}.{key[:16]}.*parquet")) if folder is not None else ():
        try:
            found = _predictions_in(read_sealed(path), path)
        except (MetabenchError, FileNotFoundError) as error:
            warnings.warn(f"{error}; the predictions are computed anew", stacklevel=2)
            continue
        if set(found["cell"].to_pylist()) == {key} and set(found["method"].to_pylist()) == {method.name}:
            return found
    return None


def _keep(folder: Path | None, method: Method, rows: pa.Table, work: PredictBench) -> None:
    if folder is not None:
        stem = f"{method.name}.{work.key(method)[:16]}"
        for path in folder.glob(f"{stem}.*parquet"):  # what was damaged
            path.unlink(missing_ok=True)
        write_sealed(folder, stem, rows)


def read_predictions(path: str | os.PathLike) -> pa.Table:
    """A file of predictions with schema PREDICTIONS. Raises MetabenchError naming the file when it is none."""
    try:
        return _predictions_in(read_bytes(path), path)
    except FileNotFoundError:
        raise MetabenchError(f"{path} is absent") from None


def _predictions_in(content: bytes, path: str | os.PathLike) -> pa.Table:
    try:
        found = pq.read_table(pa.BufferReader(content)).select(schema.PREDICTIONS.names).cast(schema.PREDICTIONS)
        found.validate(full=True)
    except (pa.ArrowException, OSError, KeyError, ValueError, OverflowError, NotImplementedError) as error:
        raise MetabenchError(f"{path} holds no predictions: {one_line(error, 200)}") from None
    return found
