"""Searches whose trials are made to order: all methods search a task in lockstep, and what they ask for is trained together.

A search is that of one method, task and seed. In every round each asks for one configuration; the objective answers all
of them at once (:class:`metabench.search.live.Live` trains those of one split of a task as one cohort). Since no answer
depends on its company, a search's trace does not depend on which others advance beside it, on the number of processes, or
on whether it was interrupted and resumed.
"""

from __future__ import annotations

import copy
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

import pandas as pd

from metabench.errors import MetabenchError, UsageError
from metabench.evaluation.worker import Group, one_thread
from metabench.metatrain import MetaTrain, TaskInfo
from metabench.processes import results
from metabench.search.base import History, Searcher
from metabench.search.continuous import Outcome, Suggests, Trial, Trials, problem, row, to_text
from metabench.search.live import Live
from metabench.search.loop import checked
from metabench.search.surrogate import SurrogateObjective
from metabench.space import Space
from metabench.untrusted import one_line

if TYPE_CHECKING:
    from metabench.boards.board import Board

#: changes whenever the way that such a search is carried out changes; part of every cell's key
LIVE_VERSION = "1"


class LiveBench:
    """What a process needs: the unfitted methods, what they learn from, the space with its stored configurations, the
    held-out tasks and the objective."""

    def __init__(
        self,
        searchers: Mapping[str, Searcher],
        source: MetaTrain,
        space: Space,
        stored: pd.DataFrame,
        tasks: Mapping[str, TaskInfo],
        budget: int,
        objective: Live | SurrogateObjective,
    ):
        self.searchers, self.source, self.space, self.stored = dict(searchers), source, space, stored
        self.tasks, self.budget, self.objective = dict(tasks), budget, objective
        self._fitted: dict[str, Searcher] = {}

    @classmethod
    def of(cls, searchers: Mapping[str, Searcher], board: Board, table, objective=None) -> LiveBench:
        """The bench of a board; ``objective`` is made anew unless it is given."""
        task_ids = board.tasks(table, "test")
        if objective is None:
            kind = Live if board.objective == "live" else SurrogateObjective
            objective = kind.from_table(table, board.workload, task_ids)
        infos = {task_id: table.task_info(task_id) for task_id in task_ids}
        space, stored = table.space(board.workload), table.configs(board.workload)
        return cls(searchers, board.source(table), space, stored, infos, board.budget, objective)

    def fitted(self, name: str) -> Searcher:
        """The method fitted on meta-train; all are kept, since all search at once."""
        if name not in self._fitted:
            self._fitted[name] = copy.deepcopy(self.searchers[name]).fit(self.source)
        return self._fitted[name]

    def run(self, groups: list[Group]) -> list[tuple[Group, list[dict[str, Any]] | None, str | None]]:
        """The searches of some groups on one task: for each its rows of LIVE, or why its method failed."""
        failed: dict[str, str] = {}
        searches = [s for group in groups for s in self._begun(group, failed)]
        for _ in range(self.budget):
            searches = [s for s in searches if s.group.method not in failed]
            asked = [s for s in searches if _tried(s.ask, s.group, failed, s.seed)]
            for search, outcome in zip(asked, self.objective.answer([s.asked for s in asked]), strict=True):
                search.tell(outcome)
        rows = {id(g): [s.row() for s in searches if s.group is g] for g in groups}
        return [(g, None, failed[g.method]) if g.method in failed else (g, rows[id(g)], None) for g in groups]

    def _begun(self, group: Group, failed: dict[str, str]) -> list[_Search]:
        searches = [_Search(self, group, seed) for seed in group.keys]
        return [s for s in searches if _tried(s.begin, group, failed, s.seed)]


