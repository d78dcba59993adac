"""What does a cheaper training tell: one on part of the data, one that ends early; and what do worse data change?

Every comparison is across seeds: a cheap training of one seed with a full one of another, as a second full training would
be, so that what two trainings share by chance (split, initial weights) does not count as agreement. Learning on part of
the data as a fidelity: Klein et al., "Fast Bayesian optimization of machine learning hyperparameters on large datasets",
AISTATS 2017; ending early: Jamieson & Talwalkar, "Non-stochastic best arm identification", AISTATS 2016.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from metabench import direction
from metabench.errors import UsageError
from metabench.publishing.charts import drawings
from metabench.publishing.charts.drawings import Axis
from metabench.publishing.charts.plots import Series
from metabench.publishing.pages.wording import num, percent, signed
from metabench.publishing.reports.base import Column, Figure, Findings, Grid, Page, Report, ReportContext, Section
from metabench.publishing.reports.parts.intervals import mean_over_families
from metabench.sources.variants import FRACTIONS, MARK, WORSE
from metabench.table.describe import spearman, worst_filled

if TYPE_CHECKING:
    from metabench.table import Table

#: what is cut, in words
DATA, EPOCHS = "part of the data", "fewer epochs"
WORDS = {"noisy": "wrong labels", "imbalanced": "rare classes", "shifted": "inputs that drift"}
#: share of the configurations that count as the best ones, where it is asked what they have in common
TOP = 0.05


class Fidelity(Report):
    """Agreement of cheap trainings with full ones, over their cost."""

    name = "fidelity"
    title = "What does a cheaper training tell?"
    label = "Cheap trainings"
    needs = "table"
    published = "core_variants"

    def compute(self, given: ReportContext) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
        table = given.table
        workload, pairs = paired(table)
        full = {task: Trained.of(table, workload, task) for task in sorted({p[0] for p in pairs})}
        if min(t.scores.shape[1] for t in full.values()) < 2:
            raise UsageError(f"table {table.name}: cheap and full trainings are compared across seeds; it has only one")
        given.say(f"fidelity: {len(pairs)} variants of {len(full)} tasks of {workload}")
        cheap = [(task, variant, Trained.of(table, workload, f"{task}{MARK}{variant}")) for task, variant in pairs]
        family = table.tasks.set_index("task_id")["family"]
        # both ways of cutting on the same tasks
        cut = sorted({task for task, variant in pairs if variant in FRACTIONS})
        rows = [
            {"cut": DATA, "share": FRACTIONS[v], "task_id": t, "flops": mine.flops / full[t].flops}
            | agreement(mine.scores, full[t].scores)
            for t, v, mine in cheap
            if v in FRACTIONS
        ]
        for task in cut:
            for share, scores in full[task].stopped():
                rows.append(
                    {"cut": EPOCHS, "share": share, "task_id": task, "flops": share}
                    | agreement(scores, full[task].scores)
                )
        for task in cut:
            whole = {"share": 1.0, "task_id": task, "flops": 1.0} | agreement(full[task].scores, full[task].scores)
            rows += [{"cut": DATA} | whole, {"cut": EPOCHS} | whole]
        tasks = pd.DataFrame(rows)
        worse = pd.DataFrame(
            [
                {"variant": v, "task_id": t, "rho": agreement(mine.tested, full[t].tested)["rho"]}
                | moved(full[t].scores, mine.scores, mine.tested)
                for t, v, mine in cheap
                if v in WORSE
            ]
        )
        space, configs = table.space(workload), table.configs(workload)
        codes = pd.DataFrame(space.encode(configs), columns=space.encoded_names)
        always = [c for c in map(str, codes) if "=" not in c and not c.endswith("?") and f"{c}?" not in codes]
        shifts = [
            {"variant": v, "task_id": t}
            | (centre(mine.scores, codes[always]) - centre(full[t].scores, codes[always])).to_dict()
            for t, v, mine in cheap
        ]
        facts = {
            "workload": workload,
            "configs": len(configs),
            "seeds": table.n_seeds(workload),
            "tasks": len(cut),
            "families": int(family[cut].nunique()),
            "worse_tasks": len({t for t, v in pairs if v in WORSE}),
        }
        return facts, {
            "cuts": _means(tasks, ["cut", "share"], ["rho", "regret", "flops"], family),
            "worse": _means(worse, ["variant"], ["rho", "kept", "anew", "extra"], family),
            "shifts": _long(pd.DataFrame(shifts), always, family),
            "tasks": tasks.sort_values(["cut", "task_id", "share"], ignore_index=True),
        }

    def page(self, found: Findings) -> Page:
        f, cuts, worse = found.facts, found.frames["cuts"], found.frames["worse"]
        at = {(r["cut"], r["share"]): r for r in cuts.to_dict("records")}
        eighth, whole = at[DATA, 0.125], at[DATA, 1.0]
        early = min((r for r in at.values() if r["cut"] == EPOCHS), key=lambda r: abs(r["share"] - 0.125))
        answer = f"""Trainings on an eighth of the data order the configurations like full ones with a Spearman correlation of
            {num(eighth["rho"])}. After {percent(early["share"])} of the epochs it is {num(early["rho"])}, and between two full
            trainings {num(whole["rho"])}. The configuration that is best on an eighth of the data has a regret of
            {num(eighth["regret"])} in full training. The one that is best after {percent(early["share"])} of the epochs has
            {num(early["regret"])}. The best one of a full training has {num(whole["regret"])} in another full training."""
        shifts = found.frames["shifts"].query("variant == 'eighth' and (shift_low > 0 or shift_high < 0)")
        less = "; ".join(
            f"{r.hyperparameter.replace('_', ' ')} {signed(r.shift)} [{signed(r.shift_low)}, {signed(r.shift_high)}]"
            for r in cast(Any, shifts).itertuples()
        )
        order = (
            f"""With an eighth of the data the best values shift, as a share of the range: {less}.""" if less else ""
        )
        kept = "; ".join(f"{WORDS[r['variant']]} {num(r['rho'])}" for r in worse.to_dict("records"))
        lost = "; ".join(
            f"{WORDS[r['variant']]} {signed(r['extra'])} [{signed(r['extra_low'])}, {signed(r['extra_high'])}]"
            for r in worse.to_dict("records")
            if r["variant"] != "shifted"
        )
        bad = f"""The order of the configurations on test data, where data are worse against where they are as they were: {kept}.
            Keeping the configuration that was best on the original data costs, against choosing again: {lost}. Inputs that
            drift are seen in the test only, so that nothing could be chosen anew."""
        method = f"""{f["tasks"]} tasks of {f["workload"]} ({f["families"]} families), {f["configs"]:,} configurations,
            {f["seeds"]} seeds; for worse data {f["worse_tasks"]} tasks. Scores are final validation scores, and of trainings that
            end early those of that checkpoint of a full one (a schedule that ends early by itself would cool down before).
            Diverged runs count as the worst.

            Rank correlation: Spearman's, between a cheap training with one seed and a full one with another, averaged over
            the pairs of seeds. Regret: of the configuration with the best cheap score, by its score in a full training with
            another seed, against the best there and the median one. The best of many noisy scores flatters itself, so that
            even a full training has one. On worse data both are by test scores of the seed that did not choose.

            Means over families with 95 % intervals, families drawn anew. Hyperparameters of the best {percent(TOP)} of the
            configurations are compared by differences of means, on a scale from 0 to 1 over the range. The scale is
            logarithmic where the space is. Only hyperparameters that are always active count, and intervals are not corrected
            for their number."""
        sections = [
            Section(
                "Cost against agreement",
                order,
                [
                    _curves(cuts, "rho", "Spearman correlation", "Agreement with a full training"),
                    _curves(cuts, "regret", "regret in full", "Regret of the configuration that looks best"),
                ],
                _grids(found.frames)[:1],
            ),
            Section("Worse data", bad, [], _grids(found.frames)[1:]),
        ]
        return Page(answer, sections, method)


class Trained:
    """A task's validation and test scores [configs, seeds], larger is better, diverged ones worst; validation scores at
    checkpoints [checkpoints, configs, seeds]; and what it cost."""

    def __init__(self, curves: np.ndarray, tested: np.ndarray, shares: Sequence[float], flops: float):
        self.curves, self.tested, self.shares, self.flops = curves, tested, shares, flops

    @classmethod
    def of(cls, table: Table, workload: str, task: str) -> Trained:
        sign = direction.sign(table.task_info(task).direction)
        curves = sign * table.curves(workload, [task])[0].astype(float)
        runs = table.runs(workload, ["epochs", "flops"], tasks=[task])
        epochs = max(runs["epochs"].to_pylist(), key=len)
        whole = worst_filled(curves.transpose(2, 0, 1))
        tested = worst_filled(sign * table.final(workload, [task], "test_score"))[0]
        return cls(whole, tested, [e / epochs[-1] for e in epochs], float(runs["flops"].to_numpy().sum()))

    @property
    def scores(self) -> np.ndarray:
        return self.curves[-1]

    def stopped(self) -> Iterator[tuple[float, np.ndarray]]:
        """Share of the epochs and scores at all checkpoints but the last."""
        return zip(self.shares[:-1], self.curves[:-1], strict=True)


def paired(table: Table) -> tuple[str, list[tuple[str, str]]]:
    """The workload with most variants, and its (task, variant) whose task is there too. Raises UsageError without any."""
    ids = table.tasks.set_index("task_id")["workload"]
    found = [(ids[i], *i.split(MARK)) for i in ids.index if MARK in i and i.split(MARK)[0] in ids.index]
    if not found:
        raise UsageError(f"table {table.name} holds no variants of its tasks (such as mlp-yeast{MARK}half)")
    workload = pd.Series([w for w, _, _ in found]).value_counts().index[0]
    return workload, [(task, variant) for w, task, variant in found if w == workload]


# ---------------------------------------------------------------- numbers
def agreement(cheap: np.ndarray, full: np.ndarray) -> dict[str, float]:
    """Rank correlation, and regret in full of the best cheap configuration, over all ordered pairs of unlike seeds.

    Both are [configs, seeds], larger is better.
    """
    rho, lost = [], []
    for a, b in _unlike(full.shape[1]):
        rho.append(spearman(np.stack([cheap[:, a], full[:, b]]))[0, 1])
        lost.append(_regret(full[:, b], int(cheap[:, a].argmax())))
    return {"rho": float(np.nanmean(rho)) if np.isfinite(rho).any() else np.nan, "regret": float(np.nanmean(lost))}


def moved(plain: np.ndarray, worse: np.ndarray, tested: np.ndarray) -> dict[str, float]:
    """Regret by the scores that were ``tested`` on worse data, with another seed, of the configuration that is best by
    validation on ``plain`` data (``kept``) and on ``worse`` ones (``anew``), and the first minus the second (``extra``).

    All are [configs, seeds], larger is better.
    """
    pairs = list(_unlike(plain.shape[1]))
    kept = np.mean([_regret(tested[:, b], int(plain[:, a].argmax())) for a, b in pairs])
    anew = np.mean([_regret(tested[:, b], int(worse[:, a].argmax())) for a, b in pairs])
    return {"kept": float(kept), "anew": float(anew), "extra": float(kept - anew)}


def centre(scores: np.ndarray, codes: pd.DataFrame) -> pd.Series:
    """Mean code of the best TOP of the configurations by their mean over the seeds [configs, seeds]."""
    n = max(1, round(TOP * len(scores)))
    return codes.iloc[np.argsort(-scores.mean(axis=1), kind="stable")[:n]].mean()


def _unlike(seeds: int) -> Iterator[tuple[int, int]]:
    return ((a, b) for a in range(seeds) for b in range(seeds) if a != b)


def _regret(scores: np.ndarray, chosen: int) -> float:
    """Regret of one configuration by scores [configs], cut at 1; NaN where the median is the best."""
    gap = scores.max() - np.median(scores)
    return min(1.0, float((scores.max() - scores[chosen]) / gap)) if gap > 0 else np.nan


def _means(tasks: pd.DataFrame, by: list[str], columns: list[str], family: pd.Series) -> pd.DataFrame:
    rows = []
    for key, part in tasks.groupby(by, sort=True):
        row: dict[str, Any] = dict(zip(by, key, strict=True)) | {"tasks": part["task_id"].nunique()}
        for column in columns:
            row |= mean_over_families(part[column].to_numpy(), family[part["task_id"]].tolist()).columns(column)
        rows.append(row)
    return pd.DataFrame(rows)


def _long(shifts: pd.DataFrame, names: Sequence[str], family: pd.Series) -> pd.DataFrame:
    """Mean shift of each hyperparameter under each variant, with intervals."""
    rows = []
    for variant in (*FRACTIONS, *WORSE):
        part = shifts[shifts["variant"] == variant]
        for name in names if len(part) else ():
            found = mean_over_families(part[name].to_numpy(), family[part["task_id"]].tolist())
            rows.append({"variant": variant, "hyperparameter": name} | found.columns("shift"))
    return pd.DataFrame(rows)


# ---------------------------------------------------------------- pictures
def _curves(cuts: pd.DataFrame, column: str, words: str, title: str) -> Figure:
    css = {DATA: "c1", EPOCHS: "c2"}
    series = [
        Series(cut, css[cut], *(part[c].tolist() for c in ("flops", column, f"{column}_low", f"{column}_high")))
        for cut, part in ((cut, cuts[cuts["cut"] == cut].sort_values("share")) for cut in css)
    ]
    ticks = {1 / 32: "1/32", 1 / 16: "1/16", 1 / 8: "1/8", 1 / 4: "1/4", 1 / 2: "1/2", 1.0: "1"}
    drawn = drawings.lines(
        series,
        Axis("cost, as a share of a full training (log scale)", log=True, ticks=ticks),
        Axis(words),
        uid=f"fidelity-{column}",
        title=title,
        description="; ".join(f"{s.method}: from {s.mean[0]:.2f} to {s.mean[-1]:.2f}" for s in series),
        named=False,
    )
    return Figure(f"{title}.", "Mean over families with 95 % band. At 1: another full training.", drawn, css)


def _grids(frames: Mapping[str, pd.DataFrame]) -> list[Grid]:
    share = Column("Share", "share", percent)
    rho = Column("Rank correlation", "rho", num, ("rho_low", "rho_high"))
    regret = Column("Regret in full", "regret", num, ("regret_low", "regret_high"))
    worse = [
        Column("Data", "variant"),
        rho,
        Column("Regret, kept", "kept", num, ("kept_low", "kept_high")),
        Column("Regret, chosen anew", "anew", num, ("anew_low", "anew_high")),
        Column("Difference", "extra", signed, ("extra_low", "extra_high")),
    ]
    shifts = [
        Column("Data", "variant"),
        Column("Hyperparameter", "hyperparameter"),
        Column("Shift of the best, of the range", "shift", signed, ("shift_low", "shift_high")),
    ]
    return [
        Grid(
            "By what is cut",
            [Column("Cut", "cut"), share, Column("Cost", "flops", percent), rho, regret],
            frames["cuts"],
        ),
        Grid("Worse data", worse, frames["worse"]),
        Grid("Where the best configurations move", shifts, frames["shifts"], folded=True),
    ]
