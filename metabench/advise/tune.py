"""Tuning on a person's data: a few trainings that a meta-model chooses, all of them real, and the best network kept.

Whatever was trained is written at once, whole or not at all; the same call goes on where an interrupted one stopped.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metabench import direction, files, untrusted
from metabench.advise import keeping, ranking
from metabench.advise.proposals import FIRST, propose
from metabench.advise.recommend import all_notes, configurations, facts, understood
from metabench.advise.stored import check_trials
from metabench.advise.trainer import Trainer, Trial
from metabench.brief import brief
from metabench.errors import MetabenchError, UsageError
from metabench.extras import need
from metabench.files import replace_file
from metabench.plain import whole
from metabench.pretrained import Pretrained
from metabench.search.continuous import Trials
from metabench.tasks import Task
from metabench.tasks.metrics import chance

#: format of trials.json; another one is refused
FORMAT = 1
TRIALS = "trials.json"
#: where a trial came from: what the meta-model chose, random search, the workload's default
TUNED, RANDOM, DEFAULT = "tuned", "random", "default"


@brief
@dataclass(frozen=True)
class Tuning:
    """What :func:`tune` did."""

    task: Task
    model: Pretrained
    trials: tuple[Trial, ...]
    #: trials of random search and the default's, when they were asked for
    others: tuple[Trial, ...]
    notes: tuple[str, ...]
    #: scores of the network that was kept
    kept: dict[str, float] | None = None
    out: Path | None = None
    #: what trained the kept network: the engine that trained the trials (its scores are the trial's) or the plain loop
    engine: str = ""
    #: whether a network of all rows lies beside it
    refitted: bool = False
    #: seconds that went by in this call, by what they were spent on
    wall: Mapping[str, float] = field(default_factory=dict)
    #: the validation score of the best constant guess
    guess: float = float("nan")
    #: splits that every configuration is trained on; where there are several, scores are means over them
    repeats: int = 1

    @property
    def best(self) -> Trial:
        """The tuned trial with the best validation score."""
        return best_of(self.trials, self.task)

    @property
    def learned(self) -> bool:
        """Whether the best trial beats a constant guess on the validation rows."""
        if self.best.auc is not None:
            return self.best.auc > 0.5
        return not self.sign * self.best.score <= self.sign * self.guess + 1e-9

    @property
    def sign(self) -> float:
        return direction.sign(self.task.direction)

    def counting(self, trial: Trial) -> dict[str, Any]:
        """The hyperparameters of a trial that count on the task."""
        return {n: trial.config[n] for n in self.model.space.for_task(self.task.kind) if n in trial.config}

    def comparison(self) -> dict[str, Any] | None:
        """Tuned against random search with as many trials, each by the test score of its best on the validation rows.

        ``gain`` is in the task's metric, positive where tuning is ahead; None when random search was not asked for.
        """
        random = tuple(t for t in self.others if t.arm == RANDOM)
        if not random:
            return None
        sign = self.sign
        out: dict[str, Any] = {"trials": len(random)}
        for name, arm in ((TUNED, self.trials[: len(random)]), (RANDOM, random)):
            best = best_of(arm, self.task)
            out[name] = {"valid": best.score, "test": best.test_score, "seconds": sum(t.seconds for t in arm)}
        out["gain"] = {k: sign * (out[TUNED][k] - out[RANDOM][k]) for k in ("valid", "test")}
        (default,) = (t for t in self.others if t.arm == DEFAULT)
        out[DEFAULT] = {"valid": default.score, "test": default.test_score, "seconds": default.seconds}
        return out

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON has it."""
        best = self.best
        chosen = {
            "trial": self.trials.index(best) + 1,
            "config": self.counting(best),
            "valid": best.score,
            "test": best.test_score,
        }
        return {
            "task": facts(self.task),
            "notes": list(self.notes),
            "model": self.model.name,
            "best": chosen,
            "kept": self.kept,
            "kept_by": self.engine,
            "refitted": self.refitted,
            "splits": self.repeats,
            "wall_seconds": dict(self.wall),
            "constant_guess": self.guess,
            "beats_constant_guess": self.learned,
            "comparison": self.comparison(),
            "trials": [trial_to_json(t) for t in (*self.trials, *self.others)],
            "out": None if self.out is None else str(self.out),
        }


