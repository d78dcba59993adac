"""How far a tuning is: a bar on a terminal, a line a training elsewhere; always on stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from metabench.advise.words import sparkline

if TYPE_CHECKING:
    from metabench.advise.tune import Trial


class Progress:
    """Trainings made, the last one's score and curve. A context manager."""

    def __init__(self, wanted: int):
        self.wanted, self.bar = wanted, None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[last]}"))
            self.bar = Bar(*columns, TimeElapsedColumn(), console=Console(stderr=True))
            self.line = self.bar.add_task("training", total=self.wanted, last="")
            self.bar.start()
        return self

    def __exit__(self, *exc) -> None:
        if self.bar:
            self.bar.stop()

    def told(self, trial: Trial, made: int, wanted: int) -> None:
        """A training is done."""
        score = f"{trial.score:.4f}" if trial.status == "ok" else trial.status
        if self.bar:
            self.bar.update(self.line, completed=made, last=f"{trial.arm} {score} {sparkline(trial)}")
        else:
            print(f"{made} of {wanted}: {trial.arm}, {score} {sparkline(trial)}", file=sys.stderr, flush=True)
