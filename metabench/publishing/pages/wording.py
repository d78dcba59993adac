"""Numbers and names as the pages write them."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from metabench.publishing.charts.plots import duration

if TYPE_CHECKING:
    from metabench.publishing.boards.view import Estimate

#: where the first trials of a search come from → its name, and what that means
STARTS = {
    "own": ("Own choice", "each method chooses all its trials"),
    "random5": ("5 random", "the first five trials are random, the same for every method"),
    "portfolio3": ("Portfolio of 3", "the first three trials are the greedy portfolio's"),
    "given5": ("5 given", "the source of the data prescribes the first five trials"),
}


def num(value: float) -> str:
    """A regret or score: three decimals."""
    if not math.isfinite(value):
        return "–"
    text = f"{value:.3f}"
    return "0.000" if text == "-0.000" else text.replace("-", "−")


def share(value: float) -> str:
    """A ratio or correlation: two decimals; – for NaN, such as noise where there is a single seed."""
    if not math.isfinite(value):
        return "–"
    text = f"{value:.2f}"
    return "0.00" if text == "-0.00" else text.replace("-", "−")


def signed(value: float) -> str:
    """A difference, with its sign."""
    text = num(value)
    return text if text.startswith(("−", "–")) or text == "0.000" else f"+{text}"


def interval(estimate: Estimate) -> str:
    """``[low, high]``; nothing where there is none."""
    return f"[{num(estimate.low)}, {num(estimate.high)}]" if math.isfinite(estimate.low) else ""


def plain(value: float | None) -> str:
    """A number for scripts to sort by; empty where there is none."""
    return "" if value is None or not math.isfinite(value) else f"{value:.6g}"


def percent(share: float) -> str:
    return f"{100 * share:.0f}\u202f%"


def pnumber(p: float) -> str:
    """A p-value on its own."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def pvalue(p: float) -> str:
    """A p-value after the letter p."""
    return pnumber(p) if p < 0.001 else f"= {pnumber(p)}"


def size(n: int) -> str:
    """The size of a file: ``1.2 MB``."""
    return f"{n / 1e6:.1f} MB" if n >= 999_500 else f"{max(n / 1e3, 1):.0f} kB"


def words(identifier: str) -> str:
    """``balanced_accuracy`` → ``balanced accuracy``; r2 as people write it."""
    return "R²" if identifier == "r2" else identifier.replace("_", " ")


def value(setting: Any) -> str:
    """A hyperparameter's value: floats with four significant digits."""
    return f"{setting:.4g}" if isinstance(setting, float) else str(setting)


#: control characters and marks of direction, which no text of ours holds
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def md(text: Any) -> str:
    """Text inside Markdown: HTML and what would end a table's cell or start markup is escaped."""
    return re.sub(r"([\\`*_\[\]<>|&#])", r"\\\1", _UNSEEN.sub("", str(text)))


FILTERS = {
    "num": num,
    "share": share,
    "signed": signed,
    "interval": interval,
    "plain": plain,
    "percent": percent,
    "pnumber": pnumber,
    "pvalue": pvalue,
    "size": size,
    "words": words,
    "value": value,
    "md": md,
    "duration": duration,
}
