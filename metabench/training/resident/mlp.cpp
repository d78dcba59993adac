// A whole training run of a multilayer perceptron in one call: weights and optimizer state stay in the core's caches.
//
// The arithmetic is fixed to the bit: sums run in index order through fused multiply-adds, whatever the register tile,
// so a curve depends neither on the instruction set nor on the run's neighbours. metabench/training/sequential.py is
// the same definition written with torch.nn and torch.optim.
#include "simd.h"

#include <cfloat>
#include <cstdlib>
#include <memory>
#include <new>
#include <utility>

namespace {

enum Activation { RELU, TANH, GELU, SILU };
enum Optimizer { SGD, MOMENTUM, NESTEROV, ADAM, ADAMW, RMSPROP, ADAGRAD, LION };
enum Metric { ACCURACY, BALANCED_ACCURACY, R2 };
enum Stream { ORDER = 1, NOISE_A = 2, NOISE_B = 3, WEIGHTS = 16, DROPOUT = 64 };
const uint32_t GOLDEN = 0x9E3779B1u;
const int BLOCK = 64;  // rows evaluated at a time

inline int up(int n, int m) { return (n + m - 1) / m * m; }

inline uint32_t key(uint32_t seed, uint32_t stream, uint32_t step) {
  return mix(mix(mix(seed + 0x9e3779b9u) + stream) + step);
}

// ------------------------------------------------------------------------------------------------ products
// acc[r][c] += sum over k of a[r * across + k * along] * w[k * ldw + 16 c], k ascending.
template <int R, int C>
inline void tile(const float* a, size_t across, size_t along, const float* w, size_t ldw, int K, V (&acc)[R][C]) {
  for (int k = 0; k < K; k++) {
    V b[C];
    for (int c = 0; c < C; c++) b[c] = load(w + k * ldw + 16 * c);
    for (int r = 0; r < R; r++) {
      V x = splat(a[r * across + k * along]);
      for (int c = 0; c < C; c++) acc[r][c] = fma(x, b[c], acc[r][c]);
    }
  }
}

template <int C>
inline void strip(const float* a, size_t across, size_t along, const float* w, size_t ldw, int K, const float* bias,
                  float* out, size_t ldo) {
  V acc[MR][C];
  for (int c = 0; c < C; c++) {
    V start = bias ? load(bias + 16 * c) : splat(0.f);
    for (int r = 0; r < MR; r++) acc[r][c] = start;
  }
  tile<MR, C>(a, across, along, w, ldw, K, acc);
  for (int r = 0; r < MR; r++)
    for (int c = 0; c < C; c++) store(out + r * ldo + 16 * c, acc[r][c]);
}

// out[rows, cols] = bias + A w, where A[r, k] = a[r * across + k * along]; rows in steps of MR, cols in steps of 16.
void product(const float* a, size_t across, size_t along, int rows, int K, const float* w, size_t ldw,
             const float* bias, float* out, size_t ldo, int cols) {
  const int vectors = cols / 16;
  for (int r = 0; r < rows; r += MR) {
    for (int v = 0; v < vectors;) {
      int left = vectors - v, c = left < NV ? left : (left == NV + 1 && NV > 1 ? 2 : int(NV));
      const float *A = a + r * across, *W = w + 16 * v, *B = bias ? bias + 16 * v : nullptr;
      float* O = out + r * ldo + 16 * v;
      if (c == 1) strip<1>(A, across, along, W, ldw, K, B, O, ldo);
      else if (c == 2) strip<2>(A, across, along, W, ldw, K, B, O, ldo);
      else strip<3>(A, across, along, W, ldw, K, B, O, ldo);
      v += c;
    }
  }
}

// t[j, i] = w[i, j] for i < K (rounded up to 16 columns of t), j < N.
__attribute__((noinline)) void transpose(const float* w, size_t ldw, int K, int N, float* t, size_t ldt) {
#ifdef __AVX512F__
  alignas(64) static const int32_t lanes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const __m512i index = _mm512_mullo_epi32(_mm512_load_si512(lanes), _mm512_set1_epi32((int)ldw));
  for (int i = 0; i < K; i += 16) {
    const __mmask16 m = K - i >= 16 ? 0xffff : (__mmask16)((1u << (K - i)) - 1);
    for (int j = 0; j < N; j++)
      _mm512_store_ps(t + j * ldt + i, _mm512_mask_i32gather_ps(_mm512_setzero_ps(), m, index, w + i * ldw + j, 4));
  }
#else
  for (int i0 = 0; i0 < K; i0 += 16)
    for (int j = 0; j < N; j++)
      for (int i = i0; i < i0 + 16; i++) t[j * ldt + i] = i < K ? w[i * ldw + j] : 0.f;
#endif
}

// ------------------------------------------------------------------------------------------------ activations
// Value and derivative at z.
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

}  // namespace

