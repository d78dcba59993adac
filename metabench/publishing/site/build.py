"""Writes the site over all boards, or says what of it is stale. Building twice gives the same bytes."""

from __future__ import annotations

from pathlib import Path

from metabench.publishing.pages.tree import check_tree, write_tree
from metabench.publishing.site.collect import SITE, Collection
from metabench.publishing.site.pages import site


def contents(root: Path) -> dict[str, bytes]:
    """Path below the site's folder → contents of everything that it publishes; ``root`` is the folder of all boards.

    Raises MetabenchError where a board or a table cannot be read, UsageError where a name cannot be a file's.
    """
    return {path: text.encode() for path, text in sorted(site(Collection(root)))}


def build(root: Path) -> list[Path]:
    """Write the site, all that lies in ``root/site``; the paths of all files, sorted.

    It is written beside first, and then changes places with what was there. Raises what :func:`contents` raises, and
    MetabenchError where the folder cannot be written.
    """
    files = {f"{SITE}/{name}": data for name, data in contents(root).items()}
    return write_tree(root, files, "the site")


def check(root: Path) -> list[str]:
    """What is stale below ``root/site``: a line for each file that is absent, differs or is left over."""
    return check_tree(root / SITE, contents(root))
