"""May anybody else change a file? Asked of what is run (compiled kernels), not of data."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def exposed(path: str | os.PathLike) -> str | None:
    """Why another user could change a file or folder, or put another in its place.

    The file and every folder above it must belong to this user or to root. None may be writable for a group or for
    others, except by the user's private group (a group of the same name without further members), and folders such as
    ``/tmp`` whose sticky bit keeps entries of others.

    Args:
        path: An existing file or folder; it must not be a symbolic link itself.

    Returns:
        None when nobody else can change it, else one line that names the part of the path at fault.
    """
    if not hasattr(os, "getuid"):  # Windows: access lists, not modes
        return None
    try:
        if stat.S_ISLNK(os.lstat(path).st_mode):
            return f"{path} is a symbolic link"
        whole = Path(path).resolve(strict=True)
        for part in (whole, *whole.parents):
            if problem := _problem(part, os.stat(part), last=part == whole):
                return problem
    except OSError as error:
        return f"{path} cannot be examined: {error.strerror}"
    return None


def _problem(part: Path, status: os.stat_result, last: bool) -> str | None:
    if status.st_uid not in (os.getuid(), 0) or (last and status.st_uid != os.getuid()):
        return f"{part} belongs to another user"
    if not last and status.st_mode & stat.S_ISVTX:
        return None
    if status.st_mode & stat.S_IWOTH:
        return f"{part} may be written by anybody"
    if status.st_mode & stat.S_IWGRP and not _private_group(status.st_gid):
        return f"{part} may be written by a group"
    return None


def _private_group(gid: int) -> bool:
    try:
        import grp
        import pwd

        user, group = pwd.getpwuid(os.getuid()), grp.getgrgid(gid)
    except (ImportError, KeyError):
        return False
    return gid == user.pw_gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}
