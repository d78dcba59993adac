// Activations: value and derivative.
#pragma once
#include "simd.h"

enum Activation { RELU, TANH, GELU, SILU };

// Value at z; its derivative goes to d.
template <int A>
inline V activate(V z, V& d) {
  const V one = splat(1.f), zero = splat(0.f), half = splat(.5f);
  if (A == RELU) {
    d = select(less(zero, z), one, zero);
    return select(less(z, zero), zero, z);
  }
  if (A == TANH) {
    V h = tanhv(z);
    d = one - h * h;
    return h;
  }
  if (A == SILU) {
    V s = sigmoidv(z), h = z * s;
    d = s * (one + z * (one - s));
    return h;
  }
  const V c = splat(0.79788456f), a = splat(0.044715f);  // GELU, tanh form (Hendrycks & Gimpel, 2016)
  V zz = z * z, t = tanhv(c * z * fma(a, zz, one)), g = half * (one + t);
  d = g + half * z * (one - t * t) * c * fma(splat(3.f * 0.044715f), zz, one);
  return z * g;
}
