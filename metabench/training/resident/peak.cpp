// How many fused multiply-adds a core does when nothing but registers is touched: the bound that no kernel passes.
#include "simd.h"

#include <chrono>

extern "C" {

// GFLOP/s of one core over about `seconds` of independent multiply-adds (2 operations a lane each).
double fma_peak(double seconds) {
  enum { N = MR * NV > 12 ? 16 : 6 };  // chains in flight: latency times ports, and no more than there are registers
  V acc[N];
  for (int i = 0; i < N; i++) acc[i] = splat(1.f + i);
  const V a = splat(0.999999f), b = splat(1e-7f);
  using clock = std::chrono::steady_clock;
  const auto began = clock::now();
  double elapsed = 0, done = 0;
  while (elapsed < seconds) {
    for (int k = 0; k < 4096; k++)
      for (int i = 0; i < N; i++) acc[i] = fma(acc[i], a, b);
    done += 4096.0 * N * 16 * 2;
    elapsed = std::chrono::duration<double>(clock::now() - began).count();
  }
  float kept = 0;
  for (int i = 0; i < N; i++) kept += total(acc[i]);
  return kept == 12345.f ? 0 : done / elapsed / 1e9;  // the sum is used, so that the loop is not dropped
}
}
