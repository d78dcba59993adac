"""A layer's forward and backward pass on tiles, inside a kernel.

Matrices are row-major. WIDTH and OUTPUTS are the padded sizes of hidden layers and of the output layer: what lies beyond
the true ones is 0 and stays 0, so no product needs a mask. A tile spans all columns of a layer, so that what follows a
product (bias, norm, activation, dropout) happens in registers. Sums run in IEEE single precision.

What one thread writes to global memory another may read only after a barrier: every function here ends with its stores,
and the caller sets the barrier.
"""

import triton
import triton.language as tl

from metabench.training.resident_cuda import hashing
from metabench.training.resident_cuda.activations import activate


@triton.jit
def product(acc, a, a_step, b, b_step, n, BLOCK: tl.constexpr):
    """acc + A B: ``a`` and ``b`` point at the first BLOCK of ``n`` columns of A and rows of B, the steps lead on."""
    for _ in range(0, n, BLOCK):
        acc = tl.dot(tl.load(a), tl.load(b), acc, input_precision="ieee")
        a += a_step
        b += b_step
    return acc


@triton.jit
def gather(x, columns, rows, real, out, features, noise, key_a, key_b, first, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Rows ``rows`` [ROWS] of ``x``, with noise, into ``out``; 0 where a row is not ``real``. ``first``: the number of the
    first of them within its batch. Both matrices have ``columns`` columns."""
    r = tl.arange(0, ROWS)[:, None]
    for k in range(0, features, BLOCK):
        c = k + tl.arange(0, BLOCK)[None, :]
        value = tl.load(x + rows[:, None].to(tl.int64) * columns + c)
        if noise > 0.0:
            z = hashing.normal(key_a, key_b, (first + r) * features + c)
            value = tl.where(c < features, value + noise * z, 0.0)
        tl.store(out + r * columns + c, tl.where(real[:, None], value, 0.0))


@triton.jit
def hidden(
    below,
    columns,
    n_below,
    weights,
    vectors,
    h,
    slopes,
    normal,
    rstd,
    width,
    kind,
    norm,
    drop,
    scale,
    key,
    first,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    TRAIN: tl.constexpr,
):
    """ROWS rows of a hidden layer: ``h`` = dropout(activation(norm(below W + b))). Keeps, when TRAIN, the derivative by the
    pre-activation in ``slopes``, and what layer norm needs. ``vectors``: bias, gamma, beta."""
    r = tl.arange(0, ROWS)[:, None]
    c = tl.arange(0, WIDTH)[None, :]
    k = tl.arange(0, BLOCK)
    z = tl.zeros((ROWS, WIDTH), tl.float32) + tl.load(vectors + c)
    z = product(
        z, below + r * columns + k[None, :], BLOCK, weights + k[:, None] * WIDTH + c, BLOCK * WIDTH, n_below, BLOCK
    )
    at = r * WIDTH + c
    if norm != 0:
        share = tl.div_rn(1.0, width.to(tl.float32))
        e = tl.where(c < width, z - (tl.sum(z, 1) * share)[:, None], 0.0)
        inverse = tl.div_rn(1.0, tl.sqrt_rn(tl.sum(e * e, 1) * share + 1e-5))
        e = e * inverse[:, None]
        if TRAIN:
            tl.store(normal + at, e)
            tl.store(rstd + tl.arange(0, ROWS), inverse)
        z = e * tl.load(vectors + WIDTH + c) + tl.load(vectors + 2 * WIDTH + c)
    value, slope = activate(kind, z)
    if TRAIN:
        if drop > 0:
            kept = (hashing.bits(key, (first + r) * width + c) >> 8).to(tl.int32) >= drop
            value = tl.where(kept, value * scale, 0.0)
            slope = tl.where(kept, slope * scale, 0.0)
        tl.store(slopes + at, slope)
    tl.store(h + at, tl.where(c < width, value, 0.0))


@triton.jit
def hidden_gradient(
    above,
    columns,
    n_above,
    weights,
    vectors,
    slopes,
    normal,
    rstd,
    out,
    width,
    norm,
    d_bias,
    d_gamma,
    d_beta,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Gradient of a hidden layer's pre-activations, before the norm, into ``out``: from that of the layer above, ``above``,
    and its ``weights``, both with ``columns`` columns. Returns the sums over the rows added to the three."""
    r = tl.arange(0, ROWS)[:, None]
    c = tl.arange(0, WIDTH)[None, :]
    k = tl.arange(0, BLOCK)
    e = tl.zeros((ROWS, WIDTH), tl.float32)
    e = product(e, above + r * columns + k[None, :], BLOCK, weights + c * columns + k[:, None], BLOCK, n_above, BLOCK)
    at = r * WIDTH + c
    e = tl.where(c < width, e * tl.load(slopes + at), 0.0)
    if norm != 0:
        x = tl.load(normal + at)
        d_beta += tl.sum(e, 0)
        d_gamma += tl.sum(e * x, 0)
        e = e * tl.load(vectors + WIDTH + c)
        share = tl.div_rn(1.0, width.to(tl.float32))
        mean = tl.sum(e, 1) * share
        dot = tl.sum(e * x, 1) * share
        e = (e - mean[:, None] - x * dot[:, None]) * tl.load(rstd + tl.arange(0, ROWS))[:, None]
        e = tl.where(c < width, e, 0.0)
    d_bias += tl.sum(e, 0)
    tl.store(out + at, e)
    return d_bias, d_gamma, d_beta


@triton.jit
def weight_gradient(
    below,
    columns,
    n_below,
    above,
    n_above,
    out,
    batch,
    SLAB: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Gradient of a layer's weights [n_below, COLUMNS] into ``out``, SLAB rows at a time: the product over the batch of
    the layer's inputs ``below`` and the gradient of its pre-activations ``above``."""
    c = tl.arange(0, COLUMNS)[None, :]
    k = tl.arange(0, BLOCK)
    for low in range(0, n_below, SLAB):
        i = low + tl.arange(0, SLAB)[:, None]
        g = tl.zeros((SLAB, COLUMNS), tl.float32)
        g = product(
            g,
            below + k[None, :] * columns + i,
            BLOCK * columns,
            above + k[:, None] * COLUMNS + c,
            BLOCK * COLUMNS,
            batch,
            BLOCK,
        )
        tl.store(out + i * COLUMNS + c, tl.where((i < n_below) & (c < n_above), g, 0.0))
