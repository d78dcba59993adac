"""What speaks against a task, by rule: rows that nobody measured, and too few of them."""

from __future__ import annotations

#: a score on fewer test rows moves by several percent with a single row
FEW_TEST_ROWS = 50
#: flag → what it means
FLAGS = {
    "simulated": "rows come from a simulation, or from rules",
    "enumeration": "rows are all combinations of the values of the columns",
    "few_rows": f"fewer than {FEW_TEST_ROWS} test rows",
}


def flags(made: str, n_test: int) -> tuple[str, ...]:
    """The flags of a task.

    Args:
        made: how its rows were made, as :attr:`metabench.sources.base.Listing.made` says; empty for measured ones.
        n_test: its test rows.

    Returns:
        names of FLAGS, in their order.
    """
    found = {made} | ({"few_rows"} if n_test < FEW_TEST_ROWS else set())
    return tuple(name for name in FLAGS if name in found)


def of_frame(tasks) -> dict[str, tuple[str, ...]]:
    """The flags of the tasks of a table.

    Args:
        tasks: tasks.parquet as a DataFrame.

    Returns:
        task → flags; of a data set that no source lists any more only what its rows say.
    """
    from metabench.tasks import _listings
    from metabench.tasks.variants import base

    known = _listings()
    out = {}
    for row in tasks[["task_id", "dataset", "n_test"]].itertuples():
        found = known.get(base(row.dataset))
        out[row.task_id] = flags(found[1].made if found else "", int(row.n_test))
    return out


__all__ = ["FLAGS", "flags", "of_frame"]
