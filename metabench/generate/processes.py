"""Chunks on worker processes of this machine, one thread each."""

from __future__ import annotations

import contextlib
import os
import time
from multiprocessing.connection import wait

import pandas as pd

from metabench.errors import MetabenchError
from metabench.generate import worker
from metabench.generate.executor import Answer
from metabench.generate.plan import Chunk
from metabench.processes import Worker

#: so many workers in a row may die before they are ready for work
STILLBORN = 2


class Processes:
    """An :class:`~metabench.generate.executor.Executor`: a process that dies is replaced."""

    def __init__(self, n: int, workload: str, configs: pd.DataFrame, device: str, backend: str, together: int | None):
        self._settings = workload, configs, device, backend, together
        self._team: list[_Worker] = []
        self._stillborn = 0
        try:
            for _ in range(n):
                self._team.append(_Worker(*self._settings))
        except BaseException:
            self.close()
            raise

    @property
    def given(self) -> int:
        return sum(member.chunk is not None for member in self._team)

    @property
    def vacant(self) -> int:
        return len(self._team) - self.given

    @property
    def idle(self) -> float:
        now = time.monotonic()
        there = [now - member.ready for member in self._team if member.ready is not None]
        return 1.0 - sum(member.busy for member in self._team) / sum(there) if sum(there) else 0.0

    def give(self, chunk: Chunk) -> None:
        next(member for member in self._team if member.chunk is None).give(chunk)

    def answers(self, seconds: float) -> list[Answer]:
        ready = wait([member.pipe for member in self._team if member.chunk], timeout=seconds)
        found = [self._receive(member) for member in list(self._team) if member.pipe in ready]
        return [answer for answer in found if answer is not None]

    def close(self) -> None:
        for member in self._team:
            member.end()

    def _receive(self, member: _Worker) -> Answer | None:
        chunk = member.chunk
        assert chunk is not None  # only those with work are waited for
        try:
            answer = member.pipe.recv_bytes()
        except (EOFError, ConnectionResetError):
            return self._replace(member)
        if answer == worker.READY:
            member.ready = member.given = time.monotonic()
            self._stillborn = 0
            return None
        member.busy += time.monotonic() - member.given
        member.chunk = None
        if answer.startswith(worker.ROWS):
            return Answer(chunk, worker.decode(answer))
        return Answer(chunk, reason=answer[1:].decode())

    def _replace(self, member: _Worker) -> Answer | None:
        """Another process in the place of a dead one; one that was not ready yet passes its chunk on."""
        chunk = member.chunk
        assert chunk is not None
        member.process.join()
        reason = f"the worker process died (exit code {member.process.exitcode})"
        member.end()
        if member.ready is None:
            self._stillborn += 1
            if self._stillborn >= STILLBORN:
                raise MetabenchError(
                    f"worker processes cannot start: {reason}; a script that generates needs "
                    "its call under `if __name__ == '__main__':`"
                )
        fresh = self._team[self._team.index(member)] = _Worker(*self._settings)
        if member.ready is None:
            fresh.give(chunk)
            return None
        return Answer(chunk, reason=reason, died=True)


class _Worker(Worker):
    def __init__(self, *settings):
        super().__init__(worker.main, os.getpid(), *settings)
        self.chunk: Chunk | None = None
        #: when it was ready for work, and seconds of work since
        self.ready: float | None = None
        self.given = self.busy = 0.0

    def give(self, chunk: Chunk) -> None:
        self.chunk, self.given = chunk, time.monotonic()
        with contextlib.suppress(BrokenPipeError):  # a dead worker is noticed by its closed pipe
            self.pipe.send_bytes(worker.request(chunk.task_id, chunk.config_ids, chunk.seeds))
