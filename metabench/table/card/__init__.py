"""The card of a table, generated from the table alone: README.md for people and Hugging Face, DATASHEET.md (Gebru et al.,
2021), croissant.json (MLCommons Croissant 1.1), pictures, and a seal of hashes over all of them.

The same table gives the same bytes. What a person adds stands beside it in NOTES.md, and the split in splits.csv.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from metabench import files
from metabench.errors import MetabenchError
from metabench.table import manifest, seal, splits
from metabench.table.card import croissant, pages, pictures
from metabench.table.card.facts import NOTES, Facts
from metabench.table.place import Place, place, read_small
from metabench.table.read import Table
from metabench.table.write import TableWriter


def write(path: str | Place, families: Mapping[str, Sequence[str]] | None = None) -> list[Place]:
    """Write the card of the table in a folder; the paths written.

    ``families`` (``train``, ``valid``, ``test`` → families, as a board has them) stores that split first. Raises
    MetabenchError when the table holds no runs or the card cannot be written.
    """
    path = place(path)
    split = None if families is None else splits.write(Table(path).tasks, families)
    if split is not None and splits.FILE in manifest.read(path):  # the split of an import is part of its data
        with TableWriter(path) as table:
            table.put_split(split)
        split = None
    made = contents(path, split)
    if isinstance(path, Path):
        files.sweep(path)
    for name, content in made.items():
        try:
            files.replace_file(path / name, content) if isinstance(path, Path) else (path / name).write_bytes(content)
        except OSError as error:
            raise MetabenchError(f"{path / name} cannot be written: {error.strerror or error}") from None
    return [path / name for name in made]


def check(path: str | Place) -> list[Place]:
    """Files of the card that are absent or not what the table gives."""
    path = place(path)
    return [
        path / name
        for name, content in contents(path).items()
        if not (path / name).exists() or (path / name).read_bytes() != content
    ]


def contents(path: Place, split: bytes | None = None) -> dict[str, bytes]:
    """File name → content of everything that a card consists of; ``split`` is a splits.csv instead of the stored one."""
    stored = {name: read_small(path / name) for name in (NOTES, splits.FILE) if (path / name).exists()}
    written = {splits.FILE: split} if split is not None else {}
    facts = Facts.of(Table(path), stored | written)
    made = written | {"README.md": pages.readme(facts), "DATASHEET.md": pages.datasheet(facts)}
    for d in facts.workloads:
        made[f"difficulty-{d.workload}.svg"] = pictures.difficulty(d)
        made[f"similarity-{d.workload}.svg"] = pictures.similarity(d)
    made["croissant.json"] = croissant.describe(facts)
    whole = {name: content.encode() if isinstance(content, str) else content for name, content in made.items()}
    return whole | {seal.SEAL: seal.write(stored | whole | {manifest.SUMS: read_small(path / manifest.SUMS)})}