// ------------------------------------------------------------------------------------------------ interface
extern "C" {

struct Split {  // rows padded with zeros to a multiple of 16 columns, and by 8 rows at the end
  const float* x;
  const int32_t* label;  // classification
  const float* target;   // regression
  int32_t rows;
};

struct Data {
  Split train, valid, test;
  int32_t features, classes, metric;  // classes 0: regression
};

struct Config {
  int32_t width, depth, activation, norm, optimizer, batch, clip, epochs;
  uint32_t seed, drop;  // drop: dropout probability times 2^24
  float drop_scale, noise, smoothing, init_scale;
  double weight_decay, momentum, beta1, beta2, clip_norm;
};

const char* isa() { return MB_ISA; }
}

namespace {

struct Layer {
  int in, out, outp;  // outp: columns rounded up to 16
  float *w, *b, *gamma, *beta;
  float *gw, *gb, *ggamma, *gbeta;
  float *h, *d, *xhat, *rstd;  // outputs, activation derivative × mask, normalised pre-activation, 1 / std
};

struct Run {
  const Data& data;
  const Config& c;
  int batch, padded, layers, outputs;
  Layer layer[8];
  float *memory, *p, *g, *m, *s, *xb, *dz, *dh, *wt, *mask, *real;
  size_t n;  // floats in p
  double power1 = 1, power2 = 1;

  Run(const Data& data, const Config& c) : data(data), c(c) {
    batch = c.batch < data.train.rows ? c.batch : data.train.rows;
    padded = up(batch, 8);
    layers = c.depth + 1;
    outputs = data.classes ? data.classes : 1;
    const int rows = padded > BLOCK ? padded : BLOCK, inp = up(data.features, 16), wp = up(c.width, 16);
    const int widest = wp > up(outputs, 16) ? wp : up(outputs, 16), hidden = up(c.width, 8);
    n = 0;
    for (int l = 0; l < layers; l++) {
      Layer& y = layer[l];
      y.in = l ? c.width : data.features;
      y.out = l < c.depth ? c.width : outputs;
      y.outp = up(y.out, 16);
      n += (size_t)up(y.in, 8) * y.outp + y.outp + (c.norm && l < c.depth ? 2 * y.outp : 0);
    }
    const size_t act = (size_t)rows * widest;
    size_t floats = 4 * n + (size_t)rows * inp + 2 * act + (size_t)widest * up(hidden, 16) + 2 * widest;
    floats += layers * (3 * act + up(rows, 16));
    if (posix_memalign((void**)&memory, 64, floats * sizeof(float))) throw std::bad_alloc();
    memset(memory, 0, floats * sizeof(float));
    float* next = memory;
    auto take = [&](size_t k) { float* at = next; next += k; return at; };
    p = take(n); g = take(n); m = take(n); s = take(n);
    xb = take((size_t)rows * inp); dz = take(act); dh = take(act);
    wt = take((size_t)widest * up(hidden, 16)); mask = take(widest); real = take(widest);
    for (int j = 0; j < c.width; j++) mask[j] = 1.f;    // true columns of a hidden layer
    for (int j = 0; j < outputs; j++) real[j] = 1.f;    // and of the output layer
    size_t at = 0;
    for (int l = 0; l < layers; l++) {
      Layer& y = layer[l];
      auto place = [&](float*& value, float*& grad, size_t k) { value = p + at; grad = g + at; at += k; };
      place(y.w, y.gw, (size_t)up(y.in, 8) * y.outp);
      place(y.b, y.gb, y.outp);
      if (c.norm && l < c.depth) { place(y.gamma, y.ggamma, y.outp); place(y.beta, y.gbeta, y.outp); }
      y.h = take(act); y.d = take(act); y.xhat = take(act); y.rstd = take(up(rows, 16));
      const uint32_t k0 = key(c.seed, WEIGHTS + l, 0);
      const float bound = (float)((l < c.depth ? (double)c.init_scale : 1.0) * std::sqrt(3.0 / y.in));
      for (int i = 0; i < y.in; i++)
        for (int j = 0; j < y.out; j++) {
          float u = (mix(k0 + (uint32_t)(i * y.out + j) * GOLDEN) >> 8) * (1.f / 16777216.f);
          y.w[(size_t)i * y.outp + j] = bound * (2.f * u - 1.f);
        }
      if (y.gamma && c.norm && l < c.depth) for (int j = 0; j < y.out; j++) y.gamma[j] = 1.f;
    }
  }
  ~Run() { free(memory); }

