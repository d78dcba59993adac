"""setuptools' build backend, with source distributions that are the same to the last byte whenever they are built.

setuptools' wheels already take their times from SOURCE_DATE_EPOCH; its source distributions keep the times of the files and
of the build. Here they are packed once more: sorted, without owners, with one time for all.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403

#: 2026-01-01, where the environment names no other time
EPOCH = "1767225600"


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """A wheel. See :mod:`setuptools.build_meta`."""
    os.environ.setdefault("SOURCE_DATE_EPOCH", EPOCH)
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


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
    with path.open("wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=time) as zipped:
        zipped.write(packed.getvalue())
