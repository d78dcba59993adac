"""How far training is: a bar on a terminal, a line every half minute elsewhere; always on stderr."""

from __future__ import annotations

import sys
import time

EVERY = 30.0


class Progress:
    """Runs done, runs a second and the time left, estimated from floating-point operations. A context manager."""

    def __init__(self, runs: int, flops: float, enabled: bool = True):
        self.runs, self.flops, self.enabled = runs, flops, enabled and runs > 0
        self.started = self.said = time.monotonic()
        self.bar = None

    def __enter__(self) -> Progress:
        if self.enabled and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (MofNCompleteColumn(), "runs", BarColumn(), TextColumn("{task.fields[rate]:.0f} runs/s"))
            self.bar = Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True))
            self.line = self.bar.add_task("training", total=self.runs, rate=0.0)
            self.bar.start()
        return self

    def __exit__(self, *exc) -> None:
        if self.bar:
            self.bar.stop()

    def update(self, runs: int, flops: float) -> None:
        """``runs`` and ``flops`` done so far."""
        now = time.monotonic()
        seconds = max(now - self.started, 1e-9)
        if self.bar:
            self.bar.update(self.line, completed=runs, rate=runs / seconds)
        elif self.enabled and (now - self.said > EVERY or runs == self.runs):
            self.said = now
            left = seconds * (self.flops / flops - 1) if flops else float("nan")
            print(
                f"{runs:,} of {self.runs:,} runs, {runs / seconds:.1f} runs/s, {flops / seconds / 1e9:.0f} GFLOP/s, "
                f"about {left / 60:.0f} min left",
                file=sys.stderr, flush=True,
            )  # fmt: skip

    def note(self, message: str) -> None:
        """One line that is not progress."""
        if self.enabled:
            print(message, file=sys.stderr, flush=True)
