"""An Optuna study of ten trials with ``MetaSampler``, beside the searches of benchmarks/practitioner.py on the same data sets.

    python benchmarks/meta_sampler.py run [TASK ...]   # trains what is missing; may be stopped at any time, and goes on
    python benchmarks/meta_sampler.py report           # docs/optuna.csv, and its table in docs/optuna.md

Same rows, splits and seeds; the study has the workload's hyperparameters under their own names and ranges, suggested as a
person's objective does (conditional ones only where they count). What the others reached, and the regret's scale, are those
of `python benchmarks/practitioner.py run` (build/practitioner): regret 0 is the best that any of those searches reached.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import practitioner

from metabench.search.base import Searcher
from metabench.search.continuous import Trials

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "docs/optuna.csv", ROOT / "docs/optuna.md"
BEGIN, END = "<!-- study: written by `python benchmarks/meta_sampler.py report` -->\n", "<!-- end -->"
TRIALS = 10
ARM = f"MetaSampler, {TRIALS}"
#: of the stored searches those that it stands beside
BESIDE = ("tune, 10", "random, 10", "TPE, 10", "GP, 10", "random, 50", "TPE, 50", "GP, 50")


class Study(Searcher):
    """An Optuna study that asks what a define-by-run objective asks."""

    name = "meta_sampler"

    def begin(self) -> None:
        import optuna

        import metabench as mb

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = mb.interop.optuna.MetaSampler.from_pretrained(
            practitioner.MODEL, task=self.problem.task, seed=self.seed
        )
        direction = {"max": "maximize", "min": "minimize"}[self.problem.task.direction]
        self._study, self._asked = optuna.create_study(direction=direction, sampler=sampler), []

    def suggest_config(self, trials: Trials) -> Mapping[str, Any]:
        import optuna

        if self._asked:
            score, last = trials.scores[-1], self._asked[-1]
            if np.isfinite(score):
                self._study.tell(last, score)
            else:
                self._study.tell(last, state=optuna.trial.TrialState.FAIL)
        self._asked.append(trial := self._study.ask())
        config: dict[str, Any] = {}
        for name, p in self.problem.space.items():
            if p.when is None or p.when.on_task or config.get(p.when.parent) in p.when.values:
                config[name] = _suggested(trial, name, p)
        return config


def _suggested(trial, name: str, p) -> Any:
    from metabench.space import Choice, Int, Ordinal

    if isinstance(p, Choice | Ordinal):
        return trial.suggest_categorical(name, list(p.options))
    if isinstance(p, Int):
        return trial.suggest_int(name, int(p.low), int(p.high), log=p.log)
    return trial.suggest_float(name, p.low, p.high, log=p.log)


def train(task_id: str, place: Path) -> None:
    """The study on a task, for each seed; its file is written in one go."""
    from metabench import registry
    from metabench.evaluation.live import LiveBench
    from metabench.evaluation.worker import Group
    from metabench.pretrained import load_metamodel

    task, workload = practitioner.task_of(task_id), registry.create("workloads", practitioner.WORKLOAD)
    model, began, rows = load_metamodel(practitioner.MODEL), time.process_time(), []
    bench = LiveBench(
        {Study.name: Study()},
        None,
        workload.space,
        model.configs,
        {task_id: model.info(task)},
        TRIALS,
        practitioner.Trains(task, workload),
    )
    for group, found, failed in bench.run(
        [Group(Study.name, "own", task_id, dict.fromkeys(range(practitioner.SEEDS), ""))]
    ):
        if failed:
            raise SystemExit(f"{group.method} on {task_id}: {failed}")
        for row in found:
            columns = (row[k] for k in ("valid_score", "test_score", "seconds", "overhead"))
            rows += [
                {"seed": row["seed"], "trial": i + 1, "valid": v, "test": t, "train_seconds": s, "own_seconds": o}
                for i, (v, t, s, o) in enumerate(zip(*columns, strict=True))
            ]
    facts = {"direction": task.direction, "model": model.table_digest, "cpu_seconds": time.process_time() - began}
    part = place.with_suffix(".part")
    part.write_text(json.dumps({"facts": facts, "rows": rows}))
    os.replace(part, place)


def run(folder: Path, only: list[str]) -> None:
    (folder / "optuna").mkdir(parents=True, exist_ok=True)
    for task_id in only or practitioner.reserved():
        place = folder / "optuna" / f"{task_id}.json"
        if (folder / f"{task_id}.json").exists() and not place.exists():
            train(task_id, place)
            print(f"{task_id}: {json.loads(place.read_text())['facts']['cpu_seconds']:.0f} s of CPU", flush=True)


def cells(folder: Path) -> pd.DataFrame:
    """The rows of :func:`practitioner.cells` on the published tasks that have a study, and the study's own on the same scale."""
    stored, published = practitioner.cells(folder), set(pd.read_csv(practitioner.RESULTS)["task_id"])
    out = []
    for path in sorted(p for p in (folder / "optuna").glob("mlp-*.json") if p.stem in published):
        made = json.loads(path.read_text())
        trials = pd.DataFrame(made["rows"])
        sign = 1.0 if made["facts"]["direction"] == "max" else -1.0
        trials[["valid", "test"]] = sign * trials[["valid", "test"]].astype(float)
        mine = stored[stored["task_id"] == path.stem]
        out.append(mine[mine["arm"].isin(BESIDE)])
        for seed, part in trials.groupby("seed"):
            best = part.loc[part["valid"].fillna(-np.inf).idxmax()]
            others = mine[mine["seed"] == seed]
            row = others.iloc[0].to_dict() | {
                "arm": ARM,
                "valid": best["valid"],
                "test": best["test"],
                "train_seconds": part["train_seconds"].sum(),
                "own_seconds": part["own_seconds"].sum(),
            }
            for kind in ("valid", "test"):
                best_of_all, median = others[kind].max(), row[f"median_{kind}"]
                span = best_of_all - median
                loss = (best_of_all - row[kind]) / span if span > 1e-12 else float(best_of_all - row[kind] > 1e-12)
                row[f"{kind}_regret"] = float(np.clip(loss, 0.0, 1.0))
            out.append(pd.DataFrame([row]))
    return pd.concat(out, ignore_index=True)


