"""setuptools' build backend, with releases that are the same to the last byte whenever and wherever they are built.

setuptools' wheels keep the permissions that files happen to have, and its source distributions the times of the files and of
the build besides. Here both are packed once more: sorted, without owners, with one time and the usual permissions for all.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403

#: 2026-01-01, where the environment names no other time
EPOCH = "1767225600"


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """A wheel, packed once more with fixed permissions."""
    os.environ.setdefault("SOURCE_DATE_EPOCH", EPOCH)
    name = build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)
    repack_wheel(Path(wheel_directory) / name)
    return name


def build_sdist(sdist_directory, config_settings=None):
    """A source distribution, packed once more with fixed times, owners and order."""
    os.environ.setdefault("SOURCE_DATE_EPOCH", EPOCH)
    name = build_meta.build_sdist(sdist_directory, config_settings)
    repack(Path(sdist_directory) / name, int(os.environ["SOURCE_DATE_EPOCH"]))
    return name


def repack(path: Path, time: int) -> None:
    """Write a ``.tar.gz`` again so that nothing in it depends on when, where and by whom it was made."""
    packed = io.BytesIO()
    with tarfile.open(path) as old, tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new:
        for member in sorted(old.getmembers(), key=lambda m: m.name):
            content = old.extractfile(member) if member.isfile() else None
            member.mtime, member.uid, member.gid, member.uname, member.gname = time, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            new.addfile(member, content)
    zipped = io.BytesIO()
    with gzip.GzipFile("", "wb", 6, zipped, mtime=time) as file:
        file.write(packed.getvalue())
    path.write_bytes(zipped.getvalue())


def repack_wheel(path: Path) -> None:
    """Write a wheel again with its order and times, and rw-r--r-- for every file; RECORD does not list permissions."""
    packed = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            content = zipfile.ZipInfo(member.filename, member.date_time)
            content.external_attr = (stat.S_IFREG | 0o644) << 16
            content.compress_type = zipfile.ZIP_DEFLATED
            content.create_system = 3  # as on Unix, wherever it is built
            new.writestr(content, old.read(member))
    path.write_bytes(packed.getvalue())
