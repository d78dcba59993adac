"""Earlier versions of a board: their rules, traces and scores stay, their pages do not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from metabench.errors import MetabenchError
from metabench.publishing.boards.build import PUBLISHED
from metabench.publishing.pages.formats import published, to_parquet
from metabench.publishing.pages.tree import check_tree, write_tree

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
    written = write_tree(folder, {SCORES: to_parquet(published(summary))}, "the scores")
    try:
        for name in PAGES:
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)
            else:
                (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise MetabenchError(f"{folder} cannot be cleared of pages: {error.strerror or error}") from None
    return written


def check(summary: pd.DataFrame, folder: Path) -> list[str]:
    """What is stale in an earlier version's folder: scores that differ, and pages that are left over."""
    left = [f"{folder / name} is left over" for name in PAGES if (folder / name).exists()]
    return sorted([*left, *check_tree(folder, {SCORES: to_parquet(published(summary))}, whole="site")])
