"""What a page shows of the training on one task: curves, landscape, and what its hyperparameters are worth."""

from __future__ import annotations

from typing import Any

import numpy as np

from metabench.publishing.boards import landscape
from metabench.publishing.boards.trained import TOP, Setting, Trained
from metabench.publishing.charts.strips import bar
from metabench.publishing.pages import wording
from metabench.space import Choice, Ordinal
from metabench.table.card.pages import scale, values


def shown(t: Trained) -> dict[str, Any]:
    """What ``trained.html.j2`` takes."""
    most = max(t.explained.values()) or 1.0
    return {
        "t": t,
        "curves": landscape.curves(t, "curves"),
        "landscape": landscape.landscape(t, "landscape"),
        "settings": [_setting(s, most) for s in t.settings],
        "top": TOP,
    }


def _setting(s: Setting, most: float) -> dict[str, Any]:
    if s.low is None:
        usual = "inactive"
    elif isinstance(s.parameter, Choice | Ordinal):
        usual = f"{s.low} ({wording.percent(s.share)})"
    else:
        usual = f"{wording.value(float(s.low))} … {wording.value(float(s.high))}".replace("-", "−")
    best = "–" if s.best is None else wording.value(float(s.best) if isinstance(s.best, np.floating) else s.best)
    return {
        "name": s.name,
        "range": values(s.parameter),
        "scale": scale(s.parameter),
        "best": best,
        "usual": usual,
        "explains": s.explains,
        "bar": bar(s.explains, most),
    }
