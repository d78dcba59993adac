"""The blocks of a convolutional network on images of a size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Block:
    """Shapes of a block: channels and (height, width) of its inputs, of its convolution and of what leaves it."""

    inputs: int
    outputs: int
    kernel: int
    stride: int
    seen: tuple[int, int]
    convolved: tuple[int, int]
    left: tuple[int, int]

    @property
    def pooled(self) -> bool:
        return self.left != self.convolved

    @property
    def fan_in(self) -> int:
        return self.inputs * self.kernel**2

    @property
    def macs(self) -> int:
        """Multiply-adds of the convolution of an image."""
        return self.convolved[0] * self.convolved[1] * self.fan_in * self.outputs


def blocks(shape: tuple[int, int, int], config: dict[str, Any]) -> list[Block]:
    """The blocks of a configuration on images [colours, height, width]."""
    made, (inputs, high, wide) = [], shape
    for layer in range(int(config["blocks"])):
        outputs, halved = int(config["channels"]) * 2**layer, min(high, wide) > 1
        stride = 2 if halved and config["pooling"] == "stride" else 1
        convolved = -(-high // stride), -(-wide // stride)
        left = (high // 2, wide // 2) if halved and stride == 1 else convolved
        made.append(Block(inputs, outputs, int(config["kernel"]), stride, (high, wide), convolved, left))
        inputs, (high, wide) = outputs, left
    return made


def features(made: list[Block]) -> int:
    """Inputs of the linear layer."""
    return made[-1].outputs * made[-1].left[0] * made[-1].left[1]
