"""The same methods on the tasks that two boards both hold out, as published: what differs between the boards costs them.

    python benchmarks/paired.py shift search          what not having learned from regression costs on regression
    python benchmarks/paired.py live search 1,5,10    what any point of the space costs beside the stored configurations

Prints valid regret on the first board minus that on the second, from each method's own start, after so many trials: the mean
over meta-models with its 95 % interval (bootstrap over families), then each method's mean over tasks.
"""

from __future__ import annotations

import sys

import pandas as pd

from metabench import load_board, registry
from metabench.publishing.reports.parts.intervals import mean_over_families


def regrets(name: str) -> pd.DataFrame:
    """Valid regret of a board's published searches: method, task_id, family, mark, valid_regret."""
    frame = pd.read_csv(load_board(name).path / "site/data/tasks.csv")
    return frame.loc[frame["start"] == "own", ["method", "task_id", "family", "mark", "valid_regret"]]


def main(one: str, other: str, marks: list[int]) -> None:
    both = regrets(one).merge(regrets(other).drop(columns="family"), on=["method", "task_id", "mark"])
    both = both[both["mark"].isin(marks)].assign(cost=lambda b: b["valid_regret_x"] - b["valid_regret_y"])
    learned = both[both["method"].isin(registry.names("metamodels"))]
    print(f"{learned['method'].nunique()} meta-models, {both['task_id'].nunique()} tasks")
    for mark in marks:
        tasks = learned[learned["mark"] == mark].groupby(["task_id", "family"])["cost"].mean().reset_index()
        found = mean_over_families(tasks["cost"].to_numpy(), tasks["family"].tolist())
        print(f"after {mark:2d} trials  {found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]")
    print(both.pivot_table("cost", "method", "mark").sort_values(max(marks)).round(3).to_string())


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], [int(m) for m in sys.argv[3].split(",")] if len(sys.argv) > 3 else [1, 5, 10, 25])
