"""Where tables lie: by path, by URI, or by name among the folders of tables."""

from __future__ import annotations

import os
import re
from pathlib import Path

from metabench import checkout, downloads
from metabench.errors import UsageError
from metabench.registry import suggest
from metabench.table import manifest
from metabench.table.place import Place, place
from metabench.table.read import Table


def dataset_folders() -> list[Path]:
    """Where tables are looked for by name: METABENCH_DATASETS (a path list), ./datasets, and in a checkout its datasets."""
    listed = [Path(part) for part in os.environ.get("METABENCH_DATASETS", "").split(os.pathsep) if part]
    return list(dict.fromkeys([*listed, Path("datasets"), *checkout.beside("datasets")]))


#: tables in the wheel: a part of ``starter`` as version 0, so that the first example needs no network
PACKAGED = Path(__file__).with_name("packaged")


def _versions(folder: Place) -> dict[int, Place]:
    found = (re.fullmatch(r"v(\d+)", p.name) for p in folder.iterdir()) if folder.is_dir() else ()
    return {int(m[1]): folder / m[0] for m in found if m and (folder / m[0] / manifest.SUMS).exists()}


def table_names() -> list[str]:
    """Names of all tables that :func:`load_table` finds without a network."""
    roots = [*dataset_folders(), PACKAGED, downloads.cached("datasets")]
    folders = [p for root in roots if root.is_dir() for p in root.iterdir()]
    return sorted({folder.name for folder in folders if _versions(folder)})


def find_table(name_or_path: str | Place, version: int | None = None) -> Place:
    """Where a table lies: by path, by URI (``s3://bucket/…``), or by name (the newest version unless one is asked for).

    Text without a slash is a name, and never means a folder of the working directory.

    Raises UsageError naming the nearest table, or the versions that exist.
    """
    if isinstance(name_or_path, str) and _NAME.fullmatch(name_or_path):
        return _find_named(name_or_path, version)
    direct = place(name_or_path)
    if version is None and any((direct / name).exists() for name in (manifest.SUMS, manifest.NEXT)):
        return direct
    if found := _versions(direct):
        return _version(direct, found, version)
    raise UsageError(f"{direct} is no table: it has no {manifest.SUMS}")


#: what looks like no path: a folder of the working directory is ./name
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


def _find_named(name: str, version: int | None) -> Place:
    for root in dataset_folders():
        if found := _versions(root / name):
            return _version(name, found, version)
    if (kept := _installed(name, version)) is not None:
        return kept
    if Path(name).exists():
        raise UsageError(f"unknown table {name!r}; the folder of that name is ./{name}")
    raise suggest(name, {*table_names(), *downloads.names("datasets")}, "table")


def _installed(name: str, version: int | None) -> Place | None:
    """A table of the wheel or of the cache, fetched first where the registry alone has it; None for an unknown name.

    Without a version: the newest that is in the wheel or the cache where the wheel has one, else the newest published.
    """
    packaged, cached = _versions(PACKAGED / name), downloads.complete("datasets", name)
    known = sorted({*packaged, *(e.version for e in downloads.entries() if (e.kind, e.name) == ("datasets", name))})
    if not known:
        return None
    if version is None:
        version = max([*packaged, *cached]) if packaged else known[-1]
    if version in packaged:
        return packaged[version]
    entry = downloads.find("datasets", name, version)
    if entry is None:
        raise UsageError(f"table {name} has no version {version}; it has {', '.join(map(str, known))}")
    return cached.get(version) or downloads.fetch(entry)


def _version(table: object, found: dict[int, Place], version: int | None) -> Place:
    if version is not None and version not in found:
        raise UsageError(f"table {table} has no version {version}; it has {', '.join(map(str, sorted(found)))}")
    return found[max(found) if version is None else version]


def load_table(name_or_path: str | Place, version: int | None = None) -> Table:
    """The table of this name, in this folder or under this URI, opened lazily.

    Args:
        name_or_path: a name is looked for in METABENCH_DATASETS, ./datasets, a clone's datasets, the wheel and the cache.
            A published table that is in none of them is fetched, and one line on stderr gives its size.
        version: N of ``v<N>``; None: the newest.

    Returns:
        The table; nothing is read before it is asked for.

    Raises:
        UsageError: there is no such table or version.
        MetabenchError: it cannot be fetched or read.
    """
    return Table(find_table(name_or_path, version))