  // Normalise, activate and (in training) drop out the rows of hidden layer y in place.
  template <int A>
  void finish(Layer& y, int l, int rows, bool training, uint32_t step) {
    alignas(64) static const uint32_t lane[16] = {
        0, GOLDEN, 2 * GOLDEN, 3 * GOLDEN, 4 * GOLDEN, 5 * GOLDEN, 6 * GOLDEN, 7 * GOLDEN, 8 * GOLDEN, 9 * GOLDEN,
        10 * GOLDEN, 11 * GOLDEN, 12 * GOLDEN, 13 * GOLDEN, 14 * GOLDEN, 15 * GOLDEN};
    const U lanes = uload(lane), limit = usplat(c.drop);
    const V scale = splat(c.drop_scale), zero = splat(0.f);
    const bool drop = training && c.drop;
    const uint32_t k0 = key(c.seed, DROPOUT + l, step);
    const float inverse = 1.f / y.out;
    for (int r = 0; r < rows; r++) {
      float *h = y.h + (size_t)r * y.outp, *d = y.d + (size_t)r * y.outp, *xh = y.xhat + (size_t)r * y.outp;
      V mean = zero, rstd = zero;
      if (c.norm) {
        V sum = zero;
        for (int j = 0; j < y.outp; j += 16) sum = sum + load(h + j);
        mean = splat(total(sum) * inverse);
        V square = zero;
        for (int j = 0; j < y.outp; j += 16) {
          V e = (load(h + j) - mean) * load(mask + j);
          square = fma(e, e, square);
        }
        float inv = 1.f / std::sqrt(total(square) * inverse + 1e-5f);
        y.rstd[r] = inv;
        rstd = splat(inv);
      }
      for (int j = 0; j < y.outp; j += 16) {
        V z = load(h + j), slope;
        if (c.norm) {
          V e = (z - mean) * rstd * load(mask + j);
          if (training) store(xh + j, e);
          z = fma(e, load(y.gamma + j), load(y.beta + j));
        }
        V value = activate<A>(z, slope);
        if (drop) {
          U hash = mix(usplat(k0 + (uint32_t)(r * y.out + j) * GOLDEN) + lanes);
          M dropped = below(shr<8>(hash), limit);
          value = select(dropped, zero, value * scale);
          slope = select(dropped, zero, slope * scale);
        }
        store(h + j, value);
        if (training) store(d + j, slope);
      }
    }
  }

  // Logits of `rows` rows (a multiple of 8) of x, left in the last layer's h.
  void forward(const float* x, size_t ldx, int rows, bool training, uint32_t step) {
    for (int l = 0; l < layers; l++) {
      Layer& y = layer[l];
      product(x, ldx, 1, rows, y.in, y.w, y.outp, y.b, y.h, y.outp, y.outp);
      if (l < c.depth) {
        if (c.activation == RELU) finish<RELU>(y, l, rows, training, step);
        else if (c.activation == TANH) finish<TANH>(y, l, rows, training, step);
        else if (c.activation == GELU) finish<GELU>(y, l, rows, training, step);
        else finish<SILU>(y, l, rows, training, step);
      }
      x = y.h;
      ldx = y.outp;
    }
  }

  // Softmax of one row of logits in place (padding becomes 0); `top` and `sum` give the log of the normaliser,
  // top + log(sum). A NaN among the logits makes `sum` NaN.
  void softmax(float* z, float& top, float& sum) {
    const int padded = up(outputs, 16);
    const V least = splat(-FLT_MAX), zero = splat(0.f);
    top = -FLT_MAX;
    for (int j = 0; j < padded; j += 16) {
      V a = select(less(zero, load(real + j)), load(z + j), least);
      store(z + j, a);
      const float t = largest(a);
      top = t > top ? t : top;
    }
    V all = zero;
    for (int j = 0; j < padded; j += 16) {
      V e = expv(load(z + j) - splat(top)) * load(real + j);
      store(z + j, e);
      all = all + e;
    }
    sum = total(all);
    const V inverse = splat(1.f / sum);
    for (int j = 0; j < padded; j += 16) store(z + j, load(z + j) * inverse);
  }

