"""What the newest meta-model of `mlp` is worth on reserved data sets at full size, beside the one before it.

    python benchmarks/proof.py run       # trains what is missing; may be stopped at any time, and goes on
    python benchmarks/proof.py report    # docs/proof.csv, and its table
    python benchmarks/proof.py show      # the table again, of docs/proof.csv

The data sets are those under [proof] in datasets/reserved.txt, with up to 16,384 training rows. For each, and for each of two
seeds: the default once; `tune` with either meta-model, whose first trial is what `recommend` names first; and as many trials of
random search, Optuna's TPE and a Gaussian process. A search picks its best trial on the validation rows. What counts is that
trial's score on the test rows.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import practitioner

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs/proof.csv"
MODELS = {"tune, mlp-v2": "mlp-v2", "tune, mlp-v1": "mlp-v1"}
SEARCHES = ("random", "tpe", "gp")
TRIALS, SEEDS, LARGE = 10, 2, 2_000


def reserved() -> list[str]:
    from metabench.table import reserved

    return reserved.read(ROOT / "datasets/reserved.txt")["proof"]


def train(task_id: str, place: Path) -> None:
    """All searches of a task; its file is written in one go."""
    from metabench import registry, tasks
    from metabench.advise.proposals import Tune
    from metabench.evaluation.live import LiveBench
    from metabench.evaluation.worker import Group
    from metabench.pretrained import load_metamodel

    task, workload = tasks.get(task_id), registry.create("workloads", practitioner.WORKLOAD)
    began, rows = time.process_time(), []
    methods = {name: Tune(load_metamodel(model)) for name, model in MODELS.items()}
    methods |= {name: registry.create("baselines", name) for name in SEARCHES}
    model = load_metamodel("mlp-v2")
    for budget, some in ((1, {"default": registry.create("baselines", "default")}), (TRIALS, methods)):
        objective = practitioner.Trains(task, workload)
        bench = LiveBench(some, None, workload.space, model.configs, {task_id: model.info(task)}, budget, objective)
        groups = [Group(name, "own", task_id, dict.fromkeys(range(SEEDS), "")) for name in some]
        for group, found, failed in bench.run(groups):
            if failed:
                raise SystemExit(failed)
            for row in found:
                scores = zip(row["valid_score"], row["test_score"], row["seconds"], strict=True)
                rows += [
                    {"arm": group.method, "seed": row["seed"], "trial": i + 1, "valid": v, "test": t, "seconds": s}
                    for i, (v, t, s) in enumerate(scores)
                ]
    facts = {"metric": task.metric, "direction": task.direction, "rows": task.n_rows, "family": task.family}
    practitioner.write(place, facts | {"cpu_seconds": time.process_time() - began}, rows)


def cells(folder: Path) -> pd.DataFrame:
    """A row for each task, seed, arm and number of trials (1, 5, 10): the test score of the trial that is best on validation
    rows, larger is better; NaN where nothing was finite."""
    rows = []
    for path in sorted(folder.glob("mlp-*.json")):
        stored = json.loads(path.read_text())
        facts, trials = stored["facts"], pd.DataFrame(stored["rows"])
        sign = 1.0 if facts["direction"] == "max" else -1.0
        for (arm, seed), part in trials.groupby(["arm", "seed"]):
            for n in (1, 5, 10) if arm != "default" else (1,):
                mine = part[part["trial"] <= n]
                valid = (sign * mine["valid"].astype(float)).fillna(-np.inf)
                test = sign * float(mine.loc[valid.idxmax(), "test"])
                base = {
                    "task_id": path.stem,
                    "family": facts["family"],
                    "metric": facts["metric"],
                    "rows": facts["rows"],
                }
                rows.append(base | {"arm": arm, "trials": n, "seed": int(seed), "test": test})
    return pd.DataFrame(rows)


def compared(found: pd.DataFrame) -> pd.DataFrame:
    """Arm × number of trials × size → data sets, on how many it is ahead of and behind the default (mean over seeds), and the
    mean difference in test score with a 95 % interval from 10,000 resamples of families."""
    worst = found.groupby("task_id")["test"].transform(
        "min"
    )  # a search that only diverged is as bad as the worst there
    found = found.assign(test=found["test"].fillna(worst))
    means = found.pivot_table(index=["task_id", "family", "rows"], columns=["arm", "trials"], values="test")
    rng, out = np.random.default_rng(0), []
    rows = means.index.get_level_values("rows").to_numpy()
    for arm, trials in [c for c in means.columns if c[0] != "default"]:
        gain = (means[arm, trials] - means["default", 1]).to_numpy()
        for size, mask in (("all", rows > 0), ("small", rows <= LARGE), ("large", rows > LARGE)):
            if not mask.any():
                continue
            mine = gain[mask]
            families = pd.factorize(means.index.get_level_values("family")[mask])[0]
            by_family = np.array([mine[families == f].mean() for f in range(families.max() + 1)])
            draws = by_family[rng.integers(0, len(by_family), (10_000, len(by_family)))].mean(axis=1)
            low, high = np.quantile(draws, [0.025, 0.975])
            row = {"arm": arm, "trials": trials, "size": size, "sets": len(mine), "ahead": int((mine > 1e-9).sum())}
            out.append(row | {"behind": int((mine < -1e-9).sum()), "gain": by_family.mean(), "low": low, "high": high})
    return pd.DataFrame(out)


def summary() -> str:
    """The table out of RESULTS."""
    found = pd.read_csv(RESULTS)
    table = compared(found)
    lines = [
        f"{found['task_id'].nunique()} of the {len(reserved())} reserved data sets, {found['seed'].nunique()} seeds:",
        "",
    ]
    lines += ["| search, trials | data sets | ahead of the default | behind | mean gain in test score, 95 % |"]
    lines += ["|---|---:|---:|---:|---:|"]
    for r in table.sort_values(["size", "trials", "arm"]).itertuples():
        kind = {"all": "all", "small": f"up to {LARGE:,} rows", "large": f"over {LARGE:,} rows"}[r.size]
        interval = f"{r.gain:+.3f} [{r.low:+.3f}, {r.high:+.3f}]".replace("-", "−")
        lines.append(
            f"| {r.arm}, {r.trials} | {r.sets}, {kind} | {r.ahead} ({100 * r.ahead / r.sets:.0f} %) | {r.behind} | {interval} |"
        )
    return "\n".join(lines) + "\n"


def report(folder: Path) -> None:
    cells(folder).round(6).to_csv(RESULTS, index=False)
    print(summary(), end="")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "report", "show"])
    parser.add_argument("tasks", nargs="*")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/proof")
    given = parser.parse_args()
    if given.what == "run":
        practitioner.run(given.folder, given.tasks or reserved(), train)
    elif given.what == "report":
        report(given.folder)
    else:
        print(summary(), end="")
