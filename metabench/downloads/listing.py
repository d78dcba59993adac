"""What can be fetched: the registry in the wheel, and how it is made from the folders of a clone."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from metabench.errors import UsageError

REGISTRY = Path(__file__).with_name("registry.json")
#: kind, which is also the folder in a clone and on a mirror → the file that makes a folder one of that kind
KINDS = {"datasets": "SHA256SUMS", "leaderboards": "board.toml"}
#: what is published of a folder; cards and pages are left to the site
_FILES = {
    "datasets": ("SHA256SUMS", "*.parquet", "configs/*.parquet", "runs/*.parquet", "splits.csv", "starts.*"),
    "leaderboards": ("board.toml", "*.parquet", "submissions/*/*"),
}


@dataclass(frozen=True)
class Entry:
    """A version of a table or a board. ``files`` are path → (sha256, bytes), in the order in which they are fetched."""

    kind: str
    name: str
    version: int
    files: dict[str, tuple[str, int]]

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(size for _, size in self.files.values())

    @property
    def what(self) -> str:
        """The thing itself in words, such as ``table core v2``."""
        return f"{'table' if self.kind == 'datasets' else 'board'} {self.name} v{self.version}"

    @property
    def prefix(self) -> str:
        """Its folder below a mirror."""
        return f"{self.kind}/{self.name}/v{self.version}"


@cache
def entries() -> tuple[Entry, ...]:
    """Everything that the registry of this installation lists."""
    stored = json.loads(REGISTRY.read_text(encoding="utf-8"))
    return tuple(
        Entry(kind, name, int(version), {path: (sha, size) for path, (sha, size) in files.items()})
        for kind, names in stored.items()
        for name, versions in names.items()
        for version, files in versions.items()
    )


def find(kind: str, name: str, version: int | None = None) -> Entry | None:
    """The entry of that name and version (None: the newest); None where the registry has none."""
    known = [e for e in entries() if (e.kind, e.name) == (kind, name) and version in (None, e.version)]
    return max(known, key=lambda e: e.version, default=None)


def list_folder(kind: str, folder: Path) -> Entry:
    """The entry of a version's folder, every file hashed.

    Args:
        kind: ``datasets`` or ``leaderboards``.
        folder: ``…/<name>/v<N>``.

    Returns:
        Its entry; the file that makes it a table or board stands last.

    Raises:
        UsageError: the folder is no table or board.
    """
    match = re.fullmatch(r"v(\d+)", folder.name)
    if match is None or not (folder / KINDS[kind]).is_file():
        raise UsageError(f"{folder} is no folder <name>/v<N> with a {KINDS[kind]}")
    found = {p for pattern in _FILES[kind] for p in folder.glob(pattern) if p.is_file() and not p.name.startswith(".")}
    order = sorted((p.relative_to(folder).as_posix() for p in found), key=lambda name: (name == KINDS[kind], name))
    files = {name: (sha256(folder / name), (folder / name).stat().st_size) for name in order}
    return Entry(kind, folder.parent.name, int(match[1]), files)


def scan(root: Path) -> Iterator[Entry]:
    """Entries of all tables and boards below a clone, or below anything that is laid out as one."""
    for kind, mark in KINDS.items():
        for path in sorted(root.glob(f"{kind}/*/v*/{mark}")):
            yield list_folder(kind, path.parent)


def as_json(listed: list[Entry]) -> str:
    """The text of a registry."""
    out: dict[str, dict[str, dict[str, dict]]] = {kind: {} for kind in KINDS}
    for entry in listed:
        out[entry.kind].setdefault(entry.name, {})[str(entry.version)] = {k: list(v) for k, v in entry.files.items()}
    return json.dumps(out, indent=1, sort_keys=False) + "\n"


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
