"""The page of a board of the prediction track: its ranking, and each measure over the numbers of observed trials."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from metabench.plain import row_dicts
from metabench.publishing.boards.cards import Card, card
from metabench.publishing.boards.view import HIGHLIGHTED, check_names
from metabench.publishing.boards.words import bibtex, question
from metabench.publishing.charts import plots, strips
from metabench.publishing.charts.plots import Series
from metabench.publishing.charts.svg import Scale, drawing, element
from metabench.publishing.pages import wording
from metabench.publishing.pages.render import ASSETS, render, static
from metabench.scores.prediction import LEVEL, PRIOR

if TYPE_CHECKING:
    from metabench.boards.board import Board
    from metabench.publishing.boards.view import Home
    from metabench.scores.prediction import PredictionScores
    from metabench.table import Table

#: measure → what its panel is called, what it says, and the value that is right, if one is
PANELS: dict[str, tuple[str, str, float | None]] = {
    "crps": ("CRPS: the whole distribution.", "Continuous ranked probability score; lower is better.", None),
    "spearman": ("Spearman: the order.", "Rank correlation with the truth; higher is better.", None),
    "coverage": ("Coverage: the widths.", f"Share of truths inside the central interval of {LEVEL:.0%}.", LEVEL),
}
DOWNLOADS = {"summary": "Measures at every number of trials", "tasks": "Measures on each task"}
#: what orders the ranking, after the most trials
RANKED_BY = "crps"


@dataclass(frozen=True)
class Row:
    """One line of the ranking: number of observed trials → the record of the summary."""

    name: str
    card: Card
    css: str
    place: int
    at: Mapping[int, Mapping[str, Any]]


class PredictionView:
    """What the page shows, taken out of the scores once. Raises UsageError where a method has an unsafe name."""

    def __init__(self, board: Board, scores: PredictionScores, table: Table, command: str, home: Home | None = None):
        self.home = None if home is None else home.way
        self.docs, self.earlier = (False, ()) if home is None else (home.docs, home.earlier)
        self.board, self.scores, self.table, self.command = board, scores, table, command
        self.starts: tuple[str, ...] = ()  # as on boards of searches, whose pages share their frame
        self.observed = sorted({int(n) for n in scores.summary["observed"]})
        check_names([m for m in scores.summary["method"].unique() if m != PRIOR], "method")

    @property
    def title(self) -> str:
        return self.board.title or self.board.name

    @property
    def last(self) -> int:
        """The largest number of observed trials: it ranks the board."""
        return self.observed[-1]

    @cached_property
    def rows(self) -> list[Row]:
        """Methods, best first, and among them the standard normal."""
        found: dict[str, dict[int, Mapping[str, Any]]] = {}
        for record in row_dicts(self.scores.summary):
            found.setdefault(record["method"], {})[int(record["observed"])] = record
        order = sorted(found, key=lambda m: (found[m][self.last][RANKED_BY], m))
        leaders = [m for m in order if m != PRIOR][:HIGHLIGHTED]
        css = {m: f"c{i + 1}" for i, m in enumerate(leaders)} | {PRIOR: "reference"}
        return [Row(m, _card(m), css.get(m, "other"), place, found[m]) for place, m in enumerate(order, 1)]

    @cached_property
    def css(self) -> dict[str, str]:
        """Method → its class in charts."""
        return {row.name: row.css for row in self.rows}

    def series(self, measure: str) -> list[Series]:
        """A measure over the places of the numbers of trials, 0, 1, 2 …, which are drawn at even distances."""
        out = []
        for row in self.rows:
            records = [row.at[n] for n in self.observed]
            mean, low, high = ([float(r[f"{measure}{end}"]) for r in records] for end in ("", "_low", "_high"))
            bounded = [(m, m) if low != low else (low, high) for m, low, high in zip(mean, low, high, strict=True)]
            lows, highs = zip(*bounded, strict=True)
            out.append(Series(row.name, row.css, range(len(mean)), mean, lows, highs))
        return out

    @cached_property
    def tasks(self) -> list[dict[str, Any]]:
        """Held-out tasks with the best method on each, after the most trials."""
        frame = self.scores.tasks
        out = []
        for task_id, part in frame[(frame["observed"] == self.last) & (frame["method"] != PRIOR)].groupby("task_id"):
            best: Any = part.sort_values([RANKED_BY, "method"]).iloc[0]
            out.append(
                {
                    "id": task_id,
                    "family": best["family"],
                    "kind": self.table.task_info(str(task_id)).kind,
                    "best": best["method"],
                    RANKED_BY: float(best[RANKED_BY]),
                    "spearman": float(best["spearman"]),
                    "median": statistics.median(part[RANKED_BY].tolist()),
                }
            )
        return out


def _card(name: str) -> Card:
    return Card(name, "no prediction") if name == PRIOR else card(name)


def protocol(board: Board, table: Table) -> list[str]:
    """How the board is measured, a paragraph each."""
    text = render(
        "predict_protocol.txt.j2",
        board=board,
        n_tasks=len(board.tasks(table, "test")),
        n_valid=len(board.tasks(table, "valid")),
        prior=PRIOR,
    )
    return [" ".join(p.split()) for p in text.split("\n\n")]


def site(view: PredictionView, finding: str, sizes: Mapping[str, int] | None = None) -> Iterator[tuple[str, str]]:
    """(path below ``site/``, contents) of the page, its style sheet and its script; ``sizes`` are the downloads' in bytes."""
    yield from ((name, static(name)) for name in ASSETS)
    yield "index.html", index(view, finding, sizes or {})


