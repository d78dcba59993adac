"""A new board of protocol 3 on a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metabench.boards import making
from metabench.boards.board import load_board
from metabench.boards.judge import dealt
from metabench.errors import MetabenchError, UsageError


@dataclass(frozen=True)
class Made:
    """A board that was made: its folder, and how many tasks it holds out."""

    folder: Path
    tasks: int
    admitted: int
    families: int
    #: tasks that methods learn from in every fold, since they are never held out
    donors: int
    #: task → why it cannot be searched
    left: dict[str, str]


def make_board(
    folder: Path,
    dataset: str,
    dataset_version: int | None,
    workload: str,
    *,
    title: str = "",
    budget: int = making.BUDGET,
    donors: Path | None = None,
    contrasts: Sequence[tuple[str, str]] = (),
) -> Made:
    """Make the board in ``folder`` (``…/<name>/v<N>``) anew from a table; repeated on the same table it gives the same files.

    Args:
        folder: where its rules go.
        dataset: name of the table.
        dataset_version: its version; None: the newest.
        workload: what is searched.
        title: title of the board.
        budget: trials of a search.
        donors: a file of tasks that are never held out, one a line; # begins a comment. The tasks that elites of the table
            were found on never are.
        contrasts: pairs (method, control) that are tested.

    Raises:
        UsageError: for a folder that is called otherwise or holds traces, an unknown table or workload, or too few tasks.
        MetabenchError: when files cannot be read or written.
    """
    from metabench.registry import suggest
    from metabench.table import load_table

    name, tail = folder.resolve().parent.name, folder.resolve().name
    if not (tail.startswith("v") and tail[1:].isdigit()):
        raise UsageError(f"{folder} is no folder of a board; it is called <name>/v<N>, such as leaderboards/search/v3")
    table = load_table(dataset, dataset_version)
    if workload not in table.workloads:
        raise suggest(workload, table.workloads, f"workload of table {table.name}")
    never = making.donors(table, workload, _listed(donors))
    rows, left = making.reference_rows(table, workload, budget, never)
    admitted = [row.task_id for row in rows if row.admitted]
    family = table.tasks.set_index("task_id")["family"]
    if len({family[t] for t in admitted}) < 2 * making.FOLDS:
        raise UsageError(
            f"table {table.name}: {len(admitted)} tasks of {workload} are reliable enough, in "
            f"{len({family[t] for t in admitted})} families; {making.FOLDS} folds need {2 * making.FOLDS} families"
        )
    text = making.rules(name, int(tail[1:]), title, table, workload, budget=budget, contrasts=contrasts)
    making.write(folder, text, rows)
    dealt(load_board(folder), table)  # raises where the folds cannot be dealt
    return Made(folder, len(rows), len(admitted), len({family[t] for t in admitted}), len(never), left)


def _listed(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MetabenchError(f"{path} cannot be read: {error}") from None
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]
