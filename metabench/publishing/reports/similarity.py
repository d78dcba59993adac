"""How similar are tasks, and does the distance of their features say so before anything is trained?

Two tasks are alike when the same configurations are good on both: Spearman's correlation of their scores over the table's
configurations. What can be known beforehand are task features (Vanschoren, "Meta-Learning", 2018, §3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from metabench.errors import UsageError
from metabench.publishing.charts import drawings
from metabench.publishing.charts.drawings import Axis, Cloud, Line
from metabench.publishing.charts.plots import Series
from metabench.publishing.pages.wording import num, percent
from metabench.publishing.reports.base import Column, Figure, Findings, Grid, Page, Report, ReportContext, Section
from metabench.publishing.reports.parts.intervals import Interval, mean_over_families, rank_correlation
from metabench.table.card.pictures import clustered
from metabench.table.describe import describe

if TYPE_CHECKING:
    from metabench.table import Table

#: tasks that a workload needs for its matrix to be worth a look
LEAST = 8
FOLDS, TREES, BINS, SAMPLE, PERMUTATIONS = 10, 100, 12, 400, 999


class Similarity(Report):
    """Spearman matrix of the tasks, clustered, against the distance of task features."""

    name = "similarity"
    title = "How similar are tasks?"
    label = "Similar tasks"
    needs = "table"
    published = "core"
    published_version = 1

    def compute(self, given: ReportContext) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
        workload = most_tasks(given.table)
        described = describe(given.table, workload)
        given.say(f"similarity: {len(described.tasks)} tasks of {workload}")
        known = given.table.tasks.set_index("task_id").loc[described.tasks["task_id"]]
        usable = np.isfinite(described.similarity).sum(axis=1) > 1
        known, rho = known[usable], described.similarity[np.ix_(usable, usable)]
        ids, families = known.index.tolist(), known["family"].tolist()
        names = sorted(c for c in known if c.startswith("feature_"))
        z, kept = standardised(known[names].to_numpy(dtype=float))
        names = [name.removeprefix("feature_") for name, k in zip(names, kept, strict=True) if k]
        gap, pair = distances(z), np.triu_indices(len(ids), 1)
        tasks = per_task(ids, families, rho, -gap, learned_similarity(z, rho, families))
        tasks["noise"] = described.tasks.set_index("task_id").loc[ids, "noise"].to_numpy()
        noise = rank_correlation(tasks["noise"].to_numpy(), tasks["mean"].to_numpy(), families)
        mantel_rho, mantel_p = mantel_test(gap, rho)
        low, high = np.quantile(rho[pair], [0.05, 0.95])
        order = clustered(rho)
        facts = {
            "workload": workload,
            "tasks": len(ids),
            "families": len(set(families)),
            "configs": described.configs,
            "seeds": described.seeds,
            "features": len(names),
            "mean": rho[pair].mean(),
            "low": low,
            "high": high,
            "seed_rho": described.tasks["seed_rho"].mean(),
            "mantel_rho": mantel_rho,
            "mantel_p": mantel_p,
            "noise_rho": noise.value,
            "noise_low": noise.low,
            "noise_high": noise.high,
        }
        return facts, {
            "summary": summary(tasks, families),
            "tasks": tasks,
            "features": single_features(names, z, rho, families),
            "distance": binned(gap[pair], rho[pair]),
            "pairs": sampled(ids, gap, rho),
            "matrix": pd.DataFrame(
                {"task_id": [ids[i] for i in order]} | {ids[j]: np.round(rho[order, j], 3) for j in order}
            ),
        }

    def page(self, found: Findings) -> Page:
        f, frames = found.facts, found.frames
        value = {(r["what"], r["knowing"]): r["value"] for r in frames["summary"].to_dict("records")}
        any_, best = value["similarity", "any task"], value["similarity", "most similar task"]
        near, learned = value["similarity", "nearest by features"], value["similarity", "nearest by a learned distance"]
        order = frames["summary"].query("what == 'rank correlation' and knowing == 'nearest by features'").iloc[0]
        ordering = cast("Mapping[str, float]", order)
        answer = f"""The scores of two tasks of {f["workload"]} have a Spearman correlation of {two(f["mean"])} on average. It
            ranges from {two(f["low"])} (5 % of pairs) to {two(f["high"])} (95 %); two seeds of one task have
            {two(f["seed_rho"])}. {verdict(ordering)} Choosing the source task by features gives a correlation of {two(near)}; at
            random, {two(any_)}; the best possible is {two(best)}. Features close {percent((near - any_) / (best - any_))} of
            that gap, a distance learned from other tasks {percent((learned - any_) / (best - any_))}."""
        agree = f"""Each cell: do the same configurations do well on both tasks? Blue agrees, orange contradicts. Tasks are in
            the order of an average-linkage clustering of 1 − ρ.

            Noise hides similarity: tasks with noisier seeds are less similar to the others (rank correlation
            {num(f["noise_rho"])} [{num(f["noise_low"])}, {num(f["noise_high"])}])."""
        mantel = f"""Mantel test over all pairs of tasks: rank correlation of nearness and similarity {num(f["mantel_rho"])},
            p = {f["mantel_p"]:.3f} ({PERMUTATIONS} permutations)."""
        method = f"""Similarity: Spearman's correlation between the final validation scores of two tasks over all configurations
            of the table, averaged over seeds; diverged runs count as the task's worst.

            Distance: Euclidean over {f["features"]} task features, each standardised over the tasks (missing ones at the mean),
            divided by the root of their number. Features are computed from training rows alone.

            Order by features: for each task, the rank correlation between nearness by features and similarity over all tasks
            of other families. Intervals: bootstrap over families. The learned distance is extremely randomised trees on the
            absolute differences of features, fitted on pairs that hold no task of the family in question ({FOLDS} folds)."""
        return Page(
            answer,
            [
                Section("Which tasks agree", agree, [_matrix(f, frames["matrix"])]),
                Section(
                    "Does the distance of features say so?",
                    mantel,
                    [_against(frames["distance"], frames["pairs"]), _single(frames["features"].head(12))],
                    _grids(frames),
                ),
            ],
            method,
        )


def most_tasks(table: Table) -> str:
    """The workload with the most tasks. Raises UsageError where none has LEAST."""
    counts = table.tasks["workload"].value_counts()
    enough = [w for w in table.workloads if counts.get(w, 0) >= LEAST]
    if not enough:
        raise UsageError(f"table {table.name} has no workload of {LEAST} tasks or more; similarity needs them")
    return max(enough, key=lambda w: (counts[w], w))


def two(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _matrix(f: Mapping[str, Any], matrix: pd.DataFrame) -> Figure:
    drawn = drawings.matrix(
        [t.removeprefix(f"{f['workload']}-") for t in matrix["task_id"]],
        cast("Sequence[Sequence[float]]", matrix.drop(columns="task_id").to_numpy(dtype=float)),
        uid="similarity",
        title=f"Spearman correlation between the tasks of {f['workload']}",
        description=f"Mean over pairs {two(f['mean'])}; tasks in the order of a clustering.",
    )
    text = f"{f['tasks']} tasks, {f['configs']:,} configurations, mean of {f['seeds']} seeds."
    return Figure("Spearman correlations.", text, drawn, wide=True)


def _against(bins: pd.DataFrame, pairs: pd.DataFrame) -> Figure:
    curve = Series("mean", "c1", *(bins[c].tolist() for c in ("distance", "similarity", "quarter", "three_quarters")))
    drawn = drawings.lines(
        [curve],
        Axis("distance of task features (standardised)"),
        Axis("Spearman correlation"),
        uid="distance",
        title="Similarity of two tasks against the distance of their features",
        description="; ".join(f"distance {d:.2f}: {s:.2f}" for d, s in zip(curve.x, curve.mean, strict=True)),
        cloud=Cloud("pairs", "other", *(pairs[c].tolist() for c in ("pair", "distance", "similarity"))),
        named=False,
    )
    text = "Grey: some pairs of tasks. Line: mean in twelve bins of equally many pairs; band: the middle half."
    return Figure("Similarity against feature distance.", text, drawn)


def _single(features: pd.DataFrame) -> Figure:
    listed = [Line(*row) for row in zip(*(features[c] for c in ("feature", "rho", "rho_low", "rho_high")), strict=True)]
    drawn = drawings.rows(
        listed,
        Axis("rank correlation"),
        uid="features",
        title="Single features that tell tasks apart best",
        description="; ".join(f"{line.label} {num(line.value)}" for line in listed),
        origin=0.0,
        side=200.0,
    )
    text = "How well one feature alone orders a task's sources, 95 % intervals over families; the best twelve, seen afterwards."
    return Figure("Single features.", text, drawn)


def _grids(frames: Mapping[str, pd.DataFrame]) -> list[Grid]:
    chosen = [
        Column("Measure", "what"),
        Column("Knowing", "knowing"),
        Column("Mean over families", "value", num, ("low", "high")),
    ]
    tasks = [
        Column("Task", "task_id"),
        Column("Nearest by features", "nearest"),
        Column("its ρ", "near", num),
        Column("any ρ", "mean", num),
        Column("Most similar", "best_task"),
        Column("its ρ", "best", num),
        Column("Order by features", "order", num),
        Column("Noise", "noise", num),
    ]
    single = [Column("Feature", "feature"), Column("Rank correlation", "rho", num, ("rho_low", "rho_high"))]
    return [
        Grid("Similarity of the chosen source task, by the information used", chosen, frames["summary"]),
        Grid(
            "Similarity of each task to the others, and to the nearest by features", tasks, frames["tasks"], folded=True
        ),
        Grid("All single features", single, frames["features"], folded=True),
    ]


def verdict(ordering: Mapping[str, float]) -> str:
    """Whether feature distance predicts similarity, in a sentence that follows the interval."""
    value, low, high = ordering["value"], ordering["low"], ordering["high"]
    figures = f"rank correlation {num(value)} [{num(low)}, {num(high)}] over a task's possible sources"
    if not low > 0:
        return f"Feature distance does not predict similarity here: {figures}."
    strength = "only weakly" if value < 0.3 else "fairly" if value < 0.6 else "well"
    return f"Feature distance predicts similarity {strength}: {figures}."


# ---------------------------------------------------------------- numbers
def standardised(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features [tasks, features] with mean 0 and deviation 1, missing ones 0; and which were kept: those that vary."""
    filled = np.where(np.isfinite(features), features, np.nan)
    known = np.isfinite(filled).sum(axis=0) > 1
    centre = np.array([np.nanmean(c) if k else 0.0 for c, k in zip(filled.T, known, strict=True)])
    spread = np.array([np.nanstd(c) if k else 0.0 for c, k in zip(filled.T, known, strict=True)])
    kept = spread > 1e-12
    return np.nan_to_num((filled[:, kept] - centre[kept]) / spread[kept]), kept