def summary() -> str:
    """The table out of RESULTS."""
    from metabench.scores.aggregate import Hierarchy

    found = pd.read_csv(RESULTS)
    facts = found.drop_duplicates("task_id").set_index("task_id").sort_index()
    hierarchy = Hierarchy.build(facts["family"].tolist(), found["seed"].nunique())
    lines = [
        f"{facts.shape[0]} of the {len(practitioner.reserved())} reserved data sets, {found['seed'].nunique()} seeds:",
        "",
        "| search, trials | valid regret | test regret |",
        "|---|---:|---:|",
    ]
    for arm in (ARM, *BESIDE):
        mine, said = found[found["arm"] == arm], []
        for kind in ("valid", "test"):
            grid = mine.pivot(index="task_id", columns="seed", values=f"{kind}_regret").sort_index().to_numpy()
            low, high = hierarchy.interval(grid)
            said.append(f"{float(hierarchy.estimate(grid)):.3f} [{float(low):.3f}, {float(high):.3f}]")
        lines.append(f"| {arm} | {said[0]} | {said[1]} |")
    return "\n".join(lines) + "\n"


def report(folder: Path) -> None:
    cells(folder).round(6).to_csv(RESULTS, index=False)
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(text[: text.index(BEGIN) + len(BEGIN)] + summary() + text[text.index(END) :], encoding="utf-8")
    print(summary(), end="")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "report"])
    parser.add_argument("tasks", nargs="*")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/practitioner")
    given = parser.parse_args()
    run(given.folder, given.tasks) if given.what == "run" else report(given.folder)
