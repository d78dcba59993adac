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
def graceful(last: bool = False) -> Iterator[None]:
    """Within it the first SIGTERM raises :class:`Terminated`; later ones are ignored, so that nothing stops the work of
    keeping what is finished. Ctrl-C raises KeyboardInterrupt, once for all that come within SAME seconds. Outside the main
    thread, where signals cannot be handled, and where a caller handles them, it does nothing.

    Afterwards both are handled as before, unless the process ends with this (``last``) because it was told to: then nothing
    that still comes may end it with a traceback."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    told = -SAME

    def end(number: int, frame: object) -> None:
        nonlocal told
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        told = time.monotonic()
        raise Terminated

    def interrupt(number: int, frame: object) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= SAME:
            told = now
            raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        over = last and told > -SAME
        if before is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_IGN if over else before)
        signal.signal(signal.SIGTERM, signal.SIG_IGN if over else signal.SIG_DFL)
