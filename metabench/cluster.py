"""Ray, where work goes to more machines than this one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any, TypeVar

from metabench.errors import MetabenchError, UsageError

#: who does the work: worker processes of this machine, or the nodes of a Ray cluster
EXECUTORS = ("local", "ray")
#: times that Ray tries a task again, elsewhere, whose node or process died
RETRIES = 3

Job = TypeVar("Job")


@contextlib.contextmanager
def connected() -> Iterator[ModuleType]:
    """The module ``ray``, connected as Ray connects: to the cluster that RAY_ADDRESS names, else to one that was started
    on this machine, else to a new one made of this machine's cores. A connection of the caller's own is used and kept.

    Raises UsageError where Ray is not installed, MetabenchError when the cluster cannot be reached.
    """
    try:
        import ray
    except ImportError:
        raise UsageError("the executor ray needs Ray: pip install 'metabench[ray]'") from None
    mine = not ray.is_initialized()
    if mine:
        try:
            ray.init(log_to_driver=False, logging_level="WARNING")  # pyright: ignore[reportArgumentType]
        except Exception as error:  # what Ray raises ranges from ConnectionError over RuntimeError to ValueError
            where = os.environ.get("RAY_ADDRESS", "this machine")
            raise MetabenchError(f"no Ray cluster at {where}: {_line(error)}") from None
    try:
        yield ray
    finally:
        if mine:
            ray.shutdown()


def slots(ray: ModuleType, device: str) -> int:
    """How many tasks run at once on the cluster as it is now: one a GPU, or one a core."""
    return int(ray.cluster_resources().get("GPU" if device.startswith("cuda") else "CPU", 0))


def needs(device: str) -> dict[str, int]:
    """Options of a remote function that takes one slot."""
    gpu = device.startswith("cuda")
    return {"num_cpus": int(not gpu), "num_gpus": int(gpu), "max_retries": RETRIES}


def lost(ray: ModuleType, error: Exception) -> str:
    """Why a task that Ray has tried again and again came to nothing. Raises ``error`` as one line where it is another."""
    known = ray.exceptions
    if isinstance(error, known.NodeDiedError):
        return "the node died"
    if isinstance(error, known.OutOfMemoryError):
        return "the worker process ran out of memory"
    if isinstance(error, known.WorkerCrashedError | known.ObjectLostError):
        return "the worker process died"
    cause = getattr(error, "cause", None)
    if isinstance(cause, MetabenchError):
        raise type(cause)(str(cause)) from None
    raise MetabenchError(f"the Ray cluster failed: {_line(cause or error)}") from error


def stream(
    function: Callable[[Any, Job], Iterator], shared: Callable[[], Any], jobs: Callable[[int], Sequence[Job]]
) -> Iterator[tuple[Job, Any, str | None]]:
    """What ``function(shared(), job)`` yields on the nodes, item by item as it comes: (job, item, None).

    ``jobs`` is told the number of slots; every job takes one. Ray runs a job of a lost node on another; of one that is
    lost time and again comes (job, None, reason). Raises MetabenchError when the function raises, or cannot be sent.
    """
    with connected() as ray:
        n = slots(ray, "cpu")
        if not n:
            raise UsageError("the Ray cluster has no cores")
        remote = ray.remote(num_returns="streaming", **needs("cpu"))(function)
        try:
            sent = ray.put(shared())
            waiting = {remote.remote(sent, job): job for job in jobs(n)}
        except (TypeError, AttributeError) as error:  # a class of a function or a notebook cannot be sent
            raise MetabenchError(f"work cannot be sent to the Ray cluster: {_line(error)}") from error
        try:
            while waiting:
                for items in ray.wait(list(waiting), num_returns=1)[0]:
                    try:
                        item = ray.get(next(items))
                    except StopIteration:
                        del waiting[items]
                    except ray.exceptions.RayError as error:
                        reason = lost(ray, error)
                        yield waiting.pop(items), None, reason
                    else:
                        yield waiting[items], item, None
        finally:
            for items in waiting:
                with contextlib.suppress(ray.exceptions.RayError):
                    ray.cancel(items, force=True)


def _line(error: object) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
