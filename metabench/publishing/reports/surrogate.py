"""How reliable is the surrogate that rehearses live searches?

It is asked only of configurations that it was not fitted on: cross-validation over the configurations of each held-out task.
What it says is compared with the stored rows, and so are the methods: they search its answers, and the rows themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
from scipy import stats

from metabench import direction
from metabench.evaluation import resolve
from metabench.evaluation.store import content_digest
from metabench.publishing.charts import drawings
from metabench.publishing.charts.drawings import Axis, Cloud
from metabench.publishing.charts.plots import Series
from metabench.publishing.pages.wording import num
from metabench.publishing.reports.base import Column, Figure, Findings, Grid, Page, Report, ReportContext, Section
from metabench.publishing.reports.parts.intervals import Interval, mean_over_families
from metabench.publishing.reports.parts.searches import Published, fitted, one_workload, published, search, traces_of
from metabench.scores.aggregate import Hierarchy, expanded_tail, iqm
from metabench.scores.regret import Reference
from metabench.search.replay import Replay, problems
from metabench.search.surrogate import FOLDS, SurrogateObjective

TRIALS, MARKS, BINS = 10, (1, 5, 10), 10


class Surrogate(Report):
    """Error, calibration and ranking of methods on the surrogate objective against stored rows."""

    name = "surrogate"
    title = "How reliable is the surrogate?"
    label = "Surrogate"

    def inputs(self, given: ReportContext) -> list[Any]:
        traces = traces_of(given.rules)
        codes = sorted(resolve(m)[0].fingerprint for m in chosen(set(traces["method"].to_pylist())))
        return [*super().inputs(given), content_digest(traces), codes, TRIALS, FOLDS]

    def compute(self, given: ReportContext) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
        board, table = given.rules, given.table
        workload = one_workload(board, table)
        done = published(given)
        ids = done.cells.task_ids
        given.say(f"surrogate: {FOLDS} folds on {len(ids)} tasks")
        model = SurrogateObjective.from_table(table, workload, ids)
        sign = np.array([direction.sign(table.task_info(t).direction) for t in ids])
        answers = np.stack([model.scores(t, model.held_out[t]) for t in ids])  # [tasks, 2, configs, seeds]
        source, held = board.source(table), problems(table, workload, ids, board.budget)
        objective, seeds = Replay(ids, answers[:, 0]), np.arange(board.seeds)
        signed = sign[:, None, None, None] * answers
        mirror = Reference(signed[:, 0], signed[:, 1])
        searched = {}
        for name in chosen(done.methods):
            given.say(f"surrogate: {name} searches its answers")
            tried = search(fitted(name, source), held, objective, ids, seeds.tolist(), TRIALS)
            searched[name] = mirror.regrets(tried[None], seeds).valid[0]
        replayed = {m: r[..., :TRIALS] for m, r in zip(done.methods, done.regrets(), strict=True) if m in searched}
        errors = errors_of(model, done, signed[:, 0])
        facts = {
            "workload": workload,
            "tasks": len(ids),
            "families": len(set(done.families)),
            "methods": len(searched),
            "configs": len(table.configs(workload)),
            "seeds": board.seeds,
        }
        return facts, {
            "summary": summary(errors),
            "agreement": agreement(replayed, searched, done.families),
            "methods": regrets(replayed, searched, done.families),
            "calibration": calibration(done.reference.valid, np.stack([model.held_out[t][:, 0] for t in ids])),
            "tasks": errors,
        }

    def page(self, found: Findings) -> Page:
        f, frames = found.facts, found.frames
        of = {r["what"]: r for r in frames["summary"].to_dict("records")}
        at: Any = frames["agreement"].set_index("mark").loc[MARKS[-1]]
        ceiling = f"two halves of the rows themselves, one for each seed, agree with {num(at['between_seeds'])}"
        answer = f"""On unseen configurations, the surrogate's predictions have a rank correlation of {cited(of["spearman"])} with
            the stored scores. Their valid regret is off by {cited(of["regret"])} on average. The configuration that
            it calls best promises a regret of {num(of["promised"]["value"])} and has {cited(of["true"])}. Methods rank on it as
            on the rows with Kendall's τ = {num(at["tau"])} [{num(at["tau_low"])}, {num(at["tau_high"])}] after {MARKS[-1]}
            trials; {ceiling}. {trust(at)}"""
        text = f"""Every configuration of a task is answered by trees that were fitted on the other folds ({FOLDS} of them), as a
            configuration that nobody has trained would be. The surrogate gives a single answer without a deviation, so its
            calibration is that of its answers: do configurations with the prediction z have z on average?"""
        ranking = f"""{f["methods"]} methods search the rows and, with the same seeds and settings, the surrogate's answers. A
            rehearsal is worth as much as the order that it gives."""
        method = f"""Board and tasks: {f["tasks"]} held-out tasks, {f["configs"]:,} configurations, {f["seeds"]} seeds. Searches
            of the rows are the published ones, {TRIALS} trials each. The slowest methods are left out.

            Regret is 0 for the best configuration and 1 for the median one, both for stored and for predicted scores. Figures are
            interquartile means over families. τ is Kendall's over methods (τ-b); its interval is from a bootstrap over families
            that recomputes both rankings.

            Correlation and error are means over families of tasks, with bootstrap intervals; normal scores: Φ⁻¹((rank − 0.5)/n)
            within a task and seed, averaged over seeds."""
        return Page(
            answer,
            [
                Section(
                    "Does it say what training would say?", text, [_calibration(frames["calibration"])], _errors(frames)
                ),
                Section("Do methods have the same ranking?", ranking, [_worlds(frames["methods"])], _ranking(frames)),
            ],
            method,
        )


def cited(row: Mapping[Any, Any]) -> str:
    """``0.712 [0.65, 0.77]``."""
    return f"{num(row['value'])} [{num(row['low'])}, {num(row['high'])}]"


def trust(row: pd.Series) -> str:
    """What may be concluded from rehearsals, by the interval of τ."""
    if not row["tau_low"] > 0:
        return "A ranking from rehearsals says nothing certain about the real one."
    if row["tau_low"] > 0.6:
        return "Rehearsals order methods nearly as training does."
    return "Rehearsals tell good methods from bad ones; they do not settle who is ahead among neighbours."


def _calibration(frame: pd.DataFrame) -> Figure:
    curve = Series("stored", "c1", *(frame[c].tolist() for c in ("said", "stored", "quarter", "three_quarters")))
    ideal = Series("as said", "reference", *([curve.x] * 4))
    svg = drawings.lines(
        [ideal, curve],
        Axis("what the surrogate says (normal score)"),
        Axis("stored score (normal score)"),
        uid="calibration",
        title="Stored scores of configurations against their predictions",
        description="; ".join(f"said {a:.2f}: {b:.2f}" for a, b in zip(curve.x, curve.mean, strict=True)),
        named=False,
    )
    text = """Configurations in tenths by their predicted score: mean of the stored scores, and their middle half.
        Dashed: as predicted."""
    return Figure("Calibration.", " ".join(text.split()), svg)


def _worlds(frame: pd.DataFrame) -> Figure:
    at = frame[frame["mark"] == MARKS[-1]]
    svg = drawings.points(
        [Cloud("methods", "c1", at["method"].tolist(), at["replay"].tolist(), at["surrogate"].tolist())],
        Axis("valid regret on stored rows"),
        Axis("valid regret on the surrogate"),
        uid="worlds",
        title=f"Regret of methods after {MARKS[-1]} trials on the surrogate against that on stored rows",
        description="; ".join(
            f"{m}: {num(a)} on rows, {num(b)} on the surrogate"
            for m, a, b in zip(at["method"], at["replay"], at["surrogate"], strict=True)
        ),
        radius=4.5,
        diagonal=True,
        named=True,
    )
    return Figure(f"Methods after {MARKS[-1]} trials.", "Dashed: equal regret in both worlds.", svg)


def _errors(frames: Mapping[str, pd.DataFrame]) -> list[Grid]:
    words = {
        "spearman": "rank correlation of answers with stored scores",
        "regret": "mean error of valid regret",
        "slope": "slope of stored on said normal scores",
        "promised": "regret that the configuration called best promises",
        "true": "regret that it has",
    }
    summary = frames["summary"].assign(words=[words[w] for w in frames["summary"]["what"]])
    measures = [Column("On configurations it has not seen", "words"), Column("Mean", "value", num, ("low", "high"))]
    tasks = [
        Column("Task", "task_id"),
        Column("Rank correlation", "spearman", num),
        Column("Error of regret", "regret", num),
        Column("Slope", "slope", num),
        Column("Promised", "promised", num),
        Column("True", "true", num),
    ]
    return [
        Grid("Means over families of tasks", measures, summary),
        Grid("Every task", tasks, frames["tasks"].sort_values(["spearman", "task_id"]), folded=True),
    ]


def _ranking(frames: Mapping[str, pd.DataFrame]) -> list[Grid]:
    agree = [
        Column("Trials", "mark", str),
        Column("Kendall's τ", "tau", num, ("tau_low", "tau_high")),
        Column("Between seeds of the rows", "between_seeds", num),
        Column("Same first", "same_first"),
    ]
    single = [
        Column("Method", "method"),
        Column("Trials", "mark", str),
        Column("On rows", "replay", num, ("replay_low", "replay_high")),
        Column("On the surrogate", "surrogate", num, ("surrogate_low", "surrogate_high")),
    ]
    methods = frames["methods"].sort_values(["mark", "replay", "method"], ascending=[False, True, True])
    return [
        Grid("Agreement of the two rankings of methods", agree, frames["agreement"]),
        Grid("Regret in both worlds", single, methods, folded=True),
    ]


# ---------------------------------------------------------------- numbers
def chosen(methods: Sequence[str] | set[str]) -> list[str]:
    """The methods that search here: those that need no optional package, so that it is the same everywhere which they are.
    Others take longest to propose."""
    from metabench import registry

    known = {name: kind for kind in ("baselines", "metamodels") for name in registry.builtin(kind)}
    return sorted(m for m in methods if m in known and not registry.load(known[m], m).requires)


def errors_of(model: SurrogateObjective, done: Published, answers: np.ndarray) -> pd.DataFrame:
    """A row per task: the surrogate's own error, the slope of stored on said normal scores, and what the configuration that it
    calls best promises and has in valid regret. ``answers`` [tasks, configs, seeds], larger is better."""
    seen = done.reference
    rows = []
    for t, task_id in enumerate(done.cells.task_ids):
        truth = np.nan_to_num(seen.valid[t], nan=np.nanmin(seen.valid[t]))
        said, stored = model.held_out[task_id][:, 0], normal_scores(truth).mean(axis=1)
        top, span = int(said.argmax()), np.maximum(seen.best[t] - seen.median[t], 1e-12)
        promised, true = ((np.clip((seen.best[t] - y[top]) / span, 0.0, 1.0)).mean() for y in (answers[t], truth))
        slope = float(np.polyfit(said, stored, 1)[0]) if np.ptp(said) > 0 else np.nan
        rows.append({"family": done.families[t], "slope": slope, "promised": float(promised), "true": float(true)})
    return pd.concat([model.errors, pd.DataFrame(rows)], axis=1)


def normal_scores(scores: np.ndarray) -> np.ndarray:
    """Φ⁻¹((rank − 0.5)/n) along the configurations of [configs, seeds]."""
    return stats.norm.ppf((stats.rankdata(scores, axis=0) - 0.5) / len(scores))


def summary(errors: pd.DataFrame) -> pd.DataFrame:
    """Means over families of the columns of :func:`errors_of`."""
    rows = []
    for what in ("spearman", "regret", "slope", "promised", "true"):
        found = mean_over_families(errors[what].to_numpy(dtype=float), errors["family"].tolist())
        rows.append({"what": what, "value": found.value, "low": found.low, "high": found.high})
    return pd.DataFrame(rows)


def calibration(truth: np.ndarray, said: np.ndarray) -> pd.DataFrame:
    """Stored normal scores of ``truth`` [tasks, configs, seeds], larger is better, in tenths of the normal scores that were
    ``said`` [tasks, configs], over all tasks."""
    worst = np.nanmin(truth, axis=(1, 2), keepdims=True)
    stored = np.stack([normal_scores(t).mean(axis=1) for t in np.where(np.isnan(truth), worst, truth)]).ravel()
    said = said.ravel()
    rows = []
    for part in np.array_split(np.argsort(said, kind="stable"), BINS):
        quarter, three = np.quantile(stored[part], [0.25, 0.75])
        rows.append(
            {
                "said": said[part].mean(),
                "stored": stored[part].mean(),
                "quarter": quarter,
                "three_quarters": three,
                "configurations": len(part),
            }
        )
    return pd.DataFrame(rows)


def regrets(replayed: dict[str, np.ndarray], searched: dict[str, np.ndarray], families: Sequence[str]) -> pd.DataFrame:
    """Regret of every method in both worlds, [tasks, seeds, trials] each, at MARKS with intervals."""
    rows = []
    for name in searched:
        hierarchy = Hierarchy.build(families, searched[name].shape[1])
        for mark in MARKS:
            row = {"method": name, "mark": mark}
            for world, cells in (("replay", replayed[name]), ("surrogate", searched[name])):
                here = cells[..., mark - 1]
                low, high = hierarchy.interval(here)
                row |= Interval(float(hierarchy.estimate(here)), float(low), float(high)).columns(world)
            rows.append(row)
    return pd.DataFrame(rows)


def agreement(
    replayed: dict[str, np.ndarray], searched: dict[str, np.ndarray], families: Sequence[str], resamples: int = 1000
) -> pd.DataFrame:
    """Kendall's τ of the methods' order in both worlds at MARKS, and of the rows' order with seed 0 and with seed 1."""
    names = list(searched)
    seeds = searched[names[0]].shape[1]
    hierarchy, single = Hierarchy.build(families, seeds, resamples), Hierarchy.build(families, 1)
    rows = []
    for mark in MARKS:
        rows_, mirror = (np.stack([w[m][..., mark - 1] for m in names]) for w in (replayed, searched))
        a, b = hierarchy.estimate(rows_), hierarchy.estimate(mirror)
        first, second = hierarchy.families(rows_), hierarchy.families(mirror)
        found = [_tau(iqm(first[:, draw]), iqm(second[:, draw])) for draw in hierarchy.draws]
        tail = 100 * expanded_tail(len(set(families))) if len(set(families)) > 1 else np.nan
        low, high = np.percentile(found, [tail, 100 - tail]) if np.isfinite(tail) else (np.nan, np.nan)
        halves = [single.estimate(rows_[..., [s]]) for s in range(min(seeds, 2))]
        rows.append(
            {
                "mark": mark,
                "tau": _tau(a, b),
                "tau_low": float(low),
                "tau_high": float(high),
                "between_seeds": _tau(*halves) if len(halves) == 2 else np.nan,
                "same_first": "yes" if int(a.argmin()) == int(b.argmin()) else "no",
            }
        )
    return pd.DataFrame(rows)


def _tau(a: np.ndarray, b: np.ndarray) -> float:
    return float(cast(Any, stats.kendalltau(a, b)).statistic)
