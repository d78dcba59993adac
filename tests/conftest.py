"""One thread for each test process: two workers on two cores, and the same numbers everywhere."""

import os
import signal
import sys
from pathlib import Path

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

#: helpers that tests of several folders share (tests/fakes.py), importable in worker processes too
sys.path.insert(0, str(Path(__file__).parent))


def pytest_configure(config):
    """A shell lets the jobs it starts in the background ignore Ctrl-C; tests of interrupts need it as a terminal has it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
