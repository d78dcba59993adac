"""What the rows record of the machine that trained them."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path


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


def pick_device(device: str) -> str:
    """``auto`` → cuda where torch finds a GPU, else cpu; any other name stays."""
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
