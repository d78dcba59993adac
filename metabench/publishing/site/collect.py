"""What the site is made of: the boards as they are published, the tables beside them, and what is known of methods."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from metabench import registry, untrusted
from metabench.boards.board import load_board
from metabench.errors import MetabenchError
from metabench.publishing.boards.cards import Card, card
from metabench.publishing.boards.standing import Standing, judged, tested
from metabench.publishing.boards.trained import Trained
from metabench.publishing.boards.view import HIGHLIGHTED, coloured, page_name
from metabench.publishing.boards.words import question
from metabench.scores.frames import REFERENCE, ordered
from metabench.scores.prediction import PRIOR
from metabench.table.card.facts import NOTES, Facts
from metabench.table.describe import Description
from metabench.table.place import read_small
from metabench.table.read import Table
from metabench.table.splits import FILE as SPLITS
from metabench.tasks.variants import is_variant

#: below the folder of all boards: this site
SITE = "site"
#: and the reports, which are pages of their own
REPORTS = "reports"
#: beside the folder of all boards: the tables
TABLES = "datasets"


@dataclass(frozen=True)
class Line:
    """One method on one board, at the amount that orders it: group, score with interval, rank, own seconds a trial."""

    method: str
    css: str
    place: int
    value: float
    low: float
    high: float
    rank: float
    seconds: float
    #: against its twin without transfer: twin, tasks, share, worst_tenth; empty without one
    transfer: Mapping[str, Any] = field(default_factory=dict)

    @property
    def band(self) -> tuple[float, float]:
        """The interval as it is drawn: of no width where there is none."""
        return (self.value, self.value) if np.isnan(self.low) else (self.low, self.high)


class PublishedBoard:
    """A board as its folder has it; ``results`` is None where nothing is published yet.

    Raises MetabenchError where scores.json is not what ``metabench leaderboard build`` writes.
    """

    def __init__(self, folder: Path):
        self.folder, self.board = folder, load_board(folder)
        try:
            self.results: Any = untrusted.read_json(folder / "scores.json")
            if not {"finding", "summary", "tasks"} <= self.results.keys():
                raise MetabenchError(f"{folder / 'scores.json'} is of an earlier build; build the board again")
        except FileNotFoundError:
            self.results = None
        except ValueError as error:
            raise MetabenchError(f"{folder / 'scores.json'} cannot be read: {error}") from None

    @property
    def title(self) -> str:
        return self.board.title or self.board.name

    @property
    def page(self) -> str:
        """From the site's folder to the board's page."""
        return f"../{self.board.name}/v{self.board.version}/site/index.html"

    def below(self, path: str) -> str:
        """From the site's folder to a file of the board's own site."""
        return self.page.removesuffix("index.html") + path

    @property
    def finding(self) -> str:
        return self.results["finding"]

    @property
    def predicts(self) -> bool:
        return self.board.track == "predict"

    @property
    def judged(self) -> bool:
        """Is it of protocol 3, with tiers in place of places?"""
        return self.board.design is not None

    @property
    def has_pages(self) -> bool:
        """Have its methods and tasks pages of their own?"""
        return not (self.predicts or self.judged)

    @property
    def question(self) -> str:
        return question(self.board)

    @cached_property
    def summary(self) -> pd.DataFrame:
        return pd.DataFrame(self.results["summary"])

    @cached_property
    def _start(self) -> str:
        return self.results["ranked_by"]["start"]

    @cached_property
    def mark(self) -> int:
        """Trials (full trainings, observed trials) that the ranking is at."""
        return int(self.summary["observed"].max()) if self.predicts else int(self.results["ranked_by"]["mark"])

    @property
    def measure(self) -> str:
        """What the ranking is by, in words."""
        if self.predicts:
            return f"CRPS after {self.mark} observed trials"
        if self.judged:
            return f"tier, by the area under regret over trials 1–{self.mark}"
        return f"valid regret after {self.mark} {'full trainings' if self.board.by_epochs else 'trials'}"

    @cached_property
    def lines(self) -> list[Line]:
        """The ranking, best first."""
        if self.predicts:
            part = self.summary[self.summary["observed"] == self.mark].sort_values(["crps", "method"])
            order, column, reference = part["method"].tolist(), "crps", PRIOR
        elif self.judged:
            part = self.summary
            order, column, reference = part["method"].tolist(), "area", REFERENCE
        else:
            part = self.summary[(self.summary["start"] == self._start) & (self.summary["mark"] == self.mark)]
            order, column, reference = ordered(self.summary, self._start, self.mark), "valid_regret", REFERENCE
        leaders = [m for m in order if m != reference][:HIGHLIGHTED]
        css = {m: f"c{i + 1}" for i, m in enumerate(leaders)} | {reference: "reference"}
        if not self.predicts:
            css = coloured(order)
        rows = part.set_index("method")
        ends = [f"valid{end}" if self.has_pages else f"{column}{end}" for end in ("_low", "_high")]
        places = part["tier"].astype(int).tolist() if self.judged else range(1, len(order) + 1)
        values = (rows.loc[order, name].astype(float).tolist() for name in (column, *ends))
        ranks = rows.loc[order, "mean_rank"].astype(float).tolist() if self.has_pages else [float("nan")] * len(order)
        seconds = self._seconds()
        return [
            Line(
                method,
                css.get(method, "other"),
                place,
                value,
                low,
                high,
                rank,
                seconds.get(method, float("nan")),
                self._transfer.get(method, {}),
            )
            for place, method, value, low, high, rank in zip(places, order, *values, ranks, strict=True)
        ]

    def _seconds(self) -> dict[str, float]:
        """Method → its own seconds a trial, over the whole search."""
        if self.predicts:
            return {}
        if self.judged:
            rows = zip(self.summary["method"], self.summary["overhead_s"], strict=True)
            return {m: float(s) / self.board.budget for m, s in rows}
        last = self.summary["mark"].max()
        part = self.summary[(self.summary["start"] == self._start) & (self.summary["mark"] == last)]
        return {m: float(s) / last for m, s in zip(part["method"], part["overhead_s"], strict=True)}

    @cached_property
    def _transfer(self) -> dict[str, Mapping[str, Any]]:
        rows = self.results.get("negative_transfer", []) if self.has_pages else []
        return {r["method"]: r for r in rows if r["start"] == self._start and r["mark"] == self.mark}

    @cached_property
    def standing(self) -> Standing | None:
        """What the data decide; None on boards of predictions, which have no tests."""
        if self.predicts:
            return None
        if self.judged:
            found = pd.DataFrame(self.results.get("pairs", []), columns=["joint_low", "joint_high"])
            return judged(self.summary, found)
        order = ordered(self.summary, self._start, self.mark)
        frames = (pd.DataFrame(self.results[name]) for name in ("controls", "pairs"))
        empty = pd.DataFrame(columns=["control", "method", "method_a", "method_b", "difference", "p_holm"])
        at = [f[(f["start"] == self._start) & (f["mark"] == self.mark)] if len(f) else empty for f in frames]
        return tested(order, *at)

    def line(self, method: str) -> Line | None:
        """The line of a method; None where it is not listed."""
        return next((line for line in self.lines if line.method == method), None)

    @property
    def highlighted(self) -> list[Line]:
        """The first few, and the reference."""
        return [line for line in self.lines if line.css != "other"]

    @cached_property
    def by_task(self) -> pd.DataFrame:
        """Score at the ranking's amount, [tasks, methods]; smaller is better."""
        frame = pd.DataFrame(self.results["tasks"])
        if self.judged:
            return frame.pivot(index="task_id", columns="method", values="area")
        if self.predicts:
            frame = frame[(frame["observed"] == self.mark) & (frame["method"] != PRIOR)]
        else:
            frame = frame[(frame["start"] == self._start) & (frame["mark"] == self.mark)]
        return frame.pivot(index="task_id", columns="method", values="crps" if self.predicts else "valid_regret")

    def curves(self) -> pd.DataFrame | None:
        """Regret over trials of the ranking's start; None on boards of predictions."""
        if self.predicts:
            return None
        frame = pd.read_csv(self.folder / "site/data/curves.csv")
        if self.judged:
            return frame.rename(columns={"regret": "valid_regret", "low": "valid_low", "high": "valid_high"})
        return frame[frame["start"] == self._start]


