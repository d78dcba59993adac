"""Earlier versions of a board: their rules, traces and scores stay, their pages do not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from metabench.errors import MetabenchError
from metabench.files import replace_file, sweep
from metabench.publishing.boards.build import PUBLISHED, published, same, to_parquet

#: the published file that an earlier version keeps
SCORES = "scores.parquet"
#: what a build of the newest version owns and an earlier version does without
PAGES = tuple(name for name in PUBLISHED if name not in (SCORES, "traces.parquet"))


def is_superseded(folder: Path) -> bool:
    """Whether a newer version of the board lies beside ``folder`` (``<board>/v<N>``)."""
    versions = [
        int(path.parent.name[1:]) for path in folder.parent.glob("v*/board.toml") if path.parent.name[1:].isdigit()
    ]
    return folder.name[1:].isdigit() and int(folder.name[1:]) < max(versions, default=0)


def build(summary: pd.DataFrame, folder: Path) -> list[Path]:
    """Write an earlier version's scores and remove its pages.

    Args:
        summary: Scores of the board, a row per method, start and mark.
        folder: Folder of the board.

    Returns:
        The path of the scores.

    Raises:
        MetabenchError: The folder cannot be written.
    """
    path = folder / SCORES
    try:
        sweep(folder)
        replace_file(path, to_parquet(published(summary)))
        for name in PAGES:
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)
            else:
                (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise MetabenchError(f"the scores cannot be written to {folder}: {error.strerror or error}") from None
    return [path]


def check(summary: pd.DataFrame, folder: Path) -> list[str]:
    """What is stale in an earlier version's folder: scores that differ, and pages that are left over."""
    path = folder / SCORES
    problems = [f"{folder / name} is left over" for name in PAGES if (folder / name).exists()]
    if not path.is_file():
        problems.append(f"{path} is absent")
    elif not same(SCORES, path, to_parquet(published(summary))):
        problems.append(f"{path} is stale")
    return sorted(problems)