def distances(z: np.ndarray) -> np.ndarray:
    """Euclidean distances over the root of the number of features, [tasks, tasks]."""
    return np.sqrt(np.maximum(((z[:, None] - z[None]) ** 2).mean(axis=2), 0.0))


def per_task(
    ids: Sequence[str], families: Sequence[str], rho: np.ndarray, near: np.ndarray, learned: np.ndarray
) -> pd.DataFrame:
    """What each task's possible sources, the tasks of other families, are worth to it. ``near`` and ``learned`` [tasks,
    tasks] are large where a source is thought to be alike."""
    rows = []
    family = np.asarray(families)
    for i, task in enumerate(ids):
        others = np.flatnonzero(family != family[i])
        mine = rho[i, others]
        by = {name: int(others[np.argmax(score[i, others])]) for name, score in (("near", near), ("learned", learned))}
        best = int(others[mine.argmax()])
        single = [str(o) for o in others]  # sources of one task are no families: no interval is asked for
        rows.append(
            {
                "task_id": task,
                "family": families[i],
                "mean": mine.mean(),
                "nearest": ids[by["near"]],
                "near": rho[i, by["near"]],
                "learned": rho[i, by["learned"]],
                "best_task": ids[best],
                "best": rho[i, best],
                "order": rank_correlation(near[i, others], mine, single, 1).value,
                "order_learned": rank_correlation(learned[i, others], mine, single, 1).value,
            }
        )
    return pd.DataFrame(rows)


