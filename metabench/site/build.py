"""Writes the site over all boards, or says what of it is stale. Building twice gives the same bytes.

``reports`` and ``explore`` below the site's folder belong to others and are left alone.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from metabench.errors import MetabenchError
from metabench.site.collect import SITE, Collection
from metabench.site.pages import site

#: folders of the site that others write
FOREIGN = ("reports", "explore")


def contents(root: Path) -> dict[str, bytes]:
    """Path below the site's folder → contents of everything that it publishes; ``root`` is the folder of all boards.

    Raises MetabenchError where a board or a table cannot be read, UsageError where a name cannot be a file's.
    """
    return {path: text.encode() for path, text in sorted(site(Collection(root)))}


def build(root: Path) -> list[Path]:
    """Write the site into ``root/site``; the paths of all files, sorted.

    Everything is written beside first and then moved into place, entry by entry. Raises what :func:`contents` raises,
    and MetabenchError where the folder cannot be written.
    """
    files, out = contents(root), root / SITE
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".build-", dir=out) as temporary:
            for name, data in files.items():
                path = Path(temporary, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            old = Path(temporary, ".old")
            old.mkdir()
            for entry in {name.split("/")[0]: None for name in files}:
                if (out / entry).is_dir():
                    os.replace(out / entry, old / entry)  # a folder that is not empty cannot be replaced
                os.replace(Path(temporary, entry), out / entry)
        for path in out.iterdir():
            if path.name not in FOREIGN and path.name not in {name.split("/")[0] for name in files}:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
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
    left = [p for p in there if p.parts[0] not in FOREIGN and p.as_posix() not in files]
    return sorted([*problems, *(f"{out / path} is left over" for path in left)])
