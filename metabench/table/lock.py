"""One writer at a time.

In a folder the system keeps the lock, and takes it from a process that dies. On a remote file system there is no such
help. There a writer raises a flag, an object of its own name, and then looks for others (Herlihy & Shavit, 2008, §2.3:
of two who both raise theirs before they look, one sees the other); it needs no more than listings that show what was
written before, which S3, Google's, Azure's and MinIO's stores give. A writer's pulse, a second object, changes every
BEAT seconds. Who finds a flag whose pulse stands still for LEASE seconds, by a clock of its own that knows no dates,
takes it down: that writer is dead. A writer makes sure that its flag still stands right before every commit.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from metabench.errors import MetabenchError
from metabench.table.place import Place, Remote

LOCK = ".lock"
#: seconds between beats of a remote writer's pulse, and after how many without one it counts as dead
BEAT, LEASE = 5.0, 30.0
_PULSE = ".pulse"


def locked(place: Place, timeout: float = 5.0) -> contextlib.AbstractContextManager[Callable[[], None]]:
    """Hold the lock of the table in a place.

    Gives a function that raises MetabenchError when the lock is ours no longer: its folder was moved, removed or replaced,
    or another writer took a remote one for dead. Raises MetabenchError when another process holds the lock for
    ``timeout`` seconds (a remote one: and is alive), or the place cannot be written.
    """
    return _locked_remote(place, timeout) if isinstance(place, Remote) else _locked(place, timeout)


@contextlib.contextmanager
def _locked(folder: Path, timeout: float) -> Iterator[Callable[[], None]]:
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK)
    if (folder / LOCK).is_symlink():
        raise MetabenchError(f"{folder / LOCK} is a symbolic link; remove it")
    for name in ("configs", "runs"):  # what is written or swept there would be another folder's
        if (folder / name).is_symlink():
            raise MetabenchError(
                f"{folder / name} is a symbolic link; a table that is written holds its folders itself"
            )
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        raise MetabenchError(f"{folder} is being written by another process; wait until it has finished") from None
    except OSError as error:
        raise MetabenchError(f"{folder} cannot be written: {error.strerror or error}") from None
    try:
        held = _identity(folder)

        def check() -> None:
            if held is None or _identity(folder) != held:
                raise MetabenchError(f"{folder} was moved, removed or replaced while it was being written")

        yield check
    finally:
        lock.release()


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(folder / LOCK)
    except OSError:
        return None
    return status.st_dev, status.st_ino


# ---------------------------------------------------------------- remote
@contextlib.contextmanager
def _locked_remote(place: Remote, timeout: float) -> Iterator[Callable[[], None]]:
    try:
        flag = _raise_flag(place, timeout)
    except OSError as error:
        raise MetabenchError(f"{place} cannot be written: {str(error).splitlines()[0]}") from None
    over = threading.Event()
    pulse = threading.Thread(target=_beat, args=(_pulse(flag), over), daemon=True)
    pulse.start()

    def check() -> None:
        if not flag.exists():
            raise MetabenchError(
                f"{place}: another writer took this one for dead, as it gave no sign for {LEASE:.0f} s"
            )

    try:
        yield check
    finally:
        over.set()
        pulse.join()
        _take_down(flag)


def _raise_flag(place: Remote, timeout: float) -> Remote:
    """Our flag, once it is the only one."""
    flag = place / f"{LOCK}-{uuid.uuid4().hex}"
    limit = time.monotonic() + timeout
    #: flag → its last pulse, when that was new, and whether it ever changed
    watched: dict[str, tuple[bytes, float, bool]] = {}
    while True:
        others = _living(place, watched)
        if not others:
            flag.write_bytes(f"process {os.getpid()} on {socket.gethostname()}".encode())
            if not [path for path in _flags(place) if path.name != flag.name]:
                return flag
            _take_down(flag)
        elif time.monotonic() > limit and any(watched[path.name][2] for path in others):
            who = _read(others[0]).decode(errors="replace") or "another process"
            raise MetabenchError(f"{place} is being written by {who}; wait until it has finished")
        time.sleep(random.uniform(0.5, 1.0) * min(1.0, BEAT / 2))


def _living(place: Remote, watched: dict[str, tuple[bytes, float, bool]]) -> list[Remote]:
    """The flags whose pulse did not stand still; others are taken down."""
    out = []
    for flag in _flags(place):
        now, pulse = time.monotonic(), _read(_pulse(flag))
        last, since, changed = watched.get(flag.name, (pulse, now, False))
        if pulse != last:
            last, since, changed = pulse, now, True
        watched[flag.name] = last, since, changed
        if now - since > LEASE:
            _take_down(flag)
        else:
            out.append(flag)
    return out


def _flags(place: Remote) -> list[Remote]:
    return [path for path in place.glob(f"{LOCK}-*") if not path.name.endswith(_PULSE)]


def _pulse(flag: Remote) -> Remote:
    """The pulse is no part of the flag: a writer that was taken for dead must not raise its flag again by a late beat."""
    return flag.with_name(flag.name + _PULSE)


def _beat(pulse: Remote, over: threading.Event) -> None:
    count = 0
    while not over.wait(BEAT if count else 0.0):
        count += 1
        with contextlib.suppress(OSError):  # a store that is away for long shows at the next commit
            pulse.write_bytes(str(count).encode())


def _take_down(flag: Remote) -> None:
    for path in (flag, _pulse(flag)):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _read(path: Remote) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