def summary(tasks: pd.DataFrame, families: Sequence[str]) -> pd.DataFrame:
    """Means over families with intervals, of the similarity of a chosen source, and of the order that was thought."""
    asked = [
        ("similarity", "any task", "mean"),
        ("similarity", "nearest by features", "near"),
        ("similarity", "nearest by a learned distance", "learned"),
        ("similarity", "most similar task", "best"),
        ("rank correlation", "nearest by features", "order"),
        ("rank correlation", "nearest by a learned distance", "order_learned"),
    ]
    rows = []
    for what, knowing, column in asked:
        found = mean_over_families(tasks[column].to_numpy(), families)
        rows.append({"what": what, "knowing": knowing, "value": found.value, "low": found.low, "high": found.high})
    return pd.DataFrame(rows)


def learned_similarity(z: np.ndarray, rho: np.ndarray, families: Sequence[str]) -> np.ndarray:
    """Similarity [tasks, tasks] as trees predict it from |Δ features| of pairs without any task of the row's family."""
    from sklearn.ensemble import ExtraTreesRegressor

    names = list(dict.fromkeys(families))
    fold = dict(zip(names, np.random.default_rng(0).permutation(len(names)) % FOLDS, strict=True))
    part = np.array([fold[f] for f in families])
    out = np.zeros_like(rho)
    for f in range(FOLDS):
        held, rest = np.flatnonzero(part == f), np.flatnonzero(part != f)
        if not len(held) or len(rest) < 3:
            continue
        a, b = np.triu_indices(len(rest), 1)
        a, b = rest[a], rest[b]
        trees = ExtraTreesRegressor(TREES, min_samples_leaf=3, max_features=0.5, random_state=0)
        trees.fit(np.abs(z[a] - z[b]), rho[a, b])
        for i in held:
            out[i] = trees.predict(np.abs(z[i] - z))
    return out


