"""What the pages show, taken out of Scores, Board and Table once: the one place that knows the frames' columns."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from metabench.errors import UsageError
from metabench.plain import row_dicts
from metabench.publishing.boards.cards import Card, card
from metabench.publishing.boards.standing import Standing, tested
from metabench.publishing.charts.plots import EPOCHS, TRIALS, Axis, Series
from metabench.scores.frames import REFERENCE, ordered
from metabench.search.continuous import POOL

if TYPE_CHECKING:
    import pyarrow as pa

    from metabench.boards.board import Board
    from metabench.boards.submissions import Submission
    from metabench.scores import Scores
    from metabench.table import Table

#: the method that `metabench tune` uses, and the configuration that people use without a search
RECOMMENDED, DEFAULT = "empirical_gp", "default"
#: methods that get a colour and are drawn at first, besides random search
HIGHLIGHTED = 4
#: the start and the number of trials that rank the board
HEADLINE_START, HEADLINE_TRIALS = "own", 10


@dataclass(frozen=True)
class Estimate:
    """A score with its 95 % interval; ``low`` and ``high`` are NaN where a single family gives none."""

    value: float
    low: float
    high: float

    @property
    def band(self) -> tuple[float, float]:
        """The interval as it is drawn: of no width where there is none."""
        return (self.low, self.high) if math.isfinite(self.low) else (self.value, self.value)


@dataclass(frozen=True)
class Entry:
    """A method on the board: its card, its place from the headline start, and its class in charts."""

    card: Card
    place: int
    css: str

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def page(self) -> str:
        return f"methods/{page_name(self.name, 'method')}.html"


@dataclass(frozen=True)
class Row:
    """One line of the ranking: a method from one start. Regrets are interquartile means over families of tasks."""

    entry: Entry
    start: str
    place: int
    valid: Mapping[int, Estimate]
    test: Mapping[int, Estimate]
    minmax: float
    rank: float
    #: seconds a trial that the method itself needs
    overhead: float
    #: 1 leads; ``label`` says what the group means
    group: int
    label: str
    #: against its twin without transfer: twin, tasks, share (of tasks that trail), worst_tenth; None without twin
    transfer: Mapping[str, Any] | None


def page_name(name: str, what: str) -> str:
    """The file name (without ending) of a method's or task's page: its name in lower case.

    Raises UsageError when it holds anything but letters, digits, _, . and -.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", name):
        raise UsageError(f"{what} {name!r} cannot name a page; use letters, digits, _, . and - (at most 100)")
    return name.lower()


def check_names(names: Sequence[str], what: str) -> list[str]:
    """The names, sorted. Raises UsageError when one cannot name a page or two would share one."""
    pages: dict[str, str] = {}
    for name in sorted(names):
        page = page_name(name, what)
        if page in pages:
            raise UsageError(f"{what} {name!r} and {pages[page]!r} would share the page {page}.html; rename one")
        pages[page] = name
    return sorted(names)


@dataclass(frozen=True)
class Home:
    """The way from a board's first page to the pages over all boards, and whether its table's tasks have pages there."""

    way: str
    tasks: bool
    #: is the documentation beside them, ``docs/`` of the repository?
    docs: bool = False
    #: earlier versions of the board that are stored
    earlier: tuple[int, ...] = ()


