"""Recommendations against searching from nothing, on data sets that `mlp-v1` never saw, every network really trained.

    python benchmarks/practitioner.py run       # trains what is missing; may be stopped at any time, and goes on
    python benchmarks/practitioner.py report    # docs/practitioner.csv, and its table in docs/practitioner.md
    python benchmarks/practitioner.py show      # the table again, of docs/practitioner.csv
    python benchmarks/practitioner.py promises  # how often predicted intervals of scores held

The data sets are those of datasets/reserved-v1.txt, which core v1 never held, each cut to ROWS rows by a fixed sample so
that the whole takes minutes.
For each and for each seed: `tune` (the meta-model's opening of five, then five trials that learn from those before; its
first trial and its first five are what `recommend` says at k = 1 and 5), the workload's default, and random search,
Optuna's TPE and a Gaussian process from nothing, all on the same splits. A search picks its best trial on the
validation rows; what counts is that trial's score on the test rows.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[1]
RESERVED = ROOT / "datasets/reserved-v1.txt"
RESULTS, PAGE = ROOT / "docs/practitioner.csv", ROOT / "docs/practitioner.md"
#: between these the page holds the table
BEGIN, END = "<!-- practitioner: written by `python benchmarks/practitioner.py report` -->", "<!-- end -->"
MODEL, WORKLOAD, ROWS, SEEDS = "mlp-v1", "mlp", 1_000, 2
#: method → trials
BUDGETS = {"default": 1, "tune": 10, "random": 50, "tpe": 50, "gp": 50}
#: what is compared: name → (method, trials)
ARMS = {
    "default": ("default", 1),
    "recommend, k = 1": ("tune", 1),
    "recommend, k = 5": ("tune", 5),
    "tune, 10": ("tune", 10),
    "random, 10": ("random", 10),
    "TPE, 10": ("tpe", 10),
    "GP, 10": ("gp", 10),
    "random, 50": ("random", 50),
    "TPE, 50": ("tpe", 50),
    "GP, 50": ("gp", 50),
}


def reserved() -> list[str]:
    lines = RESERVED.read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def task_of(task_id: str):
    """A reserved task on ROWS rows of its data set."""
    from metabench import tasks
    from metabench.tasks.splits import row_hashes

    source, _ = tasks._listings()[task_id.removeprefix(f"{WORKLOAD}-")]
    data = source.load(task_id.removeprefix(f"{WORKLOAD}-"))
    n = len(data.X)
    kept = np.arange(n)
    if n > ROWS:
        hashes = row_hashes(f"{data.name}/practitioner", 0, n)
        # of rows in time order a stretch, the latest
        kept = kept[-ROWS:] if data.temporal else np.sort(np.argsort(hashes, kind="stable")[:ROWS])
    X = data.X.iloc[kept].reset_index(drop=True) if isinstance(data.X, pd.DataFrame) else data.X[kept]
    groups = None if data.groups is None else data.groups[kept]
    return tasks.from_dataset(replace(data, X=X, y=data.y.iloc[kept].reset_index(drop=True), groups=groups), WORKLOAD)


class Trains:
    """The objective of one task: what searches ask for in a round is trained together."""

    def __init__(self, task, workload):
        self.task, self.workload = task, workload

    def answer(self, trials):
        from metabench.search.continuous import Outcome
        from metabench.training import run_cohort

        out = [None] * len(trials)
        splits = {}
        for i, trial in enumerate(trials):
            splits.setdefault(trial.seed % self.task.n_splits, []).append(i)
        for split, rows in splits.items():
            curves = run_cohort(
                self.workload,
                self.task.arrays(split),
                self.workload.space.table([trials[i].config for i in rows]),
                [trials[i].seed for i in rows],
                self.task.checkpoints,
            )
            for j, i in enumerate(rows):
                ok = curves.status[j] == "ok"
                scores = (float(s[j, -1]) if ok else np.nan for s in (curves.valid_score, curves.test_score))
                seconds = float(curves.seconds[j])
                out[i] = Outcome(*scores, curves.status[j], seconds, curves.engine, curves.device)
        return out


def train(task_id: str, place: Path) -> None:
    """All searches of a task; its file is written in one go."""
    from metabench import registry
    from metabench.advise.proposals import Tune
    from metabench.evaluation.live import LiveBench
    from metabench.evaluation.worker import Group
    from metabench.pretrained import load_metamodel
    from metabench.search.base import Searcher

    task, workload, model = task_of(task_id), registry.create("workloads", WORKLOAD), load_metamodel(MODEL)
    rows = []
    began = time.process_time()
    for budget in sorted(set(BUDGETS.values())):
        names = [name for name, trials in BUDGETS.items() if trials == budget]
        methods: dict[str, Searcher] = {
            name: Tune(model) if name == "tune" else registry.create("baselines", name) for name in names
        }
        bench = LiveBench(
            methods, None, workload.space, model.configs, {task_id: model.info(task)}, budget, Trains(task, workload)
        )
        groups = [Group(name, "own", task_id, dict.fromkeys(range(SEEDS), "")) for name in names]
        for group, found, failed in bench.run(groups):
            if failed:
                raise SystemExit(failed)
            for row in found:
                rows += [
                    {
                        "task_id": task_id,
                        "method": group.method,
                        "seed": row["seed"],
                        "trial": i + 1,
                        "status": s,
                        "valid": v,
                        "test": t,
                        "train_seconds": sec,
                        "own_seconds": own,
                        "config": c,
                    }
                    for i, (s, v, t, sec, own, c) in enumerate(
                        zip(
                            *(row[k] for k in ("status", "valid_score", "test_score", "seconds", "overhead", "configs"))
                        )
                    )
                ]
    facts = {
        "metric": task.metric,
        "direction": task.direction,
        "n_train": task.n_train,
        "family": task.family,
        "chance": task.chance,
        "cpu_seconds": time.process_time() - began,
    }
    write(place, facts, rows)


def write(place: Path, facts: dict, rows: list[dict]) -> None:
    """A file of one task, whole or not at all."""
    part = place.with_suffix(".part")
    part.write_text(json.dumps({"facts": facts, "rows": rows}))
    os.replace(part, place)


def run(folder: Path, wanted: list[str], train=train) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for task_id in wanted:
        place = folder / f"{task_id}.json"
        if not place.exists():
            began = time.time()
            train(task_id, place)
            cpu = json.loads(place.read_text())["facts"]["cpu_seconds"]
            print(f"{task_id}: {cpu:.0f} s of CPU, {time.time() - began:.0f} s", flush=True)


def cells(folder: Path) -> pd.DataFrame:
    """A row for each task, seed and arm: validation score of the best trial, test score of the same, seconds; larger is
    better in both scores."""
    rows = []
    for path in sorted(folder.glob("mlp-*.json")):
        stored = json.loads(path.read_text())
        facts, trials = stored["facts"], pd.DataFrame(stored["rows"])
        sign = 1.0 if facts["direction"] == "max" else -1.0
        trials[["valid", "test"]] = sign * trials[["valid", "test"]].astype(float)
        trials["chosen_by"] = trials["valid"].fillna(-np.inf)
        for (task_id, seed), part in trials.groupby(["task_id", "seed"]):
            drawn = part[part["method"] == "random"]
            # a run that diverged is as bad as the worst that did not
            median = {k: float(drawn[k].fillna(drawn[k].min()).median()) for k in ("valid", "test")}
            for arm, (method, n) in ARMS.items():
                mine = part[(part["method"] == method) & (part["trial"] <= n)]
                best = mine.loc[mine["chosen_by"].idxmax()]
                rows.append(
                    {
                        "task_id": task_id,
                        "family": facts["family"],
                        "metric": facts["metric"],
                        "seed": int(seed),
                        "arm": arm,
                        "valid": best["valid"],
                        "test": best["test"],
                        "median_valid": median["valid"],
                        "median_test": median["test"],
                        "train_seconds": mine["train_seconds"].sum(),
                        "own_seconds": mine["own_seconds"].sum(),
                    }
                )
    found = pd.DataFrame(rows)
    for kind in ("valid", "test"):
        best = found.groupby(["task_id", "seed"])[kind].transform("max")
        span = best - found[f"median_{kind}"]
        loss = np.where(span > 1e-12, (best - found[kind]) / span.where(span > 1e-12, 1.0), best - found[kind] > 1e-12)
        found[f"{kind}_regret"] = np.clip(loss, 0.0, 1.0)
    return found


def table(found: pd.DataFrame) -> list[dict]:
    """A row an arm: interquartile means over families with 95 % intervals, and how often it is no worse than GP, 50."""
    from metabench.scores.aggregate import Hierarchy

    facts = found.drop_duplicates("task_id").set_index("task_id").sort_index()
    hierarchy = Hierarchy.build(facts["family"].tolist(), found["seed"].nunique())
    rows, grids = [], {}
    for arm in ARMS:
        mine = found[found["arm"] == arm]
        row = {"arm": arm}
        for kind in ("valid", "test"):
            grid = mine.pivot(index="task_id", columns="seed", values=f"{kind}_regret").sort_index().to_numpy()
            grids[arm, kind] = grid
            low, high = hierarchy.interval(grid)
            row |= {
                f"{kind}_regret": float(hierarchy.estimate(grid)),
                f"{kind}_low": float(low),
                f"{kind}_high": float(high),
                f"{kind}_mean": float(hierarchy.families(grid).mean()),
            }
        row["seconds"] = float((mine["train_seconds"]).mean())
        rows.append(row)
    for row in rows:
        mine, theirs = (hierarchy.families(grids[arm, "test"]) for arm in (row["arm"], "GP, 50"))
        row["no_worse_than_gp50"] = float((mine <= theirs + 1e-12).mean())
    return rows


def markdown(rows: list[dict]) -> str:
    lines = [
        "| search, trials | valid regret | test regret | mean test regret | no worse than GP, 50 |",
        "|---|---:|---:|---:|---:|",
    ]
    for r in rows:
        valid, test = (f"{r[f'{k}_regret']:.3f} [{r[f'{k}_low']:.3f}, {r[f'{k}_high']:.3f}]" for k in ("valid", "test"))
        lines.append(
            f"| {r['arm']} | {valid} | {test} | {r['test_mean']:.3f} | {100 * r['no_worse_than_gp50']:.0f} % |"
        )
    return "\n".join(lines)


def report(folder: Path) -> None:
    """Write RESULTS out of the finished tasks, and print the table."""
    found = cells(folder)
    found.round(6).to_csv(RESULTS, index=False)
    text = PAGE.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN, 1)
    PAGE.write_text(head + BEGIN + "\n" + summary() + rest[rest.index(END) :], encoding="utf-8")
    print(summary(), end="")


def summary() -> str:
    """The table out of RESULTS."""
    found = pd.read_csv(RESULTS)
    trained = f"{found['task_id'].nunique()} of the {len(reserved())} reserved data sets"
    return f"{trained}, {found['seed'].nunique()} seeds:\n\n{markdown(table(found))}\n"


def promises(folder: Path) -> None:
    """How predicted scores of the first five compare with the validation scores that they reached."""
    from metabench.pretrained import load_metamodel

    model, rows = load_metamodel(MODEL), []
    for path in sorted(folder.glob("mlp-*.json")):
        trials = pd.DataFrame(json.loads(path.read_text())["rows"])
        task = task_of(path.stem)
        said = model.top_configs(task, 5)
        for trial, seeds in trials[(trials["method"] == "tune") & (trials["trial"] <= 5)].groupby("trial"):
            promise = said.iloc[int(trial) - 1]
            for score in seeds["valid"].astype(float).fillna(-np.inf):
                inside = promise["score_low"] <= score <= promise["score_high"]
                rows.append((task.metric, inside, max(abs(score - promise["score"]), 0.0), int(trial)))
    found = pd.DataFrame(rows, columns=["metric", "inside", "off", "trial"])
    print(f"{found['inside'].mean():.1%} of {len(found)} scores within the 90 % interval; median error:")
    print(found[np.isfinite(found["off"])].groupby("metric")["off"].median().round(3).to_string())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "report", "show", "promises"])
    parser.add_argument("tasks", nargs="*")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/practitioner")
    given = parser.parse_args()
    if given.what == "run":
        run(given.folder, given.tasks or reserved())
    elif given.what == "promises":
        promises(given.folder)
    elif given.what == "report":
        report(given.folder)
    else:
        print(summary(), end="")
