"""Learning-rate schedules inside a kernel: :mod:`metabench.training.schedules` as a function of one step, float64."""

import math

import triton
import triton.language as tl

from metabench.training import schedules

NAMES = tuple(schedules.FACTORS)
CONSTANT, STEP, EXPONENTIAL, COSINE = (
    tl.constexpr(NAMES.index(n)) for n in ("constant", "step", "exponential", "cosine")
)
PI, LOG_HUNDREDTH = tl.constexpr(math.pi), tl.constexpr(math.log(0.01))
RISE = tl.constexpr(schedules.ONE_CYCLE_RISE)
LOW = tl.constexpr(1.0 / schedules.ONE_CYCLE_START)
FINAL = tl.constexpr(1.0 / (schedules.ONE_CYCLE_START * schedules.ONE_CYCLE_END))


@triton.jit
def factor(kind, warm, total, step):
    """Factor of the learning rate at ``step`` of ``total``, the first ``warm`` of which rise towards 1; ``kind`` counts
    in NAMES, all int32."""
    p = tl.cast(step - warm, tl.float64) / tl.cast(tl.maximum(total - warm, 1), tl.float64)
    if step < warm:
        f = tl.cast(step + 1, tl.float64) / tl.cast(warm + 1, tl.float64)
    elif kind == CONSTANT:
        f = p * 0.0 + 1.0
    elif kind == STEP:
        third = tl.floor(3.0 * p)
        f = tl.where(third < 1.0, p * 0.0 + 1.0, tl.where(third < 2.0, p * 0.0 + 0.1, p * 0.0 + 0.01))
    elif kind == EXPONENTIAL:
        f = tl.exp(p * LOG_HUNDREDTH)
    elif kind == COSINE:
        f = 0.5 * (1.0 + tl.cos(p * PI))
    else:
        up = 1.0 + (LOW - 1.0) * 0.5 * (1.0 + tl.cos(p / RISE * PI))
        down = FINAL + (1.0 - FINAL) * 0.5 * (1.0 + tl.cos((p - RISE) / (1.0 - RISE) * PI))
        f = tl.where(p < RISE, up, down)
    return f
