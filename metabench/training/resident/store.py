"""Where compiled kernels are kept. A kernel is run, so it is loaded only from a place that nobody else can write, and only
while its content has the sha256 that its name carries.

The name is ``<kernel>-<what it was made of>-<sha256>.so``: one rename stores both, and a file that was cut off or
altered is made anew instead of being mapped.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from metabench import files
from metabench.errors import MetabenchError
from metabench.untrusted import exposed

#: bytes of the largest kernel that is believed
LARGEST = 256 << 20


def cache_folder() -> Path:
    """Where compiled kernels are kept: METABENCH_CACHE, or the user's cache folder."""
    root = os.environ.get("METABENCH_CACHE")
    return (Path(root) if root else _own_cache()) / "kernels"


def safe_folder() -> Path:
    """The first of :func:`cache_folder` and the user's own cache that nobody else can write; made if it is not there.

    Raises MetabenchError naming what is wrong with each where there is none.
    """
    reasons = []
    for folder in dict.fromkeys((cache_folder(), _own_cache() / "kernels")):
        _make(folder)
        reason = exposed(folder)
        if reason is None:
            return folder
        reasons.append(reason)
    raise MetabenchError(
        f"compiled kernels are run, so they are kept where nobody else can write: {'; '.join(reasons)}"
    )


def stored(folder: Path, stem: str) -> Path | None:
    """The kernel called ``stem`` in a folder, if a sound one is there; damaged ones are removed."""
    for path in sorted(folder.glob(f"{stem}-*.so")):
        if _sound(path):
            return path
        try:
            path.unlink()
        except OSError as error:
            raise MetabenchError(f"{path} is damaged and cannot be removed: {error.strerror}") from None
    return None


def keep(folder: Path, stem: str, make: Callable[[Path], None]) -> Path:
    """Have a kernel made and stored; ``make`` writes it to the path that it is given."""
    files.sweep(folder)
    made = files.beside(folder / f"{stem}.so")
    try:
        make(made)
        made.chmod(0o700)
        content = made.read_bytes()
        target = folder / f"{stem}-{hashlib.sha256(content).hexdigest()}.so"
        files.replace_file(target, content)
        target.chmod(0o700)
    finally:
        made.unlink(missing_ok=True)
    return target


def _sound(path: Path) -> bool:
    """Whether a kernel is its owner's alone and has the content that its name promises."""
    if exposed(path) is not None or not path.is_file() or path.stat().st_size > LARGEST:
        return False
    return hashlib.sha256(path.read_bytes()).hexdigest() == path.stem.rsplit("-", 1)[-1]


def _own_cache() -> Path:
    import pooch

    return Path(pooch.os_cache("metabench"))


def _make(folder: Path) -> None:
    """Make a folder, and those above it that are not there, writable for this user alone."""
    missing = [part for part in (folder, *folder.parents) if not part.exists()]
    for part in reversed(missing):
        part.mkdir(mode=0o755 if part != folder else 0o700, exist_ok=True)
        part.chmod(part.stat().st_mode & ~0o022)
