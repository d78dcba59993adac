"""One thread for each test process: two workers on two cores, and the same numbers everywhere."""

import os
import signal
import sys
from pathlib import Path

import pytest

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

#: helpers that tests of several folders share (tests/fakes.py), importable in worker processes too
sys.path.insert(0, str(Path(__file__).parent))


def pytest_configure(config):
    """A shell lets the jobs it starts in the background ignore Ctrl-C; tests of interrupts need it as a terminal has it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _signals_are_left_alone():
    """What a test leaves ignored, every process that later tests start ignores too: they could not be stopped."""
    numbers = signal.SIGINT, signal.SIGTERM
    before = [signal.getsignal(number) for number in numbers]
    yield
    left = [n for n, was in zip(numbers, before, strict=True) if was != signal.getsignal(n) == signal.SIG_IGN]
    for number in left:
        signal.signal(number, before[numbers.index(number)])
    assert not left, f"the test left {left} ignored"