def index(view: PredictionView, finding: str, sizes: Mapping[str, int]) -> str:
    values = {n: [row.at[n][RANKED_BY] for row in view.rows] for n in view.observed}

    def heat(n: int, value: float) -> str:
        low, high = min(values[n]), max(values[n])
        return f"{(high - value) / (high - low) if high > low else 0.0:.2f}"

    most = max(max(row.at[view.last][f"{RANKED_BY}_high"], row.at[view.last][RANKED_BY]) for row in view.rows)
    drawn = {row.name: _strip(row.at[view.last], most, row.css) for row in view.rows}
    return render(
        "predict.html.j2",
        v=view,
        root="",
        home=view.home,
        finding=finding,
        question=question(view.board),
        sizes=sizes,
        bibtex=bibtex(view.board),
        heat=heat,
        strips=drawn,
        panels=[_panel(view, measure) for measure in PANELS],
        n_tasks=len(view.board.tasks(view.table, "test")),
        protocol=protocol(view.board, view.table),
        n_configs=len(view.table.configs(view.board.workload)),
        prior=PRIOR,
        level=LEVEL,
        downloads=list(DOWNLOADS.items()),
    )


def _strip(record: Mapping[str, Any], most: float, css: str) -> Markup:
    value, low, high = (record[f"{RANKED_BY}{end}"] for end in ("", "_low", "_high"))
    return strips.interval(value, low if low == low else value, high if high == high else value, most, css)


def _panel(view: PredictionView, measure: str) -> dict[str, Any]:
    heading, text, target = PANELS[measure]
    series = view.series(measure)
    ends = sorted(series, key=lambda s: s.mean[-1], reverse=measure == "spearman")
    listed = "; ".join(f"{s.method} {wording.num(s.mean[-1])}" for s in ends)
    chart = measure_panel(
        series,
        view.observed,
        uid=f"predict-{measure}",
        title=f"{heading.split(':')[0]} over observed trials",
        description=f"After {view.last} observed trials: {listed}.",
        target=target,
    )
    return {"measure": measure, "heading": heading, "text": text, "chart": chart}


def measure_panel(
    series: Sequence[Series], observed: Sequence[int], *, uid: str, title: str, description: str, target: float | None
) -> Markup:
    """A measure over the numbers of observed trials at even distances: lines with 95 % bands, ``target`` as a dashed line.

    Labels stand right of the 440-unit wide drawing, as in :func:`metabench.publishing.charts.plots.regret_panel`.
    """
    width, height = 440, 340
    left, right, top, bottom = 52.0, width - 8.0, 10.0, height - 42.0
    x = Scale(0, max(len(observed) - 1, 1), left, right)
    # bands show at once of the first and of the reference alone
    banded = [v for s in series if s.css in ("c1", "reference") for v in (*s.low, *s.high)]
    shown = [v for s in series for v in s.mean] + banded + ([] if target is None else [target])
    room = 0.06 * (max(shown) - min(shown) or 1.0)
    y = Scale(min(shown) - room, max(shown) + room, bottom, top)
    out = []
    for tick in y.ticks():
        out.append(element("line", x1=left, x2=right, y1=y(tick), y2=y(tick), class_="grid"))
        out.append(element("text", plots.tick_label(tick), x=left - 6, y=y(tick) + 4.5, class_="tick end"))
    for place, n in enumerate(observed):
        out.append(element("line", x1=x(place), x2=x(place), y1=bottom, y2=bottom + 4, class_="axis"))
        out.append(element("text", str(n), x=x(place), y=bottom + 19, class_="tick middle"))
    out.append(element("line", x1=left, x2=right, y1=bottom, y2=bottom, class_="axis"))
    out.append(plots.axis_title("observed trials", (left + right) / 2, bottom + 36))
    out += [plots.curve(s, x, y) for s in sorted(series, key=lambda s: s.css != "other")]
    if target is not None:
        out.append(element("line", x1=left, x2=right, y1=y(target), y2=y(target), class_="floor"))
    out += plots.end_labels(series, x, y, right)
    return drawing(out, (width, height), uid=uid, title=title, description=description, class_="chart regret")
