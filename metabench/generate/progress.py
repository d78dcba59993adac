"""How far training is: a bar on a terminal, a line every half minute elsewhere; always on stderr."""

from __future__ import annotations

import sys
import time

EVERY = 30.0


class Progress:
    """Runs done, runs a second and the time left, by the predicted seconds of what is done and what is to come. A context
    manager."""

    def __init__(self, runs: int, seconds: float, enabled: bool = True):
        self.runs, self.predicted, self.enabled = runs, seconds, enabled and runs > 0
        self.started = self.said = time.monotonic()
        self.bar = None

    def __enter__(self) -> Progress:
        if self.enabled and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.fields[done]}"), BarColumn(), TextColumn("{task.fields[rate]:.0f} runs/s"))
            self.bar = Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True))
            self.line = self.bar.add_task("training", total=self.predicted, rate=0.0, done=f"0/{self.runs} runs")
            self.bar.start()
        return self

    def __exit__(self, *exc) -> None:
        if self.bar:
            self.bar.stop()

    def update(self, runs: int, flops: float, predicted: float) -> None:
        """``runs`` and ``flops`` done so far, and the seconds that were predicted for them."""
        now = time.monotonic()
        seconds = max(now - self.started, 1e-9)
        if self.bar:
            self.bar.update(self.line, completed=predicted, rate=runs / seconds, done=f"{runs}/{self.runs} runs")
        elif self.enabled and (now - self.said > EVERY or runs == self.runs):
            self.said = now
            left = seconds * (self.predicted / predicted - 1) if predicted else float("nan")
            print(
                f"{runs:,} of {self.runs:,} runs, {runs / seconds:.1f} runs/s, {flops / seconds / 1e9:.0f} GFLOP/s, "
                f"about {left / 60:.0f} min left",
                file=sys.stderr,
                flush=True,
            )

    def note(self, message: str) -> None:
        """One line that is not progress."""
        if self.enabled:
            print(message, file=sys.stderr, flush=True)
