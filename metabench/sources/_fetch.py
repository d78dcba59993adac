"""Brings the catalogue's files here: from the folder ``METABENCH_DATA`` names, or by URL into the cache. Every byte is
checked against its known sha256 before it is read.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from functools import cache
from pathlib import Path, PurePosixPath

from metabench.errors import MetabenchError

#: seconds without an answer after which a download is given up
TIMEOUT = 30


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
        entries = json.loads(path.read_bytes())["datasets"]
        files = [f for entry in entries for f in entry["files"]]
        index = {f["raw_sha256"]: (f["file"], f["packed"] == "gzip") for f in files}
    except (OSError, ValueError, KeyError, TypeError) as error:
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
            data = path.read_bytes()
            data = gzip.decompress(data) if packed else data
        except (OSError, EOFError) as error:
            raise MetabenchError(f"{path}: cannot be read ({error})") from None
        return _checked(data, sha256, str(path))
    if derived:
        raise MetabenchError(
            f"{url} has no address of its own ({derived}): point METABENCH_DATA at a folder that holds it"
        )
    return _download(url, sha256)


def _download(url: str, sha256: str) -> bytes:
    path = cache_dir() / "raw" / sha256
    if not path.exists():
        import pooch

        pooch.get_logger().setLevel("WARNING")
        downloader = pooch.HTTPDownloader(timeout=TIMEOUT)
        try:
            pooch.retrieve(url, f"sha256:{sha256}", fname=sha256, path=path.parent, downloader=downloader)
        except ValueError:
            raise MetabenchError(f"{url} is not the expected file: its sha256 is not {sha256[:16]}…") from None
        except OSError as error:  # requests' errors are OSErrors
            raise MetabenchError(
                f"cannot download {url} ({type(error).__name__}); with no network, point METABENCH_DATA at a folder "
                "that holds the catalogue's files"
            ) from None
    return _checked(path.read_bytes(), sha256, str(path))
