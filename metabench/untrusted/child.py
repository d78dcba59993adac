"""A child process with a limit of memory, output and time, for libraries that cannot be bounded from inside.

The child gets its arguments as JSON and answers with bytes, so that nothing that it says can run here.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from metabench.errors import MetabenchError
from metabench.untrusted.files import size
from metabench.untrusted.text import one_line, printable

#: bytes of memory and of output, seconds
MEMORY, OUTPUT, SECONDS = 2 << 30, 1 << 30, 60.0
#: exit status of a child whose function raised a MetabenchError, and of one that ran out of memory
_SAID, _MEMORY = 3, 4


def bounded(
    function: str,
    *arguments: Any,
    where: object,
    memory: int = MEMORY,
    output: int = OUTPUT,
    seconds: float = SECONDS,
    error: type[MetabenchError] = MetabenchError,
) -> bytes:
    """Call a function of metabench in a child process.

    Args:
        function: ``module:name`` of a function that returns bytes.
        arguments: Its arguments, as JSON can carry them.
        where: The file that it reads, for messages.
        memory: Bytes of address space of the child, its libraries included (Linux enforces it).
        output: Bytes that it may answer.
        seconds: Time after which it is ended.
        error: What to raise.

    Returns:
        What the function returned.

    Raises:
        MetabenchError: Of type ``error``: the function raised one (its line is kept), a limit was reached, or the child
            died.
    """
    shown = printable(where, 200)
    package = str(Path(__file__).parents[2])
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {
        **os.environ,
        "PYTHONPATH": path,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "PYTHONIOENCODING": "utf-8",
    }
    start = "import sys; from metabench.untrusted.child import main; main(*sys.argv[1:])"
    command = [sys.executable, "-P", "-c", start, function, str(memory), str(output)]
    with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as said:
        try:
            done = subprocess.run(
                command,
                input=json.dumps(arguments).encode(),
                stdout=answer,
                stderr=said,
                timeout=seconds,
                env=environment,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise error(f"{shown} takes longer than {seconds:g} s to read") from None
        except OSError as problem:
            raise error(f"{shown} cannot be read: no process could be started ({problem.strerror})") from None
        if done.returncode == 0:
            answer.seek(0)
            return answer.read(output)
        said.seek(max(0, said.seek(0, os.SEEK_END) - 4000))
        words = said.read(4000).decode(errors="replace").strip()
    if done.returncode == _SAID:
        raise error(one_line(words))
    if done.returncode == _MEMORY or done.returncode < 0 or "bad_alloc" in words:
        raise error(f"{shown} needs more than {size(memory)} of memory to read, or is damaged")
    last = words.splitlines()[-1] if words else "no message"
    raise error(f"{shown} cannot be read: {one_line(last, 200)}")


def _limit(memory: int, output: int) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    for name, most in (("RLIMIT_CORE", 0), ("RLIMIT_FSIZE", output), ("RLIMIT_AS", memory)):
        with contextlib.suppress(OSError, ValueError):  # a system that has no such limit, or a lower one already
            resource.setrlimit(getattr(resource, name), (most, most))


def main(function: str, memory: str, output: str) -> None:
    """The child: limits first, then the call; its answer goes to stdout, a MetabenchError's line to stderr."""
    _limit(int(memory), int(output))
    status = _answer(function, int(output))
    with contextlib.suppress(Exception):
        sys.stderr.flush()
    os._exit(status)  # nothing of a library that failed runs on the way out


def _answer(function: str, output: int) -> int:
    module, _, name = function.partition(":")
    try:
        arguments = json.load(sys.stdin)
        content = getattr(importlib.import_module(module), name)(*arguments)
        if len(content) > output:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except MetabenchError as problem:
        print(one_line(problem), file=sys.stderr)
        return _SAID
    except MemoryError:
        return _MEMORY
    except OSError as problem:
        full = problem.errno == errno.EFBIG
        print(f"its content is larger than {size(output)}" if full else one_line(problem), file=sys.stderr)
        return _SAID if full else 1
    return 0
