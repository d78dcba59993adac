"""Evaluation on a Ray cluster: the same work as on worker processes, cut so that few nodes fit the same method."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from metabench import cluster
from metabench.errors import MetabenchError
from metabench.evaluation.worker import Bench, Group, one_thread

#: batches of groups for each slot of the cluster: every one fits its method anew, the last ones leave slots idle
BATCHES = 4


def compute(
    todo: list[Group], failed: dict[str, str], bench: Callable[[], Bench]
) -> Iterator[tuple[Group, list[dict] | None, str | None]]:
    """Outcomes of groups as they finish; groups of methods in ``failed`` are left out."""
    groups = [group for group in todo if group.method not in failed]
    if groups:
        for batch, outcome, reason in cluster.stream(
            search, _made(bench), lambda slots: batches(groups, BATCHES * slots)
        ):
            if outcome is not None:
                yield outcome
            else:
                yield batch[0], None, f"method {batch[0].method!r} failed on task {batch[0].task_id} or later: {reason}"


def batches(groups: list[Group], n: int) -> list[list[Group]]:
    """About ``n`` batches of the groups of one method each, in their order."""
    methods: dict[str, list[Group]] = {}
    for group in groups:
        methods.setdefault(group.method, []).append(group)
    out = []
    for own in methods.values():
        parts = min(len(own), max(1, round(n * len(own) / len(groups))))
        out += [own[len(own) * i // parts : len(own) * (i + 1) // parts] for i in range(parts)]
    return out


def compute_live(
    todo: list[Group], failed: dict[str, str], bench: Callable[[], Any]
) -> Iterator[tuple[Group, list[dict] | None, str | None]]:
    """The same of searches whose trials are made to order: a node has all searches of a task."""
    tasks: dict[str, list[Group]] = {}
    for group in todo:
        if group.method not in failed:
            tasks.setdefault(group.task_id, []).append(group)
    if tasks:
        jobs = [(groups,) for groups in tasks.values()]
        for (groups,), outcomes, reason in cluster.stream(run, _made(bench), lambda _: jobs):
            if outcomes is None:
                raise MetabenchError(f"the searches of task {groups[0].task_id} failed: {reason}")
            yield from outcomes


def _made(bench: Callable[[], Any]) -> Callable[[], Any]:
    """What is fitted here, before it is sent, is fitted as in a worker."""

    def made():
        with one_thread():
            return bench()

    return made


def predictions(jobs: list[tuple], work: Callable[[], Any]) -> Iterator[tuple[str, list[dict]]]:
    """What ``work.run(*job)`` gives, by method, for jobs that start with the method's name."""
    for job, rows, reason in cluster.stream(run, work, lambda _: jobs) if jobs else ():
        if rows is None:
            raise MetabenchError(f"method {job[0]!r} failed: {reason}")
        yield job[0], rows


# ---------------------------------------------------------------- on a node
def search(bench: Bench, batch: list[Group]) -> Iterator[tuple[Group, list[dict] | None, str | None]]:
    """Outcomes of a batch, up to the first failure."""
    with one_thread():
        for group in batch:
            try:
                rows = bench.run(group)
            except MetabenchError as error:
                yield group, None, str(error)
                return
            yield group, rows, None


def run(bench, job: tuple) -> Iterator[list]:
    """The one answer to a job."""
    with one_thread():
        yield bench.run(*job)
