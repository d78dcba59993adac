"""SIGTERM and Ctrl-C end a command: what is finished is kept, and nothing unfinished stays.

A hurried hand that presses Ctrl-C five times says no more than one that presses it once.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator

#: seconds after an interrupt in which further ones are taken for the same
SAME = 1.0


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived."""


@contextlib.contextmanager
def graceful() -> Iterator[None]:
    """Within it the first SIGTERM raises :class:`Terminated`; later ones are ignored, so that nothing stops the work of
    keeping what is finished. Ctrl-C raises KeyboardInterrupt, once for all that come within SAME seconds. Outside the main
    thread, where signals cannot be handled, and where a caller handles them, it does nothing."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    last = -SAME

    def end(number: int, frame: object) -> None:
        nonlocal last
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        last = time.monotonic()
        raise Terminated

    def interrupt(number: int, frame: object) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SAME:
            last = now
            raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if before is signal.default_int_handler:
            signal.signal(signal.SIGINT, before)


def ignore() -> None:
    """On the way out: nothing that still comes may end the process with a traceback."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
