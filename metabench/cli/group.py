"""What all commands share on the way out: one line for a mistake, the exit status that goes with it, no traceback."""

from __future__ import annotations

import os
import sys
import warnings

import click

from metabench.cli.termination import Terminated, graceful
from metabench.errors import MetabenchError
from metabench.extras import explained
from metabench.untrusted import one_line

#: characters of a message
LONGEST = 4000
INTERRUPTED = "interrupted; the same command resumes"


class Interrupted(MetabenchError):
    """Ctrl-C, or SIGTERM."""

    exit_status = 130

    def __init__(self, cause: BaseException | None = None):
        super().__init__(INTERRUPTED)
        if isinstance(cause, Terminated):
            self.exit_status = 143


class Commands(click.Group):
    """A group whose mistakes are one line on stderr, with the nearest command for an unknown one."""

    def resolve_command(self, ctx, args):
        if not ctx.resilient_parsing and args[0][:1] != "-" and self.get_command(ctx, args[0]) is None:
            from metabench.registry import suggest

            raise suggest(args[0], self.list_commands(ctx), "command")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:  # before click turns it into a blank line and an Abort
            raise Interrupted(error) from None

    def main(self, *args, standalone_mode: bool = True, last: bool = False, **kwargs):
        """Run a command and exit with its status; ``standalone_mode=False`` returns or raises instead. ``last`` says that the
        process ends with it: after an interrupt no further one is handled."""
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **kwargs)
        warnings.showwarning = _one_line
        try:
            with graceful(last):
                try:
                    status = super().main(*args, standalone_mode=False, **kwargs)
                except BaseException as error:  # a plug-in may raise anything
                    if isinstance(error, SystemExit) and error.code:  # click's, when a pipe is closed
                        raise
                    if os.environ.get("METABENCH_DEBUG") == "1":
                        raise
                    message, status = _told(error)
                    click.echo(message, err=True)
        except KeyboardInterrupt as error:  # once more, while that was said
            status = Interrupted(error).exit_status
        sys.exit(status if isinstance(status, int) else 0)


def _told(error: BaseException) -> tuple[str, int]:
    """What a person reads of an exception, and the exit status."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return error.format_message(), 2  # the help itself: the one message of several lines
    if isinstance(error, ImportError):
        error = explained(error) or error
    if isinstance(error, MetabenchError):
        text, status = str(error), error.exit_status
    elif isinstance(error, click.ClickException):
        text, status = error.format_message(), error.exit_code
    elif isinstance(error, click.Abort | KeyboardInterrupt):
        cause = error.__cause__ or error  # click's Abort has it as its cause
        text, status = INTERRUPTED, Interrupted(cause).exit_status
    elif isinstance(error, OSError) and error.strerror:
        text, status = f"{error.filename}: {error.strerror}" if error.filename else error.strerror, 1
    elif isinstance(error, MemoryError):
        text, status = "out of memory; fewer --workers need less", 1
    else:
        text, status = f"unexpected {type(error).__name__}: {error}; METABENCH_DEBUG=1 shows where", 1
    return f"metabench: {one_line(text, LONGEST)}", status


def _one_line(message, category, filename, lineno, file=None, line=None) -> None:
    """A warning as one line: our own notices as they are, others with their kind and place."""
    text = one_line(message, LONGEST)
    if not issubclass(category, UserWarning):
        text = f"{category.__name__}: {text} ({os.path.basename(filename)}, line {lineno})"
    click.echo(f"metabench: {text}", err=True)