def mantel_test(distance: np.ndarray, rho: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Mantel's test (1967): the rank correlation of −distance and similarity over pairs, and the share of relabellings of the
    tasks that reach as much (one-sided, the observed one counted)."""
    from scipy.stats import rankdata

    pair = np.triu_indices(len(rho), 1)
    ranks = np.zeros_like(rho)
    ranks[pair] = rankdata(rho[pair])
    ranks += ranks.T
    x = rankdata(-distance[pair])
    x -= x.mean()
    size = np.sqrt((x @ x) * ((ranks[pair] - ranks[pair].mean()) ** 2).sum())
    rng = np.random.default_rng(seed)
    orders = [np.arange(len(rho)), *(rng.permutation(len(rho)) for _ in range(PERMUTATIONS))]
    found = np.array([x @ ranks[np.ix_(o, o)][pair] for o in orders]) / size
    return float(found[0]), float((found >= found[0] - 1e-12).mean())


def single_features(names: Sequence[str], z: np.ndarray, rho: np.ndarray, families: Sequence[str]) -> pd.DataFrame:
    """For each feature: how well its difference alone orders a task's sources, most telling first."""
    family = np.asarray(families)
    rows = []
    for j, name in enumerate(names):
        gap = np.abs(z[:, j, None] - z[None, :, j])
        order = np.full(len(z), np.nan)
        for i in range(len(z)):
            others = np.flatnonzero(family != family[i])
            order[i] = rank_correlation(-gap[i, others], rho[i, others], [str(o) for o in others], 1).value
        found: Interval = mean_over_families(order, families)
        rows.append({"feature": name} | found.columns("rho"))
    return pd.DataFrame(rows).sort_values(["rho", "feature"], ascending=[False, True], ignore_index=True)


def binned(distance: np.ndarray, rho: np.ndarray) -> pd.DataFrame:
    """Similarity of pairs in bins of equally many, by distance."""
    rows = []
    for part in np.array_split(np.argsort(distance, kind="stable"), min(BINS, len(distance))):
        quarter, three = np.quantile(rho[part], [0.25, 0.75])
        rows.append(
            {
                "distance": distance[part].mean(),
                "similarity": rho[part].mean(),
                "quarter": quarter,
                "three_quarters": three,
                "pairs": len(part),
            }
        )
    return pd.DataFrame(rows)


def sampled(ids: Sequence[str], distance: np.ndarray, rho: np.ndarray) -> pd.DataFrame:
    """Some pairs, for the eye."""
    a, b = np.triu_indices(len(ids), 1)
    kept = np.sort(np.random.default_rng(0).permutation(len(a))[:SAMPLE])
    a, b = a[kept], b[kept]
    names = [f"{ids[i]} and {ids[j]}" for i, j in zip(a, b, strict=True)]
    return pd.DataFrame({"pair": names, "distance": np.round(distance[a, b], 3), "similarity": np.round(rho[a, b], 3)})
