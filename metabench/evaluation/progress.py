"""How far an evaluation is, on stderr: a line that renews itself on a terminal, a line every half minute elsewhere.

A fit can take minutes in which no search ends, so a thread of its own tells the time.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Collection, Iterable

from metabench.evaluation.worker import Group

#: seconds between lines, off a terminal and on one
EVERY, RENEW = 30.0, 1.0


class Progress:
    """Tasks and searches done of all, fits begun, and the time left. A context manager."""

    def __init__(self, groups: Iterable[Group], have: Collection[str], enabled: bool = True):
        """``groups`` is everything that the evaluation consists of, ``have`` the keys of cells that are stored already."""
        self._open: dict[tuple[str, str], int] = {}
        self.searches = self.done = self.stored = 0
        for g in groups:
            missing = sum(key not in have for key in g.keys.values())
            self.searches += len(g.keys)
            self.stored += len(g.keys) - missing
            self._open[g.method, g.task_id] = self._open.get((g.method, g.task_id), 0) + missing
        self.tasks = len(self._open)
        self.done = self.stored
        self.enabled = enabled and self.done < self.searches
        self._terminal = sys.stderr.isatty()
        self._lock, self._end = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        self._begun, self._what = time.monotonic(), ""

    def __enter__(self) -> Progress:
        if self.enabled:
            self._begun = time.monotonic()
            self._thread = threading.Thread(target=self._tell, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exc) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join()
            if self._terminal:
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def finished(self, group: Group) -> None:
        """The searches of a group have ended."""
        with self._lock:
            self.done += len(group.keys)
            self._open[group.method, group.task_id] -= len(group.keys)
            self._what = f"{group.method}, fold {group.fold}" if group.fold else group.method

    def line(self) -> str:
        """What is told now."""
        with self._lock:
            seconds, new = time.monotonic() - self._begun, self.done - self.stored
            ended = sum(left <= 0 for left in self._open.values())
            text = f"{ended:,} of {self.tasks:,} tasks, {self.done:,} of {self.searches:,} searches"
            if not new:
                return f"{text}; the first fit takes {_clock(seconds)} so far"
            left = seconds * (self.searches - self.done) / new
            return f"{self._what}: {text}, {_clock(seconds)} so far, about {_clock(left)} left"

    def _tell(self) -> None:
        while not self._end.wait(RENEW if self._terminal else EVERY):
            text = f"\r\x1b[K{self.line()}" if self._terminal else f"{self.line()}\n"
            print(text, end="", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min"
