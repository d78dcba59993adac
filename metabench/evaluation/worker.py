"""What a worker does: fit a method once, then search tasks with it, in its own process with one thread."""

from __future__ import annotations

import contextlib
import copy
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import Connection
from typing import Any

from threadpoolctl import threadpool_limits

from metabench import processes, registry
from metabench.errors import MetabenchError
from metabench.search import loop
from metabench.search.base import MetaTrain, Problem, Searcher
from metabench.search.fidelity import Curves, FidelityProblem, FidelitySearcher, FullTraining, affordable
from metabench.search.fidelity import checked as checked_advance
from metabench.search.replay import CurveReplay, Replay
from metabench.search.starts import STARTS, random_start
from metabench.untrusted import one_line


@dataclass(frozen=True)
class Group:
    """The cells of one method, start and task: ``keys`` maps search seeds to the keys of the cells."""

    method: str
    start: str
    task_id: str
    keys: Mapping[int, str]
    #: under protocol 3 the fold that the method is fitted in, and the seed that it is fitted with
    fold: str = ""
    fit_seed: int = 0

    @property
    def fit(self) -> tuple[str, str, int]:
        """What one fit serves: searches that agree on it share the fitted method."""
        return self.method, self.fold, self.fit_seed


class Bench:
    """Everything a worker needs: the unfitted methods, the meta-training data, the held-out problems and objective."""

    def __init__(
        self, searchers: Mapping[str, Searcher], source: MetaTrain, problems: Mapping[str, Problem], objective: Replay
    ):
        self.searchers = dict(searchers)
        self.source = source
        self.problems = dict(problems)
        self.objective = objective
        self._fitted: tuple[str, Searcher] | None = None

    def fitted_for(self, group: Group) -> Searcher:
        """The method as the searches of a group need it."""
        return self.fitted(group.method)

    def fitted(self, name: str) -> Searcher:
        """The method fitted on meta-train; the last one is kept, so memory stays bounded."""
        if self._fitted is None or self._fitted[0] != name:
            self._fitted = None
            self._fitted = name, copy.deepcopy(self.searchers[name]).fit(self.source)
        return self._fitted[1]

    @cached_property
    def _portfolio(self) -> Searcher:
        """The fitted portfolio that gives the start."""
        return registry.create("metamodels", "portfolio").fit(self.source)

    def run(self, group: Group) -> list[dict[str, Any]]:
        """Rows of TRACES, one for each seed of the group. Raises MetabenchError naming a method that misbehaves."""
        where = f"method {group.method!r} failed"
        try:
            searcher = self.fitted_for(group)
            rows = []
            for seed, key in group.keys.items():
                where = f"method {group.method!r} failed on task {group.task_id}, start {group.start}, seed {seed}"
                search = self._advance if isinstance(self.objective, CurveReplay) else self._search
                row = {"method": group.method, "start": group.start, "task_id": group.task_id, "seed": seed}
                rows.append(row | search(searcher, group, seed) | {"cell": key})
            return rows
        except MetabenchError as error:
            raise MetabenchError(f"{where}: {error}") from error
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plug-in may raise anything
            frame = traceback.extract_tb(error.__traceback__)[-1]
            text = one_line(error, 300)
            place = f"{os.path.basename(frame.filename)} line {frame.lineno}"
            raise MetabenchError(f"{where}: {type(error).__name__}: {text} ({place})") from error

    def _search(self, searcher: Searcher, group: Group, seed: int) -> dict[str, list]:
        problem = self.problems[group.task_id]
        given = self._start(group, seed)
        found = loop.search(searcher, problem, seed, lambda c: self.objective.score(group.task_id, c, seed), given)
        return {"config_ids": self.objective.configs(group.task_id, found.tried), "overhead": found.overhead}

    def _advance(self, searcher: Searcher, group: Group, seed: int) -> dict[str, list]:
        """A search that is counted in epochs; a searcher of full trainings trains each of its proposals to the end."""
        problem, replay = self.problems[group.task_id], self.objective
        assert isinstance(problem, FidelityProblem) and isinstance(replay, CurveReplay)
        n, curves, overhead = len(problem.candidates), Curves(problem.checkpoints), []
        fidelity = searcher if isinstance(searcher, FidelitySearcher) else FullTraining(searcher)
        began = time.perf_counter()
        search = fidelity.start(problem, seed)
        thought = time.perf_counter() - began
        while len(curves.unfinished(n)):
            seen = curves.copy()
            began = time.perf_counter()
            proposal = search.ask(seen)
            thought += time.perf_counter() - began
            asked = checked_advance(proposal, curves, n)
            if (advance := affordable(asked, curves, problem.epochs)) is None:
                break
            stands = curves.epochs(advance.candidate)
            curves.add(advance.candidate, replay.train(group.task_id, advance.candidate, stands, advance.epochs, seed))
            overhead.append(thought)
            # one cut short is the last, unless it diverged before it had used up what was left
            if advance != asked and not curves.diverged(advance.candidate):
                break
            thought = 0.0
        tried, epochs = zip(*curves.advances, strict=True)
        return {"config_ids": list(tried), "epochs": list(epochs), "overhead": overhead}

    def _start(self, group: Group, seed: int) -> list[int]:
        problem, size = self.problems[group.task_id], STARTS[group.start]
        if group.start == "random5":
            return random_start(group.task_id, seed, len(problem.candidates), size)
        if group.start == "given5":
            return self.objective.first(group.task_id, seed)
        if group.start != "portfolio3":
            return []
        score, trials = (lambda c: self.objective.score(group.task_id, c, seed)), min(size, problem.budget)
        return loop.search(self._portfolio, problem, seed, score, trials=trials).tried


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread for numerical libraries, here and in processes started meanwhile, so that sums keep their order."""
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else None
    if torch:
        torch.set_num_threads(1)
    try:
        with processes.one_thread(), threadpool_limits(1):
            yield
    finally:
        if torch:
            torch.set_num_threads(threads)


def serve(connection: Connection, bench: Bench) -> None:
    """Body of a worker process: None when it is ready, then groups in, (rows, None) or (None, message) out, until None."""
    processes.ignore_interrupts()
    connection.send(None)
    while (group := connection.recv()) is not None:
        try:
            connection.send((bench.run(group), None))
        except MetabenchError as error:
            connection.send((None, str(error)))
