"""One step of every optimizer inside a kernel: the rules of ``torch.optim``, and Lion (Chen et al., 2023)."""

import triton
import triton.language as tl

# as in resident.OPTIMIZERS
SGD, MOMENTUM, NESTEROV, ADAM, ADAMW, RMSPROP, ADAGRAD, LION = (tl.constexpr(i) for i in range(8))


@triton.jit
def update(
    kind,
    params,
    gradients,
    first,
    second,
    n,
    clip,
    rate,
    decay,
    momentum,
    beta1,
    beta2,
    power1,
    power2,
    BLOCK: tl.constexpr,
):
    """Update ``n`` parameters (a multiple of BLOCK) by their gradients times ``clip``. ``first`` and ``second`` are the
    moments; settings are float64, ``power1`` and ``power2`` the betas to the power of the step, which counts from 1."""
    lr = rate.to(tl.float32)
    wd = decay.to(tl.float32)
    mu = momentum.to(tl.float32)
    keep1 = beta1.to(tl.float32)
    keep2 = beta2.to(tl.float32)
    new1 = (1.0 - beta1).to(tl.float32)
    new2 = (1.0 - beta2).to(tl.float32)
    shrink = (1.0 - rate * decay).to(tl.float32)
    size = (rate / (1.0 - power1)).to(tl.float32)
    root2 = (1.0 / tl.sqrt(1.0 - power2)).to(tl.float32)
    for at in range(0, n, BLOCK):
        i = at + tl.arange(0, BLOCK)
        w = tl.load(params + i)
        g = tl.load(gradients + i) * clip
        if (kind != ADAMW) & (kind != LION):
            g += wd * w
        if kind == SGD:
            w -= lr * g
        elif kind <= NESTEROV:
            m = mu * tl.load(first + i) + g
            tl.store(first + i, m)
            w -= lr * tl.where(kind == NESTEROV, g + mu * m, m)
        elif kind <= ADAMW:
            m = tl.load(first + i)
            m += new1 * (g - m)
            v = tl.load(second + i) * keep2 + new2 * g * g
            tl.store(first + i, m)
            tl.store(second + i, v)
            w = tl.where(kind == ADAMW, w * shrink, w)
            w -= tl.div_rn(size * m, tl.sqrt_rn(v) * root2 + 1e-8)
        elif kind == RMSPROP:
            v = tl.load(second + i) * keep2 + new2 * g * g
            tl.store(second + i, v)
            w -= tl.div_rn(lr * g, tl.sqrt_rn(v) + 1e-8)
        elif kind == ADAGRAD:
            v = tl.load(second + i) + g * g
            tl.store(second + i, v)
            w -= tl.div_rn(lr * g, tl.sqrt_rn(v) + 1e-10)
        else:
            m = tl.load(first + i)
            u = keep1 * m + new1 * g
            sign = tl.where(u > 0.0, 1.0, tl.where(u < 0.0, -1.0, u))  # NaN stays NaN
            tl.store(first + i, keep2 * m + new2 * g)
            w = w * shrink - lr * sign
        tl.store(params + i, w)
