"""Making what ships: a meta-model fitted on a table, its opening, what its ranks are worth, and how well it does on tasks
that it did not see."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from metabench import direction, registry
from metabench.errors import UsageError
from metabench.files import replacing_folder
from metabench.metamodels.parts.common import MetaModel
from metabench.metamodels.portfolio import greedy_cover, regrets
from metabench.metatrain import MetaTrain
from metabench.pretrained.known import KnownTask, tasks_to_json
from metabench.pretrained.model import Z90, Pretrained
from metabench.pretrained.record import FILES, ONE_BY_ONE, RECORD, SHIPPED, TASKS, Record
from metabench.pretrained.scale import FEWEST, LEVELS, Scale
from metabench.search.base import History, Problem, Surrogate

#: configurations of the opening, and best ones that are kept of each source task
OPENING, BEST = 64, 5
#: of the opening, those whose predicted scores are checked on held-out families
CHECKED = 10
#: parts that families are left out in, where there are more than ONE_BY_ONE of them
FOLDS = 5
#: a task counts with so many configurations, or with all where the table has fewer
ENOUGH = 64
#: chosen by cross-validation on the table core: docs/practitioner.md has the figures
METHOD = "empirical_gp"


def pretrain(
    name: str, table: str, workload: str, method: str = METHOD, *, without: Sequence[str] = (), out: Path | None = None
) -> Path:
    """Fit ``method`` on a table's tasks of a workload and write the folder that :func:`metabench.load_metamodel` opens.

    ``without`` names families of data sets to leave out. A task counts when ENOUGH of the configurations were run on it, or
    all where there are fewer, and its scores are not all the same. ``out`` is the folder (default: the package's own, under
    ``name``); one that is there is replaced, whole or not at all. Raises UsageError for a name that is no plain word, a
    method that predicts nothing or a family that the table has not, and what opening the table raises.
    """
    from metabench.table import load_table

    stem, _, number = name.rpartition("-v")
    if out is None and (stem != workload or not number.isdecimal()):
        raise UsageError(
            f"{name!r} is no name of what ships for {workload}: it would be {workload}-v1, say; or give a folder"
        )
    kind = registry.load("metamodels", method)
    if not (issubclass(kind, MetaModel) and issubclass(kind, Surrogate) and kind.predict is not Surrogate.predict):
        raise UsageError(f"{method} predicts no scores; a fitted meta-model needs a surrogate such as {METHOD}")
    stored = load_table(table)
    mine = stored.tasks[stored.tasks["workload"] == workload]
    if not len(mine):
        raise UsageError(f"table {stored.name} has no tasks of {workload}; it has: {', '.join(stored.workloads)}")
    for family in without:
        if family not in set(mine["family"]):
            raise registry.suggest(family, sorted(set(mine["family"])), f"family of {workload} in table {stored.name}")
    ids = mine.loc[~mine["family"].isin(without), "task_id"].tolist()
    made = np.asarray(stored.ran(workload, ids).any(axis=2))
    counts = np.asarray(made.sum(1)) >= min(ENOUGH, made.shape[1])
    incomplete = [i for i, enough in zip(ids, counts, strict=True) if not enough]
    source = stored.meta_train(workload, [i for i, enough in zip(ids, counts, strict=True) if enough])
    varied = [i for i, u in enumerate(source.utility) if np.unique(u[np.isfinite(u)]).size > 1]
    if not varied:
        raise UsageError(
            f"no task of {workload} in table {stored.name} has runs of {min(ENOUGH, made.shape[1])} configurations: "
            "`metabench generate` trains the rest"
        )
    source = source.select(varied)

    options = "".join(f" --without {family}" for family in without)
    blank = Record(
        name=name,
        workload=workload,
        method=method,
        table=stored.name,
        table_version=stored.version,
        table_digest=stored.digest_of([workload]),
        runs=int(source.ran.sum()),
        tasks=len(source.tasks),
        without=tuple(without),
        incomplete=tuple(incomplete),
        opening=(),
        spread=1.0,
        scales={},
        score_spread={},
        measured={},
        files={},
        command=f"metabench pretrain {name} --table {stored.name} --workload {workload} --method {method}{options}",
    )
    place = out or SHIPPED / name
    if place.exists() and not (place / RECORD).exists():
        raise UsageError(f"{place} is there and holds no fitted meta-model; name a new folder")
    judged = _cross_validated(source, blank)
    fitted = _fitted(source, judged)
    with replacing_folder(place) as folder:
        fitted.model.save(folder)
        (folder / TASKS).write_text(tasks_to_json(fitted.tasks), encoding="utf-8")
        files = {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in FILES}
        (folder / RECORD).write_text(replace(fitted.record, files=files).to_json(), encoding="utf-8")
    return place


def _fitted(source: MetaTrain, record: Record) -> Pretrained:
    """What ``record.method`` makes of a source; the record gains its opening and its scales."""
    model = registry.create("metamodels", record.method).fit(source)
    record = replace(record, opening=_opening(source, model), scales=_scales(source))
    return Pretrained(record, model, tuple(_known(source)))


def _opening(source: MetaTrain, model: MetaModel) -> tuple[int, ...]:
    """A greedy cover of the source tasks; what was not run on one has the regret that the model expects there."""
    return tuple(int(i) for i in greedy_cover(_completed(source, model), OPENING)[:OPENING])


def _completed(source: MetaTrain, model: MetaModel) -> np.ndarray:
    """Regrets [tasks, configs] of :func:`regrets` without NaN. Where a configuration was not run, the model predicts its
    normal score from those that were, and the regret is that of this normal score on the same task."""
    loss = regrets(source)
    for row, z, seen, info in zip(loss, source.normal_scores, source.seen, source.tasks, strict=True):
        if seen.all():
            continue
        tried, rest = np.flatnonzero(seen), np.flatnonzero(~seen)
        history = History()
        for position in tried:
            history.add(int(position), float(direction.sign(info.direction) * z[position]))
        problem = Problem(source.space, info, source.configs, len(tried) + 1)
        expected = model.start(problem, 0).predict(history, rest).mean
        order = np.argsort(z[tried], kind="stable")
        row[rest] = np.interp(expected, z[tried][order], row[tried][order])
    return loss


def _known(source: MetaTrain) -> list[KnownTask]:
    out = []
    for info, utility in zip(source.tasks, source.utility, strict=True):
        sign = direction.sign(info.direction)
        order = np.argsort(-np.where(np.isnan(utility), -np.inf, utility), kind="stable")[:BEST]
        best = [int(i) for i in order if np.isfinite(utility[i])]
        out.append(KnownTask(info, tuple(best), tuple(round(float(sign * utility[i]), 6) for i in best)))
    return out


def _scales(source: MetaTrain) -> dict[str, dict]:
    """A :class:`Scale` for each metric that enough source tasks have."""
    out = {}
    for metric in sorted({t.metric for t in source.tasks}):
        rows = [i for i, t in enumerate(source.tasks) if t.metric == metric]
        families = [source.tasks[i].family for i in rows]
        if len(set(families)) < FEWEST:
            continue
        sign = direction.sign(source.tasks[rows[0]].direction)
        levels = sign * np.stack([_levels(source.utility[i], source.seen[i]) for i in rows])
        out[metric] = Scale.fit(metric, [source.tasks[i].features for i in rows], levels, families).to_json()
    return out


def _levels(utility: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Utilities at LEVELS of the configurations that were run; one that diverged counts as the worst."""
    ran = utility[seen]
    return np.quantile(np.where(np.isnan(ran), np.nanmin(ran), ran), LEVELS)


