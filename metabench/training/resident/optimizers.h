// One step of every optimizer on sixteen parameters: the rules of torch.optim, and Lion (Chen et al., 2023).
#pragma once
#include "simd.h"

enum Optimizer { SGD, MOMENTUM, NESTEROV, ADAM, ADAMW, RMSPROP, ADAGRAD, LION };

template <int O>
struct Update {
  V wd, rate, mom, b1, b2, r1, r2, size, root2, keep, eps;

  // power1, power2: the betas to the power of the step, which counts from 1.
  Update(double lr, double weight_decay, double momentum, double beta1, double beta2, double power1, double power2)
      : wd(splat((float)weight_decay)), rate(splat((float)lr)), mom(splat((float)momentum)), b1(splat((float)beta1)),
        b2(splat((float)beta2)), r1(splat((float)(1 - beta1))), r2(splat((float)(1 - beta2))),
        size(splat((float)(lr / (1 - power1)))), root2(splat((float)(1 / std::sqrt(1 - power2)))),
        keep(splat((float)(1 - lr * weight_decay))), eps(splat(O == ADAGRAD ? 1e-10f : 1e-8f)) {}

  // Parameters p, first and second moments m and s, gradient x.
  inline void operator()(float* p, float* m, float* s, V x) const {
    V w = load(p);
    if (O != ADAMW && O != LION) x = fma(wd, w, x);
    if (O == SGD) {
      w = w - rate * x;
    } else if (O == MOMENTUM || O == NESTEROV) {
      V v = fma(mom, load(m), x);
      store(m, v);
      w = w - rate * (O == NESTEROV ? fma(mom, v, x) : v);
    } else if (O == ADAM || O == ADAMW) {
      V a = load(m);
      a = fma(r1, x - a, a);
      V v = fma(r2 * x, x, load(s) * b2);
      store(m, a);
      store(s, v);
      if (O == ADAMW) w = w * keep;
      w = w - size * a / fma(root(v), root2, eps);
    } else if (O == RMSPROP) {
      V v = fma(r2 * x, x, load(s) * b2);
      store(s, v);
      w = w - rate * x / (root(v) + eps);
    } else if (O == ADAGRAD) {
      V v = fma(x, x, load(s));
      store(s, v);
      w = w - rate * x / (root(v) + eps);
    } else {
      const V zero = splat(0.f), unit = splat(1.f);
      V a = load(m), u = fma(r1, x, b1 * a);
      V sign = select(less(zero, u), unit, select(less(u, zero), neg(unit), u));  // NaN stays NaN
      store(m, fma(r2, x, b2 * a));
      w = w - rate * fma(wd, w, sign);
    }
    store(p, w);
  }
};
