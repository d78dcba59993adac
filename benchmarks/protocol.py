"""Protocol 3 on simulated boards of known truth, and on the stored runs of ten seeds.

    python benchmarks/protocol.py coverage          coverage of intervals, family-wise errors, beside the nominal values
    python benchmarks/protocol.py random            coverage of the interval of random search
    python benchmarks/protocol.py places            calibration of P(first), power, error of negative transfer
    python benchmarks/protocol.py bias              bias of regret, shortfall of the reference
    python benchmarks/protocol.py intervals         coverage of four kinds of bootstrap interval
    python benchmarks/protocol.py search FOLDER     searches among the 64 configurations of core_seeds, five folds twice
    python benchmarks/protocol.py judge FOLDER      the verdict on them

`docs/notes/protocol.md` quotes the output.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import stats

from metabench.boards import folds
from metabench.boards.design import Design
from metabench.direction import sign
from metabench.evaluation.worker import Bench, Group, one_thread
from metabench.registry import create, names
from metabench.scores import orders
from metabench.scores.aggregate import expanded_tail
from metabench.scores.bootstrap import FamilyBootstrap
from metabench.scores.regret import crossfit_best
from metabench.scores.replicates import Replicates
from metabench.scores.verdict import Searches, verdict
from metabench.search.base import Problem
from metabench.search.replay import Replay
from metabench.table import load_table
from metabench.table.reliability import SPAN, reliability
from metabench.testing import protocol_checks as checks
from metabench.testing.simulated import Effects

WORKLOAD, SEEDS, BUDGET, SEARCHES = "mlp", 10, 50, 4
METHODS = ("default", "portfolio", "rush", "sobol", "empirical_gp", "gp", "quadratic", "task_gp")
CONTRASTS = [(m, "portfolio") for m in ("rush", "empirical_gp", "quadratic", "task_gp")]
TWINS = dict.fromkeys(("rush", "empirical_gp", "task_gp"), "gp")


# ---------------------------------------------------------------- simulation
EFFECTS = Effects(0.2 + 0.01 * np.arange(6), 60, 70)


def coverage(repetitions: int) -> None:
    for families, tasks in ((20, 26), (81, 91)):
        for skewed in (False, True):
            effects = Effects(EFFECTS.means, families, tasks, skewed=skewed)
            where = f"{families} families, {'skewed' if skewed else 'normal'}"
            for name, share in checks.coverage(effects, repetitions).items():
                print(f"coverage of {name} | {where} | .95 | {share:.3f}", flush=True)
            for name, share in checks.errors(effects, repetitions, 0.02).items():
                print(f"error of {name} | {where} | ≤ .05 | {share:.3f}", flush=True)


def random_search(repetitions: int) -> None:
    for families in (25, 81):
        found = checks.random_coverage(families, repetitions)
        for name, by_mark in found.items():
            shares = ", ".join(f"{mark}: {share:.3f}" for mark, (share, _) in by_mark.items())
            print(f"coverage of random search, {name} | {families} families, by trials | .95 | {shares}", flush=True)


def places(repetitions: int) -> None:
    for spread in (0.01, 0.03):
        for said, share, error, n in checks.placed_first(
            EFFECTS, lambda rng, s=spread: 0.2 + s * rng.normal(size=10), repetitions
        ):
            print(f"P(first), spread {spread} | {n} methods | {said:.3f} | {share:.3f} ± {error:.3f}", flush=True)
    _, size = checks.power(EFFECTS, 0.0, 20)
    print(f"power at the detectable difference | {size:.3f} | .80 | {checks.power(EFFECTS, size, repetitions)[0]:.3f}")
    for name, share in checks.twin_error(EFFECTS, repetitions // 4).items():
        print(f"error of {name} (negative transfer) | 60 families | .05 | {share:.3f}", flush=True)


def bias(repetitions: int) -> None:
    for noise in (0.1, 0.2, 0.35):
        found = checks.regret_bias(repetitions, noise=noise, between=0.0)
        gap = found["measured"] + found["shortfall"] - found["true"]
        print(f"regret at 50 trials | noise {noise} | {found['true']:.3f} | {found['measured']:.3f}")
        print(f"bias beyond the shortfall | noise {noise} | 0 | {gap:.3f} ± {found['bias_error']:.3f}")
        print(f"regret scored on what chose | noise {noise} | {found['true']:.3f} | {found['same']:.3f}")
        print(f"shortfall | noise {noise} | {found['true_shortfall']:.3f} | {found['shortfall']:.3f}")
        print(
            f"bias of the naive maximum | noise {noise} | {found['true_naive']:.3f} | {found['naive']:.3f}", flush=True
        )


def intervals(repetitions: int) -> None:
    rng, kinds = np.random.default_rng(0), ("normal", "exponential", "mixture")
    print("families | values | expanded percentile | Student | bootstrap-t | symmetric bootstrap-t")
    for families in (10, 20, 40, 80):
        bootstrap = FamilyBootstrap.build([f"{i:03d}" for i in range(families)], 2000)
        for kind in kinds:
            shape = (repetitions, families)
            if kind == "normal":
                x = rng.normal(size=shape)
            elif kind == "exponential":
                x = rng.exponential(size=shape) - 1.0
            else:
                x = (
                    np.where(rng.random(shape) < 0.1, 1 + 3 * rng.normal(size=shape), 0.5 * rng.normal(size=shape))
                    - 0.1
                )
            mean, error = x.mean(axis=1), bootstrap.error(x)
            drawn, tail = bootstrap.resampled(x), expanded_tail(families)
            low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
            own = np.sqrt(np.maximum((x**2) @ bootstrap.counts.T - drawn.T**2, 0) / (families - 1))
            t = (drawn.T - mean[:, None]) / np.maximum(own, 0.05 * error[:, None])
            q = np.quantile(t, [0.025, 0.975], axis=1)
            lowest, highest = bootstrap.interval(x)
            hits = (
                (low <= 0) & (high >= 0),
                np.abs(mean) <= stats.t.ppf(0.975, families - 1) * error,
                (mean - q[1] * error <= 0) & (mean - q[0] * error >= 0),
                (lowest <= 0) & (highest >= 0),
            )
            print(families, kind, *(f"{hit.mean():.3f}" for hit in hits), sep=" | ", flush=True)


# ---------------------------------------------------------------- stored runs
def material(valid_alone: bool = False):
    """Ten-seed runs of the 64 configurations, whose tasks are known to core as well."""
    table, pilot = load_table("core"), load_table("core_seeds")
    tasks = pilot.tasks[pilot.tasks["workload"] == WORKLOAD]
    ids = tasks["task_id"].tolist()
    signs = np.array([sign(d) for d in tasks["direction"]])[:, None, None]
    valid, test = (signs * pilot.final(WORKLOAD, ids, s) for s in ("valid_score", "test_score"))
    # the rule on validation scores, which searches see, and its second half on test scores, whose span utilities divide by
    admitted = []
    for v, e in zip(map(reliability, valid), map(reliability, test), strict=True):
        admitted.append(v.admitted and (valid_alone or e.span >= SPAN * e.standard_error))
    sides = Replicates.of(valid, test, np.full(len(ids), SEEDS))
    return table, pilot, tasks, ids, signs, valid, test, sides, np.array(admitted)


def search(folder: Path) -> None:
    table, pilot, tasks, ids, signs, _, _, sides, _ = material()
    folder.mkdir(parents=True, exist_ok=True)
    objective, pool = Replay(ids, signs * sides.seen), pilot.configs(WORKLOAD)
    space = table.space(WORKLOAD)
    problems = {t: Problem(space, table.task_info(t), pool, BUDGET, stream="3") for t in ids}
    dealt, design = folds.deal(tasks, set(ids), seed=3), Design(3)
    everything = table.tasks[table.tasks["workload"] == WORKLOAD]
    learned = [table.meta_train(WORKLOAD, folds.sources(fold, everything), []) for fold in dealt]
    with one_thread():
        for name in METHODS:
            if (path := folder / f"{name}.parquet").exists():
                continue
            rows, began, fits = [], time.process_time(), 0.0
            searcher = create("baselines" if name in names("baselines") else "metamodels", name)
            for fold, source in zip(dealt, learned, strict=True):
                bench = Bench({name: searcher}, source, problems, objective)
                before = time.process_time()
                bench.fitted(name)
                fits += time.process_time() - before
                mine = [s for s in range(SEARCHES) if design.cell(s, SEARCHES).partition == fold.partition]
                for task_id in folds.held_out(fold, tasks, ids):
                    found = bench.run(Group(name, "own", task_id, dict.fromkeys(mine, "")))
                    rows += [row | {"fold": fold.name} for row in found]
            pq.write_table(pa.Table.from_pylist(rows), path)
            print(f"{name}: {time.process_time() - began:.0f} s, of which fits {fits:.0f} s", flush=True)


def judge(folder: Path, valid_alone: bool = False) -> None:
    _, _, tasks, ids, _, valid, test, sides, admitted = material(valid_alone)
    # the race has no seeds of its own here: a half of the seeds chooses the reference, the other half scores it
    star = np.array([crossfit_best(v[None], e[None]).mean() for v, e in zip(valid, test, strict=True)])
    keep = admitted & (star > sides.median)
    print(f"{len(ids)} tasks, {keep.sum()} admitted")
    part = Replicates(sides.seen[keep], sides.scored[keep], sides.median[keep])
    at = {t: i for i, t in enumerate(np.array(ids)[keep])}
    exact = orders.random_regret(part, star[keep], BUDGET)
    regret = {"random": exact[:, np.arange(SEARCHES) % 2]}
    for path in sorted(folder.glob("*.parquet")):
        grid = np.zeros((1, len(at), SEARCHES, BUDGET), dtype=int)
        for row in pq.read_table(path).to_pylist():
            if row["task_id"] in at:
                grid[0, at[row["task_id"]], row["seed"]] = row["config_ids"]
        regret[path.stem] = 1.0 - part.utilities(grid, star[keep])[0]
    families = tasks["family"].to_numpy()[keep].tolist()
    found = verdict(Searches(regret, families), named=CONTRASTS, twins=TWINS)
    print(found)
    pd.set_option("display.width", 200, "display.max_columns", 20)
    for name in ("controls", "contrasts", "transfer"):
        print(getattr(found, name).round(3).to_string(index=False))
    print(found.curves.pivot(index="method", columns="trial", values="regret").round(3).to_string())
    print(found.power)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    simulations = {
        "coverage": coverage,
        "random": random_search,
        "places": places,
        "bias": bias,
        "intervals": intervals,
    }
    parser.add_argument("what", choices=(*simulations, "search", "judge"))
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--repetitions", type=int, default=1000, help="simulated boards")
    parser.add_argument("--valid-alone", action="store_true", help="judge: admit tasks by validation scores alone")
    given = parser.parse_args()
    stored = {"search": search, "judge": partial(judge, valid_alone=given.valid_alone)}
    if given.what in simulations:
        simulations[given.what](given.repetitions)
    elif given.folder is None:
        parser.error(f"{given.what} needs a folder")
    else:
        stored[given.what](given.folder)


if __name__ == "__main__":
    main()
