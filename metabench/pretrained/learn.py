"""Making what ships: a meta-model fitted on a table, its opening, what its ranks are worth, and how well it does on tasks
that it did not see."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from metabench import registry
from metabench.errors import UsageError
from metabench.metamodels.common import MetaModel
from metabench.metamodels.portfolio import Portfolio, regrets
from metabench.metatrain import MetaTrain
from metabench.pretrained.known import KnownTask, tasks_to_json
from metabench.pretrained.record import FILES, RECORD, SHIPPED, TASKS, Record
from metabench.pretrained.scale import FEWEST, LEVELS, Scale
from metabench.search.base import History, Problem, Surrogate

#: configurations of the opening, and best ones that are kept of each source task
OPENING, BEST = 64, 5
FOLDS = 5
#: chosen by cross-validation on the table core: docs/practitioner.md has the figures
METHOD = "empirical_gp"


def pretrain(
    name: str, table: str, workload: str, method: str = METHOD, *, without: Sequence[str] = (), out: Path | None = None
) -> Path:
    """Fit ``method`` on a table's tasks of a workload and write the folder that :func:`metabench.load_metamodel` opens.

    ``without`` names families of data sets to leave out. A task counts when all of its runs were made and its scores are
    not all the same. ``out`` is the folder (default: the package's own, under ``name``); one that is there is replaced,
    whole or not at all. Raises UsageError for a name that is no plain word, a method that predicts nothing or a family
    that the table has not, and what opening the table raises.
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
    made = stored.ran(workload, ids).all(axis=(1, 2))
    incomplete = [i for i, whole in zip(ids, made, strict=True) if not whole]
    source = stored.meta_train(workload, [i for i, whole in zip(ids, made, strict=True) if whole])
    varied = [i for i, u in enumerate(source.utility) if np.unique(u[np.isfinite(u)]).size > 1]
    if not varied:
        raise UsageError(
            f"no task of {workload} in table {stored.name} is complete: `metabench generate` trains the rest"
        )
    source = source.select(varied)

    fitted = registry.create("metamodels", method).fit(source)
    spread, measured = _cross_validated(source, method)
    place = out or SHIPPED / name
    with _replacing(place) as folder:
        fitted.save(folder)
        (folder / TASKS).write_text(tasks_to_json(_known(source)), encoding="utf-8")
        options = "".join(f" --without {family}" for family in without)
        record = Record(
            name=name, workload=workload, method=method, table=stored.name, table_version=stored.version,
            table_digest=stored.digest_of([workload]), runs=int(source.ran.sum()), tasks=len(source.tasks),
            without=tuple(without), incomplete=tuple(incomplete), opening=_opening(source), spread=spread,
            scales=_scales(source), measured=measured,
            command=f"metabench pretrain {name} --table {stored.name} --workload {workload} --method {method}{options}",
            files={file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in FILES},
        )  # fmt: skip
        (folder / RECORD).write_text(record.to_json(), encoding="utf-8")
    return place


class _replacing:
    """A new folder that takes the place of one when the block ends well, and vanishes when it does not."""

    def __init__(self, place: Path):
        self.place = place

    def __enter__(self) -> Path:
        if self.place.exists() and not (self.place / RECORD).exists():
            raise UsageError(f"{self.place} is there and holds no fitted meta-model; name a new folder")
        self.place.parent.mkdir(parents=True, exist_ok=True)
        self.made = Path(tempfile.mkdtemp(prefix=f".{self.place.name}.", dir=self.place.parent))
        self.made.chmod(0o755)
        return self.made

    def __exit__(self, kind, *_) -> None:
        if kind is not None:
            shutil.rmtree(self.made, ignore_errors=True)
            return
        old = self.made.with_name(f"{self.made.name}.old")
        if self.place.exists():
            os.rename(self.place, old)
        os.rename(self.made, self.place)
        shutil.rmtree(old, ignore_errors=True)


def _opening(source: MetaTrain) -> tuple[int, ...]:
    return tuple(int(i) for i in Portfolio().fit(source).order_[:OPENING])


def _known(source: MetaTrain) -> list[KnownTask]:
    out = []
    for info, utility in zip(source.tasks, source.utility, strict=True):
        sign = 1.0 if info.direction == "max" else -1.0
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
        sign = 1.0 if source.tasks[rows[0]].direction == "max" else -1.0
        utility = source.utility[rows]
        worst = np.nanmin(utility, axis=1, keepdims=True)
        levels = sign * np.quantile(np.where(np.isnan(utility), worst, utility), LEVELS, axis=1).T
        out[metric] = Scale.fit(metric, [source.tasks[i].features for i in rows], levels, families).to_json()
    return out


def _cross_validated(source: MetaTrain, method: str) -> tuple[float, dict[str, float]]:
    """The factor on standard deviations, and figures, from leaving out fifths of the families in turn.

    ``spearman``: mean rank correlation of predicted with observed normal scores, nothing tried. ``coverage_90``: share
    of observed ones within the scaled interval. ``regret_K``: mean regret (0: the task's best configuration, 1: its median
    one) of the best of the first K of the opening.
    """
    families = sorted({t.family for t in source.tasks})
    folds = min(FOLDS, len(families))
    if folds < 2:
        return 1.0, {}
    shuffled = np.random.default_rng(0).permutation(len(families))
    fold = {families[f]: i % folds for i, f in enumerate(shuffled)}
    loss, surprise, spearman = regrets(source), [], []
    reached: dict[int, list[float]] = {k: [] for k in (1, 5, 10) if k <= len(source.configs)}
    for f in range(folds):
        train = [i for i, t in enumerate(source.tasks) if fold[t.family] != f]
        part = source.select(train)
        model, opening = registry.create("metamodels", method).fit(part), list(_opening(part))
        for t in sorted(set(range(len(source.tasks))) - set(train)):
            problem = Problem(source.space, source.tasks[t], source.configs, 1)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                said = model.start(problem, 0).predict(History(), np.arange(len(source.configs)))
            z = source.normal_scores[t]
            surprise.append(np.abs(z - said.mean) / said.std)
            spearman.append(np.corrcoef(z.argsort().argsort(), said.mean.argsort().argsort())[0, 1])
            for k, found in reached.items():
                found.append(float(loss[t, opening[:k]].min()))
    factor = float(np.quantile(surprise, 0.9)) / 1.6448536
    figures = {
        "folds": float(folds),
        "spearman": float(np.mean(spearman)),
        "coverage_90_unscaled": float(np.mean(np.array(surprise) <= 1.6448536)),
    }
    figures |= {f"regret_{k}": float(np.mean(found)) for k, found in reached.items()}
    return round(factor, 4), {name: round(value, 4) for name, value in figures.items()}
