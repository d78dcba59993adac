"""Errors that a user can cause. Each is one line; the command line prints it and exits with its status."""


class MetabenchError(Exception):
    """Something failed for a reason the user can act on (exit status 1)."""

    exit_status = 1


class UsageError(MetabenchError):
    """The request itself is wrong: an unknown name, a value out of range (exit status 2)."""

    exit_status = 2


class IncompleteError(MetabenchError):
    """The work finished but some runs are missing or failed (exit status 3)."""

    exit_status = 3
