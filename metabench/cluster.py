"""Ray, where work goes to more machines than this one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from types import ModuleType

from metabench.errors import MetabenchError, UsageError

#: who does the work: worker processes of this machine, or the nodes of a Ray cluster
EXECUTORS = ("local", "ray")


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
            ray.init(log_to_driver=False, logging_level="WARNING")
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
    return {"num_cpus": 0 if device.startswith("cuda") else 1, "num_gpus": int(device.startswith("cuda"))}


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


def _line(error: object) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