  // Output gradient of the batch (mean loss) into dz; false when the loss is not finite.
  __attribute__((noinline)) bool output_gradient(const uint32_t* row) {
    Layer& y = layer[layers - 1];
    float loss = 0;
    const float scale = 1.f / batch, smooth = outputs > 1 ? c.smoothing / outputs : 0.f;
    memset(dz, 0, (size_t)padded * y.outp * sizeof(float));
    for (int r = 0; r < batch; r++) {
      float *z = y.h + (size_t)r * y.outp, *out = dz + (size_t)r * y.outp;
      if (data.classes) {
        const int label = data.train.label[row[r]];
        float chosen = z[label], top, sum;
        softmax(z, top, sum);
        loss += sum + top - chosen;  // finite exactly when the cross-entropy is
        for (int j = 0; j < y.outp; j += 16)
          store(out + j, (load(z + j) - splat(smooth)) * splat(scale) * load(real + j));
        out[label] -= (1.f - c.smoothing) * scale;
      } else {
        const float e = z[0] - data.train.target[row[r]];
        loss += e * e;
        out[0] = 2.f * e * scale;
      }
    }
    return std::isfinite(loss);
  }

  __attribute__((noinline)) void backward(size_t ldx) {
    for (int l = layers - 1; l >= 0; l--) {
      Layer& y = layer[l];
      const float* h = l ? layer[l - 1].h : xb;
      const size_t ldh = l ? layer[l - 1].outp : ldx;
      product(h, 1, ldh, up(y.in, 8), batch, dz, y.outp, nullptr, y.gw, y.outp, y.outp);
      for (int j = 0; j < y.outp; j += 16) {
        V sum = splat(0.f);
        for (int r = 0; r < batch; r++) sum = sum + load(dz + (size_t)r * y.outp + j);
        store(y.gb + j, sum);
      }
      if (!l) break;
      Layer& x = layer[l - 1];
      transpose(y.w, y.outp, y.in, y.out, wt, x.outp);
      product(dz, y.outp, 1, padded, y.out, wt, x.outp, nullptr, dh, x.outp, x.outp);
      if (c.norm) memset(x.ggamma, 0, 2 * x.outp * sizeof(float));
      for (int r = 0; r < padded; r++) {
        float *e = dh + (size_t)r * x.outp, *d = x.d + (size_t)r * x.outp, *out = dz + (size_t)r * x.outp;
        if (!c.norm) {
          for (int j = 0; j < x.outp; j += 16) store(out + j, load(e + j) * load(d + j));
          continue;
        }
        const float* xh = x.xhat + (size_t)r * x.outp;
        V sum = splat(0.f), dot = splat(0.f);
        for (int j = 0; j < x.outp; j += 16) {
          V u = load(e + j) * load(d + j), xv = load(xh + j);
          store(x.gbeta + j, load(x.gbeta + j) + u);
          store(x.ggamma + j, fma(u, xv, load(x.ggamma + j)));
          u = u * load(x.gamma + j);
          store(e + j, u);
          sum = sum + u;
          dot = fma(u, xv, dot);
        }
        const float inverse = 1.f / x.out;
        const V a = splat(total(sum) * inverse), b = splat(total(dot) * inverse), k = splat(x.rstd[r]);
        for (int j = 0; j < x.outp; j += 16)
          store(out + j, (load(e + j) - a - load(xh + j) * b) * k * load(mask + j));
      }
    }
  }

