// Convolutions of sixteen pictures at a time: the batch is innermost, so that a lane is a picture and a tap of the kernel
// is an offset. Tables say where: `from` of what is read, `to` of what is written, `tap` of the offsets between.
#pragma once
#include "simd.h"

#include <algorithm>
#include <vector>

// Pictures [channels, height, width, batch] with `rim` zeros around. Rows and channels are a vector longer than they need
// be: at powers of two apart they would share a few lines of the cache.
struct Frame {
  float* data = nullptr;
  int channels = 0, height = 0, width = 0, rim = 0, batch = 0;
  int row = 0, channel = 0;  // distances

  Frame() = default;
  Frame(int channels, int height, int width, int rim, int batch, bool packed = false)
      : channels(channels), height(height), width(width), rim(rim), batch(batch),
        row((width + 2 * rim) * batch + (packed ? 0 : 16)), channel((height + 2 * rim) * row + (packed ? 0 : 16)) {}
  size_t size() const { return (size_t)channels * channel; }
  // Where a picture's place is; (-rim, -rim) is the first of the zeros.
  int at(int y, int x) const { return (y + rim) * row + (x + rim) * batch; }
};

// Sums over taps at many places: out[r, to[t]] = bias[r] + sum over k of w[k, r] in[from[t] + tap[k]], k ascending.
struct Sweep {
  std::vector<int> from, to, tap;
};

template <int R, int C>
__attribute__((noinline)) void sweep(const float* in, const Sweep& s, int t, const float* w, int ldw, const float* bias,
                                     float* out, size_t channel) {
  const float* at[C];
  V acc[R][C];
  for (int c = 0; c < C; c++) at[c] = in + s.from[t + c];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) {
    const V start = bias ? splat(bias[r]) : splat(0.f);
    for (int c = 0; c < C; c++) acc[r][c] = start;
  }
  const int* tap = s.tap.data();
  for (const int* end = tap + s.tap.size(); tap < end; tap++, w += ldw) {
    const int k = *tap;
    V b[C];
    for (int c = 0; c < C; c++) b[c] = load(at[c] + k);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      const V x = splat(w[r]);
      for (int c = 0; c < C; c++) acc[r][c] = fma(x, b[c], acc[r][c]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
    for (int c = 0; c < C; c++) store(out + r * channel + s.to[t + c], acc[r][c]);
}

template <int R>
inline void sweep(const float* in, const Sweep& s, int t, int columns, const float* w, int ldw, const float* bias,
                  float* out, size_t channel) {
  if (columns == 1) sweep<R, 1>(in, s, t, w, ldw, bias, out, channel);
  else if (columns == 2) sweep<R, 2>(in, s, t, w, ldw, bias, out, channel);
  else if (columns == 3) sweep<R, 3>(in, s, t, w, ldw, bias, out, channel);
  else sweep<R, 4>(in, s, t, w, ldw, bias, out, channel);
}

// The whole sweep for `rows` channels, a multiple of 4, `channel` apart.
inline void convolve(const float* in, const Sweep& s, const float* w, int rows, const float* bias, float* out,
                     size_t channel) {
  const int height = MR == 8 && rows % 8 == 0 ? 8 : 4, n = (int)s.from.size();
  const int wide = MR < 8 ? 1 : height == 8 ? 3 : 4;
  for (int t = 0; t < n; t += wide)
    for (int r = 0; r < rows; r += height) {
      const int columns = std::min(wide, n - t);
      const float* start = bias ? bias + r : nullptr;
      if (height == 8) sweep<8>(in, s, t, columns, w + r, rows, start, out + r * channel, channel);
      else sweep<4>(in, s, t, columns, w + r, rows, start, out + r * channel, channel);
    }
}

// sum[(k, r)] += sum over t of d[r, at[t]] in[from[t] + tap[k]], lane by lane, for C taps and places first … last.
template <int R, int C>
__attribute__((noinline)) void correlate(const float* d, size_t channel, const int* at, const float* in, const int* from,
                                         const int* tap, int first, int last, float* sum, size_t rows) {
  V acc[R][C];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
    for (int c = 0; c < C; c++) acc[r][c] = load(sum + 16 * (c * rows + r));
  for (int t = first; t < last; t++) {
    const float *x = in + from[t], *y = d + at[t];
    V b[C];
    for (int c = 0; c < C; c++) b[c] = load(x + tap[c]);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      const V e = load(y + r * channel);
      for (int c = 0; c < C; c++) acc[r][c] = fma(e, b[c], acc[r][c]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
    for (int c = 0; c < C; c++) store(sum + 16 * (c * rows + r), acc[r][c]);
}

template <int R>
inline void correlate(int taps, const float* d, size_t channel, const int* at, const float* in, const int* from,
                      const int* tap, int first, int last, float* sum, size_t rows) {
  if (taps == 1) correlate<R, 1>(d, channel, at, in, from, tap, first, last, sum, rows);
  else if (taps == 2) correlate<R, 2>(d, channel, at, in, from, tap, first, last, sum, rows);
  else correlate<R, 3>(d, channel, at, in, from, tap, first, last, sum, rows);
}

// The gradient of a sweep's weights, g[k, r] (up to the next multiple of 16), from that of what it wrote, at `at`, for
// `rows` channels, a multiple of 4. `sum` has room for 16 numbers for each.
inline void weight_gradient(const float* d, size_t channel, const int* at, const float* in, const Sweep& s, int rows,
                            float* sum, float* g) {
  enum { PLACES = 64 };  // at a time, so that eight channels of them stay in the nearest cache
  const int height = MR == 8 && rows % 8 == 0 ? 8 : 4, taps = (int)s.tap.size(), n = (int)s.from.size();
  const int wide = MR < 8 ? 1 : 3, total = (taps * rows + 15) / 16 * 16;
  memset(sum, 0, (size_t)total * 16 * sizeof(float));
  for (int first = 0; first < n; first += PLACES) {
    const int last = std::min(n, first + PLACES);
    for (int r = 0; r < rows; r += height)
      for (int k = 0; k < taps; k += wide) {
        float* here = sum + 16 * ((size_t)k * rows + r);
        const int some = std::min(wide, taps - k);
        const float* e = d + r * channel;
        if (height == 8) correlate<8>(some, e, channel, at, in, s.from.data(), &s.tap[k], first, last, here, rows);
        else correlate<4>(some, e, channel, at, in, s.from.data(), &s.tap[k], first, last, here, rows);
      }
  }
  alignas(64) float turned[256];
  for (int i = 0; i < total; i += 16) {  // the lanes of sixteen sums, added as a fixed tree
    transpose16(sum + 16 * (size_t)i, 16, turned, 16);
    V part[8];
    for (int j = 0; j < 8; j++) part[j] = load(turned + 16 * j) + load(turned + 16 * (j + 8));
    for (int half = 4; half; half >>= 1)
      for (int j = 0; j < half; j++) part[j] = part[j] + part[j + half];
    store(g + i, part[0]);
  }
}
