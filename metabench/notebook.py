"""Scoring for people at a prompt: traces beside the stored methods, a table and a figure that notebooks show."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from metabench.boards.judge import Judged
from metabench.brief import brief
from metabench.errors import UsageError
from metabench.plain import row_dicts
from metabench.scores import Scores
from metabench.scores import score as score_traces

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from metabench.boards.board import Board


@brief
@dataclass(frozen=True)
class Outcome(Scores):
    """Scores with a view of them; everything that :class:`metabench.scores.Scores` holds is here."""

    #: methods that were scored, those of the caller first
    methods: tuple[str, ...] = ()
    #: those of the caller
    own: tuple[str, ...] = ()

    def ranking(self, start: str = "own", marks: Sequence[int] = (1, 5, 10, 25, 50)) -> pd.DataFrame:
        """Methods from one start, best first by valid regret at ten trials (or the last mark before it).

        The column ``own`` marks the rows of the caller's methods among the published ones.
        """
        import pandas as pd

        from metabench.workflows import ranking

        rows = pd.DataFrame(ranking(self, start, marks)).set_index("method")
        return rows.assign(own=[name in self.own for name in rows.index])

    def figure(self, start: str = "own") -> Figure:
        """Valid and test regret over trials (epochs) with 95 % intervals, as SVG; the caller's methods are coloured first."""
        from metabench.publishing.boards import board_pages
        from metabench.publishing.charts import plots

        column, axis = ("trainings", plots.EPOCHS) if "trainings" in self.curves else ("trial", plots.TRIALS)
        present = self.curves[self.curves["start"] == start]
        names = [m for m in self.methods if (present["method"] == m).any()]
        drawn = {}
        for kind in ("valid", "test"):
            series = []
            for i, name in enumerate(names):
                part = present[present["method"] == name]
                css = f"c{i + 1}" if i < 5 else "other"
                columns = (part[column], *(part[f"{kind}_{c}"] for c in ("regret", "low", "high")))
                if part[f"{kind}_regret"].notna().all():
                    filled = [c.fillna(part[f"{kind}_regret"]) for c in columns]
                    series.append(plots.Series(name, css, *(c.tolist() for c in filled)))
            if series:
                floor = self.floor["test_regret"] if kind == "test" else None
                drawn[board_pages.HEADINGS[kind][0].rstrip(".")] = (series, floor, axis)
        return Figure(
            str(plots.regret_figure(drawn, title=f"Regret over {axis.over}", style=board_pages.static("picture.css")))
        )

    def _repr_html_(self) -> str:
        start = self.summary["start"].iloc[0]
        return self.ranking(start).to_html() + self.figure(start).svg


@brief
@dataclass(frozen=True)
class Verdict(Judged):
    """The verdict of a board of protocol 3 with a view of it; everything that a Judged holds is here."""

    #: methods that were evaluated by the caller, coloured first
    mine: tuple[str, ...] = ()

    def figure(self) -> Figure:
        """Regret over trials with 95 % intervals over families, as SVG; the caller's methods are coloured first."""
        from metabench.publishing.boards import verdicts

        return Figure(verdicts.picture(self, "Regret over trials", self.mine))

    def _repr_html_(self) -> str:
        from metabench.publishing.boards import verdicts

        shown = _html(self.ranking()), _html(row_dicts(self.controls))
        return f"{shown[0]}<p>{verdicts.reliability(self)}</p>{shown[1]}{self.figure().svg}"


def _html(rows: Sequence[Any]) -> str:
    """Rows as an HTML table."""
    import pandas as pd

    return pd.DataFrame(rows).to_html(index=False, float_format=lambda x: f"{x:.3f}")


@brief
@dataclass(frozen=True)
class Figure:
    """An SVG picture, shown by notebooks."""

    svg: str

    def _repr_svg_(self) -> str:
        return self.svg


def evaluate(methods: Any, board: Board | str, table=None, **settings: Any) -> pa.Table:
    """Let methods search the meta-test tasks of a board.

    Args:
        methods: a method or several, by name or as searchers.
        board: what :func:`metabench.load_board` gave, or a board's name: its newest version.
        table: the board's table, where it is open already.
        **settings: those of :func:`metabench.evaluation.evaluate`.

    Returns:
        The traces, a row for each search.

    Raises:
        UsageError: for an unknown board or method, and what :func:`metabench.evaluation.evaluate` raises.
    """
    from metabench import evaluation
    from metabench.boards.board import Board, load_board

    if isinstance(board, str | Path):
        board = load_board(board)
    if not isinstance(board, Board):
        raise UsageError(
            f"{type(board).__name__} {board!r} is no board; give a board's name or what load_board returned"
        )
    return evaluation.evaluate(methods, board, table, **settings)


def score(
    traces: pa.Table, table=None, board: Board | None = None, *, beside: bool = True, **settings: Any
) -> Outcome | Verdict:
    """Score traces on the board that they were made on, beside the methods published there under the same rules.

    Args:
        traces: what :func:`evaluate` returned.
        table: the board's table; None: it is found by name. Where both it and the board are given, the traces are scored alone.
        board: the board, narrowed to the traces' profile; None: the one that the traces name.
        beside: False to score the traces alone.
        settings: those of :func:`metabench.scores.score`; on a board of protocol 3 those of
            :func:`metabench.boards.judge.judge`.

    Returns:
        The scores; on a board of protocol 3 a :class:`Verdict`.

    Raises:
        UsageError: The traces do not say where they come from.
        MetabenchError: What :func:`metabench.scores.score` raises.
    """
    from metabench import workflows

    mine = list(dict.fromkeys(traces["method"].to_pylist()))
    if table is None or board is None:
        from metabench.boards.board import load_board
        from metabench.evaluation.traces import Traces
        from metabench.table import load_table

        about = Traces.of(traces).about
        if about.board is None and board is None:
            raise UsageError("these traces do not say which board they were made on; give the table and the board")
        whole = load_board(cast(str, about.board)) if board is None else board
        table = table or load_table(whole.dataset, whole.dataset_version)
        board = whole.profile(cast(str, about.profile)) if board is None else whole
        if beside:
            others = workflows.published_beside(whole, board, mine)
            traces = Traces.of(traces).beside(Traces.of(others)).arrow()
    if board.design is not None:
        judged = workflows.scored(traces, table, board, **settings)
        own = {f.name: getattr(judged, f.name) for f in dataclasses.fields(Judged)}
        return Verdict(**own, mine=tuple(mine))
    found = score_traces(traces, table, board, **settings)
    others = [m for m in dict.fromkeys(traces["method"].to_pylist()) if m not in mine]
    at = found.summary[found.summary["mark"] == max(m for m in board.marks if m <= 10 or m == board.marks[0])]
    order = at.groupby("method")["valid_regret"].min()
    others.sort(key=lambda m: order[m])
    fields = {f.name: getattr(found, f.name) for f in dataclasses.fields(Scores)}
    return Outcome(**fields, methods=(*mine, *others), own=tuple(mine))
