"""An in-memory table with known scores, and searchers that behave and misbehave."""

import hashlib
import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa

from metabench.boards.board import Board
from metabench.errors import MetabenchError
from metabench.search.base import MetaTrain, Searcher
from metabench.testing.planted import SPACE, PlantedFamily
from metabench.untrusted.parquet import as_arrow


class FakeTable:
    """The reading side of a table: tasks 0 … of a planted family, or any given scores [tasks, configs, seeds]."""

    name = "fake"
    version = 1
    path = None

    def __init__(self, valid, test, infos, configs, space=SPACE, workload="planted"):
        self._series = {"valid_score": np.asarray(valid, float), "test_score": np.asarray(test, float)}
        self._infos = {info.task_id: info for info in infos}
        self._configs = configs.rename_axis("config_id")
        self._space, self._workload = space, workload
        rows = [
            {name: getattr(i, name) for name in ("task_id", "family", "kind", "metric", "direction", "modality")}
            | {"workload": workload}
            for i in infos
        ]
        self.tasks = pd.DataFrame(rows)
        self.workloads = [workload]
        self.digest = hashlib.sha256(b"".join(v.tobytes() for v in self._series.values())).hexdigest()
        self.digest_of = lambda workloads: self.digest

    @classmethod
    def planted(cls, tasks=12, configs=64, seeds=2, noise=0.01, families=None, **settings):
        """Valid scores with noise, test scores with noise of their own; ``families`` names the family of each task."""
        table = SPACE.sample(configs, 0)
        family = PlantedFamily(noise=noise, **settings)
        infos = [family.info(t) for t in range(tasks)]
        if families is not None:
            infos = [replace(info, family=f) for info, f in zip(infos, families, strict=True)]
        both = np.stack([family.scores(t, table, 2 * seeds) for t in range(tasks)])
        return cls(both[..., :seeds], both[..., seeds:], infos, table)

    def space(self, workload):
        return self._space

    def configs(self, workload):
        return self._configs.copy()

    def task_info(self, task_id):
        return self._infos[task_id]

    def final(self, workload, task_ids, series="valid_score"):
        order = list(self._infos)
        return self._series[series][[order.index(t) for t in task_ids]]

    def ran(self, workload, task_ids):
        """All runs were made."""
        return np.ones(self.final(workload, task_ids).shape, dtype=bool)

    #: checkpoints of its curves, which rise in even steps from nothing to the final score
    epochs = (1, 3, 10)

    def curves(self, workload, task_ids, series="valid_score"):
        return self.final(workload, task_ids, series)[..., None] * np.linspace(1 / 3, 1, 3)

    def runs(self, workload, columns=None, tasks=None):
        """Of the real one's columns: identity, and ``epochs``."""
        _, configs, seeds = self._series["valid_score"].shape
        cells = [(t, c, s) for t in tasks for c in range(configs) for s in range(seeds)]
        known = {
            "task_id": [t for t, _, _ in cells],
            "config_id": [c for _, c, _ in cells],
            "seed": [s for _, _, s in cells],
            "run_id": list(range(len(cells))),
            "epochs": [list(self.epochs)] * len(cells),
        }
        return pa.table({name: known[name] for name in columns})

    def meta_train(self, workload, train_ids, valid_ids=()):
        valid = self.meta_train(workload, valid_ids) if len(valid_ids) else None
        infos = [self._infos[t] for t in train_ids]
        return MetaTrain(self._space, self.configs(workload), infos, self.final(workload, train_ids), valid)


def board_for(table, *, budget=8, seeds=2, train=4, valid=2, **rules):
    """A board on a fake table: the first families train, the next validate, the others test."""
    families = list(dict.fromkeys(table.tasks["family"]))
    split = {
        "train": tuple(families[:train]),
        "valid": tuple(families[train : train + valid]),
        "test": tuple(families[train + valid :]),
    }
    rules = {"marks": tuple(m for m in (1, 2, 3, 5, 10, 25, 50, 100) if m <= budget)} | rules
    return Board(
        name="fake",
        version=1,
        dataset="fake",
        dataset_version=1,
        digest=table.digest_of(["planted"]),
        workload="planted",
        budget=budget,
        seeds=seeds,
        split=split,
        **rules,
    )


def signed(folder):
    """A drafted submission with what its author has to say."""
    path = folder / "submission.toml"
    text = (
        path.read_text().replace('"your name"', '"Ada Lovelace"').replace("TODO: what the method does", "It searches.")
    )
    path.write_text(text)
    return folder


def read_here(path, *, rows, values, most, error, **limits):
    """:func:`metabench.untrusted.parquet` without its child process, which takes a second; for tests of other things."""
    try:
        return pa.ipc.open_stream(as_arrow(str(path), None, rows, values, most)).read_all()
    except MetabenchError as problem:
        raise error(str(problem)) from None