@dataclass(frozen=True)
class TaskPlace:
    """A task, and the table that holds most of it complete."""

    table: Table
    description: Description

    def row(self, task_id: str) -> Mapping[str, Any]:
        return cast("dict[str, Any]", self.table.tasks.set_index("task_id").loc[task_id].to_dict())


class Collection:
    """Everything below a folder of boards, and the tables in ``TABLES`` beside it.

    ``root`` is the folder of all boards (``leaderboards``). Raises MetabenchError where it holds no board.
    """

    def __init__(self, root: Path):
        self.root = root
        folders = [path.parent for path in root.glob("*/v*/board.toml")]
        if not folders:
            raise MetabenchError(f"{root} holds no board (NAME/v1/board.toml)")
        newest = {folder.parent.name: folder for folder in sorted(folders, key=_version)}
        #: the newest version of every board; earlier ones have no pages
        self.boards = sorted(map(PublishedBoard, newest.values()), key=_standing)

    @property
    def docs(self) -> bool:
        """Is the repository's documentation beside the boards?"""
        return (self.root.parent / "docs/glossary.md").exists()

    @property
    def published(self) -> list[PublishedBoard]:
        return [b for b in self.boards if b.results is not None]

    # ---------------------------------------------------------------- tables and their tasks
    @cached_property
    def facts(self) -> list[Facts]:
        """Every table in the newest version that a board is made on, or else the newest; the largest first."""
        used = {(b.board.dataset, b.board.dataset_version) for b in self.boards}
        newest: dict[str, Path] = {}
        folders = [path.parent for path in (self.root.parent / TABLES).glob("*/v*/SHA256SUMS")]
        for folder in sorted(folders, key=lambda f: ((f.parent.name, _version(f)) in used, _version(f))):
            newest[folder.parent.name] = folder
        out = []
        for folder in newest.values():
            beside = {name: read_small(folder / name) for name in (NOTES, SPLITS) if (folder / name).exists()}
            out.append(Facts.of(Table(folder), beside))
        return sorted(out, key=lambda f: (-f.runs, f.table.name))

    @cached_property
    def runs(self) -> dict[str, int]:
        """Workload → how many runs the tables hold; one that is in several counts once."""
        ids: dict[str, list[np.ndarray]] = {}
        for f in self.facts:
            for name in f.table.workloads:
                ids.setdefault(name, []).append(f.table.runs(name, ["run_id"])["run_id"].to_numpy())
        return {name: len(np.unique(np.concatenate(parts))) for name, parts in ids.items()}

    @cached_property
    def places(self) -> dict[str, TaskPlace]:
        """Task → the table with most of its configurations, of those in which none of its runs is missing.

        Variants of data sets are left out.
        """
        found: dict[str, TaskPlace] = {}
        for facts in self.facts:
            for d in facts.workloads:
                whole = d.tasks.loc[d.tasks["runs"] == d.configs * d.seeds, "task_id"]
                for task_id in whole[~whole.map(is_variant).astype(bool)]:
                    known = found.get(task_id)
                    if known is None or d.configs > known.description.configs:
                        found[task_id] = TaskPlace(facts.table, d)
        return {task_id: found[task_id] for task_id in sorted(found)}

    @cached_property
    def trained(self) -> dict[str, Trained]:
        """Task → what training gave, of tasks on which something finished with every seed."""
        out = {task_id: Trained(place.table, task_id) for task_id, place in self.places.items()}
        return {task_id: t for task_id, t in out.items() if len(t.scores)}

    @cached_property
    def task_pages(self) -> dict[str, str]:
        """Task → its page below the site's folder."""
        return {task_id: f"tasks/{page_name(task_id, 'task')}.html" for task_id in self.trained}

    def neighbours(self, task_id: str, n: int = 5) -> list[tuple[str, float]]:
        """Tasks of the same workload whose configurations rank most alike, with Spearman's correlation."""
        d = self.places[task_id].description
        ids = d.tasks["task_id"].tolist()
        rho = d.similarity[ids.index(task_id)]
        ranked = sorted(
            ((t, float(r)) for t, r in zip(ids, rho, strict=True) if t != task_id and t in self.trained and r == r),
            key=lambda item: (-round(item[1], 9), item[0]),
        )
        return ranked[:n]

    # ---------------------------------------------------------------- workloads
    @cached_property
    def workloads(self) -> dict[str, list[str]]:
        """Workload → its tasks that have a page; those of metabench that no table holds have none."""
        out: dict[str, list[str]] = {name: [] for name in registry.names("workloads")}
        for task_id, t in self.trained.items():
            out.setdefault(t.workload, []).append(task_id)
        return dict(sorted(out.items(), key=lambda item: (-len(item[1]), item[0])))

    # ---------------------------------------------------------------- methods
    @cached_property
    def methods(self) -> dict[str, Card]:
        """Every method that is listed on a board, by name."""
        names = {line.method for b in self.published for line in b.lines} - {PRIOR}
        return {name: card(name) for name in sorted(names)}

    def standing(self, method: str) -> list[PublishedBoard]:
        """The boards that list a method."""
        return [b for b in self.published if any(line.method == method for line in b.lines)]


def _version(folder: Path) -> int:
    found = re.fullmatch(r"v(\d+)", folder.name)
    assert found is not None  # folders of tables are found by this name
    return int(found[1])


def _standing(b: PublishedBoard) -> tuple:
    """The order of boards: searches by the length of their budget, then the other questions, imported ones last."""
    kinds = [
        b.board.protocol == "hpob",
        b.predicts,
        b.board.is_live,
        b.board.shift is not None,
        b.board.by_epochs,
    ]
    return (max((len(kinds) - i for i, kind in enumerate(kinds) if kind), default=0), -b.board.budget, b.board.name)
