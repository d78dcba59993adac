"""Brings the catalogue's files here: from the folder ``METABENCH_DATA`` names, or by URL into the cache. Every byte is
checked against its known sha256 before it is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from functools import cache
from pathlib import Path, PurePosixPath

from metabench import files, untrusted
from metabench.errors import MetabenchError

#: seconds without an answer after which a download is given up
TIMEOUT = 30
#: bytes of the largest file, unpacked; seconds that a download may take in all
LARGEST, SECONDS = 2 << 30, 1800.0


def cache_dir() -> Path:
    """Where downloads and prepared arrays are kept: ``METABENCH_CACHE``, or the user's cache folder."""
    if folder := os.environ.get("METABENCH_CACHE"):
        return Path(folder)
    import pooch

    return Path(pooch.os_cache("metabench"))


@cache
def _offline(folder: str) -> dict[str, tuple[Path, bool]]:
    """sha256 of the raw bytes → (file, whether it is gzipped) for the files that ``folder``/manifest.json lists."""
    path = Path(folder) / "manifest.json"
    try:
        entries = json.loads(untrusted.read_bytes(path, most=LARGEST))["datasets"]
        listed = [f for entry in entries for f in entry["files"]]
        index = {f["raw_sha256"]: (f["file"], f["packed"] == "gzip") for f in listed}
    except (OSError, ValueError, KeyError, TypeError, MetabenchError) as error:
        raise MetabenchError(
            f"METABENCH_DATA={folder}: cannot read manifest.json there ({type(error).__name__}: {error})"
        ) from None
    for name, _ in index.values():
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts:
            raise MetabenchError(f"{path}: the file name {name!r} leads out of the folder")
    return {sha: (Path(folder) / name, packed) for sha, (name, packed) in index.items()}


def _checked(data: bytes, sha256: str, where: str) -> bytes:
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise MetabenchError(f"{where} is not the expected file: sha256 {found[:16]}…, catalogue {sha256[:16]}…")
    return data


def fetch(url: str, sha256: str, derived: str | None = None) -> bytes:
    """The bytes of the file at ``url`` whose sha256 is known. A file that was ``derived`` (how) from others lies in the
    folder of METABENCH_DATA alone.

    Raises MetabenchError, in one line, when there is no network and ``METABENCH_DATA`` is not set, when that folder has
    no such file, or when the bytes are not the expected ones.
    """
    if folder := os.environ.get("METABENCH_DATA"):
        path, packed = _offline(folder).get(sha256, (None, False))
        if path is None:
            raise MetabenchError(f"METABENCH_DATA={folder} has no file with sha256 {sha256[:16]}… ({url})")
        try:
            data = untrusted.read_bytes(path, most=LARGEST)
            data = untrusted.gunzip(data, path, most=LARGEST) if packed else data
        except OSError as error:
            raise MetabenchError(f"{path}: cannot be read ({error})") from None
        return _checked(data, sha256, str(path))
    if derived:
        raise MetabenchError(
            f"{url} has no address of its own ({derived}): point METABENCH_DATA at a folder that holds it"
        )
    return _download(url, sha256)


def _download(url: str, sha256: str) -> bytes:
    """The file from the cache, downloaded first where it is not there or no longer what it was."""
    path = cache_dir() / "raw" / sha256
    if path.exists():
        try:
            return _checked(untrusted.read_bytes(path, most=LARGEST), sha256, str(path))
        except MetabenchError:
            path.unlink(missing_ok=True)  # damaged: once more
    try:
        files.sweep(path.parent)
        with files.replacing(path) as part:
            _bring(url, part)
            if hashlib.sha256(part.read_bytes()).hexdigest() != sha256:
                raise MetabenchError(f"{url} is not the expected file: its sha256 is not {sha256[:16]}…")
    except OSError as error:  # requests' errors are OSErrors
        raise MetabenchError(
            f"cannot download {url} ({type(error).__name__}); with no network, point METABENCH_DATA at a folder "
            "that holds the catalogue's files"
        ) from None
    return _checked(untrusted.read_bytes(path, most=LARGEST), sha256, str(path))


def _bring(url: str, part: Path) -> None:
    """Download a file of at most LARGEST bytes in at most SECONDS. Raises OSError or MetabenchError."""
    import requests

    limit = time.monotonic() + SECONDS
    with requests.get(url, stream=True, timeout=TIMEOUT) as answer, part.open("wb") as file:
        answer.raise_for_status()
        size = 0
        for chunk in answer.iter_content(1 << 16):
            size += len(chunk)
            if size > LARGEST:
                raise MetabenchError(f"{url} has more than {LARGEST >> 20:,} MB, the most that is downloaded")
            if time.monotonic() > limit:
                raise MetabenchError(f"{url} takes longer than {SECONDS / 60:.0f} minutes to download")
            file.write(chunk)
