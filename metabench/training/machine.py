"""What the rows record of the machine that trained them, and what the engine asks of its libraries there."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from functools import cache
from pathlib import Path

from metabench import extras


@cache
def processor(device: str = "cpu") -> str:
    """Kind of processor behind a torch device name."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@cache
def driver() -> bool:
    """Whether a GPU may be here: False without a driver that torch could use, which need not be imported to know it."""
    if not sys.platform.startswith("linux") or Path("/dev/kfd").exists():  # elsewhere, or an AMD GPU: torch knows
        return sys.platform != "darwin"
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def pick_device(device: str) -> str:
    """``auto`` → cuda where torch finds a GPU, else cpu; any other name stays."""
    if device != "auto":
        return device
    if not driver() or not extras.has("torch"):
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def ask_for_reproducible_products() -> None:
    """Let MKL multiply a matrix the same way whatever stands beside it in a batch.

    On processors that are not Intel's it chooses a kernel by the number of matrices, and so a run's last bits would depend
    on its batch. MKL reads ``MKL_CBWR`` at its first product; a value that the user has set stays.
    """
    if "Intel" not in processor():
        os.environ.setdefault("MKL_CBWR", "AVX2")