def _cross_validated(source: MetaTrain, record: Record) -> Record:
    """The record with factors on its intervals, and figures, from leaving out families in turn: each alone where there are
    at most ONE_BY_ONE, else fifths of them.

    ``spearman``: mean rank correlation of predicted with observed percentiles, nothing tried. ``coverage_90``: share of
    observed normal scores within an interval that is not scaled; ``score_coverage_90``: the same of the validation scores of the
    first CHECKED of the opening. ``regret_K``: mean regret (0: the task's best configuration, 1: its median one) of the best
    of the first K of the opening; ``random_K``: the regret that K configurations drawn evenly are expected to leave. Regrets
    are those of the tasks on which the first of the opening were all run. Raises nothing: with one family there is nothing
    to be left out, and no figure.
    """
    families = sorted({t.family for t in source.tasks})
    folds = len(families) if len(families) <= ONE_BY_ONE else FOLDS
    if folds < 2:
        return record
    shuffled = np.random.default_rng(0).permutation(len(families))
    fold = {families[f]: i % folds for i, f in enumerate(shuffled)}
    loss = regrets(source)
    surprise: list[np.ndarray] = []
    spearman: list[float] = []
    off: dict[str, list[float]] = {}
    reached: dict[int, list[float]] = {k: [] for k in (1, 5, 10) if k <= len(source.configs)}
    whole: list[int] = []
    for f in range(folds):
        train = [i for i, t in enumerate(source.tasks) if fold[t.family] != f]
        fitted = _fitted(source.select(train), record)
        opening = list(fitted.record.opening)
        for t in sorted(set(range(len(source.tasks))) - set(train)):
            info, ran = source.tasks[t], np.flatnonzero(source.seen[t])
            z = source.normal_scores[t, ran]
            said = fitted.model.start(Problem(source.space, info, source.configs, 1), 0).predict(History(), ran)
            surprise.append(np.abs(z - said.mean) / said.std)
            spearman.append(np.corrcoef(z.argsort().argsort(), said.mean.argsort().argsort())[0, 1])
            if source.seen[t, opening[: max(reached, default=0)]].all():
                whole.append(t)
                for k, found in reached.items():
                    found.append(float(loss[t, opening[:k]].min()))
            checked = [i for i in opening[:CHECKED] if source.seen[t, i]]
            promised = fitted.predict(info, source.configs.iloc[checked])
            if checked and promised["score"].notna().all():
                off.setdefault(info.metric, []).extend(
                    _outside(promised, source.scores[t, checked], source.ran[t, checked])
                )
    together = [value for some in off.values() for value in some]
    within = np.concatenate(surprise) <= Z90
    figures = {"folds": float(folds), "spearman": np.mean(spearman), "coverage_90": np.mean(within)}
    figures |= {"score_coverage_90": np.mean(np.array(together) <= 1.0)} if together else {}
    if whole:
        figures |= {f"regret_{k}": np.mean(found) for k, found in reached.items()}
        figures |= {f"random_{k}": np.mean([_of_random(row, k) for row in loss[whole]]) for k in reached}
    # divergence is no error of a number: it stays outside of any interval
    wide = {metric: float(np.quantile([v for v in some if np.isfinite(v)], 0.9)) for metric, some in off.items()}
    return replace(
        record,
        spread=round(_spread(surprise), 4),
        score_spread={metric: round(max(value, 0.1), 4) for metric, value in wide.items()},
        measured={name: round(float(value), 4) for name, value in figures.items()},
    )


