"""Activations inside a kernel: value and derivative, in single precision with every operation rounded as IEEE says.

Triton's own ``exp`` and ``/`` are approximations on a GPU; these are not.
"""

import triton
import triton.language as tl

RELU, TANH, GELU, SILU = (tl.constexpr(i) for i in range(4))  # as in resident.ACTIVATIONS


@triton.jit
def exp(x):
    """e^x for |x| up to 86 (clamped beyond), NaN stays NaN; about 1 ulp. Cody–Waite reduction and the polynomial of the
    CPU's kernel (simd.h)."""
    c = tl.where(x < -86.0, -86.0, x)
    c = tl.where(c > 86.0, 86.0, c)
    # adding 1.5 * 2^23 rounds to the nearest integer, which the low bits then hold
    shifted = tl.fma(c, 1.44269504, 12582912.0)
    n = shifted - 12582912.0
    f = tl.fma(n, -0.693145752, c)
    f = tl.fma(n, -1.42860677e-6, f)
    p = tl.fma(f, 1.98756912e-4, 1.39819994e-3)
    p = tl.fma(p, f, 8.33345205e-3)
    p = tl.fma(p, f, 4.16657962e-2)
    p = tl.fma(p, f, 1.66666657e-1)
    p = tl.fma(p, f, 0.5)
    p = tl.fma(f * f, p, f + 1.0)
    scaled = p.to(tl.int32, bitcast=True) + (shifted.to(tl.int32, bitcast=True) << 23)
    return tl.where(x == x, scaled.to(tl.float32, bitcast=True), x)


@triton.jit
def sigmoid(x):
    return tl.div_rn(1.0, 1.0 + exp(-x))


@triton.jit
def tanh(x):
    return 1.0 - tl.div_rn(2.0, exp(x + x) + 1.0)


@triton.jit
def activate(kind, z):
    """Value at ``z`` and derivative of the activation number ``kind``."""
    if kind == RELU:
        value = tl.where(z < 0.0, 0.0, z)  # NaN stays NaN
        slope = tl.where(z > 0.0, 1.0, 0.0)
    elif kind == TANH:
        value = tanh(z)
        slope = 1.0 - value * value
    elif kind == GELU:  # the tanh form (Hendrycks & Gimpel, 2016)
        square = z * z
        t = tanh(0.79788456 * z * (0.044715 * square + 1.0))
        half = 0.5 * (1.0 + t)
        value = z * half
        slope = half + 0.5 * z * (1.0 - t * t) * 0.79788456 * (0.134145 * square + 1.0)
    else:
        s = sigmoid(z)
        value = z * s
        slope = s * (1.0 + z * (1.0 - s))
    return value, slope
