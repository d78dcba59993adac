"""Worker processes: each computes with one thread, and Ctrl-C is for their parent alone, which decides what it means."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any

#: a forked process would inherit locks that threads of numerical libraries hold
_SPAWN = multiprocessing.get_context("spawn")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
#: where there is none (Windows), a worker that is interrupted before it calls `ignore_interrupts` says so at length
_MASK = getattr(signal, "pthread_sigmask", None)


class Worker:
    """A worker process, and this process's end of the pipe to it.

    Args:
        serve: what the process does, ``serve(pipe, *args)``. Its first act is :func:`ignore_interrupts`.
        args: passed on; they are pickled.

    Raises:
        Exception: what pickling ``args`` raises.
    """

    def __init__(self, serve: Callable[..., None], *args: Any):
        self.pipe, far_end = _SPAWN.Pipe()
        self.process: BaseProcess = _SPAWN.Process(target=serve, args=(far_end, *args), daemon=True)
        try:
            with one_thread(), shielded():
                self.process.start()
        except BaseException:
            self.pipe.close()
            raise
        finally:
            far_end.close()

    def end(self) -> None:
        """Terminate the process, whatever it does, and wait for its end."""
        self.pipe.close()
        self.process.terminate()
        self.process.join()


def results(
    workers: int, work: Callable, jobs: Iterable[tuple], initializer: Callable | None = None, initargs: tuple = ()
) -> Iterator[Any]:
    """What ``work(*job)`` returns, as the jobs end in worker processes. An interrupt ends the workers.

    Raises what a job raised, and BrokenProcessPool when a worker ends by itself.
    """
    pool = ProcessPoolExecutor(workers, _SPAWN, initializer=_initialize, initargs=(initializer, initargs))
    try:
        with one_thread(), shielded():
            running = [pool.submit(work, *job) for job in jobs]
        for job in as_completed(running):
            yield job.result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Numerical libraries of processes started inside use one thread."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextlib.contextmanager
def shielded() -> Iterator[None]:
    """Processes started inside are not interrupted while they import what they need, which takes seconds. What comes for
    this process meanwhile reaches it at the end."""
    if _MASK is None:
        yield
        return
    resource_tracker.ensure_running()  # it is started with the first process otherwise, and unblocks the signal
    before = _MASK(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        _MASK(signal.SIG_SETMASK, before)


def ignore_interrupts() -> None:
    """In a worker: Ctrl-C passes it by, from now on without a shield."""
    _on_interrupt(signal.SIG_IGN)


def _initialize(initializer: Callable | None, initargs: tuple) -> None:
    _on_interrupt(signal.SIG_DFL)  # the end, without a word
    if initializer is not None:
        initializer(*initargs)


def _on_interrupt(action: signal.Handlers) -> None:
    signal.signal(signal.SIGINT, action)
    if _MASK is not None:
        _MASK(signal.SIG_UNBLOCK, {signal.SIGINT})
