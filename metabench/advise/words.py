"""Recommendations and tunings as lines of text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metabench.advise.recommend import Recommendation
    from metabench.advise.tune import Trial, Tuning
    from metabench.pretrained.record import Record
    from metabench.tasks import Task

_BARS = "▁▂▃▄▅▆▇█"


def recommended(found: Recommendation) -> Iterator[str]:
    """What to train with, a column per configuration, and the known tasks that are like this one."""
    record = found.model.record
    yield of_task(found.task)
    yield f"{record.name}: {record.method}, learned from {record.runs:,} runs on {record.tasks} tasks of table {record.table}"
    if _few(record):
        left, drawn = (f"{record.measured[name]:.2f}" for name in ("regret_5", "random_5"))
        yield f"so few say little: learned from the others, its first 5 left a regret of {left} on each, 5 random ones {drawn}"
    yield ""
    configs = found.configs
    rows = [["", *(f"#{i + 1}" for i in range(len(configs)))]]
    for label, name, unit in (("beats", "percentile", 100.0), (found.task.metric.replace("_", " "), "score", 1.0)):
        if configs[name].notna().all():
            form = "{:.0f} %" if unit == 100.0 else "{:.3g}"
            rows.append([label, *(form.format(unit * v) for v in configs[name])])
            ends = zip(configs[f"{name}_low"], configs[f"{name}_high"])
            rows.append(["", *(f"[{number(unit * low, 2)}, {number(unit * high, 2)}]" for low, high in ends)])
    known = [found.config(i + 1) for i in range(len(configs))]
    rows += [
        [n, *(number(c[n]) if n in c else "" for c in known)] for n in found.model.space if any(n in c for c in known)
    ]
    yield from aligned(rows)
    yield ""
    rows = [["nearest known task", "distance", "similar in (here, there)", "best there"]]
    for n in found.neighbours:
        why = ", ".join(f"{name} ({number(mine)}, {number(theirs)})" for name, mine, theirs in n.why)
        rows.append([n.task_id, f"{n.distance:.2f}", why, f"{n.metric.replace('_', ' ')} {n.score:.3f}"])
    yield from aligned(rows)


def _few(record: Record) -> bool:
    """Whether a meta-model learned from so few tasks that it says how it did on each, left out in turn."""
    from metabench.pretrained.record import ONE_BY_ONE

    return record.tasks <= ONE_BY_ONE and "random_5" in record.measured


#: word → what it means; printed where it is used
WORDS = {
    "beats": "expected share of all configurations of the space that one beats; brackets hold 90 % of cases",
    "distance": "root mean squared difference of standardised task features; 0 is the same data, unrelated tasks have about 1.4",
    "regret": "0 is the best known score of a task, 1 the median of random configurations",
    "linear_gap": "score of a decision tree less that of a linear model",
    "landmark_1nn": "score of the nearest neighbour on 250 rows, from 250 others (landmark_5nn: of the five nearest)",
    "landmark_stump": "score of a tree of one split on 250 rows, learned from 250 others",
    "landmark_tree": "score of a whole tree on 250 rows, learned from 250 others",
    "landmark_linear": "score of a linear model on 250 rows, learned from 250 others",
    "landmark_bayes": "score of naive Bayes on 250 rows, learned from 250 others",
    "rmse": "root mean squared error in standard deviations of the training rows; the lower the better",
    "bits": "mean bits a character costs; the lower the better",
    "nats": "negative log-likelihood an input, in nats; the lower the better",
    "mmd": "squared maximum mean discrepancy of made and true rows; the lower the better",
    "balanced accuracy": "mean of the classes' accuracies; 1 is perfect, a constant guess has 1 / classes",
}


def explained(found: Recommendation) -> Iterator[str]:
    """What the order means, and the words of a recommendation that a reader may not know, a line each."""
    yield "the order of the configurations is the same for all data; their expected scores depend on yours"
    used = {"beats", "distance", found.task.metric.replace("_", " ")}
    used |= {name for n in found.neighbours for name, *_ in n.why} | {
        n.metric.replace("_", " ") for n in found.neighbours
    }
    used |= {"landmark_1nn"} if "landmark_5nn" in used else set()
    used |= {"regret"} if _few(found.model.record) else set()
    for word, meaning in WORDS.items():
        if word in used:
            yield f"{word}: {meaning}"
    yield "other names after 'similar in' are features of the data: docs/practitioner.md"


def tuned(found: Tuning) -> Iterator[str]:
    """The trials with their curves, the best, the comparison, where everything lies."""
    yield of_task(found.task)
    yield ""
    metric, best = found.task.metric.replace("_", " "), found.best
    ranks = any(t.auc is not None for t in found.trials)
    rows = [["trial", "from", f"valid {metric}", *["valid AUC"] * ranks, "curve", "seconds", ""]]
    for i, t in enumerate((*found.trials, *found.others), 1):
        said = f"{t.score:.4f}" if t.status == "ok" else t.status
        area = ["" if t.auc is None else f"{t.auc:.4f}"] * ranks
        rows.append([str(i), t.arm, said, *area, sparkline(t), f"{t.seconds:.2f}", "best" if t is best else ""])
    yield from aligned(rows)
    yield ""
    scores = found.kept or {"valid": best.score, "test": best.test_score}
    head = f"{'kept' if found.kept else 'best'}: trial {found.trials.index(best) + 1}"
    yield f"{head}, valid {metric} {scores['valid']:.4f}, test {scores['test']:.4f}"
    if not found.learned:
        yield f"nothing learned: no trial beats a constant guess ({found.guess:.4f} on the validation rows)"
    if found.kept and found.repeats > 1:
        yield f"the kept network is trained on all rows; the scores are means over {found.repeats} splits, of 60 % of the rows"
    if found.refitted:
        yield f"refitted on all rows: {found.out}/refit; its score is unmeasured, the one above is of 60 % of the rows"
    if comparison := found.comparison():
        spent = f"tuned: {comparison['tuned']['seconds']:.1f} s"
        others = {"random": f"random search, {comparison['trials']} trials", "default": "the workload's default, once"}
        for name, what in others.items():
            c = comparison[name]
            yield f"{what}: valid {c['valid']:.4f}, test {c['test']:.4f}, {c['seconds']:.1f} s ({spent})"
        gain = comparison["gain"]
        sides = (
            f"{abs(gain[k]):.4f} {'ahead' if gain[k] >= 0 else 'behind'} on the {k} rows" for k in ("valid", "test")
        )
        yield f"tuned is {', '.join(sides)}; one search each, on one split of {found.task.n_valid} and {found.task.n_test} rows"
    if found.out:
        yield f"written: {found.out}/report.html, {found.out}/model (mb.load_model), {found.out}/trials.json"


def time_spent(found: Tuning) -> str:
    """Seconds that went by, and what they were spent on."""
    parts = ", ".join(f"{seconds:.1f} {what}" for what, seconds in found.wall.items())
    return f"{sum(found.wall.values()):.1f} s went by: {parts}; the seconds of a trial are of its training alone"


def of_task(task: Task) -> str:
    """The task in a line."""
    told_apart = f", {classes(task)}" if task.n_classes else ""
    metric = task.metric.replace("_", " ")
    return (
        f"{task.dataset}: {task.kind} of {task.n_rows:,} rows, {task.n_features} inputs{told_apart}; "
        f"{metric}, where a constant guess has {task.chance:.3g}"
    )


def classes(task: Task) -> str:
    """How many classes a task has, or kinds of symbol that its texts are of; "" where its targets are numbers."""
    return (
        f"{task.n_classes} {'symbols' if task.kind in ('language', 'pairs') else 'classes'}" if task.n_classes else ""
    )


def use(task: Task) -> tuple[str, str]:
    """How a kept network is called, and what goes in and out."""
    known = {
        "classification": ("model.predict(rows)", "raw rows in, classes out"),
        "regression": ("model.predict(rows)", "raw rows in, numbers out"),
        "forecasting": ("model.predict(series)", "a series in, its next moments out"),
        "language": ("model.predict(texts)", "texts in, the next character of each out"),
        "pairs": ("model.predict(sources)", "sources in, their targets out"),
        "reconstruction": ("model.inputs.transform(rows)", "raw rows in, what model.net reads out"),
    }
    return known.get(task.kind, ("model.net", "the torch module"))


def sparkline(trial: Trial) -> str:
    """A curve in eight heights."""
    values = [v for v in trial.valid if math.isfinite(v)]
    if not values:
        return ""
    low, span = min(values), max(values) - min(values)
    return "".join(_BARS[min(7, int(8 * (v - low) / span))] if span > 0 else _BARS[3] for v in values)


def number(value: Any, digits: int = 4) -> str:
    """A value as people write it."""
    if isinstance(value, float):
        return "?" if math.isnan(value) else f"{value:.{digits}g}" if abs(value) < 10**digits - 0.5 else f"{value:.0f}"
    return str(value)


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows in columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
