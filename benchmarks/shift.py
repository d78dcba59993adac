"""What learning from the other kind of task costs: regression searched with what classification taught (the board `shift`),
beside the same searches with what both taught (`search`), on the regression tasks that both boards hold out.

    python benchmarks/shift.py [1,5,10,25]

Prints the difference of valid regret: the mean over meta-models with its 95 % interval (bootstrap over families), then each
meta-model's. Methods that learn from no other task search alike on both boards.
"""

from __future__ import annotations

import sys

import pandas as pd

from metabench import load_board, registry
from metabench.reports._intervals import mean_over_families


def regrets(name: str) -> pd.DataFrame:
    """Valid regret of the published searches from their own start: method, task_id, mark, valid_regret."""
    frame = pd.read_csv(load_board(name).path / "site/data/tasks.csv")
    mine = (frame["start"] == "own") & frame["method"].isin(registry.names("metamodels"))
    return frame.loc[mine, ["method", "task_id", "family", "mark", "valid_regret"]]


def main(marks: list[int]) -> None:
    both = regrets("shift").merge(regrets("search").drop(columns="family"), on=["method", "task_id", "mark"])
    both["cost"] = both["valid_regret_x"] - both["valid_regret_y"]
    print(f"{both['method'].nunique()} meta-models, {both['task_id'].nunique()} tasks")
    for mark in marks:
        tasks = both[both["mark"] == mark].groupby(["task_id", "family"])["cost"].mean().reset_index()
        found = mean_over_families(tasks["cost"].to_numpy(), tasks["family"].tolist())
        print(f"after {mark:2d} trials  {found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]")
    print(
        both[both["mark"].isin(marks)]
        .pivot_table("cost", "method", "mark")
        .sort_values(max(marks))
        .round(3)
        .to_string()
    )


if __name__ == "__main__":
    main([int(m) for m in sys.argv[1].split(",")] if len(sys.argv) > 1 else [1, 5, 10, 25])