class _Search:
    """One search: a method on a task with a seed."""

    def __init__(self, bench: LiveBench, group: Group, seed: int):
        self.bench, self.group, self.seed = bench, group, seed
        self.texts: list[str] = []
        self.positions: list[int] = []
        self.outcomes: list[Outcome] = []
        self.overhead: list[float] = []

    def begin(self) -> None:
        bench = self.bench
        fitted = bench.fitted(self.group.method)
        self.problem = problem(bench.space, bench.stored, bench.tasks[self.group.task_id], self.seed, bench.budget)
        began = time.perf_counter()
        self.searcher = fitted.start(self.problem, self.seed)
        self._thought = time.perf_counter() - began

    def ask(self) -> None:
        space, scores = self.bench.space, [o.valid for o in self.outcomes]
        began = time.perf_counter()
        if isinstance(self.searcher, Suggests):
            named = self.searcher.suggest_config(Trials(space.table(self._configs), scores))
            thought = time.perf_counter() - began
            config = self._valid(named)
        else:
            proposal = self.searcher.ask(History(list(self.positions), scores))
            thought = time.perf_counter() - began
            position = checked(proposal, self.positions, len(self.problem.candidates))
            self.positions.append(position)
            config = row(space, self.problem.candidates, position)
        text = to_text(space, config)
        if text in self.texts:
            raise MetabenchError(f"trial {len(self.texts) + 1}: suggested {text} again")
        self.texts.append(text)
        self.overhead.append(thought + self._thought)
        self._thought = 0.0
        self.asked = Trial(self.group.task_id, self.seed, config)

    @property
    def _configs(self) -> list[dict[str, Any]]:
        from metabench.search.continuous import from_text

        return [from_text(self.bench.space, text) for text in self.texts]

    def _valid(self, named: Any) -> dict[str, Any]:
        if not isinstance(named, Mapping):
            raise MetabenchError(f"trial {len(self.texts) + 1}: suggested {named!r}, which is no configuration")
        return self.bench.space.validate(named)

    def tell(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def row(self) -> dict[str, Any]:
        said = self.outcomes
        return {
            "method": self.group.method,
            "start": self.group.start,
            "task_id": self.group.task_id,
            "seed": self.seed,
            "configs": self.texts,
            "status": [o.status for o in said],
            "valid_score": [o.valid for o in said],
            "test_score": [o.test for o in said],
            "seconds": [o.seconds for o in said],
            "overhead": self.overhead,
            "engine": said[0].engine,
            "device": said[0].device,
            "cell": self.group.keys[self.seed],
        }


def _tried(step: Callable[[], None], group: Group, failed: dict[str, str], seed: int) -> bool:
    """Take a step of a method. When it raises, the reason goes into ``failed`` under the method's name: False."""
    if group.method in failed:
        return False
    where = f"method {group.method!r} failed on task {group.task_id}, seed {seed}"
    try:
        step()
    except MetabenchError as error:
        failed[group.method] = f"{where}: {error}"
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plug-in may raise anything
        frame = traceback.extract_tb(error.__traceback__)[-1]
        text = one_line(error, 300)
        place = f"{os.path.basename(frame.filename)} line {frame.lineno}"
        failed[group.method] = f"{where}: {type(error).__name__}: {text} ({place})"
    return group.method not in failed


# ---------------------------------------------------------------- computing
_here: LiveBench | None = None


def _set(bench: LiveBench) -> None:
    global _here
    _here = bench


def _run(groups: list[Group]):
    assert _here is not None
    return _here.run(groups)


def compute(
    todo: list[Group], failed: dict[str, str], bench: Callable[[], LiveBench], workers: int
) -> Iterator[tuple[Group, list[dict] | None, str | None]]:
    """Outcomes of groups, task by task; groups of methods in ``failed`` (which the caller adds to) are left out.

    With several ``workers`` each takes a task at a time. Raises UsageError for none, MetabenchError when they cannot start.
    """
    if workers < 1:
        raise UsageError(f"workers is {workers}; at least 1 is needed")
    tasks: dict[str, list[Group]] = {}
    for group in todo:
        if group.method not in failed:
            tasks.setdefault(group.task_id, []).append(group)
    if not tasks:
        return
    with one_thread():
        mine = bench()
        if workers == 1:
            for groups in tasks.values():
                yield from mine.run([g for g in groups if g.method not in failed])
            return
        jobs = [(groups,) for groups in tasks.values()]
        try:
            for outcomes in results(min(workers, len(tasks)), _run, jobs, initializer=_set, initargs=(mine,)):
                yield from outcomes
        except BrokenProcessPool:
            raise MetabenchError(
                "a worker process ended: a script needs `if __name__ == '__main__':` around its work, and methods "
                "must come from modules; use 1 worker otherwise"
            ) from None