class View:
    """Board, scores and table as the pages need them. Raises UsageError where a method or task has an unsafe name."""

    def __init__(
        self,
        board: Board,
        traces: pa.Table,
        scores: Scores,
        table: Table,
        command: str,
        submissions: Iterable[Submission] = (),
        home: Home | None = None,
    ):
        self._home = home
        self.board, self.traces, self.scores, self.table, self.command = board, traces, scores, table, command
        self.submissions = {s.method: s for s in submissions}
        self.methods_found = check_names(scores.summary["method"].unique().tolist(), "method")
        self.task_ids = check_names(scores.tasks["task_id"].unique().tolist(), "task")
        present = set(scores.summary["start"])
        self.starts = [s for s in board.starts if s in present]
        if not self.methods_found or not self.task_ids or not self.starts:
            raise UsageError(f"board {board.name}: there are no scores to publish")
        self.marks = sorted({int(m) for m in scores.summary["mark"]})
        self.start = HEADLINE_START if HEADLINE_START in self.starts else self.starts[0]
        limit = self.marks[-1] if self.hpob else HEADLINE_TRIALS
        self.mark = max((m for m in self.marks if m <= limit), default=self.marks[0])

    def home(self, root: str) -> str | None:
        """From a page to the pages over all boards, given the way from it to the board's first page; None: there are none."""
        return None if self._home is None else root + self._home.way

    def everywhere(self, task_id: str) -> str | None:
        """From a task's page to its page over all boards, with curves and landscape; None where there is none."""
        return (
            None
            if self._home is None or not self._home.tasks
            else f"{self.home('../')}tasks/{page_name(task_id, 'task')}.html"
        )

    @property
    def hpob(self) -> bool:
        """Is it scored as Pineda Arango et al. (2021) do?"""
        return self.board.protocol == "hpob"

    @property
    def docs(self) -> bool:
        """Is the repository's documentation beside the pages?"""
        return self._home is not None and self._home.docs

    @property
    def earlier(self) -> tuple[int, ...]:
        """Earlier versions of the board whose scores are stored."""
        return () if self._home is None else self._home.earlier

    @cached_property
    def n_configs(self) -> str:
        """How many stored configurations a search may choose from; a range where workloads differ."""
        found = sorted({len(self.table.configs(name)) for name in self.board.workloads(self.table)})
        return "–".join(f"{n:,}" for n in (found if len(found) == 1 else (found[0], found[-1])))

    @property
    def pool(self) -> int:
        """Random configurations that a search whose trials are made to order may choose from besides the stored ones."""
        return POOL

    @property
    def title(self) -> str:
        return self.board.title or self.board.name

    # ---------------------------------------------------------------- what is counted
    @property
    def axis(self) -> Axis:
        """What curves are over."""
        return EPOCHS if self.board.by_epochs else TRIALS

    @property
    def units(self) -> str:
        """What marks count."""
        return self.axis.units

    @property
    def unit(self) -> str:
        return self.units.removesuffix("s")

    @property
    def _column(self) -> str:
        """The column of ``scores.curves`` that says it."""
        return "trainings" if self.board.by_epochs else "trial"

    def amount(self, n: float) -> str:
        """A budget in words: ``10 trials``, ``the epochs of 1 full training``."""
        words = f"{n:g} {self.unit if n == 1 else self.units}"
        return f"the epochs of {words}" if self.board.by_epochs else words

    @cached_property
    def decades(self) -> list[float]:
        """Whole powers of ten among the seconds that curves were looked at."""
        seconds = self.scores.seconds["seconds"].unique().tolist() if self.board.by_epochs else []
        return [x for x in seconds if math.log10(x).is_integer()]

    def after_seconds(self, start: str, method: str, seconds: float) -> float:
        """Valid regret after seconds that curves were looked at."""
        part = self._seconds[start, method]
        return float(part.loc[part["seconds"] == seconds, "valid_regret"].item())

    # ---------------------------------------------------------------- methods in their order
    @cached_property
    def _summary(self) -> dict[tuple[str, str], dict[int, Mapping[str, Any]]]:
        out: dict[tuple[str, str], dict[int, Mapping[str, Any]]] = {}
        for row in row_dicts(self.scores.summary):
            out.setdefault((row["start"], row["method"]), {})[int(row["mark"])] = row
        return out

    def _order(self, start: str) -> list[str]:
        """Methods of one start, best first: by valid regret at the headline mark, then mean rank, then name."""
        return ordered(self.scores.summary, start, self.mark)

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """Method → Entry, in the order of the headline start, then those that have none there."""
        order = self._order(self.start)
        order += [m for m in self.methods_found if m not in order]
        css = coloured(order)
        return {m: Entry(card(m, self.submissions.get(m)), i + 1, css.get(m, "other")) for i, m in enumerate(order)}

    @cached_property
    def css(self) -> dict[str, str]:
        """Method → its class in charts."""
        return {m: e.css for m, e in self.entries.items()}

    @property
    def coloured(self) -> list[str]:
        """Methods with a colour of their own, and the reference, in the board's order."""
        return [m for m, css in self.css.items() if css != "other"]

    def present(self, start: str) -> list[str]:
        """Methods that were evaluated from a start, in the board's order."""
        return [m for m in self.entries if (start, m) in self._summary]

    def rows(self, start: str) -> list[Row]:
        """The ranking from one start, best first."""
        order, standing = self._order(start), self.standing(start)
        last = self.marks[-1]
        out = []
        for place, method in enumerate(order, 1):
            marks = self._summary[start, method]
            out.append(
                Row(
                    entry=self.entries[method],
                    start=start,
                    place=place,
                    valid={m: _estimate(r, "valid") for m, r in marks.items()},
                    test={m: _estimate(r, "test") for m, r in marks.items()},
                    minmax=marks[self.mark]["minmax_regret"],
                    rank=marks[self.mark]["mean_rank"],
                    overhead=marks[last]["overhead_s"] / last,
                    group=standing.groups[method],
                    label=standing.label(method),
                    transfer=self.transfer(start, method),
                )
            )
        return out

    def standing(self, start: str, mark: int | None = None) -> Standing:
        """What the data decide from one start, at the headline mark if none is given."""
        mark = self.mark if mark is None else mark
        methods = ordered(self.scores.summary, start, mark)
        return tested(
            methods,
            *(f[(f["start"] == start) & (f["mark"] == mark)] for f in (self.scores.controls, self.scores.pairs)),
        )

    def transfer(self, start: str, method: str) -> Mapping[str, Any] | None:
        """A method against its twin that does not transfer, at the headline mark."""
        return _only(self._at(self.scores.negative_transfer, start, method=method))

    # ---------------------------------------------------------------- statistics
    def _at(self, frame: pd.DataFrame, start: str, **equal: str) -> list[dict[str, Any]]:
        """Records of one start at the headline mark."""
        keep = (frame["start"] == start) & (frame["mark"] == self.mark)
        for column, value in equal.items():
            keep &= frame[column] == value
        return row_dicts(frame[keep])

    def pairs(self, start: str) -> list[dict[str, Any]]:
        """Every pair of methods with its tests; ``difference`` and ``improvement`` speak of ``method_a``."""
        return self._at(self.scores.pairs, start)

    def tests(self, start: str, control: str) -> dict[str, Mapping[str, Any]]:
        """Method → its test against a control: ``difference`` (method − control), ``p`` and ``p_holm`` over these pairs."""
        return {r["method"]: r for r in self._at(self.scores.controls, start, control=control)}

    def ranks(self, start: str) -> list[tuple[str, float]]:
        """(method, average rank over tasks), ascending."""
        rows = self._at(self.scores.critical, start)
        return sorted(((r["method"], r["average_rank"]) for r in rows), key=lambda r: (r[1], r[0]))

    def bars(self, start: str) -> list[tuple[int, int]]:
        """Bars of the critical-difference diagram: first and last position in :meth:`ranks` of methods alike."""
        position = {m: i for i, (m, _) in enumerate(self.ranks(start))}
        members: dict[int, list[int]] = {}
        for row in self._at(self.scores.critical, start):
            for group in row["groups"]:
                members.setdefault(group, []).append(position[row["method"]])
        return sorted((min(p), max(p)) for p in members.values())

    def friedman(self, start: str) -> Mapping[str, Any] | None:
        """Friedman's test: methods, tasks, statistic, p; None where there are too few of either."""
        found = _only(self._at(self.scores.friedman, start))
        return found if found and math.isfinite(found["p"]) else None

    # ---------------------------------------------------------------- curves
    @cached_property
    def _curves(self) -> dict[tuple[str, str], pd.DataFrame]:
        groups = cast("Iterable[tuple[tuple[str, str], pd.DataFrame]]", self.scores.curves.groupby(["start", "method"]))
        return {key: part.sort_values(self._column) for key, part in groups}

    @cached_property
    def _seconds(self) -> dict[tuple[str, str], pd.DataFrame]:
        groups = cast(
            "Iterable[tuple[tuple[str, str], pd.DataFrame]]", self.scores.seconds.groupby(["start", "method"])
        )
        return dict(iter(groups))  # of its own it would be asked for keys

    def curves(self, start: str, kind: str, banded: Collection[str] | None = None) -> list[Series]:
        """Regret over trials or epochs of every method from one start; ``kind`` is ``valid`` or ``test``.

        ``banded``: the methods whose intervals are drawn; those with a colour of their own, and the reference.
        """
        return self._series(self._curves, start, self._column, kind, banded)

    def clock(self, start: str, kind: str, banded: Collection[str] | None = None) -> list[Series]:
        """The same over seconds, where epochs are counted."""
        return self._series(self._seconds, start, "seconds", kind, banded)

    def _series(
        self,
        frames: Mapping[tuple[str, str], pd.DataFrame],
        start: str,
        column: str,
        kind: str,
        banded: Collection[str] | None,
    ) -> list[Series]:
        banded = self.coloured if banded is None else banded
        columns = (column, f"{kind}_regret", f"{kind}_low", f"{kind}_high")
        out = []
        for method in self.present(start):
            part = frames[start, method]
            part = part.iloc[_thin(part[column].to_list())]
            at, mean, low, high = (part[c] for c in columns)
            ends = (low.fillna(mean), high.fillna(mean)) if method in banded else (mean, mean)
            out.append(Series(method, self.css[method], *(values.tolist() for values in (at, mean, *ends))))
        return out

    def trials_to(self, start: str, method: str, regret: float) -> float | None:
        """Trials (full trainings) after which a method's valid regret is at most ``regret``; None if it never is."""
        part = self._curves[start, method]
        reached = part.loc[part["valid_regret"] <= regret, self._column]
        return float(reached.iloc[0]) if len(reached) else None

    @property
    def has_test(self) -> bool:
        """Is there a test regret? With a single table seed there is none."""
        return math.isfinite(self.scores.floor["test_regret"])

    @cached_property
    def floors(self) -> dict[str, float]:
        """Task → noise floor."""
        frame = self.scores.noise_floor
        return dict(zip(frame["task_id"], frame["test_regret"].astype(float), strict=True))

    # ---------------------------------------------------------------- tasks
    @cached_property
    def _by_task(self) -> dict[tuple[str, str, str], dict[int, tuple[float, float]]]:
        """(start, task, method) → mark → (valid regret, test regret)."""
        frame = self.scores.tasks
        out: dict[tuple[str, str, str], dict[int, tuple[float, float]]] = {}
        columns = ("start", "task_id", "method", "mark", "valid_regret", "test_regret")
        for start, task, method, mark, valid, test in zip(*(frame[c] for c in columns), strict=True):
            out.setdefault((start, task, method), {})[int(mark)] = (float(valid), float(test))
        return out

    def on_task(self, start: str, task: str) -> dict[str, dict[int, tuple[float, float]]]:
        """Method → mark → (valid, test regret) on one task, methods in the board's order."""
        return {m: self._by_task[start, task, m] for m in self.present(start) if (start, task, m) in self._by_task}

    @cached_property
    def workloads(self) -> dict[str, list[str]]:
        """Workload → its held-out tasks."""
        out: dict[str, list[str]] = {}
        for task in self.task_ids:
            out.setdefault(str(self.task_facts[task]["workload"]), []).append(task)
        return dict(sorted(out.items()))

    def by_workload(self, start: str, method: str) -> dict[str, float]:
        """Workload → mean valid regret of a method on its tasks at the headline mark."""
        out = {}
        for workload, tasks in self.workloads.items():
            found = [
                self._by_task[start, t, method][self.mark][0] for t in tasks if (start, t, method) in self._by_task
            ]
            if found:
                out[workload] = sum(found) / len(found)
        return out

    def task_series(self, start: str, task: str) -> list[Series]:
        """Valid regret at the marks on one task, of the methods with a colour and the reference. There are no intervals: the
        bands have no width."""
        out = []
        shown = {m: marks for m, marks in self.on_task(start, task).items() if self.css[m] != "other"}
        for method, marks in shown.items():
            values = [marks[m][0] for m in sorted(marks)]
            out.append(Series(method, self.css[method], sorted(marks), values, values, values))
        return out

    @cached_property
    def task_facts(self) -> dict[str, Mapping[str, Any]]:
        """Task → its row of tasks.parquet."""
        found = self.table.tasks
        return {r["task_id"]: r for r in row_dicts(found[found["task_id"].isin(self.task_ids)])}


def coloured(order: Sequence[str]) -> dict[str, str]:
    """Method → class in charts, of those that are drawn at first: the recommended one, the default, the lowest, and random."""
    wanted = [m for m in (RECOMMENDED, DEFAULT) if m in order]
    wanted += [m for m in order if m != REFERENCE and m not in wanted][: HIGHLIGHTED - len(wanted)]
    return {m: f"c{i + 1}" for i, m in enumerate(m for m in order if m in wanted)} | {REFERENCE: "reference"}


def _estimate(row: Mapping[str, Any], kind: str) -> Estimate:
    return Estimate(row[f"{kind}_regret"], row[f"{kind}_low"], row[f"{kind}_high"])


def _only(records: list[dict[str, Any]]) -> dict[str, Any] | None:
    return records[0] if records else None


def _thin(trials: Sequence[float]) -> list[int]:
    """Positions to draw on a logarithmic axis: all up to 12 trials, then ten an octave, always the last."""
    kept: list[int] = []
    for i, trial in enumerate(trials):
        if trial <= 12 or trial >= trials[kept[-1]] * 1.07 or i == len(trials) - 1:
            kept.append(i)
    return kept
