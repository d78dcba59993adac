"""Where files are fetched from: a folder, ``https://``, ``hf://`` or ``s3://``; each gives bytes from an offset on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from metabench import __version__
from metabench.checkout import REPOSITORY
from metabench.errors import MetabenchError, UsageError

#: seconds without an answer after which a download is given up
TIMEOUT = 30
_CHUNK = 1 << 18
#: a data set on the Hugging Face Hub: kind, repository, revision, folder
HUB = re.compile(r"hf://(datasets)/([\w.-]+/[\w.-]+)(?:@([\w.-]+))?(/.*)?")


class Broken(MetabenchError):
    """A mirror did not give a file; the message says why."""


def mirror() -> str:
    """The mirror that is used: ``METABENCH_MIRROR``, or the files of this version in the project's repository."""
    default = f"{REPOSITORY.replace('github.com', 'raw.githubusercontent.com')}/v{__version__}"
    return os.environ.get("METABENCH_MIRROR", "").strip().rstrip("/") or default


def address(base: str, path: str) -> str:
    """The address of a file below a mirror, in the form that :func:`read` takes.

    Raises UsageError for a mirror of an unknown kind.
    """
    if base.startswith("hf://"):
        match = HUB.fullmatch(base)
        if match is None:
            raise UsageError(
                f"METABENCH_MIRROR={base}: write hf://datasets/<owner>/<name>, with @<revision> if need be"
            )
        inside = f"{(match[4] or '').strip('/')}/{path}".strip("/")
        return f"{hub()}/datasets/{match[2]}/resolve/{match[3] or 'main'}/{inside}"
    if re.match(r"https?://|s3://", base):
        return f"{base}/{path}"
    if "://" in base and not base.startswith("file://"):
        raise UsageError(f"METABENCH_MIRROR={base}: a mirror is a folder, https://, hf:// or s3://")
    return str(Path(base.removeprefix("file://")) / path)


def hub() -> str:
    """Address of the Hugging Face Hub (``HF_ENDPOINT`` names another one)."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def headers(url: str) -> dict[str, str]:
    """What is sent along: the token of ``HF_TOKEN``, to the Hub alone."""
    token = os.environ.get("HF_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token and url.startswith(hub() + "/") else {}


def read(url: str, start: int = 0) -> tuple[int, Iterator[bytes]]:
    """Bytes of a file from ``start`` on.

    Args:
        url: what :func:`address` returned.
        start: how many bytes are here already.

    Returns:
        Where the bytes begin (0 where the mirror cannot resume), and the bytes in pieces.

    Raises:
        Broken: the mirror does not answer, or not with the file.
    """
    if re.match(r"https?://", url):
        return _over_http(url, start)
    return start, (_from_bucket if url.startswith("s3://") else _from_disk)(url, start)


def _over_http(url: str, start: int) -> tuple[int, Iterator[bytes]]:
    import requests
    from urllib3.exceptions import HTTPError

    sent = {**headers(url), "Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
    try:
        answer = requests.get(url, stream=True, timeout=TIMEOUT, headers=sent)
        if answer.status_code == 416 and start:
            answer.close()
            return _over_http(url, 0)
        answer.raise_for_status()
    except requests.HTTPError as error:
        status = None if error.response is None else error.response.status_code
        raise Broken(f"the mirror answers {status} for {url}") from None
    except requests.RequestException as error:
        raise Broken(_unreachable(url, error)) from None
    if "html" in answer.headers.get("Content-Type", ""):
        answer.close()
        raise Broken(f"{url} is a web page and not the file: METABENCH_MIRROR must name the folder of raw files")

    def pieces() -> Iterator[bytes]:
        try:
            with answer:  # iter_content waits for a whole piece, and what came before a cut would be lost
                while piece := answer.raw.read1(_CHUNK):
                    yield piece
        except (requests.RequestException, HTTPError, OSError) as error:
            raise Broken(f"the download of {url} was cut off ({type(error).__name__})") from None

    return (start if answer.status_code == 206 else 0), pieces()


def _unreachable(url: str, error: Exception) -> str:
    host = url.split("/")[2]
    why = "did not answer in time" if "Timeout" in type(error).__name__ else "cannot be reached"
    return f"{host} {why}; without a network, set METABENCH_MIRROR to a folder that holds datasets/ and leaderboards/"


def _from_disk(path: str, start: int) -> Iterator[bytes]:
    try:
        with Path(path).open("rb") as file:
            file.seek(start)
            while piece := file.read(_CHUNK):
                yield piece
    except FileNotFoundError:
        raise Broken(f"METABENCH_MIRROR has no file {path}") from None
    except OSError as error:
        raise Broken(f"{path} cannot be read: {error.strerror or error}") from None


def _from_bucket(url: str, start: int) -> Iterator[bytes]:
    import pyarrow as pa
    from pyarrow import fs

    try:
        filesystem, key = fs.FileSystem.from_uri(url)
        with filesystem.open_input_file(key) as file:
            file.seek(start)
            while piece := file.read(_CHUNK):
                yield piece
    except (pa.ArrowException, OSError) as error:
        shown = url.partition("?")[0]
        raise Broken(f"{shown} cannot be read: {str(error).splitlines()[0][:200]}") from None