  template <int O>
  __attribute__((noinline)) void update(double lr) {
    V factor = splat(1.f);
    if (c.clip) {
      V sum = splat(0.f);
      for (size_t i = 0; i < n; i += 16) { V x = load(g + i); sum = fma(x, x, sum); }
      double f = c.clip_norm / (std::sqrt((double)total(sum)) + 1e-6);
      factor = splat(f > 1 ? 1.f : (float)f);
    }
    power1 *= c.beta1;
    power2 *= c.beta2;
    const V wd = splat((float)c.weight_decay), rate = splat((float)lr), zero = splat(0.f);
    const V mom = splat((float)c.momentum), b1 = splat((float)c.beta1), b2 = splat((float)c.beta2);
    const V r1 = splat((float)(1 - c.beta1)), r2 = splat((float)(1 - c.beta2));
    const V size = splat((float)(lr / (1 - power1))), root2 = splat((float)(1 / std::sqrt(1 - power2)));
    const V keep = splat((float)(1 - lr * c.weight_decay)), eps = splat(O == ADAGRAD ? 1e-10f : 1e-8f);
    for (size_t i = 0; i < n; i += 16) {
      V w = load(p + i), x = load(g + i) * factor;
      if (O != ADAMW && O != LION) x = fma(wd, w, x);
      if (O == SGD) {
        w = w - rate * x;
      } else if (O == MOMENTUM || O == NESTEROV) {
        V v = fma(mom, load(m + i), x);
        store(m + i, v);
        w = w - rate * (O == NESTEROV ? fma(mom, v, x) : v);
      } else if (O == ADAM || O == ADAMW) {
        V a = load(m + i);
        a = fma(r1, x - a, a);
        V v = fma(r2 * x, x, load(s + i) * b2);
        store(m + i, a);
        store(s + i, v);
        if (O == ADAMW) w = w * keep;
        w = w - size * a / fma(root(v), root2, eps);
      } else if (O == RMSPROP) {
        V v = fma(r2 * x, x, load(s + i) * b2);
        store(s + i, v);
        w = w - rate * x / (root(v) + eps);
      } else if (O == ADAGRAD) {
        V v = fma(x, x, load(s + i));
        store(s + i, v);
        w = w - rate * x / (root(v) + eps);
      } else {
        V a = load(m + i), u = fma(r1, x, b1 * a), unit = splat(1.f);
        V sign = select(less(zero, u), unit, select(less(u, zero), neg(unit), u));  // NaN stays NaN
        store(m + i, fma(r2, x, b2 * a));
        w = w - rate * fma(wd, w, sign);
      }
      store(p + i, w);
    }
  }

  // Mean loss and score of a split; false when one of them is not finite.
  __attribute__((noinline)) bool evaluate(const Split& t, float& loss, float* score) {
    const size_t ldx = up(data.features, 16);
    Layer& y = layer[layers - 1];
    double sum = 0, mean = 0, spread = 0;
    int hits[512] = {0}, count[512] = {0}, correct = 0;
    for (int at = 0; at < t.rows; at += BLOCK) {
      const int rows = t.rows - at < BLOCK ? t.rows - at : BLOCK;
      forward(t.x + (size_t)at * ldx, ldx, up(rows, 8), false, 0);
      for (int r = 0; r < rows; r++) {
        float* z = y.h + (size_t)r * y.outp;
        if (data.classes) {
          const int label = t.label[at + r];
          const float chosen = z[label];
          bool hit = chosen == chosen;
          for (int j = 0; j < outputs; j++) hit &= j < label ? z[j] < chosen : j == label || z[j] <= chosen;
          correct += hit;
          hits[label] += hit;
          count[label]++;
          float top, norm;
          softmax(z, top, norm);
          sum += std::log((double)norm) + top - chosen;
        } else {
          const double e = (double)z[0] - t.target[at + r];
          sum += e * e;
        }
      }
    }
    loss = (float)(sum / t.rows);
    if (score && data.metric == ACCURACY) *score = (float)((double)correct / t.rows);
    if (score && data.metric == BALANCED_ACCURACY) {
      double recall = 0;
      int present = 0;
      for (int k = 0; k < data.classes; k++)
        if (count[k]) { recall += (double)hits[k] / count[k]; present++; }
      *score = (float)(recall / present);
    }
    if (score && data.metric == R2) {
      for (int r = 0; r < t.rows; r++) mean += t.target[r];
      mean /= t.rows;
      for (int r = 0; r < t.rows; r++) spread += (t.target[r] - mean) * (t.target[r] - mean);
      *score = (float)(1 - sum / spread);
    }
    return std::isfinite(loss) && (!score || std::isfinite(*score));
  }
};

// Rows 0..n-1 in ascending order of their hashed keys, left in `other` (stable radix sort, three passes of 11 bits).
__attribute__((noinline)) void permutation(uint32_t k, int n, uint32_t* order, uint32_t* hash, uint32_t* other, uint32_t* other_hash) {
  for (int i = 0; i < n; i++) { order[i] = i; hash[i] = mix(k + (uint32_t)i * GOLDEN); }
  for (int shift = 0; shift < 33; shift += 11) {
    uint32_t start[2049] = {0};
    for (int i = 0; i < n; i++) start[((hash[i] >> shift) & 2047) + 1]++;
    for (int b = 0; b < 2048; b++) start[b + 1] += start[b];
    for (int i = 0; i < n; i++) {
      uint32_t to = start[(hash[i] >> shift) & 2047]++;
      other[to] = order[i];
      other_hash[to] = hash[i];
    }
    std::swap(order, other);
    std::swap(hash, other_hash);
  }
}

}  // namespace