class First(Searcher):
    """The first untried candidate."""

    name = "first"

    def ask(self, history):
        return int(history.untried(len(self.problem.candidates))[0])


class Last(First):
    name = "last"
    twin = "first"

    def ask(self, history):
        return int(history.untried(len(self.problem.candidates))[-1])


class Raises(First):
    name = "raises"

    def ask(self, history):
        if len(history) == 3:
            raise ValueError("no\nidea")
        return super().ask(history)


class Repeats(First):
    name = "repeats"

    def ask(self, history):
        return history.candidates[0] if len(history) == 6 else super().ask(history)


class OutOfRange(First):
    name = "out_of_range"

    def ask(self, history):
        return len(self.problem.candidates)


class NotANumber(First):
    name = "not_a_number"

    def ask(self, history):
        return 1.5


class Dies(First):
    """Its process ends without a word."""

    name = "dies"

    def ask(self, history):
        os._exit(11)


class Lacks(First):
    name = "lacks"
    requires = ("a_package_that_is_not_there",)


class Meddles(First):
    """Changes the history it is shown."""

    name = "meddles"

    def ask(self, history):
        candidate = super().ask(history)
        history.candidates.clear()
        history.scores.clear()
        return candidate


class TwoWorkloads:
    """Two fake tables of different workloads read as one, as a table with several workloads is."""

    name = "fake"
    version = 1
    path = None

    def __init__(self, *tables):
        self._of = {table.workloads[0]: table for table in tables}
        self.workloads = list(self._of)
        self.tasks = pd.concat([table.tasks for table in tables], ignore_index=True)
        self.digest = hashlib.sha256("".join(table.digest for table in tables).encode()).hexdigest()
        self.digest_of = lambda workloads: self.digest

    def task_info(self, task_id):
        workload = self.tasks.set_index("task_id")["workload"][task_id]
        return self._of[workload].task_info(task_id)

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda workload, *args, **settings: getattr(self._of[workload], name)(workload, *args, **settings)


class CurveTable(FakeTable):
    """A table with learning curves ``valid`` [tasks, configs, seeds, checkpoints], larger is better, NaN from where a run
    diverged on; ``seconds`` [tasks, configs, seeds] of whole runs. Test scores are the last valid ones."""

    checkpoints = (1, 2, 3, 5, 8, 12, 18, 26, 36, 50)

    def __init__(self, valid, infos, configs, seconds=None, checkpoints=checkpoints, **settings):
        self._curves, self.checkpoints = np.asarray(valid, float), checkpoints
        super().__init__(self._curves[..., -1].copy(), self._curves[..., -1].copy(), infos, configs, **settings)
        self._seconds = np.ones(self._curves.shape[:3]) if seconds is None else np.asarray(seconds, float)

    @classmethod
    def rising(cls, tasks=8, configs=81, seeds=2, informative=True, diverge=0.0, **settings):
        """Every run rises towards its final score, which lies in (0, 1). Where curves are informative they never cross;
        else the better a run ends, the later it rises."""
        rng = np.random.default_rng(3)
        final = rng.random((tasks, configs, seeds))
        epochs = np.array(settings.get("checkpoints", cls.checkpoints), dtype=float)
        slow = 2.0 if informative else 0.5 + 60.0 * final[..., None] ** 2
        valid = final[..., None] * (1 - np.exp(-epochs / slow)) / (1 - np.exp(-epochs[-1] / slow))
        lost = rng.random(final.shape) < diverge
        begin = rng.integers(len(epochs), size=final.shape)
        valid[lost[..., None] & (np.arange(len(epochs)) >= begin[..., None])] = np.nan
        infos = [PlantedFamily().info(t) for t in range(tasks)]
        return cls(valid, infos, SPACE.sample(configs, 0), 0.1 + rng.random(final.shape), **settings)

    def curves(self, workload, task_ids, series="valid_score"):
        order = list(self._infos)
        return self._curves[[order.index(t) for t in task_ids]].astype(np.float32)

    def final(self, workload, task_ids, series="valid_score"):
        return super().final(workload, task_ids, series).astype(np.float32).astype(float)

    def runs(self, workload, columns=None, tasks=None):
        order, (_, configs, seeds, _) = list(self._infos), self._curves.shape
        rows = []
        for task_id in tasks:
            for c, s in np.ndindex(configs, seeds):
                curve = self._curves[order.index(task_id), c, s]
                seen = int(np.isfinite(curve).sum())
                cost = self._seconds[order.index(task_id), c, s]
                rows.append((task_id, c, s, list(self.checkpoints[:seen]), cost))
        names = ["task_id", "config_id", "seed", "epochs", "seconds"]
        return pa.table({name: [row[i] for row in rows] for i, name in enumerate(names) if name in columns})
