"""What `auto` gains and what there is to gain: cross-validation over the families that the board `search` does not test on.

    python benchmarks/gain.py       # four minutes on one core

Tasks of meta-train and meta-valid, a tenth of the families held out in turn. Prints valid regret of `auto` less that of
`empirical_gp` after a portfolio of three, mean over trials, with a 95 % interval over families; then regret, and the share
of tasks on which it is more than MARGIN over `gp`'s. Beside `auto` stand `gp` with other seeds, and a search that is
informed: it knows what every configuration scores on the very task, with the other seed of the table. What that leaves is
the luck of a seed, for which no method is to be blamed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from choose import curve

from metabench import load_table, registry
from metabench.boards.board import load_board
from metabench.scores.aggregate import Hierarchy
from metabench.search.base import History, MetaTrain, Problem, Searcher

TABLES, WORKLOAD, FOLDS, PARTITIONS = ("core", "starter"), "mlp", 10, 2
#: trials of a search, and those over which methods are compared
BUDGET, COMPARED = 50, 10
#: trials after which regret is said, how many seeds of gp are a mean, and from which difference on it counts
MARKS, SEEDS, MARGIN = (1, 2, 3, 5, 10, 25, 50), 4, 0.01


def source_of(name: str) -> MetaTrain:
    """Tasks of a table whose families the board has in train or valid."""
    board, table = load_board("search", 2), load_table(name, 1)
    known = {*board.split["train"], *board.split["valid"]}
    tasks = table.tasks[(table.tasks["workload"] == WORKLOAD) & table.tasks["family"].isin(known)]
    return table.meta_train(WORKLOAD, tasks["task_id"].tolist())


def search(
    source: MetaTrain, t: int, searcher: Searcher, seed: int, budget: int, start: Sequence[int] = ()
) -> np.ndarray:
    """Regret after each trial on task ``t``, replayed with the table's seed ``seed`` modulo their number."""
    info, scores = source.tasks[t], source.scores[t, :, seed % source.scores.shape[2]]
    history, run = History(), searcher.start(Problem(source.space, info, source.configs, budget), seed)
    while len(history) < budget:
        c = start[len(history)] if len(history) < len(start) else run.ask(history)
        history.add(c, scores[c])
    return curve(scores, 1.0 if info.direction == "max" else -1.0, history.candidates)


def cross_validated(source: MetaTrain, partition: int, budget: int) -> tuple[np.ndarray, np.ndarray]:
    """Regret of `auto` after each trial, and of `empirical_gp` after a portfolio of three after each of the first
    COMPARED, float64 [tasks, seeds, trials] each."""
    families = sorted({t.family for t in source.tasks})
    order = np.random.default_rng(partition).permutation(len(families))
    fold = {families[p]: i % FOLDS for i, p in enumerate(order)}
    of, seeds = np.array([fold[t.family] for t in source.tasks]), source.scores.shape[2]
    ours, theirs = np.empty((len(of), seeds, budget)), np.empty((len(of), seeds, COMPARED))
    for f in range(FOLDS):
        train = source.select(np.flatnonzero(of != f))
        auto, empirical, portfolio = (
            registry.create("metamodels", name).fit(train) for name in ("auto", "empirical_gp", "portfolio")
        )
        for t in np.flatnonzero(of == f):
            for seed in range(seeds):
                ours[t, seed] = search(source, t, auto, seed, budget)
                theirs[t, seed] = search(source, t, empirical, seed, COMPARED, portfolio.order_[:3].tolist())
    return ours, theirs


def informed(source: MetaTrain) -> np.ndarray:
    """Regret of trying configurations in the order of their scores with the table's other seed, [tasks, 2, BUDGET]."""
    found = np.empty((len(source.tasks), 2, BUDGET))
    for t, info in enumerate(source.tasks):
        sign = 1.0 if info.direction == "max" else -1.0
        for seed in (0, 1):
            known = np.nan_to_num(sign * source.scores[t, :, 1 - seed], nan=-np.inf)
            order = np.argsort(-known, kind="stable")[:BUDGET]
            found[t, seed] = curve(source.scores[t, :, seed], sign, order.tolist())
    return found


def compared(name: str, difference: np.ndarray, families: list[str]) -> None:
    """Print the mean over families of ``difference`` [tasks, seeds, COMPARED], and its interval; of the first half, too."""
    hierarchy = Hierarchy.build(families, 1, 10000, cut=0.0)
    for last in (COMPARED, COMPARED // 2):
        cells = difference[..., :last].mean(axis=(1, 2))[:, None]
        low, high = hierarchy.interval(cells)
        print(f"{name}, trials 1 to {last}: {hierarchy.estimate(cells):+.3f} [{low:+.3f}, {high:+.3f}]", flush=True)


def said(name: str, found: np.ndarray, twin: np.ndarray) -> None:
    """Print mean regret, and on how many tasks it trails the twin's; [tasks, seeds, trials] both."""
    at = np.array(MARKS) - 1
    regret, rest = found.mean(axis=1)[:, at], twin.mean(axis=1)[:, at]
    means, trails = regret.mean(axis=0), (regret > rest + MARGIN).mean(axis=0)
    print(f"{name}: " + ", ".join(f"{m}: {a:.3f} ({b:.0%})" for m, a, b in zip(MARKS, means, trails)), flush=True)


def main() -> None:
    sources = {name: source_of(name) for name in TABLES}
    difference, families, replays = [], [], []
    for name, source in sources.items():
        mine = [t.family for t in source.tasks]
        runs = [cross_validated(source, p, BUDGET if name == TABLES[0] else COMPARED) for p in range(PARTITIONS)]
        both = [auto[..., :COMPARED] - other for auto, other in runs]
        for p, values in enumerate(both):
            compared(f"{name}, partition {p}", values, mine)
        compared(name, np.mean(both, axis=0), mine)
        difference, families = [*difference, np.mean(both, axis=0)], families + mine
        replays = replays or runs
    compared(" and ".join(TABLES), np.concatenate(difference), families)

    source = sources[TABLES[0]]
    knows, rest = informed(source), np.mean([other for _, other in replays], axis=0)
    compared(f"informed, {TABLES[0]}", knows[..., :COMPARED] - rest, [t.family for t in source.tasks])
    gp = registry.create("baselines", "gp")
    twins = [[search(source, t, gp, s, BUDGET) for s in range(2 * SEEDS)] for t in range(len(source.tasks))]
    first, second = np.array(twins)[:, :SEEDS], np.array(twins)[:, SEEDS:]
    print(f"regret at MARKS, and the share of tasks on which it is over gp's by more than {MARGIN}:")
    for p, (auto, _) in enumerate(replays):
        said(f"auto, partition {p}", auto, first)
    said("gp with other seeds", second, first)
    said("informed", knows, first)


if __name__ == "__main__":
    main()
