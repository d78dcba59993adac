"""Writes the site over all boards, or says what of it is stale. Building twice gives the same bytes."""

from __future__ import annotations

from pathlib import Path

from metabench.errors import MetabenchError
from metabench.files import write_tree
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
    files, out = contents(root), root / SITE
    try:
        write_tree(root, {f"{SITE}/{name}": data for name, data in files.items()})
    except OSError as error:
        raise MetabenchError(f"the site cannot be written to {out}: {error.strerror or error}") from None
    return [out / name for name in files]


def check(root: Path) -> list[str]:
    """What is stale below ``root/site``: a line for each file that is absent, differs or is left over."""
    files, out = contents(root), root / SITE
    problems = []
    for name, data in files.items():
        if not (out / name).is_file():
            problems.append(f"{out / name} is absent")
        elif (out / name).read_bytes() != data:
            problems.append(f"{out / name} is stale")
    there = (p.relative_to(out) for p in out.rglob("*") if p.is_file())
    left = [p for p in there if p.as_posix() not in files]
    return sorted([*problems, *(f"{out / path} is left over" for path in left)])