def _spread(surprise: list[np.ndarray]) -> float:
    """The factor on predicted standard deviations that makes 90 % intervals hold on tasks that were left out, whose
    observations lie ``surprise`` (an array a task) of them off. Of fewer than FEWEST tasks the one that needs most
    decides, and nothing is narrowed: they tell little of all others."""
    if len(surprise) < FEWEST:
        return max(1.0, max(float(np.quantile(row, 0.9)) for row in surprise) / Z90)
    return float(np.quantile(np.concatenate(surprise), 0.9)) / Z90


def _of_random(loss: np.ndarray, k: int) -> float:
    """The expected least of ``k`` of the losses [configs] that were seen (not NaN), drawn without replacement."""
    ordered = np.sort(loss[~np.isnan(loss)])
    n = len(ordered)
    # the i-th smallest is the least of those drawn when it is drawn and the others come from the n - 1 - i larger ones
    ways = np.array([math.comb(n - 1 - i, k - 1) for i in range(n)], dtype=float)
    return float(ordered @ ways / ways.sum())


def _outside(promised, scores: np.ndarray, ran: np.ndarray) -> list[float]:
    """How far validation scores [configs, seeds], where they were ``ran``, lie from what was promised, in units of that side
    of the interval: 1 is its end; infinite where a run diverged."""
    y, middle = scores, promised["score"].to_numpy()[:, None]
    ends = np.stack([promised["score_low"].to_numpy(), promised["score_high"].to_numpy()])[:, :, None]
    width = np.where(y < middle, middle - ends[0], ends[1] - middle)
    return np.where(np.isnan(y), np.inf, np.abs(y - middle) / np.maximum(width, 1e-9))[ran].tolist()