def best_of(trials: tuple[Trial, ...], task: Task) -> Trial:
    """The trial with the best validation score, or AUC where that chooses (ties: the first). Raises MetabenchError when all
    diverged."""
    sign = direction.sign(task.direction)
    good = [t for t in trials if np.isfinite(t.score)]
    if not good:
        raise MetabenchError(
            f"all {len(trials)} trainings diverged: the data may hold extreme numbers; try more --trials"
        )
    return max(good, key=lambda t: sign * t.choice)


def tune(
    data: Any,
    target: Any = None,
    *,
    trials: int = 10,
    workload: str = "mlp",
    model: str | Pretrained | None = None,
    compare: bool = False,
    refit: bool = False,
    out: str | Path | None = None,
    kind: str | None = None,
    encoding: str = "utf-8",
    decimal: str | None = None,
    missing: Sequence[str] = (),
    seed: int = 0,
    device: str = "cpu",
    backend: str = "auto",
    progress: Callable[[Trial, int, int], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Tuning:
    """Train networks on your data with hyperparameters that a meta-model chooses, and keep the best one.

    The first FIRST trials are a portfolio and are trained together; each later one learns from all before it. Every
    trial trains on 60 % of the rows and is chosen by another 20 %; the test score is of the last 20 %, which choose nothing.
    Where a class has few rows (:mod:`metabench.advise.ranking`) every configuration is trained on five splits, its scores are
    means over them, and the kept network is trained on all rows.

    Args:
        data: As of :func:`metabench.recommend`.
        target: As of :func:`metabench.recommend`.
        trials: Networks to train. A folder that holds more of the same tuning already keeps them all.
        workload: Kind of network to train.
        model: Fitted meta-model, its name or its folder; None for the newest that ships for the workload.
        compare: Also train as many random configurations, and the workload's default.
        refit: Also train the best configuration on all rows and write it to ``refit/``; nothing measures its score.
        out: A folder for ``model/`` (:func:`metabench.load_model` opens it), ``report.html`` and ``trials.json``; a call
            with the same data and settings goes on where an earlier one stopped.
        kind: classification or regression; None to find out.
        encoding: Encoding of a text file.
        decimal: "." or ","; None to find out.
        missing: Words that mean a missing value, in any column.
        seed: Seed for initialisation, data order and, under 2,000 rows, the split.
        device: cpu or cuda.
        backend: Backend that trains; auto for the fastest one.
        progress: Called with (trial, made, of) after each training.
        say: Called with a line for everything that is done to the data, before the first training, and for what happens
            after the last.

    Returns:
        All trials, the kept network, and the folder.

    Raises:
        UsageError: The data does not make a task, or the folder holds another tuning.
        MetabenchError: Every training diverged.
    """
    trials, seed = whole(trials, "trials"), whole(seed, "seed", 0)
    if trials < 1:
        raise UsageError(f"{trials} trials are none; at least 1 is needed")
    if refit and (out is None or isinstance(data, Task)):
        raise UsageError("to refit, give a person's own data and a folder (out) for the network")
    need("torch", "tuning")
    say, clock = say or (lambda line: None), _Clock()
    fitted, task, found = understood(data, target, workload, model, kind, encoding, decimal, missing)
    notes = all_notes(task, found)
    for note in notes:
        say(note)
    folder = None if out is None else Path(out)
    repeats = 1 if found is None else ranking.repeats(task, task.arrays(seed))
    key = _key(task, fitted, seed, device, backend, repeats)
    made = {} if folder is None else _stored(folder, key)
    stored = len(made.get(TUNED, []))
    if stored > trials:
        say(f"{folder} holds {stored} trials of this tuning already: none is trained, all of them count")
        trials = stored
    train = Trainer(task, fitted, seed, device, backend, repeats)
    for note in ranking.told(train.ranks, repeats):
        notes = (*notes, note)
        say(note)
    wanted = trials + (trials + 1) * compare
    clock.spent("reading")

    def keep(arm: str, fresh: list[Trial]) -> None:
        clock.spent("training")
        made[arm] = [*made.get(arm, []), *fresh]
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            everything = [trial_to_json(t) for arm in made.values() for t in arm]
            text = json.dumps({"format": FORMAT, "key": key, "trials": everything}, indent=1, allow_nan=False)
            replace_file(folder / TRIALS, text.encode())
        if progress is not None:
            for i, trial in enumerate(fresh, sum(map(len, made.values())) - len(fresh) + 1):
                progress(trial, i, wanted)

    while (done := len(made.get(TUNED, []))) < trials:
        together = min(max(FIRST - done, 1), trials - done)
        past = Trials(
            fitted.space.table([t.config for t in made.get(TUNED, [])]), [t.choice for t in made.get(TUNED, [])]
        )
        configs = configurations(fitted, propose(fitted, task, past, together, seed=seed))
        clock.spent("choosing")
        keep(TUNED, train(TUNED, configs))
    if compare:
        if (done := len(made.get(RANDOM, []))) < trials:
            drawn = configurations(fitted, fitted.space.sample(trials, _random_seed(seed), method="random"))
            keep(RANDOM, train(RANDOM, drawn[done:]))
        if not made.get(DEFAULT):
            keep(DEFAULT, train(DEFAULT, [fitted.space.default()]))
    others = (*made.get(RANDOM, [])[:trials], *made.get(DEFAULT, [])) if compare else ()
    arrays = task.arrays(seed)
    guess = float("nan") if task.kind == "episodes" else chance(task.metric, arrays.y_train, arrays.y_valid)
    result = Tuning(
        task,
        fitted,
        tuple(made[TUNED]),
        tuple(others),
        notes,
        None,
        folder,
        wall=clock.seconds,
        guess=guess,
        repeats=repeats,
    )
    if not result.learned:
        say(f"nothing learned: no trial beats a constant guess ({guess:.4f} on the validation rows)")
    if folder is None:
        _ = result.best  # raises when all diverged
        return result
    result = keeping.kept(result, found, seed, device, backend, key, say)
    if refit:
        assert found is not None
        result = keeping.refitted(result, found, seed, device, backend, say)
    clock.spent("keeping")
    keeping.reported(result)
    return result


class _Clock:
    """Seconds that went by, by what they were spent on."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self.last = time.perf_counter()

    def spent(self, what: str) -> None:
        """Everything since the last call."""
        now = time.perf_counter()
        self.seconds[what] = self.seconds.get(what, 0.0) + now - self.last
        self.last = now


def _random_seed(seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"random search/{seed}".encode()).digest()[:8], "little")


# ---------------------------------------------------------------------------------------------- storage
def _key(task: Task, fitted: Pretrained, seed: int, device: str, backend: str, repeats: int = 1) -> str:
    """What determines the trials: the rows and how they are split, the meta-model, the settings."""
    arrays = task.arrays(seed)
    digest = hashlib.sha256()
    for part in ("x_train", "y_train", "x_valid", "y_valid", "x_test", "y_test"):
        digest.update(np.ascontiguousarray(getattr(arrays, part)).tobytes())
    record = fitted.record
    settings = [task.workload, task.metric, task.checkpoints, record.files, seed, device, backend]
    digest.update(json.dumps(settings + [repeats] * (repeats > 1)).encode())
    return digest.hexdigest()


def trial_to_json(trial: Trial) -> dict[str, Any]:
    """A trial as JSON has it."""
    curves = ("epochs", "valid", "test", "train_loss")
    rest = {name: getattr(trial, name) for name in ("arm", "config", "status", "seconds", "flops")}
    rest |= {} if trial.auc is None else {"auc": trial.auc}
    return rest | {name: list(getattr(trial, name)) for name in curves}


def _stored(folder: Path, key: str) -> dict[str, list[Trial]]:
    """The trials that a folder holds, by arm. Raises UsageError when they are of another tuning."""
    path = folder / TRIALS
    if not folder.exists():
        return {}
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder")
    files.sweep(folder)
    if not path.exists():
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is there and holds no tuning; name a new folder")
        return {}
    try:
        stored = untrusted.read_json(path)
        if stored["format"] != FORMAT:
            raise ValueError(f"format {stored['format']}")
        if stored["key"] != key:
            raise UsageError(f"{folder} holds a tuning of other data, or with other settings; name a new folder")
        out: dict[str, list[Trial]] = {}
        for found in check_trials(stored["trials"]):
            curves: dict[str, Any] = {
                name: tuple(found.pop(name)) for name in ("epochs", "valid", "test", "train_loss")
            }
            out.setdefault(found["arm"], []).append(Trial(**found, **curves))
        return out
    except UsageError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, MetabenchError) as error:
        raise MetabenchError(
            f"{path} cannot be read as trials ({type(error).__name__}: {error}); name a new folder"
        ) from None


def frame(trials: tuple[Trial, ...]) -> pd.DataFrame:
    """Trials as a table, a row each: arm, scores, seconds, hyperparameters."""
    return pd.DataFrame(
        [
            {"arm": t.arm, "status": t.status, "valid": t.score, "test": t.test_score, "seconds": t.seconds, **t.config}
            for t in trials
        ]
    )


__all__ = ["Trial", "Tuning", "tune"]