extern "C" {

// Trains one run. lr: learning rate of every step. curve: [checkpoints, 5] = train, valid, test loss, valid, test
// score. Returns the number of checkpoints reached (fewer than asked for: diverged), or -1 when memory ran out.
int train(const Data* data, const Config* config, const double* lr, const int32_t* checkpoints, int32_t n_checkpoints,
          float* curve) {
#if defined(__x86_64__)
  struct Flush {  // subnormal numbers count as zero: they would slow training down a hundredfold
    unsigned saved = _mm_getcsr();
    Flush() { _mm_setcsr(saved | 0x8040); }
    ~Flush() { _mm_setcsr(saved); }
  } flush;
#endif
  try {
    Run run(*data, *config);
    const Split& t = data->train;
    const size_t ldx = up(data->features, 16);
    const int steps = t.rows / run.batch;
    std::unique_ptr<uint32_t[]> space(new uint32_t[4 * (size_t)t.rows]);
    uint32_t *order = space.get(), *hash = order + t.rows, *spare = hash + t.rows, *spare_hash = spare + t.rows;
    uint32_t step = 0;
    int reached = 0;
    for (int epoch = 0; epoch < config->epochs; epoch++) {
      permutation(key(config->seed, ORDER, epoch), t.rows, order, hash, spare, spare_hash);
      const uint32_t* rows = spare;
      for (int i = 0; i < steps; i++, step++) {
        const uint32_t* row = rows + (size_t)i * run.batch;
        for (int r = 0; r < run.batch; r++)
          std::memcpy(run.xb + r * ldx, t.x + row[r] * ldx, ldx * sizeof(float));
        if (config->noise > 0) {
          const uint32_t ka = key(config->seed, NOISE_A, step), kb = key(config->seed, NOISE_B, step);
          const float unit = (float)(std::sqrt(3.0) / 65536.0);
          for (int r = 0; r < run.batch; r++)
            for (int k = 0; k < data->features; k++) {
              const uint32_t at = (uint32_t)(r * data->features + k) * GOLDEN, a = mix(ka + at), b = mix(kb + at);
              const float z = ((float)((a & 0xffff) + (a >> 16) + (b & 0xffff) + (b >> 16)) - 131070.f) * unit;
              run.xb[r * ldx + k] = std::fmaf(config->noise, z, run.xb[r * ldx + k]);
            }
        }
        run.forward(run.xb, ldx, run.padded, true, step);
        if (!run.output_gradient(row)) return reached;
        run.backward(ldx);
        switch (config->optimizer) {
          case SGD: run.update<SGD>(lr[step]); break;
          case MOMENTUM: run.update<MOMENTUM>(lr[step]); break;
          case NESTEROV: run.update<NESTEROV>(lr[step]); break;
          case ADAM: run.update<ADAM>(lr[step]); break;
          case ADAMW: run.update<ADAMW>(lr[step]); break;
          case RMSPROP: run.update<RMSPROP>(lr[step]); break;
          case ADAGRAD: run.update<ADAGRAD>(lr[step]); break;
          default: run.update<LION>(lr[step]);
        }
      }
      if (reached < n_checkpoints && epoch + 1 == checkpoints[reached]) {
        float* at = curve + 5 * reached;
        if (!run.evaluate(data->train, at[0], nullptr) || !run.evaluate(data->valid, at[1], at + 3) ||
            !run.evaluate(data->test, at[2], at + 4))
          return reached;
        reached++;
      }
    }
    return reached;
  } catch (const std::bad_alloc&) {
    return -1;
  }
}
}
