"""When does meta-learning fail, and what goes with it?

Every task is held out once: the families are dealt into folds, methods learn from the other folds and search this one's
tasks. What a meta-model gains over its twin, the same method without transfer, is then set against what is known of the
task: noise, imbalance, size, and how far the nearest source task is. A second part shifts the kind of task between source and
target, with equally many source tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from metabench.errors import UsageError
from metabench.evaluation import resolve
from metabench.metatrain import MetaTrain
from metabench.publishing.charts import drawings
from metabench.publishing.charts.drawings import CLASSES, Axis, Cloud, Line
from metabench.publishing.pages.wording import num, percent, signed
from metabench.publishing.reports.base import Column, Figure, Findings, Grid, Page, Report, ReportContext, Section
from metabench.publishing.reports.parts.intervals import mean_over_families, rank_correlation
from metabench.publishing.reports.parts.searches import Ground, fitted, one_workload, twin_of, unfitted
from metabench.publishing.reports.similarity import distances, standardised
from metabench.scores.compare import negative_transfer
from metabench.table.describe import describe

METHODS = ("empirical_gp", "metric_knn", "portfolio", "xgb_rank")
#: those that are tried on shifts of kind: quick to fit
SHIFTED = ("empirical_gp", "portfolio")
FOLDS, TRIALS = 5, 10
#: a task is one of failure where its method trails the twin by more
MARGIN = 0.01
#: what gain is set against: column → what it is, in words
FACTORS = {
    "feature_distance": "distance to nearest source",
    "unlikeness": "unlike every source (1 − ρ)",
    "noise": "noise of seeds",
    "imbalance": "class imbalance",
    "rows": "training rows",
    "inputs": "inputs",
    "hardness": "trials of random search",
}
FAMILY_SEED = 0


class Failure(Report):
    """Gain over the twin without transfer, task by task, against what is known of the task."""

    name = "failure"
    title = "When does meta-learning fail?"
    label = "Failure"
    published_version = 1

    def inputs(self, given: ReportContext) -> list[Any]:
        names = [*METHODS, *{unfitted(m).twin for m in METHODS}]
        codes = sorted(resolve(n)[0].fingerprint for n in names if n)
        return [*super().inputs(given), FOLDS, TRIALS, sorted(FACTORS), codes]

    def compute(self, given: ReportContext) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
        board, table = given.rules, given.table
        workload = one_workload(board, table)
        described = describe(table, workload)
        ids = described.tasks["task_id"].tolist()
        ground = Ground.of(table, workload, ids, board.budget)
        if len(set(ground.families)) < 2 * FOLDS:
            raise UsageError(f"table {table.name}: {workload} has too few families of tasks to hold each out")
        whole = table.meta_train(workload, ids)
        fold = folds(ground.families)
        seeds = range(board.seeds)
        regret = {}
        for name in dict.fromkeys([*METHODS, *map(twin_of, METHODS)]):
            given.say(f"failure: {name}, {FOLDS} folds")
            regret[name] = crossed(name, ground, whole, fold, seeds)
        facts = factors(table, whole, described, fold)
        gains = pd.DataFrame({"task_id": ids, "family": ground.families, **facts})
        for name in METHODS:
            gains[name] = regret[unfitted(name).twin] - regret[name]
        given.say("failure: shifts of kind")
        shifts = shifted(ground, whole, fold, seeds, regret)
        return (
            {
                "workload": workload,
                "tasks": len(ids),
                "families": len(set(ground.families)),
                "seeds": len(seeds),
                "twins": {m: unfitted(m).twin for m in METHODS},
            },
            {"methods": overall(gains), "factors": against(gains), "shifts": shifts, "tasks": gains},
        )

    def page(self, found: Findings) -> Page:
        f, frames = found.facts, found.frames
        first = frames["methods"].iloc[0]
        answer = f"""{f["tasks"]} tasks of {f["workload"]} were held out in turn. After {TRIALS} trials {first["method"]} is
            worse than its twin {f["twins"][first["method"]]} by more than {MARGIN:g} on {percent(first["share"])} of them.
            On average it lowers regret by {num(first["gain"])} [{num(first["gain_low"])}, {num(first["gain_high"])}].
            {goes_with(frames["factors"], first["method"])} {what_shifts(frames["shifts"])}"""
        text = f"""Gain: the twin's valid regret after {TRIALS} trials less the method's; above 0 the source tasks helped. Each
            row is a rank correlation of gain with a fact of the task, over tasks, with its 95 % interval over families. With
            {len(FACTORS)} facts and {len(METHODS)} methods one in twenty intervals excludes 0 by chance."""
        shift = """Kinds and modalities shift when methods learn from tasks of another sort. The same held-out tasks, and as
            many source tasks in every case: of the task's own kind, or all of the other. The cost of the shift is the difference
            of regret on the same tasks. The board shift ranks all methods on regression, learned from classification."""
        few = """By chance alone a method trails an equal one as often as it leads it: the two shares are to be read together.

            How gain grows with the number of source tasks is a report of its own: few source tasks are the plainest way to
            fail. This table has images and tables of numbers in one workload; too few image tasks to set them apart."""
        method = f"""Folds: families dealt into {FOLDS} at random; a task's sources are all tasks of the other folds. Settings of
            methods are those of the boards, which were chosen on some of these tasks. Valid regret: 0 is the best configuration
            of the task, 1 the median one, mean over {f["seeds"]} seeds.

            Distance to the nearest source: the smallest Euclidean distance of standardised task features. 1 − ρ: of Spearman's
            correlation over all configurations with the most similar source, which nobody knows beforehand. Noise:
            variance over seeds over variance over configurations. Imbalance concerns classification alone. Trials of random
            search: on average, to a regret of 0.2.

            Means are over families of tasks; intervals are from a bootstrap over families. Trailing: share of tasks on which the
            twin is ahead by more than {MARGIN:g}; leading: the opposite; worst tenth: the mean gain there."""
        return Page(
            answer,
            [
                Section("How often", few, [], [_methods(frames["methods"], frames["tasks"])]),
                Section(
                    "Properties of tasks with gains",
                    text,
                    [_factors(frames["factors"]), _cloud(frames["tasks"])],
                    _long(frames),
                ),
                Section("A shift of kind", shift, [_shift(frames["shifts"])], [_shifts(frames["shifts"])]),
            ],
            method,
        )


def goes_with(factors: pd.DataFrame, method: str) -> str:
    """The facts whose interval leaves 0 out, for one method, in a sentence."""
    mine = factors[(factors["method"] == method) & ((factors["low"] > 0) | (factors["high"] < 0))]
    if mine.empty:
        return "None of the task properties that we checked predicts the gain."
    parts = [f"{FACTORS[r['factor']]} ({signed(r['rho'])})" for r in mine.sort_values("rho").to_dict("records")]
    return f"Properties that predict the gain: {'; '.join(parts)}, as rank correlations."


def what_shifts(shifts: pd.DataFrame) -> str:
    """What learning from the other kind costs, in a sentence."""
    parts = [
        f"{signed(r['cost'])} [{num(r['cost_low'])}, {num(r['cost_high'])}] on {r['target']} ({r['method']})"
        for r in shifts[shifts["method"] == SHIFTED[0]].to_dict("records")
    ]
    return f"Learning from the other kind of task costs {' and '.join(parts)} of regret." if parts else ""


def _methods(frame: pd.DataFrame, tasks: pd.DataFrame) -> Grid:
    frame = frame.assign(ahead=[float((tasks[m] > MARGIN).mean()) for m in frame["method"]])
    columns = [
        Column("Method", "method"),
        Column("Mean gain", "gain", signed, ("gain_low", "gain_high")),
        Column("Trails its twin", "share", percent),
        Column("Leads its twin", "ahead", percent),
        Column("Worst tenth", "worst_tenth", signed),
    ]
    return Grid(f"Gain over the twin after {TRIALS} trials", columns, frame)


def _factors(frame: pd.DataFrame) -> Figure:
    lines = []
    for name, words in FACTORS.items():
        for i, method in enumerate(METHODS):
            row = frame[(frame["factor"] == name) & (frame["method"] == method)].iloc[0]
            lines.append(Line(words if i == 0 else "", row["rho"], row["low"], row["high"], CLASSES[i]))
    svg = drawings.rows(
        lines,
        Axis("rank correlation with gain"),
        uid="factors",
        title="Rank correlation of gain over the twin with facts of the task",
        description="; ".join(f"{r['factor']}, {r['method']}: {num(r['rho'])}" for r in frame.to_dict("records")),
        origin=0.0,
        side=232.0,
        step=13.0,
    )
    text = "Left of 0: the more of it, the less the source tasks help. 95 % intervals over families."
    return Figure("Gain against facts of the task.", text, svg, dict(zip(METHODS, CLASSES, strict=False)))


def _cloud(tasks: pd.DataFrame) -> Figure:
    method = METHODS[0]
    svg = drawings.points(
        [Cloud(method, "c1", tasks["task_id"].tolist(), tasks["unlikeness"].tolist(), tasks[method].tolist())],
        Axis("1 − ρ with the most similar source task"),
        Axis("gain over the twin"),
        uid="gain",
        title=f"Gain of {method} on each task against how unlike its most similar source is",
        description=f"{len(tasks)} tasks; {int((tasks[method] < -MARGIN).sum())} trail by more than {MARGIN:g}.",
        zero=True,
    )
    return Figure("Each task.", f"Gain of {method} over its twin; point at a task to see its name.", svg)


def _long(frames: Mapping[str, pd.DataFrame]) -> list[Grid]:
    factors = frames["factors"].assign(words=[FACTORS[name] for name in frames["factors"]["factor"]])
    listed = [
        Column("Fact", "words"),
        Column("Method", "method"),
        Column("Rank correlation", "rho", signed, ("low", "high")),
        Column("Tasks", "tasks", str),
    ]
    single = [
        Column("Task", "task_id"),
        *(Column(f"Gain of {m}", m, signed) for m in METHODS),
        Column("Distance", "feature_distance", num),
        Column("1 − ρ", "unlikeness", num),
        Column("Noise", "noise", num),
        Column("Rows", "rows", lambda v: f"{v:,.0f}"),
    ]
    tasks = frames["tasks"].sort_values([METHODS[0], "task_id"], ignore_index=True)
    return [
        Grid("All rank correlations", listed, factors, folded=True),
        Grid("Every task, the worst first", single, tasks, folded=True),
    ]


def _shift(frame: pd.DataFrame) -> Figure:
    lines = [
        Line(f"{r['method']} on {r['target']}", r["cost"], r["cost_low"], r["cost_high"])
        for r in frame.to_dict("records")
    ]
    svg = drawings.rows(
        lines,
        Axis("additional regret"),
        uid="shift",
        title="What learning from the other kind of task costs",
        description="; ".join(f"{line.label}: {num(line.value)}" for line in lines),
        origin=0.0,
        side=232.0,
    )
    return Figure("Cost of the other kind.", "Right of 0: sources of the other kind are worse. 95 % intervals.", svg)


def _shifts(frame: pd.DataFrame) -> Grid:
    columns = [
        Column("Method", "method"),
        Column("Held-out tasks", "target"),
        Column("Source tasks", "sources", lambda v: f"{v:.0f}"),
        Column("Own kind", "own", num, ("own_low", "own_high")),
        Column("Other kind", "other", num, ("other_low", "other_high")),
        Column("Twin", "none", num, ("none_low", "none_high")),
        Column("Cost of the shift", "cost", signed, ("cost_low", "cost_high")),
        Column("Gain over the twin left", "gain", signed, ("gain_low", "gain_high")),
    ]
    return Grid(f"Valid regret after {TRIALS} trials by where the method learned", columns, frame)


# ---------------------------------------------------------------- numbers
def folds(families: Sequence[str]) -> np.ndarray:
    """The fold of each task: families at random, a fold's families as many as another's, give or take one."""
    names = list(dict.fromkeys(families))
    part = np.random.default_rng(FAMILY_SEED).permutation(len(names)) % FOLDS
    fold = dict(zip(names, part.tolist(), strict=True))
    return np.array([fold[f] for f in families])


def crossed(
    name: str,
    ground: Ground,
    whole: MetaTrain,
    fold: np.ndarray,
    seeds: Sequence[int],
    sources: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """Valid regret after TRIALS [tasks], mean over seeds, of a method that learned from the other folds' tasks, or in each
    fold from those positions that ``sources`` gives. A fold without sources is NaN."""
    out = np.full(len(ground.task_ids), np.nan)
    for f in range(FOLDS):
        held = np.flatnonzero(fold == f)
        known = np.flatnonzero(fold != f) if sources is None else sources[f]
        if not len(held) or not len(known):
            continue
        searcher = fitted(name, whole.select(known.tolist()))
        out[held] = ground.only(held).regrets(searcher, seeds, TRIALS)[..., -1].mean(axis=1)
    return out


def factors(table, whole: MetaTrain, described, fold: np.ndarray) -> dict[str, np.ndarray]:
    """FACTORS of every task, float64 [tasks] each; NaN where one does not apply."""
    z, _ = standardised(whole.features)
    far = distances(z)
    apart = fold[:, None] != fold[None]
    nearest = np.where(apart, far, np.inf).min(axis=1)
    alike = np.where(apart, np.nan_to_num(described.similarity, nan=-1.0), -np.inf).max(axis=1)
    known = table.tasks.set_index("task_id").loc[[t.task_id for t in whole.tasks]]
    figures = described.tasks.set_index("task_id").loc[known.index]
    return {
        "feature_distance": nearest,
        "unlikeness": 1.0 - alike,
        "noise": figures["noise"].to_numpy(dtype=float),
        "imbalance": np.array([t.feature("class_imbalance") for t in whole.tasks]),
        "rows": known["n_train"].to_numpy(dtype=float) if "n_train" in known else np.full(len(known), np.nan),
        "inputs": known["n_features"].to_numpy(dtype=float) if "n_features" in known else np.full(len(known), np.nan),
        "hardness": figures["trials"].to_numpy(dtype=float),
    }


def overall(gains: pd.DataFrame) -> pd.DataFrame:
    """A row per method: mean gain with its interval, share of tasks that trail, mean gain over the worst tenth."""
    rows = []
    for name in METHODS:
        gain = gains[name].to_numpy()
        share, worst = negative_transfer(-gain, np.zeros(len(gain)), MARGIN)
        row = mean_over_families(gain, gains["family"].tolist()).columns("gain")
        rows.append({"method": name} | row | {"share": share, "worst_tenth": -worst})
    return pd.DataFrame(rows)


def against(gains: pd.DataFrame, resamples: int = 1000) -> pd.DataFrame:
    """Rank correlations of the gain of each method with each of FACTORS."""
    rows = []
    for factor in FACTORS:
        x = gains[factor].to_numpy(dtype=float)
        for name in METHODS:
            found = rank_correlation(x, gains[name].to_numpy(), gains["family"].tolist(), resamples)
            row = {"factor": factor, "method": name, "rho": found.value, "low": found.low, "high": found.high}
            rows.append(row | {"tasks": int(np.isfinite(x).sum())})
    return pd.DataFrame(rows)


def shifted(
    ground: Ground, whole: MetaTrain, fold: np.ndarray, seeds: Sequence[int], regret: dict[str, np.ndarray]
) -> pd.DataFrame:
    """Regret on the tasks of each kind, learned from equally many of their own and of the other kind (at random)."""
    kind = np.array([t.kind for t in whole.tasks])
    kinds = sorted(set(kind))
    rows = []
    for name in SHIFTED if len(kinds) == 2 else ():
        twin = regret[twin_of(name)]
        for target in kinds:
            mine = kind == target
            own, other, sizes = [], [], []
            for f in range(FOLDS):
                a, b = (np.flatnonzero((fold != f) & side) for side in (mine, ~mine))
                size = min(len(a), len(b))
                rng = np.random.default_rng([FAMILY_SEED, f])
                own.append(np.sort(rng.permutation(a)[:size]))
                other.append(np.sort(rng.permutation(b)[:size]))
                sizes.append(size)
            part = np.where(mine, fold, -1)
            found = {
                "own": crossed(name, ground, whole, part, seeds, own)[mine],
                "other": crossed(name, ground, whole, part, seeds, other)[mine],
                "none": twin[mine],
            }
            found |= {"cost": found["other"] - found["own"], "gain": found["none"] - found["other"]}
            families = [f for f, m in zip(ground.families, mine, strict=True) if m]
            row = {"method": name, "target": target, "sources": float(np.mean(sizes)), "tasks": int(mine.sum())}
            for column, values in found.items():
                row |= mean_over_families(values, families).columns(column)
            rows.append(row)
    return pd.DataFrame(rows, columns=_SHIFT_COLUMNS)


_SHIFT_COLUMNS = ["method", "target", "sources", "tasks"] + [
    f"{name}{end}" for name in ("own", "other", "none", "cost", "gain") for end in ("", "_low", "_high")
]
